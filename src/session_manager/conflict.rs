//! Which sessions must go: two with one address, or too many of one account.
//!
//! Pure: every node finds the same losers in the same rows, and each ends its
//! own.

use std::cmp::Reverse;

use crate::cluster::rows::SessionRow;
use crate::cluster::table::Entry;
use crate::xmpp::error::{StreamCondition, StreamError};

/// A session that must go, and why.
#[derive(Debug)]
pub struct Loser<'a> {
    /// Whose it is.
    pub entry: &'a Entry<SessionRow>,
    /// What its client is told.
    pub reason: Reason,
}

/// What a session is given up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A later one has its address.
    Replaced,
    /// The account has too many, and this is among the oldest.
    TooMany,
}

impl Reason {
    /// What the client is told before its stream closes.
    pub fn stream_error(self) -> StreamError {
        match self {
            Self::Replaced => {
                StreamError::new(StreamCondition::Conflict, "replaced by a new session")
            }
            Self::TooMany => StreamError::new(
                StreamCondition::PolicyViolation,
                "too many sessions of this account",
            ),
        }
    }
}

/// Latest first: by the stamp of the bind, then by owner and number, so that
/// all nodes agree. Of one address the latest comes right before the others.
pub fn sort(entries: &mut [Entry<SessionRow>]) {
    entries.sort_by_key(|entry| Reverse((entry.row.bound, entry.owner, entry.number)));
}

/// The losers among all sessions of one account, which are sorted: the latest
/// of each address stays, and at most `sessions_max` of them.
pub fn losers(entries: &[Entry<SessionRow>], sessions_max: usize) -> Vec<Loser<'_>> {
    let mut kept: Vec<&str> = Vec::new();
    let mut losers = Vec::new();
    for entry in entries {
        if kept.iter().any(|jid| **jid == *entry.row.jid) {
            losers.push(Loser { entry, reason: Reason::Replaced });
        } else if kept.len() >= sessions_max.max(1) {
            losers.push(Loser { entry, reason: Reason::TooMany });
        } else {
            kept.push(&entry.row.jid);
        }
    }
    losers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::node::NodeId;

    /// `sessions`: `resource@node:stamp`; the answer: who goes, and why.
    #[track_caller]
    fn check(sessions: &str, sessions_max: usize, expected: &str) {
        let mut entries: Vec<_> = sessions
            .split_whitespace()
            .map(|word| {
                let (resource, rest) = word.split_once('@').expect("resource@node:stamp");
                let (node, stamp) = rest.split_once(':').expect("node:stamp");
                let jid = format!("juliet@im/{resource}").into();
                let bound = stamp.parse().expect("a number");
                Entry {
                    owner: NodeId::new(node.parse().expect("a number"), 0),
                    number: 1,
                    row: SessionRow { jid, priority: None, flags: 0, bound },
                }
            })
            .collect();
        sort(&mut entries);
        let said: Vec<_> = losers(&entries, sessions_max)
            .iter()
            .map(|loser| {
                let resource = loser.entry.row.jid.rsplit('/').next().unwrap_or_default();
                let node = loser.entry.owner.generation;
                format!("{resource}@{node}:{:?}", loser.reason)
            })
            .collect();
        assert_eq!(said.join(" "), expected, "{sessions}");
    }

    #[test]
    fn the_later_bind_keeps_the_address() {
        check("", 9, "");
        check("a@1:5", 9, "");
        check("a@1:5 b@1:5", 9, "");
        check("a@1:5 a@2:6", 9, "a@1:Replaced");
        check("a@2:6 a@1:7", 9, "a@2:Replaced");
        check("a@1:5 a@2:5", 9, "a@1:Replaced");
        check("a@1:5 b@2:6 a@2:7 a@3:8", 9, "a@2:Replaced a@1:Replaced");
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        check("a@1:1 b@2:2 c@3:3", 2, "a@1:TooMany");
        check("a@1:1 b@2:2 a@3:3", 2, "a@1:Replaced");
        check("a@1:1 b@2:2", 0, "a@1:TooMany");
    }
}
