//! The life of a bound session: its client's stanzas to the router, the
//! outbox to its client.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::timeout;
use tracing::{debug, warn};

use crate::door::c2s::{C2s, FAREWELL_TIME_MAX};
use crate::drain::Drain;
use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::session_manager::session::{Held, Session, Unwritten};
use crate::stream::negotiation::states::not_a_stanza;
use crate::xml::framer::{Frame, Framer};
use crate::xml::head::Raw;
use crate::xmpp::error::{StanzaCondition, StreamCondition, StreamError};
use crate::xmpp::jid::Jid;
use crate::xmpp::kind::Kind;
use crate::xmpp::namespaces::{BIND, CLIENT, CLIENT_STATE, SESSION};
use crate::xmpp::stanza::{ReadError, Stanza};

/// A connection that is a session.
pub struct Client<'a> {
    /// The door that it came through.
    pub door: &'a C2s,
    /// The session, in the table.
    pub session: Arc<Session>,
    /// What waits for the client.
    pub outbox: Arc<Outbox<Held>>,
    /// Cuts the stream on.
    pub framer: Framer,
    /// The language of stanzas that name none.
    pub lang: Option<String>,
}

/// Why nothing more is read.
enum Over {
    /// The client closed its stream: ours closes too.
    Closed,
    /// We end the stream with an error.
    Failed(StreamError),
    /// The last words are written already.
    Written,
    /// It was asked to connect elsewhere.
    Moves,
    /// The socket is of no more use.
    Lost(io::Error),
}

/// A session and its connection. Boxed: a task that waits holds what it was given
/// twice, and there are many.
pub type Bound<'a> = Box<(Client<'a>, Connection<Held>)>;

