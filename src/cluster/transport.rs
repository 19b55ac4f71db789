//! chitchat's datagrams, sealed. Nothing unsealed reaches chitchat, and
//! nothing of it reaches the network unsealed.
//!
//! How chitchat writes its messages is private to it, but its own socket
//! writes and reads them. So one such socket and one of ours stand side by
//! side on loopback as a codec, and the real socket carries only what is
//! sealed. What the codec reads has been opened with our cookie first; of
//! datagrams that another process of this machine may push at it, only those
//! from our own side are passed on.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket as Codec};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::warn;

use crate::cluster::keyring::Keyring;
use crate::cluster::node::NodeId;
use crate::cluster::notice::Notice;
use crate::cluster::seal::{Opener, Refused, Sealer};
use crate::metrics;

/// The largest datagram of UDP over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// How long the codec may take for one datagram. It is a copy on loopback; a
/// message that it cannot read never comes out.
const CODEC_TIME_MAX: Duration = Duration::from_millis(50);

/// Opens one sealed socket, once, for chitchat.
pub struct Sealed {
    /// Taken when chitchat opens it.
    parts: Mutex<Option<(std::net::UdpSocket, Sealer, Opener)>>,
    moved: Arc<Moved>,
}

/// Who is not any more where its id in gossip says: the address in an id stays
/// for the node's life, and what is for it is sent to where it is now. At most
/// as many as there are nodes.
#[derive(Debug, Default)]
pub struct Moved(Mutex<HashMap<SocketAddr, SocketAddr>>);

impl Moved {
    /// All nodes, each where it was at first and where it is.
    pub(super) fn set(&self, nodes: impl Iterator<Item = (SocketAddr, SocketAddr)> + Clone) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.clear();
        moved.extend(nodes.clone().filter(|(first, now)| first != now));
        // somebody else may be there now
        for (_, now) in nodes {
            moved.remove(&now);
        }
    }

    fn find(&self, address: SocketAddr) -> SocketAddr {
        let moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.get(&address).copied().unwrap_or(address)
    }
}

struct SealedSocket {
    real: UdpSocket,
    moved: Arc<Moved>,
    sealer: Sealer,
    opener: Opener,
    codec: Codec,
    ours: UdpSocket,
    ours_address: SocketAddr,
    /// Whose messages are in the codec: a receive may be cancelled half way.
    under_way: VecDeque<SocketAddr>,
    buffer: Box<[u8]>,
    strangers: Notice,
}

impl Sealed {
    /// Seals as `me` on a socket that is bound and does not block.
    pub fn new(
        socket: std::net::UdpSocket,
        ring: &Arc<Keyring>,
        me: NodeId,
        moved: Arc<Moved>,
    ) -> Arc<Self> {
        let parts = (socket, Sealer::new(Arc::clone(ring), me), Opener::new(Arc::clone(ring)));
        Arc::new(Self { parts: Mutex::new(Some(parts)), moved })
    }
}

#[async_trait]
impl Transport for Sealed {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let parts = self.parts.lock().map(|mut parts| parts.take()).unwrap_or_default();
        let (socket, sealer, opener) = parts.ok_or_else(|| anyhow::anyhow!("opened twice"))?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let codec = Codec::open(loopback).await?;
        let ours = UdpSocket::bind(loopback).await?;
        ours.connect(codec.local_addr()?).await?;
        Ok(Box::new(SealedSocket {
            real: UdpSocket::from_std(socket)?,
            moved: Arc::clone(&self.moved),
            sealer,
            opener,
            codec,
            ours_address: ours.local_addr()?,
            ours,
            under_way: VecDeque::new(),
            buffer: vec![0; DATAGRAM_BYTES_MAX].into(),
            strangers: Notice::default(),
        }))
    }
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.real.local_addr()?)
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        self.codec.send(self.ours_address, envelope).await?;
        let read = timeout(CODEC_TIME_MAX, self.ours.recv(&mut self.buffer)).await;
        let plain = match read {
            Ok(Ok(length)) => self.buffer.get(..length).unwrap_or_default(),
            // A lost datagram on loopback is a lost datagram: gossip repeats.
            Ok(Err(_)) | Err(_) => return Ok(SendOutcome { num_bytes_sent: 0 }),
        };
        let datagram = self.sealer.seal(plain);
        // An error of one datagram (no route, no buffer) is not the end of
        // the socket.
        let to = self.moved.find(to);
        let num_bytes_sent = self.real.send_to(&datagram, to).await.unwrap_or(0);
        metrics::add(metrics::GOSSIP_BYTES, num_bytes_sent);
        Ok(SendOutcome { num_bytes_sent })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            if self.under_way.is_empty() {
                self.take_in().await;
                continue;
            }
            let decoded = timeout(CODEC_TIME_MAX, self.codec.recv()).await;
            match decoded {
                // a message that the codec cannot read never comes out
                Err(_) => self.under_way.clear(),
                Ok(outcome) => {
                    let outcome = outcome?;
                    if outcome.from_addr != self.ours_address {
                        continue;
                    }
                    if let Some(from_addr) = self.under_way.pop_front() {
                        return Ok(RecvOutcome { from_addr, ..outcome });
                    }
                }
            }
        }
    }
}

impl SealedSocket {
    /// Opens one datagram and puts it into the codec.
    async fn take_in(&mut self) {
        let (length, from) = match self.real.recv_from(&mut self.buffer).await {
            Ok(received) => received,
            Err(error) => {
                // A fault of one datagram, reported by the kernel on this
                // socket; a socket that is really gone fails to send too.
                warn!(%error, "cannot read a gossip datagram");
                tokio::time::sleep(CODEC_TIME_MAX).await;
                return;
            }
        };
        match self.opener.open(self.buffer.get(..length).unwrap_or_default()) {
            Ok((_, plain)) => {
                if self.ours.try_send(&plain).is_ok() {
                    self.under_way.push_back(from);
                }
            }
            Err(reason) => self.refuse(reason, from),
        }
    }

    fn refuse(&mut self, reason: Refused, from: SocketAddr) {
        let word = match reason {
            Refused::Foreign => "foreign",
            Refused::Forged => "forged",
            Refused::Replayed => "replayed",
        };
        metrics::count(metrics::GOSSIP_REFUSED, word);
        if let Some(count) = self.strangers.say() {
            warn!(
                address = %from,
                reason = word,
                count,
                "gossip that was not sealed with our cookie; a node of ours with another one?"
            );
        }
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}
