//! How a server that has come proves who it is, in tables.

use super::incoming::{Come, KEY, MESSAGE, OPEN, auth, rows};
use super::{CARELESS, LENIENT, STRICT, Stage, domain, header};
use crate::stream::server::{Channel, Verdict, World};

#[test]
fn a_certificate_is_offered_and_taken_only_if_it_speaks_for_the_domain() {
    let features = |policy, vouched: &[&'static str]| {
        Come::new(Stage::new(policy, vouched), Channel::Tls).say(&header(OPEN))
    };
    assert_eq!(features(STRICT, &["b.example"]), "header, features external dialback");
    assert_eq!(features(STRICT, &["d.example"]), "header, features");
    assert_eq!(features(LENIENT, &["d.example"]), "header, features dialback");
    let failure = |condition: &str| format!("failure {condition}, failed");
    let vouched = || Come::secured(STRICT, &["b.example"]);
    rows(
        vouched,
        &[
            (&auth("Yi5leGFtcGxl"), "success, proved b.example certificate"),
            (&auth("="), "success, proved b.example certificate"),
            (&auth(""), "challenge"),
            (&auth("*"), &failure("incorrect-encoding")),
            // d.example
            (&auth("ZC5leGFtcGxl"), &failure("invalid-authzid")),
            (&auth("=").replace("EXTERNAL", "PLAIN"), &failure("invalid-mechanism")),
            (&auth("=").replace("auth", "abort"), &failure("aborted")),
            (&auth("=").replace("auth", "response"), &failure("malformed-request")),
        ],
    );
    let forged = || Come::secured(STRICT, &["d.example"]);
    rows(forged, &[(&auth("="), &failure("not-authorized"))]);
    let mut come = Come::certified();
    assert_eq!(come.say(&auth("=")), failure("malformed-request"));
    let mut come = forged();
    for _ in 0..5 {
        assert_eq!(come.say(&auth("=")), failure("not-authorized"));
    }
    assert_eq!(come.say(&auth("=")), failure("not-authorized") + ", error policy-violation, end");
}

#[test]
fn dialback_is_taken_only_inside_tls_and_where_the_rules_allow() {
    let secured = |policy, vouched: &[&'static str]| Come::secured(policy, vouched).say(KEY);
    let refused = "your certificate does not speak for your domain";
    let refused = format!("failed, error policy-violation ({refused}), end");
    assert_eq!(secured(STRICT, &[]), refused);
    assert_eq!(secured(LENIENT, &[]), "ask b.example k");
    // its certificate says as much as its own server would
    let certain = "result a.example b.example valid, proved b.example certificate";
    assert_eq!(secured(STRICT, &["b.example"]), certain);
    let mut come = Come::new(Stage::new(CARELESS, &[]), Channel::Plain);
    come.say(&header(OPEN));
    assert_eq!(come.say(KEY), "ask b.example k");
    let result = |from: &str, to: &str, key: &str| {
        format!("<db:result from='{from}' to='{to}'>{key}</db:result>")
    };
    rows(
        || Come::secured(LENIENT, &[]),
        &[
            (&result("b.example", "x.example", "k"), "result x.example b.example item-not-found"),
            (&result("b.example", "a.example", ""), "result a.example b.example bad-request"),
            (&result("b.example", "a b", "k"), "error improper-addressing, end"),
            (&result("c.a.example", "a.example", "k"), "error invalid-from, end"),
        ],
    );
}

#[test]
fn the_word_of_its_server_proves_a_domain_or_does_not() {
    let asked = || {
        let mut come = Come::secured(LENIENT, &[]);
        assert_eq!(come.say(KEY), "ask b.example k");
        // once is enough
        assert_eq!(come.say(KEY), "");
        come
    };
    let pair = ("a.example", "b.example");
    let mut come = asked();
    let valid = "result a.example b.example valid, proved b.example dialback";
    assert_eq!(come.hear(pair, Verdict::Valid), valid);
    assert_eq!(come.hear(pair, Verdict::Valid), "", "nobody was asked again");
    assert_eq!(come.say(MESSAGE), "stanza romeo@b.example/x");
    let mut come = asked();
    let invalid = "result a.example b.example invalid, failed, error not-authorized, end";
    assert_eq!(come.hear(pair, Verdict::Invalid), invalid);
    let mut come = asked();
    let unknown = "result a.example b.example remote-server-timeout, failed";
    assert_eq!(come.hear(pair, Verdict::Unknown), unknown);
    assert_eq!(come.say(MESSAGE), "error not-authorized, end");
}

#[test]
fn several_pairs_are_proved_on_one_stream_each_for_itself() {
    let mut come = Come::certified();
    let result = |from: &str, to: &str| format!("<db:result from='{from}' to='{to}'>k</db:result>");
    come.stage.policy = LENIENT;
    assert_eq!(come.say(&result("d.example", "a.example")), "ask d.example k");
    let from_d = "<message from='x@d.example' to='juliet@a.example'/>";
    let valid = "result a.example d.example valid, proved d.example dialback";
    assert_eq!(come.hear(("a.example", "d.example"), Verdict::Valid), valid);
    assert_eq!(come.say(from_d), "stanza x@d.example");
    assert_eq!(come.say(MESSAGE), "stanza romeo@b.example/x");
    // a pair is two domains: d.example was proved to a.example alone
    assert_eq!(come.say(&from_d.replace("@a.", "@c.a.")), "error invalid-from, end");
    let mut come = Come::secured(LENIENT, &[]);
    for number in 0..50 {
        let name = format!("d{number}.example");
        assert_eq!(come.say(&result(&name, "a.example")), format!("ask {name} k"));
    }
    let full = "result a.example d50.example resource-constraint";
    assert_eq!(come.say(&result("d50.example", "a.example")), full);
}

#[test]
fn answers_to_no_question_end_the_stream() {
    let unasked = "error policy-violation (an answer to no question), end";
    let result = "<db:result from='b.example' to='a.example' type='valid'/>";
    let verify = "<db:verify from='b.example' to='a.example' id='1' type='valid'/>";
    rows(|| Come::secured(LENIENT, &[]), &[(result, unasked), (verify, unasked)]);
    rows(Come::certified, &[(result, unasked), (verify, unasked)]);
}

#[test]
fn whether_a_key_is_ours_is_said_to_anybody() {
    let stage = Stage::new(STRICT, &[]);
    let key = stage.secrets();
    let key = key.key(&domain("b.example"), &domain("a.example"), "7");
    let verify = |id: &str, to: &str| {
        format!("<db:verify from='b.example' to='{to}' id='{id}'>{key}</db:verify>")
    };
    rows(
        || Come::secured(STRICT, &[]),
        &[
            (&verify("7", "a.example"), "verify a.example b.example valid"),
            (&verify("8", "a.example"), "verify a.example b.example invalid"),
            (&verify("7", "c.a.example"), "verify c.a.example b.example invalid"),
            (&verify("7", "x.example"), "verify x.example b.example item-not-found"),
            (&verify("7", "a.example").replace("id=", "no="), "error improper-addressing, end"),
        ],
    );
}
