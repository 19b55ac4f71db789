//! One stream that carries the stanzas of both services (XEP-0288), whoever
//! has opened it.

use crate::servers::authority::Shown;
use crate::servers::person::Person;
use crate::servers::service::{Plan, Service, start};
use crate::servers::way::Way;
use crate::{A, B, support, they_talk};

/// The streams that an operator sees, by their direction.
fn directions(service: &Service) -> Vec<String> {
    let said = service.nodes.list[0].jabiru(&["s2s", "--json"], "");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    let direction = |line: &serde_json::Value| line["direction"].as_str().expect("text").to_owned();
    lines.iter().map(direction).collect()
}

fn counted(service: &Service, words: &str) -> usize {
    service.nodes.list.iter().map(|node| node.log().matches(words).count()).sum()
}

#[test]
fn what_both_say_goes_by_the_one_stream_that_either_has_opened() {
    let dialback = |domain| Plan::new(domain).shows(Shown::SelfSigned).rules("dialback = true");
    for plans in [vec![Plan::new(A), Plan::new(B)], vec![dialback(A), dialback(B)]] {
        let services = start(plans);
        let mut juliet = Person::online(&services[0], 0, "juliet");
        let mut romeo = Person::online(&services[1], 0, "romeo");
        for _ in 0..3 {
            they_talk(&mut juliet, &mut romeo);
        }
        assert_eq!(directions(&services[0]), ["to+from"]);
        assert_eq!(directions(&services[1]), ["from+to"]);
        assert_eq!(counted(&services[0], "a server has come"), 0);
        assert_eq!(counted(&services[1], "link to a server opened"), 0);
        // ended by the one that has not opened it, and opened by the other
        let said = services[1].nodes.list[0].jabiru(&["s2s", "close", A], "");
        assert_eq!(said, "a.example: 1 stream ends\n");
        support::wait_for("it has ended", || directions(&services[0]).is_empty());
        support::wait_for("on both sides", || directions(&services[1]).is_empty());
        they_talk(&mut romeo, &mut juliet);
        assert_eq!(directions(&services[0]), ["from+to"]);
        assert_eq!(directions(&services[1]), ["to+from"]);
    }
}

#[test]
fn all_nodes_answer_by_the_stream_that_has_come_to_one() {
    let services = start(vec![Plan::new(A), Plan::new(B).nodes(3)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut people = ["romeo", "benvolio", "mercutio"]
        .iter()
        .enumerate()
        .map(|(node, user)| Person::online(&services[1], node, user))
        .collect::<Vec<_>>();
    for person in &mut people {
        they_talk(&mut juliet, person);
    }
    assert_eq!(counted(&services[0], "link to a server opened"), 1);
    assert_eq!(counted(&services[0], "a server has come"), 0);
    assert_eq!(counted(&services[1], "link to a server opened"), 0);
    assert_eq!(directions(&services[1]), ["from+to"]);
}

#[test]
fn a_service_that_does_not_want_it_has_a_stream_for_each_way() {
    let services = start(vec![Plan::new(A), Plan::new(B).rules("bidirectional = false")]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    for service in &services {
        let mut seen = directions(service);
        seen.sort();
        assert_eq!(seen, ["from", "to"]);
    }
}

#[test]
fn nothing_is_lost_with_a_stream_that_breaks() {
    let theirs = Plan::new(B).in_dns();
    let way = Way::to(theirs.ports()[0].starttls);
    let services = start(vec![Plan::new(A).peer(B, way.port), theirs]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    let total = 300;
    let (here, there) = (juliet.jid.clone(), romeo.jid.clone());
    for number in 0..total {
        for (from, to) in [(&mut juliet, &there), (&mut romeo, &here)] {
            from.send(&format!(
                "<message to='{to}' type='chat' id='m{number}'><body>{number}.</body></message>"
            ));
        }
        if number == total / 2 {
            way.cut();
        }
    }
    // whoever's stanza did not arrive hears so; a link that died young is not
    // opened at once
    for person in [&mut juliet, &mut romeo] {
        let mut heard = String::new();
        support::wait_for("an end of all", || {
            heard += &person.heard_till_now();
            (0..total).all(|number| {
                heard.contains(&format!("<body>{number}.</body>"))
                    || heard.contains(&format!("id='m{number}' type='error'"))
            })
        });
    }
}

#[test]
fn a_stream_that_breaks_goes_on_and_nothing_is_lost_or_doubled() {
    for rules in ["", "bidirectional = false"] {
        let theirs = Plan::new(B).in_dns().rules(rules);
        let way = Way::to(theirs.ports()[0].starttls);
        let services = start(vec![Plan::new(A).peer(B, way.port), theirs]);
        let mut juliet = Person::online(&services[0], 0, "juliet");
        let mut romeo = Person::online(&services[1], 0, "romeo");
        they_talk(&mut juliet, &mut romeo);
        // what is said arrives, and nobody hears that it has
        way.deafen();
        for number in 0..100 {
            juliet.say_to(&romeo, &format!("{number}."));
            romeo.say_to(&juliet, &format!("{number}."));
        }
        let heard = romeo.hears("<body>99.</body>");
        way.cut();
        juliet.say_to(&romeo, "end");
        romeo.say_to(&juliet, "end");
        let all: Vec<String> =
            (0..100).map(|number| format!("{number}.")).chain(["end".to_owned()]).collect();
        let end = "<body>end</body>";
        for heard in [heard + &romeo.hears(end), juliet.hears(end)] {
            let bodies = heard.match_indices("<body>");
            let said = bodies.filter_map(|(at, body)| heard[at + body.len()..].split_once('<'));
            // what they said first may be in it
            let said = said.map(|(text, _)| text).skip_while(|text| *text != "0.");
            assert_eq!(said.collect::<Vec<_>>(), all);
        }
        assert_eq!(way.connections(), 2);
        services[0].logged("the stream before goes on");
    }
}
