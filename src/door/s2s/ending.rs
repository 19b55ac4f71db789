//! The end of a stream that another server has opened: last words, what it has
//! said without knowing, and what of ours it may not have.

use bytes::Bytes;
use tokio::time::timeout;
use tracing::debug;

use crate::door::c2s::FAREWELL_TIME_MAX;
use crate::door::s2s::peer::{Over, Peer};
use crate::metrics;
use crate::net::connection::{Connection, Turn};
use crate::session_manager::session::Held;
use crate::stream::ack;
use crate::stream::server::incoming::{Input, Output};
use crate::xml::framer::Frame;
use crate::xmpp::error::StreamError;

impl Peer<'_> {
    /// Ends it, for this reason.
    pub(super) async fn end(&mut self, connection: Option<Connection<Held>>, over: Over) {
        if matches!(over, Over::Lost(_)) && self.leave_behind() {
            return;
        }
        // it does not go on
        self.entry = None;
        self.reverse.stop();
        let is_stopped = matches!(over, Over::Stopped);
        let mut unwritten = match over {
            Over::Lost(error) => {
                debug!(%error, "connection lost");
                let unwritten = connection.map(Connection::abandon);
                return self.reverse.end(unwritten.unwrap_or_default());
            }
            Over::Closed => self.reverse.abort(self.last_words("</stream:stream>".into())),
            Over::Refused | Over::Stopped => Vec::new(),
        };
        let Some(mut connection) = connection else { return };
        // a peer that does not read its last words misses them
        let written = connection.write_out(self.reverse.wire());
        let _ = timeout(FAREWELL_TIME_MAX, written).await;
        if is_stopped {
            let _ = timeout(FAREWELL_TIME_MAX, self.hear_out(&mut connection)).await;
        }
        unwritten.splice(0..0, connection.shutdown().await);
        self.reverse.end(unwritten);
    }

    /// Takes what still comes, until the peer closes its stream. A peer that
    /// counts sends again what it has said without knowing; of another it is
    /// not lost either (RFC 6120 §4.4).
    async fn hear_out(&mut self, connection: &mut Connection<Held>) {
        let is_counted = self.machine.handled().is_some();
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
                    Output::Stanza(stanza) if !is_counted => self.route(stanza),
                    Output::Handled(h) => {
                        // what it claims too much is its own loss: this is the end
                        let _ = self.reverse.acknowledge(h);
                    }
                    Output::Close(..) => return,
                    _ => {}
                }
            }
        }
    }

    /// The last words, after whatever waits. While the stream is open the
    /// machine stays as it is: what still comes is heard out.
    pub(super) fn refuse(&mut self, error: &StreamError) {
        debug!(%error, "stream refused");
        metrics::count(metrics::S2S_CLOSED, error.condition.word());
        self.reverse.take_last();
        let words = self.machine.fail(error, &self.door.speaker, &self.view);
        self.reverse.finish(self.last_words(words));
    }

    /// Before the end, a peer that counts hears what we have of its stanzas.
    fn last_words(&self, words: Bytes) -> Bytes {
        match self.machine.handled() {
            Some(handled) => [&ack::answer(handled)[..], &words].concat().into(),
            None => words,
        }
    }
}
