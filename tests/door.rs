//! What the door for clients says to whoever does not behave, on real sockets.
//! The machine behind it is played in `negotiation`, the gate in `gate`.

mod support;

use support::raw::{HEADER, Raw};
use support::{Node, Nodes};

/// One node with two accounts.
fn start() -> Nodes {
    let nodes = Nodes::start(1);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    nodes
}

/// What an end of a stream looks like.
fn end(condition: &str) -> String {
    format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")
}

#[track_caller]
fn refused(node: &Node, opening: &str, condition: &str) {
    let mut raw = Raw::plain(node);
    raw.say(opening.as_bytes());
    let heard = raw.rest();
    let wanted = format!("<stream:error>{}", end(condition));
    assert!(heard.contains("<stream:stream "), "{opening}: no header in {heard}");
    assert!(heard.contains(&wanted), "{opening}: no {condition} in {heard}");
    assert!(heard.ends_with("</stream:stream>"), "{opening}: not closed: {heard}");
}

#[test]
fn a_stream_of_another_kind_is_refused() {
    let nodes = start();
    let with = |from: &str, to: &str| HEADER.replace(from, to);
    refused(&nodes.list[0], "GET / HTTP/1.1\r\n\r\n", "not-well-formed");
    refused(&nodes.list[0], &with("to='localhost'", "to='elsewhere.example'"), "host-unknown");
    refused(&nodes.list[0], &with(" to='localhost'", ""), "improper-addressing");
    refused(&nodes.list[0], &with(" version='1.0'>", ">"), "unsupported-version");
    refused(&nodes.list[0], &with("version='1.0'>", "version='0.9'>"), "unsupported-version");
    refused(&nodes.list[0], &with("jabber:client", "jabber:server"), "invalid-namespace");
    refused(
        &nodes.list[0],
        &with("http://etherx.jabber.org/streams", "urn:x"),
        "invalid-namespace",
    );
    refused(
        &nodes.list[0],
        &with("<?xml version='1.0'?>", "<?xml version='1.0' encoding='ISO-8859-1'?>"),
        "unsupported-encoding",
    );
    refused(&nodes.list[0], &format!("{HEADER}<!-- x -->"), "restricted-xml");
    refused(&nodes.list[0], &format!("{HEADER}<message/>"), "not-authorized");
    refused(&nodes.list[0], &format!("{HEADER}<a><b></a>"), "not-well-formed");
}

