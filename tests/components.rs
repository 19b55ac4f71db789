//! External components against real nodes: slixmpp's, and one that says what
//! it likes, byte by byte.

mod support;

#[path = "components/irc.rs"]
mod irc;
#[path = "components/wire.rs"]
mod wire;

use irc::Irc;
use support::raw::Raw;
use support::slix::Slix;
use support::{DOMAIN, Node, Nodes};
use wire::Wire;

/// What all nodes here know of components.
const CONFIG: &str = "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n";

#[test]
fn a_component_talks_with_users_through_its_node_and_through_others() {
    let nodes = Nodes::start_with(3, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    slix.component("g", &nodes.list[0], "gw.localhost", "s3cret");
    slix.wait_for("g online");
    for (at, node) in nodes.list.iter().enumerate() {
        let (name, jid) = (format!("r{at}"), format!("romeo@{DOMAIN}/r{at}"));
        slix.connect(&name, node, "starttls", &jid, "r0m30", "-");
        slix.wait_for(&format!("{name} online"));
        slix.tell(&format!("say {name} bot@gw.localhost Art thou there?"));
        assert_eq!(slix.wait_for("g heard"), format!("g heard {jid} Art thou there?"));
        let heard = slix.wait_for(&format!("{name} heard"));
        assert_eq!(heard, format!("{name} heard bot@gw.localhost g Art thou there?"));
        slix.tell(&format!("ping {name} gw.localhost"));
        slix.wait_for(&format!("{name} pong"));
    }
    slix.tell("close g");
    slix.wait_for("g offline");
    support::wait_for("the component is gone everywhere", || {
        slix.tell("say r2 bot@gw.localhost Still?");
        slix.wait_for("r2 error") == "r2 error bot@gw.localhost service-unavailable"
    });
}

#[test]
fn rosters_and_presence_reach_a_component_as_another_server() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    slix.component("g", &nodes.list[0], "gw.localhost", "s3cret");
    slix.wait_for("g online");
    let jid = format!("romeo@{DOMAIN}/orchard");
    slix.connect("r", &nodes.list[1], "starttls", &jid, "r0m30", "-");
    slix.wait_for("r online");
    slix.tell("subscribe r gw.localhost");
    assert_eq!(slix.wait_for("g asked"), format!("g asked romeo@{DOMAIN}"));
    slix.wait_for("r sees gw.localhost");
    slix.tell("presence r room@gw.localhost/romeo");
    assert_eq!(slix.wait_for("g sees"), format!("g sees {jid}"));
    slix.tell("roster r");
    assert_eq!(slix.wait_for("r has"), "r has gw.localhost to");
    slix.tell("close r");
    assert_eq!(slix.wait_for("g loses"), format!("g loses {jid}"));
}

#[test]
fn what_a_component_may_not_is_told_and_ends_its_stream() {
    let extra = format!(
        "{CONFIG}also = [\"also.gw.localhost\"]\n\
         [component.domains.\"free.localhost\"]\nsecret = \"s3cret\"\ncheck_from = false\n"
    );
    let nodes = Nodes::start_with(1, &extra);
    nodes.account("romeo", "r0m30");
    let node = &nodes.list[0];
    let mut romeo = Raw::direct(node);
    romeo.bind("romeo", "r0m30", "orchard");
    let said = |stanza: &str| {
        let mut wire = Wire::online(node, "gw.localhost", "s3cret");
        wire.say(stanza);
        wire.rest()
    };
    let refused = |stanza: &str, condition: &str| {
        let rest = said(stanza);
        assert!(rest.contains(&format!("<stream:error><{condition} ")), "{stanza}: {rest}");
    };
    for from in [
        "ceo@localhost",
        "localhost",
        "x@other.localhost",
        "x@gw.localhost.example",
        "x@sub.gw.localhost",
    ] {
        let stanza =
            format!("<message from='{from}' to='romeo@localhost'><body>Pay!</body></message>");
        refused(&stanza, "invalid-from");
    }
    refused("<message from='gw.localhost'/>", "improper-addressing");
    refused("<message to='romeo@localhost'/>", "improper-addressing");
    refused("<foo/>", "unsupported-stanza-type");
    refused(
        "<message xmlns='jabber:client' from='gw.localhost' to='romeo@localhost'/>",
        "invalid-namespace",
    );
    refused("text", "bad-format");
    refused("<message from='gw.localhost'></iq>", "not-well-formed");
    let large = "x".repeat(600_000);
    refused(
        &format!("<message from='gw.localhost' to='romeo@localhost'><body>{large}"),
        "policy-violation",
    );
    // wrong stanzas end nothing
    let rest = said(
        "<message from='gw.localhost' to='a@b@c'/><iq type='get' from='gw.localhost' to='romeo@localhost'/></stream:stream>",
    );
    assert!(rest.contains("<jid-malformed ") && rest.contains("<bad-request "), "{rest}");
    assert!(rest.ends_with("</stream:stream>"), "{rest}");
    // what it may
    let mut wire = Wire::online(node, "gw.localhost", "s3cret");
    wire.say("<message from='x@also.gw.localhost/y' to='romeo@localhost/orchard' type='chat'><body>And this</body></message>");
    let heard = romeo.hear("</message>");
    assert!(heard.contains("from='x@also.gw.localhost/y'"), "{heard}");
    let mut free = Wire::online(node, "free.localhost", "s3cret");
    free.say("<message from='juliet@localhost' to='romeo@localhost/orchard' type='chat'><body>Me</body></message>");
    let heard = romeo.hear("</message>");
    assert!(heard.contains("from='juliet@localhost'"), "{heard}");
}

