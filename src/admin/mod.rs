//! The operator's doors: a local socket for commands, HTTP for machines that
//! watch.

pub mod accounts;
pub mod answers;
pub mod belongings;
pub mod components;
pub mod config;
pub mod http;
pub mod life;
pub mod membership;
pub mod report;
pub mod requests;
pub mod sending;
pub mod servers;
pub mod socket;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::life::End;
use crate::admin::report::NodeReport;
use crate::cluster::asks::Question;
use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::cluster::keyring::Keyring;
use crate::cluster::protocol::Protocol;
use crate::cluster::registry::Registry;
use crate::extension::Rooms;
use crate::im;
use crate::router::Router;
use crate::router::components::Components;
use crate::s2s_manager::arrivals::Arrivals;
use crate::s2s_manager::links::Links;
use crate::session_manager::draining::Draining;
use crate::session_manager::session::Held;
use crate::session_manager::sessions::Sessions;

/// The topics of our questions to other nodes.
pub mod topic {
    /// How are you?
    pub const REPORT: u8 = 20;
    /// Leave the cluster.
    pub const LEAVE: u8 = 21;
    /// Have all the rows of whoever asks.
    pub const MEET: u8 = 22;
    /// What has happened?
    pub const EVENTS: u8 = 23;
    /// How are your components, or one shall drain.
    pub const COMPONENTS: u8 = 24;
    /// Which other servers do you speak with?
    pub const SERVERS: u8 = 25;
    /// Speak with this one no longer.
    pub const CLOSE_SERVER: u8 = 26;
}

/// How long another node may take for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What the operator's doors need of the rooms below.
#[derive(Debug)]
pub struct Admin {
    /// The other nodes.
    pub cluster: Arc<Cluster>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// The durable tables.
    pub durable: Arc<Durable>,
    /// The other rooms.
    pub rooms: Arc<Rooms>,
    /// Carries out what is said.
    pub router: Arc<Router>,
    /// The nodes of the cluster, whether they run or not.
    pub registry: Arc<Registry>,
    /// The cookies of the cluster.
    pub ring: Arc<Keyring>,
    /// The newest protocol that we speak with other nodes.
    pub protocol: Protocol,
    /// What all nodes must have the same, by section, as numbers.
    pub settings: BTreeMap<String, u64>,
    /// Held while this node leaves.
    pub leaving: tokio::sync::Mutex<()>,
    /// How large a roster may be.
    pub limits: im::config::Config,
    /// Since when this node serves.
    pub started: Instant,
    /// Links to other servers.
    pub servers: Arc<Links<Held>>,
    /// Streams of other servers.
    pub arrivals: Arc<Arrivals>,
    /// Whether this node drains.
    pub draining: Arc<Draining>,
    /// The components of all nodes.
    pub components: Arc<Components>,
    /// Wanted when the operator wants this node to stop.
    pub end: End,
}

impl Admin {
    /// Answers another node's question, if it is about us.
    pub fn answer(self: &Arc<Self>, question: Question) -> Option<Question> {
        match question.topic {
            topic::REPORT => question.answer(NodeReport::of(self).written()),
            topic::LEAVE => self.asked_to_leave(question),
            topic::MEET => self.asked_to_meet(question),
            topic::EVENTS => self.tell_events(question),
            topic::COMPONENTS => self.asked_of_components(question),
            topic::SERVERS => question.answer(servers::written(self)),
            topic::CLOSE_SERVER => servers::asked_to_close(self, question),
            _ => return Some(question),
        }
        None
    }
}
