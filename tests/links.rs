//! Links to a server that says what it likes: what is not acknowledged is sent
//! again, and what it may not say ends the link.

mod servers;
mod support;

use std::net::TcpListener;
use std::path::PathBuf;

use servers::acceptor::{Accepted, accept, secured};
use servers::authority::{Authority, Shown};
use servers::person::Person;
use servers::service::{Plan, Service, start};
use servers::stranger::Stranger;

const A: &str = "a.example";
const B: &str = "b.example";
const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";

/// A service, and where it looks for the other.
struct Ground {
    service: Service,
    listener: TcpListener,
    theirs: PathBuf,
}

fn ground(rules: &str) -> Ground {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut services = start(vec![Plan::new(A).rules(rules).peer(B, port)]);
    let service = services.pop().expect("one");
    let folder = service.nodes.folder.path().to_owned();
    let authority = Authority::read(&folder.join("tls"));
    let theirs = authority.write(&folder.join("theirs"), B, &Shown::Valid);
    Ground { service, listener, theirs }
}

impl Ground {
    /// As below; the first are offered before the proof.
    fn accept_after(&self, before: &str, features: &str) -> Accepted {
        accept(&self.listener, &self.theirs, (B, A), (before, features))
    }

    fn metrics(&self) -> String {
        self.service.nodes.list[0].http("/metrics")
    }

    fn accept(&self, features: &str) -> Accepted {
        self.accept_after("", features)
    }
}

fn message(number: u32) -> String {
    format!(
        "<message to='romeo@b.example' type='chat' id='m{number}'><body>{number}.</body></message>"
    )
}

