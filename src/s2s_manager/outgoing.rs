//! One connection to another server: from its domain to a stream on which
//! stanzas may be written. What is said is decided by `stream/server`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::net::peer_tls::Secured;
use crate::net::socket::Socket;
use crate::s2s_manager::connect::connect;
use crate::s2s_manager::dane::{Fit, Tlsa};
use crate::s2s_manager::fault::LinkError;
use crate::s2s_manager::place::{Place, Start};
use crate::s2s_manager::resolve::{Resolve, ResolveError, server_name};
use crate::s2s_manager::trust::{Trust, View};
use crate::stream::ack::{Acks, Previous};
use crate::stream::server::outgoing::{Fault, Input, Outgoing, Output, Purpose};
use crate::stream::server::{Channel, Pair, Policy, Proof, Verdict};
use crate::xml::framer::{Frame, Framer};
use crate::xml::limits::Limits;
use crate::xmpp::error::StreamCondition;

/// What may wait for a server that negotiates. A guess: all our words
/// together have less.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// Whom to connect to, and for what.
#[derive(Debug)]
pub struct Dial {
    /// What is believed.
    pub trust: Arc<Trust>,
    /// Where they are.
    pub resolve: Arc<Resolve>,
    /// Which domains.
    pub pair: Pair,
    /// By which rules.
    pub policy: Policy,
    /// What the stream is for.
    pub purpose: Purpose,
    /// The stream that shall go on.
    pub previous: Option<Previous>,
    /// Who wants to hear of each step.
    pub heard: Option<UnboundedSender<Seen>>,
}

/// A step on the way to a stream, for an operator who looks on.
#[derive(Debug)]
pub enum Seen {
    /// These are its addresses.
    Addresses(Place, Vec<SocketAddr>),
    /// These certificates its domain names for it.
    Named(Vec<Tlsa>),
    /// This one has answered.
    Connected(SocketAddr),
    /// TLS stands.
    Secured(Secured),
    /// So its certificate fits to those.
    Judged(Fit),
    /// It is not to be had at that place.
    Failed(Place, LinkError),
}

/// A stream that has done its first work.
#[derive(Debug)]
pub struct Established<T> {
    /// The connection, nothing of whose stream is unread but stanzas.
    pub connection: Connection<T>,
    /// Cuts the stream on.
    pub framer: Framer,
    /// Says what is in order on it.
    pub machine: Outgoing,
    /// What is known of its peer.
    pub view: View,
    /// What it has come to.
    pub done: Done,
    /// Where the peer is.
    pub address: SocketAddr,
}

/// What a negotiation has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Stanzas may be written.
    Proved(Proof, Acks),
    /// The question is answered.
    Answered(Verdict),
}

/// A connection that is being negotiated.
struct Negotiation<T> {
    connection: Option<Connection<T>>,
    words: Outbox<T>,
    framer: Framer,
    machine: Outgoing,
    view: View,
    named: Named,
}

/// Where a connection leads, and which certificates are named for that.
struct Named {
    records: Vec<Tlsa>,
    place: Place,
}

