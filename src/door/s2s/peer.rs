//! One stream that another server has opened: from the accepted socket to its
//! end. What is said is decided by `stream/server/incoming`; here it gets what
//! it waits for, and its stanzas go to the router.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::door::c2s::FAREWELL_TIME_MAX;
use crate::door::entry::Port;
use crate::door::recent::Recent;
use crate::door::s2s::S2s;
use crate::door::s2s::pace::turn;
use crate::drain::Drain;
use crate::metrics;
use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::net::peer_tls::Secured;
use crate::net::socket::Socket;
use crate::s2s_manager::arrivals::Arrived;
use crate::s2s_manager::rates::Brake;
use crate::s2s_manager::trust::View;
use crate::stream::server::incoming::{Incoming, Input, Output};
use crate::stream::server::{Channel, Pair, Proof, Verdict};
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::stanza::Stanza;

/// What may wait for a server that comes: answers to its proofs. One byte more
/// closes it. A guess.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// A connection of another server.
pub struct Peer<'a> {
    pub(super) door: &'a S2s,
    address: SocketAddr,
    port: Port,
    words: Outbox<()>,
    framer: Framer,
    machine: Incoming,
    view: View,
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
}

/// Why nothing more is read.
enum Over {
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
    Nothing,
}

impl<'a> Peer<'a> {
    /// A connection of which nothing was read.
    pub fn new(door: &'a S2s, address: SocketAddr, port: Port) -> Self {
        Self {
            door,
            address,
            port,
            words: Outbox::new(WORDS_BYTES_MAX),
            framer: Framer::new(door.limits_before()),
            machine: Incoming::new(Channel::Plain),
            view: View::plain(Arc::clone(door.rooms.servers.trust())),
            asked: JoinSet::new(),
            arrived: None,
            recent: Recent::default(),
            until: None,
            brake: Brake::default(),
            read: 0,
        }
    }

    /// Serves it to its end.
    pub async fn live(mut self, tcp: TcpStream, mut drain: Drain) {
        let write_timeout = self.door.rooms.servers.trust().config.write_timeout.get();
        let mut connection = Some(Connection::new(Socket::Plain(tcp), write_timeout));
        let over = self.listen(&mut connection, &mut drain).await;
        let is_stopped = matches!(over, Over::Stopped);
        match over {
            Over::Lost(error) => debug!(%error, "connection lost"),
            Over::Closed => self.words.finish("</stream:stream>".into()),
            Over::Refused | Over::Stopped => {}
        }
        let Some(mut connection) = connection else { return };
        // a peer that does not read its last words misses them
        let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&self.words)).await;
        if is_stopped {
            // what it has said without knowing is not lost (RFC 6120 §4.4)
            let _ = timeout(FAREWELL_TIME_MAX, self.hear_out(&mut connection)).await;
        }
        connection.shutdown().await;
    }

    async fn listen(&mut self, connection: &mut Option<Connection<()>>, drain: &mut Drain) -> Over {
        let deadline = Instant::now() + self.door.config.negotiation_timeout.get();
        if self.port == Port::DirectTls {
            match self.secure(connection, None, deadline).await {
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
                turn = turn(open, &self.words, held.is_some()) => Next::Turn(turn),
            };
            match next {
                Next::Turn(Ok(Turn::Read)) | Next::Nothing => {}
                Next::Turn(Ok(Turn::Ended)) => return Over::Closed,
                Next::Turn(Ok(Turn::Finished)) => return Over::Refused,
                Next::Turn(Err(error)) => return Over::Lost(error),
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
        connection: &mut Option<Connection<()>>,
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
        connection: &mut Option<Connection<()>>,
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
                    self.door.stanzas.increment(1);
                    self.route(stanza);
                }
                Output::Answer(stanza) => self.door.rooms.router.route(stanza),
                Output::Send(bytes) => {
                    // a peer that lets this much wait is not negotiating
                    self.words.push(bytes, ()).map_err(|_| Over::Closed)?;
                }
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
                    self.words.finish(words);
                    return Err(Over::Refused);
                }
                Output::Secure(domain) => {
                    self.secure(connection, Some(domain.as_str()), deadline).await?;
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
        connection: &mut Option<Connection<()>>,
        domain: Option<&str>,
        deadline: Instant,
    ) -> Result<(), Over> {
        let mut plain = connection.take().ok_or(Over::Closed)?;
        plain.flush(&self.words).await.map_err(Over::Lost)?;
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

    fn route(&mut self, stanza: Stanza) {
        let order = self.recent.order(&stanza, std::time::Instant::now());
        self.door.rooms.router.route_foreign(stanza, order);
    }

    /// Takes what still comes, until the peer closes its stream.
    async fn hear_out(&mut self, connection: &mut Connection<()>) {
        loop {
            let mut out = Vec::new();
            match self.framer.next(&mut connection.buffer) {
                Ok(Some(Frame::Element(raw))) => {
                    self.machine.handle(Input::Element(&raw), &self.view, &mut out);
                }
                Ok(None) => match connection.read().await {
                    Ok(Turn::Read) => {}
                    Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
                },
                Ok(Some(Frame::Close | Frame::Open(_))) | Err(_) => return,
            }
            for wish in out {
                match wish {
                    Output::Stanza(stanza) => self.route(stanza),
                    Output::Close(..) => return,
                    _ => {}
                }
            }
        }
    }

    /// The last words, after whatever waits. While the stream is open the
    /// machine stays as it is: what still comes is heard out.
    fn refuse(&mut self, error: &StreamError) {
        debug!(%error, "stream refused");
        metrics::count(metrics::S2S_CLOSED, error.condition.word());
        self.words.finish(self.machine.fail(error, &self.door.speaker, &self.view));
    }
}
