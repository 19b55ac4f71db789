//! A TCP connection to the first of some addresses that answers: all are
//! tried, the next one begins before the last one has failed (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// How long one address is ahead of the next (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// As in `net/listener`: a peer that vanished without a word is noticed.
const KEEPALIVE_TIME: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Connects to the first that answers; each may take `patience`, and what was
/// written may stay unacknowledged for `write_timeout`.
///
/// # Errors
/// What the last one said that has failed.
pub async fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
    write_timeout: Duration,
) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    let mut rest = addresses.iter().copied();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = rest.next() {
            tries.spawn(async move {
                let connected = timeout(patience, TcpStream::connect(address)).await;
                connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            });
        }
        let is_last = rest.len() == 0;
        tokio::select! {
            ended = tries.join_next() => match ended {
                Some(Ok(Ok(tcp))) => {
                    prepare(&tcp, write_timeout);
                    return Ok(tcp);
                }
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if is_last => return Err(last),
                None => {}
            },
            () = sleep(STAGGER), if !is_last => {}
        }
        if is_last && tries.is_empty() {
            return Err(last);
        }
    }
}

fn prepare(tcp: &TcpStream, write_timeout: Duration) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let socket = SockRef::from(tcp);
    let prepared = tcp
        .set_nodelay(true)
        .and(socket.set_tcp_keepalive(&keepalive))
        .and(socket.set_tcp_user_timeout(Some(write_timeout)));
    if let Err(error) = prepared {
        debug!(%error, "cannot set the options of a socket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_first_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let alive = listener.local_addr().expect("bound");
        let gone = {
            let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            other.local_addr().expect("bound")
        };
        let long = Duration::from_secs(20);
        let tcp = connect(&[gone, alive], long, long).await.expect("one answers");
        assert_eq!(tcp.peer_addr().expect("connected"), alive);
        let error = connect(&[gone, gone], long, long).await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(&[], long, long).await.is_err());
    }
}
