//! Conversations with real nodes, written down as plays that anybody can read
//! who knows XMPP: `plays/README.md` has the format. Each is played with all
//! actors on one node, and again with each on another of three: a user must
//! not be able to tell.
//!
//! `JABIRU_PLAY=words` plays only those whose file or title has the words;
//! `JABIRU_PLAYS=folder` those of another folder.

#![allow(unreachable_pub)]

mod support;

#[path = "plays/client.rs"]
mod client;
#[path = "plays/likeness.rs"]
mod likeness;
#[path = "plays/script.rs"]
mod script;
#[path = "plays/service.rs"]
mod service;
#[path = "plays/stage.rs"]
mod stage;
#[path = "plays/tree.rs"]
mod tree;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use script::Play;
use service::{Rounds, Service};
use stage::{Placing, perform};

/// Performances at a time. They wait more than they work.
const STAGES: usize = 8;

/// Nodes of the placing on several.
const NODES: usize = 3;

/// All plays that are wanted, by file and place in it.
fn plays() -> Vec<Play> {
    let folder = std::env::var("JABIRU_PLAYS").unwrap_or("tests/plays".into());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "play"))
        .collect();
    files.sort();
    let wanted = std::env::var("JABIRU_PLAY").unwrap_or_default();
    let mut plays = Vec::new();
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("text");
        let parsed = script::parse(&name, &text);
        let parsed =
            parsed.unwrap_or_else(|(line, why)| panic!("tests/plays/{name}.play:{line}: {why}"));
        plays.extend(parsed);
    }
    plays.retain(|play| format!("{}: {}", play.file, play.title).contains(&wanted));
    plays
}

/// What must be performed: a play and its placing.
fn performances(plays: &[Play]) -> Vec<(&Play, Placing)> {
    let mut all: Vec<_> = [Placing::OneNode, Placing::EachOnAnother]
        .into_iter()
        .flat_map(|placing| plays.iter().map(move |play| (play, placing)))
        .filter(|(play, placing)| !play.is_for_several || *placing == Placing::EachOnAnother)
        .collect();
    // those that start nodes take longest
    all.sort_by_key(|(play, _)| !play.needs_own_nodes());
    all
}

fn start(placing: Placing, config: &[(String, String)]) -> Service {
    let count = if placing == Placing::OneNode { 1 } else { NODES };
    Service::start(count, config)
}

/// Performs one play after the other, until there is none.
fn work(
    all: &[(&Play, Placing)],
    next: &AtomicUsize,
    houses: &[(Placing, Service)],
    stage: usize,
    failures: &Mutex<Vec<String>>,
) {
    let mut shared: Vec<Rounds> = houses
        .iter()
        .map(|(_, service)| Rounds::start(service, &format!("rounds{stage}")).expect("sessions"))
        .collect();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some((play, placing)) = all.get(number) else { return };
        let performed = if play.needs_own_nodes() {
            let config = stage::mapped(&play.config, number);
            let service = start(*placing, &config);
            let rounds = Rounds::start(&service, "rounds");
            rounds.and_then(|mut rounds| perform(play, number, &service, &mut rounds))
        } else {
            let mut both = houses.iter().zip(&mut shared);
            let ((_, service), rounds) =
                both.find(|((other, _), _)| other == placing).expect("there are both");
            perform(play, number, service, rounds)
        };
        if let Err(why) = performed {
            let failure = format!("{}.play: {} ({placing}), {why}", play.file, play.title);
            eprintln!("{failure}\n");
            failures.lock().expect("no panic").push(failure);
        }
    }
}

#[test]
fn all_plays_are_played_on_one_node_and_on_several() {
    let plays = plays();
    assert!(!plays.is_empty(), "no play is wanted");
    let all = performances(&plays);
    let houses = [Placing::OneNode, Placing::EachOnAnother].map(|one| (one, start(one, &[])));
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STAGES)
            .map(|stage| {
                let (all, next, houses, failures) = (&all, &next, &houses, &failures);
                scope.spawn(move || work(all, next, houses, stage, failures))
            })
            .collect();
        // a panic is a failure as well, and stops nobody else
        for thread in threads {
            if thread.join().is_err() {
                failures.lock().expect("no panic").push("a thread panicked".into());
            }
        }
    });
    let failures = failures.into_inner().expect("no panic");
    let count = all.len();
    println!("{count} performances of {} plays", plays.len());
    assert!(
        failures.is_empty(),
        "{} of {count} performances failed:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Plays that must fail, and what is said of them.
#[test]
fn a_wrong_play_fails_and_says_where_and_why() {
    const PING: &str =
        "Romeo says: <iq type='get' id='a' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";
    const PONG: &str = "Romeo hears: <iq type='result' id='a' from='localhost'/>";
    let service = start(Placing::OneNode, &[]);
    let mut rounds = Rounds::start(&service, "rounds").expect("sessions");
    let mut fails = |number: usize, lines: &[&str], why: &str| {
        let text =
            format!("Romeo is romeo@localhost/x\n=== One\nRomeo comes\n{}", lines.join("\n"));
        let plays = script::parse("x", &text).expect("a play");
        let failure = perform(&plays[0], number, &service, &mut rounds).expect_err("it is wrong");
        assert!(failure.starts_with(why), "{failure}");
    };
    let wrong = PONG.replace("result", "error");
    fails(1, &[PING, &wrong], "line 5: type of <iq>: 'result' is not 'error'\n    heard   <iq ");
    fails(2, &[PING, &PONG.replace("'a'", "'b'")], "line 5: id of <iq>: 'a' is not 'b'");
    fails(3, &[PING, "Romeo hears nothing"], "line 5: nobody expects this\n    heard   <iq ");
    fails(4, &[PING], "at the end: Romeo: nobody expects this");
    fails(5, &[PING, "Romeo goes"], "line 5: nobody expects this");
    fails(6, &["the operator: user remove nobody@localhost"], "line 4: [\"user\", ");
    fails(7, &["the operator: kick romeo@localhost", PONG], "line 5: <error xmlns=");
}
