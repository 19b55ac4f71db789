//! How often the way of one chat message asks for memory, and for how much of
//! it, step by step.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use jabiru::router::parcel::{Label, Target};
use jabiru::session_manager::session::Seat;
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::head::Raw;
use jabiru::xml::limits::Limits;
use jabiru::xmpp::namespaces::CLIENT;
use jabiru::xmpp::stanza::Stanza;

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

/// As a client of today sends it.
const MESSAGE: &str = "<message xmlns='jabber:client' to='juliet@example.org/balcony' \
    from='romeo@example.net/orchard' type='chat' id='c0d3d8a2-6b0a-4b8f-9a39-2f7f6f0f8e11'>\
    <body>Art thou not Romeo, and a Montague? Neither, fair saint, if either thee dislike.</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
    <markable xmlns='urn:x:m'/></message>";

/// Messages of each step.
const COUNT: u64 = 1_000;

/// Does it so often, and tells what one of it takes.
fn step<T>(name: &str, mut what: impl FnMut() -> T) -> T {
    let mut last = what();
    let before = dhat::HeapStats::get();
    for _ in 0..COUNT {
        last = black_box(what());
    }
    let after = dhat::HeapStats::get();
    let blocks = (after.total_blocks - before.total_blocks) as f64 / COUNT as f64;
    let bytes = (after.total_bytes - before.total_bytes) / COUNT;
    println!("| {name} | {blocks:.1} | {bytes} |");
    last
}

fn cut(framer: &mut Framer) -> Raw {
    let mut buffer = BytesMut::from(MESSAGE);
    match framer.next(&mut buffer) {
        Ok(Some(Frame::Element(raw))) => raw,
        other => unreachable!("a message is an element: {other:?}"),
    }
}

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!("| a message of {} bytes | allocations | bytes |\n|---|---|---|", MESSAGE.len());
    let mut framer = Framer::inside(Limits::client());
    step("a read buffer with it", || BytesMut::from(MESSAGE));
    let raw = step("that, and cut and validated", || cut(&mut framer));
    let stanza = step("its head read", || Stanza::read(&raw, CLIENT).expect("a stanza"));
    let bytes: Bytes = step("written again", || stanza.write());
    let seats = [Seat { owner: Default::default(), number: 1 }];
    let label = Label { target: Target::Seats(seats.into_iter().collect()), hops: 1, mark: 1 };
    step("with a label for another node", || label.pack(&bytes));
}
