//! What operators and administrators do to accounts, and what real clients see
//! of it, on whichever node they are.

mod support;

use std::fs;

use support::raw::{HEADER, Raw};
use support::{Node, Nodes, run, wait_for};

/// Runs a command on a node and gives back its exit code and all that it said.
fn said(node: &Node, args: &[&str]) -> (i32, String) {
    said_with(node, args, "")
}

fn said_with(node: &Node, args: &[&str], input: &str) -> (i32, String) {
    let socket = format!("--socket={}", node.socket());
    let (command, rest) = args.split_first().expect("a command");
    let output = run(&[&[*command, socket.as_str()], rest].concat(), input);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
fn check(node: &Node, args: &[&str], code: i32, words: &str) {
    let (exit, text) = said(node, args);
    assert_eq!(exit, code, "{args:?}: {text}");
    assert!(text.contains(words), "{args:?}: no {words:?} in {text}");
}

fn log_in(node: &Node, user: &str) -> Raw {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", "here");
    raw
}

/// Logs in, asks for the roster and becomes available.
fn online(node: &Node, user: &str) -> Raw {
    let mut raw = log_in(node, user);
    raw.say(b"<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    raw.hear("id='roster'");
    raw.say(b"<presence/>");
    raw.hear("<presence from=");
    raw
}

/// What a client hears to a wrong or right password.
fn answer_to_plain(node: &Node, user: &str, password: &str) -> String {
    use base64::Engine as _;
    let mut raw = Raw::direct(node);
    raw.say(HEADER.as_bytes());
    raw.hear("</stream:features>");
    let plain = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    raw.say(format!("<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>").as_bytes());
    raw.hear("/>")
}

#[test]
fn an_account_that_is_removed_leaves_nothing_and_all_who_knew_it_hear_it() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    for user in ["romeo", "juliet", "nurse"] {
        nodes.account(user, "secret");
    }
    let mut juliet = online(n1, "juliet");
    let mut romeo = log_in(n0, "romeo");
    let both = ["--subscription", "both", "--name", "Julia", "--group", "Capulet"];
    let add = [&["roster", "romeo@localhost", "add", "juliet@localhost"][..], &both].concat();
    check(n0, &add, 0, "romeo@localhost has juliet@localhost in its roster (on 2 nodes)");
    let heard = juliet.hear("</iq>");
    assert!(heard.contains("jid='romeo@localhost' subscription='both'"), "{heard}");
    check(n1, &["roster", "romeo@localhost"], 0, "juliet@localhost  Julia  both");
    check(n0, &["send", "nurse@localhost", "romeo@localhost", "hush"], 0, "sent");
    wait_for("it is stored", || {
        said(n1, &["offline", "romeo@localhost", "count"]) == (0, "1\n".into())
    });
    let vcard = nodes.folder.path().join("vcard");
    fs::write(&vcard, "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>\n").expect("writable");
    let vcard = vcard.to_str().expect("text");
    check(n0, &["vcard", "romeo@localhost", "set", vcard], 0, "has a new vCard (on 2 nodes)");
    check(n1, &["vcard", "romeo@localhost"], 0, "<FN>Romeo</FN>");

    check(n1, &["user", "remove", "romeo@localhost"], 0, "romeo@localhost removed (on 2 nodes)");
    let last = romeo.rest();
    assert!(last.contains("<not-authorized") && last.contains("has gone"), "{last}");
    let mut heard = String::new();
    wait_for("juliet knows", || {
        heard += &juliet.gather();
        heard.contains("type='unsubscribed'")
            && heard.contains("jid='romeo@localhost' subscription='none'")
    });
    check(n0, &["user", "remove", "romeo@localhost"], 1, "romeo@localhost: there is none");
    assert!(answer_to_plain(n0, "romeo", "secret").contains("not-authorized"));

    nodes.account("romeo", "secret");
    for node in [n0, n1] {
        check(node, &["roster", "romeo@localhost"], 0, "0 contacts");
        check(node, &["offline", "romeo@localhost", "count"], 0, "0\n");
        check(node, &["vcard", "romeo@localhost"], 1, "romeo@localhost has no vCard");
    }
    nodes.wait_until_all_agree();
}

#[test]
fn a_removal_that_was_cut_off_is_taken_up_again() {
    use jabiru::cluster::durable::row::Row;
    use jabiru::storage::embedded::Embedded;
    use jabiru::storage::{Reads, Store, Write};
    let mut nodes = Nodes::start(1);
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    let node = &nodes.list[0];
    let both = ["add", "juliet@localhost", "--subscription", "both"];
    check(node, &[&["roster", "romeo@localhost"][..], &both].concat(), 0, "in its roster");
    check(node, &["send", "juliet@localhost", "romeo@localhost", "hush"], 0, "sent");
    wait_for("it is stored", || {
        said(node, &["offline", "romeo@localhost", "count"]) == (0, "1\n".into())
    });
    nodes.list[0].stop();
    {
        // as if the node had been killed right after the mark was written
        let store = Embedded::open(&nodes.list[0].folder.join("data/store.redb")).expect("a store");
        let key = [&[1][..], b"romeo@localhost"].concat();
        let mut row =
            Row::read(&store.get(&key).expect("readable").expect("there")).expect("a row");
        let mut value = row.value.take().expect("an account").to_vec();
        assert_eq!(value.last(), Some(&0), "it is not leaving");
        *value.last_mut().expect("not empty") = 1;
        row.stamp.time += 1;
        row.value = Some(value.into());
        let written = row.written();
        store.write(&[Write::Put(key, written)]).expect("written");
    }
    nodes.list[0].start();
    let node = &nodes.list[0];
    wait_for("it is removed", || node.log().contains("account removed"));
    check(node, &["user", "list"], 0, "juliet@localhost\n");
    let roster = || said(node, &["roster", "juliet@localhost", "list"]).1;
    wait_for("juliet knows", || roster().contains("none"));
    nodes.account("romeo", "secret");
    check(node, &["roster", "romeo@localhost"], 0, "0 contacts");
    check(node, &["offline", "romeo@localhost", "count"], 0, "0\n");
}

#[test]
fn a_banned_account_stays_and_nobody_gets_in() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(n1, "romeo");
    let ban = ["ban", "romeo@localhost", "--reason", "spam"];
    check(n0, &ban, 0, "romeo@localhost is banned (on 2 nodes)");
    let last = romeo.rest();
    assert!(last.contains("<not-authorized") && last.contains("is disabled"), "{last}");
    for node in [n0, n1] {
        assert!(answer_to_plain(node, "romeo", "secret").contains("<account-disabled/>"));
        let wrong = answer_to_plain(node, "romeo", "wrong");
        assert!(wrong.contains("<not-authorized/>"), "nobody learns it without the password");
    }
    check(n1, &["ban"], 0, "romeo@localhost");
    let (_, list) = said(n1, &["ban", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list[0]["account"], "romeo@localhost");
    assert_eq!(list[0]["reason"], "spam");
    // a new password lets nobody in, and messages wait as for all who are away
    let (exit, text) = said_with(n0, &["user", "password", "romeo@localhost"], "secret\n");
    assert_eq!(exit, 0, "{text}");
    assert!(answer_to_plain(n0, "romeo", "secret").contains("<account-disabled/>"));
    check(n0, &["send", "juliet@localhost", "romeo@localhost", "hello"], 0, "sent");
    wait_for("it is stored", || {
        said(n0, &["offline", "romeo@localhost", "count"]) == (0, "1\n".into())
    });
    check(n1, &["unban", "romeo@localhost"], 0, "may be used again (on 2 nodes)");
    check(n0, &["unban", "romeo@localhost"], 0, "romeo@localhost was not banned");
    let mut romeo = log_in(n0, "romeo");
    romeo.say(b"<presence/>");
    assert!(romeo.hear("</message>").contains("<body>hello</body>"));
    check(n0, &["ban", "nobody@localhost"], 1, "nobody@localhost: there is none");
    check(n0, &["unban", "nobody@localhost"], 1, "nobody@localhost: there is none");
    check(n0, &["ban"], 0, "0 banned accounts");
}

#[test]
fn rosters_are_provisioned_for_both_sides_and_clients_see_it() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(n0, "romeo");
    let mut juliet = online(n1, "juliet");
    let add = |which: &str| {
        let words = ["roster", "romeo@localhost", "add", "juliet@localhost", "--subscription"];
        check(n1, &[&words[..], &[which]].concat(), 0, "in its roster");
    };
    add("to");
    let mut heard = String::new();
    wait_for("romeo sees her come", || {
        heard += &romeo.gather();
        heard.contains("jid='juliet@localhost' subscription='to'")
            && heard.contains("<presence from='juliet@localhost/here'")
    });
    let mut heard = String::new();
    wait_for("juliet knows that he sees her", || {
        heard += &juliet.gather();
        heard.contains("jid='romeo@localhost' subscription='from'")
    });
    assert!(!heard.contains("<presence from='romeo@localhost/here'"), "she does not see him");
    add("to");
    let (_, list) = said(n0, &["roster", "juliet@localhost", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list[0]["jid"], "romeo@localhost");
    assert_eq!(list[0]["subscription"], "from");
    let name = ["--name", "Julia", "--group", "x", "--group", "y"];
    let named = [&["roster", "romeo@localhost", "add", "juliet@localhost"][..], &name].concat();
    check(n1, &named, 0, "in its roster");
    check(n0, &["roster", "romeo@localhost"], 0, "Julia  to                   x, y");
    let remove = ["roster", "romeo@localhost", "remove", "juliet@localhost"];
    check(n0, &remove, 0, "has juliet@localhost no longer in its roster");
    check(n0, &remove, 1, "romeo@localhost: there is no such contact");
    wait_for("she shows herself no more", || {
        said(n1, &["roster", "juliet@localhost"]).1.contains("none")
    });
    let long = "x".repeat(1_024);
    for (args, words) in [
        (&["add", "romeo@localhost"][..], "nobody is a contact of itself"),
        (&["add", "nobody@localhost"], "nobody@localhost: there is no such account"),
        (&["add", "x"], "is not an account"),
        (&["add", "juliet@localhost", "--subscription", "much"], "none, to, from or both"),
        (&["add", "juliet@localhost", "--name", &long], "has more than 1023 bytes"),
        (&["add", "juliet@localhost", "--group", ""], "is empty or has more"),
    ] {
        check(n0, &[&["roster", "romeo@localhost"], args].concat(), 1, words);
    }
    check(n0, &["roster", "nobody@localhost"], 1, "nobody@localhost: there is no such account");
}

#[test]
fn what_waits_is_counted_and_thrown_away_and_read_by_nobody() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    for text in ["one", "two"] {
        check(n0, &["send", "juliet@localhost/a", "romeo@localhost", text], 0, "sent");
    }
    wait_for("they are stored", || {
        said(n1, &["offline", "romeo@localhost", "count"]) == (0, "2\n".into())
    });
    let (_, list) = said(n1, &["offline", "romeo@localhost", "list", "--json"]);
    assert!(!list.contains("one"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list[0]["from"], "juliet@localhost/a");
    assert!(list[0]["bytes"].as_u64().expect("a number") > 50);
    check(n1, &["offline", "romeo@localhost"], 0, "2 messages");
    check(n1, &["offline", "romeo@localhost", "clear"], 0, "2 messages to romeo@localhost thrown");
    check(n0, &["offline", "romeo@localhost", "clear"], 0, "0 messages");
    check(n0, &["offline", "nobody@localhost"], 1, "there is no such account");
    check(n0, &["offline", "nobody@localhost", "clear"], 1, "there is no such account");
    let mut romeo = log_in(n0, "romeo");
    romeo.say(b"<presence/>");
    romeo.hear("<presence from=");
    assert!(!romeo.gather().contains("<message"), "they are gone");

    let file = nodes.folder.path().join("file");
    let path = file.to_str().expect("text");
    for (content, words) in [
        ("", "not a vCard"),
        ("<vCard/>", "not a vCard"),
        ("<vCard xmlns='vcard-temp'>", "not a vCard"),
        ("<x xmlns='vcard-temp'/>", "not a vCard"),
    ] {
        fs::write(&file, content).expect("writable");
        check(n0, &["vcard", "romeo@localhost", "set", path], 1, words);
    }
    fs::write(&file, "<vCard xmlns='vcard-temp'/>").expect("writable");
    check(n0, &["vcard", "nobody@localhost", "set", path], 1, "there is no such account");
    check(n0, &["vcard", "romeo@localhost", "set", "/nowhere/x"], 1, "/nowhere/x: ");
}

#[test]
fn whatever_is_said_is_heard_on_the_other_node() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = online(n0, "romeo");
    let mut juliet = online(n1, "juliet");
    check(n0, &["send", "romeo@localhost", "juliet@localhost", "a < b"], 0, "sent");
    let heard = juliet.hear("</message>");
    assert!(heard.contains("from='romeo@localhost'") && heard.contains("a &lt; b"), "{heard}");
    check(n1, &["send", "localhost", "romeo@localhost/here", "x", "--type", "headline"], 0, "sent");
    assert!(romeo.hear("</message>").contains("type='headline'"));
    let stanza = "<iq type='get' id='v' from='juliet@localhost/here' to='localhost'>\
                  <query xmlns='jabber:iq:version'/></iq>\n";
    let (exit, text) = said_with(n0, &["send", "--stanza", "-"], stanza);
    assert_eq!(exit, 0, "{text}");
    assert!(juliet.hear("</iq>").contains("Jabiru"), "the answer goes to whoever seemed to ask");

    check(n1, &["announce", "--subject", "Note", "we stop at ten"], 0, "said to 2 sessions");
    for client in [&mut romeo, &mut juliet] {
        let heard = client.hear("</message>");
        assert!(heard.contains("type='headline'") && heard.contains("from='localhost'"), "{heard}");
        assert!(heard.contains("<subject>Note</subject><body>we stop at ten</body>"), "{heard}");
    }
    check(n1, &["announce", "--domain", "other.localhost", "hello"], 0, "said to 0 sessions");
    for (args, words) in [
        (&["announce", "--domain", "elsewhere", "x"][..], "\"elsewhere\" is not served here"),
        (&["announce", ""], "there is no text"),
        (&["send", "@", "juliet@localhost", "x"], "is not an address"),
        (&["send", "romeo@localhost", "x@elsewhere", "x"], "is not served here"),
        (&["send", "romeo@localhost", "nobody@localhost", "x"], "there is no such account"),
        (&["send", "romeo@localhost", "juliet@localhost", "\u{7}"], "control characters"),
    ] {
        check(n0, args, 1, words);
    }
    check(n0, &["send", "romeo@localhost"], 2, "required");
    for stanza in ["", "<x/>", "<message>", "<message/><message/>"] {
        let (exit, text) = said_with(n0, &["send", "--stanza", "-"], stanza);
        assert!(exit == 1 && text.contains("not one stanza"), "{stanza}: {text}");
    }
    let (exit, text) = said_with(n0, &["send", "--stanza", "-"], "<message to='a@localhost'/>");
    assert!(exit == 1 && text.contains("`from`"), "{text}");
}

#[test]
fn who_was_banned_behind_the_back_of_a_node_is_sent_away_by_it_as_well() {
    let nodes = Nodes::start(2);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    nodes.account("romeo", "secret");
    let mut romeo = online(n1, "romeo");
    let signal = |name: &str| {
        let id = n1.id().to_string();
        let sent = std::process::Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("it runs").success());
    };
    signal("-STOP");
    wait_for("the others give it up", || n0.verdict().as_deref() == Some("1 node, alone"));
    let banned = said(n0, &["ban", "romeo@localhost"]);
    signal("-CONT");
    assert_eq!(banned, (0, "romeo@localhost is banned (on 1 node)\n".into()));
    let last = romeo.rest();
    assert!(last.contains("<not-authorized") && last.contains("is disabled"), "{last}");
    nodes.wait_until_all_agree();
    check(n1, &["ban"], 0, "1 banned account");
}
