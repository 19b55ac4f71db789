//! The end of this process: nothing is lost that it alone knows.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::admin::{Admin, life};
use crate::drain::Drained;
use crate::router::Work;
use crate::s2s_manager::flows::PASSING;
use crate::server::{Server, remembered};

/// How long a stopping node waits for disks and for other nodes, after its
/// clients have gone: what they have not taken then is lost with it. A guess:
/// systemd waits for 30 s in all (`config/jabiru.service`).
const WORK_TIME_MAX: Duration = Duration::from_secs(15);

/// How long other servers may take for our last words. A guess, above what a
/// link takes that nobody reads from.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(8);

/// How often it looks whether it may go.
const IDLE_INTERVAL: Duration = Duration::from_millis(5);

/// Clients go, what they have said is taken by whom it is for, then the
/// others hear goodbye. Says what became of it. `is_well`: nothing forces us.
pub(super) async fn stop(server: Server, is_well: bool) -> String {
    let sessions = server.sessions.count();
    info!(sessions, "stopping");
    server.admin.draining.leave();
    let limit = match is_well {
        true => server.config.server.stop_time_max.get(),
        false => Duration::from_secs(1),
    };
    let is_late = server.trigger.drain(limit).await == Drained::Late;
    if is_late {
        warn!("some clients did not go in time");
    }
    server.admin.router.stop_waiting();
    if is_well && timeout(WORK_TIME_MAX, idle(&server.admin)).await.is_err() {
        let work = server.admin.router.work();
        warn!(?work, "some work was not done in time, and may be lost");
    }
    let links = server.admin.servers.stop();
    if timeout(FAREWELL_TIME_MAX, alone(&server.admin, links)).await.is_err() {
        warn!("some servers did not hear goodbye in time");
    }
    server.running.leave().await;
    remembered::write_events(&server.cluster.history, &server.config.server.data_dir);
    server.admin.durable.close();
    info!("stopped");
    let (name, sessions) = (&server.cluster.me().name, life::sessions(sessions));
    let late = if is_late { ", some of which did not go in time" } else { "" };
    format!("{name} has stopped: {sessions} asked to connect again{late}")
}

/// Waits until nothing is under way that would be lost with this node.
async fn idle(admin: &Admin) {
    while admin.router.work() != Work::default() {
        sleep(IDLE_INTERVAL).await;
    }
}

/// Waits until all links to other servers have ended, of which there were so
/// many, and until what still comes for them from other nodes is passed on.
async fn alone(admin: &Admin, links: usize) {
    while admin.servers.active() > 0 {
        sleep(IDLE_INTERVAL).await;
    }
    if links > 0 && admin.cluster.members().others().next().is_some() {
        // until they have seen it, and as long as they then still send
        sleep(PASSING * 2).await;
        idle(admin).await;
    }
}
