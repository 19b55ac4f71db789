//! How other servers are found: services of records, and what a name server
//! may say to lead us astray.

#[path = "names/dane.rs"]
mod dane;
mod servers;
mod support;

use hickory_resolver::proto::rr::{RData, RecordType};
use servers::dns::{Dns, Said, a, cname, srv};
use servers::person::Person;
use servers::service::{Plan, Service, start};

const A: &str = "a.example";
const B: &str = "b.example";
const XMPP: &str = "_xmpp-server._tcp.b.example";
const XMPPS: &str = "_xmpps-server._tcp.b.example";

/// Two services; the second is found by DNS.
fn ground(rules: &str) -> (Dns, Service, Service) {
    let dns = Dns::start();
    let one = Plan::new(A).asks(&dns).rules(rules);
    let mut services = start(vec![one, Plan::new(B).in_dns()]);
    let other = services.pop().expect("two");
    (dns, services.pop().expect("two"), other)
}

/// A message from the one arrives at the other.
#[track_caller]
fn reaches(one: &Service, other: &Service) {
    let mut juliet = Person::online(one, 0, "juliet");
    let romeo = other.account("romeo");
    let mut romeo = {
        let person = Person::bound(other, 0, "romeo");
        assert_eq!(person.jid, romeo);
        person
    };
    romeo.send("<presence/>");
    juliet.say_to(&romeo, "hi");
    romeo.hears("<body>hi</body>");
}

const PRIVATE: &str = "private_addresses = true";

#[test]
fn a_service_is_found_by_its_records() {
    let (dns, one, other) = ground(PRIVATE);
    let port = other.ports[0];
    // the first two are not there
    let nobody = support::free_port();
    dns.service(
        XMPP,
        vec![srv(20, port.starttls, "xmpp.b.example"), srv(10, nobody, "xmpp.b.example")],
    );
    dns.service(XMPPS, vec![srv(5, nobody, "xmpp.b.example")]);
    dns.address("xmpp.b.example", [127, 0, 0, 1]);
    reaches(&one, &other);
    one.logged(&format!("address=127.0.0.1:{}", port.starttls));
}

#[test]
fn tls_at_once_is_taken_where_it_comes_first() {
    let (dns, one, other) = ground(PRIVATE);
    let port = other.ports[0];
    dns.service(XMPP, vec![srv(20, port.starttls, "xmpp.b.example")]);
    dns.service(XMPPS, vec![srv(5, port.direct, "xmpp.b.example")]);
    dns.address("xmpp.b.example", [127, 0, 0, 1]);
    reaches(&one, &other);
    one.logged(&format!("address=127.0.0.1:{}", port.direct));
}

/// What a message comes back with, where DNS says this.
#[track_caller]
fn refused(rules: &str, say: impl FnOnce(&Dns), condition: &str) {
    let dns = Dns::start();
    let rules = format!("queue_time_max = '8s'\n{rules}");
    let services = start(vec![Plan::new(A).asks(&dns).rules(&rules)]);
    say(&dns);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    juliet.send("<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>");
    juliet.hears("id='m' type='error'>");
    juliet.hears(&format!("<{condition} xmlns"));
}

#[test]
fn what_is_not_there_is_not_found() {
    let none = "remote-server-not-found";
    refused("", |_| {}, none);
    // both say that there is none: no address is tried (RFC 2782)
    let nobody = |dns: &Dns| {
        dns.service(XMPP, vec![srv(0, 0, ".")]);
        dns.service(XMPPS, vec![srv(0, 0, ".")]);
        dns.address(B, [127, 0, 0, 1]);
    };
    refused(PRIVATE, nobody, none);
    let empty = |dns: &Dns| dns.service(XMPP, Vec::new());
    refused("", empty, none);
}

