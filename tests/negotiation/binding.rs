//! Plays of what comes after authentication: the second header and the
//! resource.
//!
//! Which resources are taken is the session manager's business.

use crate::client::plain;
use crate::play::{HEADER, Play, START_TLS, TAKEN};
use crate::{authenticated, rows};

pub(crate) fn bind(content: &str) -> String {
    format!(
        "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{content}</bind></iq>"
    )
}

#[test]
fn after_authentication_the_stream_is_of_the_same_account() {
    for (change, by, answer) in [
        ("version", "from='romeo@example.org' version", "header, features bind"),
        ("version", "from='juliet@example.org' version", "header, error invalid-from, end"),
        ("example.org", "example.net", "header, error host-unknown, end"),
        ("version='1.0'", "", "header, error unsupported-version, end"),
    ] {
        let mut play = Play::secured();
        assert_eq!(play.say(plain("", "romeo", "pencil")), "success");
        assert_eq!(play.say(HEADER.replace(change, by)), answer, "{by}");
    }
}

#[test]
fn a_bound_resource_makes_a_session() {
    for (content, jid) in [
        ("", "romeo@example.org/made-1"),
        ("<resource/>", "romeo@example.org/made-1"),
        ("<resource></resource>", "romeo@example.org/made-1"),
        ("<resource>orchard</resource>", "romeo@example.org/orchard"),
        ("<resource>a &amp; b</resource>", "romeo@example.org/a & b"),
        ("<resource xmlns='urn:x'>orchard</resource>", "romeo@example.org/made-1"),
    ] {
        let mut play = authenticated();
        assert_eq!(play.say(bind(content)), "iq result bind", "{content}");
        assert!(play.text().contains("id='b1'"), "{}", play.text());
        let escaped = jid.replace('&', "&amp;");
        assert!(play.text().contains(&format!("<jid>{escaped}</jid>")), "{}", play.text());
        let established = play.established.expect("a session");
        assert_eq!(established.jid.as_str(), jid);
        assert_eq!(established.lang, None);
    }
}

#[test]
fn the_language_of_the_last_header_is_the_sessions() {
    let mut play = Play::secured();
    play.say(plain("", "romeo", "pencil"));
    play.say(HEADER.replace("version", "xml:lang='it' version"));
    play.say(bind(""));
    assert_eq!(play.established.and_then(|established| established.lang), Some("it".into()));
}

#[test]
fn a_resource_that_cannot_be_bound_is_refused_and_the_next_may_be() {
    let get = bind("").replace("type='set'", "type='get'");
    let table = [
        (bind(&format!("<resource>{TAKEN}</resource>")), "iq error conflict"),
        (bind("<resource>\u{7f}</resource>"), "iq error bad-request"),
        (get, "iq error bad-request"),
        (bind("").replace(" id='b1'", ""), "iq error bad-request"),
    ];
    for (said, answer) in &table {
        let mut play = authenticated();
        assert_eq!(play.say(said), *answer, "{said}");
        assert!(play.established.is_none(), "{said}");
        assert_eq!(play.say(bind("")), "iq result bind", "{said}");
        assert!(play.established.is_some(), "{said}");
    }
    let (conflict, answer) = &table[0];
    let mut play = authenticated();
    for _ in 0..9 {
        assert_eq!(play.say(conflict), *answer);
    }
    assert_eq!(play.say(conflict), format!("{answer}, error policy-violation, end"));
}

#[test]
fn nothing_is_passed_on_before_a_resource_is_bound() {
    let refused = "error not-authorized, end";
    rows(
        authenticated,
        &[
            ("<message to='juliet@example.org'><body>hi</body></message>", refused),
            ("<presence/>", refused),
            ("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", refused),
            ("<iq type='set' id='1'><bind xmlns='urn:x'/></iq>", refused),
            (
                "<iq type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
                refused,
            ),
            ("<message xmlns='jabber:server'/>", "error invalid-namespace, end"),
            ("<x xmlns='urn:x'/>", "error unsupported-stanza-type, end"),
            (START_TLS, "error unsupported-stanza-type, end"),
            (&plain("", "juliet", "balcony"), "error unsupported-stanza-type, end"),
            ("<x:message xmlns:x='jabber:client'/>", "error bad-namespace-prefix, end"),
        ],
    );
}
