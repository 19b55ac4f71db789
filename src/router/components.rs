//! The components of the cluster: the instances that are connected to this
//! node, and who is chosen among those of all nodes.
//!
//! How a stanza gets to one is in `passing`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use crate::cluster::handle::Cluster;
use crate::cluster::rows::{RouteRow, RowChange, SoftRow};
use crate::cluster::table::{Entry, Stamp};
use crate::metrics;
use crate::net::outbox::Outbox;
use crate::router::balance::{self, Balance, Candidate};
use crate::router::instance::{Instance, InstanceNumber, Left, Passed};
use crate::session_manager::made_up::{MadeUp, Secret};
use crate::session_manager::session::Seat;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Domain;

/// The first number of an instance: sessions have those below, and count from
/// 1 at each start.
const FIRST_NUMBER: InstanceNumber = 1 << 56;

/// The most instances of one domain on one node that need no name of their
/// own. A guess; the door's limit of connections is lower.
const UNNAMED_MAX: usize = 10_000;

/// Whoever comes in.
#[derive(Debug)]
pub struct Comer {
    /// The domains that it speaks for; the first is the one it asked for.
    pub domains: Vec<Domain>,
    /// How it calls itself.
    pub name: Option<Box<str>>,
    /// Where it connects from.
    pub address: SocketAddr,
    /// What its connection reads from.
    pub outbox: Arc<Outbox<Passed>>,
}

/// What the operator has decided about one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of which domains somebody must be to write to it; empty: of any.
    pub reachable_from: BTreeSet<Domain>,
    /// What an instance of a name weighs, where it is not 1.
    pub weights: BTreeMap<String, u8>,
    /// Namespaces of requests that it answers in the server's place.
    pub delegation: BTreeSet<String>,
    /// Whose presence it hears.
    pub watches: Watches,
}

/// Whose presence a component hears beside what is said to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watches {
    /// Nobody's.
    #[default]
    None,
    /// That of our accounts.
    ManagedEntity,
    /// And of their contacts elsewhere.
    Roster,
}

/// The instances of this node, and the balances of all.
#[derive(Debug)]
pub struct Components {
    cluster: Arc<Cluster>,
    ours: DashMap<InstanceNumber, Arc<Instance>>,
    next: AtomicU64,
    rules: BTreeMap<Box<str>, Rules>,
    policies: balance::Config,
    /// Who answers which requests in the server's place, by namespace.
    delegation: BTreeMap<Box<str>, Domain>,
    /// Who hears the presence of others.
    watchers: Vec<(Domain, Watches)>,
    /// Proves what we have written ourselves; the same on all nodes.
    secret: Arc<MadeUp>,
    /// Computed when they are asked for, and again when anything has changed.
    balances: DashMap<Box<str>, (Stamp, Arc<Balance>)>,
    /// Held while somebody gets a name.
    naming: Mutex<()>,
}

impl Components {
    /// Nobody is connected.
    pub fn new(
        cluster: Arc<Cluster>,
        rules: BTreeMap<Domain, Rules>,
        policies: balance::Config,
        secret: Arc<MadeUp>,
    ) -> Self {
        let delegated = rules.iter().flat_map(|(domain, rules)| {
            rules.delegation.iter().map(|ns| (ns.as_str().into(), domain.clone()))
        });
        let delegation = delegated.collect();
        let watching = rules.iter().filter(|(_, rules)| rules.watches != Watches::None);
        let watchers = watching.map(|(domain, rules)| (domain.clone(), rules.watches)).collect();
        let rules = rules.into_iter().map(|(domain, rules)| (domain.as_str().into(), rules));
        Self {
            cluster,
            ours: DashMap::new(),
            next: AtomicU64::new(FIRST_NUMBER),
            rules: rules.collect(),
            policies,
            delegation,
            watchers,
            secret,
            balances: DashMap::new(),
            naming: Mutex::default(),
        }
    }

