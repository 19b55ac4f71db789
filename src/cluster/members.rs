//! The set of nodes that are visible now, as one value that everybody may
//! read. How a node comes in and goes out is `membership`'s business.

use super::home::home;
use super::node::{Node, NodeId, NodeName, NodeState};

/// A visible node and what it is up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: Node,
    /// What it says it is up to.
    pub state: NodeState,
}

/// The visible nodes, ourselves among them, in the order of their ids. A set,
/// not events: who wants to know the difference compares two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    me: NodeId,
    list: Vec<Member>,
}

impl Members {
    /// The set of `others` and ourselves.
    pub fn new(me: Member, others: impl IntoIterator<Item = Member>) -> Members {
        let id = me.node.id;
        let mut list: Vec<Member> = others.into_iter().chain([me]).collect();
        list.sort_by_key(|member| member.node.id);
        list.dedup_by_key(|member| member.node.id);
        Members { me: id, list }
    }

    /// Our own id.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All visible nodes, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }

    /// All visible nodes but ourselves.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().filter(|member| member.node.id != self.me)
    }

    /// How many there are; never 0, for we are one.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The member with this id.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        let found = self.list.binary_search_by_key(&id, |member| member.node.id);
        found.ok().and_then(|at| self.list.get(at))
    }

    /// Whether this node is visible.
    pub fn contains(&self, id: NodeId) -> bool {
        self.get(id).is_some()
    }

    /// The member with this name.
    pub fn named(&self, name: &NodeName) -> Option<&Member> {
        self.list.iter().find(|member| member.node.name == *name)
    }

    /// The home of `key` (a bare JID's text): where its things happen in an
    /// order. A node that has just come does not know enough yet, and one that
    /// is about to go will not know the end; where there are no others, they
    /// must do.
    pub fn home(&self, key: &[u8]) -> NodeId {
        let is_settled =
            |member: &&Member| matches!(member.state, NodeState::Serving | NodeState::Draining);
        let settled = self.list.iter().filter(is_settled).map(|member| &member.node.name);
        home(key, settled)
            .or_else(|| home(key, self.list.iter().map(|member| &member.node.name)))
            .and_then(|name| self.named(name))
            .map_or(self.me, |member| member.node.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(generation: u64, name: &str) -> Member {
        let node = Node { id: NodeId::new(generation, 0), name: name.parse().unwrap() };
        Member { node, state: NodeState::Serving }
    }

    #[test]
    fn members_are_found_by_id_and_by_name() {
        let members = Members::new(member(2, "b"), [member(3, "c"), member(1, "a")]);
        let order: Vec<_> = members.iter().map(|member| member.node.name.as_str()).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert_eq!(members.others().count(), 2);
        assert_eq!(members.get(NodeId::new(3, 0)), Some(&member(3, "c")));
        assert_eq!(members.named(&"a".parse().unwrap()), Some(&member(1, "a")));
        assert!(!members.contains(NodeId::new(9, 0)));
    }

    #[test]
    fn nobody_is_at_home_at_a_node_that_has_just_come() {
        let mut late = member(1, "a");
        late.state = NodeState::Joining;
        let keys = (0..100).map(|key| format!("user{key}@example.org"));
        let members = Members::new(member(2, "b"), [late.clone()]);
        assert!(keys.clone().all(|key| members.home(key.as_bytes()) == NodeId::new(2, 0)));
        let mut other = member(2, "b");
        other.state = NodeState::Joining;
        let members = Members::new(other, [late]);
        let homes: Vec<NodeId> = keys.map(|key| members.home(key.as_bytes())).collect();
        assert!(homes.contains(&NodeId::new(1, 0)) && homes.contains(&NodeId::new(2, 0)));
    }

    #[test]
    fn a_key_is_at_home_at_a_member() {
        let alone = Members::new(member(2, "b"), []);
        assert_eq!(alone.home(b"juliet@example.org"), NodeId::new(2, 0));
    }
}
