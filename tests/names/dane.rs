//! Certificates that a domain names in DNS (DANE), and DNSSEC that proves it.

use std::fs;

use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::servers::authority::Shown;
use crate::servers::dns::{Dns, Said, srv};
use crate::servers::person::Person;
use crate::servers::service::{Plan, Service, prepare};
use crate::{A, B, PRIVATE, XMPP, reaches, support};

/// Two services; the second is found by signed records.
struct Ground {
    dns: Dns,
    one: Service,
    other: Service,
    _folder: tempfile::TempDir,
}

/// `believed`: the domain whose key is believed.
fn ground(shown: Shown, rules: &str, believed: &str) -> Ground {
    let (dns, folder) = (Dns::start(), tempfile::tempdir().expect("a folder"));
    let anchor = dns.signs(B);
    // of another key, if it is not to be believed
    let anchor = if believed == B { anchor } else { dns_of_others(believed) };
    let file = folder.path().join("anchors");
    fs::write(&file, anchor).expect("writable");
    let rules = format!("{PRIVATE}\n{rules}\ndane_anchors = {file:?}\nqueue_time_max = '8s'");
    let plans = vec![Plan::new(A).asks(&dns).rules(&rules), Plan::new(B).in_dns().shows(shown)];
    let mut services: Vec<Service> = prepare(plans).into_iter().map(Service::started).collect();
    let other = services.pop().expect("two");
    let one = services.pop().expect("two");
    dns.service(XMPP, vec![srv(0, other.ports[0].starttls, "xmpp.b.example.")]);
    dns.address("xmpp.b.example", [127, 0, 0, 1]);
    Ground { dns, one, other, _folder: folder }
}

fn dns_of_others(domain: &str) -> String {
    let anchor = Dns::start().signs(domain);
    anchor.replace(domain, B)
}

impl Ground {
    /// The second one names the key of the certificate in this file of its own.
    fn names(&self, file: &str) {
        let path = self.other.nodes.folder.path().join("tls").join(file);
        let certificate = CertificateDer::from_pem_file(path).expect("a certificate");
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
        let hash = Sha256::digest(parsed.public_key().raw).to_vec();
        let record = TLSA::new(3.into(), 1.into(), 1.into(), hash);
        let name = format!("_{}._tcp.xmpp.b.example", self.other.ports[0].starttls);
        self.dns.says(&name, RecordType::TLSA, Said::Records(vec![RData::TLSA(record)]));
    }

    /// What a message comes back with, and why.
    #[track_caller]
    fn is_refused(&self, why: &str) {
        let mut juliet = Person::online(&self.one, 0, "juliet");
        juliet.send("<message to='romeo@b.example' type='chat' id='m'><body>hi</body></message>");
        juliet.hears("id='m' type='error'>");
        self.one.logged(why);
    }

    fn check(&self, what: &str) -> String {
        let config = self.one.nodes.list[0].folder.join("jabiru.toml");
        let said = support::run(&["check", what, B, "-c", config.to_str().expect("text")], "");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

#[test]
fn a_certificate_that_dns_names_needs_nobody_else() {
    let ground = ground(Shown::SelfSigned, "dane = true", B);
    ground.names("cert.pem");
    let said = ground.check("dns");
    assert!(said.contains("TLSA 3 1 1: its certificate, whoever has signed it"), "{said}");
    let said = ground.check("s2s");
    assert!(said.contains("a TLSA record names it"), "{said}");
    reaches(&ground.one, &ground.other);
    ground.one.logged("is_certain=true");
}

#[test]
fn a_certificate_that_dns_does_not_name_is_refused_whoever_has_signed_it() {
    let ground = ground(Shown::Valid, "dane = true\ndialback = true", B);
    ground.names("ca.pem");
    ground.is_refused("none of those that its domain names in DNS");
    let said = ground.check("s2s");
    assert!(said.contains("it is not as any of the TLSA records wants it"), "{said}");
}

#[test]
fn without_dane_or_without_proof_dns_names_nothing() {
    // it is not asked
    let off = ground(Shown::Valid, "", B);
    off.names("ca.pem");
    reaches(&off.one, &off.other);
    let off = ground(Shown::SelfSigned, "", B);
    off.names("cert.pem");
    off.is_refused("its certificate is not valid for its domain");
    // signed by somebody whose key is not believed
    let forged = ground(Shown::SelfSigned, "dane = true", "c.example");
    forged.names("cert.pem");
    forged.is_refused("DNS does not answer for b.example");
}
