//! The door for components (XEP-0114): what all its connections share.
//!
//! One connection's way in is in `entry`, its life afterwards in `life`.

pub mod config;
mod entry;
mod info;
mod life;
mod nested;
pub mod privilege;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tracing::{Instrument, debug, debug_span};

use crate::door::addresses::{Addresses, Refused};
use crate::door::component::config::Config;
use crate::door::component::entry::Entry;
use crate::door::entry::Port;
use crate::door::front::Front;
use crate::door::strangers::Strangers;
use crate::drain::Drain;
use crate::metrics;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::router::components::Components;
use crate::stream::component::{Secret, Settings};
use crate::xml::limits::Limits;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Domain;

/// What every connection of this door shares.
#[derive(Debug)]
pub struct Door {
    config: Config,
    negotiation: Arc<Settings>,
    router: Arc<Router>,
    components: Arc<Components>,
    addresses: Arc<Addresses>,
    tls: Arc<ServerConfig>,
    strangers: Strangers,
}

impl Door {
    /// A door that nobody knocks at yet. `ours` are the domains of this server
    /// itself.
    ///
    /// # Errors
    /// Only if the crypto provider lacks TLS 1.2 or 1.3.
    pub fn new(
        config: Config,
        ours: Vec<Domain>,
        secrets: BTreeMap<Domain, Vec<Secret>>,
        (router, components): (Arc<Router>, Arc<Components>),
        certificates: &Arc<Certificates>,
    ) -> Result<Self, rustls::Error> {
        let stanza_bytes_max = config.stanza_bytes_max.bytes();
        let negotiation = Arc::new(Settings { ours, secrets, stanza_bytes_max });
        // nobody makes accounts here
        let addresses = Addresses::new(&(&config.per_address).into(), (1, Duration::from_secs(1)));
        Ok(Self {
            config,
            negotiation,
            router,
            components,
            addresses: Arc::new(addresses),
            tls: certificates.config(None, &[])?,
            strangers: Strangers::new("components", metrics::COMPONENTS_REFUSED),
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
        let span = debug_span!("component", %address);
        async {
            let entry = Entry::new(Arc::clone(&self), address, port);
            let _guest = match self.addresses.enter(address.ip(), Instant::now()) {
                Ok(guest) => guest,
                Err(refused) => {
                    let (reason, words) = match refused {
                        Refused::Connections => ("connections", "too many connections"),
                        Refused::Attempts => ("attempts", "too many attempts"),
                    };
                    self.strangers.note(reason, address, &refused);
                    let error = StreamError::new(StreamCondition::PolicyViolation, words);
                    return Box::pin(entry.turn_away(tcp, error)).await;
                }
            };
            match Box::pin(entry.pass(tcp, drain.clone())).await {
                Some((stream, connection)) => Box::pin(stream.live(connection, drain)).await,
                None => debug!("no component"),
            }
        }
        .instrument(span)
        .await;
    }

    /// The domain of ours that speaks.
    fn speaker(&self) -> Option<&Domain> {
        self.negotiation.ours.first()
    }

    fn is_ours(&self, domain: &str) -> bool {
        self.negotiation.ours.iter().any(|ours| ours.as_str() == domain)
    }

    fn limits_before(&self) -> Limits {
        Limits::unauthenticated()
    }

    fn limits_after(&self) -> Limits {
        Limits { stanza_bytes_max: self.config.stanza_bytes_max.bytes(), ..Limits::client() }
    }
}
