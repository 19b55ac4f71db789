//! The operator's doors: a local socket for commands, HTTP for machines that
//! watch.

pub mod accounts;
pub mod answers;
pub mod belongings;
pub mod config;
pub mod http;
pub mod life;
pub mod report;
pub mod requests;
pub mod sending;
pub mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::life::End;
use crate::admin::report::NodeReport;
use crate::cluster::asks::Question;
use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::extension::Rooms;
use crate::im;
use crate::router::Router;
use crate::session_manager::draining::Draining;
use crate::session_manager::sessions::Sessions;

/// The topics of our questions to other nodes.
pub mod topic {
    /// How are you?
    pub const REPORT: u8 = 20;
}

/// How long another node may take for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What the operator's doors need of the rooms below.
#[derive(Debug)]
pub struct Admin {
    /// The other nodes.
    pub cluster: Arc<Cluster>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// The durable tables.
    pub durable: Arc<Durable>,
    /// The other rooms.
    pub rooms: Arc<Rooms>,
    /// Carries out what is said.
    pub router: Arc<Router>,
    /// How large a roster may be.
    pub limits: im::config::Config,
    /// Since when this node serves.
    pub started: Instant,
    /// Whether this node drains.
    pub draining: Arc<Draining>,
    /// Wanted when the operator wants this node to stop.
    pub end: End,
}

impl Admin {
    /// Answers another node's question, if it is about us.
    pub fn answer(self: &Arc<Self>, question: Question) -> Option<Question> {
        match question.topic {
            topic::REPORT => question.answer(NodeReport::of(self).written()),
            _ => return Some(question),
        }
        None
    }
}
