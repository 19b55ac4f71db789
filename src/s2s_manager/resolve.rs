//! Where a domain's servers are: by the configuration, else by DNS (RFC 6120
//! §3.2, XEP-0368). In which order they are tried is decided by pure
//! functions here; who connects is `outgoing`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use rand::Rng;
use rustls::pki_types::ServerName;

use crate::s2s_manager::config::Config;
use crate::s2s_manager::place::{Place, Start};
use crate::s2s_manager::reach::is_public;
use crate::xmpp::jid::Domain;

/// Where servers listen that name no port (RFC 6120 §14.7).
const PORT: u16 = 5269;

/// How long one question to DNS may take; each is asked twice. A guess, so
/// that a name with two kinds of records is known within the time that a
/// stanza waits.
const DNS_TIME_MAX: Duration = Duration::from_secs(3);

/// Places of one domain that are tried, and addresses of one place; those
/// behind are not looked at. Guesses: a domain with more has another reason.
const PLACES_MAX: usize = 16;
const ADDRESSES_MAX: usize = 8;

/// Ports below this belong to others (RFC 6335 §6), but for that of HTTPS,
/// which some servers use to get out of closed networks.
const SYSTEM_PORTS: u16 = 1024;
const HTTPS_PORT: u16 = 443;

/// Why nothing is known of where a domain's server is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResolveError {
    /// The domain is none of DNS.
    #[error("{0} is no name that DNS could know")]
    Name(Domain),
    /// DNS knows of nothing there.
    #[error("DNS knows no server of {0}")]
    Nothing(Domain),
    /// DNS says that there is none (RFC 2782, a target of ".").
    #[error("{0} says in DNS that it has no XMPP server")]
    Declined(Domain),
    /// All its addresses are private ones.
    #[error("{0} has only addresses where no public server is (s2s_manager.private_addresses)")]
    Private(Domain),
    /// DNS cannot be asked now.
    #[error("DNS does not answer for {domain}")]
    Failed {
        /// Of whom it was asked.
        domain: Domain,
        /// What it says.
        source: NetError,
    },
}

/// Asks, and remembers for as long as DNS says.
#[derive(Debug)]
pub struct Resolve {
    hosts: BTreeMap<String, Vec<Place>>,
    dns: Option<TokioResolver>,
    takes_private: bool,
    has_dane: bool,
}

/// One answer of DNS: a place, and in which order it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Lower ones first.
    pub priority: u16,
    /// How often among those of one priority.
    pub weight: u16,
    /// Where.
    pub place: Place,
}

impl Resolve {
    /// Asks those whom the configuration names, else those of the system.
    ///
    /// # Errors
    /// When the system does not say whom to ask, or the keys that DNSSEC begins
    /// with cannot be read.
    pub fn new(config: &Config) -> Result<Self, NetError> {
        let dns = match config.enabled {
            true => Some(dns(config)?),
            false => None,
        };
        let hosts = config.hosts.clone();
        let (takes_private, has_dane) = (config.private_addresses, config.dane);
        Ok(Self { hosts, dns, takes_private, has_dane })
    }

    /// The places of a domain, in the order in which they are to be tried.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn places(&self, domain: &Domain) -> Result<Vec<Place>, ResolveError> {
        if let Some(places) = self.hosts.get(domain.as_str()) {
            return Ok(places.clone());
        }
        let inside = domain.as_str().trim_matches(['[', ']']);
        if let Ok(address) = inside.parse::<IpAddr>() {
            return Ok(vec![Place {
                host: address.to_string(),
                port: PORT,
                start: Start::StartTls,
                is_proved: false,
            }]);
        }
        let name = ascii(domain).ok_or_else(|| ResolveError::Name(domain.clone()))?;
        let (direct, plain) = tokio::join!(
            self.services(domain, format!("_xmpps-server._tcp.{name}."), Start::DirectTls),
            self.services(domain, format!("_xmpp-server._tcp.{name}."), Start::StartTls),
        );
        let found = match (direct, plain) {
            (Ok(mut direct), Ok(plain)) => {
                direct.extend(plain);
                direct
            }
            // what one of them says is true whatever becomes of the other
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if found.is_empty() {
            let start = Start::StartTls;
            return Ok(vec![Place { host: name, port: PORT, start, is_proved: false }]);
        }
        let meant: Vec<Service> = found.into_iter().filter(|one| one.place.host != ".").collect();
        if meant.is_empty() {
            return Err(ResolveError::Declined(domain.clone()));
        }
        let mut places = in_order(meant, &mut rand::rng());
        places.truncate(PLACES_MAX);
        Ok(places)
    }

