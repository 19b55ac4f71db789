//! One session of this node: its address, its outbox, and the row that tells
//! the other nodes of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::cluster::handle::Receipt;
use crate::cluster::rows::SessionRow;
use crate::net::outbox::{Item, Outbox, Refused};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::FullJid;

/// Names a session on its node; never used twice in the life of a node.
pub type SessionNumber = u64;

/// Whoever else answers for a piece until it is written: the receipt of the
/// frame that brought it from another node.
pub type Held = Option<Arc<Receipt>>;

/// A bound session whose client is connected to this node.
#[derive(Debug)]
pub struct Session {
    /// Its number in the session table.
    pub number: SessionNumber,
    /// Its address.
    pub jid: FullJid,
    /// Where its client connects from.
    pub address: SocketAddr,
    outbox: Arc<Outbox<Held>>,
    row: Mutex<SessionRow>,
}

/// Why a piece could not be given to a session.
#[derive(Debug)]
pub enum Unwritten {
    /// It is gone or going; the piece comes back.
    Gone(Item<Held>),
    /// Its client does not read: the session was closed with
    /// `resource-constraint`, and all that waited comes back, the new piece
    /// last.
    Overflow(Vec<Item<Held>>),
}

impl Session {
    /// A session as it is bound.
    pub fn new(
        number: SessionNumber,
        jid: FullJid,
        address: SocketAddr,
        outbox: Arc<Outbox<Held>>,
        row: SessionRow,
    ) -> Self {
        Self { number, jid, address, outbox, row: Mutex::new(row) }
    }

    /// The row as the other nodes see it, or will in a moment.
    pub fn row(&self) -> SessionRow {
        self.row.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the row and returns it as it is now.
    pub fn change(&self, change: impl FnOnce(&mut SessionRow)) -> SessionRow {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut row);
        row.clone()
    }

    /// Gives one stanza to the client.
    ///
    /// # Errors
    /// [`Unwritten`], with everything that must be planned again.
    pub fn write(&self, bytes: Bytes, held: Held) -> Result<(), Unwritten> {
        match self.outbox.push(bytes, held) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(item)) => Err(Unwritten::Gone(item)),
            Err(Refused::Full(item)) => {
                let mut back = self.outbox.abort(too_slow().last_words());
                back.push(item);
                Err(Unwritten::Overflow(back))
            }
        }
    }

    /// Writes what waits, then the error, and closes the stream.
    pub fn end(&self, error: &StreamError) {
        self.outbox.finish(error.last_words());
    }
}

fn too_slow() -> StreamError {
    StreamError::new(StreamCondition::ResourceConstraint, "too much waits to be read")
}
