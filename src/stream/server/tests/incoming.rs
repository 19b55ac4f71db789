//! Streams that have come, in tables: what the other server says, and what it
//! is told. Its proofs are in `proving`.

use std::collections::VecDeque;

use super::{CARELESS, Ear, LENIENT, STRICT, Stage, domain, header};
use crate::stream::server::incoming::{Incoming, Input, Output};
use crate::stream::server::{Channel, Pair, Policy, Verdict};
use crate::xml::framer::Frame;

/// `b.example` comes to `a.example`.
pub(super) const OPEN: &str = "from='b.example' to='a.example' version='1.0'";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const MESSAGE: &str = "<message from='romeo@b.example/x' to='juliet@a.example'/>";
pub(super) const KEY: &str = "<db:result from='b.example' to='a.example'>k</db:result>";

/// A stream that has come.
pub(super) struct Come {
    pub(super) stage: Stage,
    machine: Incoming,
    theirs: Ear,
    ours: Ear,
    is_over: bool,
}

impl Come {
    pub(super) fn new(stage: Stage, channel: Channel) -> Come {
        let machine = Incoming::new(channel);
        Come { stage, machine, theirs: Ear::new(), ours: Ear::new(), is_over: false }
    }

    /// Inside TLS, after the first header; the certificate speaks for `vouched`.
    pub(super) fn secured(policy: Policy, vouched: &[&'static str]) -> Come {
        let mut come = Come::new(Stage::new(policy, vouched), Channel::Tls);
        come.say(&header(OPEN));
        come
    }

    /// Proved by certificate.
    pub(super) fn certified() -> Come {
        let mut come = Come::secured(STRICT, &["b.example"]);
        assert_eq!(come.say(&auth("Yi5leGFtcGxl")), "success, proved b.example certificate");
        assert_eq!(come.say(&header(OPEN)), "header, features dialback sm");
        come
    }

    /// The other server says something; the words of all that is wanted.
    pub(super) fn say(&mut self, text: &str) -> String {
        self.theirs.hear(text.as_bytes());
        let mut words = Vec::new();
        while !self.is_over {
            let Some(frame) = self.theirs.next() else {
                break;
            };
            let input = match &frame {
                Frame::Open(header) => Input::Opened(header),
                Frame::Element(raw) => Input::Element(raw),
                Frame::Close => break,
            };
            self.take(input, &mut words);
        }
        words.join(", ")
    }

    /// The server of a domain has said something of a key.
    pub(super) fn hear(&mut self, pair: (&str, &str), verdict: Verdict) -> String {
        let pair = Pair { ours: domain(pair.0), theirs: domain(pair.1) };
        let mut words = Vec::new();
        self.take(Input::Verified(pair, verdict), &mut words);
        words.join(", ")
    }

    /// The stream before has taken so many stanzas; nothing: it is not known.
    pub(super) fn find(&mut self, handled: Option<u32>) -> String {
        let mut words = Vec::new();
        self.take(Input::Resumed("zero".to_owned(), handled), &mut words);
        words.join(", ")
    }

    fn take(&mut self, input: Input<'_>, words: &mut Vec<String>) {
        let mut out = Vec::new();
        self.machine.handle(input, &self.stage, &mut out);
        let mut wishes = VecDeque::from(out);
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Output::Send(bytes) => words.extend(self.ours.words(&bytes)),
                Output::Close(bytes, _) => {
                    words.extend(self.ours.words(&bytes));
                    self.is_over = true;
                }
                Output::Secure(domain) => {
                    words.push(format!("secure {domain}"));
                    self.theirs.restart();
                    self.ours.restart();
                    let mut more = Vec::new();
                    self.machine.handle(Input::Secured, &self.stage, &mut more);
                    wishes.extend(more);
                }
                Output::Restart => {
                    self.theirs.restart();
                    self.ours.restart();
                }
                Output::Verify(question) => {
                    words.push(format!("ask {} {}", question.pair.theirs, question.key));
                }
                Output::Proved(theirs, proof) => {
                    words.push(format!("proved {theirs} {}", proof.word()));
                }
                Output::Stanza(stanza) => {
                    let from = stanza.from.expect("checked");
                    words.push(format!("stanza {from}"));
                }
                Output::Answer(_) => words.push("answer".to_owned()),
                Output::BothWays(pair) => words.push(format!("both {} {}", pair.ours, pair.theirs)),
                Output::Counted(None) => words.push("counted".to_owned()),
                Output::Counted(Some(id)) => words.push(format!("counted, kept {id}")),
                Output::Resume(pair, id, h) => {
                    words.push(format!("resume {} {} {id} {h}", pair.ours, pair.theirs));
                }
                Output::Handled(h) => words.push(format!("handled {h}")),
                Output::Failed => words.push("failed".to_owned()),
            }
        }
    }
}

pub(super) fn auth(text: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{text}</auth>")
}

pub(super) fn counting(words: &str) -> String {
    format!("<{words} xmlns='urn:xmpp:sm:3'/>")
}

/// Each row on a stream of its own: what is said, and what is wanted.
#[track_caller]
pub(super) fn rows(start: impl Fn() -> Come, rows: &[(&str, &str)]) {
    for (said, wanted) in rows {
        let mut come = start();
        assert_eq!(come.say(said), *wanted, "{said}");
        assert_eq!(come.is_over, wanted.ends_with("end"), "{said}");
    }
}