#[test]
fn content_means_the_same_on_both_sides() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let mut wire = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let (to, from) = ("to='romeo@localhost/orchard' type='chat'", "from='gw.localhost'");
    for (said, heard) in [
        ("<body>1</body>", "<body>1</body>"),
        ("<body xmlns='jabber:component:accept'>2</body>", "<body xmlns='jabber:client'>2</body>"),
        (
            "<f xmlns='u'><message xmlns='jabber:component:accept'/></f><body>3</body>",
            "<f xmlns='u'><message xmlns='jabber:client'/></f><body>3</body>",
        ),
        ("<a:x xmlns:a='jabber:component:accept'/>", "<a:x xmlns:a='jabber:client'/>"),
    ] {
        wire.say(&format!("<message xmlns='jabber:component:accept' {to} {from}>{said}</message>"));
        let got = romeo.hear("</message>");
        let got = if got.ends_with("</message>") { got } else { romeo.hear_on(got, "</message>") };
        assert!(got.ends_with(&format!("type='chat'>{heard}</message>")), "{said}: {got}");
    }
    for (said, heard) in [
        ("<body>1</body>", "<body>1</body>"),
        ("<body xmlns='jabber:client'>2</body>", "<body xmlns='jabber:component:accept'>2</body>"),
        (
            "<f xmlns='u'><message xmlns='jabber:client'><body>3</body></message></f>",
            "<f xmlns='u'><message xmlns='jabber:client'><body>3</body></message></f>",
        ),
    ] {
        romeo.say(format!("<message to='gw.localhost'>{said}</message><iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").as_bytes());
        romeo.hear("type='result'");
        let got = wire.hear(heard);
        assert!(
            got.contains("<message from='romeo@localhost/orchard' to='gw.localhost'>"),
            "{got}"
        );
    }
}

#[test]
fn whoever_does_not_know_the_secret_does_not_come_in() {
    let limits = "[component.per_address]\nattempts_max = 3\n";
    let mut nodes = Nodes::prepare(1, &format!("{limits}{CONFIG}"));
    nodes.list[0].configure("[component]\n", "[component]\nnegotiation_timeout = \"2s\"\n");
    nodes.list[0].start();
    let node = &nodes.list[0];
    for to in ["localhost", "other.localhost"] {
        assert!(Wire::open(node, to).rest().contains("<conflict "));
    }
    assert!(Wire::open(node, "elsewhere.example").rest().contains("<host-unknown "));
    assert!(Wire::connect(node).rest().contains("<connection-timeout "));
    let mut half = Wire::open(node, "gw.localhost");
    assert!(half.rest().contains("<connection-timeout "));
    // wrong ones count as ten, and the address has saved up thirty
    let mut wrong = 0;
    let refused = loop {
        let mut wire = Wire::open(node, "gw.localhost");
        wire.say("<handshake>0000000000000000000000000000000000000000</handshake>");
        let rest = wire.rest();
        if !rest.contains("<not-authorized ") {
            break rest;
        }
        wrong += 1;
        assert!(wrong < 10, "ten secrets were tried");
    };
    assert!(refused.contains("<policy-violation "), "{refused}");
    support::wait_for("the log says so", || node.log().contains("components were not served"));
}

