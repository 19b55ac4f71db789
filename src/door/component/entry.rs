//! A component's way in: from the accepted socket to its rows in the table of
//! routes. What is said is decided by `stream::component`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{SeedableRng, TryRngCore};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::door::c2s::FAREWELL_TIME_MAX;
use crate::door::component::Door;
use crate::door::component::life::Stream;
use crate::door::entry::Port;
use crate::door::recent::Recent;
use crate::drain::Drain;
use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::net::socket::Socket;
use crate::router::components::Comer;
use crate::router::instance::Passed;
use crate::stream::component::{Established, Input, Negotiation, Output};
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StreamCondition, StreamError};

/// How long whoever has the wrong secret waits for the word that it is wrong.
/// A guess: nobody who has the right one minds.
const WRONG_PAUSE: Duration = Duration::from_secs(1);

/// A connection on its way in.
pub(super) struct Entry {
    door: Arc<Door>,
    address: SocketAddr,
    port: Port,
    outbox: Arc<Outbox<Passed>>,
    framer: Framer,
    machine: Negotiation,
    random: StdRng,
}

/// Why there is no stream.
enum Ended {
    /// The socket is of no more use.
    Lost(io::Error),
    /// The peer closed its stream or its socket.
    Left,
    /// We closed the stream, and the last words wait in the outbox.
    Refused,
}

impl Entry {
    /// A connection of which nothing was read.
    pub(super) fn new(door: Arc<Door>, address: SocketAddr, port: Port) -> Self {
        let mut seed = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut seed).expect("the kernel gives random bytes");
        Self {
            outbox: Arc::new(Outbox::new(door.config.outbox_bytes_max.bytes())),
            framer: Framer::new(door.limits_before()),
            machine: Negotiation::new(Arc::clone(&door.negotiation)),
            random: StdRng::from_seed(seed),
            door,
            address,
            port,
        }
    }

    /// Negotiates, within the configured time.
    pub(super) async fn pass(
        mut self,
        tcp: TcpStream,
        mut drain: Drain,
    ) -> Option<(Stream, Connection<Passed>)> {
        let write_timeout = self.door.config.write_timeout.get();
        let deadline = self.door.config.negotiation_timeout.get();
        let secured = match self.port {
            Port::StartTls => Socket::Plain(tcp),
            Port::DirectTls => {
                let acceptor = TlsAcceptor::from(Arc::clone(&self.door.tls));
                match timeout(deadline, acceptor.accept(tcp)).await {
                    Ok(Ok(tls)) => Socket::Tls(Box::new(tls.into())),
                    // there is no way yet to say anything to it
                    Ok(Err(_)) | Err(_) => return None,
                }
            }
        };
        let mut connection = Connection::new(secured, write_timeout);
        let negotiated = tokio::select! {
            negotiated = timeout(deadline, self.negotiate(&mut connection)) => negotiated.ok(),
            () = drain.started() => {
                self.refuse(&StreamCondition::SystemShutdown.into());
                Some(Err(Ended::Refused))
            }
        };
        let ended = match negotiated {
            Some(Ok(established)) => return Some((self.enter(established), connection)),
            Some(Err(ended)) => ended,
            None => {
                let slow = StreamCondition::ConnectionTimeout;
                self.refuse(&StreamError::new(slow, "the handshake took too long"));
                Ended::Refused
            }
        };
        self.leave(connection, ended).await;
        None
    }

    /// Says why it is not served, and no more.
    pub(super) async fn turn_away(mut self, tcp: TcpStream, error: StreamError) {
        if self.port == Port::DirectTls {
            return;
        }
        let connection = Connection::new(Socket::Plain(tcp), self.door.config.write_timeout.get());
        self.refuse(&error);
        self.leave(connection, Ended::Refused).await;
    }

    /// All nodes know it before it knows so itself: what it says then can be
    /// answered.
    fn enter(mut self, established: Established) -> Stream {
        let Established { domain, name } = established;
        let component = self.door.config.domains.get(&domain);
        let also = component.map(|component| component.also.clone()).unwrap_or_default();
        let domains = std::iter::once(domain).chain(also).collect();
        let outbox = Arc::clone(&self.outbox);
        let comer = Comer { domains, name, address: self.address, outbox };
        let (instance, left) = self.door.components.register(comer);
        self.door.router.left_behind(left);
        self.framer.set_limits(self.door.limits_after());
        let checks_from = component.is_none_or(|component| component.check_from);
        let Self { door, outbox, framer, .. } = self;
        Stream { door, instance, outbox, framer, checks_from, paid: 0, recent: Recent::default() }
    }

    async fn leave(&mut self, mut connection: Connection<Passed>, ended: Ended) {
        match ended {
            Ended::Lost(error) => debug!(%error, "connection lost"),
            Ended::Left => self.outbox.finish("</stream:stream>".into()),
            Ended::Refused => {}
        }
        // a peer that does not read its last words misses them
        let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&self.outbox)).await;
        drop(connection.shutdown().await);
    }

    async fn negotiate(
        &mut self,
        connection: &mut Connection<Passed>,
    ) -> Result<Established, Ended> {
        loop {
            let mut out = Vec::new();
            match self.read(connection).await? {
                Frame::Close => return Err(Ended::Left),
                Frame::Open(header) => {
                    self.machine.handle(Input::Opened(*header), &mut self.random, &mut out);
                }
                Frame::Element(raw) => {
                    self.machine.handle(Input::Element(&raw), &mut self.random, &mut out);
                }
            }
            for wish in out {
                match wish {
                    Output::Send(bytes) => {
                        // a peer that lets this much wait is not negotiating
                        self.outbox.push(bytes, Passed::ours()).map_err(|_| Ended::Left)?;
                    }
                    Output::Failed => {
                        self.door.strangers.note("secret", self.address, &"a wrong secret");
                        sleep(WRONG_PAUSE).await;
                        // now, so that the pause pays for nothing
                        self.door.addresses.was_wrong(self.address.ip(), Instant::now());
                    }
                    Output::Close(words, error) => {
                        debug!(%error, "component refused");
                        self.outbox.finish(words);
                        return Err(Ended::Refused);
                    }
                    Output::Established(established) => return Ok(established),
                }
            }
        }
    }

    /// The next piece of the stream.
    async fn read(&mut self, connection: &mut Connection<Passed>) -> Result<Frame, Ended> {
        loop {
            match self.framer.next(&mut connection.buffer) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    self.refuse(&crate::door::broken(error));
                    return Err(Ended::Refused);
                }
            }
            match connection.turn(&self.outbox).await.map_err(Ended::Lost)? {
                Turn::Read => {}
                Turn::Ended => return Err(Ended::Left),
                Turn::Finished => return Err(Ended::Refused),
            }
        }
    }

    /// The last words, after whatever waits.
    fn refuse(&mut self, error: &StreamError) {
        debug!(%error, "component refused");
        self.outbox.finish(self.machine.fail(error, &mut self.random));
    }
}
