//! Links to a server that says what it likes: what is not acknowledged is sent
//! again, and what it may not say ends the link.

mod servers;
mod support;

use std::net::TcpListener;
use std::path::PathBuf;

use servers::acceptor::{Accepted, accept};
use servers::authority::{Authority, Shown};
use servers::person::Person;
use servers::service::{Plan, Service, start};

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
    fn accept(&self, features: &str) -> Accepted {
        accept(&self.listener, &self.theirs, (B, A), features)
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
