//! Which link of the cluster carries a stanza, and which of several that were
//! opened at the same moment stay. Pure: every node decides the same from the
//! same rows. What a node remembers of where stanzas went is in `flows`.

use std::hash::Hasher;

use crate::cluster::hash::Sip;
use crate::cluster::node::NodeId;
use crate::cluster::rows::{LinkRow, LinkState};
use crate::cluster::table::Entry;
use crate::s2s_manager::fault::Kind;

/// Nodes that may find in vain that a server cannot be reached, before all
/// others believe it. It may be only one that cannot reach it.
const OPINIONS: usize = 2;

/// Where a stanza goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This node has a link, or opens one now.
    Here,
    /// That node has one.
    Node(NodeId),
    /// There is none, and none is tried now.
    Failed(Kind),
}

/// What is said by one to another: the same number for all stanzas whose order
/// must hold. Two that have the same number by chance share their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow(u64);

/// Who asks, and what he knows beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The node that asks.
    pub me: NodeId,
    /// So many links may a pair have (`links_per_pair_max`).
    pub links_max: usize,
    /// Nodes that will be gone soon: their links carry what no other does.
    pub going: &'a [NodeId],
}

impl Flow {
    /// From one bare address to another.
    pub fn new(sender: &str, recipient: &str) -> Self {
        let mut sip = Sip::default();
        // no address has a zero byte
        for piece in [sender.as_bytes(), &[0], recipient.as_bytes()] {
            sip.write(piece);
        }
        Self(sip.finish())
    }

    /// How much a node wants it: where one link comes or goes, only what is
    /// its own moves (rendezvous hash, Thaler and Ravishankar, 1998). Part of
    /// the protocol: nodes of different versions must agree on it.
    fn weight(self, node: NodeId) -> u64 {
        let mut sip = Sip::default();
        for number in [node.generation, node.random, self.0] {
            sip.write(&number.to_le_bytes());
        }
        sip.finish()
    }
}

/// Where the stanzas of a flow go: to one of the links that stay, or, where
/// there may be more of them, perhaps to one that this node opens. `rows` are
/// those of the pair.
pub fn choose(rows: &[Entry<LinkRow>], side: Side<'_>, flow: Flow) -> Choice {
    let is_going = |node: &NodeId| side.going.contains(node);
    let all = winners(rows, side);
    let mut links: Vec<NodeId> = all.iter().copied().filter(|node| !is_going(node)).collect();
    let failed = |is_own: bool| {
        let of = rows.iter().filter(move |row| (row.owner == side.me) == is_own);
        of.filter_map(kind)
    };
    let own = failed(true).next();
    let others = match failed(false).next() {
        // it is there, or is known not to be: another node finds the same
        Some(kind) if failed(false).count() >= OPINIONS || kind != Kind::Unreachable => Some(kind),
        _ => None,
    };
    let believed = own.or(others);
    if links.len() < side.links_max && !is_going(&side.me) && believed.is_none() {
        links.push(side.me);
    }
    if links.is_empty() {
        links = all;
    }
    match (links.into_iter().max_by_key(|node| (flow.weight(*node), *node)), believed) {
        (Some(node), _) if node != side.me => Choice::Node(node),
        (None, Some(kind)) => Choice::Failed(kind),
        (Some(_) | None, _) => Choice::Here,
    }
}

/// Which node takes what this one could not send: one that may reach the
/// server and has not tried.
pub fn second_opinion(rows: &[Entry<LinkRow>], me: NodeId, others: &[NodeId]) -> Option<NodeId> {
    let has_failed = |node: NodeId| rows.iter().any(|row| row.owner == node && kind(row).is_some());
    let failed = rows.iter().filter(|row| kind(row).is_some() && row.owner != me).count();
    if failed + 1 >= OPINIONS {
        return None;
    }
    others.iter().copied().filter(|node| *node != me && !has_failed(*node)).min()
}

/// Whether the link of this node stays.
pub fn stays(rows: &[Entry<LinkRow>], side: Side<'_>) -> bool {
    winners(rows, side).contains(&side.me)
}

