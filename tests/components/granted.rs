//! What a component may do beyond its own domain, where that is granted it:
//! privileges (XEP-0356) and delegation (XEP-0355).

use super::support::raw::Raw;
use super::support::{Node, Nodes, wait_for};
use super::wait_for_components;
use super::wire::Wire;

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
    features_are_nested(&mut wire, &mut romeo);
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

/// What the component can do in the place of the host and of accounts is theirs.
#[track_caller]
fn features_are_nested(wire: &mut Wire, romeo: &mut Raw) {
    let (info, asks) = ("http://jabber.org/protocol/disco#info", "jabiru-nested ");
    for (node, says) in [
        ("urn:xmpp:delegation:2::u:one", "<feature var='u:one'/><feature var='u:host'/>"),
        (
            "urn:xmpp:delegation:2:bare:u:one",
            "<identity category='pubsub' type='pep'/><feature var='u:mine'/>",
        ),
    ] {
        wire.hear(&format!(
            "id='{asks}{node}' type='get'><query xmlns='{info}' node='{node}'/></iq>"
        ));
        // not granted, and so not believed
        for id in [format!("{asks}urn:xmpp:delegation:2::u:other"), format!("{asks}{node}")] {
            let says = if id.ends_with("other") { "<feature var='u:bad'/>" } else { says };
            wire.say(&format!(
                "<iq from='gw.localhost' to='localhost' id='{id}' type='result'>\
                 <query xmlns='{info}' node='{node}'>{says}</query></iq>"
            ));
        }
    }
    for (to, has, lacks) in [
        ("localhost", vec!["<feature var='u:one'/>", "<feature var='u:host'/>"], "u:mine"),
        (
            "romeo@localhost",
            vec!["<feature var='u:mine'/>", "<identity category='pubsub' type='pep'/>"],
            "u:host",
        ),
    ] {
        wait_for("its features are there", || {
            romeo.say(
                format!("<iq type='get' to='{to}' id='i'><query xmlns='{info}'/></iq>").as_bytes(),
            );
            let heard = romeo.hear("</iq>");
            assert!(!heard.contains(lacks) && !heard.contains("u:bad"), "{heard}");
            has.iter().all(|one| heard.contains(one))
        });
    }
}

/// Somebody who is there.
fn available(node: &Node, user: &str) -> Raw {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", "r");
    raw.say(b"<presence/>");
    raw.hear(&format!("<presence from='{user}@localhost/r' to='{user}@localhost"));
    raw
}

#[test]
fn a_component_that_watches_hears_who_is_there() {
    let extra = "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n\
        [component.domains.\"gw.localhost\".privileges]\npresence = \"managed_entity\"\n\
        [component.domains.\"other.gw\"]\nsecret = \"s3cret\"\n";
    let mut nodes = Nodes::start_with(3, extra);
    nodes.account("romeo", "secret");
    nodes.account("juliet", "secret");
    let mut romeo = available(&nodes.list[1], "romeo");
    let mut other = Wire::online(&nodes.list[1], "other.gw", "s3cret");
    let mut wire = Wire::online(&nodes.list[0], "gw.localhost", "s3cret");
    let told = wire.hear("</privilege></message>");
    assert!(told.contains("<perm access='presence' type='managed_entity'/>"), "{told}");
    // who was there before it
    wire.hear("<presence from='romeo@localhost/r' to='gw.localhost'/>");
    romeo.say(b"<presence><show>away</show></presence>");
    wire.hear("<presence from='romeo@localhost/r' to='gw.localhost'><show>away</show></presence>");
    // a presence for one person is that person's
    romeo.say(b"<presence to='juliet@localhost'><status>you</status></presence>");
    let _juliet = available(&nodes.list[2], "juliet");
    let heard = wire.hear("<presence from='juliet@localhost/r' to='gw.localhost'/>");
    assert!(!heard.contains("you"), "{heard}");
    nodes.list[2].kill();
    wire.hear("<presence from='juliet@localhost/r' to='gw.localhost' type='unavailable'/>");
    drop(romeo);
    let heard =
        wire.hear("<presence from='romeo@localhost/r' to='gw.localhost' type='unavailable'/>");
    assert_eq!(heard.matches("unavailable").count(), 1, "{heard}");
    // whom nothing was granted hears nothing
    other.say("<iq from='other.gw' to='localhost' type='get' id='last'><ping xmlns='urn:xmpp:ping'/></iq>");
    let heard = other.hear("id='last' type='result'");
    assert!(!heard.contains("<presence"), "{heard}");
}

#[test]
fn instances_that_watch_share_who_is_there() {
    let extra = "[component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n\
        [component.domains.\"gw.localhost\".privileges]\npresence = \"managed_entity\"\n\
        [domain_balancing.\"gw.localhost\"]\ntype = \"bare_source\"\ncomponent_number = 100\n";
    let nodes = Nodes::start_with(2, extra);
    let users: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    let mut raws = Vec::new();
    for (at, user) in users.iter().enumerate() {
        nodes.account(user, "secret");
        raws.push(available(&nodes.list[at % 2], user));
    }
    let mut one = Wire::online(&nodes.list[0], "gw.localhost/one", "s3cret");
    let mut unseen: Vec<&String> = users.iter().collect();
    while !unseen.is_empty() {
        let heard = one.hear("' to='gw.localhost'/>");
        unseen.retain(|user| !heard.contains(&format!("from='{user}@localhost/r'")));
    }
    let mut two = Wire::online(&nodes.list[1], "gw.localhost/two", "s3cret");
    wait_for_components(&nodes, 2);
    for raw in &mut raws {
        raw.say(b"<presence><status>later</status></presence>");
    }
    let shown = |user: &str| format!("<presence from='{user}@localhost/r' to='gw.localhost'/>");
    let later = |user: &str| {
        let tag = format!("<presence from='{user}@localhost/r' to='gw.localhost'>");
        format!("{tag}<status>later</status></presence>")
    };
    let mut of_two = Vec::new();
    for user in &users {
        let words = later(user);
        wait_for(&words, || one.has(&words) || two.has(&words));
        let is_of_two = two.has(&words);
        assert_ne!(is_of_two, one.has(&words), "{user} is the one's or the other's");
        assert_eq!(two.has(&shown(user)), is_of_two, "whose {user} is, hears of him at once");
        of_two.extend(is_of_two.then_some(user));
    }
    assert!((1..users.len()).contains(&of_two.len()), "{of_two:?}");
    drop(two);
    for user in of_two {
        let words = later(user);
        wait_for(&words, || one.has(&words));
    }
}
