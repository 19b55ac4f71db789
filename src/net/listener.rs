//! Listening: sockets are bound before anything else starts, and each
//! accepted connection becomes a task that the drain waits for.
//!
//! What a connection says is not its business; neither is TLS.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::drain::Drain;

/// Connections that the kernel holds for us before we take them. Linux cuts
/// it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// How long we wait when the process has no file descriptor left for one more
/// connection. A guess: long enough not to spin, short enough not to be felt.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);

/// A peer that vanished without a word is noticed by the kernel: first asked
/// after 5 minutes of silence (RFC 6120 §4.6.4: not more often), given up
/// 4 × 30 s later.
const KEEPALIVE_TIME: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_RETRIES: u32 = 4;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it, a former one of ours perhaps.
    #[error(
        "cannot listen on {address}: it is in use; stop what holds it (ss -ltnp shows it) or choose another address"
    )]
    Taken {
        /// As configured.
        address: SocketAddr,
    },
    /// Anything else: no such address on this machine, no permission.
    #[error("cannot listen on {address}")]
    Failed {
        /// As configured.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
}

/// A bound socket that nobody is served on yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    /// More connections than these wait in the kernel's backlog.
    connections_max: Arc<Semaphore>,
}

impl Listener {
    /// Binds `address`; port 0 lets the kernel choose. An IPv6 wildcard also
    /// takes IPv4.
    ///
    /// # Errors
    /// [`ListenError`], with the address and what to do.
    pub fn bind(address: SocketAddr, connections_max: usize) -> Result<Self, ListenError> {
        let listener = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { address },
            _ => ListenError::Failed { address, source },
        })?;
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Ok(Self { listener, connections_max: Arc::new(Semaphore::new(connections_max)) })
    }

    /// The address that was bound, with the port the kernel chose.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until the drain starts, then waits for the connections, each
    /// of which is told by the same drain.
    pub async fn serve<F, S>(self, mut drain: Drain, serve: S)
    where
        S: Fn(TcpStream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            let room = Arc::clone(&self.connections_max);
            let (room, tcp, peer) = tokio::select! {
                () = drain.started() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    note_end(ended);
                    continue;
                }
                accepted = self.accept(room) => match accepted {
                    Some(accepted) => accepted,
                    None => continue,
                },
            };
            connections.spawn(hold(Box::pin(serve(tcp, peer)), room));
        }
        // whoever is in the kernel's queue already hears why, not a reset
        while let Some((room, tcp, peer)) = self.queued().await {
            connections.spawn(hold(Box::pin(serve(tcp, peer)), room));
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            note_end(ended);
        }
    }

    /// One connection that waits in the kernel now, if there is room for it.
    async fn queued(&self) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let permit = Arc::clone(&self.connections_max).try_acquire_owned().ok()?;
        let accepted = poll_fn(|cx| match self.listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => Poll::Ready(None),
        });
        let (tcp, peer) = accepted.await?;
        prepare(&tcp);
        Some((permit, tcp, plain_address(peer)))
    }

    /// One connection, when there is room for it.
    async fn accept(
        &self,
        room: Arc<Semaphore>,
    ) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let permit = room.acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((tcp, peer)) => {
                prepare(&tcp);
                Some((permit, tcp, plain_address(peer)))
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
                None
            }
        }
    }
}

/// A connection keeps its place until its end. Boxed: what an `async fn` is given
/// and then waits for takes its room twice.
async fn hold(connection: Pin<Box<impl Future<Output = ()>>>, room: OwnedSemaphorePermit) {
    connection.await;
    drop(room);
}

/// The error of a kernel without IPv6 (Linux, `EAFNOSUPPORT`).
const NO_SUCH_FAMILY: i32 = 97;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_on(address) {
        // all addresses there are, is what the wildcard means
        Err(error)
            if error.raw_os_error() == Some(NO_SUCH_FAMILY)
                && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
        {
            listen_on(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        listening => listening,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Small stanzas leave at once, and a silent death is noticed. A socket that
/// refuses either still works.
fn prepare(tcp: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let prepared = tcp.set_nodelay(true).and(SockRef::from(tcp).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        debug!(%error, "cannot set the options of a socket");
    }
}

/// `::ffff:192.0.2.1` is what a dual socket says for `192.0.2.1`.
fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A connection that panicked ended itself alone; someone must act.
fn note_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a fault of ours");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = Listener::bind(any(), 1).expect("a free port");
        let address = first.address().expect("it is bound");
        let error = Listener::bind(address, 1).expect_err("the port is taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn whoever_waits_in_the_kernel_is_served_when_the_drain_starts() {
        let listener = Listener::bind(any(), 8).expect("a free port");
        let address = listener.address().expect("it is bound");
        let mut client = TcpStream::connect(address).await.expect("the kernel answers");
        let (trigger, drain) = crate::drain::signal();
        let started = tokio::spawn(trigger.drain(Duration::from_secs(60)));
        let mut begun = drain.clone();
        begun.started().await;
        drop(begun);
        let serve = |mut tcp: TcpStream, _| async move {
            tokio::io::AsyncWriteExt::write_u8(&mut tcp, 7).await.expect("written");
        };
        listener.serve(drain, serve).await;
        assert_eq!(client.read_u8().await.expect("an answer"), 7);
        assert_eq!(started.await.expect("it ends"), crate::drain::Drained::All);
    }

    #[tokio::test]
    async fn draining_waits_for_the_connections() {
        let listener = Listener::bind(any(), 8).expect("a free port");
        let address = listener.address().expect("it is bound");
        let (trigger, drain) = crate::drain::signal();
        let watcher = drain.clone();
        let serving = tokio::spawn(listener.serve(drain, move |tcp, _| {
            let mut drain = watcher.clone();
            async move {
                drain.started().await;
                drop(tcp);
            }
        }));
        let mut client = TcpStream::connect(address).await.expect("somebody listens");
        let (drained, read) =
            tokio::join!(trigger.drain(Duration::from_secs(60)), client.read_u8());
        assert!(read.is_err(), "the server closed the connection");
        serving.await.expect("serving ends");
        assert_eq!(drained, crate::drain::Drained::All);
    }
}
