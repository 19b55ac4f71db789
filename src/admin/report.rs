//! How a node is, as it says itself, and how they all are, side by side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::warn;

use crate::admin::verdict::{CLOCK_OFF_MAX, faults, notes};
use crate::admin::{ANSWER_TIME_MAX, Admin, topic};
use crate::cluster::node::{NodeId, NodeState};
use crate::cluster::protocol::Protocol;
use crate::cluster::view::{PeerView, Way};

/// A hidden node that gossip still hears after this long is not dead, but out
/// of reach: gossip takes up to 0.75 s to notice a death.
const GONE_MIN: Duration = Duration::from_secs(2);

/// A node in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// This life of it.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// What it is up to.
    pub state: NodeState,
    /// Where other nodes find it.
    pub address: String,
    /// Its software.
    pub version: String,
    /// Since when it serves, in seconds.
    pub uptime: u64,
    /// Sessions of its own.
    pub sessions: u64,
    /// Routes to components of its own.
    pub routes: u64,
    /// Changes that its own rows have seen.
    pub rows_version: u64,
    /// How far it is with the rows of each other node.
    pub replicas: Vec<(NodeId, u64)>,
    /// All nodes that it sees, itself included.
    pub members: Vec<NodeId>,
    /// Durable rows, and one number for all of them.
    pub durable_rows: u64,
    /// Equal on nodes that have the same.
    pub durable_digest: u64,
    /// Acknowledgements of durable rows that came late or not at all since it
    /// was started, of each node.
    pub durable_late: Vec<(NodeId, u64)>,
    /// Why its store fails.
    pub durable_failing: Option<String>,
    /// Its time of day, in milliseconds since 1970.
    pub clock: u64,
    /// What must be the same on all nodes, by section, as numbers.
    #[serde(default)]
    pub settings: BTreeMap<String, u64>,
    /// Its cookies, by fingerprint; the first is used.
    #[serde(default)]
    pub cookies: Vec<String>,
    /// Nodes that it reaches by another only, and by which: names.
    #[serde(default)]
    pub detours: Vec<(String, String)>,
    /// Seconds until those who are left are asked to move, while it drains.
    pub draining_for: Option<u64>,
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Which node says so.
    pub from: String,
    /// Each node.
    pub nodes: Vec<NodeLine>,
    /// In one line.
    pub verdict: String,
    /// Whether all is well.
    pub is_well: bool,
    /// What is under way, and no fault.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One node as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its name.
    pub node: String,
    /// `serving`, `joining`, `draining`, `leaving`, or `silent`.
    pub state: String,
    /// Where other nodes find it.
    pub address: String,
    /// Its software.
    pub version: String,
    /// Seconds.
    pub uptime: Option<u64>,
    /// Sessions of its own.
    pub sessions: Option<u64>,
    /// Routes of its own.
    pub routes: Option<u64>,
    /// Durable rows.
    pub durable_rows: Option<u64>,
    /// Milliseconds since we last heard of it.
    pub heard: Option<u64>,
    /// The protocol that is spoken with it directly.
    pub protocol: Option<u8>,
    /// Milliseconds to it and back.
    pub round_trip: Option<f64>,
    /// Changes of its rows that we do not have yet.
    pub lag: Option<u64>,
    /// Milliseconds that its clock is ahead of ours.
    pub clock_off: Option<i64>,
    /// Changes of durable rows that it acknowledged late or not at all, as all
    /// nodes have counted since they were started. It was caught up later.
    pub durable_late: u64,
    /// Seconds until those who are left are asked to move, while it drains.
    #[serde(default)]
    pub draining_for: Option<u64>,
}

