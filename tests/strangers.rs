//! What other servers may try, and what they get (a raw peer, byte by byte):
//! each the right error, nothing believed, and the service goes on.

mod servers;
mod support;

use std::path::PathBuf;

use servers::authority::{Authority, Shown};
use servers::person::Person;
use servers::service::{Plan, Service, start};
use servers::stranger::{SASL, Stranger, TLS, header};

const A: &str = "a.example";
const B: &str = "b.example";
const DIALBACK: &str = "urn:xmpp:features:dialback";

/// A service, and the certificate of another one that it believes.
struct Ground {
    service: Service,
    /// Of `b.example`, and one that it does not believe.
    theirs: PathBuf,
    forged: PathBuf,
    port: u16,
}

fn ground(rules: &str) -> Ground {
    let mut services = start(vec![Plan::new(A).rules(rules).peer(B, support::free_port())]);
    let service = services.pop().expect("one");
    let folder = service.nodes.folder.path().to_owned();
    let authority = Authority::read(&folder.join("tls"));
    let theirs = authority.write(&folder.join("theirs"), B, &Shown::Valid);
    let forged = authority.write(&folder.join("forged"), B, &Shown::SelfSigned);
    let port = service.ports[0].starttls;
    Ground { service, theirs, forged, port }
}

#[test]
fn a_header_that_cannot_be_is_answered_in_words() {
    let ground = ground("");
    for (words, condition) in [
        (header(B, "c.example"), "host-unknown"),
        (header(B, ""), "improper-addressing"),
        (header(A, A), "invalid-from"),
        (header("a b", A), "invalid-from"),
        (header(B, A).replace("jabber:server'", "jabber:client'"), "invalid-namespace"),
        (header(B, A).replace("etherx", "other"), "invalid-namespace"),
        ("<!DOCTYPE a>".to_owned(), "restricted-xml"),
        (header(B, A).replace("version='1.0'>", "to='x'>"), "not-well-formed"),
    ] {
        let mut stranger = Stranger::plain(ground.port);
        stranger.say(&words);
        stranger.ended(condition);
    }
}

#[test]
fn before_the_proof_nothing_is_believed() {
    let ground = ground("");
    let message = "<message from='x@b.example' to='juliet@a.example'><body>x</body></message>";
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    for (words, condition) in [
        (message, "not-authorized"),
        // nobody has asked (CVE-2012-3525)
        ("<db:result type='valid' from='b.example' to='a.example'/>", "policy-violation"),
        ("<db:verify type='valid' id='1' from='b.example' to='a.example'/>", "policy-violation"),
        ("<db:result from='a.example' to='a.example'>k</db:result>", "invalid-from"),
        ("<db:result to='a.example'>k</db:result>", "improper-addressing"),
        ("<db:verify from='b.example' to='a.example'>k</db:verify>", "improper-addressing"),
        ("<message xmlns='jabber:client'/>", "invalid-namespace"),
        ("<what xmlns='is:this'/>", "unsupported-stanza-type"),
        ("<a><b><c></a>", "not-well-formed"),
    ] {
        let (mut stranger, features) = Stranger::secured(ground.port, Some(&ground.theirs), B, A);
        assert!(features.contains("EXTERNAL"), "{features}");
        stranger.say(words);
        // and in one breath what would be believed after a proof
        stranger.say(message);
        stranger.ended(condition);
    }
    let large = "x".repeat(20_000);
    let (mut stranger, _) = Stranger::secured(ground.port, None, B, A);
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{large}</auth>"));
    stranger.ended("policy-violation");
    assert!(!juliet.heard_till_now().contains("<body>x</body>"));
}

#[test]
fn after_the_proof_only_what_was_proved_is_believed() {
    let ground = ground("");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    for (words, condition) in [
        ("<message from='x@c.example' to='juliet@a.example'/>", "invalid-from"),
        ("<message from='romeo@a.example' to='juliet@a.example'/>", "invalid-from"),
        ("<message from='x@b.example'/>", "improper-addressing"),
        ("<message to='juliet@a.example'/>", "improper-addressing"),
        ("<message from='x@b.example' to='x@c.example'/>", "host-unknown"),
        ("<message from='@' to='juliet@a.example'/>", "invalid-from"),
        (
            "<s:message xmlns:s='jabber:server' from='x@b.example' to='juliet@a.example'/>",
            "bad-namespace-prefix",
        ),
        (
            "<message xmlns='jabber:client' from='x@b.example' to='a@a.example'/>",
            "invalid-namespace",
        ),
    ] {
        let mut stranger = Stranger::proved(ground.port, &ground.theirs, B, A);
        stranger.say(words);
        stranger.ended(condition);
    }
    let mut stranger = Stranger::proved(ground.port, &ground.theirs, B, A);
    stranger.say(
        "<message from='x@b.example' to='juliet@a.example' id='1'>\
         <body xmlns='jabber:server'>in</body>\
         <f xmlns='u'><message xmlns='jabber:client'/></f></message>",
    );
    juliet.hears("<body>in</body><f xmlns='u'><message xmlns='jabber:client'/></f></message>");
}

