//! What clients expect beside RFC 6121, with real nodes: everybody sits on
//! another one.

mod support;

use support::raw::Raw;
use support::{Node, Nodes, wait_for};

/// A client, with what it has heard and nobody has looked at yet.
struct Client {
    raw: Raw,
    heard: String,
}

fn log_in(node: &Node, user: &str, resource: &str) -> Client {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", resource);
    Client { raw, heard: String::new() }
}

/// As [`log_in`], and available.
fn online(node: &Node, user: &str, resource: &str) -> Client {
    let mut client = log_in(node, user, resource);
    client.say("<presence/>");
    // its own, to itself
    client.hear("<presence");
    client.hear(">");
    client
}

/// All nodes know of so many sessions: a presence for one of them, wherever it
/// is said, finds it.
#[track_caller]
fn all_see(nodes: &Nodes, count: usize) {
    for node in &nodes.list {
        wait_for("all sessions are seen", || node.sessions().len() == count);
    }
}

impl Client {
    fn say(&mut self, words: &str) {
        self.raw.say(words.as_bytes());
    }

    /// All that comes up to these words, in one piece.
    #[track_caller]
    fn hear(&mut self, words: &str) -> String {
        if !self.heard.contains(words) {
            let already = std::mem::take(&mut self.heard);
            self.heard = self.raw.hear_on(already, words);
        }
        let end = self.heard.find(words).unwrap_or_else(|| panic!("the stream has ended"));
        let rest = self.heard.split_off(end + words.len());
        std::mem::replace(&mut self.heard, rest)
    }

    /// The answer to a request; what came before it stays to be heard.
    #[track_caller]
    fn answer(&mut self, id: &str) -> String {
        let before = self.hear(&format!(" id='{id}'"));
        let start = before.rfind("<iq").expect("an answer");
        let mut answer = before[start..].to_owned() + &self.hear(">");
        if !answer.ends_with("/>") {
            answer += &self.hear("</iq>");
        }
        self.heard.insert_str(0, &before[..start]);
        answer
    }

    /// Asks, without an address or with one, and hears the answer.
    #[track_caller]
    fn ask(&mut self, kind: &str, to: &str, child: &str) -> String {
        let id = format!("ask-{:08x}", rand::random::<u32>());
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        self.say(&format!("<iq type='{kind}' id='{id}'{to}>{child}</iq>"));
        self.answer(&id)
    }

    #[track_caller]
    fn succeed(&mut self, kind: &str, to: &str, child: &str) -> String {
        let answer = self.ask(kind, to, child);
        assert!(answer.contains(" type='result'"), "{child}: {answer}");
        answer
    }

    /// Asks in vain.
    #[track_caller]
    fn fail(&mut self, kind: &str, to: &str, child: &str, condition: &str) {
        let answer = self.ask(kind, to, child);
        assert!(answer.contains(&format!("<{condition} xmlns=")), "{child}: {answer}");
    }

    fn chat(&mut self, to: &str, body: &str) {
        self.say(&format!("<message to='{to}' type='chat'><body>{body}</body></message>"));
    }

    /// All that has come before this message, which somebody sends now.
    #[track_caller]
    fn before(&mut self, sender: &mut Client, to: &str) -> String {
        let mark = format!("mark-{:08x}", rand::random::<u32>());
        sender.chat(to, &mark);
        self.hear(&mark) + &self.hear("</message>")
    }
}

fn carbons(wish: &str) -> String {
    format!("<{wish} xmlns='urn:xmpp:carbons:2'/>")
}

