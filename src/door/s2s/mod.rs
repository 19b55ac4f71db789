//! The door for other servers: what all its connections share. The life of one
//! is in `peer`.

pub mod config;
mod ending;
pub mod heard;
mod kept;
mod pace;
pub mod peer;
mod resuming;
mod reverse;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tracing::{Instrument, debug_span};

use crate::door::addresses::Addresses;
use crate::door::entry::Port;
use crate::door::front::Front;
use crate::door::s2s::config::Config;
use crate::door::s2s::kept::Kept;
use crate::door::s2s::peer::Peer;
use crate::door::strangers::Strangers;
use crate::drain::Drain;
use crate::metrics;
use crate::net::peer_tls::{self, ALPN};
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::s2s_manager::arrivals::Arrivals;
use crate::s2s_manager::links::Links;
use crate::session_manager::session::Held;
use crate::xml::limits::Limits;
use crate::xmpp::jid::Domain;

/// Servers make no accounts.
const NO_REGISTRATIONS: (u32, Duration) = (1, Duration::from_secs(3_600));

/// What every connection of this door shares.
pub struct S2s {
    pub(super) config: Config,
    pub(super) rooms: Rooms,
    /// Who speaks where nobody was asked for.
    pub(super) speaker: String,
    addresses: Arc<Addresses>,
    /// TLS for a stream to each of our domains.
    starttls: HashMap<String, Arc<ServerConfig>>,
    direct: Arc<ServerConfig>,
    strangers: Strangers,
    kept: Arc<Kept>,
    pub(super) stanzas: ::metrics::Counter,
}

/// The rooms below that the door needs.
#[derive(Debug)]
pub struct Rooms {
    /// Where stanzas go.
    pub router: Arc<Router>,
    /// What is believed of servers, and who asks them.
    pub servers: Arc<Links<Held>>,
    /// Who has come.
    pub arrivals: Arc<Arrivals>,
}

impl fmt::Debug for S2s {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S2s").field("config", &self.config).finish_non_exhaustive()
    }
}

impl S2s {
    /// A door that nobody knocks at yet.
    ///
    /// # Errors
    /// Only if the crypto provider lacks TLS 1.2 or 1.3.
    pub fn new(
        config: Config,
        domains: &[Domain],
        certificates: &Arc<Certificates>,
        rooms: Rooms,
    ) -> Result<Self, rustls::Error> {
        let mut starttls = HashMap::new();
        for domain in domains {
            let name = domain.as_str();
            let tls = peer_tls::accepting(certificates, Some(name), &[])?;
            starttls.insert(name.to_owned(), tls);
        }
        let direct = peer_tls::accepting(certificates, None, &[ALPN])?;
        Ok(Self {
            speaker: domains.first().map_or("", Domain::as_str).to_owned(),
            addresses: Arc::new(Addresses::new(&config.per_address, NO_REGISTRATIONS)),
            config,
            rooms,
            starttls,
            direct,
            kept: Arc::default(),
            strangers: Strangers::new("other servers", metrics::S2S_REFUSED),
            stanzas: ::metrics::counter!(metrics::S2S_STANZAS_IN),
        })
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
        let span = debug_span!("s2s", %address);
        async {
            let _guest = match self.addresses.enter(address.ip(), Instant::now()) {
                Ok(guest) => guest,
                Err(refused) => return self.strangers.note("address", address, &refused),
            };
            let peer = Box::new(Peer::new(&self, address, port));
            Box::pin(peer.live(tcp, drain)).await;
        }
        .instrument(span)
        .await;
    }

    /// Somebody did not prove who he is.
    pub(super) fn was_wrong(&self, address: SocketAddr) {
        metrics::add(metrics::S2S_PROOF_FAILED, 1);
        self.addresses.was_wrong(address.ip(), Instant::now());
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
        self.config.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of this function waits in.
    fn bytes<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// As above.
    fn bytes_of_three<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_stream_that_has_come_waits_in_little_memory() {
        let task = bytes(S2s::serve);
        let life = bytes_of_three(Peer::live);
        let peer = size_of::<Peer<'_>>();
        assert!(task + life + peer <= 4_096, "{task} + {life} + {peer} bytes");
    }
}
