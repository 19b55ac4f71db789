//! Plays by chance: whatever is said, nobody gets in without a proof.
//!
//! Which words are answered is in the other plays.

use std::collections::BTreeSet;

use jabiru::stream::sasl::hash::Hash;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::binding::bind;
use crate::client::{ABORT, Scram, plain, raw_auth, raw_response, response};
use crate::play::{HEADER, Play, START_TLS};
use crate::romeo;

/// What a client may say, rightly or not.
#[derive(Debug, Clone)]
enum Piece {
    Open,
    StartTls,
    Bind,
    Scram(Scram),
    /// Upon the last challenge, by the client that began last.
    Proof,
    Plain(&'static str, &'static str, &'static str),
    Text(String),
    Bytes(Vec<u8>),
}

/// One attempt to authenticate, seldom a right one.
fn attempts() -> impl Strategy<Value = Piece> {
    let who = prop_oneof![
        4 => Just(("romeo", "pencil")),
        1 => Just(("juliet", "balcony")),
        1 => Just(("tybalt", "rapier")),
        4 => Just(("romeo", "wrong")),
        1 => Just(("juliet", "pencil")),
        1 => Just(("paris", "pencil")),
    ];
    let channel = prop_oneof![
        4 => Just(("n", Vec::new())),
        1 => Just(("y", Vec::new())),
        2 => Just(("p=tls-exporter", vec![1; 32])),
        1 => Just(("p=tls-exporter", vec![3; 32])),
        1 => Just(("p=tls-server-end-point", vec![2; 32])),
    ];
    let hash = prop_oneof![Just(Hash::Sha1), Just(Hash::Sha256)];
    let how = prop_oneof![1 => Just(None), 2 => (hash, channel).prop_map(Some)];
    (who, how, prop::bool::weighted(0.2)).prop_map(|((name, password), how, is_other)| match how {
        None if is_other => Piece::Plain("juliet@example.org", name, password),
        None => Piece::Plain("", name, password),
        Some((hash, (flag, bound))) => Piece::Scram(Scram {
            authorization: if is_other { "a=juliet@example.org" } else { "" },
            bound,
            flag,
            ..Scram::new(hash, name, password)
        }),
    })
}

fn pieces() -> impl Strategy<Value = Piece> {
    let texts = [
        ABORT.to_owned(),
        "<presence/>".to_owned(),
        "</stream:stream>".to_owned(),
        "<message to='@'/>".to_owned(),
        raw_auth("PLAIN", ""),
        raw_auth("SCRAM-SHA-256", ""),
        raw_auth("SCRAM-SHA-256", "%"),
        raw_response(""),
        raw_response("="),
        response("c=biws,r=fyko,p="),
        response("\0romeo\0wrong"),
        plain("", "mercutio", "any"),
        bind("").replace("set", "get"),
        bind("<resource>taken</resource>"),
        HEADER.replace("example.org", "example.net"),
        HEADER.replace("version", "from='juliet@example.org' version"),
    ];
    let text = prop::sample::select(texts.to_vec());
    prop_oneof![
        4 => Just(Piece::Open),
        2 => Just(Piece::StartTls),
        3 => Just(Piece::Bind),
        5 => attempts(),
        4 => Just(Piece::Proof),
        4 => text.prop_map(Piece::Text),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Piece::Bytes),
    ]
}

/// The way in, to be disturbed.
fn way_in(attempt: Piece) -> Vec<Piece> {
    let proof = matches!(attempt, Piece::Scram(_)).then_some(Piece::Proof);
    let way = [Piece::Open, Piece::StartTls, Piece::Open, attempt];
    way.into_iter().chain(proof).chain([Piece::Open, Piece::Bind]).collect()
}

/// Plays the pieces. Whoever is in at the end has said that account's secret.
fn disturbed(pieces: &[Piece]) -> Option<String> {
    const SECRETS: [(&str, &str); 2] = [("romeo", "pencil"), ("juliet", "balcony")];
    let mut play = Play::fresh();
    let mut began: Option<&Scram> = None;
    let mut challenge = String::new();
    let mut proved = BTreeSet::new();
    for piece in pieces {
        let said = match piece {
            Piece::Open => play.say(HEADER),
            Piece::StartTls => play.say(START_TLS),
            Piece::Bind => play.say(bind("")),
            Piece::Text(text) => play.say(text),
            Piece::Bytes(bytes) => play.say(bytes),
            Piece::Scram(scram) => {
                began = Some(scram);
                play.say(scram.first())
            }
            Piece::Plain(wished, name, secret) => {
                if wished.is_empty() || wished.starts_with(name) {
                    proved.insert((*name, *secret));
                }
                play.say(plain(wished, name, secret))
            }
            Piece::Proof => {
                let Some(scram) = began else { continue };
                if scram.authorization.is_empty() || scram.name == "juliet" {
                    proved.insert((scram.name, scram.password));
                }
                play.say(scram.last(&challenge).0)
            }
        };
        if said == "challenge" {
            challenge = play.message();
        }
    }
    let jid = play.established?.jid.as_str().to_owned();
    let name = jid.split('@').next().unwrap_or_default();
    let secret = SECRETS.into_iter().find(|(known, _)| *known == name);
    let secret = secret.unwrap_or_else(|| panic!("{jid} may not be in"));
    assert!(proved.contains(&secret), "{jid} is in without a proof");
    Some(jid)
}

#[test]
fn the_way_in_leads_in() {
    let jid = Some("romeo@example.org/made-1".to_owned());
    assert_eq!(disturbed(&way_in(Piece::Scram(romeo()))), jid);
    assert_eq!(disturbed(&way_in(Piece::Plain("", "romeo", "pencil"))), jid);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn nobody_gets_in_without_a_proof_whatever_is_said(
        attempt in attempts(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, pieces()), 0..4),
    ) {
        let mut said = way_in(attempt);
        for (at, how, piece) in edits {
            let at = at.index(said.len());
            match how {
                0 => said.insert(at, piece),
                1 => said[at] = piece,
                _ if said.len() > 1 => { said.remove(at); }
                _ => {}
            }
        }
        disturbed(&said);
    }

    #[test]
    fn nobody_gets_in_by_chance(chance in prop::collection::vec(pieces(), 0..16)) {
        let way = [Piece::Open, Piece::StartTls, Piece::Open];
        disturbed(&way.into_iter().chain(chance).collect::<Vec<_>>());
    }
}
