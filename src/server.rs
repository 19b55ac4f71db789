//! Builds the rooms bottom-up and introduces them: the only file that knows
//! all of them.

mod admitted;
pub mod checked;
mod components;
mod doors;
mod ending;
pub mod errors;
mod federated;
pub mod life;
pub mod operated;
mod remembered;
mod tickets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::admin::life::End;
use crate::admin::{Admin, http, report, socket};
use crate::cluster::cookie::VARIABLE;
use crate::cluster::driver::{self, Running};
use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::cluster::history::What;
use crate::cluster::joining::serve_when_ready;
use crate::cluster::node::Node;
use crate::cluster::protocol::Protocol;
use crate::cluster::registry::Registry;
use crate::config::Config;
use crate::door::addresses::Addresses;
use crate::door::c2s::{C2s, Rooms};
use crate::door::config::PublicAddress;
use crate::door::mesh;
use crate::drain::{self, Trigger};
use crate::extension::{self, Extension};
use crate::im;
use crate::local_router::LocalRouter;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::server::admitted::{Admitted, Comer, admitted};
use crate::server::checked::{name, ring, secrets};
use crate::server::errors::StartError;
use crate::server::federated::Servers;
use crate::server::life::{next_life, prepare};
use crate::server::operated::{operated, rules};
use crate::session_manager::accounts::Accounts;
use crate::session_manager::contacts::Contacts;
use crate::session_manager::draining::Draining;
use crate::session_manager::last::LastSeen;
use crate::session_manager::made_up::MadeUp;
use crate::session_manager::offline::Offline;
use crate::session_manager::sessions::Sessions;
use crate::storage::embedded::Embedded;
use crate::stream::negotiation::Settings;
use crate::xep;

/// How often the certificates' files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

