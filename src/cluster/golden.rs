//! What nodes of other versions say to us on the mesh and in gossip, and read
//! of us: `tests/wire/cluster`.

mod durable;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crdts::{CmRDT, VClock};

use crate::cluster::asks;
use crate::cluster::cookie::{Cookie, Purpose};
use crate::cluster::frame::{
    Change, Frame, Heartbeat, Hello, Letter, Parcel, Part, Pull, Receipt, Sum, Want,
};
use crate::cluster::gossip::write_id;
use crate::cluster::keyring::Keyring;
use crate::cluster::mesh;
use crate::cluster::node::{Node, NodeId, NodeState};
use crate::cluster::proof::{Proof, Role, Verdict, Wish};
use crate::cluster::protocol::Protocol;
use crate::cluster::registry::{NodeRow, Removal};
use crate::cluster::rows::{Kind, LinkRow, LinkState, RouteRow, SessionRow, SoftRow};
use crate::cluster::seal::{Opener, Sealer};
use crate::golden::Golden;

const FILE: &str = "cluster";

const COOKIE: &str = "a cookie that everybody may know";

const A: NodeId = NodeId { generation: 0x0102_0304_0506_0708, random: 0x1112_1314_1516_1718 };
const B: NodeId = NodeId { generation: 1_790_000_000_000, random: 7 };

fn session(priority: Option<i8>) -> SoftRow {
    let jid = "juliet@example.org/balcony".into();
    SoftRow::Session(SessionRow { jid, priority, flags: 5, bound: 1_790_000_000_000_123 })
}

fn route() -> SoftRow {
    SoftRow::Route(RouteRow {
        domain: "chat.example.org".into(),
        instance: "left".into(),
        weight: 3,
        is_draining: true,
        since: 77,
        title: "Chat".into(),
        nested: "hfurn:one".into(),
    })
}

fn link(state: LinkState) -> SoftRow {
    SoftRow::Link(LinkRow { ours: "example.org".into(), theirs: "example.net".into(), state })
}

fn rows() -> Vec<(&'static str, SoftRow)> {
    vec![
        ("session", session(Some(-3))),
        ("session, not available", session(None)),
        ("route", route()),
        ("link, opening", link(LinkState::Opening)),
        ("link, open", link(LinkState::Open)),
        ("link, failed", link(LinkState::Failed(9))),
    ]
}

fn parcels() -> Vec<(&'static str, Parcel)> {
    let body = Bytes::from_static(b"<message/>");
    let mut clock = VClock::default();
    clock.apply(clock.inc(A));
    clock.apply(clock.inc(B));
    let sum = Sum { hash: 0xfedc_ba98_7654_3210, count: 300 };
    let put = Change::Put { number: 1, row: session(Some(0)) };
    let remove = |kind| Change::Remove { number: 2, kind, place: u64::MAX };
    let removed = [Kind::Session, Kind::Route, Kind::Link].map(remove);
    let changes: Arc<[Change]> = std::iter::once(put).chain(removed).collect();
    let pull = |want| Parcel::Pull(Pull { epoch: 4, want });
    let part = |next, rows| Parcel::Part(Part { epoch: 4, cursor: 5, next, version: 6, sum, rows });
    let receipt = Receipt { received: 1, known: 300, held: vec![2, 200], missed: true };
    vec![
        ("letter", Parcel::Letter(Letter { number: 300, base: 299, body: body.clone() })),
        ("receipt", Parcel::Receipt(receipt)),
        ("word", Parcel::Word { channel: 1, body }),
        ("delta", Parcel::Delta { after: 128, changes }),
        ("digest", Parcel::Digest { clock, sum }),
        ("pull since", pull(Want::Since(9))),
        ("pull from", pull(Want::From(9))),
        ("part", part(Some(7), vec![(1, session(Some(127))), (2, route())])),
        ("last part", part(None, Vec::new())),
    ]
}

fn frames() -> Vec<(String, Frame)> {
    let states = [NodeState::Joining, NodeState::Serving, NodeState::Draining, NodeState::Leaving];
    let mut frames = Vec::new();
    for state in states {
        let hello = Hello { order: 1, stamp: 300, takes: 70_000, state };
        frames.push((format!("hello, {state}"), Frame::Hello(hello)));
    }
    let beat = Heartbeat {
        stamp: 1,
        echo: 300,
        takes: 70_000,
        version: 1 << 40,
        state: NodeState::Serving,
    };
    frames.push(("heartbeat".into(), Frame::Heartbeat(beat)));
    frames.push(("links".into(), Frame::Links(vec![A, B])));
    frames.push(("goodbye".into(), Frame::Goodbye));
    for (name, parcel) in parcels() {
        let frame = Frame::Direct { echo: 3, parcel: parcel.clone() };
        frames.push((format!("direct {name}"), frame));
        if name == "letter" {
            frames
                .push(("relayed letter".into(), Frame::Relay { echo: 3, from: A, to: B, parcel }));
        }
    }
    frames
}

fn encoded(frame: &Frame, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(protocol, &mut out).expect("short enough");
    out
}

fn protocols() -> impl Iterator<Item = Protocol> {
    (0..=u8::MAX).filter_map(Protocol::new)
}

