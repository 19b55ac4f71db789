//! Which nodes there are, and how one comes and goes for good: `join`,
//! `leave`, `nodes`, `events`. Each answers when it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::answers::{done, failed};
use crate::admin::report::Status;
use crate::admin::requests::{EventLine, MemberLine, Response};
use crate::admin::{ANSWER_TIME_MAX, Admin, life, topic};
use crate::cluster::admission::{self, Admission};
use crate::cluster::asks::Question;
use crate::cluster::history::{Entry, What};
use crate::cluster::node::{NodeId, NodeName, NodeState};

/// How long another node may take until it has all rows of one that leaves, or
/// one that joins until it has theirs. A guess: a million rows take seconds.
const ROWS_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a leaving node may take after it has handed its rows over: its
/// clients go. Longer than any sensible `[server] stop_time_max`.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// This node meets the cluster of `seed`.
pub async fn join(admin: &Arc<Admin>, seed: &str) -> Response {
    let (cluster, begin) = (&admin.cluster, Instant::now());
    let seeds = [seed.to_owned()];
    let asked = admission::ask(cluster.me(), &admin.ring, admin.protocol, &seeds, true).await;
    let (by, name) = match asked {
        Ok(Admission::Welcome { by, name }) => (by, name),
        Ok(Admission::Refused { by, verdict }) => {
            return failed(format!("{by} does not let this node in: {verdict}"));
        }
        Ok(Admission::Alone) => {
            return failed(format!(
                "no other node answers at {seed}: it must run, its port must be open for TCP and UDP, and its cookie must be ours"
            ));
        }
        Err(error) => return failed(error),
    };
    info!(%seed, "the operator joins this node with another");
    cluster.history.note(What::Said { words: format!("asked to join {seed}") });
    cluster.add_seed(&by.to_string());
    while begin.elapsed() < ROWS_TIME_MAX {
        let peers = cluster.peers();
        let visible = peers.iter().filter(|peer| peer.is_visible);
        let mut met = visible.filter(|peer| match &name {
            Some(name) => peer.node.name == *name,
            None => peer.address == Some(by),
        });
        let has_rows = |peer: &&_| admin.has_rows_of(peer) && admin.serves();
        if let Some(peer) = met.next().filter(has_rows) {
            let members = cluster.members();
            let names: Vec<_> = members.iter().map(|one| one.node.name.as_str()).collect();
            return done(format!(
                "{} is together with {}, after {:.1} s: {} nodes ({}), {} durable rows",
                cluster.me().name,
                peer.node.name,
                begin.elapsed().as_secs_f32(),
                names.len(),
                names.join(", "),
                admin.durable.count(),
            ));
        }
        sleep(PAUSE).await;
    }
    failed(format!(
        "{seed} would have this node, but they are not together after {} s; is UDP open both ways? It goes on trying",
        ROWS_TIME_MAX.as_secs()
    ))
}

/// This node, or the one named so, leaves for good.
pub async fn leave(admin: &Arc<Admin>, name: Option<&str>) -> Response {
    let own = &admin.cluster.me().name;
    let name = match name.map(str::parse::<NodeName>) {
        None => own.clone(),
        Some(Ok(name)) => name,
        Some(Err(error)) => return failed(error),
    };
    if name != *own {
        return leave_there(admin, &name).await.map_or_else(failed, done);
    }
    match leave_here(admin).await {
        // it is done when this process has ended
        Ok(left) => match life::stop(admin).await {
            Response::Done { message } => done(format!("{left}; {message}")),
            other => other,
        },
        Err(why) => failed(why),
    }
}

