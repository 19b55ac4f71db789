//! Why there is no link to another server, and what the senders of what waited
//! for it are told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::s2s_manager::resolve::ResolveError;
use crate::stream::server::outgoing::Fault;
use crate::xmpp::error::{StanzaCondition, StanzaError};

/// Why there is no link.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The operator does not want it.
    #[error("this server does not speak with that domain")]
    Blocked,
    /// Nobody knows where its servers are.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// None of its servers can be reached.
    #[error("none of its servers can be reached")]
    Unreachable(#[source] Arc<io::Error>),
    /// TLS could not begin.
    #[error("TLS cannot begin")]
    Tls(#[source] Arc<io::Error>),
    /// Its certificate is another one than its domain says in DNS.
    #[error("its certificate is none of those that its domain names in DNS (DANE)")]
    Named,
    /// It is not as it must be, or does not want us.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It takes too long.
    #[error("it takes too long to answer")]
    Late,
    /// It closed the connection, or the connection broke.
    #[error("the connection has ended")]
    Lost,
    /// This node has as many links as it may have, or too much waits.
    #[error("this node has too many links to servers")]
    Many,
}

/// What kind of fault it is: all that other nodes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such server.
    NotFound,
    /// It cannot be reached, from this node at least.
    Unreachable,
    /// It is there, and a link does not come about.
    Refused,
    /// We do not want it.
    Forbidden,
    /// We cannot.
    Full,
}

impl LinkError {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blocked => Kind::Forbidden,
            Self::Resolve(ResolveError::Failed { .. }) => Kind::Unreachable,
            Self::Resolve(_) => Kind::NotFound,
            Self::Unreachable(_) | Self::Late | Self::Lost => Kind::Unreachable,
            Self::Fault(_) | Self::Tls(_) | Self::Named => Kind::Refused,
            Self::Many => Kind::Full,
        }
    }
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::NotFound, Self::Unreachable, Self::Refused, Self::Forbidden, Self::Full];

    /// As other nodes are told.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What another node says; of a newer one, whatever it means.
    pub fn of(code: u8) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(Self::Refused)
    }

    /// What the sender of a stanza is told (RFC 6120 §10.4).
    pub fn error(self) -> StanzaError {
        match self {
            Self::NotFound => StanzaCondition::RemoteServerNotFound.into(),
            Self::Unreachable => StanzaError::from(StanzaCondition::RemoteServerTimeout)
                .with_text("the server of that domain cannot be reached"),
            Self::Refused => StanzaError::from(StanzaCondition::RemoteServerTimeout)
                .with_text("no safe link to the server of that domain comes about"),
            Self::Forbidden => StanzaError::from(StanzaCondition::Forbidden)
                .with_text("this server does not speak with that domain"),
            Self::Full => StanzaCondition::ResourceConstraint.into(),
        }
    }

    /// In one word, for people and for counting.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::Full => "full",
        }
    }
}

/// How long a server is left alone at most that has failed so many times, one
/// after the other: from `least` on twice as long each time, and never longer than
/// `most` (RFC 6120 §3.3).
pub(super) fn rest(times: u32, least: Duration, most: Duration) -> Duration {
    let doubled = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    least.saturating_mul(doubled.max(1)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_again_is_left_alone_for_twice_as_long() {
        let seconds =
            |times| rest(times, Duration::from_secs(5), Duration::from_secs(300)).as_secs();
        let all: Vec<u64> = [0, 1, 2, 3, 6, 7, 32, 33, u32::MAX].into_iter().map(seconds).collect();
        assert_eq!(all, [5, 5, 10, 20, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn a_kind_is_told_by_its_code() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.code()), kind);
        }
        assert_eq!(Kind::of(77), Kind::Refused);
    }
}