/// The file of the store, in the data directory.
const STORE_FILE: &str = "store.redb";

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
pub async fn serve(mut config: Config, metrics: PrometheusHandle) -> Result<(), StartError> {
    let started = Instant::now();
    let ring = ring(&config)?;
    let secrets = secrets(&config)?;
    let certificates = Arc::new(Certificates::read(config.tls.clone())?);
    let data_dir = config.server.data_dir.clone();
    prepare(&data_dir)?;
    let store = Embedded::open(&data_dir.join(STORE_FILE))?;
    let me = Node { id: next_life(&data_dir)?, name: name(&config)? };
    info!(node = %me.name, id = %me.id, version = env!("CARGO_PKG_VERSION"), "starting");

    // doors first: what is taken must stop us before others know us
    let (trigger, drain) = drain::signal();
    let doors = doors::bind(&config)?;
    let control = socket::bind(&config.admin.socket)
        .map_err(|source| failed(config.admin.socket.display(), source))?;
    let mut web = Vec::new();
    for address in &config.admin.http_listen {
        let bound = TcpListener::bind(address).await;
        web.push(bound.map_err(|source| failed(address, source))?);
    }

    config.cluster.seeds.extend(remembered::nodes(&data_dir));
    let protocol = Protocol::new(config.cluster.protocol_max).unwrap_or(Protocol::NEWEST);
    let comer = Comer {
        me: &me,
        ring: &ring,
        protocol,
        seeds: &config.cluster.seeds,
        removal: Registry::removal_in(&store, &me.name)?,
    };
    match admitted(&comer, &control).await? {
        Admitted::Start(by) => config.cluster.seeds.extend(by.map(|by| by.to_string())),
        Admitted::Stop => return Ok(()),
    }

    let (cluster, events, running) = driver::start(config.cluster.clone(), &ring, me)?;
    cluster.history.remember(remembered::events(&data_dir));
    cluster.history.note(What::Started { version: env!("CARGO_PKG_VERSION").into() });
    let durable = Durable::new(Arc::clone(&cluster), Arc::new(store), config.cluster.durable())?;
    let registry = Registry::new(Arc::clone(&durable));
    let accounts = Arc::new(Accounts::new(Arc::clone(&durable), config.sasl.iterations));
    let made_up = Arc::new(MadeUp::new(Arc::clone(&durable), Arc::clone(&ring)));
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
    let components = components::of(&config, &cluster, &made_up);
    let servers = Servers::new(&config, &ring, &certificates, &rooms, &components)?;
    let (links, arrivals) = (Arc::clone(&servers.links), Arc::clone(&servers.arrivals));
    let router = Router::new(
        Arc::clone(&rooms),
        local,
        Arc::clone(&links),
        config.im.clone(),
        Arc::clone(&components),
    );
    let component = components::door(&config, secrets, (&router, &components), &certificates)?;
    let s2s = servers.open(&config, &certificates, &router)?;
    let place = config.c2s.public_address.as_ref().map(PublicAddress::as_str);
    let draining = Arc::new(Draining::new(Arc::clone(&cluster), Arc::clone(&sessions), place));
    let admin = Arc::new(Admin {
        cluster: Arc::clone(&cluster),
        sessions: Arc::clone(&sessions),
        durable: Arc::clone(&durable),
        rooms,
        router: Arc::clone(&router),
        registry: Arc::clone(&registry),
        ring: Arc::clone(&ring),
        protocol,
        settings: config.shared(),
        leaving: tokio::sync::Mutex::default(),
        limits: config.im.clone(),
        started,
        servers: links,
        arrivals,
        draining: Arc::clone(&draining),
        components: Arc::clone(&components),
        end: End::default(),
    });
    let c2s = Arc::new(C2s::new(
        config.c2s.clone(),
        negotiation(&config, &made_up, features),
        Rooms {
            accounts,
            made_up: Arc::clone(&made_up),
            sessions: Arc::clone(&sessions),
            router: Arc::clone(&router),
            cluster: Arc::clone(&cluster),
            draining: Arc::clone(&draining),
            addresses: Addresses::new(
                &config.c2s.per_address,
                (config.register.per_address_max, config.register.per_address_interval.get()),
            ),
            certificates: Arc::clone(&certificates),
        },
    )?);

    router.finish_removals();
    tokio::spawn(Arc::clone(&router).keep_out());
    let rooms =
        mesh::Rooms { router, sessions: Arc::clone(&sessions), durable: Arc::clone(&durable) };
    let (questioned, sealing) = (Arc::clone(&admin), Arc::clone(&certificates));
    let mesh = tokio::spawn(mesh::serve(rooms, events, move |question| {
        let question = questioned.draining.answer(question);
        let question = question.and_then(|question| tickets::answer(&sealing, question));
        if let Some(question) = question.and_then(|question| questioned.answer(question)) {
            warn!(topic = question.topic, "a node asks what we do not know; is it newer?");
        }
    }));
    tokio::spawn(Arc::clone(&durable).keep_equal());
    tokio::spawn(registry.keep());
    tokio::spawn(tickets::share(Arc::clone(&certificates), Arc::clone(&cluster)));
    tokio::spawn(made_up.keep());
    tokio::spawn(remembered::keep_nodes(Arc::clone(&cluster), data_dir.clone()));
    tokio::spawn(remembered::keep_events(Arc::clone(&cluster), data_dir));
    tokio::spawn(report::watch_clocks(Arc::clone(&admin)));
    tokio::spawn(socket::serve(Arc::clone(&admin), control));
    for listener in web {
        tokio::spawn(http::serve(Arc::clone(&admin), metrics.clone(), listener));
    }
    for door in doors.clients {
        let c2s = Arc::clone(&c2s);
        let serve = move |who, port, front, drain| Arc::clone(&c2s).serve(who, port, front, drain);
        doors::open(door, "clients", drain.clone(), Arc::clone(&cluster), serve);
    }
    for door in doors.servers {
        let s2s = Arc::clone(&s2s);
        let serve = move |who, port, front, drain| Arc::clone(&s2s).serve(who, port, front, drain);
        doors::open(door, "servers", drain.clone(), Arc::clone(&cluster), serve);
    }
    for door in doors.components {
        let component = Arc::clone(&component);
        let serve =
            move |who, port, front, drain| Arc::clone(&component).serve(who, port, front, drain);
        doors::open(door, "components", drain.clone(), Arc::clone(&cluster), serve);
    }
    drop(drain);
    let own = cluster.address().to_string();
    let has_seeds = config.cluster.seeds.iter().any(|seed| *seed != own);
    tokio::spawn(serve_when_ready(Arc::clone(&cluster), durable, has_seeds));
    info!(address = %cluster.address(), milliseconds = started.elapsed().as_millis(), "serving");
    let server = Server { config, cluster, running, sessions, certificates, admin, trigger };
    server.watch(mesh).await
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
        let mut complained = String::new();
        let end = loop {
            tokio::select! {
                _ = hang_up.recv() => {
                    self.reload();
                    self.reload_cookies(&mut complained);
                }
                _ = look.tick() => {
                    if self.certificates.are_stale() {
                        self.reload();
                    }
                    self.reload_cookies(&mut complained);
                }
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                () = self.admin.end.wanted() => break None,
                end = &mut mesh => break end.ok().flatten(),
            }
        };
        let socket = self.config.admin.socket.clone();
        let admin = Arc::clone(&self.admin);
        let message = ending::stop(self, end.is_none()).await;
        // the next life makes its own; a socket that nobody serves misleads
        let _ = std::fs::remove_file(socket);
        admin.end.tell(message).await;
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

    /// Looks whether there are other cookies now; what cannot be read changes
    /// nothing.
    fn reload_cookies(&self, complained: &mut String) {
        if std::env::var(VARIABLE).is_ok() {
            return;
        }
        match self.admin.ring.read_again(&self.config.cluster.cookie_file) {
            Ok(false) => {}
            Ok(true) => {
                let cookies = self.admin.ring.fingerprints();
                info!(?cookies, "cookies read again; the first is used");
                let words = format!("cookies read again: {} is used", cookies.join(", then "));
                self.cluster.history.note(What::Said { words });
            }
            Err(error) => {
                // every two seconds, until somebody mends it
                let words = chain(&error);
                if *complained != words {
                    error!(error = %words, "cookies cannot be read again: the old ones stay");
                    *complained = words;
                }
            }
        }
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

fn negotiation(config: &Config, made_up: &MadeUp, features: String) -> Settings {
    Settings {
        require_tls: config.c2s.require_tls,
        mechanisms: config.sasl.mechanisms.clone(),
        attempts_max: config.c2s.authentication_attempts_max,
        iterations: config.sasl.iterations,
        features: features.into(),
        registration: config.register.enabled.then(|| rules(config)),
        ..Settings::new(config.domains(), *made_up.secret())
    }
}