#[test]
fn dns_leads_nowhere_inside() {
    for address in [[127, 0, 0, 1], [10, 0, 0, 5], [169, 254, 169, 254], [192, 168, 0, 1]] {
        let lead = |dns: &Dns| {
            dns.service(XMPP, vec![srv(0, 5269, "xmpp.b.example")]);
            dns.address("xmpp.b.example", address);
        };
        refused("", lead, "remote-server-not-found");
    }
    // nor to the port of somebody else
    let mail = |dns: &Dns| {
        dns.service(XMPP, vec![srv(0, 25, "xmpp.b.example")]);
        dns.address("xmpp.b.example", [127, 0, 0, 1]);
    };
    refused(PRIVATE, mail, "remote-server-not-found");
}

#[test]
fn a_name_server_that_fails_is_not_believed_to_know_nothing() {
    let late = "remote-server-timeout";
    let broken = |dns: &Dns| {
        dns.says(XMPP, RecordType::SRV, Said::Broken);
        dns.says(XMPPS, RecordType::SRV, Said::Broken);
    };
    refused("", broken, late);
    let silent = |dns: &Dns| {
        dns.says(XMPP, RecordType::SRV, Said::Silence);
        dns.says(XMPPS, RecordType::SRV, Said::Silence);
    };
    refused("", silent, late);
    let ring = |dns: &Dns| {
        dns.says(XMPP, RecordType::SRV, Said::Ring);
        dns.says(XMPPS, RecordType::SRV, Said::Ring);
    };
    refused("", ring, late);
}

#[test]
fn many_records_and_rings_of_names_have_an_end() {
    let nobody = support::free_port();
    // by TCP: a datagram does not hold them
    let many = move |dns: &Dns| {
        let records: Vec<RData> =
            (0..200).map(|at| srv(at, nobody, &format!("x{at}.b.example"))).collect();
        dns.service(XMPP, records);
        for at in 0..200 {
            dns.address(&format!("x{at}.b.example"), [127, 0, 0, 1]);
        }
    };
    refused(PRIVATE, many, "remote-server-timeout");
    let ring = |dns: &Dns| {
        dns.service(XMPP, vec![srv(0, 5269, "x.b.example")]);
        for kind in [RecordType::A, RecordType::AAAA] {
            dns.says("x.b.example", kind, Said::Records(vec![cname("y.b.example")]));
            dns.says("y.b.example", kind, Said::Records(vec![cname("x.b.example")]));
        }
    };
    refused(PRIVATE, ring, "remote-server-not-found");
    let addresses = |dns: &Dns| {
        let all = (0..60).map(|_| a([127, 0, 0, 1])).collect();
        dns.service(XMPP, vec![srv(0, nobody, "x.b.example")]);
        dns.says("x.b.example", RecordType::A, Said::Records(all));
    };
    refused(PRIVATE, addresses, "remote-server-timeout");
}

#[test]
fn whoever_writes_to_many_domains_fills_his_node_and_no_more() {
    let dns = Dns::start();
    let rules = "links_per_node_max = 3\nqueue_time_max = '5s'";
    let services = start(vec![Plan::new(A).asks(&dns).rules(rules)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    for at in 0..100 {
        for service in ["_xmpp-server", "_xmpps-server"] {
            dns.says(&format!("{service}._tcp.d{at}.example"), RecordType::SRV, Said::Silence);
        }
    }
    for at in 0..100 {
        juliet.send(&format!("<message to='x@d{at}.example' id='m{at}'><body>x</body></message>"));
    }
    let mut back = juliet.hears("id='m99' type='error'");
    for at in 0..3 {
        assert!(!back.contains(&format!("id='m{at}' type='error'")), "m{at} waits: {back}");
    }
    while back.matches("<remote-server-timeout").count() < 3 {
        back.push_str(&juliet.hears("<remote-server-timeout"));
    }
    assert_eq!(back.matches("<resource-constraint").count(), 97, "{back}");
    let metrics = services[0].nodes.list[0].http("/metrics");
    assert!(metrics.contains("s2s_manager_returned_total{reason=\"full\"} 97"), "{metrics}");
    assert!(metrics.contains("s2s_manager_returned_total{reason=\"unreachable\"} 3"), "{metrics}");
}
