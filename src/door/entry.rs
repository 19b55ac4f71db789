//! One connection's way in: from the accepted socket to a bound session.
//!
//! What is said is decided by `stream::negotiation`; here it gets what it
//! waits for: bytes, TLS, accounts, sessions, time.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{SeedableRng, TryRngCore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::door::c2s::{C2s, FAREWELL_TIME_MAX};
use crate::door::client::{Bound, Client};
use crate::drain::Drain;
use crate::metrics;
use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::net::socket::Socket;
use crate::session_manager::session::{Held, Session};
use crate::stream::negotiation::{Account, Channel, Established, Input, Negotiation, Output};
use crate::stream::sasl::scram::Bindings;
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, FullJid};

/// Whether a port speaks TLS from the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Plain first; the stream changes to TLS.
    StartTls,
    /// TLS at once (XEP-0368).
    DirectTls,
}

/// A connection on its way in.
pub struct Entry<'a> {
    pub(super) door: &'a C2s,
    pub(super) address: SocketAddr,
    port: Port,
    outbox: Arc<Outbox<Held>>,
    framer: Framer,
    machine: Negotiation,
    random: StdRng,
    /// Bound, but its client was not told yet.
    session: Option<Arc<Session>>,
}

/// Why there is no session.
#[derive(Debug)]
enum Ended {
    /// The socket is of no more use.
    Lost(io::Error),
    /// The peer closed its stream or its socket.
    Left,
    /// We closed the stream, and the last words wait in the outbox.
    Refused,
}

/// What the machine's wishes came to.
enum Next {
    /// It wants to read.
    Read,
    /// The session stands.
    Established(Established),
}

