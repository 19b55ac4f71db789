//! Streams that we open, in tables: what the other server says, and what we do.

use std::collections::VecDeque;

use super::{CARELESS, Ear, LENIENT, STRICT, Stage, domain, header};
use crate::stream::server::incoming::Question;
use crate::stream::server::outgoing::{Fault, Input, Outgoing, Output, Purpose};
use crate::stream::server::{Channel, Pair, Policy};
use crate::xml::framer::Frame;

pub(super) const OPEN: &str = "from='b.example' to='a.example' id='7' version='1.0'";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const TLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms>";
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str =
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
pub(super) const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
pub(super) const VALID: &str = "<db:result from='b.example' to='a.example' type='valid'/>";

/// A stream from `a.example` to `b.example`.
pub(super) struct Opened {
    stage: Stage,
    pub(super) machine: Outgoing,
    pub(super) theirs: Ear,
    pub(super) ours: Ear,
    is_over: bool,
}

pub(super) fn pair() -> Pair {
    Pair { ours: domain("a.example"), theirs: domain("b.example") }
}

/// The key that we show to `b.example` on the stream that it has named `7`.
pub(super) fn shown() -> String {
    let stage = Stage::new(STRICT, &[]);
    let secrets = crate::stream::server::World::secrets(&stage);
    let key = secrets.key(&domain("b.example"), &domain("a.example"), "7");
    format!("result a.example b.example {key}")
}

pub(super) fn features(all: &[&str]) -> String {
    format!("<stream:features>{}</stream:features>", all.concat())
}

pub(super) fn counting(words: &str) -> String {
    format!("<{words} xmlns='urn:xmpp:sm:3'/>")
}

