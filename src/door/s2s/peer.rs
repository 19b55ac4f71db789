//! One stream that another server has opened: from the accepted socket to its
//! end. What is said is decided by `stream/server/incoming`; here it gets what
//! it waits for, and its stanzas go to the router.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::door::entry::Port;
use crate::door::recent::Recent;
use crate::door::s2s::S2s;
use crate::door::s2s::kept::Entry;
use crate::door::s2s::reverse::{Event, Reverse};
use crate::drain::Drain;
use crate::metrics;
use crate::net::connection::{Connection, Turn};
use crate::net::peer_tls::Secured;
use crate::net::socket::Socket;
use crate::s2s_manager::arrivals::Arrived;
use crate::s2s_manager::rates::Brake;
use crate::s2s_manager::sending::Unread;
use crate::s2s_manager::trust::View;
use crate::session_manager::session::Held;
use crate::stream::ack::TooHigh;
use crate::stream::server::incoming::{Incoming, Input, Output};
use crate::stream::server::{Channel, Pair, Proof, Verdict};
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::stanza::Stanza;

/// A connection of another server.
pub struct Peer<'a> {
    pub(super) door: &'a S2s,
    pub(super) address: SocketAddr,
    port: Port,
    pub(super) reverse: Reverse,
    pub(super) framer: Framer,
    pub(super) machine: Incoming,
    pub(super) view: View,
    /// Questions to other servers that are not answered yet.
    asked: JoinSet<(Pair, Verdict)>,
    /// Since something was proved.
    pub(super) arrived: Option<Arrived>,
    recent: Recent,
    /// When what was proved by certificate is proved no more.
    until: Option<std::time::Instant>,
    /// What holds it to the rate of its domain.
    pub(super) brake: Brake,
    /// Bytes that were read and not counted yet.
    pub(super) read: usize,
    /// Its place among the streams that may go on.
    pub(super) entry: Option<Entry>,
}

/// Why nothing more is read.
pub(super) enum Over {
    /// The peer closed its stream.
    Closed,
    /// We end it: the last words are in the outbox.
    Refused,
    /// We end it, and it may not know while it still speaks.
    Stopped,
    /// The socket is of no more use.
    Lost(io::Error),
}

/// What there is to do next.
enum Next {
    Turn(io::Result<Turn>),
    Answer(Pair, Verdict),
    Ours(Event),
    Nothing,
}

impl From<Unread> for Over {
    /// A peer that lets so much wait is not negotiating.
    fn from(_: Unread) -> Self {
        Self::Closed
    }
}

impl<'a> Peer<'a> {
    /// A connection of which nothing was read.
    pub fn new(door: &'a S2s, address: SocketAddr, port: Port) -> Self {
        Self {
            door,
            address,
            port,
            reverse: Reverse::new(&door.rooms.servers),
            framer: Framer::new(door.limits_before()),
            machine: Incoming::new(Channel::Plain),
            view: View::plain(Arc::clone(door.rooms.servers.trust())),
            asked: JoinSet::new(),
            arrived: None,
            recent: Recent::default(),
            until: None,
            brake: Brake::default(),
            read: 0,
            entry: None,
        }
    }

    /// Serves it to its end. What is needed only for a while is boxed: an idle
    /// stream is small.
    pub async fn live(mut self: Box<Self>, tcp: TcpStream, mut drain: Drain) {
        let write_timeout = self.door.rooms.servers.trust().config.write_timeout.get();
        let mut connection = Some(Connection::new(Socket::Plain(tcp), write_timeout));
        let over = self.listen(&mut connection, &mut drain).await;
        Box::pin(self.end(connection, over)).await;
    }