    /// An instance comes in: all nodes know it in a moment. One of the same
    /// name that was here before is given up; what waited for it comes back.
    pub fn register(&self, comer: Comer) -> (Arc<Instance>, Vec<Left>) {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let Comer { domains, name, address, outbox } = comer;
        let name = name.unwrap_or_else(|| self.free_name(&domains));
        let twins: Vec<Entry<RouteRow>> = domains
            .iter()
            .flat_map(|domain| self.cluster.tables().routes.find(domain.as_str()))
            .filter(|entry| entry.row.instance == name)
            .collect();
        // later than all of them, whatever the clocks of other nodes say
        let latest = twins.iter().map(|twin| twin.row.since.saturating_add(1)).max();
        let since = now().max(latest.unwrap_or(0));
        let mut left = Vec::new();
        for twin in twins.iter().filter(|twin| twin.owner == self.cluster.me().id) {
            if let Some(twin) = self.local(twin.number) {
                left.extend(self.give_up(&twin));
            }
        }
        let weight = self.rules_of_first(&domains).and_then(|rules| rules.weights.get(&*name));
        let weight = weight.copied().unwrap_or(1);
        let number = |domain| (domain, self.next.fetch_add(1, Ordering::Relaxed));
        let domains = domains.into_iter().map(number).collect();
        let instance = Instance::new(name, domains, (address, since), outbox, weight);
        let instance = Arc::new(instance);
        for (_, number) in &instance.domains {
            self.ours.insert(*number, Arc::clone(&instance));
        }
        self.tell(&instance);
        metrics::set(metrics::COMPONENTS, self.ours.len());
        info!(domain = %first(&instance), instance = %instance.name, %address, "component connected");
        (instance, left)
    }

    /// Takes an instance out of the table. What it leaves behind is whoever
    /// closes its outbox's to plan again.
    pub fn release(&self, instance: &Instance) {
        let mut was_there = false;
        for (_, number) in &instance.domains {
            if self.ours.remove(number).is_some() {
                self.cluster.remove(*number);
                was_there = true;
            }
        }
        if was_there {
            metrics::set(metrics::COMPONENTS, self.ours.len());
            info!(domain = %first(instance), instance = %instance.name, "component gone");
        }
    }

    /// Has all nodes know what is known of an instance.
    pub fn tell(&self, instance: &Instance) {
        for (number, row) in instance.rows() {
            if self.ours.contains_key(&number) {
                self.cluster.put(number, SoftRow::Route(row));
            }
        }
    }

    /// An instance of this node.
    pub fn local(&self, number: InstanceNumber) -> Option<Arc<Instance>> {
        self.ours.get(&number).map(|instance| Arc::clone(&instance))
    }

