//! What the steps of a message cost one by one: who gets it, where its home is,
//! how it goes from node to node, and to how many at once.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use jabiru::cluster::frame::{Frame, Letter, Parcel};
use jabiru::cluster::members::{Member, Members};
use jabiru::cluster::node::{Node, NodeId, NodeState};
use jabiru::cluster::protocol::Protocol;
use jabiru::net::outbox::Outbox;
use jabiru::router::parcel::{Label, Target};
use jabiru::session_manager::delivery::{Candidate, plan};
use jabiru::session_manager::session::Seat;
use jabiru::xmpp::kind::{Kind, MessageType};

/// A chat message of today is about as long.
const MESSAGE_BYTES: usize = 473;

/// Sessions that hear the same.
const CROWD: usize = 10_000;

fn choice(criterion: &mut Criterion) {
    let chat = Kind::Message(MessageType::Chat);
    let mut group = criterion.benchmark_group("who gets a chat message");
    for count in [1, 5] {
        let resources: Vec<String> = (0..count).map(|number| format!("device{number}")).collect();
        let candidates: Vec<Candidate<'_>> =
            resources.iter().map(|resource| Candidate { resource, priority: Some(0) }).collect();
        group.bench_function(format!("of {count} sessions, by resource"), |bencher| {
            let last = resources.last().map(String::as_str);
            bencher.iter(|| plan(chat, black_box(last), black_box(&candidates)));
        });
        group.bench_function(format!("of {count} sessions, by account"), |bencher| {
            bencher.iter(|| plan(chat, None, black_box(&candidates)));
        });
    }
    group.finish();
}

fn member(number: u64) -> Member {
    let name = format!("node{number}").parse().expect("a name");
    let node = Node { id: NodeId::new(number, 0), name };
    Member { node, state: NodeState::Serving }
}

fn home(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("the home of an account");
    for count in [3, 9, 50] {
        let members = Members::new(member(0), (1..count).map(member));
        group.bench_function(format!("among {count} nodes"), |bencher| {
            bencher.iter(|| members.home(black_box(b"juliet.capulet@verona.example.org")));
        });
    }
    group.finish();
}

fn mesh(criterion: &mut Criterion) {
    let stanza = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    let seat = Seat { owner: NodeId::new(7, 7), number: 4_711 };
    let target = Target::Seats([seat].into_iter().collect());
    let label = Label { target, hops: 1, mark: u64::MAX };
    let body = label.pack(&stanza);
    let letter = Parcel::Letter(Letter { number: 1_000_000, base: 999_990, body: body.clone() });
    let frame = Frame::Direct { echo: 1_000_000, parcel: letter };
    let mut written = Vec::new();
    frame.encode(Protocol::NEWEST, &mut written).expect("it is short");
    let mut group = criterion.benchmark_group(format!("{MESSAGE_BYTES} bytes to another node"));
    group.bench_function("the label, written", |bencher| {
        bencher.iter(|| black_box(&label).pack(&stanza));
    });
    group.bench_function("the label, read", |bencher| {
        bencher.iter(|| Label::unpack(black_box(&body)));
    });
    group.bench_function("the frame, written", |bencher| {
        let mut out = Vec::with_capacity(written.len());
        bencher.iter(|| {
            out.clear();
            frame.encode(Protocol::NEWEST, black_box(&mut out))
        });
    });
    group.bench_function("the frame, read", |bencher| {
        bencher.iter(|| Frame::decode(Protocol::NEWEST, black_box(&written)));
    });
    group.finish();
}

/// One stanza into the outboxes of many.
fn crowd(criterion: &mut Criterion) {
    let stanza = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    let outboxes: Vec<Arc<Outbox<u8>>> =
        (0..CROWD).map(|_| Arc::new(Outbox::new(1 << 20))).collect();
    criterion.bench_function(&format!("one stanza to {CROWD} sessions of a node"), |bencher| {
        bencher.iter_batched(
            || {
                let mut cx = Context::from_waker(Waker::noop());
                let mut hands = VecDeque::new();
                for outbox in &outboxes {
                    let _ = outbox.poll_take(&mut cx, &mut hands);
                    hands.clear();
                }
            },
            |()| outboxes.iter().for_each(|outbox| drop(outbox.push(stanza.clone(), 0))),
            criterion::BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, choice, home, mesh, crowd);
criterion_main!(benches);