    async fn listen(
        &mut self,
        connection: &mut Option<Connection<Held>>,
        drain: &mut Drain,
    ) -> Over {
        let deadline = Instant::now() + self.door.config.negotiation_timeout.get();
        if self.port == Port::DirectTls {
            match Box::pin(self.secure(connection, None, deadline)).await {
                Ok(()) => self.machine = Incoming::new(Channel::Tls),
                Err(over) => return over,
            }
        }
        loop {
            let held = match self.frames(connection, deadline).await {
                Ok(held) => held,
                Err(over) => return over,
            };
            let Some(open) = connection.as_mut() else { return Over::Refused };
            let is_proved = self.machine.is_proved();
            let arrival = self.arrived.as_ref().map(|arrived| Arc::clone(&arrived.arrival));
            let wanted = async {
                match &arrival {
                    Some(arrival) => arrival.end.notified().await,
                    None => std::future::pending().await,
                }
            };
            let is_wanted = self.entry.as_ref().map(|entry| Arc::clone(&entry.is_wanted));
            let taken_over = async {
                match &is_wanted {
                    Some(is_wanted) => is_wanted.notified().await,
                    None => std::future::pending().await,
                }
            };
            let until = self.until;
            let expired = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                () = drain.started() => {
                    self.refuse(&StreamCondition::SystemShutdown.into());
                    return Over::Stopped;
                }
                () = wanted => {
                    self.refuse(&StreamCondition::Reset.into());
                    return Over::Stopped;
                }
                () = taken_over => return Over::Lost(io::ErrorKind::ConnectionReset.into()),
                () = expired => {
                    let words = "your certificate is not valid any more";
                    self.refuse(&StreamError::new(StreamCondition::Reset, words));
                    return Over::Stopped;
                }
                () = sleep_until(deadline), if !is_proved => {
                    let slow = StreamCondition::ConnectionTimeout;
                    self.refuse(&StreamError::new(slow, "the proof of who you are took too long"));
                    return Over::Refused;
                }
                Some(answer) = self.asked.join_next() => match answer {
                    Ok((pair, verdict)) => Next::Answer(pair, verdict),
                    Err(_) => Next::Nothing,
                },
                () = sleep_until(held.unwrap_or(deadline)), if held.is_some() => Next::Nothing,
                event = self.reverse.next(held.is_some()) => Next::Ours(event),
                turn = open.turn_held(self.reverse.wire(), held.is_some()) => Next::Turn(turn),
            };
            match next {
                Next::Turn(Ok(Turn::Read)) | Next::Nothing => {}
                // a stream that was not closed may go on
                Next::Turn(Ok(Turn::Ended)) if self.entry.is_some() => {
                    return Over::Lost(io::ErrorKind::UnexpectedEof.into());
                }
                Next::Turn(Ok(Turn::Ended)) => return Over::Closed,
                Next::Turn(Ok(Turn::Finished)) => return Over::Refused,
                Next::Turn(Err(error)) => return Over::Lost(error),
                Next::Ours(Event::Taken(items)) => self.reverse.put(items),
                Next::Ours(Event::Silent) => return Over::Lost(io::ErrorKind::TimedOut.into()),
                Next::Ours(Event::Retire) => match self.reverse.retire(open).await {
                    Ok(has_ended) => self.note_both_ways(!has_ended),
                    Err(error) => return Over::Lost(error),
                },
                Next::Answer(pair, verdict) => {
                    let mut out = Vec::new();
                    self.machine.handle(Input::Verified(pair, verdict), &self.view, &mut out);
                    if let Err(over) = self.act(out, connection, deadline).await {
                        return over;
                    }
                }
            }
        }
    }

    /// Every whole piece that was read; of what is over its rate none is looked
    /// at, and until when is given back.
    async fn frames(
        &mut self,
        connection: &mut Option<Connection<Held>>,
        deadline: Instant,
    ) -> Result<Option<Instant>, Over> {
        loop {
            if let Some(held) = self.held() {
                return Ok(Some(held));
            }
            let Some(open) = connection.as_mut() else { return Err(Over::Refused) };
            let mut out = Vec::new();
            match self.framer.next(&mut open.buffer) {
                Ok(None) => return Ok(None),
                Ok(Some(Frame::Close)) => return Err(Over::Closed),
                Ok(Some(Frame::Open(header))) => {
                    self.machine.handle(Input::Opened(&header), &self.view, &mut out);
                }
                Ok(Some(Frame::Element(raw))) => {
                    self.read = self.read.saturating_add(raw.bytes.len());
                    self.machine.handle(Input::Element(&raw), &self.view, &mut out);
                }
                Err(error) => {
                    self.refuse(&crate::door::broken(error));
                    return Err(Over::Refused);
                }
            }
            self.act(out, connection, deadline).await?;
        }
    }

    /// Carries out the machine's wishes.
    async fn act(
        &mut self,
        wishes: Vec<Output>,
        connection: &mut Option<Connection<Held>>,
        deadline: Instant,
    ) -> Result<(), Over> {
        let mut wishes = VecDeque::from(wishes);
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Output::Stanza(stanza) => {
                    if let Some(arrived) = &self.arrived {
                        arrived.arrival.note_stanza();
                    }
                    self.count(&stanza);
                    self.reverse.note_stanza();
                    self.door.stanzas.increment(1);
                    self.route(stanza);
                }
                Output::Answer(stanza) => self.door.rooms.router.route(stanza),
                Output::Send(bytes) => self.reverse.say(bytes)?,
                Output::BothWays(pair) => {
                    let stands = self.stands(&pair);
                    let is_used = self.reverse.begin(&pair, stands);
                    self.note_both_ways(is_used);
                }
                Output::Counted(id) => {
                    self.begin_to_count(id);
                    // what went before is not counted, and must not wait any more
                    let open = connection.as_mut().ok_or(Over::Closed)?;
                    open.flush(self.reverse.wire()).await.map_err(Over::Lost)?;
                    self.reverse.count();
                }
                Output::Resume(pair, id, h) => Box::pin(self.resume(pair, id, h)).await?,
                Output::Handled(h) => match self.reverse.acknowledge(h) {
                    Ok(true) => self.note_both_ways(false),
                    Ok(false) => {}
                    Err(TooHigh) => {
                        self.refuse(&StreamCondition::UndefinedCondition.into());
                        return Err(Over::Refused);
                    }
                },
                Output::Restart => {
                    self.framer.restart();
                    self.framer.set_limits(self.door.limits_after());
                }
                Output::Verify(question) => {
                    let servers = Arc::clone(&self.door.rooms.servers);
                    self.asked.spawn(async move {
                        let pair = question.pair.clone();
                        (pair, servers.ask(question).await)
                    });
                }
                Output::Proved(theirs, proof) => {
                    info!(%theirs, address = %self.address, proof = proof.word(), "a server has come");
                    self.framer.set_limits(self.door.limits_after());
                    let tls = self.view.secured().map(|secured| (secured.version, secured.cipher));
                    let arrivals = &self.door.rooms.arrivals;
                    let arrived =
                        self.arrived.get_or_insert_with(|| arrivals.enter(self.address, tls));
                    arrived.arrival.note_proof(theirs, proof);
                    if proof == Proof::Certificate {
                        self.until = self.view.ends();
                    }
                }
                Output::Failed => {
                    debug!(address = %self.address, "a server did not prove who it is");
                    self.door.was_wrong(self.address);
                }
                Output::Close(words, error) => {
                    debug!(%error, "stream refused");
                    metrics::count(metrics::S2S_CLOSED, error.condition.word());
                    self.reverse.finish(words);
                    return Err(Over::Refused);
                }
                Output::Secure(domain) => {
                    Box::pin(self.secure(connection, Some(domain.as_str()), deadline)).await?;
                    self.framer.restart();
                    let mut more = Vec::new();
                    self.machine.handle(Input::Secured, &self.view, &mut more);
                    wishes.extend(more);
                }
            }
        }
        Ok(())
    }

    /// Changes to TLS; what was read before is thrown away (RFC 6120
    /// §5.4.3.1).
    async fn secure(
        &mut self,
        connection: &mut Option<Connection<Held>>,
        domain: Option<&str>,
        deadline: Instant,
    ) -> Result<(), Over> {
        let mut plain = connection.take().ok_or(Over::Closed)?;
        plain.flush(self.reverse.wire()).await.map_err(Over::Lost)?;
        let Socket::Plain(tcp) = plain.into_socket() else { return Err(Over::Closed) };
        let acceptor = TlsAcceptor::from(self.door.tls(domain));
        let late = |_| Over::Lost(io::ErrorKind::TimedOut.into());
        let tls = tokio::time::timeout_at(deadline, acceptor.accept(tcp)).await.map_err(late)?;
        let tls = tls.map_err(Over::Lost)?;
        self.view.secure(Secured::of(tls.get_ref().1));
        let write_timeout = self.door.rooms.servers.trust().config.write_timeout.get();
        *connection = Some(Connection::new(Socket::Tls(Box::new(tls.into())), write_timeout));
        Ok(())
    }

    pub(super) fn route(&mut self, stanza: Stanza) {
        let order = self.recent.order(&stanza, std::time::Instant::now());
        self.door.rooms.router.route_foreign(stanza, order);
    }
}
