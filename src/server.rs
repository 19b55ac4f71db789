//! Builds the rooms bottom-up and introduces them: the only file that knows
//! all of them.

pub mod life;
pub mod operated;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::cluster::joining::{joined, serve_when_ready};
use crate::cluster::node::{NameError, Node, NodeName, NodeState};
use crate::config::Config;
use crate::door::c2s::{C2s, Rooms};
use crate::door::entry::Port;
use crate::door::mesh;
use crate::door::registrations::Registrations;
use crate::drain::{self, Drain, Drained, Trigger};
use crate::extension::{self, Extension};
use crate::im;
use crate::local_router::LocalRouter;
use crate::net::listener::Listener;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::server::life::{next_life, prepare};
use crate::server::operated::{operated, rules};
use crate::session_manager::accounts::Accounts;
use crate::session_manager::contacts::Contacts;
use crate::session_manager::last::LastSeen;
use crate::session_manager::offline::Offline;
use crate::session_manager::sessions::Sessions;
use crate::storage::embedded::Embedded;
use crate::stream::negotiation::Settings;
use crate::xep;

/// How often the certificates' files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

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
    let offline = Offline::new(Arc::clone(&cluster), Arc::clone(&durable), &config.session_manager);
    let rooms = Arc::new(extension::Rooms {
        domains: config.domains().iter().map(|domain| domain.as_str().into()).collect(),
        cluster: Arc::clone(&cluster),
        durable: Arc::clone(&durable),
        accounts: Arc::clone(&accounts),
        sessions: Arc::clone(&sessions),
        contacts: Arc::new(Contacts::new(Arc::clone(&durable))),
        offline,
        last: Arc::new(LastSeen::new(Arc::clone(&durable))),
    });
    let extensions: Vec<Box<dyn Extension>> = im::all(&config.im)
        .into_iter()
        .chain(xep::all(&config.xep))
        .chain(operated(&config))
        .collect();
    let features = xep::features(&extensions);
    let local = LocalRouter::new(extensions, Arc::clone(&rooms));
    let router = Router::new(Arc::clone(&rooms), local, config.im.clone());
    let admin = Arc::new(Admin {
        cluster: Arc::clone(&cluster),
        sessions: Arc::clone(&sessions),
        durable: Arc::clone(&durable),
        rooms,
        router: Arc::clone(&router),
        limits: config.im.clone(),
        started,
        stop: Notify::new(),
    });
    let c2s = Arc::new(C2s::new(
        config.c2s.clone(),
        negotiation(&config, &cookie, features),
        Rooms {
            accounts,
            sessions: Arc::clone(&sessions),
            router: Arc::clone(&router),
            cluster: Arc::clone(&cluster),
            registrations: Registrations::new(
                config.register.per_address_max,
                config.register.per_address_interval.get(),
            ),
            certificates: Arc::clone(&certificates),
        },
    )?);

    router.finish_removals();
    tokio::spawn(Arc::clone(&router).keep_out());
    let rooms =
        mesh::Rooms { router, sessions: Arc::clone(&sessions), durable: Arc::clone(&durable) };
    let questioned = Arc::clone(&admin);
    let mesh = tokio::spawn(mesh::serve(rooms, events, move |question| {
        if let Some(question) = questioned.answer(question) {
            warn!(topic = question.topic, "a node asks what we do not know; is it newer?");
        }
    }));
    tokio::spawn(Arc::clone(&durable).keep_equal());
    tokio::spawn(report::watch_clocks(Arc::clone(&admin)));
    tokio::spawn(socket::serve(Arc::clone(&admin), control));
    for listener in web {
        tokio::spawn(http::serve(Arc::clone(&admin), metrics.clone(), listener));
    }
    for (listeners, port) in [(plain, Port::StartTls), (direct, Port::DirectTls)] {
        for listener in listeners {
            open(listener, port, &c2s, drain.clone(), Arc::clone(&cluster));
        }
    }
    drop(drain);
    let own = cluster.address().to_string();
    let has_seeds = config.cluster.seeds.iter().any(|seed| *seed != own);
    tokio::spawn(serve_when_ready(Arc::clone(&cluster), durable, has_seeds));
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

fn negotiation(config: &Config, cookie: &Cookie, features: String) -> Settings {
    Settings {
        require_tls: config.c2s.require_tls,
        mechanisms: config.sasl.mechanisms.clone(),
        attempts_max: config.c2s.authentication_attempts_max,
        iterations: config.sasl.iterations,
        features: features.into(),
        registration: config.register.enabled.then(|| rules(config)),
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

/// Clients may come as soon as this node knows what the others know; until
/// then they wait in the kernel.
fn open(listener: Listener, port: Port, c2s: &Arc<C2s>, mut drain: Drain, cluster: Arc<Cluster>) {
    let c2s = Arc::clone(c2s);
    tokio::spawn(async move {
        tokio::select! {
            () = joined(&cluster) => {}
            () = drain.started() => return,
        }
        if let Ok(address) = listener.address() {
            info!(%address, ?port, "clients may come");
        }
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
