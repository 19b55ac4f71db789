//! Which instance of a component gets a stanza. Pure: whoever asks brings the
//! instances, the policy and the chance.
//!
//! A key, or a bucket of keys, belongs to the instance that wants it most: the
//! one with the highest rendezvous hash of its name (Thaler and Ravishankar,
//! 1998). Every node computes the same; an instance that goes moves only what
//! was its own, one that comes takes only what becomes its own.
//!
//! Of buckets each instance has a list of its own, in the order of its hashes,
//! and wants a bucket as much as its place there says. So all want as much in
//! sum, and shares vary less than by chance: of 1000 buckets for three, by 9
//! (standard deviation) and not by 15.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::hash::stable;
use crate::cluster::node::NodeId;
use crate::session_manager::session::Seat;
use crate::units::Span;
use crate::xmpp::jid::{Domain, Jid};

/// The section `[domain_balancing]`: by domain.
pub type Config = BTreeMap<Domain, Policy>;

/// How the stanzas for one domain are shared among its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What of a stanza decides.
    #[serde(rename = "type")]
    pub by: By,
    /// Buckets that keys are sorted into, 2 to 1000; without it each key is
    /// its own bucket.
    pub component_number: Option<u16>,
    /// Whether an instance of this node goes before all others. Without it:
    /// where there are no buckets.
    pub prefer_local: Option<bool>,
    /// How long a stanza waits for an instance where there is none.
    pub hold: Span,
}

/// What of a stanza decides who gets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Chance.
    #[default]
    Random,
    /// Its sender, as it is.
    Source,
    /// Its addressee, as it is.
    Destination,
    /// Its sender without the resource.
    BareSource,
    /// Its addressee without the resource.
    BareDestination,
}

/// One instance, as all nodes know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub seat: Seat,
    /// Its name among the instances of its domain; the same when it comes back.
    pub name: Box<str>,
    /// How much it shall get, beside the others.
    pub weight: u8,
    /// It shall get nothing that another can take.
    pub is_draining: bool,
}

/// The instances of one domain, and which buckets are whose: computed once for
/// each change of the instances.
#[derive(Debug)]
pub struct Balance {
    policy: Policy,
    candidates: Vec<Candidate>,
    wishes: Vec<Wishes>,
    /// The owner of each bucket, as a place in `candidates`.
    buckets: Vec<u16>,
}

/// How much one instance wants what.
#[derive(Debug)]
struct Wishes {
    /// Its name hashed, once for each of its weight.
    tickets: Vec<u64>,
    /// How much it wants each bucket.
    buckets: Vec<u64>,
}

/// What an instance may be chosen for.
#[derive(Debug, Clone, Copy)]
enum Share {
    Key(u64),
    Bucket(usize),
}

impl Default for Policy {
    fn default() -> Self {
        Self { by: By::Random, component_number: None, prefer_local: None, hold: Span::millis(0) }
    }
}

impl Policy {
    fn prefers_local(&self) -> bool {
        self.prefer_local.unwrap_or(self.component_number.is_none())
    }

    /// The hash of what decides; `random` where that is chance.
    fn key(&self, from: Option<&Jid>, to: Option<&Jid>, random: u64) -> u64 {
        let text = match self.by {
            By::Random => return mix(random),
            By::Source => from.map(Jid::as_str),
            By::Destination => to.map(Jid::as_str),
            By::BareSource => from.map(Jid::bare_str),
            By::BareDestination => to.map(Jid::bare_str),
        };
        stable(text.unwrap_or_default().as_bytes())
    }
}

impl Balance {
    /// Sorts the buckets to their owners.
    pub fn new(policy: Policy, mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by(|one, other| order(one).cmp(&order(other)));
        let count = policy.component_number.unwrap_or(0);
        let wishes = candidates.iter().map(|one| Wishes::new(one, count)).collect();
        let mut balance = Self { policy, candidates, wishes, buckets: Vec::new() };
        // with a preference for local ones each node has its own owners
        if !balance.policy.prefers_local() {
            let owner = |bucket| balance.owner(Share::Bucket(bucket), |_| true);
            let owners = (0..usize::from(count)).map_while(owner);
            balance.buckets = owners.filter_map(|at| u16::try_from(at).ok()).collect();
        }
        balance
    }