#[test]
fn a_certificate_that_is_not_believed_proves_nothing() {
    let ground = ground("");
    let (mut stranger, features) = Stranger::secured(ground.port, Some(&ground.forged), B, A);
    assert!(!features.contains("EXTERNAL") && !features.contains(DIALBACK), "{features}");
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>"));
    stranger.hear("<not-authorized/></failure>");
    stranger.say("<db:result from='b.example' to='a.example'>k</db:result>");
    stranger.ended("policy-violation");
    // of another name than that of the stream
    let (mut stranger, features) =
        Stranger::secured(ground.port, Some(&ground.theirs), "c.example", A);
    assert!(!features.contains("EXTERNAL"), "{features}");
    for (words, condition) in [
        // b.example
        ("Yi5leGFtcGxl", "invalid-authzid"),
        ("*", "incorrect-encoding"),
        ("=", "not-authorized"),
    ] {
        stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{words}</auth>"));
        stranger.hear(&format!("<{condition}/></failure>"));
    }
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'>=</auth>"));
    stranger.hear("<invalid-mechanism/></failure>");
    // the long way, with a challenge
    let (mut stranger, _) = Stranger::secured(ground.port, Some(&ground.theirs), B, A);
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'/>"));
    stranger.hear("<challenge");
    stranger.say(&format!("<response xmlns='{SASL}'>Yi5leGFtcGxl</response>"));
    stranger.hear("<success");
    stranger.say(&header("c.example", A));
    stranger.ended("invalid-from");
}

#[test]
fn keys_are_valid_only_if_we_have_made_them() {
    let ground = ground("dialback = true");
    let (mut stranger, _) = Stranger::secured(ground.port, None, B, A);
    for key in ["", "0", "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"] {
        let verify = format!("<db:verify id='7' from='{B}' to='{A}'>{key}</db:verify>");
        stranger.say(&verify);
        stranger
            .hear(&format!("<db:verify from='{A}' to='{B}' id='7' type='invalid'></db:verify>"));
    }
    stranger.say(&format!("<db:verify id='7' from='{B}' to='c.example'>k</db:verify>"));
    stranger.hear("<item-not-found");
    // nobody can say whether this key is right
    stranger.say(&format!("<db:result from='{B}' to='{A}'>k</db:result>"));
    stranger.hear(&format!("<db:result from='{A}' to='{B}' type='error'>"));
}

#[test]
fn one_stream_speaks_for_so_many_domains_and_no_more() {
    let ground = ground("dialback = true");
    let (mut stranger, _) = Stranger::secured(ground.port, None, B, A);
    for number in 0..51 {
        stranger.say(&format!("<db:result from='c{number}.example' to='{A}'>k</db:result>"));
    }
    let heard = stranger.hear("<resource-constraint");
    assert!(heard.contains("to='c50.example' type='error'"), "{heard}");
}

#[test]
fn what_comes_with_starttls_is_thrown_away() {
    let ground = ground("");
    let mut stranger = Stranger::plain(ground.port);
    stranger.say(&header(B, A));
    let features = stranger.hear("</stream:features>");
    assert!(features.contains("<required/>") && !features.contains(DIALBACK), "{features}");
    stranger.say(&format!(
        "<starttls xmlns='{TLS}'/><db:verify id='7' from='{B}' to='{A}'>k</db:verify>"
    ));
    stranger.hear("<proceed");
    let mut stranger = stranger.over(None, &[]);
    stranger.say(&header(B, A));
    let heard = stranger.hear("</stream:features>");
    assert!(!heard.contains("db:verify"), "{heard}");
    // and where TLS comes first, nothing is said without it
    let mut stranger = Stranger::plain(ground.port);
    stranger.say(&header(B, A));
    stranger.hear("</stream:features>");
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>"));
    stranger.hear("<encryption-required/></failure>");
    stranger.say(&format!("<db:result from='{B}' to='{A}'>k</db:result>"));
    stranger.ended("policy-violation");
}

#[test]
fn whoever_proves_nothing_must_go() {
    let mut services = servers::service::prepare(vec![Plan::new(A)]);
    let service = services.pop().expect("one");
    service.nodes.list[0].configure("[s2s]", "[s2s]\nnegotiation_timeout = '300ms'");
    let service = service.started();
    let port = service.ports[0].starttls;
    let mut silent = Stranger::plain(port);
    let (mut idle, _) = Stranger::secured(port, None, B, A);
    silent.ended("connection-timeout");
    idle.ended("connection-timeout");
    // TLS that never begins
    let mut stuck = Stranger::plain(service.ports[0].direct);
    assert_eq!(stuck.hear(""), "");
}