#[test]
fn a_component_that_does_not_read_is_closed_and_nobody_waits_for_it() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut deaf = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let body = "x".repeat(2_000);
    let mut asked = 0;
    let mut heard = String::new();
    while !heard.contains("service-unavailable") {
        assert!(asked < 100_000, "nothing comes back");
        for _ in 0..100 {
            asked += 1;
            romeo.say(
                format!(
                    "<iq type='set' id='i{asked}' to='gw.localhost'><q xmlns='u'>{body}</q></iq>"
                )
                .as_bytes(),
            );
        }
        heard.push_str(&romeo.gather());
    }
    // all that waited comes back, each once
    romeo.say(b"<iq type='get' id='last' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
    let mut bounced = std::collections::BTreeSet::new();
    support::wait_for("every request comes back", || {
        heard.push_str(&romeo.gather());
        bounced = heard
            .split("id='i")
            .skip(1)
            .filter_map(|rest| rest.split('\'').next()?.parse::<u32>().ok())
            .collect();
        bounced.len() == asked as usize
    });
    assert_eq!(heard.matches("id='i").count(), asked as usize);
    assert!(deaf.rest().contains("<resource-constraint "));
}

/// Instances of one node and others, told apart by what they say.
const BALANCED: &str = "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n\
    [domain_balancing.\"gw.localhost\"]\ntype = \"bare_source\"\ncomponent_number = 1000\n";

/// Who gets what `user` writes to the component by this session.
#[track_caller]
fn taker(user: &mut Raw, instances: &mut [Wire]) -> usize {
    user.say(b"<message to='gw.localhost'><who xmlns='u'/></message>");
    let mut taker = None;
    support::wait_for("an instance is asked", || {
        for (at, wire) in instances.iter_mut().enumerate() {
            if wire.has("<who xmlns='u'/></message>") {
                taker = Some(at);
                wire.hear("<who xmlns='u'/></message>");
            }
        }
        taker.is_some()
    });
    taker.expect("somebody")
}

#[test]
fn all_of_one_user_goes_to_one_instance_from_every_node() {
    let nodes = Nodes::start_with(3, BALANCED);
    let mut instances: Vec<Wire> = nodes
        .list
        .iter()
        .map(|node| Wire::online(node, &format!("gw.localhost/{}", node.name), "s3cret"))
        .collect();
    wait_for_components(&nodes, 3);
    let mut seen = std::collections::BTreeSet::new();
    let mut moved = 0;
    let mut users: Vec<(Vec<Raw>, usize)> = Vec::new();
    for user in 0..6 {
        nodes.account(&format!("user{user}"), "s3cret");
        let mut sessions: Vec<Raw> = nodes.list.iter().map(Raw::direct).collect();
        for (at, session) in sessions.iter_mut().enumerate() {
            session.bind(&format!("user{user}"), "s3cret", &format!("r{at}"));
        }
        let takers: Vec<usize> =
            sessions.iter_mut().map(|session| taker(session, &mut instances)).collect();
        assert!(takers.iter().all(|taker| *taker == takers[0]), "{takers:?}");
        seen.insert(takers[0]);
        users.push((sessions, takers[0]));
    }
    assert!(seen.len() > 1, "all of six users at one of three instances");
    // one drains: its users, and only they, go elsewhere, and come back
    nodes.list[1].jabiru(&["component", "drain", "gw.localhost", "n0"], "");
    wait_for_state(&nodes, "n0", "draining");
    for (sessions, before) in &mut users {
        let now = taker(&mut sessions[2], &mut instances);
        assert!(now != 0 && (now == *before || *before == 0), "{before} {now}");
        moved += usize::from(now != *before);
    }
    nodes.list[2].jabiru(&["component", "undrain", "gw.localhost", "n0"], "");
    wait_for_state(&nodes, "n0", "serving");
    // one goes: its users, and only they, go elsewhere, and come back
    instances.remove(0);
    wait_for_components(&nodes, 2);
    for (sessions, before) in &mut users {
        let now = 1 + taker(&mut sessions[1], &mut instances);
        assert!(now == *before || *before == 0, "{before} {now}");
    }
    instances.insert(0, Wire::online(&nodes.list[2], "gw.localhost/n0", "s3cret"));
    wait_for_components(&nodes, 3);
    for (sessions, before) in &mut users {
        assert_eq!(taker(&mut sessions[0], &mut instances), *before);
    }
    assert_eq!(moved, users.iter().filter(|(_, before)| *before == 0).count());
}

