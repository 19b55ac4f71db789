//! The operator's doors: a local socket for commands, HTTP for machines that
//! watch.

pub mod config;
pub mod http;
pub mod report;
pub mod requests;
pub mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use crate::admin::report::NodeReport;
use crate::cluster::asks::Question;
use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::session_manager::accounts::Accounts;
use crate::session_manager::sessions::Sessions;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Jid;

/// The topics of our questions to other nodes.
pub mod topic {
    /// How are you?
    pub const REPORT: u8 = 20;
    /// End the sessions of this address.
    pub const KICK: u8 = 21;
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
    /// Who may connect.
    pub accounts: Arc<Accounts>,
    /// The durable tables.
    pub durable: Arc<Durable>,
    /// Since when this node serves.
    pub started: Instant,
    /// Told when the operator wants this node to stop.
    pub stop: Notify,
}

impl Admin {
    /// Answers another node's question, if it is about us.
    pub fn answer(self: &Arc<Self>, question: Question) -> Option<Question> {
        match question.topic {
            topic::REPORT => question.answer(NodeReport::of(self).written()),
            topic::KICK => {
                let count = self.kick_here(&question.body);
                question.answer(Bytes::copy_from_slice(&count.to_be_bytes()));
            }
            _ => return Some(question),
        }
        None
    }

    /// Ends the sessions of an address on all nodes, and says how many.
    pub async fn kick(&self, address: &Jid) -> u64 {
        let entries = self.cluster.tables().sessions.find(address.bare().as_str());
        let mut owners: Vec<_> = entries.iter().map(|entry| entry.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let mut count = 0;
        for owner in owners {
            let body = Bytes::copy_from_slice(address.as_str().as_bytes());
            let asked = self.cluster.ask(owner, topic::KICK, body, ANSWER_TIME_MAX).await;
            match asked.as_deref().map(TryInto::try_into) {
                Ok(Ok(bytes)) => count += u64::from_be_bytes(bytes),
                _ => warn!(node = %owner, "a node did not say whether it ended sessions"),
            }
        }
        count
    }

    fn kick_here(&self, address: &[u8]) -> u64 {
        let address = std::str::from_utf8(address).ok().and_then(|text| Jid::parse(text).ok());
        let Some(address) = address else { return 0 };
        let error = StreamError::new(StreamCondition::PolicyViolation, "ended by the operator");
        self.sessions.end(&address.bare(), address.resource(), &error) as u64
    }
}
