//! Whether a server's certificate is one that its domain names in DNS (DANE: RFC
//! 6698, 7671; for a server that an SRV record names: RFC 7673). Pure: the
//! records come from whoever asks DNS, and only those that DNSSEC has proved.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256, Sha512};
use webpki::anchor_from_trusted_cert;

use crate::s2s_manager::certificate::{Roots, names, verify};
use crate::xmpp::jid::Domain;

/// Records of one server that are looked at. A guess: while a key changes there
/// are two, or four with two kinds of each.
pub const RECORDS_MAX: usize = 32;

/// One TLSA record, as DNS has it (RFC 6698 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// Whose certificate is meant, and whether others have to vouch for it.
    pub usage: u8,
    /// Which part of it.
    pub selector: u8,
    /// How that part is written.
    pub matching: u8,
    /// It.
    pub association: Vec<u8>,
}

/// What a server has shown, and who it should be.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its certificate first.
    pub chain: &'a [CertificateDer<'a>],
    /// Its domain.
    pub domain: &'a Domain,
    /// The host that the SRV record of the domain has named.
    pub host: &'a str,
}

/// How records and certificate fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// There is no record that is of use: as if there were none.
    Unsaid,
    /// A record names this very certificate or its key (DANE-EE). Neither names
    /// nor times in it count (RFC 7671 §5.1).
    Named,
    /// A chain that a record wants is there, and the certificate speaks for the
    /// domain or for the host.
    Vouched,
    /// There are records, and it is not what any of them wants.
    Refused,
}

/// Usages (RFC 7218 §2.1).
const PKIX_TA: u8 = 0;
const PKIX_EE: u8 = 1;
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

impl Tlsa {
    /// Whether it means something to us; whatever else it is, it is as if it
    /// were not there (RFC 6698 §4.1).
    pub fn is_usable(&self) -> bool {
        let is_whole = match self.matching {
            0 => !self.association.is_empty(),
            1 => self.association.len() == 32,
            2 => self.association.len() == 64,
            _ => false,
        };
        self.usage <= DANE_EE && self.selector <= 1 && is_whole
    }

    /// Whether it is of this certificate.
    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let key = match x509_parser::parse_x509_certificate(certificate) {
            Ok((_, parsed)) => parsed.public_key().raw.to_vec(),
            Err(_) => return false,
        };
        let part: &[u8] = if self.selector == 0 { certificate } else { &key };
        match self.matching {
            0 => *part == *self.association,
            1 => Sha256::digest(part)[..] == self.association[..],
            2 => Sha512::digest(part)[..] == self.association[..],
            _ => false,
        }
    }

    /// What it means, for people.
    pub fn in_words(&self) -> String {
        if !self.is_usable() {
            let Self { usage, selector, matching, .. } = self;
            return format!("{usage} {selector} {matching}: of no use");
        }
        let whose = match self.usage {
            PKIX_TA => "an authority, which we must trust besides",
            PKIX_EE => "its certificate, which must be valid besides",
            DANE_TA => "an authority of its own",
            _ => "its certificate, whoever has signed it",
        };
        let part = if self.selector == 0 { "whole" } else { "by its key" };
        let how = ["in full", "by SHA-256", "by SHA-512"];
        let how = how.get(usize::from(self.matching)).unwrap_or(&"");
        let Self { usage, selector, matching, .. } = self;
        format!("{usage} {selector} {matching}: {whose}; {part}, {how}")
    }
}

/// Judges what a server has shown by all records of it. One that fits is
/// enough.
pub fn judge(records: &[Tlsa], roots: &Roots, shown: Shown<'_>, now: UnixTime) -> Fit {
    let usable = strongest(records);
    let Some((own, others)) = shown.chain.split_first() else {
        return if usable.is_empty() { Fit::Unsaid } else { Fit::Refused };
    };
    if usable.is_empty() {
        return Fit::Unsaid;
    }
    let of = |usage: u8| usable.iter().copied().filter(move |record| record.usage == usage);
    if of(DANE_EE).any(|record| record.matches(own)) {
        return Fit::Named;
    }
    let is_vouched = || {
        let by_roots = |accept: &dyn Fn(&CertificateDer<'_>) -> bool| {
            verify(roots.anchors(), shown.chain, now, Some(accept)).is_ok()
        };
        of(PKIX_EE).any(|record| record.matches(own)) && by_roots(&|_| true)
            || of(PKIX_TA).any(|record| by_roots(&|authority| record.matches(authority)))
            || of(DANE_TA).any(|record| has_own_authority(record, shown.chain, others, now))
    };
    match is_vouched() && names(own, shown.domain, Some(shown.host)) {
        true => Fit::Vouched,
        false => Fit::Refused,
    }
}