/// The owners of the links that stay, of those that are open or opened: those
/// of nodes that stay first, then those that are open, then those of the lower
/// nodes.
fn winners(rows: &[Entry<LinkRow>], side: Side<'_>) -> Vec<NodeId> {
    let mut alive: Vec<(bool, bool, NodeId)> = rows
        .iter()
        .filter(|row| kind(row).is_none())
        .map(|row| {
            let is_going = side.going.contains(&row.owner);
            (is_going, row.row.state != LinkState::Open, row.owner)
        })
        .collect();
    alive.sort_unstable();
    let mut owners: Vec<NodeId> = Vec::with_capacity(alive.len());
    for (.., owner) in alive {
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    owners.truncate(side.links_max);
    owners
}

/// Why the link of a row has failed; nothing: it has not.
pub(super) fn kind(row: &Entry<LinkRow>) -> Option<Kind> {
    match row.row.state {
        LinkState::Failed(code) => Some(Kind::of(code)),
        LinkState::Opening | LinkState::Open => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number, 0)
    }

    /// `1o 2f`: node 1 has one open, that of node 2 has failed; `p` is being
    /// opened, `n` means that there is no such server.
    fn rows(words: &str) -> Vec<Entry<LinkRow>> {
        let row = |word: &str| {
            let (number, state) = word.split_at(1);
            let state = match state {
                "o" => LinkState::Open,
                "p" => LinkState::Opening,
                "f" => LinkState::Failed(Kind::Unreachable.code()),
                _ => LinkState::Failed(Kind::NotFound.code()),
            };
            let row = LinkRow { ours: "im".into(), theirs: "net".into(), state };
            Entry { owner: node(number.parse().expect("a digit")), number: 1, row }
        };
        words.split_whitespace().map(row).collect()
    }

    fn side(me: u64, links_max: usize) -> Side<'static> {
        Side { me: node(me), links_max, going: &[] }
    }

    #[track_caller]
    fn check(words: &str, me: u64, expected: Choice) {
        let flow = Flow::new("a@im", "b@net");
        assert_eq!(choose(&rows(words), side(me, 1), flow), expected, "{words}");
    }

    /// So many people who write to one.
    fn flows() -> impl Iterator<Item = Flow> {
        (0..300).map(|number| Flow::new(&format!("user{number}@im"), "b@net"))
    }

    /// How many of them go where, as `1:150 2:150`.
    fn shares(words: &str, side: Side<'_>) -> String {
        let mut counts = std::collections::BTreeMap::<NodeId, u32>::new();
        for flow in flows() {
            let at = match choose(&rows(words), side, flow) {
                Choice::Here => side.me,
                Choice::Node(node) => node,
                Choice::Failed(kind) => panic!("{words}: {kind:?}"),
            };
            *counts.entry(at).or_default() += 1;
        }
        let shares = counts.iter().map(|(node, count)| {
            // within what chance makes of a third or a half
            let part = f64::from(*count) / 300.0;
            let share = [1.0, 0.5, 1.0 / 3.0].into_iter().find(|share| (part - share).abs() < 0.1);
            format!("{}:{:.2}", node.generation, share.unwrap_or(part))
        });
        shares.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_open_link_is_used_wherever_it_is() {
        check("", 1, Choice::Here);
        check("1o", 1, Choice::Here);
        check("2o", 1, Choice::Node(node(2)));
        check("2p", 1, Choice::Node(node(2)));
        check("1f 2o", 1, Choice::Node(node(2)));
    }

    #[test]
    fn of_two_links_all_nodes_keep_the_same() {
        check("1p 2p", 1, Choice::Here);
        check("1p 2p", 2, Choice::Node(node(1)));
        check("1p 2o", 1, Choice::Node(node(2)));
        check("1o 2o", 3, Choice::Node(node(1)));
        assert!(stays(&rows("1o 2o"), side(1, 1)) && !stays(&rows("1o 2o"), side(2, 1)));
        assert!(stays(&rows("1o 2o"), side(2, 2)));
        assert!(!stays(&rows("1o 2p 3o"), side(2, 2)));
    }

    #[test]
    fn a_failure_is_believed_by_others_when_two_have_seen_it() {
        check("1f", 1, Choice::Failed(Kind::Unreachable));
        check("2f", 1, Choice::Here);
        check("2f 3f", 1, Choice::Failed(Kind::Unreachable));
        check("2n", 1, Choice::Failed(Kind::NotFound));
        let all = [node(1), node(2), node(3)];
        assert_eq!(second_opinion(&rows("1f"), node(1), &all), Some(node(2)));
        assert_eq!(second_opinion(&rows("1f 2f"), node(1), &all), None);
        assert_eq!(second_opinion(&rows("1f"), node(1), &[node(1)]), None);
    }

    #[test]
    fn where_more_links_may_be_each_carries_its_share() {
        assert_eq!(shares("2o", side(1, 1)), "2:1.00");
        // one may be opened here, and takes its share then
        assert_eq!(shares("2o", side(1, 2)), "1:0.50 2:0.50");
        assert_eq!(shares("2o 3p", side(1, 2)), "2:0.50 3:0.50");
        assert_eq!(shares("2o 3p", side(1, 3)), "1:0.33 2:0.33 3:0.33");
        // unless it is known that it would be in vain
        assert_eq!(shares("1f 2o", side(1, 2)), "2:1.00");
        assert_eq!(shares("2o 3n", side(1, 2)), "2:1.00");
    }

    #[test]
    fn all_nodes_choose_the_same_link_and_few_flows_move() {
        let mut moved = 0;
        for flow in flows() {
            let at = |words, me, max| match choose(&rows(words), side(me, max), flow) {
                Choice::Here => node(me),
                Choice::Node(node) => node,
                Choice::Failed(kind) => panic!("{kind:?}"),
            };
            let before = at("1o 2o", 1, 2);
            assert_eq!(before, at("1o 2o", 2, 2));
            assert_eq!(before, at("2o 1o", 3, 2));
            let after = at("1o 2o 3o", 3, 3);
            assert!(after == before || after == node(3), "only what is the new one's own moves");
            moved += usize::from(after != before);
        }
        assert!((70..130).contains(&moved), "{moved} of 300");
    }

    #[test]
    fn what_a_node_that_goes_has_is_carried_by_others() {
        let going = [node(2)];
        let with = |me, links_max| Side { me: node(me), links_max, going: &going };
        // another node opens one, and then its own has to go
        assert_eq!(shares("2o", with(1, 1)), "1:1.00");
        assert_eq!(shares("1p 2o", with(2, 1)), "1:1.00");
        assert!(!stays(&rows("1o 2o"), with(2, 1)) && stays(&rows("2o"), with(2, 1)));
        assert_eq!(shares("1o 2o", with(3, 2)), "1:0.50 3:0.50");
        // no other can: it does as long as it is there
        assert_eq!(shares("1f 2o", with(1, 1)), "2:1.00");
        assert_eq!(shares("", with(2, 1)), "2:1.00");
    }
}
