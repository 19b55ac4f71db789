//! Accounts that people make, change and cancel by themselves (XEP-0077), and
//! administrators who serve themselves (XEP-0050, XEP-0133), on real nodes.

mod support;

use support::raw::{HEADER, Raw};
use support::{Node, Nodes, wait_for};

const REGISTER: &str = "jabber:iq:register";

const OPEN: &str = "[register]\nenabled = true\nper_address_max = 2\n";

fn log_in(node: &Node, user: &str, password: &str, resource: &str) -> Raw {
    let mut raw = Raw::direct(node);
    raw.bind(user, password, resource);
    raw
}

/// A stream before authentication.
fn open(node: &Node) -> Raw {
    let mut raw = Raw::direct(node);
    raw.say(HEADER.as_bytes());
    raw.hear("</stream:features>");
    raw
}

/// Asks, and hears the answer.
#[track_caller]
fn ask(raw: &mut Raw, attributes: &str, payload: &str) -> String {
    raw.say(format!("<iq {attributes} id='ask'>{payload}</iq>").as_bytes());
    let mut heard = String::new();
    loop {
        heard += &raw.hear(">");
        let is_whole = |text: &str| {
            let rest = text.split("id='ask'").nth(1).unwrap_or_default();
            rest.starts_with(" type='result'/>") || rest.contains("</iq>")
        };
        if is_whole(&heard) {
            return heard;
        }
        assert!(!heard.contains("</stream:stream>"), "{heard}");
    }
}

fn registration(username: &str, password: &str) -> String {
    format!(
        "<query xmlns='{REGISTER}'><username>{username}</username>\
         <password>{password}</password></query>"
    )
}

#[test]
fn anybody_makes_an_account_as_far_as_the_limit_lets_him() {
    let nodes = Nodes::start_with(2, OPEN);
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    let make = |node: &Node, name: &str| {
        ask(&mut open(node), "type='set'", &registration(name, "balcony1"))
    };
    assert!(make(n0, "Juliet").contains("type='result'"));
    // it is everywhere at once
    log_in(n1, "juliet", "balcony1", "x");
    assert!(make(n1, "juliet").contains("<conflict"));
    assert!(make(n0, "postmaster").contains("<not-acceptable"));
    assert!(make(n0, "romeo").contains("type='result'"));
    let limited = make(n0, "nurse");
    assert!(limited.contains("<resource-constraint") && limited.contains("type='wait'"));
    assert!(make(n1, "nurse").contains("type='result'"), "each node counts for itself");
    // before TLS nobody is asked
    let mut plain = Raw::plain(n0);
    plain.say(HEADER.as_bytes());
    assert!(!plain.hear("</stream:features>").contains("iq-register"));
}

#[test]
fn where_it_is_off_nobody_makes_one() {
    let nodes = Nodes::start(1);
    let mut raw = open(&nodes.list[0]);
    let asked = format!("<iq type='set' id='1'>{}</iq>", registration("romeo", "balcony1"));
    raw.say(asked.as_bytes());
    assert!(raw.rest().contains("<not-authorized"));
}

#[test]
fn a_password_is_changed_by_its_owner_alone_and_sessions_stay() {
    let nodes = Nodes::start(3);
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    // one of the three is not the account's home, one is
    for (at, node) in nodes.list.iter().enumerate() {
        let (old, new) = (format!("secret{at}-old"), format!("secret{at}-new"));
        node.jabiru(&["user", "password", "romeo@localhost"], &old);
        let mut romeo = log_in(node, "romeo", &old, "a");
        let mut other = log_in(&nodes.list[(at + 1) % 3], "romeo", &old, "b");
        let get = format!("<query xmlns='{REGISTER}'/>");
        let told = ask(&mut romeo, "type='get' to='localhost'", &get);
        assert!(told.contains("<registered/><username>romeo</username>"), "{told}");
        for to in ["", "to='localhost'", "to='romeo@localhost'"] {
            let attributes = format!("type='set' {to}");
            let forbidden = ask(&mut romeo, &attributes, &registration("juliet", &new));
            assert!(forbidden.contains("<forbidden"), "{to}: {forbidden}");
            let weak = ask(&mut romeo, &attributes, &registration("romeo", "short"));
            assert!(weak.contains("<not-acceptable"), "{to}: {weak}");
            let none =
                ask(&mut romeo, &attributes, &registration("romeo", "\u{ad}".repeat(9).as_str()));
            assert!(none.contains("<not-acceptable"), "{to}: {none}");
            let done = ask(&mut romeo, &attributes, &registration("Romeo", &new));
            assert!(done.contains("type='result'"), "{to}: {done}");
        }
        let theirs =
            ask(&mut romeo, "type='set' to='juliet@localhost'", &registration("juliet", &new));
        assert!(theirs.contains("<forbidden"), "{theirs}");
        let elsewhere =
            ask(&mut romeo, "type='set' to='other.localhost'", &registration("romeo", &new));
        assert!(elsewhere.contains("<not-allowed"), "{elsewhere}");
        let ping = ask(&mut other, "type='get' to='localhost'", "<ping xmlns='urn:xmpp:ping'/>");
        assert!(ping.contains("type='result'"), "the other session stays: {ping}");
        log_in(&nodes.list[(at + 2) % 3], "romeo", &new, "c");
    }
}

