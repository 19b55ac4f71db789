//! What people do across two services: they talk, ask, become contacts, see
//! each other come and go, and find what was said while they were away.

use super::Two;
use super::ours::OURS;
use super::peer::{Kind, Proof};
use super::person::Person;

/// What people do across two services.
pub async fn they_live_together(kind: Kind, proof: Proof, count: usize) {
    let two = Two::start(kind, proof, count, "");
    let mut romeo = two.here("romeo", 0).await;
    let mut anna = two.there("anna").await;
    // both ways, by whoever begins
    romeo.write(&anna.jid.clone(), "first").await;
    let first = anna.read("first").await;
    assert!(first.contains("<body>first</body>"), "{first}");
    anna.write(&romeo.jid.clone(), "second").await;
    romeo.read("second").await;
    for node in 0..count {
        let mut juliet = two.here("juliet", node).await;
        let text = format!("by{node}");
        juliet.write(&anna.jid.clone(), &text).await;
        anna.read(&text).await;
        anna.write(&juliet.jid.clone(), &format!("re{text}")).await;
        juliet.read(&format!("re{text}")).await;
        juliet.leave().await;
    }
    // what is asked is answered: of servers, accounts, and clients
    let disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let vcard = "<vCard xmlns='vcard-temp'/>";
    let there = two.peer.domain;
    let (annas, romeos) = (anna_of(there), format!("romeo@{OURS}"));
    for (theirs, mine, payload, word) in
        [(there, OURS, disco, "identity"), (&annas, &romeos, vcard, "<iq")]
    {
        for answer in
            [romeo.ask("get", theirs, payload).await, anna.ask("get", mine, payload).await]
        {
            assert!(answer.contains(word), "{answer}");
        }
    }
    let name = "<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN></vCard>";
    romeo.ask("set", &format!("romeo@{OURS}"), name).await;
    let seen = anna.ask("get", &format!("romeo@{OURS}"), vcard).await;
    assert!(seen.contains("Romeo Montague"), "{seen}");
    let nobody = anna.ask("get", &format!("nobody@{OURS}"), vcard).await;
    assert!(nobody.contains("service-unavailable"), "{nobody}");
    // they become contacts, and see each other
    befriend(&mut romeo, &mut anna).await;
    anna.leave().await;
    romeo.see(&anna_of(there), "unavailable").await;
    let mut anna = two.there("anna").await;
    anna.see(&format!("romeo@{OURS}"), "").await;
    romeo.see(&anna_of(there), "").await;
    romeo.leave().await;
    anna.see(&format!("romeo@{OURS}"), "unavailable").await;
    // what comes while they are away waits for them
    anna.write(&format!("romeo@{OURS}"), "later").await;
    // it is stored when the next question is answered
    anna.ask("get", OURS, disco).await;
    let mut romeo = two.here("romeo", count - 1).await;
    let later = romeo.read("later").await;
    assert!(later.contains("<delay"), "{later}");
    anna.see(&format!("romeo@{OURS}"), "").await;
    anna.leave().await;
    romeo.see(&anna_of(there), "unavailable").await;
    romeo.write(&anna_of(there), "soon").await;
    romeo.ask("get", there, disco).await;
    let mut anna = two.there("anna").await;
    anna.read("soon").await;
}

/// Whoever begins opens the one stream that both use.
pub async fn they_share_one_stream(count: usize) {
    for is_ours in [true, false] {
        let two = Two::start(Kind::Prosody, Proof::BothWays, count, "");
        let mut romeo = two.here("romeo", count - 1).await;
        let mut anna = two.there("anna").await;
        let (here, there) = (romeo.jid.clone(), anna.jid.clone());
        let direction = match is_ours {
            true => "to+from",
            false => {
                anna.write(&here, "zero").await;
                romeo.read("zero").await;
                "from+to"
            }
        };
        for round in 0..3 {
            romeo.write(&there, &format!("hi{round}")).await;
            anna.read(&format!("hi{round}")).await;
            anna.write(&here, &format!("ho{round}")).await;
            romeo.read(&format!("ho{round}")).await;
        }
        let said = two.ours.nodes.list[0].jabiru(&["s2s", "--json"], "");
        let lines: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
        let seen: Vec<_> = lines.iter().map(|line| line["direction"].clone()).collect();
        assert_eq!(seen, [direction], "{said}");
    }
}

fn anna_of(domain: &str) -> String {
    format!("anna@{domain}")
}

/// Each sees the other from now on.
async fn befriend(one: &mut Person, other: &mut Person) {
    let [first, second] = [one.bare().to_owned(), other.bare().to_owned()];
    one.say(&format!("<presence type='subscribe' to='{second}'/>")).await;
    other.see(&first, "subscribe").await;
    other.say(&format!("<presence type='subscribed' to='{first}'/>")).await;
    one.see(&second, "subscribed").await;
    one.see(&second, "").await;
    other.say(&format!("<presence type='subscribe' to='{first}'/>")).await;
    one.see(&second, "subscribe").await;
    one.say(&format!("<presence type='subscribed' to='{second}'/>")).await;
    other.see(&first, "subscribed").await;
    other.see(&first, "").await;
}
