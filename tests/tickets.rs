//! TLS session tickets: who was at one node comes back at any, without a whole
//! handshake, also if the node has died meanwhile.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jabiru::net::peer_tls::Anybody;
use rustls::{ClientConfig, SupportedProtocolVersion};
use support::raw::{Raw, config};
use support::{Node, Nodes, succeed, wait_for};

/// A client with a ticket of this node, and whether it came by one.
fn visit(node: &Node, client: &Arc<ClientConfig>, resource: &str) -> bool {
    let mut raw = Raw::direct_as(node, client);
    raw.bind("romeo", "r0m30", resource);
    raw.is_resumed()
}

/// A client that has been at `node` alone.
fn who_was_at(node: &Node, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let client = Arc::new(config(&[b"xmpp-client"], &[version]));
    assert!(!visit(node, &client, "first"), "nobody has given it a ticket");
    client
}

fn comes_back(version: &'static SupportedProtocolVersion) {
    let mut nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.wait_until_all_agree();
    let [first, second, third] = &nodes.list[..] else { panic!("three") };
    for other in [first, second, third] {
        // keys travel when nodes have met
        wait_for("a ticket of another node", || visit(other, &who_was_at(first, version), "again"));
    }
    // a ticket of a node that dies, and a key that nobody can be asked for
    let client = who_was_at(first, version);
    nodes.list[0].kill();
    assert!(visit(&nodes.list[2], &client, "later"));
    // the one that comes again has keys of its own, and learns of the others'
    nodes.list[0].start();
    let [first, second, _] = &nodes.list[..] else { panic!("three") };
    wait_for("the ticket of one that was there before", || {
        visit(first, &who_was_at(second, version), "again")
    });
}

#[test]
fn a_ticket_is_good_at_every_node_by_tls_1_3() {
    comes_back(&rustls::version::TLS13);
}

#[test]
fn a_ticket_is_good_at_every_node_by_tls_1_2() {
    comes_back(&rustls::version::TLS12);
}

#[test]
fn with_another_certificate_a_ticket_is_worth_nothing() {
    let mut nodes = Nodes::prepare(1, "");
    let folder = nodes.list[0].folder.clone();
    let (shown, fresh) = (folder.join("tls"), folder.join("fresh"));
    for folder in [&shown, &fresh] {
        succeed(&["cert", "--domain", "localhost", "--out", folder.to_str().expect("text")], "");
    }
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    nodes.list[0].configure(&text(&support::tls()), &text(&shown));
    nodes.list[0].start();
    nodes.account("romeo", "r0m30");
    let node = &nodes.list[0];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Anybody::new())
        .with_no_client_auth();
    let client = Arc::new(client);
    assert!(!visit(node, &client, "first"));
    assert!(visit(node, &client, "again"));
    for file in ["key.pem", "cert.pem"] {
        fs::rename(fresh.join(file), shown.join(file)).expect("ours");
    }
    wait_for("the change is noticed", || node.log().contains("certificates read again"));
    assert!(!visit(node, &client, "later"));
    assert!(visit(node, &client, "and again"));
}