#[test]
fn tls_at_once_is_as_good() {
    let ground = ground("");
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    let mut stranger = Stranger::direct(ground.service.ports[0].direct, &ground.theirs);
    stranger.say(&header(B, A));
    let features = stranger.hear("</stream:features>");
    assert!(features.contains("EXTERNAL"), "{features}");
    stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>Yi5leGFtcGxl</auth>"));
    stranger.hear("<success");
    stranger.say(&header(B, A));
    stranger.hear("</stream:features>");
    stranger.say("<message from='x@b.example' to='juliet@a.example'><body>in</body></message>");
    juliet.hears("<body>in</body>");
}

#[test]
fn a_balancer_says_whose_connection_it_is() {
    let mut services = servers::service::prepare(vec![Plan::new(A)]);
    let service = services.pop().expect("one");
    let behind = support::free_port();
    let section = format!(
        "[s2s.per_address]\nconnections_max = 1\n\
         [s2s.proxy_protocol]\nlisten = ['127.0.0.1:{behind}']\ntrusted = ['127.0.0.1']\n[s2s_manager]"
    );
    service.nodes.list[0].configure("[s2s_manager]\n", &format!("{section}\n"));
    let service = service.started();
    let proxied = |from: &str| {
        let mut stranger = Stranger::plain(behind);
        stranger.say(&format!("PROXY TCP4 {from} 192.0.2.9 4000 5269\r\n"));
        stranger.say(&header(B, A));
        stranger
    };
    let mut first = proxied("198.51.100.1");
    first.hear("</stream:features>");
    // one more of the same address is not served, one of another is
    assert_eq!(proxied("198.51.100.1").hear(""), "");
    proxied("198.51.100.2").hear("</stream:features>");
    let mut unsaid = Stranger::plain(behind);
    unsaid.say(&header(B, A));
    assert_eq!(unsaid.hear(""), "");
    let metrics = service.nodes.list[0].http("/metrics");
    assert!(metrics.contains("jabiru_s2s_refused_total{reason=\"address\"} 1"), "{metrics}");
}

#[test]
fn stanzas_are_acknowledged_to_whoever_wants_to_know() {
    let ground = ground("");
    let sm = "urn:xmpp:sm:3";
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    let (mut early, _) = Stranger::secured(ground.port, Some(&ground.theirs), B, A);
    early.say(&format!("<enable xmlns='{sm}'/>"));
    early.hear("<failed xmlns='urn:xmpp:sm:3'><unexpected-request");
    let mut stranger = Stranger::proved(ground.port, &ground.theirs, B, A);
    stranger.say(&format!("<enable xmlns='{sm}'/>"));
    stranger.hear(&format!("<enabled xmlns='{sm}'/>"));
    for _ in 0..3 {
        stranger.say("<message from='x@b.example' to='juliet@a.example'><body>in</body></message>");
    }
    // one that is wrong was handled as well
    stranger.say("<iq from='x@b.example' to='juliet@a.example' type='get' id='1'/>");
    stranger.say(&format!("<r xmlns='{sm}'/>"));
    stranger.hear(&format!("<a xmlns='{sm}' h='4'/>"));
    stranger.say(&format!("<resume xmlns='{sm}' previd='1' h='0'/>"));
    stranger.hear("<item-not-found");
    juliet.hears("<body>in</body>");
}

#[test]
fn a_stream_goes_on_for_whoever_has_begun_it() {
    let ground = ground("");
    let sm = "urn:xmpp:sm:3";
    let mut juliet = Person::online(&ground.service, 0, "juliet");
    let proved = || Stranger::proved(ground.port, &ground.theirs, B, A);
    let message = |text: &str| {
        format!("<message from='x@b.example' to='juliet@a.example'><body>{text}</body></message>")
    };
    let mut first = proved();
    first.say(&format!("<enable xmlns='{sm}' resume='true'/>"));
    let enabled = first.hear("resume='true' max='10'/>");
    let id =
        enabled.split_once("id='").and_then(|(_, rest)| rest.split_once('\'')).expect("an id").0;
    first.say(&message("one"));
    first.say(&message("two"));
    juliet.hears("<body>two</body>");
    let go_on = |h: u32| {
        let mut stranger = proved();
        stranger.say(&format!("<resume xmlns='{sm}' previd='nobody' h='0'/>"));
        stranger.hear("<item-not-found");
        stranger.say(&format!("<resume xmlns='{sm}' previd='{id}' h='0'/>"));
        stranger.hear(&format!("<resumed xmlns='{sm}' h='{h}' previd='{id}'/>"));
        stranger.say(&message("more"));
        stranger.say(&format!("<r xmlns='{sm}'/>"));
        stranger.hear(&format!("<a xmlns='{sm}' h='{}'/>", h + 1));
        stranger
    };
    drop(first);
    let second = go_on(2);
    juliet.hears("<body>more</body>");
    // also from a connection that nobody knows to be lost
    let mut third = go_on(3);
    juliet.hears("<body>more</body>");
    drop(second);
    // one that was closed does not
    third.say("</stream:stream>");
    third.hear("</stream:stream>");
    let mut last = proved();
    last.say(&format!("<resume xmlns='{sm}' previd='{id}' h='0'/>"));
    last.hear("<item-not-found");
}
