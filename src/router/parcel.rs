//! What one node asks another to do with a stanza: a small head, then the
//! stanza's bytes as they will be written.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::router::instance::InstanceNumber;
use crate::session_manager::given::Mark;
use crate::session_manager::session::Seat;
use crate::xmpp::jid::Jid;

/// Seats of one stanza; mostly one.
pub type Seats = SmallVec<[Seat; 1]>;

/// What the receiving node shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Write it to the receiver's own among these seats. All seats of the
    /// stanza are named: whichever of them fails last plans again, so that
    /// the stanza is neither lost nor planned twice.
    Seats(Seats),
    /// The receiver is the home of the stanza's addressee: look once more,
    /// else keep it or answer for it.
    Home {
        /// When it was first sent home, in microseconds since 1970 on the
        /// clock of who did it; 0 for what is not kept.
        time: u64,
        /// Another home may have kept it before it went.
        is_repeated: bool,
    },
    /// The receiver is the home of the stanza's sender, who changes its own
    /// account by it.
    SenderHome,
    /// Write this presence to the receiver's own available sessions of these
    /// accounts.
    Accounts(Vec<Jid>),
    /// Answer this probe with the presence of the receiver's own sessions of
    /// these addresses.
    Probed(Vec<Jid>),
    /// Tell us of the presence of all your sessions again: we had lost you.
    Announce,
    /// The receiver's own session may fetch what is stored for it.
    Fetch(Seat),
    /// End the receiver's own sessions of this account: it has gone.
    End(Jid),
    /// Have the presence of this account shown to the receiver's own sessions
    /// of the account that probes.
    Shown(Jid),
    /// Write it to the receiver's own instance of this number, of a component.
    Component(InstanceNumber),
    /// The receiver has a link to the server of the addressee, or may reach it:
    /// give it to that.
    Server,
    /// The receiver is the home of the addressee: deliver it in the turn of its
    /// account, behind what came before it.
    InTurn,
}

/// The head of a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What to do.
    pub target: Target,
    /// How often it was sent from one node to another before. A stanza that
    /// was sent on once is not sent on again.
    pub hops: u8,
    /// The name of a message; 0 for all else.
    pub mark: Mark,
}

/// A parcel that cannot be read: a fault of ours, or of a version of ours.
#[derive(Debug, thiserror::Error)]
#[error("unreadable parcel")]
pub struct Unreadable(#[source] postcard::Error);

impl Label {
    /// For what is no message.
    pub fn new(target: Target, hops: u8) -> Self {
        Self { target, hops, mark: 0 }
    }

    /// The label and the stanza in one piece.
    pub fn pack(&self, stanza: &Bytes) -> Bytes {
        let label = postcard::to_stdvec(self).expect("a label has only fields that postcard knows");
        let mut parcel = BytesMut::with_capacity(label.len() + stanza.len());
        parcel.put_slice(&label);
        parcel.put_slice(stanza);
        parcel.freeze()
    }

    /// The label, and the stanza's bytes without a copy.
    ///
    /// # Errors
    /// [`Unreadable`] for bytes that do not start with a label.
    pub fn unpack(parcel: &Bytes) -> Result<(Self, Bytes), Unreadable> {
        let (label, rest) = postcard::take_from_bytes(parcel).map_err(Unreadable)?;
        Ok((label, parcel.slice_ref(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::node::NodeId;
    use crate::golden::Golden;

    #[test]
    fn a_parcel_opens_as_it_was_packed() {
        let owner = NodeId { generation: 1, random: 2 };
        let seats = [Seat { owner, number: 7 }, Seat { owner, number: u64::MAX }];
        let target = Target::Seats(seats.into_iter().collect());
        let label = Label { target, hops: 1, mark: u64::MAX };
        let stanza = Bytes::from_static(b"<message/>");
        let opened = Label::unpack(&label.pack(&stanza)).expect("it was packed here");
        assert_eq!(opened, (label, stanza));
    }

    #[test]
    fn what_nodes_ask_each_other_to_do_stays_as_it_is() {
        let mut golden = Golden::of("router", "parcels");
        let seat = Seat { owner: NodeId { generation: 300, random: 2 }, number: 7 };
        let jids = || vec![Jid::parse("romeo@example.org/garden").expect("an address")];
        let jid = || Jid::parse("romeo@example.org").expect("an address");
        for (name, target) in [
            ("seats", Target::Seats([seat, seat].into_iter().collect())),
            ("home", Target::Home { time: 1_790_000_000_000_000, is_repeated: true }),
            ("sender's home", Target::SenderHome),
            ("accounts", Target::Accounts(jids())),
            ("probed", Target::Probed(jids())),
            ("announce", Target::Announce),
            ("fetch", Target::Fetch(seat)),
            ("end", Target::End(jid())),
            ("shown", Target::Shown(jid())),
            ("component", Target::Component(300)),
            ("server", Target::Server),
            ("in turn", Target::InTurn),
        ] {
            let parcel = (Label { target, hops: 1, mark: 300 }, Bytes::from_static(b"<message/>"));
            let written = |(label, stanza): &(Label, Bytes)| label.pack(stanza).to_vec();
            let read = |bytes: &[u8]| Label::unpack(&Bytes::copy_from_slice(bytes)).ok();
            golden.keeps(name, &parcel, written, read);
        }
        golden.end();
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for length in 0..64 {
            for byte in 0..=u8::MAX {
                let _ = Label::unpack(&Bytes::from(vec![byte; length]));
            }
        }
    }
}