#[test]
fn other_devices_see_both_sides_of_a_conversation() {
    let nodes = Nodes::start(3);
    nodes.account("romeo", "secret");
    nodes.account("juliet", "secret");
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut balcony = online(&nodes.list[1], "juliet", "balcony");
    let mut phone = online(&nodes.list[0], "juliet", "phone");
    let mut tablet = online(&nodes.list[2], "juliet", "tablet");
    tablet.fail("get", "", &carbons("enable"), "bad-request");
    tablet.fail("set", "", &carbons("dance"), "bad-request");
    tablet.fail("set", "romeo@localhost", &carbons("enable"), "forbidden");
    tablet.succeed("set", "", &carbons("enable"));
    let mut heard = String::new();
    wait_for("all nodes know it", || {
        romeo.chat("juliet@localhost/balcony", "hello");
        heard += &tablet.raw.gather();
        heard.contains("<received xmlns='urn:xmpp:carbons:2'>")
    });
    tablet.before(&mut romeo, "juliet@localhost/tablet");

    romeo.chat("juliet@localhost/balcony", "received once");
    let heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
    assert_eq!(heard.matches("received once").count(), 1, "{heard}");
    assert!(
        heard.contains(
            "<message from='juliet@localhost' to='juliet@localhost/tablet' type='chat'>\
             <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='romeo@localhost/garden' \
             to='juliet@localhost/balcony' type='chat'><body>received once</body></message>\
             </forwarded></received></message>"
        ),
        "{heard}"
    );
    balcony.chat("romeo@localhost", "sent once");
    let heard = tablet.before(&mut balcony, "juliet@localhost/tablet");
    assert!(
        heard.contains(
            "<message from='juliet@localhost' to='juliet@localhost/tablet' type='chat'>\
             <sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='juliet@localhost/balcony' \
             to='romeo@localhost' type='chat'><body>sent once</body></message>"
        ),
        "{heard}"
    );
    // who gets a message itself, and who sent it, gets no copy
    romeo.chat("juliet@localhost", "to all");
    let heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
    assert!(heard.contains("to all") && !heard.contains("carbons"), "{heard}");
    tablet.chat("romeo@localhost", "from the tablet");
    let heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
    assert!(!heard.contains("from the tablet"), "{heard}");
    // who has not asked gets none
    let heard = phone.before(&mut romeo, "juliet@localhost/phone");
    assert!(heard.contains("to all") && !heard.contains("carbons"), "{heard}");

    romeo.say(
        "<message to='juliet@localhost/balcony' type='chat'><body>secret</body>\
         <private xmlns='urn:xmpp:carbons:2'/></message>",
    );
    romeo
        .say("<message to='juliet@localhost/balcony' type='groupchat'><body>room</body></message>");
    let heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
    assert!(!heard.contains("secret") && !heard.contains("room"), "{heard}");
    let heard = balcony.before(&mut romeo, "juliet@localhost/balcony");
    assert!(heard.contains("<body>secret</body></message>"), "{heard}");

    // nobody makes copies himself
    let forged = "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                  <message xmlns='jabber:client' from='nurse@localhost'/></forwarded></received>";
    for to in ["juliet@localhost/tablet", "juliet@localhost"] {
        romeo.say(&format!("<message to='{to}' id='forged' type='chat'>{forged}</message>"));
        romeo.hear("id='forged' type='error'");
        let refused = romeo.hear("</message>");
        assert!(refused.contains("<not-acceptable"), "{refused}");
    }
    let heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
    assert!(!heard.contains("nurse"), "{heard}");

    tablet.succeed("set", "", &carbons("disable"));
    let mut heard = String::new();
    wait_for("all nodes know that it wants no more", || {
        romeo.chat("juliet@localhost/balcony", "hello");
        heard = tablet.before(&mut romeo, "juliet@localhost/tablet");
        !heard.contains("carbons")
    });
}

