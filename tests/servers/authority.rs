//! A certificate authority that all services of a test trust, and what it, or
//! somebody else, signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};

/// What a service shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A certificate for its domain, by the authority.
    Valid,
    /// One that nobody else has signed.
    SelfSigned,
    /// One whose time is over.
    Expired,
    /// One whose time is over soon: in so many seconds.
    Short(i64),
    /// One for another domain.
    Other(String),
    /// A valid one, for these domains besides.
    Names(Vec<String>),
}

/// Whom all services trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// How most authorities of tests are called.
const NAME: &str = "tests";

impl Authority {
    pub fn new() -> Authority {
        Authority::named(NAME)
    }

    /// One that is called otherwise.
    pub fn named(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let params = params(name);
        let own = params.self_signed(&key).expect("signed");
        Authority { pem: own.pem(), issuer: Issuer::new(params, key) }
    }

    /// The one whose files are in a folder.
    pub fn read(folder: &Path) -> Authority {
        let text = |file: &str| fs::read_to_string(folder.join(file)).expect("readable");
        let (pem, key) = (text("ca.pem"), text("ca-key.pem"));
        let key = KeyPair::from_pem(&key).expect("a key");
        Authority { pem, issuer: Issuer::new(params(NAME), key) }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` into a folder.
    pub fn write(&self, folder: &Path, domain: &str, shown: &Shown) -> PathBuf {
        let folder = folder.join("tls");
        fs::create_dir_all(&folder).expect("writable");
        let name = match shown {
            Shown::Other(name) => name.as_str(),
            _ => domain,
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        if let Shown::Names(names) = shown {
            let name = |name: &String| SanType::DnsName(name.as_str().try_into().expect("a name"));
            params.subject_alt_names.extend(names.iter().map(name));
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(1);
        params.not_after = now + time::Duration::days(30);
        if *shown == Shown::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        if let Shown::Short(seconds) = shown {
            params.not_after = now + time::Duration::seconds(*seconds);
        }
        let certificate = match shown {
            Shown::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.expect("signed");
        fs::write(folder.join("ca.pem"), &self.pem).expect("writable");
        fs::write(folder.join("ca-key.pem"), self.issuer.key().serialize_pem()).expect("writable");
        fs::write(folder.join("cert.pem"), certificate.pem()).expect("writable");
        fs::write(folder.join("key.pem"), key.serialize_pem()).expect("writable");
        folder
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // ejabberd fails on one that is good for thousands of years
    let (now, year) = (time::OffsetDateTime::now_utc(), time::Duration::days(365));
    (params.not_before, params.not_after) = (now - year, now + year);
    params
}
