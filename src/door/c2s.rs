//! The door for clients: what all its connections share.
//!
//! One connection's way to a session is in `entry`, its life afterwards in
//! `client`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tracing::{Instrument, debug, debug_span};

use crate::cluster::handle::Cluster;
use crate::door::addresses::{Addresses, Refused};
use crate::door::client::Client;
use crate::door::config::Config;
use crate::door::entry::{Entry, Port};
use crate::door::front::Front;
use crate::door::strangers::Strangers;
use crate::drain::Drain;
use crate::metrics;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::session_manager::accounts::Accounts;
use crate::session_manager::draining::Draining;
use crate::session_manager::made_up::MadeUp;
use crate::session_manager::sessions::Sessions;
use crate::stream::negotiation::Settings;
use crate::xml::limits::Limits;
use crate::xmpp::error::{StreamCondition, StreamError};

/// The name of the protocol inside TLS (XEP-0368 §4).
const ALPN: &[u8] = b"xmpp-client";

/// How long a closing stream may take to write its last words. A guess.
pub(super) const FAREWELL_TIME_MAX: Duration = Duration::from_secs(5);

/// Connections over a limit that hear so at a time; others are only closed. A
/// guess: whoever is over a limit shall not fill the room of the others.
const REFUSALS_MAX: usize = 64;

/// What every connection of this door shares.
#[derive(Debug)]
pub struct C2s {
    pub(super) config: Config,
    /// With the secret that was known when they were last asked for.
    negotiation: Mutex<Arc<Settings>>,
    made_up: Arc<MadeUp>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) router: Arc<Router>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) draining: Arc<Draining>,
    pub(super) addresses: Arc<Addresses>,
    /// TLS for a stream to each of our domains.
    starttls: HashMap<String, Arc<ServerConfig>>,
    direct: Arc<ServerConfig>,
    strangers: Strangers,
    /// Those that are told why; for more there is no time.
    refusals: Semaphore,
}

/// The rooms below that the door needs.
#[derive(Debug)]
pub struct Rooms {
    /// Who may log in.
    pub accounts: Arc<Accounts>,
    /// What those who may not seem to have.
    pub made_up: Arc<MadeUp>,
    /// Where sessions are bound.
    pub sessions: Arc<Sessions>,
    /// Where stanzas go.
    pub router: Arc<Router>,
    /// The other nodes.
    pub cluster: Arc<Cluster>,
    /// Whether new clients are let in.
    pub draining: Arc<Draining>,
    /// What each client address has taken.
    pub addresses: Addresses,
    /// What is shown in TLS.
    pub certificates: Arc<Certificates>,
}

impl C2s {
    /// A door that nobody knocks at yet.
    ///
    /// # Errors
    /// Only if the crypto provider lacks TLS 1.2 or 1.3.
    pub fn new(config: Config, negotiation: Settings, rooms: Rooms) -> Result<Self, rustls::Error> {
        let Rooms {
            accounts,
            made_up,
            sessions,
            router,
            cluster,
            draining,
            addresses,
            certificates,
        } = rooms;
        let mut starttls = HashMap::new();
        for domain in &negotiation.domains {
            let name = domain.as_str();
            starttls.insert(name.to_owned(), certificates.config(Some(name), &[])?);
        }
        let direct = certificates.config(None, &[ALPN])?;
        let negotiation = Mutex::new(Arc::new(negotiation));
        Ok(Self {
            config,
            negotiation,
            made_up,
            certificates,
            accounts,
            sessions,
            router,
            cluster,
            draining,
            addresses: Arc::new(addresses),
            starttls,
            direct,
            strangers: Strangers::new("clients", metrics::REFUSED),
            refusals: Semaphore::new(REFUSALS_MAX),
        })
    }

    /// By which settings a stream is negotiated that begins now.
    pub(super) fn negotiation(&self) -> Arc<Settings> {
        let secret = *self.made_up.secret();
        let mut settings = self.negotiation.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.secret != secret {
            *settings = Arc::new(Settings { secret, ..(**settings).clone() });
        }
        Arc::clone(&settings)
    }

    /// Serves one accepted connection to its end.
    pub async fn serve(
        self: Arc<Self>,
        (mut tcp, peer): (TcpStream, SocketAddr),
        port: Port,
        front: Front,
        drain: Drain,
    ) {
        let trusted = &self.config.proxy_protocol.trusted;
        let address = match front.client(&mut tcp, peer, trusted).await {
            Ok(address) => address,
            Err(error) => return self.strangers.note(error.reason(), peer, &error),
        };
        let span = debug_span!("c2s", %address);
        async {
            let _guest = match self.addresses.enter(address.ip(), Instant::now()) {
                Ok(guest) => guest,
                Err(refused) => {
                    return Box::pin(self.turn_away(tcp, address, port, refused)).await;
                }
            };
            // boxed: what the way in needs is given back when it is over, and
            // an idle session is small
            let entry = Box::pin(Entry::new(&self, address, port).pass(tcp, drain.clone()));
            match entry.await {
                Some(bound) => Box::pin(Client::live(bound, drain)).await,
                None => debug!("no session"),
            }
        }
        .instrument(span)
        .await;
    }

    /// An address has taken too much: it is told so, where that is cheap.
    async fn turn_away(&self, tcp: TcpStream, address: SocketAddr, port: Port, refused: Refused) {
        let (reason, words) = match refused {
            Refused::Connections => ("connections", "too many connections from your address"),
            Refused::Attempts => ("attempts", "too many attempts from your address"),
        };
        self.strangers.note(reason, address, &refused);
        if let (Port::StartTls, Ok(_permit)) = (port, self.refusals.try_acquire()) {
            let error = StreamError::new(StreamCondition::PolicyViolation, words);
            Entry::new(self, address, port).turn_away(tcp, error).await;
        }
    }

    /// TLS for a stream to `domain`; for an unknown one whatever fits best.
    pub(super) fn tls(&self, domain: Option<&str>) -> Arc<ServerConfig> {
        let own = domain.and_then(|domain| self.starttls.get(domain));
        Arc::clone(own.unwrap_or(&self.direct))
    }

    pub(super) fn limits_before(&self) -> Limits {
        Limits {
            stanza_bytes_max: self.config.unauthenticated_bytes_max.bytes(),
            elements_max: Limits::unauthenticated().elements_max,
            ..self.limits_after()
        }
    }

    pub(super) fn limits_after(&self) -> Limits {
        Limits {
            stanza_bytes_max: self.config.stanza_bytes_max.bytes(),
            depth_max: self.config.depth_max,
            attributes_max: self.config.attributes_max,
            ..Limits::client()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of this function waits in.
    fn bytes<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_waits_in_little_memory() {
        let task = bytes(C2s::serve);
        assert!(task <= 640, "{task} bytes");
    }
}