#[test]
fn a_client_that_nobody_looks_at_is_woken_by_words_only() {
    let nodes = Nodes::start(2);
    for user in ["romeo", "nurse", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut nurse = online(&nodes.list[0], "nurse", "kitchen");
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    let mut window = online(&nodes.list[1], "juliet", "window");
    juliet.hear("juliet@localhost/window");
    juliet.hear(">");
    all_see(&nodes, 4);
    // when the window has heard the words behind it, the balcony has it
    let mut present = |client: &mut Client, status: &str| {
        let status = format!("<status>{status}</status>");
        client.say(&format!("<presence to='juliet@localhost/balcony'>{status}</presence>"));
        window.before(client, "juliet@localhost/window");
    };
    juliet.say("<inactive xmlns='urn:xmpp:csi:0'/>");
    juliet.succeed("get", "localhost", "<ping xmlns='urn:xmpp:ping'/>");
    present(&mut romeo, "one");
    present(&mut nurse, "two");
    present(&mut romeo, "three");
    assert_eq!(juliet.raw.gather(), "", "presence can wait");
    let heard = juliet.before(&mut romeo, "juliet@localhost/balcony");
    let places: Vec<_> =
        ["two", "three", "mark-"].iter().map(|word| heard.find(word).expect("heard")).collect();
    assert!(places.is_sorted() && !heard.contains("one"), "{heard}");

    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let to = "to='juliet@localhost/balcony' type='chat'";
    romeo.say(&format!("<message {to}>{typing}</message>"));
    present(&mut romeo, "four");
    present(&mut romeo, "five");
    assert_eq!(juliet.raw.gather(), "", "presence can wait again");
    juliet.say("<active xmlns='urn:xmpp:csi:0'/>");
    let heard = juliet.hear("five");
    assert!(heard.contains("<composing") && !heard.contains("four"), "{heard}");
    present(&mut romeo, "six");
    present(&mut romeo, "seven");
    let heard = juliet.hear("seven");
    assert!(heard.contains("six"), "whoever looks sees all: {heard}");
    juliet.say("<sleeping xmlns='urn:xmpp:csi:0'/>");
    juliet.hear("<unsupported-stanza-type");
}

/// Romeo and Juliet see each other's presence; the nurse sees nobody's.
fn befriend(romeo: &mut Client, juliet: &mut Client) {
    for (one, other) in [("romeo", "juliet"), ("juliet", "romeo")] {
        let (asks, answers) = match one {
            "romeo" => (&mut *romeo, &mut *juliet),
            _ => (&mut *juliet, &mut *romeo),
        };
        asks.say(&format!("<presence to='{other}@localhost' type='subscribe'/>"));
        answers.hear("type='subscribe'");
        answers.say(&format!("<presence to='{one}@localhost' type='subscribed'/>"));
        asks.hear(&format!("from='{other}@localhost/"));
    }
}

#[test]
fn everybody_reads_what_a_person_says_of_itself() {
    let nodes = Nodes::start_with(3, "[xep]\nvcard_bytes_max = \"2KiB\"");
    for user in ["romeo", "nurse", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut nurse = online(&nodes.list[1], "nurse", "kitchen");
    let mut juliet = online(&nodes.list[2], "juliet", "balcony");
    let ask = "<vCard xmlns='vcard-temp'/>";
    let none = juliet.succeed("get", "", ask);
    assert!(none.contains(ask), "{none}");
    nurse.fail("get", "juliet@localhost", ask, "service-unavailable");
    nurse.fail("get", "nobody@localhost", ask, "service-unavailable");
    let vcard =
        "<vCard xmlns='vcard-temp' xmlns:p='u'><FN p:x='1'>Juliet &amp; <![CDATA[<]]></FN></vCard>";
    romeo.fail("set", "juliet@localhost", vcard, "forbidden");
    juliet.fail("set", "", "<card xmlns='vcard-temp'/>", "bad-request");
    let large = format!("<vCard xmlns='vcard-temp'><FN>{}</FN></vCard>", "x".repeat(2_048));
    juliet.fail("set", "", &large, "not-acceptable");
    // it would mean nothing without the request's own tag
    juliet.say(
        "<iq type='set' id='outside' xmlns:p='u'><vCard xmlns='vcard-temp'><FN p:x='1'/></vCard></iq>",
    );
    assert!(juliet.answer("outside").contains("<bad-request"));
    juliet.succeed("set", "", vcard);
    for client in [&mut juliet, &mut nurse, &mut romeo] {
        let heard = client.succeed("get", "juliet@localhost", ask);
        assert!(heard.contains(vcard), "{heard}");
    }
    juliet.succeed("set", "", ask);
    let none = juliet.succeed("get", "", ask);
    assert!(none.contains(ask), "{none}");
    let heard = romeo.succeed("get", "localhost", ask);
    assert!(heard.contains("<FN>Jabiru</FN>"), "{heard}");
}

#[test]
fn clients_keep_private_xml() {
    let nodes =
        Nodes::start_with(2, "[xep]\nprivate_bytes_max = \"1KiB\"\nprivate_elements_max = 3");
    nodes.account("romeo", "secret");
    nodes.account("juliet", "secret");
    let mut garden = online(&nodes.list[0], "romeo", "garden");
    let mut phone = online(&nodes.list[1], "romeo", "phone");
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    let query = |inside: &str| format!("<query xmlns='jabber:iq:private'>{inside}</query>");
    let bookmarks =
        "<storage xmlns='storage:bookmarks'><conference jid='a@b' xmlns:p='u' p:x=''/></storage>";
    let notes = "<p:notes xmlns:p='notes'><p:note>&lt;</p:note></p:notes>";
    juliet.fail("set", "romeo@localhost", &query(bookmarks), "forbidden");
    juliet.fail(
        "get",
        "romeo@localhost",
        &query("<storage xmlns='storage:bookmarks'/>"),
        "forbidden",
    );
    garden.fail("set", "", &query(""), "not-acceptable");
    garden.fail("set", "", &query("<storage/>"), "not-acceptable");
    garden.fail("set", "", &query(&format!("{bookmarks}<notes/>")), "not-acceptable");
    garden.fail("set", "", &query(&format!("{bookmarks}{bookmarks}")), "bad-request");
    garden.fail("set", "", "<all xmlns='jabber:iq:private'/>", "bad-request");
    garden.fail("get", "", &query(""), "bad-request");
    garden.fail("get", "", &query("<a xmlns='u'/><b xmlns='u'/>"), "bad-request");
    let nothing = "<storage xmlns='storage:bookmarks'/>";
    let heard = phone.succeed("get", "", &query(nothing));
    assert!(heard.contains(&query(nothing)), "{heard}");
    garden.succeed("set", "", &query(&format!("{bookmarks}{notes}")));
    for client in [&mut garden, &mut phone] {
        let heard = client.succeed("get", "", &query(nothing));
        assert!(heard.contains(&query(bookmarks)), "{heard}");
        let heard = client.succeed("get", "", &query("<notes xmlns='notes'/>"));
        assert!(heard.contains(&query(notes)), "{heard}");
    }
    let more = |name: &str, bytes: usize| {
        query(&format!("<{name} xmlns='more'>{}</{name}>", "x".repeat(bytes)))
    };
    phone.fail("set", "", &more("a", 1_024), "resource-constraint");
    phone.succeed("set", "", &more("a", 1));
    phone.fail("set", "", &more("b", 1), "resource-constraint");
    phone.succeed("set", "", &more("a", 2));
    phone.succeed("set", "", &query(nothing));
    phone.succeed("set", "", &more("b", 1));
    let heard = garden.succeed("get", "", &query(nothing));
    assert!(heard.contains(&query(nothing)), "{heard}");
}

#[test]
fn friends_learn_since_when_somebody_is_away() {
    let nodes = Nodes::start(3);
    for user in ["romeo", "nurse", "juliet", "tybalt"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    let mut nurse = online(&nodes.list[2], "nurse", "kitchen");
    befriend(&mut romeo, &mut juliet);
    let ask = "<query xmlns='jabber:iq:last'/>";
    let heard = romeo.succeed("get", "juliet@localhost", ask);
    assert!(heard.contains("<query xmlns='jabber:iq:last' seconds='0'/>"), "{heard}");
    nurse.fail("get", "juliet@localhost", ask, "forbidden");
    romeo.fail("set", "juliet@localhost", ask, "bad-request");
    juliet.say("<presence type='unavailable'><status>Farewell!</status></presence>");
    let mut heard = String::new();
    wait_for("it is known on all nodes", || {
        heard = romeo.ask("get", "juliet@localhost", ask);
        heard.contains("Farewell!")
    });
    assert!(heard.contains(" type='result'"), "{heard}");
    let seconds = heard.split("seconds='").nth(1).and_then(|rest| rest.split('\'').next());
    let seconds: u64 = seconds.and_then(|text| text.parse().ok()).expect("seconds");
    assert!(seconds < 60, "{heard}");
    let heard = romeo.succeed("get", "localhost", ask);
    assert!(heard.contains("seconds='"), "{heard}");
    nurse.fail("get", "nobody@localhost", ask, "service-unavailable");
    let mut tybalt = log_in(&nodes.list[0], "tybalt", "street");
    tybalt.fail("get", "", ask, "item-not-found");
}

fn list(name: &str, addresses: &[&str]) -> String {
    let items = addresses.iter().map(|address| format!("<item jid='{address}'/>"));
    format!("<{name} xmlns='urn:xmpp:blocking'>{}</{name}>", items.collect::<String>())
}

#[test]
fn who_is_blocked_hears_and_reaches_nobody_on_any_node() {
    let nodes = Nodes::start_with(3, "[xep]\nblocked_max = 3");
    for user in ["romeo", "nurse", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    befriend(&mut romeo, &mut juliet);
    let mut phone = online(&nodes.list[2], "juliet", "phone");
    romeo.hear("from='juliet@localhost/phone'");
    romeo.hear("/>");
    let get = "<blocklist xmlns='urn:xmpp:blocking'/>";
    for client in [&mut juliet, &mut phone] {
        let empty = client.succeed("get", "", get);
        assert!(empty.contains(get), "{empty}");
    }
    juliet.fail("get", "romeo@localhost", get, "forbidden");
    juliet.fail("set", "romeo@localhost", &list("block", &["a@b"]), "forbidden");
    juliet.fail("set", "", &list("block", &[]), "bad-request");
    juliet.fail("set", "", &list("dance", &["a@b"]), "bad-request");
    juliet.fail("set", "", &list("block", &["@"]), "jid-malformed");
    juliet.fail("set", "", &list("block", &["juliet@localhost"]), "not-allowed");
    juliet.fail("set", "", &list("block", &["a", "b", "c", "d"]), "resource-constraint");

    let block = list("block", &["romeo@localhost"]);
    juliet.succeed("set", "", &block);
    phone.hear(&block);
    juliet.hear(&block);
    romeo.hear("type='unavailable'/>");
    romeo.hear("type='unavailable'/>");
    let refused = |client: &mut Client, words: &str, condition: &str| {
        client.say(words);
        client.hear("id='refused' type='error'");
        let error = client.hear("</error>");
        assert!(error.contains(condition), "{words}: {error}");
        error
    };
    let to = "to='romeo@localhost/garden' id='refused'";
    for words in [
        format!("<message {to} type='chat'><body>x</body></message>"),
        format!("<iq {to} type='get'><ping xmlns='urn:xmpp:ping'/></iq>"),
        format!("<presence {to}/>"),
        format!("<presence {to} type='subscribe'/>"),
    ] {
        let error = refused(&mut phone, &words, "<not-acceptable");
        assert!(error.contains("<blocked xmlns='urn:xmpp:blocking:errors'/>"), "{error}");
    }
    for to in ["juliet@localhost", "juliet@localhost/phone"] {
        let message =
            format!("<message to='{to}' id='refused' type='chat'><body>x</body></message>");
        let error = refused(&mut romeo, &message, "<service-unavailable");
        assert!(!error.contains("blocked"), "{error}");
        let iq = format!("<iq to='{to}' id='refused' type='get'><vCard xmlns='vcard-temp'/></iq>");
        refused(&mut romeo, &iq, "<service-unavailable");
    }
    // neither sees the other, even one who comes anew
    juliet.say("<presence><show>dnd</show></presence>");
    romeo.say("<presence><show>away</show></presence>");
    romeo.say("<presence to='juliet@localhost/phone'><show>xa</show></presence>");
    romeo.say("<presence to='juliet@localhost' type='probe'/>");
    let mut lane = online(&nodes.list[2], "romeo", "lane");
    lane.hear("from='romeo@localhost/garden'");
    let mut nurse = online(&nodes.list[0], "nurse", "kitchen");
    for (client, name) in [(&mut juliet, "balcony"), (&mut phone, "phone")] {
        let heard = client.before(&mut nurse, &format!("juliet@localhost/{name}"));
        assert!(!heard.contains("from='romeo@localhost"), "{heard}");
    }
    for (client, name) in [(&mut romeo, "garden"), (&mut lane, "lane")] {
        let heard = client.before(&mut nurse, &format!("romeo@localhost/{name}"));
        assert!(!heard.contains("<presence from='juliet@localhost"), "{heard}");
    }
    let kept = phone.succeed("get", "", get);
    assert!(kept.contains(&list("blocklist", &["romeo@localhost"])), "{kept}");

    let unblock = list("unblock", &["romeo@localhost"]);
    phone.succeed("set", "", &unblock);
    juliet.hear(&unblock);
    lane.hear("from='juliet@localhost/balcony'");
    lane.hear("<show>dnd</show>");
    juliet.hear("from='romeo@localhost/garden'");
    juliet.hear("<show>away</show>");
    let heard = juliet.before(&mut romeo, "juliet@localhost/balcony");
    assert!(!heard.contains("error"), "{heard}");
}

#[test]
fn a_request_of_who_is_blocked_is_not_shown() {
    let nodes = Nodes::start(2);
    for user in ["tybalt", "paris", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut tybalt = online(&nodes.list[0], "tybalt", "street");
    let mut paris = online(&nodes.list[1], "paris", "house");
    let ask = "<presence to='juliet@localhost' type='subscribe'/>";
    tybalt.say(ask);
    tybalt.succeed("get", "", "<query xmlns='jabber:iq:roster'/>");
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    juliet.hear("from='tybalt@localhost'");
    juliet.succeed("set", "", &list("block", &["tybalt@localhost", "other.localhost"]));
    juliet.say("<presence type='unavailable'/><presence/>");
    juliet.hear("<presence from='juliet@localhost/balcony'");
    paris.say(ask);
    let heard = juliet.hear("from='paris@localhost'");
    assert!(!heard.contains("tybalt"), "{heard}");
    // of a whole service
    juliet.say("<message to='other.localhost' id='whole'><body>x</body></message>");
    juliet.hear("id='whole' type='error'");
    assert!(juliet.hear("</error>").contains("<blocked"));
    juliet.succeed("set", "", &list("unblock", &[]));
    let empty = juliet.succeed("get", "", "<blocklist xmlns='urn:xmpp:blocking'/>");
    assert!(empty.contains("<blocklist xmlns='urn:xmpp:blocking'/>"), "{empty}");
}

#[test]
fn the_host_is_known_by_its_capabilities_and_says_whom_to_write_to() {
    let nodes = Nodes::start_with(2, "[xep.contacts]\nabuse = [\"mailto:abuse@localhost\"]");
    nodes.account("romeo", "secret");
    nodes.account("juliet", "secret");
    let mut raw = Raw::direct(&nodes.list[1]);
    let features = raw.authenticate("juliet", "secret");
    assert!(features.contains("<csi xmlns='urn:xmpp:csi:0'/>"), "{features}");
    let caps = features.split("<c xmlns='http://jabber.org/protocol/caps'").nth(1).expect("caps");
    let part = |name: &str| {
        let rest = caps.split(&format!(" {name}='")).nth(1).expect("an attribute");
        rest.split('\'').next().expect("its value").to_owned()
    };
    assert_eq!(part("hash"), "sha-1");
    let node = format!("{}#{}", part("node"), part("ver"));
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let ask = |more: &str| format!("<query xmlns='http://jabber.org/protocol/disco#info'{more}/>");
    let plain = romeo.succeed("get", "localhost", &ask(""));
    let by_node = romeo.succeed("get", "localhost", &ask(&format!(" node='{node}'")));
    let inside = |answer: &str| answer.split("<identity").nth(1).expect("an identity").to_owned();
    assert_eq!(inside(&plain), inside(&by_node), "the same on another node");
    assert!(by_node.contains(&format!("node='{node}'")), "{by_node}");
    romeo.fail("get", "localhost", &ask(" node='urn:jabiru:server#other'"), "item-not-found");
    assert!(plain.contains("<feature var='msgoffline'/>"), "{plain}");
    let form = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
                <value>http://jabber.org/network/serverinfo</value></field>\
                <field var='abuse-addresses' type='list-multi'>\
                <value>mailto:abuse@localhost</value></field></x>";
    assert!(plain.contains(form), "{plain}");
    // an account is known to its friends
    let mut juliet = online(&nodes.list[1], "juliet", "balcony");
    let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    for child in [ask("").as_str(), items] {
        juliet.succeed("get", "", child);
        romeo.fail("get", "juliet@localhost", child, "service-unavailable");
        romeo.fail("get", "nobody@localhost", child, "service-unavailable");
    }
    befriend(&mut romeo, &mut juliet);
    let heard = romeo.succeed("get", "juliet@localhost", &ask(""));
    assert!(heard.contains("<identity category='account' type='registered'"), "{heard}");
    let heard = romeo.succeed("get", "juliet@localhost", items);
    assert!(heard.contains(items), "{heard}");
}

#[test]
fn a_lost_node_tells_nothing_of_who_is_blocked() {
    let mut nodes = Nodes::start(3);
    for user in ["romeo", "nurse", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(&nodes.list[0], "romeo", "garden");
    let mut juliet = online(&nodes.list[2], "juliet", "balcony");
    befriend(&mut romeo, &mut juliet);
    juliet.succeed("set", "", &list("block", &["romeo@localhost"]));
    romeo.hear("type='unavailable'/>");
    // one who is not blocked hears it, and then Romeo would have
    let mut nurse = online(&nodes.list[0], "nurse", "kitchen");
    all_see(&nodes, 3);
    juliet.say("<presence to='nurse@localhost/kitchen'/>");
    nurse.hear("from='juliet@localhost/balcony'");
    nodes.list[2].kill();
    nurse.hear("type='unavailable'/>");
    let heard = romeo.before(&mut nurse, "romeo@localhost/garden");
    assert!(!heard.contains("juliet"), "{heard}");
}
