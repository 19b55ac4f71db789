//! Builds the rooms bottom-up and introduces them: the only file that knows
//! all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::admin::{Admin, http, report, socket};
use crate::cluster::cookie::{Cookie, CookieError, Purpose, VARIABLE};
use crate::cluster::driver::{self, Running};
use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::cluster::node::{NameError, Node, NodeId, NodeName, NodeState};
use crate::config::Config;
use crate::door::c2s::{C2s, Rooms};
use crate::door::entry::Port;
use crate::door::mesh;
use crate::drain::{self, Drain, Drained, Trigger};
use crate::local_router::LocalRouter;
use crate::net::listener::Listener;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::session_manager::accounts::Accounts;
use crate::session_manager::sessions::Sessions;
use crate::storage::embedded::Embedded;
use crate::stream::negotiation::Settings;
use crate::xep;

/// How often the certificates' files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

/// The file that keeps the last life's generation, in the data directory.
const GENERATION_FILE: &str = "generation";

/// The file of the store, in the data directory.
const STORE_FILE: &str = "store.redb";

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cookie.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// No usable certificate.
    #[error(transparent)]
    Tls(#[from] crate::net::tls::TlsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
    /// A port.
    #[error(transparent)]
    Listen(#[from] crate::net::listener::ListenError),
    /// The HTTP port, or the control socket.
    #[error("cannot listen on {place}")]
    Admin {
        /// Which.
        place: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The cluster's sockets.
    #[error(transparent)]
    Cluster(#[from] driver::StartError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::storage::embedded::OpenError),
    /// The durable tables.
    #[error(transparent)]
    Durable(#[from] crate::cluster::durable::DurableError),
    /// The data directory.
    #[error("cannot use the data directory {path}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The name of the host is no name for a node.
    #[error("the name of this host is no name for a node; `[cluster] name` gives one")]
    Name(#[source] NameError),
    /// The process must end.
    #[error(transparent)]
    End(#[from] mesh::End),
    /// The system gives us no signals.
    #[error("the system gives no signals")]
    Signal(#[source] std::io::Error),
}

/// What runs until the end.
struct Server {
    config: Config,
    cluster: Arc<Cluster>,
    running: Running,
    sessions: Arc<Sessions>,
    certificates: Arc<Certificates>,
    admin: Arc<Admin>,
    trigger: Trigger,
}

/// Serves until a signal or the operator ends it.
///
/// # Errors
/// [`StartError`].
pub async fn serve(config: Config, metrics: PrometheusHandle) -> Result<(), StartError> {
    let started = Instant::now();
    let cookie = Arc::new(cookie(&config)?);
    let certificates = Arc::new(Certificates::read(config.tls.clone())?);
    let data_dir = &config.server.data_dir;
    prepare(data_dir)?;
    let store = Embedded::open(&data_dir.join(STORE_FILE))?;
    let me = Node { id: next_life(data_dir)?, name: name(&config)? };
    info!(node = %me.name, id = %me.id, version = env!("CARGO_PKG_VERSION"), "starting");

    // doors first: what is taken must stop us before others know us
    let (trigger, drain) = drain::signal();
    let plain = listeners(&config.c2s.listen, &config)?;
    let direct = listeners(&config.c2s.direct_tls_listen, &config)?;
    let control = socket::bind(&config.admin.socket)
        .map_err(|source| failed(config.admin.socket.display(), source))?;
    let mut web = Vec::new();
    for address in &config.admin.http_listen {
        let bound = TcpListener::bind(address).await;
        web.push(bound.map_err(|source| failed(address, source))?);
    }

    let (cluster, events, running) = driver::start(config.cluster.clone(), &cookie, me)?;
    let durable = Durable::new(Arc::clone(&cluster), Arc::new(store), config.cluster.durable())?;
    let accounts = Arc::new(Accounts::new(Arc::clone(&durable), config.sasl.iterations));
    let sessions = Arc::new(Sessions::new(Arc::clone(&cluster), config.session_manager.clone()));
    let local = LocalRouter::new(&config.domains(), xep::all());
    let router = Arc::new(Router::new(
        Arc::clone(&cluster),
        Arc::clone(&sessions),
        Arc::clone(&accounts),
        local,
    ));
    let admin = Arc::new(Admin {
        cluster: Arc::clone(&cluster),
        sessions: Arc::clone(&sessions),
        accounts: Arc::clone(&accounts),
        durable: Arc::clone(&durable),
        started,
        stop: Notify::new(),
    });
    let c2s = Arc::new(C2s::new(
        config.c2s.clone(),
        negotiation(&config, &cookie),
        Rooms {
            accounts,
            sessions: Arc::clone(&sessions),
            router: Arc::clone(&router),
            certificates: Arc::clone(&certificates),
        },
    )?);

    let rooms =
        mesh::Rooms { router, sessions: Arc::clone(&sessions), durable: Arc::clone(&durable) };
    let questioned = Arc::clone(&admin);
    let mesh = tokio::spawn(mesh::serve(rooms, events, move |question| {
        if let Some(question) = questioned.answer(question) {
            warn!(topic = question.topic, "a node asks what we do not know; is it newer?");
        }
    }));
    tokio::spawn(durable.keep_equal());
    tokio::spawn(report::watch_clocks(Arc::clone(&admin)));
    tokio::spawn(socket::serve(Arc::clone(&admin), control));
    for listener in web {
        tokio::spawn(http::serve(Arc::clone(&admin), metrics.clone(), listener));
    }
    for (listeners, port) in [(plain, Port::StartTls), (direct, Port::DirectTls)] {
        for listener in listeners {
            open(listener, port, &c2s, drain.clone());
        }
    }
    drop(drain);
    cluster.set_state(NodeState::Serving);
    info!(address = %cluster.address(), milliseconds = started.elapsed().as_millis(), "serving");
    let server = Server { config, cluster, running, sessions, certificates, admin, trigger };
    server.watch(mesh).await
}

/// Looks at all that the configuration names, without starting anything.
///
/// # Errors
/// All that would keep the server from starting.
pub fn check(config: &Config) -> Result<(), Vec<StartError>> {
    let mut errors = Vec::new();
    errors.extend(cookie(config).err().map(StartError::from));
    errors.extend(name(config).err());
    errors.extend(Certificates::read(config.tls.clone()).err().map(StartError::from));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

impl Server {
    /// Waits for the end, and makes it a good one.
    async fn watch(
        self,
        mesh: tokio::task::JoinHandle<Option<mesh::End>>,
    ) -> Result<(), StartError> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(StartError::Signal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signal)?;
        let mut look = tokio::time::interval(CERTIFICATE_INTERVAL);
        let mut mesh = mesh;
        let end = loop {
            tokio::select! {
                _ = hang_up.recv() => self.reload(),
                _ = look.tick() => {
                    if self.certificates.are_stale() {
                        self.reload();
                    }
                }
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                () = self.admin.stop.notified() => break None,
                end = &mut mesh => break end.ok().flatten(),
            }
        };
        let socket = self.config.admin.socket.clone();
        self.stop(end.is_none()).await;
        // the next life makes its own; a socket that nobody serves misleads
        let _ = std::fs::remove_file(socket);
        end.map_or(Ok(()), |end| Err(end.into()))
    }

    /// Reads the certificates again; what cannot be read changes nothing.
    fn reload(&self) {
        match self.certificates.reload() {
            Ok(()) => info!("certificates read again"),
            Err(error) => {
                error!(error = %chain(&error), "certificates cannot be read again: the old ones stay");
            }
        }
    }

    /// Clients go, then the others hear goodbye.
    async fn stop(self, is_well: bool) {
        info!(sessions = self.sessions.count(), "stopping");
        self.cluster.set_state(NodeState::Leaving);
        let limit = match is_well {
            true => self.config.server.stop_time_max.get(),
            false => Duration::from_secs(1),
        };
        if self.trigger.drain(limit).await == Drained::Late {
            warn!(sessions = self.sessions.count(), "some clients did not go in time");
        }
        self.running.leave().await;
        self.admin.durable.close();
        info!("stopped");
    }
}

/// An error and its causes, in one line for people.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn failed(place: impl ToString, source: std::io::Error) -> StartError {
    StartError::Admin { place: place.to_string(), source }
}

fn cookie(config: &Config) -> Result<Cookie, CookieError> {
    match std::env::var(VARIABLE) {
        Ok(text) => Cookie::new(&text),
        Err(_) => Cookie::read(&config.cluster.cookie_file),
    }
}

fn negotiation(config: &Config, cookie: &Cookie) -> Settings {
    Settings {
        require_tls: config.c2s.require_tls,
        mechanisms: config.sasl.mechanisms.clone(),
        attempts_max: config.c2s.authentication_attempts_max,
        iterations: config.sasl.iterations,
        ..Settings::new(config.domains(), *cookie.key(Purpose::MadeUpAccounts))
    }
}

fn listeners(
    addresses: &[std::net::SocketAddr],
    config: &Config,
) -> Result<Vec<Listener>, StartError> {
    let bind = |address| Ok(Listener::bind(address, config.c2s.connections_max)?);
    addresses.iter().copied().map(bind).collect()
}

fn open(listener: Listener, port: Port, c2s: &Arc<C2s>, drain: Drain) {
    if let Ok(address) = listener.address() {
        info!(%address, ?port, "clients may come");
    }
    let c2s = Arc::clone(c2s);
    tokio::spawn(async move {
        let inside = drain.clone();
        let serve = |tcp, peer| Arc::clone(&c2s).serve(tcp, peer, port, inside.clone());
        listener.serve(drain, serve).await;
    });
}

fn name(config: &Config) -> Result<NodeName, StartError> {
    if let Some(name) = &config.cluster.name {
        return Ok(name.clone());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    NodeName::new(&host.trim().to_lowercase()).map_err(StartError::Name)
}

/// Makes the data directory, for its owner alone.
fn prepare(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::Data { path: path.to_owned(), source })
}

/// A generation that is greater than all former ones, whatever the clock says.
fn next_life(data_dir: &Path) -> Result<NodeId, StartError> {
    let path = data_dir.join(GENERATION_FILE);
    let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
    if let Some(last) = last.filter(|last: &u64| *last > clock) {
        warn!(seconds = (last - clock) / 1_000, "the clock is behind the last start of this node");
    }
    let generation = last.map_or(clock, |last: u64| clock.max(last.saturating_add(1)));
    let next = data_dir.join(format!("{GENERATION_FILE}.new"));
    std::fs::write(&next, generation.to_string())
        .and_then(|()| std::fs::rename(&next, &path))
        .map_err(|source| StartError::Data { path, source })?;
    Ok(NodeId::new(generation, rand::random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_life_is_later_than_the_last_whatever_the_clock_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = next_life(folder.path()).expect("writable");
        let second = next_life(folder.path()).expect("writable");
        assert!(second.generation > first.generation);
        let ahead = u64::MAX - 5;
        std::fs::write(folder.path().join(GENERATION_FILE), ahead.to_string()).expect("writable");
        assert_eq!(next_life(folder.path()).expect("writable").generation, ahead + 1);
    }
}