#[test]
fn before_authentication_little_is_read() {
    let nodes = start();
    let mut raw = Raw::direct(&nodes.list[0]);
    raw.say(HEADER.as_bytes());
    raw.hear("</stream:features>");
    raw.say(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>");
    raw.say(&[b'A'; 20_000]);
    let heard = raw.rest();
    assert!(heard.contains(&end("policy-violation")[..30]), "{heard}");
}

#[test]
fn starttls_throws_away_what_was_said_before_it() {
    let nodes = start();
    let mut raw = Raw::plain(&nodes.list[0]);
    raw.say(HEADER.as_bytes());
    let features = raw.hear("</stream:features>");
    assert!(features.contains("<required/>") && !features.contains("<mechanisms"), "{features}");
    let id = |header: &str| {
        header
            .split(" id='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .unwrap_or("")
            .to_owned()
    };
    let first = id(&features);
    // a man in the middle appends a stanza to the request for TLS
    raw.say(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><presence/>");
    raw.hear("<proceed");
    let mut raw = raw.secured();
    raw.say(HEADER.as_bytes());
    let features = raw.hear("</stream:features>");
    assert!(features.contains("<mechanism>SCRAM-SHA-256-PLUS</mechanism>"), "{features}");
    assert!(features.contains("<channel-binding type='tls-exporter'/>"), "{features}");
    assert!(!id(&features).is_empty() && id(&features) != first, "a new id after a restart");
}

#[test]
fn tls_1_2_is_spoken_as_well() {
    let nodes = start();
    let mut raw = Raw::direct_with(&nodes.list[0], &[&rustls::version::TLS12]);
    raw.bind("romeo", "r0m30", "tls12");
}

#[test]
fn five_wrong_passwords_close_the_stream() {
    let nodes = start();
    let mut raw = Raw::direct(&nodes.list[0]);
    raw.say(HEADER.as_bytes());
    raw.hear("</stream:features>");
    let mut last = String::new();
    for attempt in 1..=5 {
        // \0romeo\0wrong
        raw.say(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>");
        let heard = raw.hear("</failure>");
        assert!(heard.contains("<not-authorized/>"), "{attempt}: {heard}");
        last = heard;
    }
    let heard = last + &raw.rest();
    assert!(heard.contains(&end("policy-violation")[..30]), "{heard}");
}

#[test]
fn a_bad_stanza_is_answered_and_a_broken_one_ends_the_stream() {
    let nodes = start();
    let mut raw = Raw::direct(&nodes.list[0]);
    raw.bind("romeo", "r0m30", "stanzas");
    let mut ask = |stanza: &str, end: &str| {
        raw.say(stanza.as_bytes());
        raw.hear(end)
    };
    let pong = ask("<iq type='get' id='1' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", "/>");
    assert!(pong.contains("type='result'") && pong.contains("id='1'"), "{pong}");
    let unknown = ask("<iq type='get' id='2' to='localhost'><x xmlns='urn:x'/></iq>", "</iq>");
    assert!(unknown.contains("<service-unavailable"), "{unknown}");
    let wrong = ask("<iq type='get' id='3'/>", "</iq>");
    assert!(wrong.contains("<bad-request"), "{wrong}");
    let nowhere = ask("<message to='@' id='4'><body>x</body></message>", "</message>");
    assert!(nowhere.contains("<jid-malformed"), "{nowhere}");
    let disco = ask(
        "<iq type='get' id='5' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        "</iq>",
    );
    assert!(
        disco.contains("var='urn:xmpp:ping'") && disco.contains("category='server'"),
        "{disco}"
    );
    let version = ask(
        "<iq type='get' id='6' to='localhost'><query xmlns='jabber:iq:version'/></iq>",
        "</iq>",
    );
    assert!(version.contains("Jabiru"), "{version}");
    let last =
        ask("<iq type='get' id='7' to='localhost'><query xmlns='jabber:iq:last'/></iq>", "/>");
    assert!(last.contains("seconds='"), "{last}");
    let time =
        ask("<iq type='get' id='8' to='localhost'><time xmlns='urn:xmpp:time'/></iq>", "</iq>");
    assert!(time.contains("<utc>") || time.contains("utc"), "{time}");
    let forged = ask(
        "<message from='juliet@localhost' to='romeo@localhost'><body>x</body></message>",
        "</stream:stream>",
    );
    assert!(forged.contains(&end("invalid-from")), "{forged}");
}

#[test]
fn too_large_and_too_deep_end_the_stream() {
    let nodes = start();
    let deep = format!("<message>{}", "<a>".repeat(100));
    let large = format!("<message><body>{}", "x".repeat(300_000));
    for (name, stanza) in [("deep", deep), ("large", large)] {
        let mut raw = Raw::direct(&nodes.list[0]);
        raw.bind("romeo", "r0m30", name);
        raw.say(stanza.as_bytes());
        let heard = raw.rest();
        assert!(heard.contains("<policy-violation"), "{name}: {heard}");
    }
}

#[test]
fn nothing_of_a_broken_stanza_reaches_anybody() {
    let nodes = start();
    let mut juliet = Raw::direct(&nodes.list[0]);
    juliet.bind("juliet", "jul13t", "ears");
    juliet.say(b"<presence/>");
    let mut romeo = Raw::direct(&nodes.list[0]);
    romeo.bind("romeo", "r0m30", "mouth");
    romeo.say(b"<message to='juliet@localhost/ears'><body>half</bodi></message>");
    assert!(romeo.rest().contains("<not-well-formed"));
    juliet.say(b"<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
    let heard = juliet.hear("id='p'");
    assert!(!heard.contains("half"), "{heard}");
}

#[test]
fn a_second_domain_has_its_own_stream() {
    let nodes = start();
    let mut raw = Raw::direct(&nodes.list[0]);
    raw.say(HEADER.replace("to='localhost'", "to='other.localhost'").as_bytes());
    let heard = raw.hear("</stream:features>");
    assert!(heard.contains("from='other.localhost'"), "{heard}");
}

#[test]
fn a_slow_negotiation_is_ended() {
    let mut nodes = Nodes::prepare(1, "");
    let path = nodes.list[0].folder.join("jabiru.toml");
    let config = std::fs::read_to_string(&path).expect("a config");
    // the least that can be configured, so that the test is short
    let config = config.replace("[c2s]", "[c2s]\nnegotiation_timeout = '1s'");
    std::fs::write(&path, config).expect("writable");
    nodes.list[0].start();
    let mut raw = Raw::plain(&nodes.list[0]);
    raw.say(HEADER.as_bytes());
    let heard = raw.rest();
    assert!(heard.contains("<connection-timeout"), "{heard}");
}

/// One node with this in its `[c2s]`, and with `extra` at its end.
fn start_with(c2s: &str, extra: &str) -> Nodes {
    let mut nodes = Nodes::prepare(1, extra);
    nodes.list[0].configure("[c2s]", &format!("[c2s]\n{c2s}"));
    nodes.list[0].start();
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    nodes
}

#[test]
fn who_binds_an_address_that_is_taken_is_treated_by_policy() {
    let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
        <resource>garden</resource></bind></iq>";
    for (policy, wanted) in [("refuse", "<conflict"), ("rename", "<jid>romeo@localhost/")] {
        let nodes = start_with("", &format!("[session_manager]\nconflict = '{policy}'"));
        let mut first = Raw::direct(&nodes.list[0]);
        first.bind("romeo", "r0m30", "garden");
        let mut second = Raw::direct(&nodes.list[0]);
        second.authenticate("romeo", "r0m30");
        second.say(bind.as_bytes());
        let heard = second.hear("</iq>");
        assert!(heard.contains(wanted), "{policy}: {heard}");
        assert!(!heard.contains("/garden<"), "{policy}: {heard}");
        first.say(b"<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
        assert!(first.hear("/>").contains("result"), "{policy}: the first stays");
    }
}

#[test]
fn one_session_too_many_ends_the_oldest() {
    let nodes = start_with("", "[session_manager]\nsessions_per_user_max = 2");
    let mut sessions: Vec<Raw> = (0..3).map(|_| Raw::direct(&nodes.list[0])).collect();
    for (at, raw) in sessions.iter_mut().enumerate() {
        raw.bind("romeo", "r0m30", &format!("r{at}"));
    }
    assert!(sessions[0].rest().contains("<policy-violation"));
    assert_eq!(nodes.list[0].sessions().len(), 2);
}

#[test]
fn a_client_that_does_not_read_loses_its_stream_and_nobody_a_message() {
    const COUNT: usize = 6_000;
    // room for a thousand errors at once, for whoever reads them
    let nodes = start_with("outbox_bytes_max = '512KiB'", "");
    let mut juliet = Raw::direct(&nodes.list[0]);
    juliet.bind("juliet", "jul13t", "asleep");
    let mut romeo = Raw::direct(&nodes.list[0]);
    romeo.bind("romeo", "r0m30", "loud");
    // far more than the kernel keeps for a sleeper
    let body = "x".repeat(4_000);
    // all that romeo hears, in one piece: what comes may be cut anywhere
    let mut heard_by_romeo = String::new();
    for number in 0..COUNT {
        let message = format!(
            "<message type='chat' id='m{number}' to='juliet@localhost/asleep'><body>{body}</body></message>"
        );
        romeo.say(message.as_bytes());
        if number % 100 == 99 {
            // an answer of the server: all before it was decided on
            romeo
                .say(b"<iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
            heard_by_romeo += &romeo.hear("id='ping'");
        }
    }
    let got = juliet.rest();
    assert!(got.contains("<resource-constraint"), "its stream was closed");
    let heard: std::collections::BTreeSet<usize> = got
        .split("</message>")
        .filter_map(|one| one.split("id='m").nth(1)?.split('\'').next()?.parse().ok())
        .collect();
    // what was cut off half way is kept, as far as there is room; the rest
    // came back
    let mut awake = Raw::direct(&nodes.list[0]);
    awake.bind("juliet", "jul13t", "awake");
    awake.say(b"<presence/>");
    let mut kept = String::new();
    let mut lost = Vec::new();
    support::wait_for("all were heard, or kept, or came back", || {
        kept += &awake.gather();
        heard_by_romeo += &romeo.gather();
        let returned: std::collections::BTreeSet<usize> = heard_by_romeo
            .split("<message ")
            .filter(|one| one.contains("type='error'"))
            .filter_map(|one| one.split("id='m").nth(1)?.split('\'').next()?.parse().ok())
            .collect();
        let kept: std::collections::BTreeSet<usize> = kept
            .split("</message>")
            .filter_map(|one| one.split("id='m").nth(1)?.split('\'').next()?.parse().ok())
            .collect();
        lost = (0..COUNT)
            .filter(|one| !heard.contains(one) && !kept.contains(one) && !returned.contains(one))
            .collect();
        lost.is_empty()
    });
    assert!(kept.contains("urn:xmpp:delay"), "some were kept");
}

#[test]
fn what_one_device_did_not_read_the_other_hears_once() {
    const COUNT: usize = 6_000;
    let nodes = start_with("outbox_bytes_max = '512KiB'", "");
    let mut asleep = Raw::direct(&nodes.list[0]);
    asleep.bind("juliet", "jul13t", "asleep");
    asleep.say(b"<presence/>");
    asleep.hear("from='juliet@localhost/asleep'");
    let mut awake = Raw::direct(&nodes.list[0]);
    awake.bind("juliet", "jul13t", "awake");
    awake.say(b"<presence/>");
    awake.hear("from='juliet@localhost/awake'");
    // one that wants no messages, and says now and then how it is
    let mut third = Raw::direct(&nodes.list[0]);
    third.bind("juliet", "jul13t", "third");
    let mut romeo = Raw::direct(&nodes.list[0]);
    romeo.bind("romeo", "r0m30", "loud");
    let body = "x".repeat(4_000);
    let mut heard = String::new();
    for number in 0..COUNT {
        let message = format!(
            "<message type='chat' id='m{number}' to='juliet@localhost'><body>{body}</body></message>"
        );
        romeo.say(message.as_bytes());
        if number % 50 == 49 {
            let status = format!("<priority>-1</priority><status>s{number}</status>");
            third.say(format!("<presence>{status}</presence>").as_bytes());
        }
        if number % 100 == 99 {
            heard += &awake.hear(&format!("id='m{number}'"));
        }
    }
    let got = asleep.rest();
    assert!(got.contains("<resource-constraint"), "its stream was closed");
    // behind whatever came back from the other
    romeo.say(b"<message type='chat' id='end' to='juliet@localhost/awake'/>");
    heard += &awake.hear("id='end'");
    let numbers = |before: &str, after: char| {
        let found = heard.split(before).skip(1).filter_map(|one| one.split(after).next());
        let mut numbers: Vec<usize> = found.filter_map(|one| one.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers("<status>s", '<'), (49..COUNT).step_by(50).collect::<Vec<_>>());
    assert_eq!(numbers("id='m", '\''), (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn each_domain_shows_its_own_certificate() {
    let mut nodes = Nodes::prepare(1, "");
    let folder = nodes.list[0].folder.join("other");
    let out = folder.to_str().expect("text");
    support::succeed(&["cert", "--domain", "other.localhost", "--out", out], "");
    let section = format!(
        "[[tls]]\ndomains = ['other.localhost']\ncertificate = '{out}/cert.pem'\nkey = '{out}/key.pem'\n[c2s]"
    );
    nodes.list[0].configure("[c2s]", &section);
    nodes.list[0].start();
    let own = support::tls().join("cert.pem");
    for (domain, file) in [("localhost", own), ("other.localhost", folder.join("cert.pem"))] {
        let expected = support::raw::certificate(&file);
        assert_eq!(support::raw::shown(&nodes.list[0], domain), expected, "{domain} by SNI");
        let by_to = support::raw::shown_after_starttls(&nodes.list[0], domain);
        assert_eq!(by_to, expected, "{domain} by `to`");
    }
}
