//! External components against real nodes: slixmpp's, and one that says what
//! it likes, byte by byte.

mod support;

#[path = "components/wire.rs"]
mod wire;

use support::slix::Slix;
use support::{DOMAIN, Nodes};

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