#[test]
fn frames_of_each_protocol_stay_as_they_are() {
    for protocol in protocols() {
        let mut golden = Golden::of(FILE, &format!("frames of protocol {protocol}"));
        let written = |frame: &Frame| encoded(frame, protocol);
        let read = |bytes: &[u8]| Frame::decode(protocol, bytes).ok();
        for (name, frame) in frames() {
            golden.keeps(&name, &frame, written, read);
        }
        // another zstd may pack otherwise
        let rows = (0..200).map(|number| (number, session(Some(1)))).collect();
        let sum = Sum { hash: 1, count: 200 };
        let part = Part { epoch: 4, cursor: 0, next: None, version: 6, sum, rows };
        let packed = Frame::Direct { echo: 3, parcel: Parcel::Part(part) };
        golden.reads("direct part, packed", &packed, written, read);
        golden.end();
    }
}

#[test]
fn a_frame_has_its_length_before_it() {
    let mut golden = Golden::of(FILE, "the mesh");
    for protocol in protocols() {
        let written = |frame: &Frame| {
            let mut out = Vec::new();
            mesh::put(frame, protocol, &mut out);
            out
        };
        let read = |bytes: &[u8]| mesh::next(protocol, &mut BytesMut::from(bytes)).ok().flatten();
        golden.keeps(&format!("goodbye in protocol {protocol}"), &Frame::Goodbye, written, read);
        golden
            .writes(&format!("ALPN of protocol {protocol}"), &protocol.alpn().unwrap_or_default());
    }
    golden.end();
}

#[test]
fn soft_rows_stay_as_they_are() {
    let mut golden = Golden::of(FILE, "soft rows");
    for (name, row) in rows() {
        let written = |row: &SoftRow| postcard::to_stdvec(row).expect("plain");
        golden.keeps(name, &row, written, |bytes| postcard::from_bytes(bytes).ok());
        // what digests compare
        let (kind, packed) = row.pack();
        golden.writes(&format!("{name}: its share in a sum"), &packed.hash(kind, 1).to_be_bytes());
    }
    golden.end();
}

#[test]
fn a_greeting_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "greetings");
    let keys = Keyring::new(COOKIE).expect("long enough").keys();
    let node = Node { id: A, name: "balcony".parse().expect("a name") };
    for protocol in protocols() {
        for (role, who) in [(Role::Dialer, "dialer"), (Role::Listener, "listener")] {
            let word = if protocol > Protocol::OLDEST { 1 } else { 0 };
            let proof = Proof { protocol, word, normaliser: 3, node: node.clone() };
            let written = |proof: &Proof| proof.written(&keys, role, &[7; 32]);
            let read = |mut bytes: &[u8]| {
                let reading = Proof::read(&mut bytes, protocol, &keys, role, &[7; 32]);
                futures::executor::block_on(reading).ok()
            };
            golden.keeps(&format!("the {who}'s in protocol {protocol}"), &proof, written, read);
        }
    }
    let wishes = [Wish::Link, Wish::Inquire, Wish::Return];
    golden.writes("wishes: link, inquire, return", &wishes.map(Wish::word));
    let verdicts = [
        Verdict::Welcome,
        Verdict::NameTaken,
        Verdict::Removed,
        Verdict::Normaliser,
        Verdict::Yourself,
        Verdict::Failed,
    ];
    let name = "verdicts: welcome, name taken, removed, normaliser, yourself, failed";
    golden.writes(name, &verdicts.map(Verdict::word));
    golden.end();
}

#[test]
fn what_is_made_of_a_cookie_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "cookie");
    let cookie = Cookie::new(COOKIE).expect("long enough");
    for purpose in [
        Purpose::Gossip,
        Purpose::Mesh,
        Purpose::MadeUpAccounts,
        Purpose::Dialback,
        Purpose::Fingerprint,
    ] {
        golden.writes(&format!("{purpose:?}"), &*cookie.key(purpose));
    }
    golden.end();
}

#[test]
fn gossip_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "gossip");
    let ring = Keyring::new(COOKIE).expect("long enough");
    // a sealer never seals two with one number
    let written = |plain: &Vec<u8>| Sealer::new(Arc::clone(&ring), A).seal(plain);
    let read = |bytes: &[u8]| Some(Opener::new(Arc::clone(&ring)).open(bytes).ok()?.1);
    golden.keeps("a sealed datagram", &b"hello".to_vec(), written, read);
    let node = Node { id: A, name: "balcony".parse().expect("a name") };
    golden.writes("the id of a node", write_id(&node).as_bytes());
    golden.end();
}

#[test]
fn questions_stay_as_they_are() {
    let mut golden = Golden::of(FILE, "questions");
    let body = Bytes::from_static(b"what?");
    golden.writes("a question", &asks::written(300, 9, body));
    golden.end();
}

#[test]
fn rows_of_nodes_stay_as_they_are() {
    let mut golden = Golden::of(FILE, "table nodes");
    let member =
        NodeRow { address: "192.0.2.1:4369".into(), version: "0.1.0".into(), removed: None };
    let removal = Removal { by: "n0".into(), at: 1_790_000_000_000 };
    let removed = NodeRow { removed: Some(removal), ..member.clone() };
    golden.keeps("a member", &member, NodeRow::written, NodeRow::read);
    golden.keeps("one that was removed", &removed, NodeRow::written, NodeRow::read);
    golden.end();
}
