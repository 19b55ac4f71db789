//! What two nodes say on a link, and how it is written. The length before each
//! frame, and the link itself, are the driver's.

use std::sync::Arc;

use bytes::Bytes;
use crdts::VClock;
use serde::{Deserialize, Serialize};

use super::node::{NodeId, NodeState};
use super::protocol::Protocol;
use super::rows::{Kind, SoftRow};

/// The most bytes of one frame on the wire, without its length. More than the
/// largest stanza (512 KiB) and the largest part of a snapshot; a longer one
/// ends the link.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// The most bytes of one frame when unpacked; a part of a snapshot packs to
/// about a third.
const UNPACKED_BYTES_MAX: usize = 8 << 20;

/// Table frames above this are packed: below, packing costs more than it saves
/// (measured: 58 ns a row for a third of its bytes).
const PACK_BYTES_MIN: usize = 4 << 10;

/// zstd's fastest ordinary level (measured: 12 bytes a session).
const PACK_LEVEL: i32 = 1;

/// Everything that one node says to its neighbour on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// The first frame of each side.
    Hello(Hello),
    /// We live.
    Heartbeat(Heartbeat),
    /// The nodes that we can reach by a link of our own, all of them.
    Links(Vec<NodeId>),
    /// We stop: hide us now, and take back what we have not acknowledged.
    Goodbye,
    /// A parcel for the neighbour itself.
    Direct {
        /// The latest stamp heard from the receiver of this frame.
        echo: u64,
        /// What is in it.
        parcel: Parcel,
    },
    /// A parcel for somebody that the sender cannot reach. It is passed on
    /// once at most: only the origin's neighbour passes on.
    Relay {
        /// The latest stamp heard from the receiver of this frame.
        echo: u64,
        /// Whose parcel.
        from: NodeId,
        /// Whom it is for.
        to: NodeId,
        /// What is in it.
        parcel: Parcel,
    },
}

/// The first frame on a link, from the one who dialed; the other answers with
/// the same `order`, and from then on the link is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Of two links between one pair the one with the greater order stays.
    pub order: u64,
    /// The sender's clock, as in a heartbeat.
    pub stamp: u64,
    /// As in a heartbeat.
    pub takes: u64,
    /// What the sender is up to.
    pub state: NodeState,
}

/// Says that the sender lives, and asks to be told so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Milliseconds on the sender's own clock. Whoever hears it returns it as
    /// `echo`: so the sender knows how old another's view of it is.
    pub stamp: u64,
    /// The latest stamp heard from the receiver.
    pub echo: u64,
    /// How old a letter may be, in milliseconds, that echoes this stamp: the
    /// sender takes none that is older.
    pub takes: u64,
    /// The version of the sender's own rows.
    pub version: u64,
    /// What the sender is up to.
    pub state: NodeState,
}

/// What one node has for another, on whatever path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parcel {
    /// A delivery under custody.
    Letter(Letter),
    /// Which letters were received and taken.
    Receipt(Receipt),
    /// Something without custody: in order while the path stays, lost with it.
    Word {
        /// Which of the rooms above it is for.
        channel: u8,
        /// Its content.
        body: Bytes,
    },
    /// Changes of the sender's own rows.
    Delta {
        /// The version before the first of them; each counts one up.
        after: u64,
        /// The changes, in order.
        changes: Arc<[Change]>,
    },
    /// What the sender has of everybody, and how its own rows sum up.
    Digest {
        /// The versions the sender has reached.
        clock: VClock<NodeId>,
        /// How its own rows sum up at the version that `clock` names.
        sum: Sum,
    },
    /// Asks for what is missing of the receiver's own rows.
    Pull(Pull),
    /// One part of a snapshot of the sender's own rows.
    Part(Part),
}

/// A delivery and its place in the row of deliveries between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Counts up by one per letter from this sender to this receiver.
    pub number: u64,
    /// The lowest number that the sender still answers for.
    pub base: u64,
    /// The delivery.
    pub body: Bytes,
}

/// How far a receiver is with the letters of one sender. All up to `known` but
/// those in `held` have been taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// All letters up to this number have been received, or came back to
    /// their sender.
    pub received: u64,
    /// Up to which number this receipt says what was taken over.
    pub known: u64,
    /// Received and not yet taken over, growing.
    pub held: Vec<u64>,
    /// A letter was refused since the last receipt: send again what follows
    /// `received`.
    pub missed: bool,
}

