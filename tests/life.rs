//! The life of a node: it joins, leaves, is removed and comes back; a second
//! one with its name is refused; cookies and addresses change under way.

mod support;

use std::fs;
use std::time::Instant;

use support::raw::Raw;
use support::{Nodes, run, succeed, wait_for};

/// Nodes that do not know of each other.
fn strangers(count: usize) -> Nodes {
    let nodes = Nodes::prepare(count, "");
    for node in &nodes.list {
        let path = node.folder.join("jabiru.toml");
        let text = fs::read_to_string(&path).expect("a config");
        let lines = text.lines().map(|line| match line.starts_with("seeds") {
            true => "seeds = []",
            false => line,
        });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("writable");
    }
    nodes
}

fn seed(nodes: &Nodes, at: usize) -> String {
    format!("127.0.0.1:{}", nodes.list[at].ports.mesh)
}

fn add(nodes: &Nodes, at: usize, user: &str) {
    nodes.list[at].jabiru(&["user", "add", &format!("{user}@localhost")], "secret");
}

/// A command that fails: what it says.
#[track_caller]
fn refused(nodes: &Nodes, at: usize, args: &[&str]) -> String {
    let socket = format!("--socket={}", nodes.list[at].socket());
    let (command, rest) = args.split_first().expect("a command");
    let output = run(&[&[*command, &socket], rest].concat(), "");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The state of each node, as `jabiru nodes` shows it.
fn states(nodes: &Nodes, at: usize) -> Vec<String> {
    let text = nodes.list[at].jabiru(&["nodes", "--json"], "");
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let state = |node: &serde_json::Value| {
        format!("{} {}", node["node"].as_str().unwrap_or(""), node["state"].as_str().unwrap_or(""))
    };
    list.iter().map(state).collect()
}

#[test]
fn running_nodes_join_and_nothing_of_either_is_lost() {
    let mut nodes = strangers(3);
    nodes.list.iter_mut().for_each(support::Node::start);
    for (at, user) in ["romeo", "juliet", "nurse"].into_iter().enumerate() {
        add(&nodes, at, user);
        wait_for("it is alone", || nodes.list[at].accounts().len() == 1);
    }
    // two at the same moment
    let (one, two) = (seed(&nodes, 0), seed(&nodes, 1));
    std::thread::scope(|scope| {
        scope.spawn(|| nodes.list[1].jabiru(&["join", &one], ""));
        scope.spawn(|| nodes.list[2].jabiru(&["join", &two], ""));
    });
    nodes.wait_until_all_agree();
    let all = ["juliet@localhost", "nurse@localhost", "romeo@localhost"];
    nodes.list.iter().for_each(|node| assert_eq!(node.accounts(), all, "{}", node.name));
    // once more is no harm
    assert!(nodes.list[1].jabiru(&["join", &one], "").contains("is together with n0"));
    assert!(refused(&nodes, 1, &["join", "127.0.0.1:9"]).contains("no other node answers"));
    // who was joined by hand finds the others again, in any order
    nodes.list[0].kill();
    nodes.list[2].kill();
    nodes.list[2].start();
    nodes.list[0].start();
    nodes.wait_until_all_agree();
    assert_eq!(states(&nodes, 0), ["n0 serving", "n1 serving", "n2 serving"]);
}

#[test]
fn three_nodes_join_at_one_moment_while_people_chat() {
    const COUNT: usize = 2_000;
    let mut nodes = strangers(4);
    nodes.list.iter_mut().for_each(support::Node::start);
    for user in ["romeo", "juliet"] {
        add(&nodes, 0, user);
    }
    let mut juliet = Raw::direct(&nodes.list[0]);
    juliet.bind("juliet", "secret", "balcony");
    juliet.say(b"<presence/>");
    juliet.hear("<presence");
    let mut romeo = Raw::direct(&nodes.list[0]);
    romeo.bind("romeo", "secret", "garden");
    let seed = seed(&nodes, 0);
    let list = &nodes.list;
    let heard = std::thread::scope(|scope| {
        let joins = list[1..].iter().map(|node| scope.spawn(|| node.jabiru(&["join", &seed], "")));
        let joins: Vec<_> = joins.collect();
        scope.spawn(move || {
            for number in 0..COUNT {
                let to = "juliet@localhost/balcony";
                let message = format!(
                    "<message type='chat' id='m{number}' to='{to}'><body>{number}</body></message>"
                );
                romeo.say(message.as_bytes());
            }
            romeo.say(b"<iq type='get' id='end' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
            assert!(!romeo.hear("id='end'").contains("type='error'"), "none came back");
        });
        let heard = scope.spawn(move || juliet.hear(&format!("id='m{}'", COUNT - 1)));
        for join in joins {
            assert!(join.join().expect("it joins").contains("is together with n0"));
        }
        heard.join().expect("all come")
    });
    let ids = heard.split("id='m").skip(1).filter_map(|rest| rest.split('\'').next()?.parse().ok());
    assert_eq!(ids.collect::<Vec<usize>>(), (0..COUNT).collect::<Vec<_>>(), "each once, in order");
    nodes.wait_until_all_agree();
    assert_eq!(nodes.list[3].accounts(), ["juliet@localhost", "romeo@localhost"]);
}

#[test]
fn a_node_leaves_for_good_and_comes_back_when_it_is_asked() {
    let mut nodes = Nodes::start(3);
    add(&nodes, 0, "romeo");
    nodes.wait_until_all_agree();
    // both want the same node to go, at the same moment
    std::thread::scope(|scope| {
        for at in [0, 1] {
            let nodes = &nodes;
            scope.spawn(move || {
                let said = nodes.list[at].jabiru(&["leave", "n2"], "");
                assert!(said.contains("n2 has left") || said.contains("n2 had left"), "{said}");
            });
        }
    });
    assert_eq!(nodes.list[2].wait(), Some(0), "it stopped in good order");
    nodes.wait_until_all_agree();
    assert_eq!(states(&nodes, 0), ["n0 serving", "n1 serving", "n2 removed"]);
    // it is turned away, and says so
    nodes.list[2].spawn();
    wait_for("it says that it was removed", || {
        let socket = format!("--socket={}", nodes.list[2].socket());
        let said = run(&["status", &socket], "");
        String::from_utf8_lossy(&said.stderr).contains("n2 was removed from the cluster")
    });
    nodes.wait_until_those_agree(&[0, 1]);
    let by = seed(&nodes, 0);
    let said = nodes.list[2].jabiru(&["join", &by], "");
    assert!(said.contains("n2 is together with n0"), "{said}");
    nodes.wait_until_all_agree();
    assert_eq!(nodes.list[2].accounts(), ["romeo@localhost"]);
    // by itself, this time
    assert!(nodes.list[2].jabiru(&["leave"], "").contains("n2 has left"));
    assert_eq!(nodes.list[2].wait(), Some(0));
    assert!(nodes.list[0].jabiru(&["leave", "n2"], "").contains("had left already"));
    // the last one has nobody to hand over to
    nodes.list[1].jabiru(&["leave"], "");
    assert_eq!(nodes.list[1].wait(), Some(0));
    assert!(refused(&nodes, 0, &["leave"]).contains("no other node serves"));
    assert_eq!(nodes.list[0].accounts(), ["romeo@localhost"]);
}

#[test]
fn a_dead_node_is_removed_and_does_not_sneak_in() {
    let mut nodes = Nodes::start(3);
    nodes.list[2].kill();
    wait_for("it is gone", || states(&nodes, 0) == ["n0 serving", "n1 serving", "n2 gone"]);
    assert!(refused(&nodes, 0, &["leave", "n9"]).contains("no node n9 is known; there are n0"));
    let said = nodes.list[1].jabiru(&["leave", "n2"], "");
    assert!(said.contains("n2 was gone, and is removed"), "{said}");
    // it starts where nobody can tell it, and meets the others later
    let mut others: Vec<_> = nodes.list.drain(..2).collect();
    others.iter_mut().for_each(support::Node::kill);
    nodes.list[0].start();
    others.iter_mut().for_each(support::Node::start);
    assert_eq!(nodes.list[0].wait(), Some(1), "it ends: {}", nodes.list[0].log());
    assert!(nodes.list[0].log().contains("this node was removed from the cluster"));
    nodes.list.splice(..0, others);
    nodes.wait_until_all_agree();
}

#[test]
fn a_second_node_with_a_name_that_is_taken_is_refused_and_disturbs_nobody() {
    let mut nodes = Nodes::start(2);
    let before = nodes.list[0].status().expect("it runs")["nodes"].clone();
    // a machine that was copied, disk and all
    let copy = nodes.folder.path().join("copy");
    copy_all(&nodes.list[1].folder, &copy);
    let text = fs::read_to_string(copy.join("jabiru.toml")).expect("a config");
    let ports = support::ports();
    let old = nodes.list[1].ports;
    let text = [
        (old.mesh, ports.mesh),
        (old.plain, ports.plain),
        (old.direct, ports.direct),
        (old.http, ports.http),
    ]
    .iter()
    .fold(text, |text, (old, new)| {
        // the seeds stay
        let (listens, seeds): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| !line.starts_with("seeds"));
        let listens = listens.join("\n").replace(&old.to_string(), &new.to_string());
        listens.replace("[cluster]", &format!("[cluster]\n{}", seeds.join("\n")))
    });
    fs::write(copy.join("jabiru.toml"), text).expect("writable");
    let config = copy.join("jabiru.toml");
    let begin = Instant::now();
    let refused = run(&["serve", "-c", config.to_str().expect("text")], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another node of the cluster has this name, and runs"), "{said}");
    assert!(said.contains("if its data directory is a copy, it needs an empty one"), "{said}");
    println!("refused after {:?}", begin.elapsed());
    let after = nodes.list[0].status().expect("it runs")["nodes"].clone();
    let ids = |nodes: &serde_json::Value| {
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| (node["node"].clone(), node["state"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
    let events = nodes.list[0].jabiru(&["events"], "");
    assert!(!events.contains("was started anew"), "nobody was disturbed: {events}");
    // but one that has died is replaced at once, from the same directory
    nodes.list[1].kill();
    nodes.list[1].start();
    nodes.wait_until_all_agree();
}

#[test]
fn the_cookie_is_changed_while_all_run() {
    let mut nodes = Nodes::start(3);
    let path = nodes.folder.path().join("cookie");
    let old = fs::read_to_string(&path).expect("a cookie").trim().to_owned();
    let new = succeed(&["cookie"], "").trim().to_owned();
    // each node has a file of its own, for nodes are not reached all at once
    let files: Vec<_> = nodes.list.iter().map(|node| node.folder.join("cookie")).collect();
    nodes.list.iter_mut().for_each(support::Node::kill);
    for (node, file) in nodes.list.iter().zip(&files) {
        fs::copy(&path, file).expect("copied");
        node.configure("cookie_file = \"../cookie\"", "cookie_file = \"cookie\"");
    }
    nodes.list.iter_mut().for_each(support::Node::start);
    nodes.wait_until_all_agree();
    let before = [nodes.list[0].id(), nodes.list[2].id()];
    // a name that nobody has must seem to be one that somebody has
    let salts = |nodes: &Nodes| {
        nodes.list.iter().map(|node| Raw::direct(node).salt("nobody")).collect::<Vec<_>>()
    };
    let salt = vec![Raw::direct(&nodes.list[0]).salt("nobody"); 3];
    for (step, text) in
        [format!("{old}\n{new}"), format!("{new}\n{old}"), new.clone()].iter().enumerate()
    {
        for (at, file) in files.iter().enumerate() {
            fs::write(file, text).expect("written");
            wait_for("it is read", || cookies_read(&nodes.list[at]) == step + 1);
            nodes.wait_until_all_agree();
            // whoever comes in the midst of it is let in
            if at == 1 {
                nodes.list[1].kill();
                nodes.list[1].start();
                nodes.wait_until_all_agree();
            }
            assert_eq!(salts(&nodes), salt, "cookies of step {step}, at {at}");
        }
    }
    assert_eq!(before, [nodes.list[0].id(), nodes.list[2].id()], "they never stopped");
    // the old one is worth nothing now
    nodes.list[1].kill();
    fs::write(&files[1], &old).expect("written");
    nodes.list[1].start();
    wait_for("it stays alone", || nodes.list[1].log().contains("does not have our cookie"));
    nodes.wait_until_those_agree(&[0, 2]);
}

#[test]
fn a_status_names_what_is_configured_otherwise() {
    let mut nodes = Nodes::prepare(2, "");
    nodes.list[1].configure("[sasl]", "[register]\nenabled = true\n[sasl]");
    nodes.list.iter_mut().for_each(support::Node::start);
    wait_for("it is named", || {
        let verdict = nodes.list[0].verdict().unwrap_or_default();
        verdict == "2 nodes: n1 has another configuration than n0: register"
    });
}

#[test]
fn a_node_may_move_to_another_address() {
    let mut nodes = Nodes::start(3);
    let ports = support::ports();
    let node = &mut nodes.list[2];
    node.kill();
    let before = format!("listen = \"127.0.0.1:{}\"", node.ports.mesh);
    node.configure(&before, &format!("listen = \"127.0.0.2:{}\"", ports.mesh));
    node.start();
    nodes.wait_until_all_agree();
    let text = nodes.list[0].jabiru(&["nodes"], "");
    assert!(text.contains(&format!("127.0.0.2:{}", ports.mesh)), "{text}");
}

/// How often a node has read other cookies, in all its lives.
fn cookies_read(node: &support::Node) -> usize {
    let text = node.jabiru(&["events", "--json", "--limit", "1000"], "");
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let is_read = |event: &&serde_json::Value| {
        let words = event["words"].as_str().unwrap_or("");
        event["node"] == *node.name && words.starts_with("cookies read again")
    };
    events.iter().filter(is_read).count()
}

/// Copies a folder as it is.
fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy_all(&path, &target),
            kind if kind.is_file() => drop(fs::copy(path, target).expect("copied")),
            // the control socket
            _ => {}
        }
    }
}