#[test]
fn what_was_not_acknowledged_is_sent_again_in_order() {
    let ground = ground("retry_after_min = '10ms'\nretry_after_max = '10ms'");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    juliet.send(&message(0));
    let mut first = ground.accept(SM);
    first.hear("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    first.say("<enabled xmlns='urn:xmpp:sm:3'/>");
    first.hear("<body>0.</body></message>");
    first.hear("<r xmlns='urn:xmpp:sm:3'/>");
    juliet.send(&message(1));
    juliet.send(&message(2));
    let heard = first.hear("<body>2.</body></message>");
    assert!(heard.contains("<body>1.</body>"), "{heard}");
    // it has two of three; then it is gone without a word
    first.say("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    first.hear("<r xmlns='urn:xmpp:sm:3'/>");
    // a link that dies young is not opened again at once: what it had comes back
    drop(first);
    juliet.hears("id='m2' type='error'");
    juliet.hears("remote-server-timeout");
    support::wait_for("it is tried again", || {
        juliet.send("<message to='romeo@b.example' id='again'><body>again</body></message>");
        !juliet.heard_till_now().contains("id='again' type='error'")
    });
    let mut second = ground.accept(SM);
    second.hear("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    second.hear("<body>again</body></message>");
}

/// A link that has said `0` to `3`, of which the other has said that it has two,
/// and whose connection is lost then; the next stream up to what is wanted first.
fn broken(ground: &Ground) -> (Person, Accepted) {
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    juliet.send(&message(0));
    let mut first = ground.accept(SM);
    first.hear("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    first.say("<enabled xmlns='urn:xmpp:sm:3' id='x&lt;1' resume='true'/>");
    for number in 1..4 {
        juliet.send(&message(number));
    }
    first.hear("<body>3.</body></message>");
    first.say("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    first.hear("<r xmlns='urn:xmpp:sm:3'/>");
    drop(first);
    let mut second = ground.accept(SM);
    second.hear("<resume xmlns='urn:xmpp:sm:3' h='0' previd='x&lt;1'/>");
    (juliet, second)
}

#[test]
fn a_stream_that_goes_on_says_only_what_the_other_does_not_have() {
    let ground = ground("");
    let (mut juliet, mut second) = broken(&ground);
    second.say("<resumed xmlns='urn:xmpp:sm:3' previd='x&lt;1' h='3'/>");
    let heard = second.hear("<body>3.</body></message>");
    assert!(!heard.contains("<body>2."), "{heard}");
    juliet.send(&message(4));
    let heard = second.hear("<body>4.</body></message>");
    assert!(!heard.contains("<enable"), "{heard}");
    second.say("<a xmlns='urn:xmpp:sm:3' h='5'/>");
    assert!(!juliet.heard_till_now().contains("type='error'"));
}

#[test]
fn a_stream_that_is_not_known_any_more_is_begun_anew() {
    let ground = ground("");
    let (mut juliet, mut second) = broken(&ground);
    second.say("<failed xmlns='urn:xmpp:sm:3'/>");
    second.hear("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let heard = second.hear("<body>3.</body></message>");
    assert!(heard.contains("<body>2.") && !heard.contains("<body>1."), "{heard}");
    assert!(!juliet.heard_till_now().contains("type='error'"));
}

#[test]
fn a_stop_waits_until_the_other_has_all() {
    let mut ground = ground("");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    juliet.send(&message(0));
    let mut peer = ground.accept(SM);
    peer.hear("<body>0.</body></message>");
    peer.hear("<r xmlns='urn:xmpp:sm:3'/>");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| ground.service.nodes.list[0].stop());
        // her last presence goes nowhere; the stream ends behind the answer
        peer.say("<a xmlns='urn:xmpp:sm:3' h='1'/>");
        peer.hear("</stream:stream>");
        drop(peer);
        stopping.join().expect("it ends");
    });
}

#[test]
fn what_the_other_may_not_say_ends_the_link() {
    for words in [
        // a stanza on a stream that is ours to speak on
        "<message from='romeo@b.example' to='juliet@a.example'><body>x</body></message>",
        "<a xmlns='urn:xmpp:sm:3' h='7'/>",
        "<a xmlns='urn:xmpp:sm:3'/>",
        "<a><b></a>",
    ] {
        let ground = ground("");
        let mut juliet = Person::online(&ground.service, 0, "juliet");
        juliet.send(&message(0));
        let mut peer = ground.accept(SM);
        peer.hear("<body>0.</body></message>");
        peer.say(words);
        peer.hear("</stream:error></stream:stream>");
        drop(peer);
        let back = juliet.hears("id='m0' type='error'");
        assert!(!back.contains("<body>x</body>"), "{back}");
    }
}

#[test]
fn a_server_that_does_not_read_fills_its_queue_and_no_more() {
    let ground = ground("queue_bytes_max = '64KiB'\nwrite_timeout = '2s'");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    juliet.send(&message(0));
    let mut peer = ground.accept(SM);
    peer.hear("<body>0.</body></message>");
    // 4 MB, far more than sockets hold; what is too much comes back at once
    let large = "x".repeat(40_000);
    for number in 1..=100 {
        juliet.send(&format!(
            "<message to='romeo@b.example' id='l{number}'><body>{large}</body></message>"
        ));
    }
    juliet.hears("id='l100' type='error'");
    juliet.hears("<resource-constraint");
    // and what was taken, when nobody answers any more
    juliet.hears("<remote-server-timeout");
    let node = &ground.service.nodes.list[0];
    support::wait_for("the link is given up", || node.jabiru(&["s2s"], "").contains("failed"));
    drop(peer);
}

#[test]
fn a_server_that_may_answer_speaks_for_nobody_else() {
    for (from, to, condition) in [
        // us, whoever it likes, and for whom it was not proved
        ("romeo@a.example", "juliet@a.example", "invalid-from"),
        ("romeo@c.example", "juliet@a.example", "invalid-from"),
        ("romeo@b.example", "juliet@c.example", "invalid-from"),
        ("", "juliet@a.example", "improper-addressing"),
    ] {
        let ground = ground("");
        let mut juliet = Person::online(&ground.service, 0, "juliet");
        juliet.send(&message(0));
        let mut peer = ground.accept_after("<bidi xmlns='urn:xmpp:features:bidi'/>", "");
        peer.hear("<body>0.</body></message>");
        let message = |from: &str, text: &str| {
            let from = if from.is_empty() { String::new() } else { format!(" from='{from}'") };
            format!("<message{from} to='{to}'><body>{text}</body></message>")
        };
        if to == juliet.jid {
            peer.say(&message("romeo@b.example", "in"));
            juliet.hears("<body>in</body>");
        }
        peer.say(&message(from, "x"));
        let heard = peer.hear("</stream:error></stream:stream>");
        assert!(heard.contains(condition), "{condition}: {heard}");
        drop(peer);
        assert!(!juliet.heard_till_now().contains("<body>x</body>"), "{from} to {to}");
    }
}

#[test]
fn an_answer_to_another_question_proves_nothing() {
    let ground = ground("dialback = true\nbidirectional = false");
    let verify = |id: &str, from: &str, to: &str| {
        format!("<db:verify from='{from}' to='{to}' id='{id}' type='valid'/>")
    };
    for answer in [
        // of another stream, and what was not asked at all
        &(|id: &str| verify(&format!("{id}0"), B, A)) as &dyn Fn(&str) -> String,
        &|_| format!("<db:result from='{B}' to='{A}' type='valid'/>"),
        &|id| verify(id, "c.example", A) + "</stream:stream>",
        &|id| verify(id, B, "c.example") + "</stream:stream>",
        &|id| verify(id, B, A).replace("valid", "invalid"),
        // the right one
        &|id| verify(id, B, A),
    ] {
        let port = ground.service.ports[0].starttls;
        let (mut stranger, _) = Stranger::secured(port, None, B, A);
        stranger.say(&format!("<db:result from='{B}' to='{A}'>k</db:result>"));
        let mut theirs = secured(&ground.listener, &ground.theirs, (B, A), "");
        let asked = theirs.hear("</db:verify>");
        let id = asked.split_once(" id='").and_then(|(_, rest)| rest.split_once('\''));
        let words = answer(id.expect("an id").0);
        theirs.say(&words);
        let heard = stranger.hear("<db:result");
        let is_right = words == verify(id.expect("an id").0, B, A);
        assert_eq!(heard.contains("type='valid'"), is_right, "{words}: {heard}");
    }
    let failed = "jabiru_s2s_proof_failed_total 5";
    assert!(ground.metrics().contains(failed), "{}", ground.metrics());
}

#[test]
fn a_link_on_which_nothing_is_said_is_closed() {
    let ground = ground("idle_timeout = '1s'");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    juliet.send(&message(0));
    let mut peer = ground.accept("");
    peer.hear("<body>0.</body></message>");
    peer.hear("</stream:stream>");
    drop(peer);
    let node = &ground.service.nodes.list[0];
    support::wait_for("there is none", || node.jabiru(&["s2s", "--json"], "").trim() == "[]");
    // the next word opens another
    juliet.send(&message(1));
    ground.accept("").hear("<body>1.</body></message>");
    assert!(!juliet.heard_till_now().contains("type='error'"));
}

#[test]
fn what_waits_for_a_server_comes_back_in_time_and_says_why() {
    // it takes the connection, and says nothing
    let late = ground("queue_time_max = '1s'");
    let mut juliet = Person::online(&late.service, 0, "juliet");
    juliet.send(&message(0));
    juliet.hears("id='m0' type='error'");
    juliet.hears("<remote-server-timeout");
    // and for a while nobody tries again
    juliet.send(&message(1));
    juliet.hears("id='m1' type='error'");
    let metrics = late.metrics();
    assert!(metrics.contains("links_failed_total{reason=\"unreachable\"} 1"), "{metrics}");
    assert!(metrics.contains("s2s_manager_returned_total{reason=\"unreachable\"} 2"), "{metrics}");
    let unwanted = ground("block = ['b.example']");
    let mut juliet = Person::online(&unwanted.service, 0, "juliet");
    juliet.send(&message(0));
    juliet.hears("id='m0' type='error'");
    juliet.hears("<forbidden");
    let metrics = unwanted.metrics();
    assert!(metrics.contains("s2s_manager_returned_total{reason=\"forbidden\"} 1"), "{metrics}");
}
