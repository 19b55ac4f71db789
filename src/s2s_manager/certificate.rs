//! For which domains a server's certificate speaks (RFC 6120 §13.7.2): its
//! chain by `rustls-webpki`, its names by the three kinds that XMPP has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tracing::warn;
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert,
};
use x509_parser::extensions::GeneralName;

use crate::s2s_manager::resolve::{ascii, server_name};
use crate::xmpp::jid::Domain;

/// Certificates of a chain that are looked at. A guess: real chains have 2 to
/// 4.
const CHAIN_MAX: usize = 16;

/// `id-on-dnsSRV` (RFC 4985) and `id-on-xmppAddr` (RFC 6120 §13.7.1.4).
const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

/// The service in an SRV-ID.
const SERVICE: &str = "_xmpp-server.";

/// Who may sign certificates of servers.
#[derive(Debug)]
pub struct Roots(Vec<TrustAnchor<'static>>);

/// The file of roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("cannot read {path} (s2s_manager.roots)")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} holds no certificates in PEM (s2s_manager.roots)")]
    Pem {
        /// The file.
        path: PathBuf,
    },
}

/// Why a certificate does not speak for a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// None was shown.
    #[error("it shows no certificate")]
    Nothing,
    /// It is for others.
    #[error("its certificate is for other names")]
    Name,
    /// Its time is over, or has not come.
    #[error("its certificate is not valid at this time")]
    Time,
    /// Nobody whom we trust has signed it.
    #[error("its certificate is signed by nobody we trust")]
    Issuer,
    /// Something else is wrong with it.
    #[error("its certificate is not valid")]
    Other(#[source] webpki::Error),
}

impl Roots {
    /// Those in the file at `path`; of an empty path those of the system.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let certificates = if path.as_os_str().is_empty() {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                warn!(%error, "some of the system's roots cannot be read");
            }
            found.certs
        } else {
            let failed = |source| RootsError::Read { path: path.to_owned(), source };
            let text = fs::read(path).map_err(failed)?;
            let read = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
            match read {
                Ok(read) if !read.is_empty() => read,
                _ => {
                    return Err(RootsError::Pem { path: path.to_owned() });
                }
            }
        };
        let anchor = |certificate: &CertificateDer<'_>| {
            anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()).ok()
        };
        Ok(Self(certificates.iter().filter_map(anchor).collect()))
    }

    /// Nobody.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// These.
    #[cfg(test)]
    pub(super) fn of(certificates: &[CertificateDer<'_>]) -> Self {
        let anchor =
            |one: &CertificateDer<'_>| anchor_from_trusted_cert(one).expect("a root").to_owned();
        Self(certificates.iter().map(anchor).collect())
    }

    /// All of them.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether the certificate that a server has shown, its own first, speaks
    /// for a domain.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn vouch(
        &self,
        chain: &[CertificateDer<'_>],
        domain: &Domain,
        now: UnixTime,
    ) -> Result<(), Doubt> {
        let own = chain.first().ok_or(Doubt::Nothing)?;
        verify(&self.0, chain, now, None)?;
        match names(own, domain, None) {
            true => Ok(()),
            false => Err(Doubt::Name),
        }
    }
}

/// Says whether a certificate of a chain is one that is wanted in it.
pub(super) type Wanted<'a> = &'a dyn Fn(&CertificateDer<'_>) -> bool;

/// Says whether a path from a certificate to an anchor is one that will do.
type PathRule<'a> = dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error> + 'a;

/// Whether a chain, a server's own certificate first, leads to one of these; and
/// in between, or there, to one that is wanted.
pub(super) fn verify(
    anchors: &[TrustAnchor<'_>],
    chain: &[CertificateDer<'_>],
    now: UnixTime,
    wanted: Option<Wanted<'_>>,
) -> Result<(), Doubt> {
    let (own, others) = chain.split_first().ok_or(Doubt::Nothing)?;
    let others = others.get(..others.len().min(CHAIN_MAX)).unwrap_or_default();
    let certificate = EndEntityCert::try_from(own).map_err(Doubt::Other)?;
    let is_wanted = |path: &VerifiedPath<'_>| {
        let Some(wanted) = wanted else { return Ok(()) };
        let is_end = |one: &CertificateDer<'_>| {
            anchor_from_trusted_cert(one).is_ok_and(|anchor| anchor == *path.anchor())
        };
        let between = path.intermediate_certificates().any(|one| wanted(&one.der()));
        match between || others.iter().any(|one| is_end(one) && wanted(one)) {
            true => Ok(()),
            false => Err(webpki::Error::UnknownIssuer),
        }
    };
    let is_wanted: &PathRule<'_> = &is_wanted;
    let verify = |usage: KeyUsage| {
        let verified = certificate.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            anchors,
            others,
            now,
            usage,
            None,
            Some(is_wanted),
        );
        verified.map(|_| ())
    };
    // what is a server's is one also where it opens the connection
    verify(KeyUsage::server_auth())
        .or_else(|error| match error {
            webpki::Error::RequiredEkuNotFoundContext(_) => verify(KeyUsage::client_auth()),
            error => Err(error),
        })
        .map_err(doubt)
}

/// Whether a certificate names a domain, or the host that the domain names.
pub(super) fn names(own: &CertificateDer<'_>, domain: &Domain, host: Option<&str>) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(own) else {
        return false;
    };
    let host = host.and_then(|host| ServerName::try_from(host.trim_end_matches('.')).ok());
    names_dns(&certificate, domain)
        || names_xmpp(own, domain)
        || host.is_some_and(|host| certificate.verify_is_valid_for_subject_name(&host).is_ok())
}