#[test]
fn a_header_is_answered_with_features_or_in_words() {
    let plain = || Come::new(Stage::new(STRICT, &[]), Channel::Plain);
    let opening = |attributes: &str, wanted: &str| rows(plain, &[(&header(attributes), wanted)]);
    opening(OPEN, "header, features tls!");
    opening("to='a.example' version='1.0'", "header, features tls!");
    opening("from='b.example' to='a.example'", "header without version");
    opening("from='b.example' to='a.example' version='1.9'", "header, features tls!");
    for (attributes, condition) in [
        ("from='b.example' version='1.0'", "improper-addressing"),
        ("from='b.example' to='x.example' version='1.0'", "host-unknown"),
        ("from='b.example' to='a b' version='1.0'", "host-unknown"),
        ("from='a b' to='a.example' version='1.0'", "invalid-from"),
        ("from='c.a.example' to='a.example' version='1.0'", "invalid-from"),
    ] {
        opening(attributes, &format!("header, error {condition}, end"));
    }
    let blocked = "policy-violation (this server does not speak with yours)";
    opening(
        "from='bad.example' to='a.example' version='1.0'",
        &format!("header, error {blocked}, end"),
    );
    for (from, to) in [("jabber:server'", "jabber:client'"), ("etherx", "other")] {
        let header = header(OPEN).replace(from, to);
        rows(plain, &[(&header, "header, error invalid-namespace, end")]);
    }
    // whoever need not be secured is offered both
    let careless = || Come::new(Stage::new(CARELESS, &[]), Channel::Plain);
    rows(careless, &[(&header(OPEN), "header, features tls dialback")]);
}

#[test]
fn tls_comes_before_all_else() {
    let plain = || {
        let mut come = Come::new(Stage::new(LENIENT, &["b.example"]), Channel::Plain);
        come.say(&header(OPEN));
        come
    };
    rows(
        plain,
        &[
            (STARTTLS, "proceed, secure a.example"),
            (&auth("="), "failure encryption-required, failed"),
            (KEY, "failed, error policy-violation (TLS comes first), end"),
            (MESSAGE, "error not-authorized, end"),
        ],
    );
    let mut come = plain();
    come.say(STARTTLS);
    assert_eq!(come.say(&header(OPEN)), "header, features external dialback");
    assert_eq!(come.say(STARTTLS), "error unsupported-stanza-type, end");
    // a stream that is begun anew is between the same two
    let mut come = plain();
    come.say(STARTTLS);
    let other = header("from='d.example' to='a.example' version='1.0'");
    assert_eq!(come.say(&other), "header, error invalid-from, end");
    let mut come = plain();
    come.say(STARTTLS);
    let other = header("from='b.example' to='c.a.example' version='1.0'");
    assert_eq!(come.say(&other), "header, error host-unknown, end");
}

#[test]
fn only_what_was_proved_is_taken() {
    rows(
        Come::certified,
        &[
            (MESSAGE, "stanza romeo@b.example/x"),
            (&MESSAGE.replace("@a.", "@c.a."), "stanza romeo@b.example/x"),
            (&MESSAGE.replace("@b.", "@d."), "error invalid-from, end"),
            (&MESSAGE.replace("@b.", "@a."), "error invalid-from, end"),
            (&MESSAGE.replace("@a.", "@x."), "error host-unknown, end"),
            ("<message from='romeo@b.example'/>", "error improper-addressing, end"),
            ("<message to='juliet@a.example'/>", "error improper-addressing, end"),
            (
                &MESSAGE.replace("<message", "<message xmlns='jabber:client'"),
                "error invalid-namespace, end",
            ),
            ("<what xmlns='is:this'/>", "error unsupported-stanza-type, end"),
            ("<what/>", "error unsupported-stanza-type, end"),
            // it has no payload: whoever sent it is told
            ("<iq from='x@b.example' to='a.example' type='get' id='1'/>", "answer"),
            (
                "<iq from='x@d.example' to='a.example' type='get' id='1'/>",
                "error invalid-from, end",
            ),
        ],
    );
}

#[test]
fn stanzas_are_counted_from_when_that_is_wanted() {
    let mut come = Come::secured(STRICT, &["b.example"]);
    assert_eq!(come.say(&counting("enable")), "failed unexpected-request");
    let mut come = Come::certified();
    assert_eq!(come.say(&counting("r")), "", "nobody counts yet");
    assert_eq!(come.say(MESSAGE), "stanza romeo@b.example/x");
    assert_eq!(come.say(&counting("enable")), "enabled, counted");
    assert_eq!(come.say(&counting("r")), "a h=0");
    come.say(MESSAGE);
    // also one that was answered
    come.say("<iq from='x@b.example' to='a.example' type='get' id='1'/>");
    assert_eq!(come.say(&counting("r")), "a h=2");
    assert_eq!(come.say(&counting("enable")), "failed unexpected-request");
    assert_eq!(come.say(&counting("resume")), "failed item-not-found");
    // and what the other has of ours
    assert_eq!(come.say(&counting("a h='3'")), "handled 3");
    assert_eq!(come.say(&counting("a")), "error bad-format, end");
}

#[test]
fn an_end_from_outside_is_said_behind_a_header() {
    let stage = Stage::new(STRICT, &[]);
    let error = crate::xmpp::error::StreamCondition::SystemShutdown.into();
    let fresh = Come::new(Stage::new(STRICT, &[]), Channel::Plain);
    let words = fresh.machine.fail(&error, "a.example", &stage);
    assert_eq!(Ear::new().words(&words).join(", "), "header, error system-shutdown, end");
    let mut come = Come::certified();
    let words = come.machine.fail(&error, "a.example", &stage);
    assert_eq!(come.ours.words(&words).join(", "), "error system-shutdown, end");
}
