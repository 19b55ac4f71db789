//! Making an account before there is one (XEP-0077 §3.1).

use jabiru::stream::negotiation::registration::Rules;
use jabiru::stream::negotiation::{Channel, Settings};

use crate::play::{HEADER, Play, bindings, settings};
use crate::{plain, rows};

const GET: &str = "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>";

fn open() -> Settings {
    let reserved = vec!["admin".to_owned()];
    let registration = Some(Rules { reserved, password_characters_min: 8 });
    Settings { registration, ..settings() }
}

fn secured() -> Play {
    Play::secured_with(open(), bindings())
}

fn set(content: &str) -> String {
    format!("<iq type='set' id='2'><query xmlns='jabber:iq:register'>{content}</query></iq>")
}

fn account(username: &str, password: &str) -> String {
    set(&format!("<username>{username}</username><password>{password}</password>"))
}

#[test]
fn it_is_offered_where_it_is_possible_and_nowhere_else() {
    let offers = |play: &Play| play.text().contains("http://jabber.org/features/iq-register");
    assert!(offers(&secured()));
    assert!(!offers(&Play::secured()), "it is off");
    let mut plain = Play::new(open(), Channel::Plain, bindings());
    plain.say(HEADER);
    assert!(!offers(&plain), "TLS comes first");
    assert_eq!(plain.say(GET), "error not-authorized, end");
    let settings = Settings { require_tls: false, ..open() };
    let mut trusting = Play::new(settings, Channel::Plain, bindings());
    trusting.say(HEADER);
    assert!(offers(&trusting));
    assert_eq!(trusting.say(GET), "iq result query");
}

#[test]
fn an_account_is_made_and_logs_in_on_the_same_stream() {
    let mut play = secured();
    assert_eq!(play.say(GET), "iq result query");
    for field in ["<instructions>", "<username/>", "<password/>"] {
        assert!(play.text().contains(field), "{field} in {}", play.text());
    }
    assert_eq!(play.say(account("Nurse", "angelica1")), "iq result");
    assert_eq!(play.registered, ["nurse@example.org"], "in its normal form");
    assert_eq!(play.say(account("nurse", "angelica1")), "iq error conflict");
    assert_eq!(play.say(plain("", "romeo", "pencil")), "success");
}

#[test]
fn what_is_asked_wrongly_is_refused_and_the_stream_goes_on() {
    let cases = [
        (account("romeo", "angelica1"), "conflict"),
        (account("admin", "angelica1"), "not-acceptable"),
        (account("ADMIN", "angelica1"), "not-acceptable"),
        (account("", "angelica1"), "not-acceptable"),
        (account("a@b", "angelica1"), "not-acceptable"),
        (account(&"x".repeat(1_100), "angelica1"), "not-acceptable"),
        (account("nurse", ""), "not-acceptable"),
        (account("nurse", "short12"), "not-acceptable"),
        (account("nursenurse", "NurseNurse"), "not-acceptable"),
        (account("nurse", &"x".repeat(1_025)), "not-acceptable"),
        (set("<username>nurse</username>"), "not-acceptable"),
        (set("<password>angelica1</password>"), "not-acceptable"),
        (set(""), "not-acceptable"),
        (set("<x xmlns='jabber:x:data' type='submit'/>"), "not-acceptable"),
        (set("<remove/>"), "unexpected-request"),
        (set("<remove/><username>nurse</username>"), "bad-request"),
        ("<iq type='set' id='2'><x xmlns='jabber:iq:register'/></iq>".into(), "bad-request"),
    ];
    for (said, condition) in cases {
        let mut play = secured();
        assert_eq!(play.say(&said), format!("iq error {condition}"), "{said}");
        assert!(play.registered.is_empty(), "{said}");
        assert_eq!(play.say(GET), "iq result query", "after {said}");
    }
}

#[test]
fn nothing_else_is_let_in_by_that_door() {
    let refused = "error not-authorized, end";
    let elsewhere = GET.replace("id=", "to='example.net' id=");
    rows(
        secured,
        &[
            ("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>", refused),
            ("<iq type='get'><query xmlns='jabber:iq:register'/></iq>", refused),
            ("<iq type='get' id='1'/>", refused),
            ("<iq type='result' id='1'><query xmlns='jabber:iq:register'/></iq>", refused),
            ("<message><query xmlns='jabber:iq:register'/></message>", refused),
            (&elsewhere, refused),
        ],
    );
    rows(Play::secured, &[(GET, refused)]);
}

#[test]
fn who_asks_for_too_many_is_sent_away() {
    let mut play = secured();
    for _ in 0..10 {
        assert_eq!(play.say(account("romeo", "angelica1")), "iq error conflict");
    }
    assert_eq!(play.say(account("romeo", "angelica1")), "error policy-violation, end");
}
