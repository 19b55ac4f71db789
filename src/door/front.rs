//! Whose connection it is: the socket says so, or the load balancer that
//! stands in front, by the PROXY protocol. Whoever else speaks it is nobody.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::network::Network;
use crate::net::proxy_protocol::{self, Header, HeaderError};

/// How long a balancer may take for its header, which it sends at once. A
/// guess.
const HEADER_TIME_MAX: Duration = Duration::from_secs(3);

/// Who says whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The socket: clients come by themselves.
    Nobody,
    /// A load balancer, in the first bytes.
    Balancer,
}

/// Why nobody knows whose connection it is.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// Not from a network that is trusted.
    #[error("an address that is not in proxy_protocol.trusted")]
    Untrusted,
    /// What came is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No whole header came in time.
    #[error("no PROXY protocol header came in time")]
    Late,
    /// The connection broke, or ended.
    #[error("the connection ended before its PROXY protocol header")]
    Lost(#[source] io::Error),
}

impl Unknown {
    /// For counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Header(_) | Self::Late => "no-proxy-header",
            Self::Lost(_) => "lost",
        }
    }
}

impl Front {
    /// The address of the client. A balancer's header is read for it, and
    /// nothing behind that; one that speaks for itself is the client.
    ///
    /// # Errors
    /// [`Unknown`]: the connection is of no more use.
    pub async fn client(
        self,
        tcp: &mut TcpStream,
        peer: SocketAddr,
        trusted: &[Network],
    ) -> Result<SocketAddr, Unknown> {
        if self == Self::Nobody {
            return Ok(peer);
        }
        if !trusted.iter().any(|network| network.has(peer.ip())) {
            return Err(Unknown::Untrusted);
        }
        let header = timeout(HEADER_TIME_MAX, header(tcp)).await.map_err(|_| Unknown::Late)??;
        Ok(header.unwrap_or(peer))
    }
}

async fn header(tcp: &mut TcpStream) -> Result<Option<SocketAddr>, Unknown> {
    let mut read = Vec::with_capacity(proxy_protocol::HEADER_BYTES_MIN);
    loop {
        match proxy_protocol::read(&read)? {
            Header::Client(address) => return Ok(Some(address)),
            Header::Peer => return Ok(None),
            Header::Needs(more) => {
                let had = read.len();
                read.resize(had.saturating_add(more), 0);
                let room = read.get_mut(had..).unwrap_or_default();
                tcp.read_exact(room).await.map_err(Unknown::Lost)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (ours, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (theirs, peer) = accepted.expect("accepted");
        (ours.expect("connected"), theirs, peer)
    }

    fn trusted() -> Vec<Network> {
        vec!["127.0.0.0/8".parse().expect("a network")]
    }

    #[tokio::test]
    async fn what_is_behind_the_header_stays_in_the_socket() {
        let (mut balancer, mut tcp, peer) = pair().await;
        balancer.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000 5222\r\n<st").await.expect("sent");
        let client = Front::Balancer.client(&mut tcp, peer, &trusted()).await.expect("told");
        assert_eq!(client, SocketAddr::from(([192, 0, 2, 1], 4000)));
        let mut rest = [0; 3];
        tcp.read_exact(&mut rest).await.expect("the rest");
        assert_eq!(&rest, b"<st");
    }

    #[tokio::test]
    async fn a_balancer_that_speaks_for_itself_is_the_peer() {
        let (mut balancer, mut tcp, peer) = pair().await;
        balancer.write_all(b"PROXY UNKNOWN\r\n").await.expect("sent");
        assert_eq!(Front::Balancer.client(&mut tcp, peer, &trusted()).await.expect("told"), peer);
    }

    #[tokio::test]
    async fn a_stranger_is_not_even_heard() {
        let (mut stranger, mut tcp, peer) = pair().await;
        stranger.write_all(b"PROXY UNKNOWN\r\n").await.expect("sent");
        let networks = vec!["10.0.0.0/8".parse().expect("a network")];
        let refused = Front::Balancer.client(&mut tcp, peer, &networks).await;
        assert!(matches!(refused, Err(Unknown::Untrusted)), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (mut balancer, mut tcp, peer) = pair().await;
        balancer.write_all(b"PROXY TCP4 192.0.2.1").await.expect("sent");
        let late = Front::Balancer.client(&mut tcp, peer, &trusted()).await;
        assert!(matches!(late, Err(Unknown::Late)), "{late:?}");
        drop(balancer);
        let (balancer, mut tcp, peer) = pair().await;
        drop(balancer);
        let lost = Front::Balancer.client(&mut tcp, peer, &trusted()).await;
        assert!(matches!(lost, Err(Unknown::Lost(_))), "{lost:?}");
    }
}