#[test]
fn an_account_is_cancelled_by_its_owner_wherever_it_asks() {
    let nodes = Nodes::start(3);
    nodes.account("juliet", "secret");
    for (at, to) in ["", "to='localhost'", "to='romeo@localhost'"].into_iter().enumerate() {
        nodes.account("romeo", "secret");
        let both = ["add", "juliet@localhost", "--subscription", "both"];
        nodes.list[0].jabiru(&[&["roster", "romeo@localhost"][..], &both].concat(), "");
        let mut romeo = log_in(&nodes.list[at], "romeo", "secret", "a");
        let mut other = log_in(&nodes.list[(at + 1) % 3], "romeo", "secret", "b");
        let not_alone = format!("<query xmlns='{REGISTER}'><remove/><username/></query>");
        let refused = ask(&mut romeo, &format!("type='set' {to}"), &not_alone);
        assert!(refused.contains("<bad-request"), "{to}: {refused}");
        let remove = format!("<query xmlns='{REGISTER}'><remove/></query>");
        romeo.say(format!("<iq type='set' {to} id='ask'>{remove}</iq>").as_bytes());
        let heard = romeo.rest();
        let result = heard.find("id='ask' type='result'").expect("a result");
        let end = heard.find("<not-authorized").expect("the end");
        assert!(result < end, "{to}: the result comes first: {heard}");
        assert!(other.rest().contains("<not-authorized"), "{to}");
        let list = || nodes.list[0].jabiru(&["user", "list"], "");
        wait_for("it is gone", || list() == "juliet@localhost\n");
        let roster = || nodes.list[2].jabiru(&["roster", "juliet@localhost"], "");
        wait_for("juliet knows", || roster().contains("none"));
    }
}

const COMMANDS: &str = "http://jabber.org/protocol/commands";
const ADMIN: &str = "http://jabber.org/protocol/admin#";

/// A command of the administrator's.
fn command(raw: &mut Raw, node: &str, attributes: &str, form: &str) -> String {
    let payload =
        format!("<command xmlns='{COMMANDS}' node='{ADMIN}{node}' {attributes}>{form}</command>");
    ask(raw, "type='set' to='localhost'", &payload)
}

/// Fills in a form.
fn form(fields: &[(&str, &[&str])]) -> String {
    let mut form = "<x xmlns='jabber:x:data' type='submit'>".to_owned();
    for (var, values) in fields {
        let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
        form += &format!("<field var='{var}'>{values}</field>");
    }
    form + "</x>"
}

fn session(heard: &str) -> String {
    let rest = heard.split("sessionid='").nth(1).expect("a session");
    rest.split('\'').next().expect("its id").to_owned()
}

/// Asks for the form of a command, and sends it filled in.
fn carry_out(raw: &mut Raw, node: &str, fields: &[(&str, &[&str])]) -> String {
    let asked = command(raw, node, "action='execute'", "");
    assert!(asked.contains("status='executing'") && asked.contains("type='form'"), "{asked}");
    let id = session(&asked);
    command(raw, node, &format!("sessionid='{id}' action='complete'"), &form(fields))
}

