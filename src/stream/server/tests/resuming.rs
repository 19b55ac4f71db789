//! Streams that go on by another connection (XEP-0198 §5), from either side.

use super::incoming::{Come, MESSAGE};
use super::outgoing::{EXTERNAL, OPEN, Opened, SM, SUCCESS, counting, features, pair, rows};
use super::{STRICT, header};
use crate::stream::ack::Previous;
use crate::stream::server::Channel;
use crate::stream::server::outgoing::{Input, Outgoing, Purpose};

#[test]
fn a_stream_goes_on_where_it_was_proved_by_certificate() {
    let enable = counting("enable resume='true'");
    let resume = counting("resume previd='zero' h='3'");
    let mut come = Come::certified();
    assert_eq!(come.say(&enable), "enabled resume=true, counted, kept one");
    // it counts already
    assert_eq!(come.say(&resume), "failed item-not-found");
    let mut come = Come::certified();
    assert_eq!(come.say(&resume), "resume a.example b.example zero 3");
    assert_eq!(come.find(Some(7)), "resumed h=7 previd=zero");
    come.say(MESSAGE);
    assert_eq!(come.say(&counting("r")), "a h=8");
    // one that is not known is begun anew
    let mut come = Come::certified();
    come.say(&resume);
    assert_eq!(come.find(None), "failed item-not-found");
    assert_eq!(come.say(&enable), "enabled resume=true, counted, kept one");
    for wrong in ["resume", "resume previd='zero'", "resume h='3'", "resume previd='zero' h='x'"] {
        assert_eq!(Come::certified().say(&counting(wrong)), "failed item-not-found", "{wrong}");
    }
    let mut unproved = Come::secured(STRICT, &["b.example"]);
    assert_eq!(unproved.say(&resume), "failed item-not-found");
}

#[test]
fn the_stream_before_goes_on_or_another_is_begun() {
    let again = |last: &[&str]| {
        let mut opened = Opened::secured(STRICT, &["b.example"]);
        let previous = Previous { id: "x".to_owned(), handled: 2, acknowledged: 5 };
        opened.machine =
            Outgoing::new(pair(), STRICT, Purpose::Stanzas, Channel::Tls).resuming(Some(previous));
        let mut words = Vec::new();
        opened.theirs.restart();
        opened.ours.restart();
        opened.take(Input::Connected, &mut words);
        opened.say(&header(OPEN));
        opened.say(&features(&[EXTERNAL]));
        opened.say(SUCCESS);
        opened.say(&header(OPEN));
        let words = opened.say(&features(last));
        (opened, words)
    };
    assert_eq!(again(&[]).1, "established certificate None");
    let resumed = || {
        let (opened, words) = again(&[SM]);
        assert_eq!(words, "resume h=2 previd=x");
        opened
    };
    rows(
        resumed,
        &[
            (&counting("resumed previd='x' h='6'"), "established certificate Resumed(6)"),
            (&counting("failed"), "established certificate Offered"),
            (&counting("resumed previd='x'"), "error unsupported-stanza-type, end, spoke"),
            (&counting("enabled"), "error unsupported-stanza-type, end, spoke"),
        ],
    );
    let mut opened = resumed();
    opened.say(&counting("resumed previd='x' h='6'"));
    assert_eq!(opened.say(&counting("r")), "a h=2", "what was taken before counts");
}
