//! The components of all nodes, as an operator sees them, and one that drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::admin::answers::{done, failed};
use crate::admin::requests::Response;
use crate::admin::{ANSWER_TIME_MAX, Admin, topic};
use crate::cluster::asks::Question;
use crate::cluster::node::NodeId;
use crate::cluster::rows::RouteRow;
use crate::cluster::table::Entry;
use crate::router::instance::InstanceNumber;
use crate::session_manager::session::Seat;

/// One instance, for one of its domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentLine {
    /// The domain.
    pub domain: String,
    /// Its name.
    pub instance: String,
    /// The name of its node.
    pub node: String,
    /// What it calls itself; may be empty.
    pub title: String,
    /// `serving`, `draining`, or `standing by`: more instances than buckets.
    pub state: String,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Its share beside the others.
    pub weight: u8,
    /// Buckets that are its own; nothing: there are no buckets.
    pub buckets: Option<usize>,
    /// What its node knows of it; nothing: it did not answer.
    pub busy: Option<Busy>,
}

/// What only its own node knows of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Busy {
    /// Its number there.
    pub number: InstanceNumber,
    /// Where it connects from.
    pub address: String,
    /// Stanzas that it was given.
    pub got: u64,
    /// Stanzas that it has sent.
    pub sent: u64,
    /// Bytes that wait for it.
    pub waiting_bytes: usize,
    /// What it can do (XEP-0030).
    pub features: Vec<String>,
}

/// What one node asks another. JSON: nodes of other versions may know more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Ask {
    /// How are they?
    List,
    /// One drains from now on, or not any more.
    Drain { number: InstanceNumber, drains: bool },
}

/// All of them.
pub async fn list(admin: &Arc<Admin>) -> Response {
    let ask = written(&Ask::List);
    let mut asks = JoinSet::new();
    let members = admin.cluster.members();
    for member in members.others() {
        let (cluster, node, ask) = (Arc::clone(&admin.cluster), member.node.clone(), ask.clone());
        asks.spawn(async move {
            let answer = cluster.ask(node.id, topic::COMPONENTS, ask, ANSWER_TIME_MAX).await;
            let busy = answer.ok().and_then(|answer| serde_json::from_slice(&answer).ok());
            (node, busy)
        });
    }
    let (mut busy, mut silent) = (vec![(admin.cluster.me().id, admin.busy())], Vec::new());
    while let Some(answer) = asks.join_next().await {
        match answer {
            Ok((node, Some(heard))) => busy.push((node.id, heard)),
            Ok((node, None)) => silent.push(node.name.to_string()),
            Err(_) => {}
        }
    }
    let mut components = Vec::new();
    admin.cluster.tables().routes.for_each(|entry| components.push(admin.line(entry, &busy)));
    components
        .sort_by(|one, other| (&one.domain, &one.instance).cmp(&(&other.domain, &other.instance)));
    Response::Components { components, silent }
}

/// An instance shall get nothing that another can take, or shall again.
pub async fn drain(admin: &Arc<Admin>, domain: &str, instance: &str, drains: bool) -> Response {
    let entries = admin.cluster.tables().routes.find(domain);
    let Some(entry) = entries.iter().find(|entry| &*entry.row.instance == instance) else {
        return failed(format!(
            "{domain} has no instance {instance}; `jabiru components` shows all"
        ));
    };
    let is_done = if entry.owner == admin.cluster.me().id {
        admin.set_draining(entry.number, drains)
    } else {
        let ask = written(&Ask::Drain { number: entry.number, drains });
        let answer = admin.cluster.ask(entry.owner, topic::COMPONENTS, ask, ANSWER_TIME_MAX).await;
        match answer.map(|answer| serde_json::from_slice(&answer).unwrap_or(false)) {
            Ok(is_done) => is_done,
            Err(error) => return failed(error),
        }
    };
    let others = entries.iter().any(|one| !one.row.is_draining && one.number != entry.number);
    match (is_done, drains) {
        (false, _) => failed(format!("{instance} of {domain} has just gone")),
        (true, false) => done(format!("{instance} of {domain} serves again")),
        (true, true) if others => {
            done(format!("{instance} of {domain} drains: the others get what is new"))
        }
        (true, true) => done(format!(
            "{instance} of {domain} drains, but there is no other: it gets what is new until one comes"
        )),
    }
}

impl Admin {
    /// Another node asks.
    pub(super) fn asked_of_components(&self, question: Question) {
        let answer = match serde_json::from_slice(&question.body) {
            Ok(Ask::List) => serde_json::to_vec(&self.busy()),
            Ok(Ask::Drain { number, drains }) => {
                serde_json::to_vec(&self.set_draining(number, drains))
            }
            // newer than we are: it will hear that we do not answer
            Err(_) => return,
        };
        question.answer(answer.unwrap_or_default().into());
    }

    fn set_draining(&self, number: InstanceNumber, drains: bool) -> bool {
        let Some(instance) = self.components.local(number) else { return false };
        if instance.show(|shown| shown.is_draining = drains) {
            self.components.tell(&instance);
        }
        true
    }

    fn busy(&self) -> Vec<Busy> {
        let all = self.components.all_here();
        let lines = all.iter().flat_map(|instance| {
            let features = instance.shown().features.into_iter().map(Into::into).collect();
            let busy = Busy {
                number: 0,
                address: instance.address.to_string(),
                got: instance.got.load(Ordering::Relaxed),
                sent: instance.sent.load(Ordering::Relaxed),
                waiting_bytes: instance.waiting_bytes(),
                features,
            };
            let numbers = instance.domains.iter().map(|(_, number)| *number);
            numbers.map(move |number| Busy { number, ..busy.clone() })
        });
        lines.collect()
    }

    fn line(&self, entry: Entry<RouteRow>, busy: &[(NodeId, Vec<Busy>)]) -> ComponentLine {
        let Entry { owner, number, row } = entry;
        let members = self.cluster.members();
        let node = members.get(owner).map(|member| member.node.name.to_string());
        let balance = self.components.balance(&row.domain);
        let buckets = balance.and_then(|balance| balance.buckets_of(Seat { owner, number }));
        let state = match (row.is_draining, buckets) {
            (true, _) => "draining",
            (false, Some(0)) => "standing by",
            (false, _) => "serving",
        };
        let mut known = busy.iter().filter(|(node, _)| *node == owner).flat_map(|(_, busy)| busy);
        ComponentLine {
            domain: row.domain.into(),
            instance: row.instance.into(),
            node: node.unwrap_or_default(),
            title: row.title.into(),
            state: state.into(),
            since: row.since / 1_000,
            weight: row.weight,
            buckets,
            busy: known.find(|busy| busy.number == number).cloned(),
        }
    }
}

fn written(ask: &Ask) -> Bytes {
    serde_json::to_vec(ask).unwrap_or_default().into()
}
