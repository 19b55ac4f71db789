//! Who vouches for servers: a test authority, and certificates as servers of
//! the real world have them, good and bad.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// An authority with its folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// What a server shows.
#[derive(Clone, Debug)]
pub struct Papers {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file, as ejabberd wants them.
    pub both: PathBuf,
}

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// From yesterday to next month.
    Valid,
    /// It ended yesterday.
    Expired,
}

impl Authority {
    /// A new one, whose certificate is `ca.pem` in `folder`.
    pub fn found(folder: &Path) -> Authority {
        fs::create_dir_all(folder).expect("writable");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let name = format!("tests in {}", folder.file_name().expect("a name").display());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // ejabberd fails on one that is good for thousands of years
        let today = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) =
            (today - Duration::days(365), today + Duration::days(365));
        let key = KeyPair::generate().expect("random bytes");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("writable");
        Authority { issuer, folder: folder.to_owned() }
    }

    /// Its own certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for this name, and all names below it.
    pub fn vouch(&self, name: &str, age: Age) -> Papers {
        let names = vec![name.to_owned(), format!("*.{name}")];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let today = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = match age {
            Age::Valid => (today - Duration::days(1), today + Duration::days(30)),
            Age::Expired => (today - Duration::days(30), today - Duration::days(1)),
        };
        let key = KeyPair::generate().expect("random bytes");
        let chain = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let (chain, key) = (chain + &self.issuer.pem(), key.serialize_pem());
        let file = |kind: &str, text: &str| {
            let path = self.folder.join(format!("{name}-{age:?}-{kind}.pem"));
            fs::write(&path, text).expect("writable");
            path
        };
        Papers {
            both: file("both", &format!("{key}{chain}")),
            chain: file("chain", &chain),
            key: file("key", &key),
        }
    }
}