    /// The addresses of one place of a domain; those of IPv6 and IPv4 in turn.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn addresses(
        &self,
        domain: &Domain,
        place: &Place,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let is_configured = self.hosts.contains_key(domain.as_str());
        let found = match place.address() {
            Some(address) => vec![address.ip()],
            None => {
                let name = format!("{}.", place.host.trim_end_matches('.'));
                let (six, four) = tokio::join!(
                    self.look_up(domain, name.clone(), RecordType::AAAA),
                    self.look_up(domain, name, RecordType::A),
                );
                let found = match (six, four) {
                    (Ok((six, _)), Ok((four, _))) => in_turn(ips(six), ips(four)),
                    (Ok((some, _)), Err(_)) | (Err(_), Ok((some, _))) if !some.is_empty() => {
                        ips(some)
                    }
                    (Err(error), _) | (_, Err(error)) => return Err(error),
                };
                if found.is_empty() {
                    return Err(ResolveError::Nothing(domain.clone()));
                }
                found
            }
        };
        let is_ours_to_reach = |ip: &IpAddr| is_configured || self.takes_private || is_public(*ip);
        let port = place.port;
        let has_port = is_configured || port >= SYSTEM_PORTS || port == HTTPS_PORT;
        let reachable = found.into_iter().filter(is_ours_to_reach).take(ADDRESSES_MAX);
        let addresses: Vec<_> = reachable.map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() || !has_port {
            return Err(ResolveError::Private(domain.clone()));
        }
        Ok(addresses)
    }

    async fn services(
        &self,
        domain: &Domain,
        name: String,
        start: Start,
    ) -> Result<Vec<Service>, ResolveError> {
        let (found, is_proved) = self.look_up(domain, name, RecordType::SRV).await?;
        let service = |data: RData| match data {
            RData::SRV(srv) => {
                let host = srv.target.to_ascii().to_ascii_lowercase();
                let place = Place { host, port: srv.port, start, is_proved };
                Some(Service { priority: srv.priority, weight: srv.weight, place })
            }
            _ => None,
        };
        Ok(found.into_iter().filter_map(service).take(4 * PLACES_MAX).collect())
    }

    /// All records, and whether DNSSEC has proved all of them; none if DNS knows
    /// of none.
    pub(super) async fn look_up(
        &self,
        domain: &Domain,
        name: String,
        kind: RecordType,
    ) -> Result<(Vec<RData>, bool), ResolveError> {
        let Some(dns) = &self.dns else {
            return Ok((Vec::new(), false));
        };
        match dns.lookup(name, kind).await {
            Ok(lookup) => {
                // signatures have none
                let is_said = |record: &&Record| record.record_type() != RecordType::RRSIG;
                let said = || lookup.answers().iter().filter(is_said);
                let is_proved = self.has_dane && said().all(|record| record.proof.is_secure());
                Ok((said().map(|record| record.data.clone()).collect(), is_proved))
            }
            Err(error) if error.is_no_records_found() => Ok((Vec::new(), false)),
            Err(source) => Err(ResolveError::Failed { domain: domain.clone(), source }),
        }
    }
}

