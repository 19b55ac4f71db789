//! What an extension of the protocol may see and do.
//!
//! Each is one file in `xep` or `im` and one line in a list. It decides and
//! answers; what must happen, the router does.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::xmpp::error::StanzaError;
use crate::xmpp::stanza::{ChildName, Stanza};

/// What service discovery and the README say of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The number and name of its specification.
    pub specification: &'static str,
    /// What disco#info lists for the host.
    pub host_features: &'static [&'static str],
    /// What disco#info lists for an account.
    pub account_features: &'static [&'static str],
}

/// For whom a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One of our domains itself.
    Host,
    /// An account of ours, whom the server answers for.
    Account,
}

/// What an extension may know of the world at one moment.
#[derive(Debug)]
pub struct Cx<'a> {
    /// For whom the request is.
    pub place: Place,
    /// The time of day.
    pub now: SystemTime,
    /// Since this node serves.
    pub uptime: Duration,
    /// Sessions of this node.
    pub sessions: usize,
    /// Everything that this server can do.
    pub extensions: &'a [Box<dyn Extension>],
}

/// The payload of a result, or the error of a request.
pub type Answer = Result<Bytes, StanzaError>;

/// One extension.
pub trait Extension: fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// Answers a request to the host or to an account; `None`: not mine.
    fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Option<Answer>;
}
