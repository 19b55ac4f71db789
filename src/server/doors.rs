//! The ways in for clients, other servers and components: bound before anything else
//! starts, opened last.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tracing::info;

use crate::cluster::handle::Cluster;
use crate::cluster::joining::joined;
use crate::config::Config;
use crate::door::config::ProxyProtocol;
use crate::door::entry::Port;
use crate::door::front::Front;
use crate::drain::Drain;
use crate::net::listener::{ListenError, Listener};

/// One way in, bound.
pub(super) type Door = (Listener, Port, Front);

/// All of them.
pub(super) struct Doors {
    /// For clients.
    pub(super) clients: Vec<Door>,
    /// For other servers.
    pub(super) servers: Vec<Door>,
    /// For components.
    pub(super) components: Vec<Door>,
}

/// All of them.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn bind(config: &Config) -> Result<Doors, ListenError> {
    let c2s = &config.c2s;
    let own = (&c2s.listen, &c2s.direct_tls_listen);
    let clients = bind_some(own, &c2s.proxy_protocol, c2s.connections_max)?;
    let s2s = &config.s2s;
    let servers = match config.s2s_manager.enabled {
        true => {
            let own = (&s2s.listen, &s2s.direct_tls_listen);
            bind_some(own, &s2s.proxy_protocol, s2s.connections_max)?
        }
        false => Vec::new(),
    };
    let component = &config.component;
    let components = match component.is_open() {
        true => {
            let own = (&component.listen, &component.direct_tls_listen);
            bind_some(own, &component.proxy_protocol, component.connections_max)?
        }
        false => Vec::new(),
    };
    Ok(Doors { clients, servers, components })
}

fn bind_some(
    (listen, direct_tls_listen): (&Vec<SocketAddr>, &Vec<SocketAddr>),
    behind: &ProxyProtocol,
    connections_max: usize,
) -> Result<Vec<Door>, ListenError> {
    let mut doors = Vec::new();
    for (addresses, port, front) in [
        (listen, Port::StartTls, Front::Nobody),
        (direct_tls_listen, Port::DirectTls, Front::Nobody),
        (&behind.listen, Port::StartTls, Front::Balancer),
        (&behind.direct_tls_listen, Port::DirectTls, Front::Balancer),
    ] {
        for address in addresses {
            doors.push((Listener::bind(*address, connections_max)?, port, front));
        }
    }
    Ok(doors)
}

/// Lets them in by one of these, until the drain: as soon as this node knows
/// what the others know. Until then they wait in the kernel.
pub(super) fn open<F>(
    (listener, port, front): Door,
    whose: &'static str,
    mut drain: Drain,
    cluster: Arc<Cluster>,
    serve: impl Fn((TcpStream, SocketAddr), Port, Front, Drain) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        tokio::select! {
            () = joined(&cluster) => {}
            () = drain.started() => return,
        }
        if let Ok(address) = listener.address() {
            info!(%address, ?port, ?front, "{whose} may come");
        }
        let inside = drain.clone();
        let serve = |tcp, peer| serve((tcp, peer), port, front, inside.clone());
        listener.serve(drain, serve).await;
    });
}