/// How long a certificate is valid yet; nothing: it cannot be read.
pub fn lasts(chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Duration> {
    let (_, parsed) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    // through its last second
    Some(Duration::from_secs((end + 1).saturating_sub(now.as_secs())))
}

fn doubt(error: webpki::Error) -> Doubt {
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Doubt::Time,
        // the second: of somebody who only has the name of one whom we trust
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Doubt::Issuer,
        error => Doubt::Other(error),
    }
}

/// DNS-ID (RFC 6125), wildcards as the whole first label only.
fn names_dns(certificate: &EndEntityCert<'_>, domain: &Domain) -> bool {
    let name = server_name(domain);
    name.is_some_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// SRV-ID and XmppAddr.
fn names_xmpp(certificate: &[u8], domain: &Domain) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::OtherName(kind, value) => match (kind.to_id_string().as_str(), text(value)) {
            (DNS_SRV, Some(text)) => {
                let host = text.strip_prefix(SERVICE);
                let ascii = ascii(domain);
                host.is_some_and(|host| ascii.is_some_and(|name| name.eq_ignore_ascii_case(host)))
            }
            (XMPP_ADDR, Some(text)) => Domain::parse(text).is_ok_and(|named| named == *domain),
            _ => false,
        },
        _ => false,
    })
}

/// The text in the value of an other name: a string of any kind, inside the
/// tag of number 0 (RFC 5280 §4.2.1.6). All lengths are short ones: names are.
fn text(value: &[u8]) -> Option<&str> {
    let inside = match value {
        [0xa0, length, rest @ ..] if usize::from(*length) == rest.len() && *length < 0x80 => rest,
        _ => return None,
    };
    match inside {
        // UTF8String and IA5String
        [0x0c | 0x16, length, text @ ..] if usize::from(*length) == text.len() => {
            std::str::from_utf8(text).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        OtherNameValue, SanType,
    };

    struct Authority {
        roots: Roots,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("signed");
        let anchor = anchor_from_trusted_cert(own.der()).expect("a root").to_owned();
        Authority { roots: Roots(vec![anchor]), issuer: Issuer::new(params, key) }
    }

    fn certificate(
        authority: &Authority,
        names: Vec<SanType>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        change(&mut params);
        params.signed_by(&key, &authority.issuer).expect("signed").der().clone()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().expect("a name"))
    }

    fn other(kind: &[u64], text: &str) -> SanType {
        SanType::OtherName((kind.to_vec(), OtherNameValue::Utf8String(text.into())))
    }

    #[track_caller]
    fn check(names: Vec<SanType>, domain: &str, expected: Result<(), Doubt>) {
        let authority = authority();
        let own = certificate(&authority, names, |_| {});
        let domain = Domain::parse(domain).expect("a domain");
        assert_eq!(authority.roots.vouch(&[own], &domain, UnixTime::now()), expected, "{domain}");
    }

    #[test]
    fn a_certificate_speaks_for_the_names_in_it() {
        let srv = &[1, 3, 6, 1, 5, 5, 7, 8, 7];
        let addr = &[1, 3, 6, 1, 5, 5, 7, 8, 5];
        check(vec![dns("im.example")], "im.example", Ok(()));
        check(vec![dns("im.example")], "example", Err(Doubt::Name));
        check(vec![dns("*.example.org")], "im.example.org", Ok(()));
        check(vec![dns("*.example.org")], "a.im.example.org", Err(Doubt::Name));
        check(vec![dns("*.org")], "a.example.org", Err(Doubt::Name));
        check(vec![dns("xn--bcher-kva.example")], "bücher.example", Ok(()));
        check(vec![other(srv, "_xmpp-server.im.example")], "im.example", Ok(()));
        check(vec![other(srv, "_xmpp-client.im.example")], "im.example", Err(Doubt::Name));
        check(vec![other(srv, "_xmpp-server.im.example")], "example", Err(Doubt::Name));
        check(vec![other(addr, "im.example")], "im.example", Ok(()));
        check(vec![other(addr, "romeo@im.example")], "im.example", Err(Doubt::Name));
        check(vec![other(&[1, 2, 3], "im.example")], "im.example", Err(Doubt::Name));
        check(vec![], "im.example", Err(Doubt::Name));
    }

    #[test]
    fn a_certificate_has_its_time_its_issuer_and_its_use() {
        let authority = authority();
        let domain = Domain::parse("im.example").expect("a domain");
        let now = UnixTime::now();
        let names = || vec![dns("im.example")];
        let vouch = |chain: &[CertificateDer<'_>]| authority.roots.vouch(chain, &domain, now);
        let expired = certificate(&authority, names(), |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        assert_eq!(vouch(&[expired]), Err(Doubt::Time));
        let stranger = self::authority();
        let foreign = certificate(&stranger, names(), |_| {});
        assert_eq!(vouch(&[foreign]), Err(Doubt::Issuer));
        assert_eq!(vouch(&[]), Err(Doubt::Nothing));
        for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
            let own = certificate(&authority, names(), |params| {
                params.extended_key_usages = vec![usage.clone()];
            });
            assert_eq!(vouch(&[own]), Ok(()), "{usage:?}");
        }
        let mail = certificate(&authority, names(), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        });
        assert!(matches!(vouch(&[mail]), Err(Doubt::Other(_))));
        let later = UnixTime::since_unix_epoch(Duration::from_secs(70_000_000_000));
        let own = certificate(&authority, names(), |_| {});
        assert_eq!(authority.roots.vouch(&[own], &domain, later), Err(Doubt::Time));
    }
}