impl Opened {
    pub(super) fn new(
        policy: Policy,
        vouched: &[&'static str],
        channel: Channel,
        purpose: Purpose,
    ) -> Opened {
        let machine = Outgoing::new(pair(), policy, purpose, channel);
        let stage = Stage::new(policy, vouched);
        let (theirs, ours) = (Ear::new(), Ear::new());
        let mut opened = Opened { stage, machine, theirs, ours, is_over: false };
        let mut words = Vec::new();
        opened.take(Input::Connected, &mut words);
        assert_eq!(words, ["header"]);
        opened
    }

    /// Before TLS, after the other's header.
    pub(super) fn plain(policy: Policy) -> Opened {
        let mut opened = Opened::new(policy, &["b.example"], Channel::Plain, Purpose::Stanzas);
        assert_eq!(opened.say(&header(OPEN)), "");
        opened
    }

    /// Inside TLS, after the other's header.
    pub(super) fn secured(policy: Policy, vouched: &[&'static str]) -> Opened {
        let mut opened = Opened::new(policy, vouched, Channel::Tls, Purpose::Stanzas);
        assert_eq!(opened.say(&header(OPEN)), "");
        opened
    }

    /// Proved by certificate; these features are offered then.
    pub(super) fn established(last: &[&str]) -> Opened {
        let mut opened = Opened::secured(STRICT, &["b.example"]);
        assert_eq!(opened.say(&features(&[EXTERNAL])), "auth EXTERNAL");
        assert_eq!(opened.say(SUCCESS), "header");
        assert_eq!(opened.say(&header(OPEN)), "");
        let acks = if last.contains(&SM) { "Offered" } else { "None" };
        assert_eq!(opened.say(&features(last)), format!("established certificate {acks}"));
        opened
    }

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

    pub(super) fn take(&mut self, input: Input<'_>, words: &mut Vec<String>) {
        let mut out = Vec::new();
        self.machine.handle(input, &self.stage, &mut out);
        let mut wishes = VecDeque::from(out);
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Output::Send(bytes) => words.extend(self.ours.words(&bytes)),
                Output::Close(bytes, fault) => {
                    words.extend(self.ours.words(&bytes));
                    self.is_over = true;
                    words.push(match fault {
                        Fault::Said(text) => format!("said {text}"),
                        Fault::Spoke(_) => "spoke".to_owned(),
                        Fault::NoTls => "no tls".to_owned(),
                        Fault::Certificate => "certificate".to_owned(),
                        Fault::Refused(why) => format!("refused {why}"),
                    });
                }
                Output::Secure => {
                    words.push("secure".to_owned());
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
                Output::Established(proof, acks) => {
                    words.push(format!("established {} {acks:?}", proof.word()));
                }
                Output::Handled(h) => words.push(format!("handled {h}")),
                Output::Uncounted => words.push("uncounted".to_owned()),
                Output::Kept(id) => words.push(format!("kept {id}")),
                Output::Stanza(stanza) => {
                    let from = stanza.from.expect("checked");
                    words.push(format!("stanza {from}"));
                }
                Output::Answer(_) => words.push("answer".to_owned()),
                Output::Answered(verdict) => words.push(format!("answered {verdict:?}")),
            }
        }
    }
}

/// Each row on a stream of its own: what is said, and what we do.
#[track_caller]
pub(super) fn rows(start: impl Fn() -> Opened, rows: &[(&str, &str)]) {
    for (said, wanted) in rows {
        assert_eq!(start().say(said), *wanted, "{said}");
    }
}

#[test]
fn a_header_must_be_one_of_a_stream_between_servers() {
    let fresh = || Opened::new(STRICT, &[], Channel::Plain, Purpose::Stanzas);
    rows(
        fresh,
        &[
            (&header(OPEN), ""),
            (
                &header(OPEN).replace("jabber:server'", "jabber:client'"),
                "error invalid-namespace, end, spoke",
            ),
            (&header(OPEN).replace("etherx", "other"), "error invalid-namespace, end, spoke"),
            // of the time before TLS
            (&header("from='b.example' id='7'"), "end, no tls"),
            (&header("from='b.example' id='7' version='0.9'"), "end, no tls"),
        ],
    );
    let old = Opened::new(CARELESS, &[], Channel::Plain, Purpose::Stanzas)
        .say(&header("from='b.example' id='7'"));
    assert_eq!(old, shown());
}

#[test]
fn tls_is_asked_for_even_where_it_is_not_offered() {
    let strict = || Opened::plain(STRICT);
    rows(
        strict,
        &[
            (&features(&[TLS]), "starttls"),
            (&features(&[]), "starttls"),
            (&features(&[EXTERNAL]), "starttls"),
            (PROCEED, "error unsupported-stanza-type, end, spoke"),
            (
                "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
                "end, said host-unknown",
            ),
        ],
    );
    let mut opened = strict();
    opened.say(&features(&[TLS]));
    assert_eq!(opened.say(PROCEED), "secure, header");
    assert_eq!(opened.say(&header(OPEN)), "");
    let mut opened = strict();
    opened.say(&features(&[TLS]));
    assert_eq!(opened.say(&PROCEED.replace("proceed", "failure")), "end, no tls");
    // whoever need not be secured is asked for what he offers
    rows(
        || Opened::plain(CARELESS),
        &[(&features(&[TLS]), "starttls"), (&features(&[]), &shown())],
    );
}

#[test]
fn we_prove_ourselves_by_certificate_first_and_then_by_a_key() {
    let certain = || Opened::secured(STRICT, &["b.example"]);
    rows(certain, &[(&features(&[EXTERNAL]), "auth EXTERNAL"), (&features(&[]), &shown())]);
    let mut opened = certain();
    opened.say(&features(&[EXTERNAL]));
    assert_eq!(opened.say(FAILURE), shown(), "whoever does not like our certificate");
    assert_eq!(opened.say(VALID), "established dialback None");
    let mut opened = certain();
    opened.say(&features(&[EXTERNAL]));
    assert_eq!(opened.say("<what xmlns='is:this'/>"), "error unsupported-stanza-type, end, spoke");
    Opened::established(&[]);
    Opened::established(&[SM]);
}

#[test]
fn a_server_that_does_not_prove_who_it_is_gets_nothing() {
    rows(
        || Opened::secured(STRICT, &[]),
        &[(&features(&[EXTERNAL]), "end, certificate"), (&features(&[]), "end, certificate")],
    );
    rows(
        || Opened::secured(LENIENT, &[]),
        &[(&features(&[EXTERNAL]), "auth EXTERNAL"), (&features(&[]), &shown())],
    );
}

#[test]
fn what_is_said_of_our_key_is_heard() {
    let asked = || {
        let mut opened = Opened::secured(LENIENT, &[]);
        opened.say(&features(&[]));
        opened
    };
    let error = VALID.replace("valid", "error");
    rows(
        asked,
        &[
            (VALID, "established dialback None"),
            (&VALID.replace("valid", "invalid"), "end, refused our dialback key is wrong"),
            (&error, "end, refused dialback has failed"),
            // it is about others
            (&VALID.replace("b.example", "d.example"), ""),
            (&VALID.replace("a.example", "c.a.example"), ""),
            (&VALID.replace("result", "verify"), "error unsupported-stanza-type, end, spoke"),
            (
                "<db:result from='b.example' to='a.example'>k</db:result>",
                "error unsupported-stanza-type, end, spoke",
            ),
        ],
    );
}

#[test]
fn a_question_about_a_key_is_asked_and_answered() {
    let ask = |policy, channel| {
        let (id, key) = ("9".to_owned(), "k".to_owned());
        let question = Question { pair: pair(), id, key };
        let mut opened = Opened::new(policy, &[], channel, Purpose::Ask(question));
        opened.say(&header(OPEN));
        opened
    };
    assert_eq!(ask(STRICT, Channel::Plain).say(&features(&[TLS])), "starttls");
    // a question needs no proof, of nobody
    let asked = || {
        let mut opened = ask(STRICT, Channel::Tls);
        assert_eq!(opened.say(&features(&[EXTERNAL])), "verify a.example b.example k");
        opened
    };
    let valid = "<db:verify from='b.example' to='a.example' id='9' type='valid'/>";
    rows(
        asked,
        &[
            (valid, "answered Valid"),
            (&valid.replace("valid", "invalid"), "answered Invalid"),
            (&valid.replace("valid", "error"), "answered Unknown"),
            (&valid.replace("b.example", "d.example"), ""),
            (&valid.replace("'9'", "'8'"), "error unsupported-stanza-type, end, spoke"),
            (VALID, "error unsupported-stanza-type, end, spoke"),
        ],
    );
}

#[test]
fn a_stream_of_ours_carries_only_our_stanzas() {
    rows(
        || Opened::established(&[SM]),
        &[
            (
                "<message from='romeo@b.example' to='juliet@a.example'/>",
                "error not-authorized, end, spoke",
            ),
            (&counting("a h='3'"), "handled 3"),
            (&counting("a"), "error unsupported-stanza-type, end, spoke"),
            (&counting("a h='x'"), "error unsupported-stanza-type, end, spoke"),
            (&counting("r"), "a h=0"),
            (&counting("failed"), "uncounted"),
            (&counting("enabled"), ""),
            (&counting("enabled id='x'"), ""),
            (&counting("enabled id='x' resume='true'"), "kept x"),
            ("<what xmlns='is:this'/>", ""),
            (
                "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
                "end, said reset",
            ),
        ],
    );
}