    /// All instances of this node, each once.
    pub fn all_here(&self) -> Vec<Arc<Instance>> {
        let is_first = |instance: &Instance, number| {
            instance.domains.first().is_some_and(|(_, first)| *first == number)
        };
        let ours = self.ours.iter().filter(|entry| is_first(entry.value(), *entry.key()));
        ours.map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Whether a domain may have components, whoever is connected now.
    pub fn knows(&self, domain: &str) -> bool {
        self.rules.contains_key(domain)
    }

    /// Whether a domain is a component's: one that may come, or one that is
    /// connected to any node.
    pub fn serves(&self, domain: &str) -> bool {
        self.knows(domain) || self.balance(domain).is_some()
    }

    /// What the operator has decided about a domain.
    pub fn rules(&self, domain: &str) -> Option<&Rules> {
        self.rules.get(domain)
    }

    /// Who answers requests of a namespace in the server's place.
    pub fn delegate(&self, ns: &str) -> Option<&Domain> {
        self.delegation.get(ns)
    }

    /// Who hears the presence of others.
    pub fn watchers(&self) -> &[(Domain, Watches)] {
        &self.watchers
    }

    /// Proves what we have written ourselves.
    pub fn secret(&self) -> Secret {
        self.secret.secret()
    }

    /// How the stanzas for a domain are shared among the instances of now;
    /// `None`: there are none.
    pub fn balance(&self, domain: &str) -> Option<Arc<Balance>> {
        let routes = &self.cluster.tables().routes;
        let stamp = routes.stamp();
        if let Some(known) = self.balances.get(domain)
            && known.0 == stamp
        {
            return Some(Arc::clone(&known.1));
        }
        let entries = routes.find(domain);
        if entries.is_empty() {
            self.balances.remove(domain);
            return None;
        }
        let candidate = |entry: Entry<RouteRow>| Candidate {
            seat: Seat { owner: entry.owner, number: entry.number },
            name: entry.row.instance,
            weight: entry.row.weight,
            is_draining: entry.row.is_draining,
        };
        let candidates = entries.into_iter().map(candidate).collect();
        let balance = Arc::new(Balance::new(self.policy(domain), candidates));
        self.balances.insert(domain.into(), (stamp, Arc::clone(&balance)));
        Some(balance)
    }

    /// How the stanzas for a domain are to be shared.
    pub fn policy(&self, domain: &str) -> balance::Policy {
        let policies = self.policies.iter();
        let mut found = policies.filter(|(known, _)| known.as_str() == domain);
        found.next().map(|(_, policy)| policy.clone()).unwrap_or_default()
    }

    /// Looks at changes of the merged table: an instance of ours may have lost
    /// its name to a later one on another node. What waited for it comes back.
    pub fn note(&self, changes: &[RowChange]) -> Vec<Left> {
        let mut left = Vec::new();
        for change in changes {
            if let Some(SoftRow::Route(row)) = &change.new
                && change.owner != self.cluster.me().id
            {
                left.extend(self.settle(&row.domain, &row.instance));
            }
        }
        left
    }

    /// Looks at all instances of this node: nodes that were hidden may have
    /// come back with instances of the same names.
    pub fn settle_all(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for instance in self.all_here() {
            for (domain, _) in &instance.domains {
                left.extend(self.settle(domain.as_str(), &instance.name));
            }
        }
        left
    }

    /// Of those with one name only the latest stays.
    fn settle(&self, domain: &str, name: &str) -> Vec<Left> {
        let entries = self.cluster.tables().routes.find(domain);
        let twins = || entries.iter().filter(|entry| &*entry.row.instance == name);
        let age = |entry: &Entry<RouteRow>| (entry.row.since, entry.owner, entry.number);
        let Some(latest) = twins().map(age).max() else { return Vec::new() };
        let me = self.cluster.me().id;
        let losers = twins().filter(|entry| entry.owner == me && age(entry) < latest);
        let losers = losers.filter_map(|entry| self.local(entry.number));
        losers.flat_map(|instance| self.give_up(&instance)).collect()
    }

    fn give_up(&self, instance: &Instance) -> Vec<Left> {
        debug!(instance = %instance.name, "an instance of the same name took its place");
        self.release(instance);
        let words = "an instance of the same name has come";
        instance.abort(&StreamError::new(StreamCondition::Conflict, words))
    }

    fn rules_of_first(&self, domains: &[Domain]) -> Option<&Rules> {
        domains.first().and_then(|domain| self.rules(domain.as_str()))
    }

    /// The node's name and the lowest number that is free: so an instance that
    /// comes back to its node has its name again.
    fn free_name(&self, domains: &[Domain]) -> Box<str> {
        let node = &self.cluster.me().name;
        let taken: BTreeSet<Box<str>> = domains
            .iter()
            .flat_map(|domain| self.cluster.tables().routes.find(domain.as_str()))
            .map(|entry| entry.row.instance)
            .collect();
        let names = (1..=UNNAMED_MAX).map(|number| format!("{node}#{number}").into_boxed_str());
        let mut free = names.filter(|name| !taken.contains(name));
        free.next().unwrap_or_else(|| format!("{node}#").into())
    }
}

fn first(instance: &Instance) -> &str {
    instance.domains.first().map_or("", |(domain, _)| domain.as_str())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    u64::try_from(now).unwrap_or(u64::MAX)
}
