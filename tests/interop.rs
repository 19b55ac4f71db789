//! Clients by slixmpp, from PyPI, against real nodes. `scripts/test` makes the
//! Python environment that they need.

mod support;

use support::slix::Slix;
use support::{DOMAIN, Nodes};

fn jid(user: &str, resource: &str) -> String {
    format!("{user}@{DOMAIN}/{resource}")
}

#[test]
fn every_unbound_mechanism_lets_a_client_in_by_both_doors() {
    let nodes = Nodes::start(2);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    // its -PLUS binds to tls-unique, which TLS 1.3 does not have; `spine` has
    // a client that binds to the exporter
    let mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
    for (at, mechanism) in mechanisms.into_iter().enumerate() {
        for (door, node) in [("starttls", &nodes.list[0]), ("direct", &nodes.list[1])] {
            let name = format!("{door}{at}");
            let full = jid("romeo", &name);
            slix.connect(&name, node, door, &full, "r0m30", mechanism);
            assert_eq!(
                slix.wait_for(&format!("{name} mechanism")),
                format!("{name} mechanism {mechanism}")
            );
            assert_eq!(slix.wait_for(&format!("{name} online")), format!("{name} online {full}"));
        }
    }
}

#[test]
fn two_clients_chat_across_nodes_and_libraries() {
    let nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut slix = Slix::start();
    let (romeo, juliet) = (jid("romeo", "garden"), jid("juliet", "balcony"));
    slix.connect("r", &nodes.list[0], "starttls", &romeo, "r0m30", "-");
    slix.connect("j", &nodes.list[2], "direct", &juliet, "jul13t", "-");
    slix.wait_for("r online");
    slix.wait_for("j online");
    slix.tell(&format!("say r {juliet} But soft, what light"));
    assert_eq!(slix.wait_for("j heard"), format!("j heard {romeo} But soft, what light"));
    slix.tell(&format!("say j {romeo} Ay me"));
    assert_eq!(slix.wait_for("r heard"), format!("r heard {juliet} Ay me"));
    // whom nobody can take for comes back
    slix.tell("say r nobody@localhost Anyone?");
    assert_eq!(slix.wait_for("r error"), "r error nobody@localhost service-unavailable");
    slix.tell("say r nobody@elsewhere.example Anyone?");
    assert_eq!(
        slix.wait_for("r error"),
        "r error nobody@elsewhere.example remote-server-not-found"
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    let nodes = Nodes::start(1);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    for (name, user) in [("wrong", "romeo"), ("unknown", "nobody")] {
        slix.connect(name, &nodes.list[0], "starttls", &jid(user, "x"), "wrong", "SCRAM-SHA-256");
        assert_eq!(
            slix.wait_for(&format!("{name} refused")),
            format!("{name} refused not-authorized")
        );
    }
}

#[test]
fn a_second_session_of_a_full_jid_takes_over_on_another_node() {
    let nodes = Nodes::start(2);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut slix = Slix::start();
    let romeo = jid("romeo", "garden");
    slix.connect("first", &nodes.list[0], "starttls", &romeo, "r0m30", "-");
    slix.wait_for("first online");
    slix.connect("second", &nodes.list[1], "starttls", &romeo, "r0m30", "-");
    slix.wait_for("second online");
    assert_eq!(slix.wait_for("first stream-error"), "first stream-error conflict");
    slix.wait_for("first offline");
    slix.connect("j", &nodes.list[0], "direct", &jid("juliet", "balcony"), "jul13t", "-");
    slix.wait_for("j online");
    slix.tell(&format!("say j {romeo} Who is it?"));
    assert_eq!(
        slix.wait_for("second heard"),
        format!("second heard {} Who is it?", jid("juliet", "balcony"))
    );
}

#[test]
fn a_stopping_node_and_a_kicking_operator_say_why() {
    let mut nodes = Nodes::start(2);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    slix.connect("kicked", &nodes.list[0], "starttls", &jid("romeo", "a"), "r0m30", "-");
    slix.connect("stopped", &nodes.list[0], "starttls", &jid("romeo", "b"), "r0m30", "-");
    slix.wait_for("kicked online");
    slix.wait_for("stopped online");
    // by the other node
    nodes.list[1].jabiru(&["kick", &jid("romeo", "a")], "");
    assert_eq!(slix.wait_for("kicked stream-error"), "kicked stream-error policy-violation");
    nodes.list[0].stop();
    assert_eq!(slix.wait_for("stopped stream-error"), "stopped stream-error reset");
    nodes.wait_until_all_agree();
    assert_eq!(nodes.list[1].sessions().len(), 0);
}

#[test]
fn friends_see_each_other_across_nodes_and_what_is_said_meanwhile_waits() {
    let mut nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut slix = Slix::start();
    let (romeo, juliet) = (jid("romeo", "garden"), jid("juliet", "balcony"));
    slix.connect("r", &nodes.list[0], "starttls", &romeo, "r0m30", "-");
    slix.connect("j", &nodes.list[1], "direct", &juliet, "jul13t", "-");
    for name in ["r", "j"] {
        slix.wait_for(&format!("{name} online"));
        slix.tell(&format!("roster {name}"));
        slix.wait_for(&format!("{name} has all"));
    }
    // the other allows it and asks back by itself
    slix.tell("subscribe r juliet@localhost");
    assert_eq!(slix.wait_for("r sees"), format!("r sees {juliet}"));
    assert_eq!(slix.wait_for("j sees"), format!("j sees {romeo}"));
    support::wait_for("both see each other", || {
        slix.tell("roster j");
        slix.wait_for("j has romeo") == "j has romeo@localhost both"
    });
    // a node dies with all its sessions, and nobody says goodbye
    nodes.list[1].kill();
    assert_eq!(slix.wait_for("r loses"), format!("r loses {juliet}"));
    slix.tell("say r juliet@localhost Romeo, doff thy name");
    slix.connect("again", &nodes.list[2], "direct", &juliet, "jul13t", "-");
    assert_eq!(slix.wait_for("again heard"), format!("again heard {romeo} Romeo, doff thy name"));
    assert_eq!(slix.wait_for("again sees"), format!("again sees {romeo}"));
    assert_eq!(slix.wait_for("r sees"), format!("r sees {juliet}"));
    slix.tell("close again");
    assert_eq!(slix.wait_for("r loses"), format!("r loses {juliet}"));
}

/// Sessions on the node that is killed, and messages to them.
const COUNT: usize = 200;

/// Sessions of one account: what the default configuration allows.
const PER_USER: usize = 10;

#[test]
fn a_killed_node_loses_no_message_between_real_clients() {
    let mut nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    let address = |number: usize| jid(&format!("u{}", number / PER_USER), &format!("r{number}"));
    for number in 0..COUNT {
        if number % PER_USER == 0 {
            nodes.account(&format!("u{}", number / PER_USER), "secret");
        }
        let name = format!("c{number}");
        slix.connect(&name, &nodes.list[1], "direct", &address(number), "secret", "SCRAM-SHA-256");
        slix.wait_for(&format!("{name} online"));
    }
    let romeo = jid("romeo", "garden");
    slix.connect("romeo", &nodes.list[0], "starttls", &romeo, "r0m30", "SCRAM-SHA-256");
    slix.wait_for("romeo online");
    support::wait_for("all are seen", || nodes.list[0].sessions().len() == COUNT + 1);
    for number in 0..COUNT {
        slix.tell(&format!("say romeo {} m{number}", address(number)));
        if number == COUNT / 3 {
            // some have arrived, some are on their way, some will be sent
            slix.wait_for("c0 heard");
            nodes.list[1].kill();
        }
    }
    // each was heard by whom it was for, or is kept for whoever comes next
    for user in 0..COUNT / PER_USER {
        let name = format!("later{user}");
        let later = jid(&format!("u{user}"), "later");
        slix.connect(&name, &nodes.list[2], "direct", &later, "secret", "SCRAM-SHA-256");
    }
    let fates = |number: usize, heard: &[String]| {
        let heard_it = format!("c{number} heard {romeo} m{number}");
        let kept = format!("later{} heard {romeo} m{number}", number / PER_USER);
        let count = |line: &str| heard.iter().filter(|one| *one == line).count();
        (count(&heard_it) + usize::from(number == 0), count(&kept))
    };
    support::wait_for("every message was heard, or kept", || {
        slix.gather();
        (0..COUNT).all(|number| fates(number, &slix.heard) != (0, 0))
    });
    assert!(!slix.heard.iter().any(|line| line.starts_with("romeo error")), "none came back");
    for number in 0..COUNT {
        let (heard, kept) = fates(number, &slix.heard);
        assert!(heard <= 1 && kept <= 1, "m{number}: {heard} heard, {kept} kept");
        // whoever died after its client had it, and before it could say so
        let in_doubt = heard + kept == 2;
        assert!(!in_doubt || number <= COUNT / 3, "m{number} was sent after the death");
    }
    nodes.list[1].start();
    nodes.wait_until_all_agree();
}

#[test]
fn slixmpp_makes_changes_administers_and_cancels_accounts() {
    let mut nodes = Nodes::prepare(2, "[register]\nenabled = true\n");
    for node in &mut nodes.list {
        node.configure("[admin]\n", "[admin]\nadmins = [\"romeo@localhost\"]\n");
        node.start();
    }
    nodes.wait_until_all_agree();
    nodes.account("romeo", "r0m30");
    let mut slix = Slix::start();
    let port = nodes.list[0].ports.direct;
    slix.tell(&format!("register j {} balcony1 {port}", jid("juliet", "x")));
    slix.wait_for("j registered");
    slix.wait_for("j online");
    slix.tell("password j balcony2");
    slix.wait_for("j did password");
    slix.connect("r", &nodes.list[1], "starttls", &jid("romeo", "x"), "r0m30", "-");
    slix.wait_for("r online");
    slix.tell("command r add-user accountjid=nurse@localhost password=n password-verify=n");
    assert_eq!(slix.wait_for("r command"), "r command completed nurse@localhost added");
    slix.tell("command r add-user accountjid=nurse@localhost password=n password-verify=n");
    let twice = "r command completed nurse@localhost: there is one already";
    assert_eq!(slix.wait_for("r command"), twice);
    slix.tell("command j add-user accountjid=x@localhost password=n password-verify=n");
    assert_eq!(slix.wait_for("j failed"), "j failed forbidden");
    slix.tell("command r disable-user accountjids=nurse@localhost");
    assert_eq!(slix.wait_for("r command"), "r command completed 1 user disabled");
    slix.connect("n", &nodes.list[0], "direct", &jid("nurse", "x"), "n", "SCRAM-SHA-256");
    assert_eq!(slix.wait_for("n refused"), "n refused account-disabled");
    slix.tell("cancel j");
    slix.wait_for("j did cancel");
    assert_eq!(slix.wait_for("j stream-error"), "j stream-error not-authorized");
    let juliet = jid("juliet", "x");
    slix.connect("again", &nodes.list[1], "direct", &juliet, "balcony2", "SCRAM-SHA-256");
    assert_eq!(slix.wait_for("again refused"), "again refused not-authorized");
}
