//! Services of ours that speak with each other, each with its own domain,
//! cookie and certificate: real processes, real sockets.

#[path = "federation/both_ways.rs"]
mod both_ways;
#[path = "federation/rates.rs"]
mod rates;
mod servers;
#[path = "federation/several.rs"]
mod several;
mod support;
#[path = "components/wire.rs"]
mod wire;

use servers::authority::Shown;
use servers::person::Person;
use servers::service::{Plan, start};
use support::{Node, wait_for};
use wire::Wire;

const A: &str = "a.example";
const B: &str = "b.example";

/// Each way has a stream of its own.
const ONE_WAY: &str = "bidirectional = false";

/// One says something, the other answers.
#[track_caller]
fn they_talk(one: &mut Person, other: &mut Person) {
    one.say_to(other, "hi");
    other.hears("hi");
    other.say_to(one, "ho");
    one.hears("ho");
}

#[test]
fn two_services_believe_each_others_certificates() {
    let services = start(vec![Plan::new(A).rules(ONE_WAY), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    for service in &services {
        service.logged("a server has come");
        service.logged("proof=\"certificate\"");
    }
}

#[test]
fn two_services_without_valid_certificates_dial_back() {
    let plan = |domain| Plan::new(domain).shows(Shown::SelfSigned).rules("dialback = true");
    let services = start(vec![plan(A), plan(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    for service in &services {
        service.logged("proof=\"dialback\"");
    }
}

#[test]
fn two_clusters_dial_back_whichever_node_is_asked() {
    let plan =
        |domain| Plan::new(domain).nodes(2).shows(Shown::SelfSigned).rules("dialback = true");
    let services = start(vec![plan(A), plan(B)]);
    for (here, there) in [(0, 1), (1, 0)] {
        let mut juliet = Person::online(&services[0], here, &format!("juliet{here}"));
        let mut romeo = Person::online(&services[1], there, &format!("romeo{there}"));
        they_talk(&mut juliet, &mut romeo);
        // each way by another node than before
        services[0].nodes.list[here].jabiru(&["s2s", "close", B], "");
        for service in &services {
            let node = &service.nodes.list[here];
            wait_for("they end", || node.jabiru(&["s2s", "--json"], "").trim() == "[]");
        }
    }
}

#[test]
fn what_one_node_finds_of_a_server_all_nodes_believe() {
    let services = start(vec![Plan::new(A).nodes(2), Plan::new(B).shows(Shown::Expired)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut nurse = Person::online(&services[0], 1, "nurse");
    let message = "<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>";
    juliet.send(message);
    juliet.hears("<remote-server-timeout");
    let [first, second] = &services[0].nodes.list[..] else { panic!("two nodes") };
    wait_for("the other knows", || {
        nurse.send(message);
        nurse.hears("id='m' type='error'").contains("error")
            && second.jabiru(&["s2s"], "").contains("failed, next try in")
    });
    nurse.send(message);
    nurse.hears("<remote-server-timeout");
    let failed = "jabiru_s2s_manager_links_failed_total{reason=\"refused\"}";
    let tries = |node: &Node| {
        let metrics = node.http("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(failed));
        line.map_or(0, |count| count.trim().parse::<u64>().expect("a number"))
    };
    assert_eq!((tries(first), tries(second)), (1, 0), "only one has tried");
}

/// Both sides end up in each other's rosters.
#[track_caller]
fn they_befriend(one: &mut Person, other: &mut Person) {
    one.send(&format!("<presence type='subscribe' to='{}'/>", other.jid));
    other.hears(&format!("<presence from='{}' to='{}' type='subscribe'/>", one.jid, other.jid));
    other.send(&format!("<presence type='subscribed' to='{}'/>", one.jid));
    one.hears(&format!("<presence from='{}' to='{}' type='subscribed'/>", other.jid, one.jid));
    one.hears(&format!("<presence from='{}/phone' to='{}'/>", other.jid, one.jid));
    other.send(&format!("<presence type='subscribe' to='{}'/>", one.jid));
    one.hears(&format!("<presence from='{}' to='{}' type='subscribe'/>", other.jid, one.jid));
    one.send(&format!("<presence type='subscribed' to='{}'/>", other.jid));
    other.hears(&format!("<presence from='{}' to='{}' type='subscribed'/>", one.jid, other.jid));
    other.hears(&format!("<presence from='{}/phone' to='{}'/>", one.jid, other.jid));
}

#[test]
fn presence_goes_both_ways_and_ends_with_its_session() {
    let services = start(vec![Plan::new(A), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_befriend(&mut juliet, &mut romeo);
    juliet.send("<presence><show>away</show></presence>");
    romeo.hears(&format!("<presence from='{}/phone' to='{}'><show>away", juliet.jid, romeo.jid));
    // one that comes asks the other server, and hears of who is there
    drop(romeo);
    juliet.hears("<presence from='romeo@b.example/phone' to='juliet@a.example' type='unavailable'");
    let mut romeo = Person::bound(&services[1], 0, "romeo");
    romeo.send("<presence/>");
    romeo.hears("<presence from='juliet@a.example/phone' to='romeo@b.example'><show>away");
    juliet.hears("<presence from='romeo@b.example/phone' to='juliet@a.example'/>");
    // one who takes it back is not seen any more
    juliet.send("<presence type='unsubscribed' to='romeo@b.example'/>");
    romeo.hears("<presence from='juliet@a.example/phone' to='romeo@b.example' type='unavailable'");
    romeo.hears("<presence from='juliet@a.example' to='romeo@b.example' type='unsubscribed'");
}

#[test]
fn a_component_that_may_hears_of_contacts_elsewhere() {
    let granted = "[component.domains.\"gw.a.example\"]\nsecret = \"s3cret\"\n\
        [component.domains.\"gw.a.example\".privileges]\nroster = \"get\"\npresence = \"roster\"\n";
    let services = start(vec![Plan::new(A).nodes(2).more(granted), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut gateway = Wire::online(&services[0].nodes.list[1], "gw.a.example", "s3cret");
    // of whom its people do not know it does not hear
    romeo.send("<presence to='juliet@a.example'><status>stranger</status></presence>");
    they_befriend(&mut juliet, &mut romeo);
    let heard = gateway.hear("<presence from='romeo@b.example/phone' to='gw.a.example'/>");
    assert!(!heard.contains("stranger"), "{heard}");
    romeo.send("<presence><show>away</show></presence>");
    gateway.hear("<presence from='romeo@b.example/phone' to='gw.a.example'><show>away");
    drop(romeo);
    gateway.hear("<presence from='romeo@b.example/phone' to='gw.a.example' type='unavailable'");
}

#[test]
fn what_nobody_is_there_for_waits_for_him_and_accounts_answer() {
    let services = start(vec![Plan::new(A), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    services[1].account("romeo");
    juliet.send("<message to='romeo@b.example' type='chat'><body>later</body></message>");
    juliet.send(
        "<iq type='get' to='b.example' id='d'>\
         <query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    );
    juliet.hears("<iq from='b.example' to='juliet@a.example/phone' id='d' type='result'>");
    let mut romeo = Person::bound(&services[1], 0, "romeo");
    romeo.send("<presence/>");
    romeo.hears("<body>later</body>");
    romeo.send("<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard></iq>");
    romeo.hears("id='v' type='result'");
    juliet.send("<iq type='get' to='romeo@b.example' id='v'><vCard xmlns='vcard-temp'/></iq>");
    juliet.hears("<FN>Romeo</FN>");
    // nobody from elsewhere sees or changes what is his
    for (id, asked) in [("r", "jabber:iq:roster"), ("p", "jabber:iq:private")] {
        juliet.send(&format!(
            "<iq type='get' to='romeo@b.example' id='{id}'><query xmlns='{asked}'/></iq>"
        ));
        juliet.hears(&format!("id='{id}' type='error'"));
    }
    juliet.send("<message to='nobody@b.example' type='chat' id='n'><body>?</body></message>");
    juliet
        .hears("<message from='nobody@b.example' to='juliet@a.example/phone' id='n' type='error'>");
}

/// What a message from one to the other comes back with.
#[track_caller]
fn refused(one: Plan, other: Plan, condition: &str, why: &str) {
    let services = start(vec![one, other]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    services[1].account("romeo");
    juliet.send("<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>");
    juliet
        .hears("<message from='romeo@b.example' to='juliet@a.example/phone' id='m' type='error'>");
    juliet.hears(&format!("<{condition} xmlns"));
    services[0].logged(why);
}

#[test]
fn a_server_whose_certificate_is_not_valid_is_not_spoken_with() {
    let (one, timeout) = (|| Plan::new(A), "remote-server-timeout");
    let not_valid = "its certificate is not valid for its domain";
    for shown in [Shown::SelfSigned, Shown::Expired, Shown::Other("c.example".into())] {
        refused(one(), Plan::new(B).shows(shown), timeout, not_valid);
    }
    // and it does not speak with us
    refused(
        one().shows(Shown::Expired),
        Plan::new(B),
        timeout,
        "your certificate does not speak for your domain",
    );
    refused(one().rules("block = ['b.example']"), Plan::new(B), "forbidden", "");
    refused(one().rules("allow = ['c.example']"), Plan::new(B), "forbidden", "");
    refused(one(), Plan::new(B).rules("block = ['*.example']"), timeout, "policy-violation");
}

#[test]
fn all_nodes_use_one_link_and_another_node_opens_one_when_its_node_dies() {
    let mut services = start(vec![Plan::new(A).nodes(3), Plan::new(B)]);
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut nurse = Person::online(&services[0], 0, "nurse");
    let mut juliet = Person::online(&services[0], 1, "juliet");
    they_talk(&mut nurse, &mut romeo);
    they_talk(&mut juliet, &mut romeo);
    let opened = |service: &servers::service::Service| {
        service.nodes.list.iter().map(|node| node.log().matches("to a server opened").count()).sum()
    };
    let count: usize = opened(&services[0]);
    assert_eq!(count, 1, "three nodes have one link");
    // in doubt whether all before arrived, but none without an answer
    let total = 1_000;
    for number in 0..total {
        let (to, id) = (&romeo.jid, format!("m{number}"));
        juliet.send(&format!(
            "<message to='{to}' type='chat' id='{id}'><body>{number}.</body></message>"
        ));
        if number == total / 2 {
            services[0].nodes.list[0].kill();
        }
    }
    juliet.send(&format!("<message to='{}' type='chat'><body>end</body></message>", romeo.jid));
    let heard = romeo.hears("<body>end</body>");
    let back = juliet.heard_till_now();
    let mut twice = 0;
    for number in 0..total {
        let body = format!("<body>{number}.</body>");
        let count = heard.matches(&body).count();
        let is_back = back.contains(&format!("id='m{number}' type='error'"));
        assert!(count > 0 || is_back, "message {number} is lost");
        twice += count.saturating_sub(1);
    }
    assert!(twice < 100, "{twice} messages came twice");
    let orders = heard.match_indices("<body>").map(|(at, _)| at).collect::<Vec<_>>();
    assert!(orders.len() >= total - 1);
    services[0].logged("to a server opened");
}

#[test]
fn one_node_that_cannot_reach_a_server_sends_by_another() {
    let mut plans = servers::service::prepare(vec![Plan::new(A).nodes(2), Plan::new(B)]);
    // where the first node looks for it, nobody is
    let real = format!("\"127.0.0.1:{}\"", plans[1].ports[0].starttls);
    let wrong = format!("\"127.0.0.1:{}\"", support::free_port());
    plans[0].nodes.list[0].configure(&real, &wrong);
    let services: Vec<_> = plans.drain(..).map(servers::service::Service::started).collect();
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut juliet = Person::online(&services[0], 0, "juliet");
    juliet.say_to(&romeo, "hi");
    romeo.hears("hi");
    juliet.say_to(&romeo, "again");
    romeo.hears("again");
}

#[test]
fn a_server_that_is_not_there_is_tried_again_when_it_may_be() {
    let rules = "retry_after_min = '200ms'\nretry_after_max = '200ms'";
    let plans = vec![Plan::new(A).nodes(2).rules(rules), Plan::new(B)];
    let mut services = servers::service::prepare(plans);
    let late = services.pop().expect("two services");
    let early = services.pop().expect("two services").started();
    let mut juliet = Person::online(&early, 0, "juliet");
    let message = "<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>";
    juliet.send(message);
    juliet.hears("id='m' type='error'");
    juliet.hears("<remote-server-timeout");
    let late = late.started();
    let mut romeo = Person::online(&late, 0, "romeo");
    // however often it is tried, it is not tried before its time
    support::wait_for("it is tried again", || {
        juliet.send(message);
        !juliet.heard_till_now().contains("type='error'")
    });
    romeo.hears("<body>hi</body>");
}

#[test]
fn an_operator_sees_all_streams_and_ends_some() {
    let services = start(vec![Plan::new(A).nodes(2).rules(ONE_WAY), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    let node = &services[0].nodes.list[1];
    let lines = || -> Vec<serde_json::Value> {
        serde_json::from_str(&node.jabiru(&["s2s", "--json"], "")).expect("JSON")
    };
    let seen = lines();
    let find = |direction: &str| {
        let found = seen.iter().find(|line| line["direction"] == *direction);
        found.unwrap_or_else(|| panic!("{direction}: {seen:?}")).clone()
    };
    let (to, from) = (find("to"), find("from"));
    assert_eq!((to["theirs"][0].as_str(), to["ours"].as_str()), (Some(B), Some(A)));
    assert_eq!((to["state"].as_str(), to["proof"].as_str()), (Some("open"), Some("certificate")));
    assert_eq!((to["is_certain"].as_bool(), to["stanzas"].as_u64()), (Some(true), Some(1)));
    assert_eq!(to["node"], "n0", "seen from the other node");
    assert!(to["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3 ")), "{to}");
    assert_eq!(from["theirs"][0], B);
    let table = node.jabiru(&["s2s"], "");
    assert!(table.contains("PROVED BY") && table.ends_with("2 streams\n"), "{table}");
    // whoever ends one ends it everywhere; the next word opens another
    assert_eq!(node.jabiru(&["s2s", "close", B], ""), "b.example: 2 streams end\n");
    support::wait_for("they end", || lines().is_empty());
    they_talk(&mut juliet, &mut romeo);
    // how it is reached, without a node
    let config = node.folder.join("jabiru.toml");
    let config = config.to_str().expect("text");
    let said = support::succeed(&["check", "dns", B, "-c", config], "");
    assert!(said.contains("127.0.0.1"), "{said}");
    let said = support::succeed(&["check", "s2s", B, "-c", config], "");
    for words in
        ["connected with", "TLSv1.3", "signed by", "it speaks for b.example", "certificate"]
    {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let silent = support::run(&["check", "s2s", "nowhere.invalid", "-c", config], "");
    assert!(!silent.status.success());
}

#[test]
fn an_operator_sees_why_there_is_no_link() {
    let services = start(vec![Plan::new(A), Plan::new(B).shows(Shown::Expired)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    juliet.send("<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>");
    juliet.hears("<remote-server-timeout");
    let node = &services[0].nodes.list[0];
    let table = node.jabiru(&["s2s"], "");
    assert!(table.contains("failed, next try in"), "{table}");
    assert!(
        table.contains("b.example on n0: its certificate is not valid for its domain"),
        "{table}"
    );
    let config = node.folder.join("jabiru.toml");
    let said = support::run(&["check", "s2s", B, "-c", config.to_str().expect("text")], "");
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        words
            .contains("it does not speak for b.example: its certificate is not valid at this time"),
        "{words}"
    );
    let metrics = node.http("/metrics");
    assert!(
        metrics.contains("jabiru_s2s_manager_links_failed_total{reason=\"refused\"} 1"),
        "{metrics}"
    );
}

#[test]
fn streams_do_not_outlive_the_certificates_that_they_stand_on() {
    let services = start(vec![Plan::new(A).rules(ONE_WAY), Plan::new(B).shows(Shown::Short(8))]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_talk(&mut juliet, &mut romeo);
    let lines = || -> Vec<serde_json::Value> {
        let said = services[0].nodes.list[0].jabiru(&["s2s", "--json"], "");
        serde_json::from_str(&said).expect("JSON")
    };
    assert_eq!(lines().len(), 2);
    support::wait_for("both streams end", || lines().is_empty());
    juliet.send("<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>");
    juliet.hears("<remote-server-timeout");
}

#[test]
fn contacts_elsewhere_hear_once_of_whom_a_killed_node_had() {
    let mut services = start(vec![Plan::new(A).nodes(3), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    they_befriend(&mut juliet, &mut romeo);
    services[0].nodes.list[0].kill();
    let gone = "<presence from='juliet@a.example/phone' to='romeo@b.example' type='unavailable'/>";
    romeo.hears(gone);
    // she comes again elsewhere, and he sees her: so all that was said before is here
    let mut juliet = Person::bound(&services[0], 1, "juliet");
    juliet.send("<presence/>");
    let heard = romeo.hears("<presence from='juliet@a.example/phone' to='romeo@b.example'/>");
    assert!(!heard.contains("unavailable"), "{heard}");
    juliet.hears("<presence from='romeo@b.example/phone' to='juliet@a.example'/>");
}

#[test]
fn two_nodes_that_open_a_link_at_once_keep_one() {
    let services = start(vec![Plan::new(A).nodes(2), Plan::new(B)]);
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let mut people =
        [Person::online(&services[0], 0, "juliet"), Person::online(&services[0], 1, "nurse")];
    let node = &services[0].nodes.list[0];
    let links = || -> usize {
        let said = node.jabiru(&["s2s", "--json"], "");
        let lines: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
        let opened = |line: &&serde_json::Value| {
            line["direction"].as_str().is_some_and(|direction| direction.starts_with("to"))
        };
        lines.iter().filter(opened).count()
    };
    for round in 0..10 {
        let total = 30;
        for number in 0..total {
            for person in &mut people {
                let body = format!("{} {round} {number}.", person.jid);
                person.say_to(&romeo, &body);
            }
        }
        // what each says arrives, once and in its order
        let heard = romeo.hears_all(&people, |person| {
            format!("<body>{} {round} {}.</body>", person.jid, total - 1)
        });
        for person in &people {
            let mark = format!("<body>{} {round} ", person.jid);
            let numbers: Vec<&str> = heard
                .match_indices(&mark)
                .filter_map(|(at, _)| heard[at + mark.len()..].split_once('.'))
                .map(|(number, _)| number)
                .collect();
            let expected: Vec<String> = (0..total).map(|number| number.to_string()).collect();
            assert_eq!(numbers, expected, "{} in round {round}", person.jid);
        }
        // both may have yielded to each other: then none is, and nothing waits
        support::wait_for("no more than one link is left", || links() <= 1);
        support::run(&["s2s", &format!("--socket={}", node.socket()), "close", B], "");
        support::wait_for("none is left", || links() == 0);
    }
}
