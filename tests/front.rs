//! What stands in front of the nodes, and nodes that go in good order: nobody
//! who uses the service shall notice.

#[path = "front/balancer.rs"]
mod balancer;
#[path = "front/crowd.rs"]
mod crowd;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;

use balancer::Behind;
use crowd::{Crowd, name};
use support::raw::{HEADER, Raw};
use support::{Node, Nodes, run, wait_for};

/// No address is exempt, so that tests on loopback meet the limits.
const LIMITED: &str = "[c2s.per_address]\nexempt = []\n";

fn log_in(node: &Node, user: &str, resource: &str) -> Raw {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", resource);
    raw
}

fn available(node: &Node, user: &str, resource: &str) -> Raw {
    let mut raw = log_in(node, user, resource);
    raw.say(b"<presence/>");
    raw.hear(&format!("from='{user}@localhost/{resource}'"));
    raw
}

fn chat(to: &str, text: &str) -> String {
    format!("<message type='chat' to='{to}@localhost' id='{text}'><body>{text}</body></message>")
}

/// A command that may take long.
struct Typed(std::process::Child);

impl Typed {
    fn begin(node: &Node, args: &[&str]) -> Typed {
        let mut command = std::process::Command::new(support::JABIRU);
        let command = command.args(args).arg("--socket").arg(node.socket());
        Typed(command.stderr(std::process::Stdio::null()).spawn().expect("it starts"))
    }

