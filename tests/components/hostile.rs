//! Components that say what they may not, do not know the secret, or do not
//! read.

use super::CONFIG;
use super::support::raw::Raw;
use super::support::{self, Nodes};
use super::wire::Wire;

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
    support::wait_for("the log says so", || node.log().contains("whose=\"components\""));
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
