//! What a component may do beyond its own domain, where that is granted it:
//! privileges (XEP-0356) and delegation (XEP-0355).

use super::support::Nodes;
use super::support::raw::Raw;
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