/// All nodes show so many instances.
#[track_caller]
fn wait_for_components(nodes: &Nodes, count: usize) {
    for node in nodes.list.iter().filter(|node| node.runs()) {
        support::wait_for("the components are shown", || components(node).len() == count);
    }
}

#[track_caller]
fn wait_for_state(nodes: &Nodes, instance: &str, state: &str) {
    for node in &nodes.list {
        support::wait_for("its state is shown", || {
            components(node).iter().any(|one| one["instance"] == instance && one["state"] == state)
        });
    }
}

fn components(node: &Node) -> Vec<serde_json::Value> {
    serde_json::from_str(&node.jabiru(&["components", "--json"], "")).expect("JSON")
}

#[test]
fn an_instance_is_asked_and_answered_by_name() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let mut slix = Slix::start();
    slix.component("g", &nodes.list[0], "gw.localhost/paris", "s3cret");
    slix.wait_for("g online");
    support::wait_for("its name is known", || {
        components(&nodes.list[1]).iter().any(|one| one["title"] == "A g")
    });
    let shown = &components(&nodes.list[1])[0];
    assert_eq!((&shown["instance"], &shown["node"]), (&"paris".into(), &"n0".into()));
    let features = shown["busy"]["features"].as_array().expect("a list");
    assert!(features.contains(&"urn:xmpp:ping".into()), "{features:?}");
    romeo.say(b"<iq type='get' id='d' to='localhost'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>");
    let heard = romeo.hear("</iq>");
    assert!(heard.contains("<item jid='gw.localhost' name='A g'/>"), "{heard}");
    let table = nodes.list[1].jabiru(&["components"], "");
    assert!(table.contains("gw.localhost  paris") && table.ends_with("1 component\n"), "{table}");
    // a second of the same name takes its place, from another node
    let mut second = Wire::online(&nodes.list[1], "gw.localhost/paris", "s3cret");
    assert_eq!(slix.wait_for("g stream-error"), "g stream-error conflict");
    wait_for_components(&nodes, 1);
    romeo.say(b"<message to='gw.localhost'><body>new</body></message>");
    second.hear("<body>new</body>");
    let metrics = nodes.list[1].http("/metrics");
    assert!(metrics.contains("jabiru_component_routes 1"), "{metrics}");
}

#[test]
fn an_answer_finds_the_instance_that_asked() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let mut far = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let mut near = Wire::online(&nodes.list[1], "gw.localhost", "s3cret");
    wait_for_components(&nodes, 2);
    for (at, id) in [(0, "1"), (1, "1"), (0, "x~i0123456789abcdef")] {
        let wire = if at == 0 { &mut far } else { &mut near };
        wire.say(&format!("<iq type='get' id='{id}' from='bot@gw.localhost' to='romeo@localhost/orchard'><q xmlns='u'/></iq><iq type='get' id='{id}' from='gw.localhost' to='romeo@localhost/orchard'><q xmlns='u'/></iq>"));
        let heard = romeo.hear("</iq>");
        let heard = romeo.hear_on(heard, "</iq>");
        let asked = heard.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
        let asked = asked.expect("an id");
        romeo.say(format!("<iq type='result' id='{asked}' to='gw.localhost'/>").as_bytes());
        let got = wire.hear("type='result'/>");
        assert!(got.ends_with(&format!(" id='{id}' type='result'/>")), "{got}");
    }
}

