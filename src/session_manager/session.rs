//! One session of this node: its address, its outbox, the row that tells the
//! other nodes of it, and what it has said and heard of presence.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::node::NodeId;
use crate::cluster::receipt::Receipt;
use crate::cluster::rows::SessionRow;
use crate::net::outbox::{Item, Outbox, Refused};
use crate::session_manager::given::{Given, Mark};
use crate::session_manager::handing::Handed;
use crate::session_manager::inactive::Inactive;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{FullJid, Jid};
use crate::xmpp::stanza::Stanza;

/// Names a session on its node; never used twice in the life of a node.
pub type SessionNumber = u64;

/// A session anywhere in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// The node its client is connected to.
    pub owner: NodeId,
    /// Its number there.
    pub number: SessionNumber,
}

/// The flag of a session that has asked for the roster and gets its changes
/// (RFC 6121 §2.2).
pub const INTERESTED: u8 = 1;

/// The flag of a session that wants copies of its account's messages
/// (XEP-0280).
pub const CARBONS: u8 = 2;

/// The flag of a session that wants to hear of its account's block list: it
/// has asked for it (XEP-0191).
pub const BLOCKING: u8 = 4;

/// Whom a session may have told of itself beyond its roster; and of how many
/// such it remembers that they told it. A guess: rooms that somebody is in.
pub const DIRECTED_MAX: usize = 1_000;

/// Whoever answers for a piece until it is written. Dropped: it was.
#[derive(Debug)]
pub enum Token {
    /// The node that sent it, and the message's name.
    Receipt(Receipt, Mark),
    /// The offline store, which has it still.
    Stored(Handed),
    /// Nobody; the message's name, for other sessions were given it as well.
    Named(Mark),
}

impl Token {
    /// The name of the message, if it has one.
    pub fn mark(&self) -> Mark {
        match self {
            Self::Receipt(_, mark) | Self::Named(mark) => *mark,
            Self::Stored(handed) => handed.mark(),
        }
    }
}

/// As [`Token`]; nobody where nobody must know.
pub type Held = Option<Arc<Token>>;

/// What a session says of itself.
#[derive(Debug, Default)]
pub struct Said {
    /// The last presence for everybody; none until it is available, and after
    /// it has gone.
    pub last: Option<Stanza>,
    /// Whom it told of itself besides (RFC 6121 §4.6).
    pub directed: BTreeSet<Jid>,
}

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
    said: Mutex<Said>,
    /// Who of our own domains told it of themselves beyond the roster. A
    /// leaf: nothing is locked inside.
    heard: Mutex<BTreeSet<FullJid>>,
    /// Who went with a lost node, as it was told, and was not seen again. A
    /// leaf.
    missing: Mutex<BTreeSet<FullJid>>,
    /// Which messages it was given. A leaf.
    given: Mutex<Given>,
    inactive: Mutex<Inactive>,
    bound: Instant,
    /// When it last asked for a change of its account, in milliseconds since
    /// `bound`, plus one.
    changed: AtomicU64,
    moves: AtomicBool,
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

