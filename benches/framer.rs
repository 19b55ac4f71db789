//! What one chat message costs at the gate, and from bytes to bytes.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::limits::Limits;
use jabiru::xmpp::jid::Jid;
use jabiru::xmpp::namespaces::CLIENT;
use jabiru::xmpp::stanza::Stanza;

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>";

/// As a client of today sends it: 473 bytes.
const MESSAGE: &str = "<message xmlns='jabber:client' to='juliet@example.org/balcony' \
from='romeo@example.net/orchard' type='chat' id='c0d3d8a2-6b0a-4b8f-9a39-2f7f6f0f8e11'>\
<body>Art thou not Romeo, and a Montague? Neither, fair saint, if either thee dislike. How cam&apos;st thou \
in?</body><active xmlns='http://jabber.org/protocol/chatstates'/>\
<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='c0d3d8a2-6b0a-4b8f-9a39-2f7f6f0f8e11'/>\
<markable xmlns='urn:x:m'/></message>";

/// Messages in the buffer at a time, as a busy socket gives them.
const TOGETHER: usize = 32;

fn opened() -> Framer {
    let mut framer = Framer::new(Limits::client());
    let mut buffer = BytesMut::from(HEADER);
    let header = framer.next(&mut buffer);
    assert!(matches!(header, Ok(Some(Frame::Open(_)))));
    framer
}

fn framer(criterion: &mut Criterion) {
    let messages = MESSAGE.repeat(TOGETHER);
    let mut group = criterion.benchmark_group(format!("message of {} bytes", MESSAGE.len()));
    group.throughput(Throughput::Elements(TOGETHER as u64));
    group.bench_function("cut and validated", |bencher| {
        let mut framer = opened();
        bencher.iter_batched_ref(
            || BytesMut::from(messages.as_str()),
            |buffer| {
                while let Ok(Some(frame)) = framer.next(buffer) {
                    black_box(frame);
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("cut, validated, read as a stanza and written", |bencher| {
        let mut framer = opened();
        bencher.iter_batched_ref(
            || BytesMut::from(messages.as_str()),
            |buffer| {
                while let Ok(Some(Frame::Element(raw))) = framer.next(buffer) {
                    black_box(Stanza::read(&raw, CLIENT).expect("a stanza").write());
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn addresses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("addresses");
    for (name, text) in [
        ("ASCII", "juliet.capulet@verona.example.org/balcony"),
        ("other letters", "юлия@пример.example/балкон"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Jid::parse(black_box(text)).expect("an address"));
        });
    }
    group.finish();
}

criterion_group!(benches, framer, addresses);
criterion_main!(benches);