#[test]
fn what_waits_for_an_instance_gets_the_next_one() {
    let extra = format!("{CONFIG}[domain_balancing.\"gw.localhost\"]\nhold = \"10s\"\n");
    let nodes = Nodes::start_with(2, &extra);
    nodes.account("romeo", "r0m30");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    for number in 0..3 {
        romeo.say(format!("<message to='gw.localhost'><body>{number}</body></message>").as_bytes());
    }
    romeo.say(b"<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
    romeo.hear("type='result'");
    let mut first = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    for number in 0..3 {
        first.hear(&format!("<body>{number}</body>"));
    }
    // what one was asked and has not answered goes to the next as well
    romeo.say(b"<iq type='get' id='q' to='gw.localhost'><q xmlns='u'/></iq>");
    first.hear("<q xmlns='u'/>");
    drop(first);
    let mut second = Wire::online(&nodes.list[1], "gw.localhost", "s3cret");
    second.hear("<q xmlns='u'/>");
    second.say("<iq type='result' id='q' from='gw.localhost' to='romeo@localhost/orchard'/>");
    romeo.hear("id='q' type='result'");
}

#[test]
fn people_of_three_nodes_meet_behind_a_gateway_that_nobody_here_wrote() {
    let extra = "[component.domains.\"irc.localhost\"]\nsecret = \"s3cret\"\n";
    let mut nodes = Nodes::start_with(3, extra);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let irc = Irc::start(nodes.folder.path(), &nodes.list[1], "s3cret");
    wait_for_components(&nodes, 1);
    support::wait_for("it says what it is", || {
        components(&nodes.list[0])[0]["title"] == "Biboumi XMPP-IRC gateway"
    });
    let room = format!("#verona%{}@irc.localhost", irc.host);
    let join = |who: &str| {
        let muc = "http://jabber.org/protocol/muc";
        format!("<presence to='{room}/{who}'><x xmlns='{muc}'/></presence>")
    };
    let mut juliet = Raw::direct(&nodes.list[0]);
    juliet.bind("juliet", "jul13t", "balcony");
    juliet.say(join("juliet").as_bytes());
    let heard = juliet.hear("<subject");
    assert!(heard.contains(&format!("from='{room}/juliet'")), "{heard}");
    let mut romeo = Raw::direct(&nodes.list[2]);
    romeo.bind("romeo", "r0m30", "orchard");
    romeo.say(join("romeo").as_bytes());
    romeo.hear("<subject");
    juliet.hear(&format!("from='{room}/romeo'"));
    juliet.say(
        format!("<message type='groupchat' id='1' to='{room}'><body>Ay me</body></message>")
            .as_bytes(),
    );
    let heard = romeo.hear("<body>Ay me</body>");
    assert!(heard.contains(&format!("from='{room}/juliet'")), "{heard}");
    romeo.say(
        format!("<message type='chat' to='{room}/juliet'><body>She speaks</body></message>")
            .as_bytes(),
    );
    juliet.hear("<body>She speaks</body>");
    // whoever is lost with his node leaves the room
    nodes.list[2].kill();
    let heard = juliet.hear("type='unavailable'");
    assert!(heard.contains(&format!("from='{room}/romeo'")), "{heard}");
    // and whoever goes
    let mut nurse = Raw::direct(&nodes.list[1]);
    nodes.account("nurse", "nurs3");
    nurse.bind("nurse", "nurs3", "hall");
    nurse.say(join("nurse").as_bytes());
    juliet.hear(&format!("from='{room}/nurse'"));
    drop(nurse);
    let heard = juliet.hear("type='unavailable'");
    assert!(heard.contains(&format!("from='{room}/nurse'")), "{heard}");
}

#[test]
fn a_privileged_component_acts_for_accounts_and_no_other_does() {
    let extra = "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n\
        [component.domains.\"gw.localhost\".privileges]\nmessage = true\nroster = \"both\"\n\
        iq = { \"jabber:iq:private\" = \"both\" }\n\
        [component.domains.\"other.gw\"]\nsecret = \"s3cret\"\n";
    let nodes = Nodes::start_with(3, extra);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    romeo.say(b"<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    romeo.hear("<presence from='romeo@localhost/orchard'");
    let mut wire = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let told = wire.hear("</privilege></message>");
    assert!(
        told.contains(
            "<perm access='roster' type='both'/><perm access='message' type='outgoing'/>"
        ),
        "{told}"
    );
    let message = |from: &str| {
        format!(
            "<message from='gw.localhost' to='localhost' id='m'><privilege xmlns='urn:xmpp:privilege:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{from}' \
             to='romeo@localhost/orchard' type='chat'><body>hi</body></message></forwarded></privilege></message>"
        )
    };
    wire.say(&message("juliet@localhost"));
    let heard = romeo.hear("<body>hi</body>");
    assert!(heard.contains("from='juliet@localhost'"), "{heard}");
    wire.say(&message("juliet@elsewhere.example"));
    assert!(wire.hear("</message>").contains("<forbidden "));
    // whichever node is the account's home
    for (at, user) in ["romeo", "juliet"].into_iter().enumerate() {
        let query =
            "<query xmlns='jabber:iq:roster'><item jid='nurse@localhost' name='N'/></query>";
        wire.say(&format!(
            "<iq from='gw.localhost' to='{user}@localhost' type='set' id='s{at}'>{query}</iq>"
        ));
        wire.hear(&format!("from='{user}@localhost' to='gw.localhost' id='s{at}' type='result'/>"));
        wire.say(&format!("<iq from='gw.localhost' to='{user}@localhost' type='get' id='g{at}'><query xmlns='jabber:iq:roster'/></iq>"));
        let roster = wire.hear("</iq>");
        assert!(
            roster.contains("<item jid='nurse@localhost' subscription='none' name='N'/>"),
            "{roster}"
        );
    }
    romeo.hear("jid='nurse@localhost'");
    let private = |kind: &str, inside: &str| {
        format!(
            "<iq from='gw.localhost' to='juliet@localhost' type='{kind}' id='p'><privileged_iq \
             xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='{kind}' id='x'>\
             <query xmlns='jabber:iq:private'>{inside}</query></iq></privileged_iq></iq>"
        )
    };
    wire.say(&private("set", "<a xmlns='u'>kept</a>"));
    wire.hear("type='result'/></forwarded></privilege></iq>");
    wire.say(&private("get", "<a xmlns='u'/>"));
    let answer = wire.hear("</privilege></iq>");
    assert!(answer.contains("<a xmlns='u'>kept</a>"), "{answer}");
    // one without a grant is anybody
    let mut other = Wire::online(&nodes.list[2], "other.gw", "s3cret");
    let stranger = |stanza: String| stanza.replace("from='gw.localhost'", "from='other.gw'");
    other.say(&stranger(private("get", "<a xmlns='u'/>")));
    let answer = other.hear("id='p' type='error'");
    assert!(!answer.contains("kept"), "{answer}");
    other.say("<iq from='other.gw' to='romeo@localhost' type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>");
    let answer = other.hear("type='error'");
    assert!(!answer.contains("nurse"), "{answer}");
    other.say(&stranger(message("juliet@localhost")));
    other.say("<iq from='other.gw' to='localhost' type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>");
    other.hear("id='last' type='result'");
    assert!(!romeo.gather().contains("<body>hi</body>"));
}

#[test]
fn a_component_answers_in_the_servers_place() {
    let extra =
        "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\ndelegation = [\"u:one\"]\n";
    let nodes = Nodes::start_with(3, extra);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let ask = |id: &str, to: &str, kind: &str| {
        format!("<iq type='{kind}' id='{id}'{to}><q xmlns='u:one'><x/></q></iq>")
    };
    romeo.say(ask("0", " to='localhost'", "get").as_bytes());
    assert!(romeo.hear("</iq>").contains("<service-unavailable "), "nobody is there");
    let mut wire = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    wait_for_components(&nodes, 1);
    wire.hear(
        "<delegation xmlns='urn:xmpp:delegation:2'><delegated namespace='u:one'/></delegation>",
    );
    let forwarded = |inner: &str| {
        format!(
            "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></delegation>"
        )
    };
    let (me, mut ids) = ("romeo@localhost/orchard", Vec::new());
    for (id, to, whom, kind) in [
        ("1", " to='localhost'", "localhost", "get"),
        ("2", "", "romeo@localhost", "set"),
        ("3", " to='juliet@localhost'", "juliet@localhost", "get"),
        ("4", " to='localhost'", "localhost", "set"),
    ] {
        romeo.say(ask(id, to, kind).as_bytes());
        let asked = wire.hear("</delegation></iq>");
        let inner = format!(
            "<iq xmlns='jabber:client' from='{me}' to='{whom}' id='{id}' type='{kind}'><q xmlns='u:one'><x/></q></iq>"
        );
        assert!(asked.ends_with(&format!("{}</iq>", forwarded(&inner))), "{asked}");
        let wrapped = asked.split("id='jd.").nth(1).and_then(|rest| rest.split('\'').next());
        ids.push(format!("jd.{}", wrapped.expect("an id of ours")));
        let answer = format!(
            "<iq xmlns='jabber:client' from='{whom}' to='{me}' id='{id}' type='result'><a xmlns='u:one'/></iq>"
        );
        wire.say(&format!(
            "<iq from='gw.localhost' to='localhost' id='{}' type='result'>{}</iq>",
            ids.last().expect("one"),
            forwarded(&answer)
        ));
        let heard = romeo.hear("</iq>");
        let expected =
            format!("<iq from='{whom}' to='{me}' id='{id}' type='result'><a xmlns='u:one'/></iq>");
        assert_eq!(heard, expected);
    }
    // one that fails, that breaks off, or that lies
    romeo.say(ask("5", " to='localhost'", "get").as_bytes());
    let asked = wire.hear("</delegation></iq>");
    let id = asked.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
    let forged = forwarded(&format!(
        "<iq xmlns='jabber:client' from='localhost' to='{me}' id='f' type='result'><a xmlns='u:one'/></iq>"
    ));
    wire.say(&format!(
        "<iq from='gw.localhost' to='localhost' id='jd.{}' type='result'>{forged}</iq>",
        "0".repeat(80)
    ));
    wire.say(&format!("<iq from='gw.localhost' to='localhost' id='{id}' type='error'/>"));
    let heard = romeo.hear("</iq>");
    assert!(
        heard.contains("id='5' type='error'") && heard.contains("<service-unavailable "),
        "{heard}"
    );
    romeo.say(ask("6", " to='localhost'", "get").as_bytes());
    wire.hear("</delegation></iq>");
    drop(wire);
    let heard = romeo.hear("</iq>");
    assert!(
        heard.contains("id='6' type='error'") && heard.contains("<service-unavailable "),
        "{heard}"
    );
}

#[test]
fn a_component_comes_by_tls_and_by_a_balancer_that_says_whose_it_is() {
    let (tls, proxy) = (support::free_port(), support::free_port());
    let extra = format!(
        "[component.proxy_protocol]\nlisten = [\"127.0.0.1:{proxy}\"]\ntrusted = [\"127.0.0.0/8\"]\n{CONFIG}"
    );
    let mut nodes = Nodes::prepare(1, &extra);
    let listen = format!("[component]\ndirect_tls_listen = [\"127.0.0.1:{tls}\"]\n");
    nodes.list[0].configure("[component]\n", &listen);
    nodes.list[0].start();
    nodes.wait_until_all_agree();
    let mut raw = Raw::direct_at(([127, 0, 0, 1], tls).into());
    raw.say(wire::header("gw.localhost/tls").as_bytes());
    let heard = raw.hear("'>");
    raw.say(format!("<handshake>{}</handshake>", wire::proof(&heard, "s3cret")).as_bytes());
    raw.hear("<handshake/>");
    let mut behind = Wire::at("127.0.0.1", proxy);
    behind.say("PROXY TCP4 192.0.2.7 192.0.2.9 4000 5347\r\n");
    behind.say(&wire::header("gw.localhost/behind"));
    behind.prove("s3cret");
    behind.hear("<handshake/>");
    let shown = components(&nodes.list[0]);
    let address = |name: &str| {
        let one = shown.iter().find(|one| one["instance"] == name).expect("it is shown");
        one["busy"]["address"].as_str().expect("an address").to_owned()
    };
    assert_eq!(address("behind"), "192.0.2.7:4000");
    assert!(address("tls").starts_with("127.0.0.1:"));
    // the node stops: both hear so
    nodes.list[0].stop();
    assert!(behind.rest().contains("<system-shutdown "));
    assert!(raw.rest().contains("<system-shutdown "));
}
