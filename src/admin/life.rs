//! The operator's words about the life of this node: drain, serve again, stop.
//! Each answers when it is done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tracing::info;

use crate::admin::Admin;
use crate::admin::answers::{done, failed};
use crate::admin::requests::Response;
use crate::session_manager::draining::Drained;
use crate::units::Span;

/// Commands at a time; further ones wait.
pub const COMMANDS_MAX: u32 = 64;

/// How long the last answers may take to be written. A guess.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_secs(1);

/// The end of this process, as those wait for it who have asked for it.
#[derive(Debug)]
pub struct End {
    wanted: Notify,
    /// What they are told when it has come.
    come: watch::Sender<Option<String>>,
    /// One permit for each command.
    commands: Arc<Semaphore>,
}

impl Default for End {
    fn default() -> Self {
        let commands = Arc::new(Semaphore::new(COMMANDS_MAX as usize));
        Self { wanted: Notify::new(), come: watch::Sender::new(None), commands }
    }
}

impl End {
    /// Waits until somebody wants it.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// This process shall end.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// It has come: whoever waits is told, a moment at most.
    pub async fn tell(&self, message: String) {
        self.come.send_replace(Some(message));
        let _ = timeout(LAST_ANSWERS_TIME_MAX, self.commands.acquire_many(COMMANDS_MAX)).await;
    }

    /// A permit for each command.
    pub(super) fn commands(&self) -> Arc<Semaphore> {
        Arc::clone(&self.commands)
    }
}

/// Clients go to other nodes.
pub(super) async fn drain(admin: &Admin, deadline: Option<Span>) -> Response {
    let name = &admin.cluster.me().name;
    info!(deadline = deadline.map(tracing::field::display), "the operator drains this node");
    match admin.draining.drain(deadline.map(Span::get)).await {
        Ok(Drained::Begun { stay }) => done(format!(
            "{name} drains: new clients go to other nodes, {} here until they go or `jabiru stop`",
            stays(stay)
        )),
        Ok(Drained::Moved { moved }) => {
            done(format!("{name} is drained: {} moved, 0 left", sessions(moved)))
        }
        Ok(Drained::Alone { stay }) if deadline.is_none() => done(format!(
            "{name} drains, but no other node serves: {} here, and new clients are let in until one does",
            stays(stay)
        )),
        Ok(Drained::Alone { stay }) => {
            failed(format!("{name} drains, but no other node serves: {} here", stays(stay)))
        }
        Ok(Drained::Replaced) => {
            failed(format!("{name}: another drain, undrain or stop took the place of this one"))
        }
        Err(unable) => failed(format!("{name} cannot drain: {unable}")),
    }
}

/// Clients are welcome again.
pub(super) fn undrain(admin: &Admin) -> Response {
    let name = &admin.cluster.me().name;
    match admin.draining.undrain() {
        Ok(true) => done(format!("{name} serves again")),
        Ok(false) => done(format!("{name} serves: it did not drain")),
        Err(unable) => failed(format!("{name} cannot serve: {unable}")),
    }
}

/// This process ends.
pub(super) async fn stop(admin: &Admin) -> Response {
    info!("the operator stops this node");
    let mut come = admin.end.come.subscribe();
    admin.end.want();
    let told = come.wait_for(Option::is_some).await;
    match told.ok().and_then(|told| told.clone()) {
        Some(message) => done(message),
        None => failed("the node ended without a word"),
    }
}

/// A number of sessions in words.
pub fn sessions(count: usize) -> String {
    match count {
        1 => "1 session".into(),
        count => format!("{count} sessions"),
    }
}

fn stays(count: usize) -> String {
    match count {
        1 => "1 session stays".into(),
        count => format!("{count} sessions stay"),
    }
}
