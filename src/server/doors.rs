//! The ways in for clients: bound before anything else starts, opened last.

use std::sync::Arc;

use tracing::info;

use crate::cluster::handle::Cluster;
use crate::cluster::joining::joined;
use crate::config::Config;
use crate::door::c2s::C2s;
use crate::door::entry::Port;
use crate::door::front::Front;
use crate::drain::Drain;
use crate::net::listener::{ListenError, Listener};

/// One way in, bound.
pub(super) type Door = (Listener, Port, Front);

/// All of them.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn bind(config: &Config) -> Result<Vec<Door>, ListenError> {
    let (own, behind) = (&config.c2s, &config.c2s.proxy_protocol);
    let mut doors = Vec::new();
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

/// Lets clients in by one of them, until the drain: as soon as this node knows
/// what the others know. Until then they wait in the kernel.
pub(super) fn open(
    (listener, port, front): Door,
    c2s: &Arc<C2s>,
    mut drain: Drain,
    cluster: Arc<Cluster>,
) {
    let c2s = Arc::clone(c2s);
    tokio::spawn(async move {
        tokio::select! {
            () = joined(&cluster) => {}
            () = drain.started() => return,
        }
        if let Ok(address) = listener.address() {
            info!(%address, ?port, ?front, "clients may come");
        }
        let inside = drain.clone();
        let serve = |tcp, peer| Arc::clone(&c2s).serve((tcp, peer), port, front, inside.clone());
        listener.serve(drain, serve).await;
    });
}
