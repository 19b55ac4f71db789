//! Plays of SASL: the words for every way to fail, and who gets in.
//!
//! What may be said before and after it is in the other plays.

use jabiru::stream::negotiation::{Channel, Settings};
use jabiru::stream::sasl::hash::Hash;
use jabiru::stream::sasl::mechanism::Mechanism;
use jabiru::stream::sasl::scram::Bindings;

use crate::client::{ABORT, Scram, auth, plain, raw_auth, raw_response, response};
use crate::play::{HEADER, Play, bindings, settings};
use crate::{opened, romeo, rows, trusting};

#[test]
fn an_attempt_that_is_wrong_in_itself_hears_what_is_wrong() {
    let scram = romeo().first();
    let no_tls = "failure encryption-required";
    rows(opened, &[(&scram, no_tls), (&plain("", "romeo", "pencil"), no_tls)]);
    rows(opened, &[(&auth("X-NONE", ""), "failure invalid-mechanism")]);
    rows(trusting, &[(&plain("", "romeo", "pencil"), no_tls), (&scram, "challenge")]);
    let bound = romeo().bound("p=tls-exporter", None).first();
    rows(trusting, &[(&bound, "failure invalid-mechanism")]);
    let malformed = "failure malformed-request";
    rows(
        Play::secured,
        &[
            (&auth("DIGEST-MD5", ""), "failure invalid-mechanism"),
            (&auth("scram-sha-256", "n,,n=romeo,r=a"), "failure invalid-mechanism"),
            (&raw_auth("", ""), "failure invalid-mechanism"),
            (&raw_auth("PLAIN", "%%%"), "failure incorrect-encoding"),
            (&raw_auth("PLAIN", " AHJvbWVvAHBlbmNpbA=="), "failure incorrect-encoding"),
            (&raw_auth("PLAIN", "AHJvbWVvAHBlbmNpbA"), "failure incorrect-encoding"),
            (&raw_auth("SCRAM-SHA-1", "é"), "failure incorrect-encoding"),
            (&raw_auth("PLAIN", "="), malformed),
            (&raw_auth("PLAIN", "<x/>"), malformed),
            (&auth("PLAIN", "romeo"), malformed),
            (&auth("PLAIN", "\0romeo\0pencil\0"), malformed),
            (&auth("PLAIN", b"\0romeo\0\xFF"), malformed),
            (&auth("SCRAM-SHA-1", "n=romeo"), malformed),
            (&auth("SCRAM-SHA-256", "p=tls-exporter,,n=romeo,r=a"), malformed),
            (&auth("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=romeo,r=a"), malformed),
            (&auth("SCRAM-SHA-256-PLUS", "n,,n=romeo,r=a"), malformed),
            (&response("x"), malformed),
            (&plain("juliet@example.org", "romeo", "pencil"), "failure invalid-authzid"),
            (&plain("@", "romeo", "pencil"), "failure invalid-authzid"),
            (&auth("SCRAM-SHA-1", "n,a=juliet@example.org,n=romeo,r=a"), "failure invalid-authzid"),
            (&plain("", "romeo", "wrong"), "failure not-authorized"),
            (&plain("", "paris", "pencil"), "failure not-authorized"),
            (&plain("", "ro meo@", "pencil"), "failure not-authorized"),
            (&plain("", "romeo", &"x".repeat(1025)), "failure not-authorized"),
            (&plain("", "tybalt", "wrong"), "failure not-authorized"),
            (&plain("", "tybalt", "rapier"), "failure account-disabled"),
            (&plain("", "mercutio", "any"), "failure temporary-auth-failure"),
        ],
    );
}

#[test]
fn an_answer_that_is_wrong_in_itself_hears_what_is_wrong() {
    let challenged = || {
        let mut play = Play::secured();
        assert_eq!(play.say(romeo().first()), "challenge");
        play
    };
    let malformed = "failure malformed-request";
    rows(
        challenged,
        &[
            (ABORT, "failure aborted"),
            (&raw_response("%"), "failure incorrect-encoding"),
            (&raw_response(""), malformed),
            (&raw_response("<x/>"), malformed),
            (&response("c=biws,r=fyko"), malformed),
            (&response("c=biws,r=fyko,p=AAAA"), "failure not-authorized"),
            (&response("c=biws,r=fyko,p=%"), malformed),
            (&romeo().first(), "challenge"),
        ],
    );
}

