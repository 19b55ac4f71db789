//! Streams that carry the stanzas of both (XEP-0288), from either side.

use super::incoming::{self, Come, KEY, MESSAGE, auth};
use super::outgoing::{self, EXTERNAL, Opened, SM, SUCCESS, VALID, counting, features, shown};
use super::{CARELESS, LENIENT, STRICT, Stage, header};
use crate::stream::server::incoming::Question;
use crate::stream::server::outgoing::Purpose;
use crate::stream::server::{Channel, Pair, Policy, Verdict};

const OFFER: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";
const ASK: &str = "<bidi xmlns='urn:xmpp:bidi'/>";

/// As the strict, and both ways.
const BOTH: Policy = Policy { bidirectional: true, ..STRICT };
const LENIENT_BOTH: Policy = Policy { bidirectional: true, ..LENIENT };

#[test]
fn both_ways_are_offered_inside_tls_before_the_proof_and_where_that_is_wanted() {
    let features = |policy, channel| {
        Come::new(Stage::new(policy, &["b.example"]), channel).say(&header(incoming::OPEN))
    };
    assert_eq!(features(BOTH, Channel::Tls), "header, features external dialback bidi");
    assert_eq!(features(STRICT, Channel::Tls), "header, features external dialback");
    assert_eq!(features(BOTH, Channel::Plain), "header, features tls!");
    let careless = Policy { bidirectional: true, ..CARELESS };
    assert_eq!(features(careless, Channel::Plain), "header, features tls dialback");
    // nor is it taken where it was not offered
    let refused = "error unsupported-stanza-type, end";
    assert_eq!(Come::secured(STRICT, &["b.example"]).say(ASK), refused);
    let mut plain = Come::new(Stage::new(careless, &[]), Channel::Plain);
    plain.say(&header(incoming::OPEN));
    assert_eq!(plain.say(ASK), refused);
    let mut late = Come::certified();
    late.stage.policy = BOTH;
    assert_eq!(late.say(ASK), refused);
}

#[test]
fn whoever_asks_and_is_proved_by_certificate_gets_ours_behind_the_last_features() {
    let mut come = Come::secured(BOTH, &["b.example"]);
    assert_eq!(come.say(ASK), "");
    assert_eq!(come.say(&auth("=")), "success, proved b.example certificate");
    let last = "header, features dialback sm, both a.example b.example";
    assert_eq!(come.say(&header(incoming::OPEN)), last);
    assert_eq!(come.say(MESSAGE), "stanza romeo@b.example/x");
    // another domain on the same stream goes one way
    let other = KEY.replace("b.example", "d.example");
    come.stage.vouched.push("d.example");
    let proved = "result a.example d.example valid, proved d.example certificate";
    assert_eq!(come.say(&other), proved);
    // and who does not ask gets nothing
    let mut come = Come::secured(BOTH, &["b.example"]);
    come.say(&auth("="));
    assert_eq!(come.say(&header(incoming::OPEN)), "header, features dialback sm");
}

#[test]
fn whoever_asks_and_is_proved_by_dialback_gets_ours_behind_the_verdict() {
    let mut come = Come::secured(LENIENT_BOTH, &[]);
    assert_eq!(come.say(&format!("{ASK}{KEY}")), "ask b.example k");
    let pair = ("a.example", "b.example");
    let valid = "result a.example b.example valid, proved b.example dialback";
    let both = format!("{valid}, both a.example b.example");
    assert_eq!(come.hear(pair, Verdict::Valid), both);
    let mut come = Come::secured(LENIENT_BOTH, &[]);
    come.say(&format!("{ASK}{KEY}"));
    let unknown = "result a.example b.example remote-server-timeout, failed";
    assert_eq!(come.hear(pair, Verdict::Unknown), unknown);
}

#[test]
fn we_ask_inside_tls_before_the_proof_and_where_that_is_wanted() {
    let offers = |policy, all: &[&str]| {
        Opened::secured(policy, &["b.example"]).say(&features(&[&[OFFER], all].concat()))
    };
    assert_eq!(offers(BOTH, &[EXTERNAL]), "bidi, auth EXTERNAL");
    assert_eq!(offers(BOTH, &[]), format!("bidi, {}", shown()));
    assert_eq!(offers(STRICT, &[EXTERNAL]), "auth EXTERNAL");
    let careless = Policy { bidirectional: true, ..CARELESS };
    assert_eq!(Opened::plain(careless).say(&features(&[OFFER])), shown());
    // a question about a key is no such stream
    let pair: Pair = outgoing::pair();
    let purpose = Purpose::Ask(Question { pair, id: "9".to_owned(), key: "k".to_owned() });
    let mut asking = Opened::new(BOTH, &["b.example"], Channel::Tls, purpose);
    asking.say(&header(outgoing::OPEN));
    assert_eq!(asking.say(&features(&[OFFER])), "verify a.example b.example k");
}

/// A stream of ours that the other may use.
fn open(last: &[&str]) -> Opened {
    let mut opened = Opened::secured(BOTH, &["b.example"]);
    assert_eq!(opened.say(&features(&[OFFER, EXTERNAL])), "bidi, auth EXTERNAL");
    opened.say(SUCCESS);
    opened.say(&header(outgoing::OPEN));
    assert!(opened.say(&features(last)).starts_with("established certificate"));
    opened
}

#[test]
fn what_comes_back_is_of_the_pair_or_ends_the_stream() {
    outgoing::rows(
        || open(&[]),
        &[
            (MESSAGE, "stanza romeo@b.example/x"),
            (&MESSAGE.replace("@b.", "@d."), "error invalid-from, end, spoke"),
            (&MESSAGE.replace("@b.", "@a."), "error invalid-from, end, spoke"),
            // ours, but not of this pair
            (&MESSAGE.replace("@a.", "@c.a."), "error invalid-from, end, spoke"),
            ("<message from='x@b.example'/>", "error improper-addressing, end, spoke"),
            ("<message to='x@a.example'/>", "error improper-addressing, end, spoke"),
            ("<iq from='x@b.example' to='a.example' type='get' id='1'/>", "answer"),
            (
                "<iq from='x@d.example' to='a.example' type='get' id='1'/>",
                "error invalid-from, end, spoke",
            ),
            ("<what/>", "error unsupported-stanza-type, end, spoke"),
        ],
    );
    let mut opened = Opened::secured(LENIENT_BOTH, &[]);
    opened.say(&features(&[OFFER]));
    // before the verdict nothing is taken
    assert_eq!(opened.say(MESSAGE), "error unsupported-stanza-type, end, spoke");
    let mut opened = Opened::secured(LENIENT_BOTH, &[]);
    opened.say(&features(&[OFFER]));
    assert_eq!(opened.say(VALID), "established dialback None");
    assert_eq!(opened.say(MESSAGE), "stanza romeo@b.example/x");
}

#[test]
fn what_comes_back_is_counted_once_the_other_counts() {
    let mut opened = open(&[SM]);
    opened.say(MESSAGE);
    assert_eq!(opened.say(&counting("enabled")), "");
    assert_eq!(opened.say(&counting("r")), "a h=0");
    opened.say(MESSAGE);
    opened.say("<iq from='x@b.example' to='a.example' type='get' id='1'/>");
    assert_eq!(opened.say(&counting("r")), "a h=2");
    assert_eq!(opened.say(&counting("a h='1'")), "handled 1");
}
