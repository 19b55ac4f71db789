//! The ways in for components: bound before anything else starts, opened last,
//! and none where no component may come.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use crate::cluster::handle::Cluster;
use crate::cluster::joining::joined;
use crate::config::Config;
use crate::door::component::Door;
use crate::door::entry::Port;
use crate::door::front::Front;
use crate::drain::Drain;
use crate::net::listener::{ListenError, Listener};
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::router::components::{Components, Rules};
use crate::server::doors;
use crate::stream::component::Secret;
use crate::xmpp::jid::Domain;

/// All of them.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn bind(config: &Config) -> Result<Vec<doors::Door>, ListenError> {
    let (own, behind) = (&config.component, &config.component.proxy_protocol);
    let mut doors = Vec::new();
    if !own.is_open() {
        return Ok(doors);
    }
    for (addresses, port, front) in [
        (&own.listen, Port::StartTls, Front::Nobody),
        (&own.direct_tls_listen, Port::DirectTls, Front::Nobody),
        (&behind.listen, Port::StartTls, Front::Balancer),
        (&behind.direct_tls_listen, Port::DirectTls, Front::Balancer),
    ] {
        for address in addresses {
            doors.push((Listener::bind(*address, own.connections_max)?, port, front));
        }
    }
    Ok(doors)
}

/// The components, of which none is connected yet.
pub(super) fn of(config: &Config, cluster: &Arc<Cluster>) -> Arc<Components> {
    let rules = config.component.all_domains().map(|(domain, component)| {
        let rules = Rules {
            reachable_from: component.reachable_from.clone(),
            weights: component.weights.clone(),
        };
        (domain.clone(), rules)
    });
    let policies = config.domain_balancing.clone();
    Arc::new(Components::new(Arc::clone(cluster), rules.collect(), policies))
}

/// Their door.
///
/// # Errors
/// Only if the crypto provider lacks TLS 1.2 or 1.3.
pub(super) fn door(
    config: &Config,
    secrets: BTreeMap<Domain, Vec<Secret>>,
    (router, components): (&Arc<Router>, &Arc<Components>),
    certificates: &Arc<Certificates>,
) -> Result<Arc<Door>, rustls::Error> {
    let rooms = (Arc::clone(router), Arc::clone(components));
    let door = Door::new(config.component.clone(), config.domains(), secrets, rooms, certificates)?;
    Ok(Arc::new(door))
}

/// Lets components in by one of them, until the drain: as soon as this node
/// knows what the others know.
pub(super) fn open(
    (listener, port, front): doors::Door,
    door: &Arc<Door>,
    mut drain: Drain,
    cluster: Arc<Cluster>,
) {
    let door = Arc::clone(door);
    tokio::spawn(async move {
        tokio::select! {
            () = joined(&cluster) => {}
            () = drain.started() => return,
        }
        if let Ok(address) = listener.address() {
            info!(%address, ?port, ?front, "components may come");
        }
        let inside = drain.clone();
        let serve = |tcp, peer| Arc::clone(&door).serve((tcp, peer), port, front, inside.clone());
        listener.serve(drain, serve).await;
    });
}
