//! Services of ours that speak with each other, each with its own domain,
//! cookie and certificate: real processes, real sockets.

mod servers;
mod support;

use servers::authority::Shown;
use servers::person::Person;
use servers::service::{Plan, start};

const A: &str = "a.example";
const B: &str = "b.example";

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
    let services = start(vec![Plan::new(A), Plan::new(B)]);
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