    /// Who gets a stanza; `None`: nobody is there. `tried` have not taken it.
    /// `me` is this node; `random` decides where chance does.
    pub fn choose(
        &self,
        (from, to): (Option<&Jid>, Option<&Jid>),
        tried: &[Seat],
        me: NodeId,
        random: u64,
    ) -> Option<&Candidate> {
        let key = self.policy.key(from, to, random);
        let mut share = Share::Key(key);
        if let Some(count) = self.policy.component_number {
            let bucket = usize::try_from(key % u64::from(count.max(1))).unwrap_or(0);
            let owner = self.buckets.get(bucket);
            let owner = owner.and_then(|at| self.candidates.get(usize::from(*at)));
            if let Some(owner) = owner.filter(|owner| !tried.contains(&owner.seat)) {
                return Some(owner);
            }
            share = Share::Bucket(bucket);
        }
        let is_left = |one: &Candidate| !tried.contains(&one.seat);
        let is_near = |one: &Candidate| is_left(one) && one.seat.owner == me && !one.is_draining;
        let near = match self.policy.prefers_local() {
            true => self.owner(share, is_near),
            false => None,
        };
        near.or_else(|| self.owner(share, is_left)).and_then(|at| self.candidates.get(at))
    }

    /// All instances.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How the stanzas are shared.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many buckets an instance has; `None`: there are no buckets. One
    /// that has none stands by.
    pub fn buckets_of(&self, seat: Seat) -> Option<usize> {
        self.policy.component_number.filter(|_| !self.policy.prefers_local())?;
        let at = self.candidates.iter().position(|one| one.seat == seat)?;
        Some(self.buckets.iter().filter(|owner| usize::from(**owner) == at).count())
    }

    /// Which of those that `may` have it wants it most. One that drains gets
    /// it only where all do.
    fn owner(&self, share: Share, may: impl Fn(&Candidate) -> bool) -> Option<usize> {
        let all = self.candidates.iter().zip(&self.wishes).enumerate();
        let wishes = all
            .filter(|(_, (one, _))| may(one))
            .map(|(at, (one, wishes))| (!one.is_draining, wishes.of(share), at));
        wishes.max().map(|(_, _, at)| at)
    }
}

impl Wishes {
    fn new(candidate: &Candidate, count: u16) -> Self {
        let tickets = tickets(candidate);
        let mut buckets = vec![0; usize::from(count)];
        for ticket in &tickets {
            let hash = |bucket: u16| (mix(ticket ^ mix(u64::from(bucket))), bucket);
            let mut order: Vec<(u64, u16)> = (0..count).map(hash).collect();
            order.sort_unstable();
            for (place, (hash, bucket)) in (0u64..).zip(order) {
                if let Some(wish) = buckets.get_mut(usize::from(bucket)) {
                    // where two want it as much, the hash decides
                    *wish = (place << 48 | hash >> 16).max(*wish);
                }
            }
        }
        Self { tickets, buckets }
    }

    fn of(&self, share: Share) -> u64 {
        match share {
            Share::Bucket(bucket) => self.buckets.get(bucket).copied().unwrap_or(0),
            Share::Key(key) => {
                self.tickets.iter().map(|ticket| mix(ticket ^ key)).max().unwrap_or(0)
            }
        }
    }
}

/// The same on all nodes.
fn order(candidate: &Candidate) -> (&str, NodeId, u64) {
    (&candidate.name, candidate.seat.owner, candidate.seat.number)
}

