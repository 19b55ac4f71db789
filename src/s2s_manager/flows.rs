//! Which way the stanzas of each flow went the last time. As long as somebody
//! may still have some of them the next ones follow, though another link would
//! be chosen now: who got them passes them on, so none overtakes another. Pure:
//! time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::node::NodeId;
use crate::s2s_manager::choice::Flow;

/// A flow in which nothing was said for so long is forgotten: what was said
/// has gone by then. A guess, above what a queue holds of a server that reads.
const QUIET: Duration = Duration::from_secs(300);

/// For how long a flow still goes to a node whose link has ended. That node
/// has then passed on what was under way to it when its row went. A guess,
/// above what a frame takes between two nodes.
pub const PASSING: Duration = Duration::from_millis(250);

/// Flows that are remembered. Full: others go where they are chosen to, which
/// is the same as long as no link comes or goes. A guess: 5 MB.
const FLOWS_MAX: usize = 65_536;

/// How often a full memory is searched for what can be forgotten. A guess, as
/// long as that takes many times.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What a node has that a flow went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has a link of the pair, or opens one, or plans again what that had.
    Links,
    /// It has none any more, and passes on what comes.
    Ended,
    /// It is gone, or what it had has failed: nothing is under way there.
    Lost,
}

/// Ways that flows went.
#[derive(Debug, Default)]
pub struct Flows {
    ways: HashMap<Flow, Way>,
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    by: NodeId,
    used: Instant,
    /// When its link was seen to have ended.
    ended: Option<Instant>,
}

impl Flows {
    /// The node that a flow must still go by; nothing: whichever is chosen.
    pub fn must_go(
        &mut self,
        flow: Flow,
        now: Instant,
        standing: impl FnOnce(NodeId) -> Standing,
    ) -> Option<NodeId> {
        let way = self.ways.get_mut(&flow)?;
        if now.duration_since(way.used) > QUIET {
            return None;
        }
        match standing(way.by) {
            Standing::Links => way.ended = None,
            Standing::Ended => {
                let ended = *way.ended.get_or_insert(now);
                if now.duration_since(ended) > PASSING {
                    return None;
                }
            }
            Standing::Lost => return None,
        }
        Some(way.by)
    }

    /// A stanza of a flow went by this node.
    pub fn note(&mut self, flow: Flow, by: NodeId, now: Instant) {
        let way = Way { by, used: now, ended: None };
        if let Some(known) = self.ways.get_mut(&flow) {
            let ended = if known.by == by { known.ended } else { None };
            *known = Way { ended, ..way };
        } else if self.has_room(now) {
            self.ways.insert(flow, way);
        }
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let is_full = self.ways.len() >= FLOWS_MAX;
        if is_full && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.ways.retain(|_, way| now.duration_since(way.used) <= QUIET);
        }
        self.ways.len() < FLOWS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(1);

    fn node(number: u64) -> NodeId {
        NodeId::new(number, 0)
    }

    #[test]
    fn a_flow_goes_on_as_it_went_until_its_node_has_passed_all_on() {
        let (mut flows, begin) = (Flows::default(), Instant::now());
        let flow = Flow::new("a@im", "b@net");
        let links = |_| Standing::Links;
        assert_eq!(flows.must_go(flow, begin, links), None);
        flows.note(flow, node(1), begin);
        assert_eq!(flows.must_go(flow, begin, links), Some(node(1)));
        assert_eq!(flows.must_go(Flow::new("b@net", "a@im"), begin, links), None);
        // its link has ended
        let ended = |_| Standing::Ended;
        let later = begin + PASSING * 9;
        assert_eq!(flows.must_go(flow, later, ended), Some(node(1)));
        assert_eq!(flows.must_go(flow, later + PASSING, ended), Some(node(1)));
        assert_eq!(flows.must_go(flow, later + PASSING + A_MOMENT, ended), None);
        // or stands again
        assert_eq!(flows.must_go(flow, later + PASSING, links), Some(node(1)));
        assert_eq!(flows.must_go(flow, later + PASSING * 2, ended), Some(node(1)));
        // nothing is under way where nobody is
        assert_eq!(flows.must_go(flow, later, |_| Standing::Lost), None);
        flows.note(flow, node(2), later);
        assert_eq!(flows.must_go(flow, later, ended), Some(node(2)));
    }

    #[test]
    fn what_is_quiet_for_long_is_forgotten() {
        let (mut flows, begin) = (Flows::default(), Instant::now());
        let flow = Flow::new("a@im", "b@net");
        flows.note(flow, node(1), begin);
        let by = |flows: &mut Flows, now| flows.must_go(flow, now, |_| Standing::Links);
        assert_eq!(by(&mut flows, begin + QUIET), Some(node(1)));
        flows.note(flow, node(1), begin + QUIET);
        assert_eq!(by(&mut flows, begin + QUIET * 2), Some(node(1)));
        assert_eq!(by(&mut flows, begin + QUIET * 2 + A_MOMENT), None);
    }

    #[test]
    fn memory_has_an_end() {
        let (mut flows, begin) = (Flows::default(), Instant::now());
        let flow = |number: usize| Flow::new(&number.to_string(), "b@net");
        for number in 0..=FLOWS_MAX {
            flows.note(flow(number), node(1), begin);
        }
        let links = |_| Standing::Links;
        assert_eq!(flows.must_go(flow(FLOWS_MAX - 1), begin, links), Some(node(1)));
        assert_eq!(flows.must_go(flow(FLOWS_MAX), begin, links), None);
        let later = begin + QUIET + A_MOMENT;
        flows.note(flow(FLOWS_MAX), node(1), later);
        assert_eq!(flows.must_go(flow(FLOWS_MAX), later, links), Some(node(1)));
        assert_eq!(flows.ways.len(), 1);
    }
}