/// One change of the sender's own rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The row with this number is now this.
    Put {
        /// The row's number at its owner.
        number: u64,
        /// The row.
        row: SoftRow,
    },
    /// There is no row with this number any more.
    Remove {
        /// The row's number at its owner.
        number: u64,
        /// In which table.
        kind: Kind,
        /// The stable hash of its key: where to look for it.
        place: u64,
    },
}

/// How the rows of one owner sum up, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The wrapping sum of all rows' hashes.
    pub hash: u64,
    /// How many rows.
    pub count: u64,
}

/// Asks an owner for what the sender misses of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Numbers the asker's pulls; the parts that answer carry it, so parts of
    /// an older pull are told apart.
    pub epoch: u64,
    /// What would do.
    pub want: Want,
}

/// What somebody behind asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// The changes since this version, or the first part of a snapshot if they
    /// are forgotten.
    Since(u64),
    /// The part of a snapshot that begins here; the first begins at 0.
    From(u64),
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The asker's epoch.
    pub epoch: u64,
    /// Where this part begins.
    pub cursor: u64,
    /// Where the next one begins; `None`: this was the last.
    pub next: Option<u64>,
    /// The owner's version when this part was written.
    pub version: u64,
    /// How all the owner's rows summed up at that version.
    pub sum: Sum,
    /// The rows with their numbers.
    pub rows: Vec<(u64, SoftRow)>,
}

/// Why bytes are no frame, or a frame cannot be written. The first three end
/// the link: the peer is at fault; the last is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another protocol than was agreed on.
    #[error("the frame is of protocol {0}, which is not what was agreed on")]
    Protocol(u8),
    /// Longer than allowed, packed or unpacked.
    #[error("the frame is longer than allowed")]
    TooLong,
    /// Not in the format.
    #[error("the frame cannot be read")]
    Malformed,
    /// Our own frame would be longer than allowed.
    #[error("our own frame is longer than allowed")]
    OwnTooLong,
}

/// How the rest of a frame is written: its second byte.
const PLAIN: u8 = 0;
const PACKED: u8 = 1;

impl Frame {
    /// Writes the frame behind what is in `out`, as `protocol` has it; on an
    /// error `out` is as before.
    pub fn encode(&self, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = out.len();
        let written = self.write(protocol.number(), out, start);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write(&self, version: u8, out: &mut Vec<u8>, start: usize) -> Result<(), FrameError> {
        out.extend_from_slice(&[version, PLAIN]);
        let body = start + 2;
        // with a Vec behind it postcard fails for no frame of ours
        let mut written =
            postcard::to_extend(self, std::mem::take(out)).map_err(|_| FrameError::OwnTooLong)?;
        std::mem::swap(out, &mut written);
        let length = out.len() - body;
        if length > UNPACKED_BYTES_MAX {
            return Err(FrameError::OwnTooLong);
        }
        if length > PACK_BYTES_MIN && self.is_bulk() {
            let packed = zstd::bulk::compress(&out[body..], PACK_LEVEL)
                .map_err(|_| FrameError::OwnTooLong)?;
            let length = u32::try_from(length).map_err(|_| FrameError::OwnTooLong)?;
            out.truncate(start);
            out.extend_from_slice(&[version, PACKED]);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&packed);
        }
        if out.len() - start > FRAME_BYTES_MAX {
            return Err(FrameError::OwnTooLong);
        }
        Ok(())
    }

    /// Reads one whole frame of `protocol`. Whatever the bytes, it costs no
    /// more memory than a small multiple of the unpacked bound.
    pub fn decode(protocol: Protocol, bytes: &[u8]) -> Result<Frame, FrameError> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let (version, rest) = bytes.split_first().ok_or(FrameError::Malformed)?;
        if *version != protocol.number() {
            return Err(FrameError::Protocol(*version));
        }
        match rest {
            [PLAIN, body @ ..] => read(body),
            [PACKED, a, b, c, d, packed @ ..] => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                if length > UNPACKED_BYTES_MAX {
                    return Err(FrameError::TooLong);
                }
                let body =
                    zstd::bulk::decompress(packed, length).map_err(|_| FrameError::Malformed)?;
                read(&body)
            }
            _ => Err(FrameError::Malformed),
        }
    }

    /// Whether it carries rows, which pack well. What people write does not
    /// share a packed frame with anything a stranger can choose.
    fn is_bulk(&self) -> bool {
        match self {
            Frame::Direct { parcel, .. } | Frame::Relay { parcel, .. } => {
                matches!(parcel, Parcel::Delta { .. } | Parcel::Part(_))
            }
            _ => false,
        }
    }
}

fn read(body: &[u8]) -> Result<Frame, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((frame, [])) => Ok(frame),
        _ => Err(FrameError::Malformed),
    }
}