/// A name, hashed once for each of its weight: whoever weighs twice as much
/// has two chances to want a key most. Part of the protocol: nodes of
/// different versions must agree on it, so it never changes.
fn tickets(candidate: &Candidate) -> Vec<u64> {
    let base = stable(candidate.name.as_bytes());
    (0..u64::from(candidate.weight.max(1))).map(|number| mix(base.wrapping_add(number))).collect()
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, 2014): all bits depend
/// on all bits. Part of the protocol as well.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const ME: NodeId = NodeId { generation: 1, random: 0 };

    /// `paris@1` is an instance on node 1; `rome@2*3` weighs 3, `oslo@1-`
    /// drains.
    fn candidates(text: &str) -> Vec<Candidate> {
        let one = |(at, word): (usize, &str)| {
            let (word, is_draining) = match word.strip_suffix('-') {
                Some(word) => (word, true),
                None => (word, false),
            };
            let (word, weight) = word.split_once('*').unwrap_or((word, "1"));
            let (name, node) = word.split_once('@').expect("a node");
            let owner = NodeId::new(node.parse().expect("a number"), 0);
            let seat = Seat { owner, number: at as u64 };
            Candidate {
                seat,
                name: name.into(),
                weight: weight.parse().expect("small"),
                is_draining,
            }
        };
        text.split_whitespace().enumerate().map(one).collect()
    }

    fn policy(by: By, component_number: Option<u16>) -> Policy {
        Policy { by, component_number, prefer_local: Some(false), ..Policy::default() }
    }

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("an address")
    }

    fn chosen(balance: &Balance, from: &str, to: &str, random: u64) -> String {
        let (from, to) = (jid(from), jid(to));
        let chosen = balance.choose((Some(&from), Some(&to)), &[], ME, random);
        chosen.map_or("-".into(), |one| one.name.to_string())
    }

    /// Whether two stanzas always go to the same instance.
    #[track_caller]
    fn check(by: By, one: (&str, &str), other: (&str, &str), is_same: bool) {
        for buckets in [None, Some(64), Some(1_000)] {
            let mut same = true;
            for number in 0..64 {
                let names = format!("a{number}@1 b{number}@2 c{number}@3 d{number}@1");
                let balance = Balance::new(policy(by, buckets), candidates(&names));
                let first = chosen(&balance, one.0, one.1, 1);
                same &= first == chosen(&balance, other.0, other.1, 1 << 40);
            }
            assert_eq!(same, is_same, "{by:?} {buckets:?} {one:?} {other:?}");
        }
    }

    #[test]
    fn every_type_looks_at_its_own_part_of_a_stanza() {
        let (a, b) = ("romeo@im/orchard", "x@gw/1");
        check(By::Source, (a, b), (a, "y@gw"), true);
        check(By::Source, (a, b), ("romeo@im/balcony", b), false);
        check(By::BareSource, (a, b), ("romeo@im/balcony", "y@gw"), true);
        check(By::BareSource, (a, b), ("juliet@im/orchard", b), false);
        check(By::Destination, (a, b), ("juliet@im", b), true);
        check(By::Destination, (a, b), (a, "x@gw/2"), false);
        check(By::BareDestination, (a, b), ("juliet@im", "x@gw/2"), true);
        check(By::BareDestination, (a, b), (a, "y@gw/1"), false);
        check(By::Random, (a, b), (a, b), false);
    }

    #[test]
    fn nobody_is_chosen_where_nobody_is() {
        let balance = Balance::new(policy(By::Source, Some(4)), Vec::new());
        assert_eq!(chosen(&balance, "a@im", "gw", 0), "-");
        assert_eq!(balance.buckets_of(Seat { owner: ME, number: 0 }), None);
    }

    #[test]
    fn the_owners_are_the_same_in_every_version() {
        let balance = Balance::new(policy(By::Source, None), candidates("paris@1 rome@2 oslo@3*2"));
        let told: Vec<String> =
            (0..8).map(|user| chosen(&balance, &format!("user{user}@im"), "gw", 0)).collect();
        assert_eq!(told.join(" "), "oslo oslo paris rome oslo paris oslo oslo");
        let balance =
            Balance::new(policy(By::Source, Some(7)), candidates("paris@1 rome@2 oslo@3*2"));
        let told: Vec<String> =
            (0..8).map(|user| chosen(&balance, &format!("user{user}@im"), "gw", 0)).collect();
        assert_eq!(told.join(" "), "paris rome oslo paris oslo paris rome oslo");
    }

    #[test]
    fn an_instance_of_this_node_goes_first_unless_there_are_buckets() {
        let names = "near@1 far@2 farther@3";
        let told = |policy: Policy| -> BTreeSet<String> {
            let balance = Balance::new(policy, candidates(names));
            (0..64).map(|random| chosen(&balance, &format!("u{random}@im"), "gw", random)).collect()
        };
        let near = BTreeSet::from(["near".to_owned()]);
        assert_eq!(told(Policy::default()), near);
        assert_eq!(told(Policy { by: By::Source, ..Policy::default() }), near);
        let buckets = Policy { by: By::Source, component_number: Some(100), ..Policy::default() };
        assert_eq!(told(buckets.clone()).len(), 3);
        assert_eq!(told(Policy { prefer_local: Some(true), ..buckets }), near);
        assert_eq!(told(policy(By::Random, None)).len(), 3);
    }

    #[test]
    fn one_that_drains_gets_nothing_that_another_can_take() {
        let told = |names: &str, policy: Policy| -> BTreeSet<String> {
            let balance = Balance::new(policy, candidates(names));
            (0..64).map(|random| chosen(&balance, &format!("u{random}@im"), "gw", random)).collect()
        };
        for policy in [Policy::default(), policy(By::Source, Some(50)), policy(By::Random, Some(2))]
        {
            assert!(!told("a@1- b@2 c@3", policy.clone()).contains("a"), "{policy:?}");
            assert_eq!(
                told("a@1-", policy.clone()).into_iter().collect::<String>(),
                "a",
                "{policy:?}"
            );
        }
    }

    #[test]
    fn whoever_did_not_take_it_is_not_asked_again() {
        for policy in [policy(By::Source, Some(50)), policy(By::Random, None), Policy::default()] {
            let balance = Balance::new(policy, candidates("a@1 b@2 c@3"));
            let (from, to) = (jid("u@im"), jid("gw"));
            let mut tried = Vec::new();
            while let Some(one) = balance.choose((Some(&from), Some(&to)), &tried, ME, 7) {
                assert!(!tried.contains(&one.seat));
                tried.push(one.seat);
            }
            assert_eq!(tried.len(), 3);
        }
    }

    #[test]
    fn weights_are_shares_and_spares_have_no_bucket() {
        let balance = Balance::new(policy(By::Source, None), candidates("a@1 b@2 c@3*2"));
        let mut c = 0;
        for user in 0..10_000 {
            c += u32::from(chosen(&balance, &format!("user{user}@im"), "gw", 0) == "c");
        }
        assert!((4_800..5_200).contains(&c), "{c} of 10,000 for half of the weight");
        let names: String = (0..10).map(|number| format!("i{number}@1 ")).collect();
        let balance = Balance::new(policy(By::Source, Some(2)), candidates(&names));
        let buckets: Vec<usize> =
            balance.candidates().iter().filter_map(|one| balance.buckets_of(one.seat)).collect();
        assert_eq!((buckets.len(), buckets.iter().sum::<usize>()), (10, 2));
        assert!(buckets.iter().filter(|count| **count == 0).count() >= 8);
        let near = Balance::new(Policy::default(), candidates("a@1"));
        assert_eq!(near.buckets_of(near.candidates()[0].seat), None);
    }

    proptest! {
        /// Whatever instances come and go: a key moves only from one that went
        /// or to one that came, and of all keys no more than its share.
        #[test]
        fn keys_move_only_with_their_owners(
            steps in prop::collection::vec(0usize..12, 1..20),
            buckets in prop_oneof![Just(None), Just(Some(1_000u16))],
            by in prop_oneof![Just(By::Source), Just(By::BareSource), Just(By::Destination)],
        ) {
            const KEYS: usize = 2_000;
            let mut here: BTreeSet<usize> = (0..4).collect();
            let build = |here: &BTreeSet<usize>| {
                let names: String = here.iter().map(|one| format!("i{one}@{} ", one % 3)).collect();
                Balance::new(policy(by, buckets), candidates(&names))
            };
            let told = |balance: &Balance| -> Vec<String> {
                let of = |key: usize| format!("user{key}@im/r");
                (0..KEYS).map(|key| chosen(balance, &of(key), &of(key), 0)).collect()
            };
            let mut before = told(&build(&here));
            for step in steps {
                let came = here.insert(step);
                if !came && here.len() > 1 {
                    here.remove(&step);
                } else if !came {
                    continue;
                }
                let after = told(&build(&here));
                let name = format!("i{step}");
                let mut moved = 0;
                for (one, other) in before.iter().zip(&after).filter(|(one, other)| one != other) {
                    prop_assert_eq!(if came { other } else { one }, &name);
                    moved += 1;
                }
                let share = 1.0 / (here.len() + usize::from(!came)) as f64;
                prop_assert!(moved as f64 <= KEYS as f64 * (share + 0.05), "{} moved", moved);
                before = after;
            }
        }
    }
}