impl Client<'_> {
    /// Serves the session to its end, and plans again what was not written.
    pub async fn live(mut bound: Bound<'_>, mut drain: Drain) {
        let (client, connection) = &mut *bound;
        let over = client.listen(connection, &mut drain).await;
        // boxed: nobody needs room for it before
        Box::pin(Self::end(bound, over)).await;
    }

    async fn end(bound: Bound<'_>, over: Over) {
        let (mut client, mut connection) = *bound;
        // From here nothing is planned for this session any more.
        client.door.sessions.release(&client.session);
        client.door.router.gone(&client.session);
        let has_moved = matches!(over, Over::Written | Over::Moves) && client.session.moves();
        match over {
            Over::Written | Over::Moves => {}
            Over::Lost(error) => debug!(%error, "connection lost"),
            Over::Closed => client.outbox.finish("</stream:stream>".into()),
            Over::Failed(error) => {
                debug!(%error, "stream ended by us");
                client.outbox.finish(error.last_words());
            }
        }
        // A client that does not read its last words misses them.
        let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&client.outbox)).await;
        if has_moved {
            // What it has said without knowing is not lost (RFC 6120 §4.4).
            let _ = timeout(FAREWELL_TIME_MAX, client.hear_out(&mut connection)).await;
        }
        let mut unwritten = connection.shutdown().await;
        unwritten.extend(client.outbox.close());
        client.door.router.unwritten(unwritten);
    }

    async fn listen(&mut self, connection: &mut Connection<Held>, drain: &mut Drain) -> Over {
        // What came in one piece with the bind request.
        if let Err(over) = self.stanzas(connection) {
            return over;
        }
        let mut stops = pin!(drain.started());
        loop {
            let turn = tokio::select! {
                () = &mut stops => {
                    let error = self.door.draining.stopped();
                    self.door.sessions.move_away(&self.session, &error);
                    return Over::Moves;
                }
                turn = connection.turn(&self.outbox) => turn,
            };
            match turn {
                Ok(Turn::Read) => {
                    if let Err(over) = self.stanzas(connection) {
                        return over;
                    }
                }
                Ok(Turn::Ended) => return Over::Closed,
                Ok(Turn::Finished) => return Over::Written,
                Err(error) => return Over::Lost(error),
            }
        }
    }

    /// Takes what still comes, until the client closes its stream.
    async fn hear_out(&mut self, connection: &mut Connection<Held>) {
        while self.stanzas(connection).is_ok() {
            match connection.read().await {
                Ok(Turn::Read) => {}
                Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
            }
        }
    }

    /// Every whole stanza that was read.
    fn stanzas(&mut self, connection: &mut Connection<Held>) -> Result<(), Over> {
        loop {
            match self.framer.next(&mut connection.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Element(raw))) => self.stanza(&raw).map_err(Over::Failed)?,
                Ok(Some(Frame::Close)) => return Err(Over::Closed),
                Ok(Some(Frame::Open(_))) => {
                    return Err(Over::Failed(StreamCondition::BadFormat.into()));
                }
                Err(error) => return Err(Over::Failed(super::broken(error))),
            }
        }
    }

    fn stanza(&self, raw: &Raw) -> Result<(), StreamError> {
        let me = self.session.jid.as_jid();
        let mut stanza = match Stanza::read(raw, CLIENT) {
            Ok(stanza) => stanza,
            Err(ReadError::Bad(fault)) => {
                if let Some(answer) = fault.answer(me) {
                    self.say(answer);
                }
                return Ok(());
            }
            Err(ReadError::NotAStanza) if raw.ns(CLIENT) == CLIENT_STATE => {
                return self.client_state(raw);
            }
            Err(ReadError::NotAStanza | ReadError::WrongNamespace) => {
                return Err(not_a_stanza(raw));
            }
        };
        if stanza.from.as_ref().is_some_and(|from| !self.is_me(from)) {
            return Err(StreamCondition::InvalidFrom.into());
        }
        // RFC 6120 §8.1.2.1: the full address, but for subscriptions.
        stanza.from = Some(match stanza.kind.is_subscription() {
            true => self.session.jid.bare().into(),
            false => me.clone(),
        });
        if stanza.lang.is_none() {
            stanza.lang = self.lang.as_deref().map(Into::into);
        }
        self.take(stanza);
        Ok(())
    }

    fn take(&self, stanza: Stanza) {
        if self.session.moves()
            && matches!(stanza.kind, Kind::Presence(_))
            && !stanza.kind.is_subscription()
        {
            // it is not there any more, and everybody hears so
            return;
        }
        let is_formality =
            stanza.to.is_none() && stanza.kind.is_request() && self.formality(&stanza);
        if !is_formality {
            self.door.router.take(&self.session, stanza);
        }
    }

    /// Whether anybody looks at the client now (XEP-0352 §4).
    fn client_state(&self, raw: &Raw) -> Result<(), StreamError> {
        let is_active = match raw.name() {
            "active" => true,
            "inactive" => false,
            _ => return Err(not_a_stanza(raw)),
        };
        if let Err(Unwritten::Overflow(items)) = self.session.set_active(is_active) {
            self.door.sessions.release(&self.session);
            self.door.router.unwritten(items);
        }
        Ok(())
    }

    /// Requests of RFC 3921 clients, and a second bind.
    fn formality(&self, stanza: &Stanza) -> bool {
        match stanza.child.as_ref().map(|child| &*child.ns) {
            Some(SESSION) => {
                if let Some(result) = stanza.result(bytes::Bytes::new()) {
                    self.say(result.write());
                }
                true
            }
            Some(BIND) => {
                self.refuse(stanza, StanzaCondition::NotAllowed);
                true
            }
            _ => false,
        }
    }

    fn refuse(&self, stanza: &Stanza, condition: StanzaCondition) {
        if let Some(error) = stanza.error(condition.into()) {
            self.say(error.write());
        }
    }

    /// To this client and nobody else.
    fn say(&self, bytes: bytes::Bytes) {
        if self.outbox.push(bytes, None).is_err() && !self.session.moves() {
            warn!(session = self.session.number, "a client does not read our answers");
        }
    }

    fn is_me(&self, from: &Jid) -> bool {
        from == self.session.jid.as_jid() || *from == Jid::from(self.session.jid.bare())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of this function waits in.
    fn bytes<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_waits_in_little_memory() {
        let (task, held) = (bytes(Client::live), size_of::<(Client<'_>, Connection<Held>)>());
        assert!(task <= 512 && held <= 640, "{task} and {held} bytes");
    }
}