#[test]
fn the_first_message_may_wait_for_an_empty_challenge() {
    let mut play = Play::secured();
    assert_eq!(play.say(raw_auth("PLAIN", "")), "challenge");
    assert_eq!(play.message(), "");
    assert_eq!(play.say(raw_response("AHJvbWVvAHBlbmNpbA==")), "success");
    let mut play = Play::secured();
    assert_eq!(play.say(raw_auth("SCRAM-SHA-1", "")), "challenge");
    assert_eq!(play.say(ABORT), "failure aborted");
}

#[test]
fn whoever_proves_it_is_in() {
    let exporter = || ("p=tls-exporter", bindings().exporter);
    let end_point = || ("p=tls-server-end-point", bindings().end_point);
    for hash in [Hash::Sha1, Hash::Sha256] {
        let scram = Scram::new(hash, "romeo", "pencil");
        for (flag, data) in [("n", None), exporter(), end_point()] {
            let scram = scram.clone().bound(flag, data);
            let mut play = Play::secured();
            assert_eq!(scram.play(&mut play), "challenge, success", "{scram:?}");
            assert_eq!(play.asked, ["romeo@example.org"]);
        }
        assert_eq!(scram.play(&mut trusting()), "challenge, success");
    }
    let own = Scram { authorization: "a=ROMEO@example.org", ..romeo() };
    assert_eq!(own.play(&mut Play::secured()), "challenge, success");
    for (authorization, name) in [("", "romeo"), ("", "ROMEO"), ("romeo@example.org", "romeo")] {
        let mut play = Play::secured();
        assert_eq!(play.say(plain(authorization, name, "pencil")), "success", "{name}");
    }
}

#[test]
fn a_proof_for_another_channel_is_none() {
    let wrong = "challenge, failure not-authorized";
    for (flag, data) in [
        ("p=tls-exporter", bindings().end_point),
        ("p=tls-exporter", None),
        ("p=tls-server-end-point", bindings().exporter),
    ] {
        let scram = romeo().bound(flag, data);
        assert_eq!(scram.play(&mut Play::secured()), wrong, "{flag}");
    }
    let unoffered = romeo().bound("p=tls-server-end-point", bindings().end_point);
    let exporter_only = Bindings { end_point: None, ..bindings() };
    let mut play = Play::secured_with(settings(), exporter_only);
    assert_eq!(unoffered.play(&mut play), "failure malformed-request");
}

#[test]
fn a_client_that_was_kept_from_binding_fails() {
    let deceived = romeo().bound("y", None);
    assert_eq!(deceived.play(&mut Play::secured()), "failure not-authorized");
    // Where none was offered the client is right.
    let mut unbindable = Play::secured_with(settings(), Bindings::default());
    assert_eq!(deceived.play(&mut unbindable), "challenge, success");
    assert_eq!(deceived.play(&mut trusting()), "challenge, success");
    let unbound = Mechanism::ALL.into_iter().filter(|one| !one.is_bound()).collect();
    let settings = Settings { mechanisms: unbound, ..settings() };
    let mut unconfigured = Play::secured_with(settings, bindings());
    assert_eq!(deceived.play(&mut unconfigured), "challenge, success");
}

#[test]
fn a_mechanism_that_the_operator_left_out_is_none() {
    let settings = Settings { mechanisms: vec![Mechanism::ALL[2]], ..settings() };
    let start = || Play::secured_with(settings.clone(), bindings());
    let none = "failure invalid-mechanism";
    assert_eq!(start().say(plain("", "romeo", "pencil")), none);
    assert_eq!(Scram::new(Hash::Sha1, "romeo", "pencil").play(&mut start()), none);
    assert_eq!(romeo().play(&mut start()), "challenge, success");
}