impl<'a> Entry<'a> {
    /// A connection of which nothing was read.
    pub fn new(door: &'a C2s, address: SocketAddr, port: Port) -> Self {
        let mut seed = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut seed).expect("the kernel gives random bytes");
        Self {
            door,
            address,
            port,
            outbox: Arc::new(Outbox::new(door.config.outbox_bytes_max.bytes())),
            framer: Framer::new(door.limits_before()),
            machine: Negotiation::new(door.negotiation(), Channel::Plain),
            random: StdRng::from_seed(seed),
            session: None,
        }
    }

    /// Negotiates to a session, within the configured time.
    pub async fn pass(mut self, tcp: TcpStream, mut drain: Drain) -> Option<Bound<'a>> {
        let write_timeout = self.door.config.write_timeout.get();
        let mut connection = Some(Connection::new(Socket::Plain(tcp), write_timeout));
        let deadline = self.door.config.negotiation_timeout.get();
        let negotiated = tokio::select! {
            negotiated = timeout(deadline, self.negotiate(&mut connection)) => negotiated.ok(),
            () = drain.started() => {
                self.refuse(self.door.draining.stopped());
                Some(Err(Ended::Refused))
            }
        };
        let ended = match negotiated {
            Some(Ok(established)) => match (self.session.take(), connection.take()) {
                (Some(session), Some(connection)) => {
                    return Some(Box::new((self.client(session, established), connection)));
                }
                _ => Ended::Left,
            },
            Some(Err(ended)) => ended,
            None => {
                let slow = StreamCondition::ConnectionTimeout;
                self.refuse(StreamError::new(slow, "the negotiation took too long"));
                Ended::Refused
            }
        };
        self.leave(connection, ended).await;
        None
    }

    fn client(self, session: Arc<Session>, established: Established) -> Client<'a> {
        let Self { door, outbox, framer, .. } = self;
        Client { door, session, outbox, framer, lang: established.lang }
    }

    /// Says why it is not served, and no more.
    pub async fn turn_away(mut self, tcp: TcpStream, error: StreamError) {
        let write_timeout = self.door.config.write_timeout.get();
        let connection = Connection::new(Socket::Plain(tcp), write_timeout);
        self.refuse(error);
        self.leave(Some(connection), Ended::Refused).await;
    }

    async fn leave(&mut self, connection: Option<Connection<Held>>, ended: Ended) {
        if let Some(session) = self.session.take() {
            self.door.sessions.release(&session);
        }
        match ended {
            Ended::Lost(error) => debug!(%error, "connection lost"),
            Ended::Left => self.outbox.finish("</stream:stream>".into()),
            Ended::Refused => {}
        }
        let Some(mut connection) = connection else { return };
        if self.port == Port::DirectTls && !connection.is_secured() {
            // There is no way yet to say anything to it.
            return;
        }
        // A peer that does not read its last words misses them.
        let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&self.outbox)).await;
        let mut unwritten = connection.shutdown().await;
        unwritten.extend(self.outbox.close());
        let unwritten = unwritten.into_iter().filter(|item| item.token.is_some()).collect();
        self.door.router.unwritten(unwritten);
    }

    async fn negotiate(
        &mut self,
        connection: &mut Option<Connection<Held>>,
    ) -> Result<Established, Ended> {
        if self.port == Port::DirectTls {
            let bindings = self.secure(connection, None).await?;
            let channel = Channel::Tls(bindings);
            self.machine = Negotiation::new(self.door.negotiation(), channel);
        }
        loop {
            let frame = self.read(connection).await?;
            let mut out = Vec::new();
            match frame {
                Frame::Close => return Err(Ended::Left),
                Frame::Open(header) => {
                    if let Some(error) = self.turned_away(connection.as_ref()) {
                        self.refuse(error);
                        return Err(Ended::Refused);
                    }
                    self.machine.handle(Input::Opened(*header), &mut self.random, &mut out);
                }
                Frame::Element(raw) => {
                    self.machine.handle(Input::Element(&raw), &mut self.random, &mut out);
                }
            }
            match self.act(out, connection).await? {
                Next::Read => {}
                Next::Established(established) => return Ok(established),
            }
        }
    }

    /// Where to go instead, said inside TLS where TLS must be: before it,
    /// anybody on the way could say so (RFC 6120 §4.9.3.19).
    fn turned_away(&self, connection: Option<&Connection<Held>>) -> Option<StreamError> {
        let is_secured = connection.is_some_and(Connection::is_secured);
        let is_heard = is_secured || !self.door.config.require_tls;
        is_heard.then(|| self.door.draining.turned_away())?
    }

    /// The next piece of the stream.
    async fn read(&mut self, connection: &mut Option<Connection<Held>>) -> Result<Frame, Ended> {
        let connection = connection.as_mut().ok_or(Ended::Left)?;
        loop {
            match self.framer.next(&mut connection.buffer) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    self.refuse(super::broken(error));
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

    /// Carries out the machine's wishes, and what it wishes upon the answers.
    async fn act(
        &mut self,
        wishes: Vec<Output>,
        connection: &mut Option<Connection<Held>>,
    ) -> Result<Next, Ended> {
        let mut wishes = VecDeque::from(wishes);
        while let Some(wish) = wishes.pop_front() {
            let answer = match wish {
                Output::Send(bytes) => {
                    // A peer that lets this much wait is not negotiating.
                    self.outbox.push(bytes, None).map_err(|_| Ended::Left)?;
                    continue;
                }
                Output::Close(words, error) => {
                    debug!(%error, "stream refused");
                    self.outbox.finish(words);
                    return Err(Ended::Refused);
                }
                Output::Failed => {
                    metrics::add(metrics::AUTHENTICATION_FAILED, 1);
                    debug!(address = %self.address, "an attempt to authenticate has failed");
                    self.door.addresses.was_wrong(self.address.ip(), Instant::now());
                    continue;
                }
                Output::Restart => {
                    self.framer.restart();
                    self.framer.set_limits(self.door.limits_after());
                    continue;
                }
                Output::Established(established) => return Ok(Next::Established(established)),
                Output::Secure(domain) => {
                    let bindings = self.secure(connection, Some(domain.as_str())).await?;
                    self.framer.restart();
                    Input::Secured(bindings)
                }
                Output::LookUp(account) => Input::Account(self.look_up(&account)),
                Output::Verify(check) => {
                    // A check that was lost with its thread has not succeeded.
                    let is_right = tokio::task::spawn_blocking(|| check.run()).await;
                    Input::Verified(is_right.unwrap_or(false))
                }
                Output::Register(registration) => {
                    Input::Registered(self.register(registration).await)
                }
                Output::Bind(account, wanted) => {
                    Input::Bound(self.bind(&account, wanted.as_deref()))
                }
            };
            let mut more = Vec::new();
            self.machine.handle(answer, &mut self.random, &mut more);
            wishes.extend(more);
        }
        Ok(Next::Read)
    }

    /// Changes to TLS. What was read before is thrown away, so that nobody on
    /// the way can have said it (RFC 6120 §5.4.3.1); a client that sends its
    /// TLS hello before our `<proceed/>` therefore fails.
    async fn secure(
        &mut self,
        connection: &mut Option<Connection<Held>>,
        domain: Option<&str>,
    ) -> Result<Bindings, Ended> {
        let mut plain = connection.take().ok_or(Ended::Left)?;
        plain.flush(&self.outbox).await.map_err(Ended::Lost)?;
        let Socket::Plain(tcp) = plain.into_socket() else { return Err(Ended::Left) };
        let acceptor = TlsAcceptor::from(self.door.tls(domain));
        let tls = acceptor.accept(tcp).await.map_err(Ended::Lost)?;
        let refuse = |error| Ended::Lost(io::Error::other(error));
        let binding = self.door.certificates.binding(tls.get_ref().1, domain).map_err(refuse)?;
        debug!(version = binding.version, cipher = %binding.cipher, "connection secured");
        let write_timeout = self.door.config.write_timeout.get();
        *connection = Some(Connection::new(Socket::Tls(Box::new(tls.into())), write_timeout));
        let end_point = Some(binding.end_point).filter(|hash| !hash.is_empty());
        Ok(Bindings { exporter: Some(binding.exporter.to_vec()), end_point })
    }

    fn look_up(&self, account: &BareJid) -> Account {
        match self.door.accounts.credentials(account) {
            Ok(Some(credentials)) => Account::Known(credentials),
            Ok(None) => Account::Unknown,
            Err(error) => {
                info!(%error, "an account cannot be read");
                Account::Unavailable
            }
        }
    }

    /// Binds a resource. Whoever keeps an account from being used says so in
    /// its row first, and ends its sessions then: so this looks at the row
    /// when the session can be seen.
    fn bind(&mut self, account: &BareJid, wanted: Option<&str>) -> Result<FullJid, StanzaError> {
        let outbox = Arc::clone(&self.outbox);
        let session = self.door.sessions.bind(account, wanted, self.address, outbox)?;
        if !self.door.accounts.may_be_used(account).unwrap_or(true) {
            self.door.sessions.release(&session);
            return Err(StanzaCondition::NotAuthorized.into());
        }
        let jid = session.jid.clone();
        self.session = Some(session);
        Ok(jid)
    }

    /// The last words, after whatever waits.
    fn refuse(&mut self, error: StreamError) {
        debug!(%error, "stream refused");
        self.outbox.finish(self.machine.fail(error, &mut self.random));
    }
}
