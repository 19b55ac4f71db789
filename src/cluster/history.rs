//! What has happened to this node and to the others, with its causes: joins,
//! losses, splits, heals. The newest are kept; how they are shown and kept on
//! disk is not decided here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::info;

use crate::cluster::node::{Node, NodeState};
use crate::cluster::peer::Cause;

/// The most entries that are kept; the oldest goes.
pub const ENTRIES_MAX: usize = 1_000;

/// Nodes that fall silent within so many milliseconds were split from us
/// together. A guess: gossip notices them 0.4 to 0.75 s after the event.
const TOGETHER: u64 = 1_500;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// This process began.
    Started {
        /// Its software.
        version: String,
    },
    /// This node is up to something else now.
    State {
        /// What.
        state: NodeState,
    },
    /// A node came that was not there before, or has been started anew.
    Joined {
        /// Its name.
        node: String,
        /// How many see each other now.
        nodes: usize,
    },
    /// A node went.
    Gone {
        /// Its name.
        node: String,
        /// Why.
        cause: Cause,
        /// How many see each other now.
        nodes: usize,
    },
    /// Several nodes fell silent at once: the network is split, and they may
    /// serve on the other side.
    Split {
        /// Their names.
        nodes: Vec<String>,
        /// How many are left on this side.
        left: usize,
    },
    /// A node is back in the life it had: it was cut off, or stood still.
    Healed {
        /// Its name.
        node: String,
        /// For so many milliseconds.
        away: u64,
        /// How many see each other now.
        nodes: usize,
    },
    /// This process stood still.
    Stalled {
        /// For so many milliseconds.
        milliseconds: u64,
    },
    /// Anything else that an operator should know.
    Said {
        /// In words.
        words: String,
    },
}

/// When, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// In milliseconds since 1970.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The newest entries, the oldest first.
#[derive(Debug, Default)]
pub struct History {
    entries: Mutex<VecDeque<Entry>>,
    more: Notify,
}

impl History {
    /// What was before.
    pub fn remember(&self, entries: Vec<Entry>) {
        let mut all = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = std::mem::take(&mut *all);
        all.extend(entries.into_iter().chain(newest));
        let surplus = all.len().saturating_sub(ENTRIES_MAX);
        all.drain(..surplus);
    }

    /// Something has happened now.
    pub fn note(&self, what: What) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.note_at(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), what);
    }

    fn note_at(&self, at: u64, what: What) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let what = entries.back_mut().and_then(|last| together(last, at, &what)).unwrap_or(what);
        if let What::Split { .. } = what {
            // one entry for all that were split off
            entries.pop_back();
        }
        entries.push_back(Entry { at, what });
        if entries.len() > ENTRIES_MAX {
            entries.pop_front();
        }
        drop(entries);
        self.more.notify_one();
    }

    pub(super) fn came(&self, node: &Node, away: Option<Duration>, nodes: usize) {
        info!(node = %node.name, id = %node.id, nodes, "node joined");
        let name = node.name.to_string();
        self.note(match away {
            None => What::Joined { node: name, nodes },
            Some(away) => {
                let away = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
                What::Healed { node: name, away, nodes }
            }
        });
    }

    pub(super) fn gone(&self, node: &Node, cause: Cause, nodes: usize) {
        info!(node = %node.name, id = %node.id, nodes, %cause, "node gone");
        self.note(What::Gone { node: node.name.to_string(), cause, nodes });
    }

    /// All that are kept, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits until there is something new, for one reader.
    pub async fn more(&self) {
        self.more.notified().await;
    }
}

/// Two losses by silence within a moment are one split.
fn together(last: &Entry, at: u64, what: &What) -> Option<What> {
    let What::Gone { node, cause: Cause::Silent | Cause::Unreachable, nodes: left } = what else {
        return None;
    };
    if at.saturating_sub(last.at) > TOGETHER {
        return None;
    }
    let mut nodes = match &last.what {
        What::Gone { node, cause: Cause::Silent | Cause::Unreachable, .. } => vec![node.clone()],
        What::Split { nodes, .. } => nodes.clone(),
        _ => return None,
    };
    nodes.push(node.clone());
    Some(What::Split { nodes, left: *left })
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { version } => write!(f, "started, version {version}"),
            Self::State { state } => write!(f, "{state}"),
            Self::Joined { node, nodes } => write!(f, "{node} joined; {}", count(*nodes)),
            Self::Gone { node, cause, nodes } => write!(f, "{node} {cause}; {}", count(*nodes)),
            Self::Split { nodes, left } => {
                let all = nodes.join(", ");
                write!(f, "split: {all} fell silent at once; {} on this side", count(*left))
            }
            Self::Healed { node, away, nodes } => {
                let away = Duration::from_millis(*away).as_secs_f32();
                let nodes = count(*nodes);
                write!(
                    f,
                    "{node} is back after {away:.1} s: it was cut off, or stood still; {nodes}"
                )
            }
            Self::Stalled { milliseconds } => {
                write!(f, "this process stood still for {milliseconds} ms")
            }
            Self::Said { words } => f.write_str(words),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Killed => "ended: its host refuses connections",
            Self::Silent => "fell silent: its host or its network is gone",
            Self::Unreachable => "cannot be reached by anybody, though gossip hears of it",
            Self::Replaced => "was started anew",
            Self::Removed => "was removed",
        })
    }
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node".into(),
        nodes => format!("{nodes} nodes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(node: &str, cause: Cause, nodes: usize) -> What {
        What::Gone { node: node.into(), cause, nodes }
    }

    #[track_caller]
    fn check(whats: &[(u64, What)], shown: &[&str]) {
        let history = History::default();
        whats.iter().for_each(|(at, what)| history.note_at(*at, what.clone()));
        let entries = history.entries();
        assert_eq!(entries.iter().map(|entry| entry.what.to_string()).collect::<Vec<_>>(), shown);
    }

    #[test]
    fn who_falls_silent_together_was_split_off() {
        let lost = [(0, gone("b", Cause::Silent, 3)), (200, gone("c", Cause::Silent, 2))];
        let one = "split: b, c fell silent at once; 2 nodes on this side";
        check(&lost, &[one]);
        let [first, second] = lost;
        let late = [first.clone(), (9_000, second.1.clone())];
        let silent = "fell silent: its host or its network is gone";
        check(&late, &[&format!("b {silent}; 3 nodes"), &format!("c {silent}; 2 nodes")]);
        let killed = [(0, gone("b", Cause::Killed, 2)), second];
        let words = "b ended: its host refuses connections; 2 nodes";
        check(&killed, &[words, &format!("c {silent}; 2 nodes")]);
        let three = [first, (200, gone("c", Cause::Silent, 2)), (300, gone("d", Cause::Silent, 1))];
        check(&three, &["split: b, c, d fell silent at once; 1 node on this side"]);
    }

    #[test]
    fn the_newest_are_kept_and_what_was_before_stands_before_them() {
        let history = History::default();
        for number in 0..ENTRIES_MAX as u64 {
            history.note_at(number, What::Stalled { milliseconds: number });
        }
        history.remember(vec![Entry { at: 0, what: What::Said { words: "before".into() } }]);
        let entries = history.entries();
        assert_eq!(entries.len(), ENTRIES_MAX);
        assert_eq!(entries[0].what, What::Stalled { milliseconds: 0 }, "the oldest has gone");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = Entry { at: 7, what: gone("b", Cause::Killed, 2) };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(text, r#"{"at":7,"what":"gone","node":"b","cause":"killed","nodes":2}"#);
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }
}