#[test]
fn nobody_learns_from_the_answers_which_accounts_exist() {
    let answers = |name: &'static str| {
        let mut play = Play::secured();
        let mut heard = Vec::new();
        for hash in [Hash::Sha1, Hash::Sha256] {
            let scram = Scram::new(hash, name, "wrong");
            assert_eq!(play.say(scram.first()), "challenge");
            let challenge = play.message();
            // The nonce differs by right, and the salt by account.
            let mut salt = String::new();
            let shape = challenge.split(',').map(|field| match field.split_at(2) {
                ("s=", text) => {
                    text.clone_into(&mut salt);
                    format!("s={}", text.len())
                }
                ("r=", nonce) => format!("r={}", nonce.len()),
                _ => field.to_owned(),
            });
            heard.push(shape.collect::<Vec<_>>().join(","));
            heard.push(play.say(scram.last(&challenge).0));
            heard.push(play.text());
            assert_eq!(play.say(scram.first()), "challenge");
            assert!(play.message().contains(&salt), "one salt for {name}");
            play.say(ABORT);
        }
        heard.push(play.say(plain("", name, "wrong")));
        heard.push(play.text());
        heard
    };
    let known = answers("romeo");
    for unknown in ["paris", "PARIS", "juliet@example.org", "a b"] {
        assert_eq!(answers(unknown), known, "{unknown}");
    }
    let salt = |name| {
        let mut play = Play::secured();
        play.say(Scram::new(Hash::Sha256, name, "").first());
        play.message().split(',').nth(1).map(str::to_owned)
    };
    assert_eq!(salt("paris"), salt("PARIS"), "two spellings of one name have one salt");
    assert_ne!(salt("paris"), salt("rosaline"));
}

#[test]
fn a_proof_is_needed_even_where_the_password_is_known() {
    let wrong = "challenge, failure not-authorized";
    let scram = |name, password| Scram::new(Hash::Sha256, name, password);
    for (name, password, answer) in [
        ("romeo", "wrong", wrong),
        ("romeo", "balcony", wrong),
        ("romeo", "", wrong),
        ("paris", "pencil", wrong),
        ("tybalt", "wrong", wrong),
        ("tybalt", "rapier", "challenge, failure account-disabled"),
        ("mercutio", "any", "failure temporary-auth-failure"),
    ] {
        assert_eq!(scram(name, password).play(&mut Play::secured()), answer, "{name} {password}");
    }
    // An answer of one exchange is of no use in the next.
    let mut play = Play::secured();
    assert_eq!(play.say(romeo().first()), "challenge");
    let (last, _) = romeo().last(&play.message());
    assert_eq!(play.say(ABORT), "failure aborted");
    assert_eq!(play.say(romeo().first()), "challenge");
    assert_eq!(play.say(last), "failure not-authorized");
}

#[test]
fn the_fifth_failure_ends_the_stream() {
    for (said, word) in [
        (plain("", "romeo", "wrong"), "not-authorized"),
        (plain("", "paris", "wrong"), "not-authorized"),
        (plain("", "tybalt", "rapier"), "account-disabled"),
        (auth("X-NONE", ""), "invalid-mechanism"),
        (raw_auth("PLAIN", "%"), "incorrect-encoding"),
        (response(""), "malformed-request"),
    ] {
        let mut play = Play::secured();
        for _ in 0..4 {
            assert_eq!(play.say(&said), format!("failure {word}"));
        }
        assert_eq!(play.say(&said), format!("failure {word}, error policy-violation, end"));
        assert_eq!(play.say(plain("", "romeo", "pencil")), "", "nothing is heard after the end");
    }
    let mut play = Play::secured();
    for _ in 0..4 {
        assert_eq!(play.say(plain("", "romeo", "wrong")), "failure not-authorized");
    }
    for _ in 0..9 {
        assert_eq!(play.say(ABORT), "failure aborted", "giving up is no guess");
        let away = "failure temporary-auth-failure";
        assert_eq!(play.say(plain("", "mercutio", "any")), away, "our fault is not theirs");
    }
    assert_eq!(play.say(plain("", "romeo", "pencil")), "success", "the last one may be right");
}

#[test]
fn whoever_said_to_be_another_is_not_let_in() {
    for (from, answer) in [("romeo", "success"), ("juliet", "error invalid-from, end")] {
        let header = HEADER.replace("version", &format!("from='{from}@example.org' version"));
        let mut play = Play::new(settings(), Channel::Tls(bindings()), bindings());
        assert_eq!(play.say(&header), "header, features mechanisms");
        assert_eq!(play.say(plain("", "romeo", "pencil")), answer);
    }
}
