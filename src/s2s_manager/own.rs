//! The links of this node to which more may be given, found by the texts of
//! their two domains: rows of other nodes come in thousands, and most are of
//! servers that this node has no link to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::s2s_manager::link::Link;
use crate::stream::server::Pair;

/// Links by whom they lead to. So many as `links_per_node_max` allows.
#[derive(Debug)]
pub(super) struct Own<T> {
    /// By their domain, those for each of ours: a list is never empty.
    lists: HashMap<Box<str>, Vec<Arc<Link<T>>>>,
    count: usize,
}

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self { lists: HashMap::new(), count: 0 }
    }
}

impl<T> Own<T> {
    /// The link of two domains in their normal form, as rows have them.
    pub(super) fn find(&self, ours: &str, theirs: &str) -> Option<&Arc<Link<T>>> {
        self.lists.get(theirs)?.iter().find(|link| link.pair.ours.as_str() == ours)
    }

    /// The link of a pair.
    pub(super) fn get(&self, pair: &Pair) -> Option<&Arc<Link<T>>> {
        self.find(pair.ours.as_str(), pair.theirs.as_str())
    }

    /// Whether this very link is the one of its pair.
    pub(super) fn has(&self, link: &Arc<Link<T>>) -> bool {
        self.get(&link.pair).is_some_and(|known| known.is(link))
    }

    /// One more; it takes the place of another of its pair.
    pub(super) fn insert(&mut self, link: Arc<Link<T>>) {
        self.remove(&link.pair);
        self.count += 1;
        self.lists.entry(link.pair.theirs.as_str().into()).or_default().push(link);
    }

    /// One less.
    pub(super) fn remove(&mut self, pair: &Pair) {
        let theirs = pair.theirs.as_str();
        let Some(list) = self.lists.get_mut(theirs) else { return };
        let before = list.len();
        list.retain(|link| link.pair.ours != pair.ours);
        self.count -= before - list.len();
        if list.is_empty() {
            self.lists.remove(theirs);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link<T>>> {
        self.lists.values().flatten()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s2s_manager::link::Carrier;
    use crate::xmpp::jid::Domain;

    fn link(ours: &str, theirs: &str, number: u64) -> Arc<Link<()>> {
        let domain = |text| Domain::parse(text).expect("a domain");
        let pair = Pair { ours: domain(ours), theirs: domain(theirs) };
        Arc::new(Link::new(pair, number, 0, Vec::new(), Carrier::Opened, None))
    }

    #[test]
    fn a_link_is_found_by_both_texts_and_by_no_other() {
        let mut own = Own::default();
        for (number, (ours, theirs)) in [("a", "x"), ("b", "x"), ("a", "y")].into_iter().enumerate()
        {
            own.insert(link(ours, theirs, number as u64));
        }
        let found = |own: &Own<()>, ours, theirs| own.find(ours, theirs).map(|link| link.number);
        assert_eq!(found(&own, "b", "x"), Some(1));
        assert_eq!(found(&own, "b", "y"), None);
        assert_eq!(found(&own, "x", "a"), None);
        // another of the same pair takes its place
        let second = link("b", "x", 7);
        own.insert(Arc::clone(&second));
        assert!(own.has(&second) && !own.has(&link("b", "x", 7)));
        assert_eq!((own.len(), own.iter().count()), (3, 3));
        own.remove(&second.pair);
        own.remove(&second.pair);
        assert_eq!((own.len(), own.iter().count(), found(&own, "b", "x")), (2, 2, None));
        own.remove(&link("a", "x", 0).pair);
        own.remove(&link("a", "y", 0).pair);
        assert!(own.len() == 0 && own.lists.is_empty(), "nothing of them stays");
    }
}
