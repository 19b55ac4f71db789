//! What an operator types and what comes back: exit codes, words, files. What
//! a node does for its clients is tested elsewhere.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use support::{Nodes, run, succeed, wait_for};

/// Runs a command and gives back its exit code and all that it said.
fn said(args: &[&str], input: &str) -> (i32, String) {
    let output = run(args, input);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
fn check(args: &[&str], code: i32, words: &str) {
    let (exit, text) = said(args, "");
    assert_eq!(exit, code, "{args:?}: {text}");
    assert!(text.contains(words), "{args:?}: no {words:?} in {text}");
}

#[test]
fn what_is_typed_wrong_is_explained() {
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"));
    check(&["--help"], 0, "masterless");
    check(&["dance"], 2, "unrecognized subcommand");
    check(&["user", "add"], 2, "<ACCOUNT>");
    check(&["status", "--socket", "/nowhere/socket"], 3, "no node answers at /nowhere/socket");
    check(&["serve", "-c", "/nowhere/jabiru.toml"], 2, "/nowhere/jabiru.toml: cannot be read");
    check(&["completions", "bash"], 0, "_jabiru");
}

#[test]
fn a_configuration_is_checked_with_all_its_files() {
    let nodes = Nodes::prepare(1, "");
    let folder = &nodes.list[0].folder;
    let file = folder.join("jabiru.toml");
    let path = file.to_str().expect("text");
    check(&["check", "-c", path], 0, "all is well");
    check(&["check", "-c", path, "--set", "c2s.depth_max=1"], 2, "c2s.depth_max: 1 is not between");
    check(&["check", "-c", path, "--set", "cluster.cookie_file=none"], 2, "jabiru cookie --write");
    let cookie = folder.join("../cookie");
    fs::set_permissions(&cookie, fs::Permissions::from_mode(0o644)).expect("ours");
    check(&["check", "-c", path], 2, "can be read by others (mode 644)");
    check(&["serve", "-c", path], 1, "chmod 600");
}

#[test]
fn a_cookie_is_never_written_over_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cookie");
    let path = path.to_str().expect("text");
    check(&["cookie", "--write", path], 0, "give every node");
    let mode = fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    check(&["cookie", "--write", path], 1, "File exists");
    let (one, other) = (succeed(&["cookie"], ""), succeed(&["cookie"], ""));
    assert!(one.len() > 40 && one != other);
}

#[test]
fn accounts_are_made_changed_listed_and_removed() {
    let nodes = Nodes::start(2);
    let socket = format!("--socket={}", nodes.list[0].socket());
    let user = |words: &[&str], input: &str| said(&[&["user", &socket], words].concat(), input);
    assert_eq!(
        user(&["add", "romeo@localhost"], "r0m30\n"),
        (0, "romeo@localhost added (on 2 nodes)\n".into())
    );
    assert_eq!(
        user(&["add", "romeo@localhost"], "x"),
        (1, "jabiru: romeo@localhost: there is one already\n".into())
    );
    assert_eq!(
        user(&["password", "juliet@localhost"], "x"),
        (1, "jabiru: juliet@localhost: there is none\n".into())
    );
    let (exit, text) = user(&["add", "not an account"], "x");
    assert!(exit == 1 && text.contains("expected user@domain"), "{text}");
    let (exit, text) = user(&["add", "empty@localhost"], "\n");
    assert!(exit == 1 && text.contains("1 to 1024 bytes"), "{text}");
    let file = nodes.folder.path().join("password");
    fs::write(&file, "new\n").expect("writable");
    let file = file.to_str().expect("text");
    let changed = user(&["password", "romeo@localhost", "--password-file", file], "");
    assert_eq!(changed, (0, "romeo@localhost has a new password (on 2 nodes)\n".into()));
    assert_eq!(nodes.list[1].jabiru(&["user", "list"], ""), "romeo@localhost\n");
    assert_eq!(
        user(&["remove", "romeo@localhost"], ""),
        (0, "romeo@localhost removed (on 2 nodes)\n".into())
    );
    assert_eq!(user(&["list"], ""), (0, String::new()));
}

