//! External components against real nodes: slixmpp's, and one that says what
//! it likes, byte by byte.

mod support;

#[path = "components/granted.rs"]
mod granted;
#[path = "components/hostile.rs"]
mod hostile;
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
fn content_means_the_same_on_both_sides() {
    let nodes = Nodes::start_with(2, CONFIG);
    nodes.account("romeo", "r0m30");
    let mut romeo = Raw::direct(&nodes.list[1]);
    romeo.bind("romeo", "r0m30", "orchard");
    let mut wire = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let (to, from) = ("to='romeo@localhost/orchard' type='chat'", "from='gw.localhost'");
    for (said, heard) in [
        ("<body>1</body>", "<body>1</body>"),
        ("<body xmlns='jabber:component:accept'>2</body>", "<body>2</body>"),
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
        ("<body xmlns='jabber:client'>2</body>", "<body>2</body>"),
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
