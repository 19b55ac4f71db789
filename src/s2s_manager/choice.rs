//! Which link of the cluster carries a stanza, and which of two links that were
//! opened at the same moment stays. Pure: every node decides the same from the
//! same rows.

use crate::cluster::hash::stable;
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

/// Where the stanzas of one sender go: a link of this node first, else that of
/// another, else this node opens one. `rows` are those of the pair.
pub fn choose(rows: &[Entry<LinkRow>], me: NodeId, sender: &str, links_max: usize) -> Choice {
    let stays = winners(rows, links_max);
    if stays.contains(&me) {
        return Choice::Here;
    }
    let failed: Vec<&Entry<LinkRow>> = rows.iter().filter(|row| kind(row).is_some()).collect();
    // fewer than there may be, and this node may still open one
    let own = failed.iter().find(|row| row.owner == me).and_then(|row| kind(row));
    if !stays.is_empty() && (stays.len() >= links_max || own.is_some()) {
        let at = stable(sender.as_bytes()) % stays.len() as u64;
        let node = usize::try_from(at).ok().and_then(|at| stays.get(at));
        return node.map_or(Choice::Here, |node| Choice::Node(*node));
    }
    if let Some(kind) = own {
        return Choice::Failed(kind);
    }
    let others: Vec<Kind> = failed.iter().filter_map(|row| kind(row)).collect();
    match others.first() {
        // it is there, or is known not to be: another node finds the same
        Some(kind) if others.len() >= OPINIONS || *kind != Kind::Unreachable => {
            Choice::Failed(*kind)
        }
        _ => Choice::Here,
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
pub fn stays(rows: &[Entry<LinkRow>], me: NodeId, links_max: usize) -> bool {
    winners(rows, links_max).contains(&me)
}

/// The owners of the links that stay, of those that are open or opened: those
/// that are open first, then those of the lower nodes.
fn winners(rows: &[Entry<LinkRow>], links_max: usize) -> Vec<NodeId> {
    let mut alive: Vec<(bool, NodeId)> = rows
        .iter()
        .filter(|row| kind(row).is_none())
        .map(|row| (row.row.state != LinkState::Open, row.owner))
        .collect();
    alive.sort_unstable();
    alive.dedup_by_key(|(_, owner)| *owner);
    alive.into_iter().take(links_max).map(|(_, owner)| owner).collect()
}

fn kind(row: &Entry<LinkRow>) -> Option<Kind> {
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

    #[track_caller]
    fn check(words: &str, me: u64, expected: Choice) {
        assert_eq!(choose(&rows(words), node(me), "a@im", 1), expected, "{words}");
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
        assert!(stays(&rows("1o 2o"), node(1), 1) && !stays(&rows("1o 2o"), node(2), 1));
        assert!(stays(&rows("1o 2o"), node(2), 2));
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
    fn where_more_links_may_be_more_are_opened() {
        let with = |words, me, max| choose(&rows(words), node(me), "a@im", max);
        assert_eq!(with("2o", 1, 2), Choice::Here);
        assert!(matches!(with("2o 3o", 1, 2), Choice::Node(_)));
        assert_eq!(with("1o 2o", 1, 2), Choice::Here);
    }
}
