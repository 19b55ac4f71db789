//! What other servers say on links that we have opened (XEP-0288), on its way
//! up: each link gives it to a channel, whose other end is fetched by whoever
//! takes what comes.

use tokio::sync::mpsc;

use crate::xml::limits::Limits;
use crate::xmpp::stanza::Stanza;

/// Links whose channel was not fetched yet. Full: the next link waits with what
/// it hears. A guess; each is fetched at once.
pub const STREAMS_MAX: usize = 64;

/// Stanzas of one link that were not fetched yet. Full: no more is read from
/// it. A guess, small: nothing waits on the other end.
pub(super) const STANZAS_MAX: usize = 16;

/// Something that another server has said.
#[derive(Debug)]
pub enum Heard {
    /// A stanza whose `from` is proved, for a domain of ours.
    Stanza(Stanza),
    /// An answer to a stanza that was none.
    Answer(Stanza),
}

/// The way up.
#[derive(Debug)]
pub struct Up {
    /// Where each link puts its channel.
    pub streams: mpsc::Sender<Stream>,
    /// What one stanza may be.
    pub limits: Limits,
}

/// What comes by one link, to its end. Boxed: a channel has room for 32 from its
/// beginning on, whatever its limit.
pub type Stream = mpsc::Receiver<Box<Heard>>;