impl NodeReport {
    /// Ourselves.
    pub fn of(admin: &Admin) -> Self {
        let cluster = &admin.cluster;
        let me = cluster.me();
        let members = cluster.members();
        let state = members.get(me.id).map_or(NodeState::Joining, |me| me.state);
        let mut routes = 0;
        cluster.tables().routes.for_each_of(me.id, |_| routes += 1);
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: me.id,
            name: me.name.to_string(),
            state,
            address: cluster.address().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: admin.started.elapsed().as_secs(),
            sessions: admin.sessions.count() as u64,
            routes,
            rows_version: cluster.version(),
            replicas: cluster.peers().iter().map(|peer| (peer.node.id, peer.version)).collect(),
            members: members.iter().map(|member| member.node.id).collect(),
            durable_rows: admin.durable.count(),
            durable_digest: admin.durable.digest(),
            durable_late: admin.durable.late_nodes().into_iter().collect(),
            durable_failing: admin.durable.failing().map(|failing| failing.to_string()),
            clock: u64::try_from(clock.as_millis()).unwrap_or(u64::MAX),
            settings: admin.settings.clone(),
            cookies: admin.ring.fingerprints(),
            detours: detours(&cluster.peers()),
            draining_for: admin
                .draining
                .until()
                .map(|until| until.duration_since(SystemTime::now()).unwrap_or_default().as_secs()),
        }
    }

    pub(super) fn written(&self) -> Bytes {
        // JSON: nodes of other versions have fewer fields, or more
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// What another node answered, and how long it took.
pub(super) struct Heard {
    pub(super) report: NodeReport,
    took: Duration,
    /// Milliseconds that its clock is ahead of ours.
    pub(super) clock_off: i64,
}

impl Status {
    /// Asks all nodes.
    pub async fn ask(admin: &Admin) -> Self {
        let mut asks = JoinSet::new();
        for member in admin.cluster.members().others() {
            let (cluster, id) = (std::sync::Arc::clone(&admin.cluster), member.node.id);
            asks.spawn(async move {
                let begin = Instant::now();
                let answer = cluster.ask(id, topic::REPORT, Bytes::new(), ANSWER_TIME_MAX).await;
                let report: NodeReport = serde_json::from_slice(&answer.ok()?).ok()?;
                let took = begin.elapsed();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let half_way = now.saturating_sub(took / 2).as_millis();
                let off = i128::from(report.clock) - i128::try_from(half_way).unwrap_or(0);
                let clock_off = i64::try_from(off).unwrap_or(i64::MAX);
                Some(Heard { report, took, clock_off })
            });
        }
        let mut heard = Vec::new();
        while let Some(answer) = asks.join_next().await {
            heard.extend(answer.ok().flatten());
        }
        Self::of(&NodeReport::of(admin), &heard, admin)
    }

    fn of(own: &NodeReport, heard: &[Heard], admin: &Admin) -> Self {
        let reports = || heard.iter().map(|heard| &heard.report).chain([own]);
        let late = |id: NodeId| {
            let counts = reports().flat_map(|report| &report.durable_late);
            counts.filter(|(late, _)| *late == id).map(|(_, count)| count).sum()
        };
        let mut nodes = vec![NodeLine { durable_late: late(own.id), ..own_line(own) }];
        let mut silent = Vec::new();
        for peer in admin.cluster.peers() {
            let answer = heard.iter().find(|heard| heard.report.id == peer.node.id);
            // a killed node is no node; one that gossip still hears, and nobody
            // reaches, is worth a line
            let just_gone = peer.hidden.is_some_and(|hidden| hidden < GONE_MIN);
            if !peer.is_visible && (!peer.in_gossip || just_gone) {
                continue;
            }
            if answer.is_none() {
                silent.push(peer.node.name.to_string());
            }
            nodes.push(NodeLine {
                node: peer.node.name.to_string(),
                state: answer.map_or("silent".into(), |heard| heard.report.state.to_string()),
                address: peer.address.map(|address| address.to_string()).unwrap_or_default(),
                version: answer.map(|heard| heard.report.version.clone()).unwrap_or_default(),
                uptime: answer.map(|heard| heard.report.uptime),
                sessions: answer.map(|heard| heard.report.sessions),
                routes: answer.map(|heard| heard.report.routes),
                durable_rows: answer.map(|heard| heard.report.durable_rows),
                heard: peer.heard.map(|heard| u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)),
                protocol: peer.protocol.map(Protocol::number),
                round_trip: answer.map(|heard| heard.took.as_secs_f64() * 1_000.0),
                lag: answer.map(|heard| heard.report.rows_version.saturating_sub(peer.version)),
                clock_off: answer.map(|heard| heard.clock_off),
                durable_late: late(peer.node.id),
                draining_for: answer.and_then(|heard| heard.report.draining_for),
            });
        }
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        let faults = faults(own, heard, &silent);
        let count = match nodes.len() {
            1 => "1 node".to_owned(),
            count => format!("{count} nodes"),
        };
        let is_well = faults.is_empty();
        let verdict = match is_well {
            true if nodes.len() == 1 => format!("{count}, alone"),
            true => format!("{count}, all agree"),
            false => format!("{count}: {}", faults.join("; ")),
        };
        Self { from: own.name.clone(), nodes, verdict, is_well, notes: notes(own, heard) }
    }
}

/// Says in the log, whenever the set of nodes changes, whose clock is far off:
/// stamps of durable rows and times of messages come from it.
pub async fn watch_clocks(admin: std::sync::Arc<Admin>) {
    let mut members = admin.cluster.watch_members();
    while members.changed().await.is_ok() {
        members.mark_unchanged();
        for node in Status::ask(&admin).await.nodes {
            let off = Duration::from_millis(node.clock_off.unwrap_or(0).unsigned_abs());
            if off > CLOCK_OFF_MAX {
                let milliseconds = node.clock_off;
                warn!(node = %node.node, milliseconds, "the clock of a node is far from ours");
            }
        }
    }
}

/// Who is not reached directly, and by whom instead.
fn detours(peers: &[PeerView]) -> Vec<(String, String)> {
    let name = |id: NodeId| {
        let by = peers.iter().find(|peer| peer.node.id == id);
        by.map_or_else(|| id.to_string(), |by| by.node.name.to_string())
    };
    let detour = |peer: &PeerView| match peer.way {
        Way::Relay(by) if peer.is_visible => Some((peer.node.name.to_string(), name(by))),
        Way::Relay(_) | Way::Direct | Way::None => None,
    };
    peers.iter().filter_map(detour).collect()
}

fn own_line(own: &NodeReport) -> NodeLine {
    NodeLine {
        node: own.name.clone(),
        state: own.state.to_string(),
        address: own.address.clone(),
        version: own.version.clone(),
        uptime: Some(own.uptime),
        sessions: Some(own.sessions),
        routes: Some(own.routes),
        durable_rows: Some(own.durable_rows),
        heard: None,
        protocol: None,
        round_trip: None,
        lag: Some(0),
        clock_off: Some(0),
        durable_late: 0,
        draining_for: own.draining_for,
    }
}