#[test]
fn status_says_who_is_there_and_that_all_agree() {
    let nodes = Nodes::start(3);
    let text = nodes.list[1].jabiru(&["status"], "");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("NODE "), "{text}");
    assert!(
        lines[1].starts_with("n0 ") && lines[2].starts_with("n1* ") && lines[3].starts_with("n2 "),
        "{text}"
    );
    assert_eq!(lines[4], "3 nodes, all agree");
    let status = nodes.list[0].status().expect("it answers");
    for node in status["nodes"].as_array().expect("a list") {
        assert_eq!(node["state"], "serving");
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn a_second_node_in_one_place_is_refused_and_told_why() {
    let mut nodes = Nodes::start(1);
    let first = nodes.list[0].folder.join("jabiru.toml");
    let path = first.to_str().expect("text");
    check(&["serve", "-c", path], 1, "is in use: does another node run with this data directory?");
    // another data directory, but the same ports
    let text = fs::read_to_string(&first).expect("readable");
    let second = nodes.list[0].folder.join("second.toml");
    let text = text
        .replace("[server]", "[server]\ndata_dir = \"second\"")
        .replace("control.sock", "second.sock");
    fs::write(&second, text).expect("writable");
    let port = format!("cannot listen on 127.0.0.1:{}", nodes.list[0].ports.plain);
    check(&["serve", "-c", second.to_str().expect("text")], 1, &port);
    assert!(nodes.list[0].status().is_some(), "the first one serves on");
    nodes.list[0].stop();
}

#[test]
fn a_damaged_store_is_refused_by_name_and_left_as_it_is() {
    let mut nodes = Nodes::start(1);
    nodes.account("romeo", "r0m30");
    nodes.list[0].stop();
    let store = nodes.list[0].folder.join("data/store.redb");
    let mut bytes = fs::read(&store).expect("readable");
    bytes[..100].fill(0x55);
    fs::write(&store, &bytes).expect("writable");
    let config = nodes.list[0].folder.join("jabiru.toml");
    check(&["serve", "-c", config.to_str().expect("text")], 1, "data/store.redb is damaged");
    assert_eq!(fs::read(&store).expect("readable"), bytes);
}

#[test]
fn a_certificate_that_changes_is_shown_at_once() {
    let mut nodes = Nodes::prepare(1, "");
    let folder = nodes.list[0].folder.clone();
    let out = folder.join("tls");
    let make = |folder: &std::path::Path| {
        succeed(&["cert", "--domain", "localhost", "--out", folder.to_str().expect("text")], "");
    };
    make(&out);
    let config = folder.join("jabiru.toml");
    let text = fs::read_to_string(&config).expect("readable");
    let text = text.replace(support::tls().to_str().expect("text"), out.to_str().expect("text"));
    fs::write(&config, text).expect("writable");
    nodes.list[0].start();
    let fresh = folder.join("fresh");
    make(&fresh);
    for file in ["key.pem", "cert.pem"] {
        fs::rename(fresh.join(file), out.join(file)).expect("ours");
    }
    let read_again = || nodes.list[0].log().contains("certificates read again");
    wait_for("the change is noticed", read_again);
    let count = || nodes.list[0].log().matches("certificates read again").count();
    let before = count();
    let pid = nodes.list[0].id().to_string();
    let hung_up = std::process::Command::new("kill").args(["-HUP", &pid]).status();
    assert!(hung_up.expect("it runs").success());
    wait_for("the signal is heard", || count() > before);
    // half a change is no change
    fs::write(out.join("cert.pem"), "nonsense").expect("writable");
    wait_for("the fault is named", || nodes.list[0].log().contains("the old ones stay"));
    assert!(nodes.list[0].status().is_some());
}

#[test]
fn what_strangers_send_to_the_cluster_is_counted_and_nothing_else() {
    let nodes = Nodes::start(2);
    let node = &nodes.list[0];
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    // of these the first robs, and the second ends, a gossip that is not sealed
    let datagrams: [&[u8]; 4] = [
        b"\x53\xB0\x00\x01\x00\x00\x00",
        &[0xFF; 69],
        b"Jb\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"",
    ];
    for datagram in datagrams {
        udp.send_to(datagram, ("127.0.0.1", node.ports.mesh)).expect("sent");
    }
    let mut tcp = std::net::TcpStream::connect(("127.0.0.1", node.ports.mesh)).expect("it listens");
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    wait_for("they are counted", || {
        let metrics = node.http("/metrics");
        metrics.contains("jabiru_cluster_gossip_refused_total{reason=\"foreign\"}")
            && metrics.contains("jabiru_cluster_gossip_refused_total{reason=\"forged\"}")
            && metrics.contains("jabiru_cluster_mesh_refused_total")
    });
    nodes.wait_until_all_agree();
}

#[test]
fn those_who_watch_are_told_by_http() {
    let nodes = Nodes::start(1);
    let get = |path: &str| nodes.list[0].http(path);
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").ends_with("ready\n"));
    assert!(get("/metrics").contains("jabiru_cluster_nodes 1"), "{}", get("/metrics"));
    assert!(get("/secret").starts_with("HTTP/1.1 404"));
}

#[test]
fn the_control_socket_is_its_owners_alone() {
    let nodes = Nodes::start(1);
    let mode = fs::metadata(nodes.list[0].socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream =
        std::os::unix::net::UnixStream::connect(nodes.list[0].socket()).expect("it listens");
    stream.write_all(b"{\"do\":\"dance\"}\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("no such command"), "{answer}");
}

#[test]
fn another_cookie_is_named_on_both_sides() {
    let mut nodes = Nodes::prepare(2, "");
    let cookie = nodes.list[1].folder.join("cookie");
    succeed(&["cookie", "--write", cookie.to_str().expect("text")], "");
    let config = nodes.list[1].folder.join("jabiru.toml");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, text.replace("../cookie", "cookie")).expect("writable");
    nodes.list[0].start();
    nodes.list[1].start();
    wait_for("the stranger learns why", || {
        nodes.list[1].log().contains("does not have our cookie")
    });
    wait_for("the other counts it", || nodes.list[0].log().contains("not sealed with our cookie"));
    assert_eq!(nodes.list[0].verdict().as_deref(), Some("1 node, alone"));
    assert_eq!(nodes.list[1].verdict().as_deref(), Some("1 node, alone"));
}

#[test]
fn the_reference_names_every_key_with_its_default() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("config/reference.toml")).expect("readable");
    let written: toml::Table = toml::from_str(&text).expect("TOML");
    let mut expected = jabiru::config::Config::default();
    // what has no default stands there as an example
    expected.server.domains = vec!["example.org".into()];
    expected.cluster.name = Some("a".parse().expect("a name"));
    expected.cluster.advertise = Some("192.0.2.1:4369".parse().expect("an address"));
    expected.cluster.seeds = vec!["node1.example:4369".into(), "node2.example:4369".into()];
    let public = "node1.example.org:5222".to_owned();
    expected.c2s.public_address = Some(public.try_into().expect("an address"));
    expected.tls = vec![jabiru::net::tls::Certificate {
        domains: Vec::new(),
        certificate: "cert.pem".into(),
        key: "key.pem".into(),
    }];
    let gateway: jabiru::xmpp::jid::Domain = "gateway.example.org".parse().expect("a domain");
    let component = jabiru::door::component::config::Component {
        secret_file: Some("gateway.secret".into()),
        ..Default::default()
    };
    expected.component.domains.insert(gateway.clone(), component);
    let policy = jabiru::router::balance::Policy {
        component_number: Some(1_000),
        prefer_local: Some(false),
        ..Default::default()
    };
    expected.domain_balancing.insert(gateway, policy);
    let expected = toml::Table::try_from(&expected).expect("TOML");
    assert_eq!(written, expected);
    let example = fs::read_to_string(root.join("config/node.toml")).expect("readable");
    toml::from_str::<jabiru::config::Config>(&example).expect("a configuration");
}
