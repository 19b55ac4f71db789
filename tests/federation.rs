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
