//! What it costs to choose an instance of a component.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jabiru::cluster::node::NodeId;
use jabiru::router::balance::{Balance, By, Candidate, Policy};
use jabiru::session_manager::session::Seat;
use jabiru::xmpp::jid::Jid;

const ME: NodeId = NodeId { generation: 1, random: 0 };

fn candidates(count: u64) -> Vec<Candidate> {
    let one = |number: u64| Candidate {
        seat: Seat { owner: NodeId::new(1 + number % 3, 0), number },
        name: format!("node{}#{number}", number % 3).into(),
        weight: 1,
        is_draining: false,
    };
    (0..count).map(one).collect()
}

fn policy(by: By, component_number: Option<u16>) -> Policy {
    Policy { by, component_number, ..Policy::default() }
}

fn choose(criterion: &mut Criterion) {
    let from = Jid::parse("juliet.capulet@verona.example.org/balcony").expect("an address");
    let to = Jid::parse("#verona%irc.example.net@irc.example.org").expect("an address");
    let mut group = criterion.benchmark_group("choose among 12 instances");
    for (name, policy) in [
        ("1000 buckets, bare source", policy(By::BareSource, Some(1_000))),
        ("1000 buckets, source", policy(By::Source, Some(1_000))),
        ("chance, 4 of them near", policy(By::Random, None)),
        ("no buckets, bare source, 4 near", policy(By::BareSource, None)),
    ] {
        let balance = Balance::new(policy, candidates(12));
        group.bench_function(name, |bencher| {
            let mut random = 0u64;
            bencher.iter(|| {
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let ends = (Some(black_box(&from)), Some(black_box(&to)));
                black_box(balance.choose(ends, &[], ME, random).is_some())
            });
        });
    }
    group.finish();
    criterion.bench_function("sort 1000 buckets to 12 instances", |bencher| {
        let policy = policy(By::BareSource, Some(1_000));
        bencher.iter(|| Balance::new(policy.clone(), black_box(candidates(12))));
    });
}

criterion_group!(benches, choose);
criterion_main!(benches);