/// Hands over what this node has, and is removed: then it must stop.
async fn leave_here(admin: &Arc<Admin>) -> Result<String, String> {
    // a second command waits for the first, and hears the same
    let _turn = admin.leaving.lock().await;
    let cluster = &admin.cluster;
    let (me, members) = (cluster.me(), cluster.members());
    if admin.registry.is_removed(&me.name) {
        return Ok(format!("{} has left", me.name));
    }
    let serves = |state| matches!(state, NodeState::Serving | NodeState::Draining);
    let others: Vec<_> = members.others().filter(|one| serves(one.state)).cloned().collect();
    if others.is_empty() {
        return Err(
            "no other node serves, so nobody would have what this one has; `jabiru stop` stops it"
                .into(),
        );
    }
    let before = members.get(me.id).map(|me| me.state).unwrap_or_default();
    info!("this node leaves the cluster");
    // from now on others are home
    cluster.set_state(NodeState::Leaving);
    let mut asks = JoinSet::new();
    for other in others {
        let cluster = Arc::clone(cluster);
        asks.spawn(async move {
            let met = cluster.ask(other.node.id, topic::MEET, Bytes::new(), ROWS_TIME_MAX).await;
            (other.node.name, met.is_ok())
        });
    }
    let asked = asks.join_all().await;
    let has = |wanted: bool| {
        let names = asked.iter().filter(move |(_, has)| *has == wanted);
        names.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let removed = match asked.iter().any(|(_, has)| *has) {
        true => admin.registry.remove(&me.name).await.map_err(|error| error.to_string()),
        false => Err(format!("none of {} has taken over all rows in time", has(false))),
    };
    if let Err(error) = removed {
        cluster.set_state(before);
        return Err(format!("{} stays: {error}", me.name));
    }
    let late = match has(false) {
        late if late.is_empty() => String::new(),
        late => format!("; {late} did not answer, and gets them from the others"),
    };
    Ok(format!("{} has left: {} have all its rows{late}", me.name, has(true)))
}

async fn leave_there(admin: &Arc<Admin>, name: &NodeName) -> Result<String, String> {
    let (cluster, begin) = (&admin.cluster, Instant::now());
    let stays = || cluster.members().named(name).cloned();
    while let Some(member) = stays() {
        let patience = ROWS_TIME_MAX + ANSWER_TIME_MAX;
        let asked = cluster.ask(member.node.id, topic::LEAVE, Bytes::new(), patience).await;
        match asked.ok().and_then(|answer| serde_json::from_slice(&answer).ok()) {
            Some(Ok::<String, String>(left)) => {
                while stays().is_some() && begin.elapsed() < ROWS_TIME_MAX + GOODBYE_TIME_MAX {
                    sleep(PAUSE).await;
                }
                return match stays() {
                    None => Ok(left),
                    Some(_) => Err(format!("{left}; but it has not stopped yet")),
                };
            }
            Some(Err(why)) => return Err(why),
            None if begin.elapsed() > ROWS_TIME_MAX => {
                return Err(format!("{name} is there, and does not answer; stop it first"));
            }
            // it may be on its way out
            None => sleep(PAUSE).await,
        }
    }
    let rows = admin.registry.rows();
    match rows.get(name.as_str()) {
        None => {
            let known: Vec<_> = rows.keys().map(String::as_str).collect();
            Err(format!("no node {name} is known; there are {}", known.join(", ")))
        }
        Some(row) if row.removed.is_some() => Ok(format!("{name} had left already")),
        Some(_) => {
            admin.registry.remove(name).await.map_err(|error| error.to_string())?;
            info!(node = %name, "a node that is gone is removed for good");
            Ok(format!(
                "{name} was gone, and is removed: it is turned away until `jabiru join` is typed there. What only it had is lost"
            ))
        }
    }
}

/// All nodes: those that are there, those that are not, those that left.
pub async fn nodes(admin: &Arc<Admin>) -> Response {
    let status = Status::ask(admin).await;
    let mut nodes: Vec<MemberLine> = status
        .nodes
        .into_iter()
        .map(|node| MemberLine {
            node: node.node,
            state: node.state,
            address: node.address,
            version: node.version,
            removed: None,
        })
        .collect();
    for (name, row) in admin.registry.rows() {
        if nodes.iter().any(|node| node.node == name) {
            continue;
        }
        let state = if row.removed.is_some() { "removed" } else { "gone" }.into();
        let (address, version) = (row.address, row.version);
        nodes.push(MemberLine { node: name, state, address, version, removed: row.removed });
    }
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    Response::Nodes { nodes }
}

/// What has happened, on all nodes that answer, the oldest first.
pub async fn events(admin: &Arc<Admin>, limit: usize) -> Response {
    let cluster = &admin.cluster;
    let mut asks = JoinSet::new();
    for member in cluster.members().others() {
        let (cluster, node) = (Arc::clone(cluster), member.node.clone());
        asks.spawn(async move {
            let answer = cluster.ask(node.id, topic::EVENTS, Bytes::new(), ANSWER_TIME_MAX).await;
            let entries = answer.ok().and_then(|answer| serde_json::from_slice(&answer).ok());
            (node.name.to_string(), entries)
        });
    }
    let mut heard = vec![(cluster.me().name.to_string(), Some(cluster.history.entries()))];
    heard.extend(asks.join_all().await);
    let silent = heard.iter().filter(|(_, entries)| entries.is_none());
    let silent = silent.map(|(node, _)| node.clone()).collect();
    let line = |node: &str, entry: Entry| EventLine {
        at: entry.at,
        node: node.to_owned(),
        words: entry.what.to_string(),
        what: entry.what,
    };
    let lines = heard.into_iter().flat_map(|(node, entries)| {
        entries.unwrap_or_default().into_iter().map(move |entry| line(&node, entry))
    });
    let mut events: Vec<EventLine> = lines.collect();
    events.sort_by_key(|event| event.at);
    let surplus = events.len().saturating_sub(limit);
    Response::Events { events: events.split_off(surplus), silent }
}

impl Admin {
    fn has_rows_of(&self, peer: &crate::cluster::view::PeerView) -> bool {
        let soft = peer.told.is_some_and(|told| peer.version >= told);
        soft && self.durable.has_met(peer.node.id)
    }

    /// Another node asks that this one leaves.
    pub(super) fn asked_to_leave(self: &Arc<Self>, question: Question) {
        let admin = Arc::clone(self);
        tokio::spawn(async move {
            let left = leave_here(&admin).await;
            if let Err(error) = &left {
                warn!(%error, "another node's operator wants this one to leave");
            }
            let is_over = left.is_ok();
            question.answer(serde_json::to_vec(&left).unwrap_or_default().into());
            if is_over {
                admin.end.want();
            }
        });
    }

    /// A node that leaves wants us to have all its rows.
    pub(super) fn asked_to_meet(self: &Arc<Self>, question: Question) {
        let (admin, node, begin) = (Arc::clone(self), question.from, Instant::now());
        tokio::spawn(async move {
            admin.durable.meet(node);
            while begin.elapsed() < ROWS_TIME_MAX && admin.is_member(node) {
                if admin.durable.has_met(node) {
                    return question.answer(Bytes::from_static(b"met"));
                }
                sleep(PAUSE).await;
            }
        });
    }

    fn serves(&self) -> bool {
        let members = self.cluster.members();
        members.get(members.me()).is_some_and(|me| me.state != NodeState::Joining)
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.cluster.members().contains(node)
    }

    /// Another node wants our history: its newest entries, as far as an answer
    /// has room.
    pub(super) fn tell_events(&self, question: Question) {
        let mut entries = self.cluster.history.entries();
        loop {
            let text = serde_json::to_vec(&entries).unwrap_or_default();
            if text.len() <= crate::cluster::asks::BODY_BYTES_MAX || entries.is_empty() {
                return question.answer(text.into());
            }
            entries.drain(..entries.len().div_ceil(2));
        }
    }
}
