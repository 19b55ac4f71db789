//! A server that is held to a rate, beside one that is not.

use std::time::{Duration, Instant};

use crate::servers::person::Person;
use crate::servers::service::{Plan, Service, start};
use crate::support::wait_for;

/// What each says.
const COUNT: usize = 60;

/// As the tests have it: ten a second, of which ten may come at once. So this
/// long all of it takes, whatever else happens.
const RATE: &str = "stanzas_per_second_max = 10, burst = '1s'";
const TAKES: Duration = Duration::from_secs(4);

fn say_all(one: &mut Person, other: &Person) {
    let mark = one.jid.clone();
    for number in 0..COUNT {
        one.say_to(other, &format!("{mark} {number}."));
    }
}

/// Until all that somebody says was heard; all has come in order.
#[track_caller]
fn hear_all(one: &mut Person, from: &Person) -> String {
    let heard = one.hears(&format!("<body>{} {}.</body>", from.jid, COUNT - 1));
    let numbers = crate::several::numbers(&heard, &from.jid);
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    heard
}

/// Of the streams that were opened by one side, whose are held back.
fn held(service: &Service, direction: &str) -> Vec<String> {
    let said = service.nodes.list[0].jabiru(&["s2s", "--json"], "");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    let held = lines.iter().filter(|line| {
        let has_opened = line["direction"].as_str().is_some_and(|one| one.starts_with(direction));
        has_opened && line["is_held"].as_bool() == Some(true)
    });
    held.map(|line| line["theirs"][0].as_str().expect("a domain").to_owned()).collect()
}

fn services(rate: &str, rules: &str) -> Vec<Service> {
    let slow = format!("[s2s_manager.domains.\"b.example\"]\n{rate} = {{ {RATE} }}\n");
    let ours = Plan::new("a.example").rules(rules).more(&slow);
    start(vec![ours, Plan::new("b.example"), Plan::new("c.example")])
}

#[test]
fn a_server_that_sends_too_much_is_read_at_its_rate_and_others_are_not_slowed() {
    is_read_at_its_rate("bidirectional = false");
}

#[test]
fn also_where_one_stream_carries_both_ways() {
    is_read_at_its_rate("");
}

fn is_read_at_its_rate(rules: &str) {
    let services = services("incoming_rate", rules);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut tybalt = Person::online(&services[2], 0, "tybalt");
    let begin = Instant::now();
    say_all(&mut romeo, &juliet);
    wait_for("it is held back", || held(&services[0], "from") == ["b.example"]);
    say_all(&mut tybalt, &juliet);
    // all of the one is there while the other is held
    let last = format!("<body>{} {}.</body>", tybalt.jid, COUNT - 1);
    let before = juliet.hears(&last);
    let slow = crate::several::numbers(&before, &romeo.jid).len();
    assert!(slow < COUNT, "all came at once");
    let after = juliet.hears(&format!("<body>{} {}.</body>", romeo.jid, COUNT - 1));
    assert!(begin.elapsed() >= TAKES, "{:?}", begin.elapsed());
    // nothing was thrown away, and all came in order
    let heard = format!("{before}{after}");
    for person in [&romeo, &tybalt] {
        let numbers = crate::several::numbers(&heard, &person.jid);
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    }
    wait_for("it is not held any more", || held(&services[0], "from").is_empty());
    let metrics = services[0].nodes.list[0].http("/metrics");
    assert!(metrics.contains("jabiru_s2s_manager_held_total{reason=\"incoming\"}"), "{metrics}");
}

#[test]
fn a_server_is_sent_no_more_than_its_rate_and_others_are_sent_all() {
    is_sent_no_more("bidirectional = false", "to", |_, _| {});
}

#[test]
fn also_on_a_stream_that_it_has_opened() {
    // whoever speaks first opens the stream
    is_sent_no_more("", "from", |juliet, other| {
        other.say_to(juliet, "hello");
        juliet.hears("hello");
    });
}

fn is_sent_no_more(rules: &str, opened: &str, begin: fn(&mut Person, &mut Person)) {
    let services = services("outgoing_rate", rules);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut tybalt = Person::online(&services[2], 0, "tybalt");
    for other in [&mut romeo, &mut tybalt] {
        begin(&mut juliet, other);
    }
    let begin = Instant::now();
    say_all(&mut juliet, &romeo);
    wait_for("it is held back", || held(&services[0], opened) == ["b.example"]);
    say_all(&mut juliet, &tybalt);
    hear_all(&mut tybalt, &juliet);
    assert_eq!(held(&services[0], opened), ["b.example"], "the other is still held");
    hear_all(&mut romeo, &juliet);
    assert!(begin.elapsed() >= TAKES, "{:?}", begin.elapsed());
    let table = services[0].nodes.list[0].jabiru(&["s2s"], "");
    assert!(!table.contains("held back"), "{table}");
    let metrics = services[0].nodes.list[0].http("/metrics");
    assert!(metrics.contains("jabiru_s2s_manager_held_total{reason=\"outgoing\"}"), "{metrics}");
}
