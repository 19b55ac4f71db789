//! What the operator has decided about components, for the rooms that ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::handle::Cluster;
use crate::config::Config;
use crate::door::component::Door;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::router::components::{Components, Rules, Watches};
use crate::session_manager::made_up::MadeUp;
use crate::stream::component::Secret;
use crate::xmpp::jid::Domain;

/// The components, of which none is connected yet.
pub(super) fn of(
    config: &Config,
    cluster: &Arc<Cluster>,
    made_up: &Arc<MadeUp>,
) -> Arc<Components> {
    let rules = config.component.all_domains().map(|(domain, component)| {
        // what one answers for us, it answers by its own domain
        let is_first = config.component.domains.contains_key(domain);
        let rules = Rules {
            reachable_from: component.reachable_from.clone(),
            weights: component.weights.clone(),
            delegation: component.delegation.iter().filter(|_| is_first).cloned().collect(),
            watches: if is_first { component.privileges.presence } else { Watches::None },
        };
        (domain.clone(), rules)
    });
    let policies = config.domain_balancing.clone();
    Arc::new(Components::new(Arc::clone(cluster), rules.collect(), policies, Arc::clone(made_up)))
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