#[test]
fn administrators_serve_themselves_and_nobody_else_does() {
    let mut nodes = Nodes::prepare(2, "");
    for node in &mut nodes.list {
        node.configure("[admin]\n", "[admin]\nadmins = [\"romeo@localhost\"]\n");
        node.start();
    }
    nodes.wait_until_all_agree();
    for user in ["romeo", "juliet"] {
        nodes.account(user, "secret");
    }
    let mut romeo = log_in(&nodes.list[0], "romeo", "secret", "a");
    let mut juliet = log_in(&nodes.list[1], "juliet", "secret", "a");

    let items =
        format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
    let told = ask(&mut romeo, "type='get' to='localhost'", &items);
    assert!(told.contains(&format!("node='{ADMIN}add-user' name='Add User'")), "{told}");
    let told = ask(&mut juliet, "type='get' to='localhost'", &items);
    assert!(told.contains("<forbidden") && !told.contains("add-user"), "{told}");
    let info =
        format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{ADMIN}announce'/>");
    let told = ask(&mut romeo, "type='get' to='localhost'", &info);
    assert!(told.contains("category='automation' type='command-node'"), "{told}");
    let unknown = info.replace("#announce", "#dance");
    let told = ask(&mut romeo, "type='get' to='localhost'", &unknown);
    assert!(told.contains("<item-not-found"), "{told}");
    assert!(command(&mut juliet, "add-user", "", "").contains("<forbidden"));

    // a user is added, on all nodes, and given another password
    let nurse = [
        ("accountjid", &["nurse@localhost"][..]),
        ("password", &["secret"]),
        ("password-verify", &["secret"]),
    ];
    let done = carry_out(&mut romeo, "add-user", &nurse);
    assert!(
        done.contains("status='completed'") && done.contains("nurse@localhost added"),
        "{done}"
    );
    log_in(&nodes.list[1], "nurse", "secret", "x");
    let twice = carry_out(&mut romeo, "add-user", &nurse);
    assert!(twice.contains("<note type='error'>nurse@localhost: there is one already"), "{twice}");
    let foreign = [("accountjid", &["nurse@elsewhere"][..]), nurse[1], nurse[2]];
    assert!(carry_out(&mut romeo, "add-user", &foreign).contains("is not served here"));
    let differ = [nurse[0], nurse[1], ("password-verify", &["other"][..])];
    assert!(carry_out(&mut romeo, "add-user", &differ).contains("the passwords differ"));
    let fresh = [nurse[0], ("password", &["fresh"][..])];
    assert!(carry_out(&mut romeo, "change-user-password", &fresh).contains("completed"));
    let mut nurse = log_in(&nodes.list[1], "nurse", "fresh", "x");
    nurse.say(b"<presence/>");
    nurse.hear("<presence from=");

    // numbers and lists
    let told = command(&mut romeo, "get-registered-users-num", "", "");
    assert!(told.contains("<field var='registeredusersnum'"), "{told}");
    assert!(told.contains("<value>3</value>"), "{told}");
    wait_for("romeo's node sees her", || {
        let told = command(&mut romeo, "get-online-users-num", "", "");
        told.contains("var='onlineusersnum' type='text-single'><value>1</value>")
            && told.contains("var='onlineusersnum-node' type='text-single'><value>0</value>")
    });
    let told = carry_out(&mut romeo, "get-registered-users-list", &[("max_items", &["25"])]);
    assert!(
        told.contains("<value>juliet@localhost</value><value>nurse@localhost</value>"),
        "{told}"
    );
    let told = carry_out(&mut romeo, "get-online-users-list", &[]);
    assert!(told.contains("<value>nurse@localhost</value>"), "{told}");
    let odd = carry_out(&mut romeo, "get-online-users-list", &[("max_items", &["7"])]);
    assert!(odd.contains("<bad-payload"), "{odd}");

    // everybody hears it
    let words = [("subject", &["Note"][..]), ("announcement", &["one", "two"])];
    let told = carry_out(&mut romeo, "announce", &words);
    assert!(told.contains("said to 1 sessions"), "{told}");
    assert!(nurse.hear("</message>").contains("<body>one\ntwo</body>"));

    // sessions end, accounts are disabled, enabled and deleted
    let both = [("accountjids", &["nurse@localhost", "nobody@localhost"][..])];
    let told = carry_out(&mut romeo, "end-user-session", &both);
    assert!(told.contains("1 user sent away") && told.contains("it has no session"), "{told}");
    assert!(nurse.rest().contains("<policy-violation"));
    let told = carry_out(&mut romeo, "disable-user", &both);
    assert!(told.contains("type='warn'") && told.contains("1 user disabled"), "{told}");
    assert!(nodes.list[1].jabiru(&["ban"], "").contains("nurse@localhost"));
    let told = carry_out(&mut romeo, "reenable-user", &[("accountjids", &["nurse@localhost"])]);
    assert!(told.contains("1 user enabled"), "{told}");
    log_in(&nodes.list[0], "nurse", "fresh", "x");
    let told = carry_out(&mut romeo, "delete-user", &[("accountjids", &["nurse@localhost"])]);
    assert!(told.contains("1 user deleted"), "{told}");
    assert!(!nodes.list[1].jabiru(&["user", "list"], "").contains("nurse"));

    // what is out of order is named
    let mut wrong = |node: &str, attributes: &str, form: &str, condition: &str| {
        let told = command(&mut romeo, node, attributes, form);
        assert!(told.contains(condition), "{attributes}: {told}");
        told
    };
    wrong("dance", "", "", "<item-not-found");
    wrong("announce", "action='dance'", "", "<malformed-action");
    wrong("announce", "action='complete'", "", "<bad-action");
    wrong("announce", "sessionid='1' action='complete'", "", "<bad-sessionid");
    let id = session(&wrong("announce", "", "", "executing"));
    wrong("delete-user", &format!("sessionid='{id}'"), "", "<bad-sessionid");
    wrong("announce", &format!("sessionid='{id}'"), "", "<bad-payload");
    wrong("announce", &format!("sessionid='{id}'"), &form(&[]), "<bad-payload");
    wrong("announce", &format!("sessionid='{id}' action='prev'"), "", "<bad-action");
    wrong("announce", &format!("sessionid='{id}' action='cancel'"), "", "status='canceled'");
    wrong("announce", &format!("sessionid='{id}'"), "", "<bad-sessionid");
}