    fn has_ended_with(&mut self, code: i32) -> bool {
        let ended = self.0.try_wait().expect("it is ours");
        ended.is_some_and(|ended| {
            assert_eq!(ended.code(), Some(code));
            true
        })
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a new stream hears that wants nothing.
fn greet(mut raw: Raw) -> String {
    raw.say(format!("{HEADER}</stream:stream>").as_bytes());
    raw.rest()
}

/// What a command said, and its exit code.
fn said(node: &Node, args: &[&str]) -> (i32, String) {
    let socket = format!("--socket={}", node.socket());
    let output = run(&[args, &[&socket]].concat(), "");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_a_client_says_before_it_hears_of_the_stop_is_not_lost() {
    let mut nodes = Nodes::start(2);
    ["romeo", "juliet", "nurse"].iter().for_each(|user| nodes.account(user, "secret"));
    let mut romeo = available(&nodes.list[0], "romeo", "orchard");
    let mut juliet = available(&nodes.list[1], "juliet", "balcony");
    thread::scope(|scope| {
        let stopping = scope.spawn(|| said(&nodes.list[0], &["stop"]));
        let last = romeo.hear("</stream:stream>");
        assert!(last.contains("<reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"), "{last}");
        romeo.say(chat("juliet", "one").as_bytes());
        romeo.say(chat("nurse", "two").as_bytes());
        romeo.say(b"<presence to='juliet@localhost/balcony'/></stream:stream>");
        let heard = juliet.hear("</message>");
        assert!(heard.contains("id='one'"), "{heard}");
        let (code, words) = stopping.join().expect("it ends");
        assert_eq!(
            (code, words.as_str()),
            (0, "n0 has stopped: 1 session asked to connect again\n")
        );
    });
    assert_eq!(nodes.list[0].wait(), Some(0));
    let mut nurse = log_in(&nodes.list[1], "nurse", "room");
    nurse.say(b"<presence/>");
    assert!(nurse.hear("</message>").contains("id='two'"), "kept for whoever is away");
    // nobody believes that romeo is still there
    juliet.say(b"<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(!juliet.hear("id='p'").contains("from='romeo"));
}

#[test]
fn the_last_node_says_that_the_service_ends_and_keeps_what_it_was_told() {
    const FRIENDS: usize = 20;
    let mut nodes = Nodes::start(1);
    nodes.account("romeo", "secret");
    make_accounts(&nodes.list[0], FRIENDS);
    let mut romeo = available(&nodes.list[0], "romeo", "orchard");
    thread::scope(|scope| {
        let stopping = scope.spawn(|| said(&nodes.list[0], &["stop"]));
        assert!(romeo.hear("</stream:stream>").contains("<system-shutdown"));
        // more than a disk takes at once
        let friends = (0..20).flat_map(|_| (0..FRIENDS).map(name));
        let words: String = friends.map(|friend| chat(&friend, "farewell")).collect();
        romeo.say(format!("{words}</stream:stream>").as_bytes());
        drop(romeo);
        assert_eq!(stopping.join().expect("it ends").0, 0);
    });
    assert_eq!(nodes.list[0].wait(), Some(0));
    nodes.list[0].start();
    nodes.wait_until_all_agree();
    for friend in (0..FRIENDS).map(name) {
        let account = format!("{friend}@localhost");
        assert_eq!(nodes.list[0].jabiru(&["offline", &account, "count"], ""), "20\n");
    }
}

/// How long a node stands still: so long that what came meanwhile is not taken,
/// and has to come again.
const FREEZE: std::time::Duration = std::time::Duration::from_millis(450);

#[test]
fn a_node_goes_when_others_have_what_it_has_for_them() {
    let mut nodes = Nodes::start(2);
    ["romeo", "juliet"].iter().for_each(|user| nodes.account(user, "secret"));
    let mut romeo = available(&nodes.list[0], "romeo", "orchard");
    let mut juliet = available(&nodes.list[1], "juliet", "balcony");
    thread::scope(|scope| {
        let stopping = scope.spawn(|| said(&nodes.list[0], &["stop"]));
        romeo.hear("</stream:stream>");
        signal(&nodes.list[1], "-STOP");
        romeo.say(format!("{}</stream:stream>", chat("juliet", "one")).as_bytes());
        // nothing holds the node any more but the message
        drop(romeo);
        thread::sleep(FREEZE);
        signal(&nodes.list[1], "-CONT");
        assert_eq!(stopping.join().expect("it ends").0, 0);
    });
    assert_eq!(nodes.list[0].wait(), Some(0));
    // if the other was taken for dead in between, the message has come back
    nodes.list[0].start();
    nodes.wait_until_all_agree();
    assert!(juliet.hear("</message>").contains("id='one'"));
}

fn signal(node: &Node, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &node.id().to_string()]).status();
    assert!(sent.expect("it runs").success());
}

#[test]
fn a_terminated_node_goes_as_a_stopped_one_does() {
    let mut nodes = Nodes::start(2);
    nodes.account("romeo", "secret");
    let mut romeo = available(&nodes.list[0], "romeo", "orchard");
    signal(&nodes.list[0], "-TERM");
    assert!(romeo.hear("</stream:stream>").contains("<reset"));
    romeo.say(b"</stream:stream>");
    assert_eq!(nodes.list[0].wait(), Some(0));
}

#[test]
fn a_drained_node_sends_new_clients_elsewhere_and_the_others_at_the_deadline() {
    let mut nodes = Nodes::prepare(3, "");
    // clients can be sent to two of the three by name, to one of these now
    for at in [0, 1] {
        let address =
            format!("[c2s]\npublic_address = \"127.0.0.1:{}\"", nodes.list[at].ports.plain);
        nodes.list[at].configure("[c2s]", &address);
    }
    nodes.list.iter_mut().for_each(Node::start);
    nodes.wait_until_all_agree();
    nodes.account("romeo", "secret");
    let [n0, n1, n2] = [&nodes.list[0], &nodes.list[1], &nodes.list[2]];
    let place = format!(
        "<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>127.0.0.1:{}</see-other-host>",
        n1.ports.plain
    );
    let mut romeo = available(n0, "romeo", "orchard");
    let (code, words) = said(n0, &["drain"]);
    assert_eq!(code, 0, "{words}");
    assert!(
        words.starts_with("n0 drains: new clients go to other nodes, 1 session stays"),
        "{words}"
    );
    assert!(n0.http("/readyz").starts_with("HTTP/1.1 503"));
    assert!(n0.http("/readyz").ends_with("draining\n"));
    assert!(n0.http("/healthz").starts_with("HTTP/1.1 200"), "it lives");
    // whoever was sent here before the balancer knew is let in
    drop(log_in(n0, "romeo", "early"));
    assert_eq!(said(n0, &["drain"]).0, 0, "it may be said twice");
    wait_for("new clients are turned away", || {
        let heard = greet(Raw::direct(n0));
        assert!(heard.contains("</stream:features>") || heard.contains(&place), "{heard}");
        heard.contains(&place)
    });
    // before TLS anybody could say so
    let mut plain = Raw::plain(n0);
    plain.say(HEADER.as_bytes());
    assert!(plain.hear("</stream:features>").contains("<starttls"));
    wait_for("all see it", || n2.jabiru(&["status"], "").contains("draining, 1 left"));
    // those who are here stay, and are reached
    romeo.say(chat("romeo", "here").as_bytes());
    assert!(romeo.hear("</message>").contains("id='here'"));
    let (code, words) = said(n0, &["drain", "--deadline", "0s"]);
    assert_eq!((code, words.as_str()), (0, "n0 is drained: 1 session moved, 0 left\n"));
    assert!(romeo.hear("</stream:stream>").contains(&place));
    assert_eq!(said(n0, &["undrain"]), (0, "n0 serves again\n".into()));
    assert_eq!(said(n0, &["undrain"]), (0, "n0 serves: it did not drain\n".into()));
    assert!(n0.http("/readyz").starts_with("HTTP/1.1 200"));
    drop(log_in(n0, "romeo", "late"));
    // from there, to whoever has told no place: anywhere
    nodes.list[1].stop();
    let [n0, n2] = [&nodes.list[0], &nodes.list[2]];
    let mut romeo = available(n0, "romeo", "orchard");
    wait_for("the others are two", || n0.verdict().is_some_and(|said| said.contains("2 nodes")));
    let (code, words) = said(n0, &["drain", "--deadline", "1ms"]);
    assert_eq!(code, 0, "{words}");
    assert!(romeo.hear("</stream:stream>").contains("<reset"));
    drop(log_in(n2, "romeo", "orchard"));
}

#[test]
fn no_number_of_drains_makes_the_service_go_away() {
    let nodes = Nodes::start(2);
    nodes.account("romeo", "secret");
    let [n0, n1] = [&nodes.list[0], &nodes.list[1]];
    let mut romeo = available(n0, "romeo", "orchard");
    thread::scope(|scope| {
        let both = [n0, n1].map(|node| scope.spawn(|| said(node, &["drain"])));
        for (code, words) in both.map(|one| one.join().expect("it ends")) {
            assert_eq!(code, 0, "{words}");
        }
    });
    let is_draining = |node: &Node| node.jabiru(&["status"], "").matches("draining").count() == 2;
    wait_for("both drain", || is_draining(n0) && is_draining(n1));
    let (code, words) = said(n0, &["drain", "--deadline", "0s"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("no other node serves: 1 session stays here"), "{words}");
    let (_, words) = said(n0, &["drain"]);
    assert!(words.contains("but no other node serves"), "{words}");
    drop(log_in(n1, "romeo", "balcony"));
    romeo.say(chat("romeo", "here").as_bytes());
    assert!(romeo.hear("</message>").contains("id='here'"));
    assert_eq!(said(n1, &["undrain"]).0, 0);
    wait_for("one serves", || n0.jabiru(&["status"], "").contains("serving"));
    let (code, words) = said(n0, &["drain", "--deadline", "0s"]);
    assert_eq!(code, 0, "{words}");
    wait_for("new clients are turned away", || greet(Raw::direct(n0)).contains("<reset"));
    assert_eq!(said(n1, &["drain"]).0, 0);
    wait_for("they are let in again", || greet(Raw::direct(n0)).contains("<stream:features"));
}

#[test]
fn the_latest_word_about_a_drain_holds() {
    let nodes = Nodes::start(2);
    nodes.account("romeo", "secret");
    let node = &nodes.list[0];
    let mut romeo = available(node, "romeo", "orchard");
    let mut first = Typed::begin(node, &["drain", "--deadline", "1h"]);
    wait_for("it drains", || node.jabiru(&["status"], "").contains("59m"));
    let mut second = Typed::begin(node, &["drain", "--deadline", "2h"]);
    wait_for("the first is told", || first.has_ended_with(1));
    wait_for("it is the later one", || node.jabiru(&["status"], "").contains("1h 59m"));
    assert_eq!(said(node, &["undrain"]).0, 0);
    wait_for("the second is told", || second.has_ended_with(1));
    romeo.say(chat("romeo", "here").as_bytes());
    assert!(romeo.hear("</message>").contains("id='here'"), "nobody was asked to go");
}

/// A stream to a listener for balancers.
fn behind(port: u16, header: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    tcp.write_all(header).expect("sent");
    tcp
}

fn rest(mut tcp: TcpStream) -> String {
    let mut heard = Vec::new();
    // a reset is an end as well
    let _ = tcp.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn a_balancer_says_whose_connection_it_is_and_nobody_else_may() {
    let mut nodes = Nodes::prepare(1, &format!("{LIMITED}connections_max = 2\n"));
    let (port, free) = (support::free_port(), support::free_port());
    let section = |port: u16, trusted: &str| {
        format!(
            "[c2s.proxy_protocol]\nlisten = [\"127.0.0.1:{port}\"]\ntrusted = [\"{trusted}\"]\n[cluster]"
        )
    };
    nodes.list[0].configure("[cluster]", &section(port, "127.0.0.1"));
    nodes.list[0].configure("[cluster]", "[log]\nlevel = \"debug\"\n[cluster]");
    nodes.list[0].start();
    let node = &nodes.list[0];
    let v1 = |address: &str| format!("PROXY TCP4 {address} 192.0.2.9 4000 5222\r\n");
    // no header, no service
    assert_eq!(rest(behind(port, HEADER.as_bytes())), "");
    // nor where no balancer is expected
    let mut raw = Raw::plain(node);
    raw.say(v1("192.0.2.1").as_bytes());
    assert!(!raw.rest().contains("<stream:features"));
    // each client has its own limit, though all come from one address
    let mut open: Vec<TcpStream> = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"] {
        let tcp = behind(port, format!("{}{HEADER}", v1(client)).as_bytes());
        let mut heard = support::raw::Raw::Plain(tcp.try_clone().expect("a socket"));
        assert!(heard.hear("</stream:features>").contains("<starttls"));
        open.push(tcp);
    }
    let refused = rest(behind(port, format!("{}{HEADER}", v1("192.0.2.1")).as_bytes()));
    assert!(refused.contains("<policy-violation"), "{refused}");
    assert!(node.log().contains("address=192.0.2.1:4000"), "logs know the client");
    drop(open);
    let metrics = node.http("/metrics");
    for reason in ["no-proxy-header", "connections"] {
        assert!(metrics.contains(&format!("jabiru_c2s_refused_total{{reason=\"{reason}\"}}")));
    }
    // where only others are trusted
    let mut other = Nodes::prepare(1, "");
    other.list[0].configure("[cluster]", &section(free, "192.0.2.0/24"));
    other.list[0].start();
    assert_eq!(rest(behind(free, format!("{}{HEADER}", v1("192.0.2.1")).as_bytes())), "");
    let untrusted = "jabiru_c2s_refused_total{reason=\"untrusted\"} 1";
    wait_for("it is counted", || other.list[0].http("/metrics").contains(untrusted));
    assert!(other.list[0].log().contains("connections were not served"));
}

#[test]
fn an_address_that_guesses_passwords_is_not_served_for_a_while() {
    let nodes = Nodes::start_with(1, &format!("{LIMITED}attempts_max = 1\n"));
    nodes.account("romeo", "secret");
    let node = &nodes.list[0];
    drop(log_in(node, "romeo", "orchard"));
    let mut guesser = Raw::direct(node);
    guesser.say(HEADER.as_bytes());
    guesser.hear("</stream:features>");
    // NUL romeo NUL wrong
    let auth =
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>";
    guesser.say(auth.as_bytes());
    guesser.hear("</failure>");
    let mut next = Raw::plain(node);
    next.say(HEADER.as_bytes());
    let heard = next.rest();
    assert!(heard.contains("<policy-violation") && heard.contains("too many attempts"), "{heard}");
    assert!(node.http("/metrics").contains("jabiru_c2s_authentication_failed_total 1"));
    wait_for("time heals", || greet(Raw::plain(node)).contains("<stream:features"));
}

/// How many chat.
const CROWD: usize = 300;

/// How many of us make accounts.
const HANDS: usize = 8;

/// Makes accounts faster than one process for each would.
fn make_accounts(node: &Node, count: usize) {
    let make = |number: usize| {
        let mut socket = UnixStream::connect(node.socket()).expect("it listens");
        let account = format!("{}@localhost", name(number));
        let ask = serde_json::json!({ "do": "user-add", "account": account, "password": "secret" });
        writeln!(socket, "{ask}").expect("sent");
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).expect("an answer");
        assert!(answer.contains("\"done\""), "{answer}");
    };
    thread::scope(|scope| {
        for first in 0..HANDS {
            scope.spawn(move || (first..count).step_by(HANDS).for_each(make));
        }
    });
}

#[test]
fn three_hundred_who_chat_lose_nothing_while_each_node_is_replaced() {
    let mut behind = Behind::start(3, "");
    make_accounts(&behind.nodes.list[0], CROWD);
    let haproxy = behind.haproxy();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let crowd = Crowd::come(CROWD, haproxy.plain, &support::tls().join("ca.pem"));
    let play_on = |times: u64| {
        let goal = crowd.slowest(CROWD) + times;
        wait_long_for("every ball flies on", || {
            let faults = crowd.account.lock().expect("no panic").faults.clone();
            assert!(faults.is_empty(), "{faults:?}");
            crowd.slowest(CROWD) >= goal
        });
    };
    play_on(2);
    let mut moved = 0;
    for at in 0..3 {
        let node = &behind.nodes.list[at];
        let (code, words) = said(node, &["drain", "--deadline", "3s"]);
        assert_eq!(code, 0, "{words}");
        let count = words.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
        moved += count.and_then(|count| count.parse::<usize>().ok()).expect("a number");
        behind.nodes.list[at].stop();
        play_on(2);
        behind.nodes.list[at].start();
        behind.nodes.wait_until_all_agree();
        play_on(2);
    }
    crowd.end();
    wait_long_for("all that was thrown is caught", || crowd.in_the_air().is_empty());
    let account = crowd.account.lock().expect("no panic");
    assert!(account.faults.is_empty(), "{:?}", account.faults);
    let (throws, ends) = (account.throws.len(), &account.ends);
    eprintln!("{throws} messages, {moved} sessions moved, streams ended: {ends:?}");
    assert!(moved >= CROWD / 2, "{moved} were moved");
    assert!(ends.keys().all(|end| end == "reset"), "{ends:?}");
    let twice = account.throws.values().filter(|caught| **caught > 1).count();
    assert_eq!(twice, 0, "of {throws} were given twice");
    // the balancer hides nobody
    let shown = behind.nodes.list[0].jabiru(&["sessions", &format!("{}@localhost", name(7))], "");
    let from = account.online[&7].to_string();
    assert!(shown.contains(&from), "{from} is not in {shown}");
}

#[test]
fn a_balancer_that_looks_nowhere_goes_to_the_next_node() {
    let mut behind = Behind::start(3, "");
    behind.nodes.account("romeo", "secret");
    let nginx = behind.nginx();
    let list = &mut behind.nodes.list;
    list[1].stop();
    // each in turn: one of them was tried first
    for resource in ["a", "b", "c"] {
        for direct in [false, true] {
            let mut raw = match direct {
                true => Raw::direct(nginx.as_node(&mut list[0])),
                false => {
                    let mut raw = Raw::plain(nginx.as_node(&mut list[0]));
                    raw.say(HEADER.as_bytes());
                    raw.hear("</stream:features>");
                    raw.say(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                    raw.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                    raw.secured()
                }
            };
            raw.bind("romeo", "secret", resource);
        }
    }
}

#[test]
fn a_drain_of_all_nodes_is_no_outage_behind_a_balancer() {
    let mut behind = Behind::start(3, "");
    behind.nodes.account("romeo", "secret");
    let haproxy = behind.haproxy();
    for node in &behind.nodes.list {
        assert_eq!(said(node, &["drain"]).0, 0);
    }
    // all of its listeners, two for clients and two for servers: no node is ready
    wait_for("the balancer has seen it", || {
        haproxy.log().matches("Running on backup").count() == 4
    });
    for resource in ["a", "b", "c"] {
        let mut raw = Raw::direct(haproxy.as_node(&mut behind.nodes.list[0]));
        raw.bind("romeo", "secret", resource);
    }
}

/// As `wait_for`, for what a machine has long to do.
#[track_caller]
fn wait_long_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(120), "waited in vain: {what}");
        thread::sleep(std::time::Duration::from_millis(20));
    }
}