fn dns(config: &Config) -> Result<TokioResolver, NetError> {
    let servers = config.resolvers.iter().map(|address| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        let on_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        server.connections = server.connections.into_iter().map(on_port).collect();
        server
    });
    let mut builder = match config.resolvers.is_empty() {
        true => TokioResolver::builder_tokio()?,
        false => {
            let servers = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        }
    };
    builder.options_mut().timeout = DNS_TIME_MAX;
    builder.options_mut().validate = config.dane;
    let path = &config.dane_anchors;
    if config.dane && !path.as_os_str().is_empty() {
        let anchors = TrustAnchors::from_file(path).map_err(|error| {
            NetError::from(format!("{} (s2s_manager.dane_anchors): {error}", path.display()))
        })?;
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    builder.build()
}

/// The domain as DNS knows it.
pub fn ascii(domain: &Domain) -> Option<String> {
    idna::domain_to_ascii(domain.as_str()).ok().filter(|name| !name.is_empty())
}

/// The name that TLS asks for, and that a certificate is checked for.
pub fn server_name(domain: &Domain) -> Option<ServerName<'static>> {
    let inside = domain.as_str().trim_matches(['[', ']']);
    match inside.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(ascii(domain)?).ok(),
    }
}

fn ips(found: Vec<RData>) -> Vec<IpAddr> {
    let ip = |data| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    found.into_iter().filter_map(ip).collect()
}

/// First one of these, then one of those (RFC 8305 §4).
fn in_turn(these: Vec<IpAddr>, those: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut these, mut those) = (these.into_iter(), those.into_iter());
    let mut all = Vec::new();
    loop {
        let (one, other) = (these.next(), those.next());
        if one.is_none() && other.is_none() {
            return all;
        }
        all.extend(one.into_iter().chain(other));
    }
}

/// By priority, and among one priority by chance as the weights want it (RFC
/// 2782).
fn in_order(mut services: Vec<Service>, random: &mut impl Rng) -> Vec<Place> {
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut places = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|first| first.priority) {
        let count = services.iter().take_while(|one| one.priority == priority).count();
        let mut equals: Vec<Service> = services.drain(..count).collect();
        while !equals.is_empty() {
            let sum: u32 = equals.iter().map(|one| u32::from(one.weight)).sum();
            let mut drawn = random.random_range(0..=sum);
            let at = equals.iter().position(|one| {
                let is_it = drawn <= u32::from(one.weight);
                drawn = drawn.saturating_sub(u32::from(one.weight));
                is_it
            });
            places.push(equals.remove(at.unwrap_or(0)).place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn service(priority: u16, weight: u16, host: &str) -> Service {
        let place =
            Place { is_proved: false, ..format!("{host}:{PORT}").parse().expect("a place") };
        Service { priority, weight, place }
    }

    #[test]
    fn lower_priorities_go_first_and_weights_say_how_often() {
        let mut first = BTreeMap::<String, u32>::new();
        for seed in 0..1_000 {
            let all = vec![service(20, 9, "c"), service(10, 30, "a"), service(10, 10, "b")];
            let places = in_order(all, &mut StdRng::seed_from_u64(seed));
            let hosts: Vec<_> = places.iter().map(|place| place.host.as_str()).collect();
            assert!(hosts == ["a", "b", "c"] || hosts == ["b", "a", "c"], "{hosts:?}");
            *first.entry(hosts[0].into()).or_default() += 1;
        }
        assert!((650..850).contains(&first["a"]), "{first:?}");
        let zero = vec![service(1, 0, "a"), service(1, 0, "b")];
        assert_eq!(in_order(zero, &mut StdRng::seed_from_u64(1)).len(), 2);
    }

    #[test]
    fn both_families_take_turns() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an ip")).collect();
        let all = in_turn(ips(&["::1", "::2", "::3"]), ips(&["10.0.0.1"]));
        assert_eq!(all, ips(&["::1", "10.0.0.1", "::2", "::3"]) as Vec<IpAddr>);
    }
}