impl Dial {
    /// Tries all places of the domain in their order, until a stream stands.
    /// Its time is the caller's to bound.
    ///
    /// # Errors
    /// [`LinkError`]: what the last place has come to.
    pub async fn connect<T: Unpin + Default>(&self) -> Result<Established<T>, LinkError> {
        let theirs = &self.pair.theirs;
        let places = self.resolve.places(theirs).await?;
        let mut last = LinkError::Resolve(ResolveError::Nothing(theirs.clone()));
        for place in &places {
            match self.try_place(place).await {
                Ok(established) => return Ok(established),
                // it is there: others of the same domain say the same
                Err(error @ LinkError::Fault(_)) => return Err(error),
                Err(error) => {
                    debug!(%theirs, %place, %error, "a server is not to be had there");
                    self.tell(|| Seen::Failed(place.clone(), error.clone()));
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Says what is seen to whoever wants to hear it; he may have gone.
    fn tell(&self, seen: impl FnOnce() -> Seen) {
        if let Some(heard) = &self.heard {
            let _ = heard.send(seen());
        }
    }

    async fn try_place<T: Unpin + Default>(
        &self,
        place: &Place,
    ) -> Result<Established<T>, LinkError> {
        let config = &self.trust.config;
        let addresses = self.resolve.addresses(&self.pair.theirs, place).await?;
        self.tell(|| Seen::Addresses(place.clone(), addresses.clone()));
        let named = self.resolve.tlsa(&self.pair.theirs, place).await?;
        self.tell(|| Seen::Named(named.clone()));
        let tcp =
            connect(&addresses, config.connect_timeout.get(), config.write_timeout.get()).await;
        let tcp = tcp.map_err(|error| LinkError::Unreachable(Arc::new(error)))?;
        let address = tcp.peer_addr().map_err(lost)?;
        self.tell(|| Seen::Connected(address));
        let mut view = View::plain(Arc::clone(&self.trust));
        // who names certificates has TLS, whatever is seen of it on the way
        let require_tls = self.policy.require_tls || named.iter().any(Tlsa::is_usable);
        let policy = Policy { require_tls, ..self.policy };
        let named = Named { records: named, place: place.clone() };
        let (socket, channel) = match place.start {
            Start::StartTls => (Socket::Plain(tcp), Channel::Plain),
            Start::DirectTls => (self.secure(tcp, &named, &mut view).await?, Channel::Tls),
        };
        let (pair, purpose) = (self.pair.clone(), self.purpose.clone());
        let negotiation = Negotiation {
            connection: Some(Connection::new(socket, config.write_timeout.get())),
            words: Outbox::new(WORDS_BYTES_MAX),
            framer: Framer::new(Limits::unauthenticated()),
            machine: Outgoing::new(pair, policy, purpose, channel).resuming(self.previous.clone()),
            view,
            named,
        };
        negotiation.run(self, address).await
    }

    async fn secure(
        &self,
        tcp: TcpStream,
        named: &Named,
        view: &mut View,
    ) -> Result<Socket, LinkError> {
        let failed = |error| LinkError::Tls(Arc::new(error));
        let theirs = &self.pair.theirs;
        let name = server_name(theirs).ok_or_else(|| ResolveError::Name(theirs.clone()))?;
        let config = self.trust.connecting(&self.pair.ours, named.place.start);
        let config = config.map_err(|error| failed(io::Error::other(error)))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?;
        let secured = Secured::of(tls.get_ref().1);
        self.tell(|| Seen::Secured(secured.clone()));
        view.secure(secured);
        let fit = view.judge(&named.records, theirs, &named.place.host);
        self.tell(|| Seen::Judged(fit));
        if fit == Fit::Refused {
            return Err(LinkError::Named);
        }
        Ok(Socket::Tls(Box::new(tls.into())))
    }
}

impl<T: Unpin + Default> Negotiation<T> {
    async fn run(mut self, dial: &Dial, address: SocketAddr) -> Result<Established<T>, LinkError> {
        let mut out = Vec::new();
        self.machine.handle(Input::Connected, &self.view, &mut out);
        loop {
            if let Some(done) = self.act(out, dial).await? {
                let Self { connection, framer, machine, view, words, .. } = self;
                let mut connection = connection.ok_or(LinkError::Lost)?;
                connection.flush(&words).await.map_err(lost)?;
                return Ok(Established { connection, framer, machine, view, done, address });
            }
            out = Vec::new();
            match self.read().await? {
                Frame::Open(header) => {
                    self.machine.handle(Input::Opened(&header), &self.view, &mut out);
                }
                Frame::Element(raw) => {
                    self.machine.handle(Input::Element(&raw), &self.view, &mut out);
                }
                Frame::Close => return Err(LinkError::Lost),
            }
        }
    }

    async fn read(&mut self) -> Result<Frame, LinkError> {
        let connection = self.connection.as_mut().ok_or(LinkError::Lost)?;
        loop {
            match self.framer.next(&mut connection.buffer) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    debug!(?error, "a server writes what is no stream");
                    return Err(Fault::Spoke(StreamCondition::NotWellFormed.into()).into());
                }
            }
            match connection.turn(&self.words).await.map_err(lost)? {
                Turn::Read => {}
                Turn::Ended | Turn::Finished => return Err(LinkError::Lost),
            }
        }
    }

    async fn act(&mut self, wishes: Vec<Output>, dial: &Dial) -> Result<Option<Done>, LinkError> {
        let mut wishes = VecDeque::from(wishes);
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Output::Send(bytes) => {
                    self.words.push(bytes, T::default()).map_err(|_| LinkError::Lost)?;
                }
                Output::Restart => self.framer.restart(),
                Output::Established(proof, acks) => return Ok(Some(Done::Proved(proof, acks))),
                // only after the proof
                Output::Handled(_)
                | Output::Uncounted
                | Output::Kept(_)
                | Output::Stanza(_)
                | Output::Answer(_) => {}
                Output::Answered(verdict) => return Ok(Some(Done::Answered(verdict))),
                Output::Close(words, fault) => {
                    self.words.finish(words);
                    if let Some(mut connection) = self.connection.take() {
                        // the caller bounds the time
                        let _ = connection.write_out(&self.words).await;
                        connection.shutdown().await;
                    }
                    return Err(fault.into());
                }
                Output::Secure => {
                    let mut plain = self.connection.take().ok_or(LinkError::Lost)?;
                    plain.flush(&self.words).await.map_err(lost)?;
                    let Socket::Plain(tcp) = plain.into_socket() else {
                        return Err(LinkError::Lost);
                    };
                    let socket = dial.secure(tcp, &self.named, &mut self.view).await?;
                    let write_timeout = dial.trust.config.write_timeout.get();
                    self.connection = Some(Connection::new(socket, write_timeout));
                    self.framer.restart();
                    let mut more = Vec::new();
                    self.machine.handle(Input::Secured, &self.view, &mut more);
                    wishes.extend(more);
                }
            }
        }
        Ok(None)
    }
}

/// What the socket says of its end is of no use to those who wait for it.
fn lost(error: io::Error) -> LinkError {
    debug!(%error, "a connection to a server has ended");
    LinkError::Lost
}