/// Whether a chain leads to the authority that a record names: one that the
/// server has shown, or that stands in the record.
fn has_own_authority(
    record: &Tlsa,
    chain: &[CertificateDer<'_>],
    others: &[CertificateDer<'_>],
    now: UnixTime,
) -> bool {
    let in_full = CertificateDer::from(record.association.as_slice());
    let is_in_full = record.selector == 0 && record.matching == 0;
    let shown = others.iter().filter(|one| record.matches(one));
    let authorities = shown.chain(is_in_full.then_some(&in_full));
    let anchors: Vec<TrustAnchor<'_>> =
        authorities.filter_map(|one| anchor_from_trusted_cert(one).ok()).collect();
    !anchors.is_empty() && verify(&anchors, chain, now, None).is_ok()
}

/// Those of use; of those that differ only in their hash the ones of the
/// strongest (RFC 7671 §9).
fn strongest(records: &[Tlsa]) -> Vec<&Tlsa> {
    let usable: Vec<&Tlsa> =
        records.iter().take(RECORDS_MAX).filter(|record| record.is_usable()).collect();
    let is_beaten = |one: &Tlsa| {
        let mut others = usable
            .iter()
            .filter(|other| (other.usage, other.selector) == (one.usage, one.selector));
        one.matching == 1 && others.any(|other| other.matching == 2)
    };
    usable.iter().copied().filter(|one| !is_beaten(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

    /// An authority and what it has signed.
    struct Signed {
        authority: CertificateDer<'static>,
        own: CertificateDer<'static>,
    }

    /// A certificate for `name`, by an authority that is called `by`.
    fn signed(by: &str, name: &str) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, by);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("signed").der().clone();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        if name == "late.example" {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let own = params.signed_by(&key, &issuer).expect("signed").der().clone();
        Signed { authority, own }
    }

    fn record(usage: u8, selector: u8, matching: u8, of: &CertificateDer<'_>) -> Tlsa {
        let (_, parsed) = x509_parser::parse_x509_certificate(of).expect("a certificate");
        let part = if selector == 0 { of.to_vec() } else { parsed.public_key().raw.to_vec() };
        let association = match matching {
            1 => Sha256::digest(&part).to_vec(),
            2 => Sha512::digest(&part).to_vec(),
            _ => part,
        };
        Tlsa { usage, selector, matching, association }
    }

    /// `EE 3 1 1`, `TA 2 0 0`: of its own certificate, or of its authority;
    /// with `!` before: of those of somebody else.
    fn records(words: &str, signed: &Signed) -> Vec<Tlsa> {
        let other = self::signed("others", "im.example");
        let one = |word: &str| {
            let (of, word) = match word.trim().strip_prefix('!') {
                Some(word) => (&other, word),
                None => (signed, word.trim()),
            };
            let numbers: Vec<u8> =
                word[2..].split_whitespace().map(|one| one.parse().expect("a number")).collect();
            let of = if word.starts_with("EE") { &of.own } else { &of.authority };
            record(numbers[0], numbers[1], numbers[2], of)
        };
        words.split(',').filter(|word| !word.is_empty()).map(one).collect()
    }

    struct World {
        name: &'static str,
        is_trusted: bool,
        shows_authority: bool,
    }

    const GOOD: World = World { name: "im.example", is_trusted: true, shows_authority: true };
    const UNKNOWN: World = World { is_trusted: false, ..GOOD };

    #[track_caller]
    fn check(world: &World, words: &str, expected: Fit) {
        let signed = signed("tests", world.name);
        let roots = match world.is_trusted {
            true => Roots::of(std::slice::from_ref(&signed.authority)),
            false => Roots::none(),
        };
        let mut chain = vec![signed.own.clone()];
        if world.shows_authority {
            chain.push(signed.authority.clone());
        }
        let domain = Domain::parse("im.example").expect("a domain");
        let shown = Shown { chain: &chain, domain: &domain, host: "xmpp.example.net." };
        let records = records(words, &signed);
        assert_eq!(judge(&records, &roots, shown, UnixTime::now()), expected, "{words}");
    }

    #[test]
    fn without_a_record_of_use_all_is_as_without_dane() {
        check(&GOOD, "", Fit::Unsaid);
        for words in ["EE 4 1 1", "EE 3 2 1", "EE 3 1 3", "EE 255 0 0"] {
            check(&GOOD, words, Fit::Unsaid);
        }
        let mut short = records("EE 3 1 1", &signed("tests", "im.example"));
        short[0].association.pop();
        assert!(!short[0].is_usable());
        // one that is of use counts beside them
        check(&GOOD, "EE 3 1 3, !EE 3 1 1", Fit::Refused);
    }

    #[test]
    fn a_record_names_a_certificate_whoever_has_signed_it() {
        for words in [
            "EE 3 0 0",
            "EE 3 0 1",
            "EE 3 0 2",
            "EE 3 1 0",
            "EE 3 1 1",
            "EE 3 1 2",
            "!EE 3 1 1, EE 3 1 1",
        ] {
            check(&UNKNOWN, words, Fit::Named);
            check(&World { name: "other.example", ..UNKNOWN }, words, Fit::Named);
            check(&World { name: "late.example", ..UNKNOWN }, words, Fit::Named);
        }
        // whatever others say of it
        for words in ["!EE 3 1 1", "!EE 3 0 0", "TA 3 1 1", "!EE 3 1 1, !TA 2 0 1"] {
            check(&GOOD, words, Fit::Refused);
        }
    }

    #[test]
    fn a_record_names_an_authority_that_only_its_domain_has() {
        for words in ["TA 2 0 0", "TA 2 0 1", "TA 2 0 2", "TA 2 1 0", "TA 2 1 1", "TA 2 1 2"] {
            check(&UNKNOWN, words, Fit::Vouched);
            check(&World { name: "xmpp.example.net", ..UNKNOWN }, words, Fit::Vouched);
            check(&World { name: "other.example", ..UNKNOWN }, words, Fit::Refused);
            check(&World { name: "late.example", ..UNKNOWN }, words, Fit::Refused);
        }
        // it must be shown, or stand in the record
        let alone = World { shows_authority: false, ..UNKNOWN };
        check(&alone, "TA 2 0 0", Fit::Vouched);
        check(&alone, "TA 2 0 1", Fit::Refused);
        check(&UNKNOWN, "!TA 2 0 0", Fit::Refused);
        check(&UNKNOWN, "!TA 2 1 1", Fit::Refused);
        check(&UNKNOWN, "EE 2 1 1", Fit::Refused);
    }

    #[test]
    fn a_record_narrows_whom_we_trust_already() {
        for words in ["EE 1 0 1", "EE 1 1 2", "TA 0 0 1", "TA 0 1 1", "TA 0 1 0"] {
            check(&GOOD, words, Fit::Vouched);
            check(&UNKNOWN, words, Fit::Refused);
            check(&World { name: "other.example", ..GOOD }, words, Fit::Refused);
            check(&World { name: "late.example", ..GOOD }, words, Fit::Refused);
        }
        for words in ["!EE 1 1 1", "!TA 0 1 1", "TA 1 1 1", "EE 0 1 1"] {
            check(&GOOD, words, Fit::Refused);
        }
    }

    #[test]
    fn of_two_hashes_the_stronger_counts() {
        // SHA-256 of the right key, SHA-512 of another
        check(&GOOD, "EE 3 1 1, !EE 3 1 2", Fit::Refused);
        check(&GOOD, "!EE 3 1 1, EE 3 1 2", Fit::Named);
        // of another part or usage they stand beside each other
        check(&GOOD, "EE 3 1 1, !EE 3 0 2", Fit::Named);
        check(&GOOD, "EE 1 1 1, !TA 2 1 2", Fit::Vouched);
        check(&GOOD, "EE 3 1 0, !EE 3 1 2", Fit::Named);
    }

    #[test]
    fn a_server_that_shows_nothing_is_none_of_those_named() {
        let domain = Domain::parse("im.example").expect("a domain");
        let shown = Shown { chain: &[], domain: &domain, host: "im.example." };
        let records = records("EE 3 1 1", &signed("tests", "im.example"));
        let now = UnixTime::now();
        assert_eq!(judge(&records, &Roots::none(), shown, now), Fit::Refused);
        assert_eq!(judge(&[], &Roots::none(), shown, now), Fit::Unsaid);
        assert!(records[0].in_words().starts_with("3 1 1: its certificate"));
    }
}