/// While this lives, messages for a session wait behind stored ones.
#[derive(Debug)]
#[must_use]
pub struct Holding(Arc<Outbox<Held>>);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        Self {
            number,
            jid,
            address,
            outbox,
            row: Mutex::new(row),
            said: Mutex::default(),
            heard: Mutex::default(),
            missing: Mutex::default(),
            given: Mutex::default(),
            inactive: Mutex::default(),
            bound: Instant::now(),
            changed: AtomicU64::new(0),
            moves: AtomicBool::new(false),
        }
    }

    /// The row as the other nodes see it, or will in a moment.
    pub fn row(&self) -> SessionRow {
        lock(&self.row).clone()
    }

    /// Changes the row and returns it as it is now.
    pub fn change(&self, change: impl FnOnce(&mut SessionRow)) -> SessionRow {
        let mut row = lock(&self.row);
        change(&mut row);
        row.clone()
    }

    /// What it says of itself. Whoever tells others holds this meanwhile, so
    /// that they hear it in order.
    pub fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    /// Who told it of themselves beyond the roster. Whoever writes presence
    /// to it holds this meanwhile, so that what is known and what is written
    /// agree.
    pub fn heard(&self) -> MutexGuard<'_, BTreeSet<FullJid>> {
        lock(&self.heard)
    }

    /// Who went with a lost node, as it was told: it need not hear it again
    /// before it has seen them.
    pub fn missing(&self) -> MutexGuard<'_, BTreeSet<FullJid>> {
        lock(&self.missing)
    }

    /// Which messages it was given.
    pub fn given(&self) -> MutexGuard<'_, Given> {
        lock(&self.given)
    }

    /// It has asked for a change of its account just now.
    pub fn has_changed(&self) {
        let millis = u64::try_from(self.bound.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.changed.store(millis + 1, Ordering::Relaxed);
    }

    /// Whether it has asked for a change less than `span` ago.
    pub fn changed_within(&self, span: Duration) -> bool {
        let Some(changed) = self.changed.load(Ordering::Relaxed).checked_sub(1) else {
            return false;
        };
        self.bound.elapsed() < Duration::from_millis(changed).saturating_add(span)
    }

    /// Gives one stanza to the client.
    ///
    /// # Errors
    /// [`Unwritten`], with everything that must be planned again.
    pub fn write(&self, bytes: Bytes, held: Held) -> Result<(), Unwritten> {
        let mut inactive = lock(&self.inactive);
        let Some(bytes) = inactive.keep(bytes) else { return Ok(()) };
        for kept in inactive.release() {
            self.push(kept, None)?;
        }
        self.push(bytes, held)
    }

    /// Whether its client looks at it now (XEP-0352).
    ///
    /// # Errors
    /// As [`Session::write`]: what was kept is written.
    pub fn set_active(&self, is_active: bool) -> Result<(), Unwritten> {
        let mut inactive = lock(&self.inactive);
        inactive.is_inactive = !is_active;
        if is_active {
            for kept in inactive.release() {
                self.push(kept, None)?;
            }
        }
        Ok(())
    }

    /// From now on messages wait, until all that was stored before them is
    /// on its way: they must not overtake it (RFC 6120 §10.1).
    pub fn hold_messages(&self) -> Holding {
        self.outbox.hold_back();
        Holding(Arc::clone(&self.outbox))
    }

    fn push(&self, bytes: Bytes, held: Held) -> Result<(), Unwritten> {
        let is_stored = matches!(held.as_deref(), Some(Token::Stored(_)));
        let pushed = match bytes.starts_with(b"<message") && !is_stored {
            true => self.outbox.push_behind(bytes, held),
            false => self.outbox.push(bytes, held),
        };
        match pushed {
            Ok(()) => Ok(()),
            Err(Refused::Closed(item)) => Err(Unwritten::Gone(item)),
            Err(Refused::Full(item)) => {
                let mut back = self.outbox.abort(too_slow().last_words());
                back.push(item);
                Err(Unwritten::Overflow(back))
            }
        }
    }

    /// How many bytes may wait for the client.
    pub fn outbox_bytes_max(&self) -> usize {
        self.outbox.bytes_max()
    }

    /// As [`Session::end`], for no fault of the client: what it has said until
    /// it hears so is still taken (RFC 6120 §4.4).
    pub fn ask_to_move(&self, error: &StreamError) {
        self.moves.store(true, Ordering::Release);
        self.end(error);
    }

    /// Whether its client was asked to connect elsewhere.
    pub fn moves(&self) -> bool {
        self.moves.load(Ordering::Acquire)
    }

    /// Writes what waits, then the error, and closes the stream.
    pub fn end(&self, error: &StreamError) {
        self.outbox.finish(error.last_words());
    }
}

fn too_slow() -> StreamError {
    StreamError::new(StreamCondition::ResourceConstraint, "too much waits to be read")
}
