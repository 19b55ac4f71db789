//! Plays of the stream negotiation: what a client says, and the words that the
//! server must answer.
//!
//! Bytes that are no XML are `gate.rs`'s business, sockets and TLS the door's.

#[path = "negotiation/authentication.rs"]
mod authentication;
#[path = "negotiation/binding.rs"]
mod binding;
#[path = "negotiation/chance.rs"]
mod chance;
#[path = "negotiation/client.rs"]
mod client;
#[path = "negotiation/play.rs"]
mod play;
#[path = "negotiation/registration.rs"]
mod registration;

use std::collections::BTreeSet;

use client::{ABORT, Scram, plain};
use jabiru::stream::negotiation::{Channel, Settings};
use jabiru::stream::sasl::hash::Hash;
use jabiru::stream::sasl::scram::Bindings;
use play::{HEADER, Play, START_TLS, bindings, settings};

const FEATURES: &str = "header, features starttls";

/// Each row from `start`: what is said, what is answered.
#[track_caller]
fn rows(start: impl Fn() -> Play, rows: &[(&str, &str)]) {
    for (said, answer) in rows {
        let mut play = start();
        assert_eq!(play.say(said), *answer, "{said}");
        let is_end = answer.ends_with("end");
        assert_eq!(play.is_over, is_end, "{said}");
        assert!(play.established.is_none(), "{said}");
    }
}

fn romeo() -> Scram {
    Scram::new(Hash::Sha256, "romeo", "pencil")
}

/// A stream whose client has proved to be Romeo, and opened it again.
fn authenticated() -> Play {
    let mut play = Play::secured();
    assert_eq!(romeo().play(&mut play), "challenge, success");
    assert_eq!(play.say(HEADER), "header, features bind");
    play
}

/// Without TLS, where that is allowed.
fn trusting() -> Play {
    let mut play =
        Play::new(Settings { require_tls: false, ..settings() }, Channel::Plain, bindings());
    assert_eq!(play.say(HEADER), FEATURES);
    play
}

fn opened() -> Play {
    let mut play = Play::fresh();
    assert_eq!(play.say(HEADER), FEATURES);
    play
}

#[track_caller]
fn opening(change: (&str, &str), answer: &str) {
    assert!(HEADER.contains(change.0), "{} is there to be changed", change.0);
    let header = HEADER.replace(change.0, change.1);
    rows(Play::fresh, &[(&header, answer)]);
}

#[test]
fn a_stream_that_opens_wrongly_hears_a_header_and_why() {
    let refused = |change, condition: &str| {
        opening(change, &format!("header, error {condition}, end"));
    };
    refused(("<stream:stream", "<stream:flow"), "invalid-xml");
    refused(("<stream:stream", "<stream"), "invalid-namespace");
    refused(("http://etherx.jabber.org/streams", "urn:x"), "invalid-namespace");
    refused(("jabber:client", "jabber:server"), "invalid-namespace");
    refused(("jabber:client", "jabber:component:accept"), "invalid-namespace");
    refused(("xmlns='jabber:client'", ""), "invalid-namespace");
    // RFC 6120 §4.9.3.10 would have invalid-namespace here, too; servers of
    // the field say this.
    refused(("jabber:client", "urn:x"), "invalid-xml");
    refused((" version='1.0'", ""), "unsupported-version");
    refused(("version='1.0'", "version='0.9'"), "unsupported-version");
    refused(("version='1.0'", "version='x'"), "unsupported-version");
    refused((" to='example.org'", ""), "improper-addressing");
    refused(("to='example.org'", "to=''"), "host-unknown");
    refused(("to='example.org'", "to='example.com'"), "host-unknown");
    refused(("to='example.org'", "to='romeo@example.org'"), "host-unknown");
    refused(("version", "from='@' version"), "invalid-from");
    refused(("version", "from='romeo@example.org/orchard' version"), "invalid-from");
    let long = format!("xml:lang='{}' version", "x".repeat(36));
    refused(("version", &long), "invalid-xml");
}

#[test]
fn a_stream_that_opens_rightly_is_offered_tls() {
    opening(("version='1.0'", "version='1.0'"), FEATURES);
    opening(("version='1.0'", "version='1.10'"), FEATURES);
    opening(("to='example.org'", "to='EXAMPLE.net'"), FEATURES);
    opening(("version", "from='romeo@example.org' version"), FEATURES);
    let longest = format!("xml:lang='{}' version", "x".repeat(35));
    opening(("version", &longest), FEATURES);
    opening(("<stream:stream", "<?xml version='1.0'?><stream:stream"), FEATURES);
}

#[test]
fn nothing_but_tls_and_sasl_comes_before_authentication() {
    let refused = "error not-authorized, end";
    let table = [
        ("<message to='juliet@example.org'><body>hi</body></message>", refused),
        ("<presence/>", refused),
        ("<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>", refused),
        ("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", refused),
        ("<x xmlns='urn:x'/>", refused),
        ("<auth mechanism='PLAIN'>AA==</auth>", refused),
        (ABORT, "failure aborted"),
        (
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
            "failure unsupported-method",
        ),
        ("</stream:stream>", ""),
    ];
    for start in [opened, trusting, Play::secured] {
        for (said, answer) in table {
            let mut play = start();
            assert_eq!(play.say(said), answer, "{said}");
            assert_eq!(play.is_over, answer == refused || answer.is_empty(), "{said}");
        }
    }
    let mut during = Play::secured();
    assert_eq!(during.say(romeo().first()), "challenge");
    assert_eq!(during.say("<presence/>"), refused);
}

#[test]
fn tls_comes_once_and_what_was_said_before_is_forgotten() {
    let mut play = opened();
    let smuggled = format!("{START_TLS}{HEADER}<presence/>");
    assert_eq!(play.say(smuggled), "proceed");
    assert_eq!(play.say(HEADER), "header, features mechanisms");
    assert_eq!(play.say(START_TLS), "failure, end");
    assert!(play.is_over);
}

#[test]
fn after_tls_the_stream_is_for_the_same_domain() {
    let mut play = opened();
    assert_eq!(play.say(START_TLS), "proceed");
    let other = HEADER.replace("example.org", "example.net");
    assert_eq!(play.say(other), "header, error host-unknown, end");
}

#[test]
fn what_is_offered_depends_on_the_channel() {
    let only = |bindings: Bindings| {
        let mut play = Play::new(settings(), Channel::Tls(bindings), Bindings::default());
        play.say(HEADER);
        play.text()
    };
    let bound = only(bindings());
    for word in ["SCRAM-SHA-256-PLUS", "PLAIN", "'tls-exporter'", "'tls-server-end-point'"] {
        assert!(bound.contains(word), "{word} in {bound}");
    }
    let unbound = only(Bindings::default());
    assert!(!unbound.contains("-PLUS") && !unbound.contains("channel-binding"), "{unbound}");
    let plain = trusting().text();
    assert!(plain.contains("SCRAM-SHA-256<") && !plain.contains("PLAIN"), "{plain}");
}

#[test]
fn every_header_has_an_id_of_its_own() {
    let mut ids = BTreeSet::new();
    let mut play = Play::fresh();
    let mut open = |play: &mut Play| {
        play.say(HEADER);
        let id = play.id().unwrap_or_default().to_owned();
        assert_eq!(id.len(), 32, "{id}");
        assert!(ids.insert(id), "new");
    };
    open(&mut play);
    play.say(START_TLS);
    open(&mut play);
    play.say(plain("", "romeo", "pencil"));
    open(&mut play);
    assert_eq!(ids.len(), 3);
}
