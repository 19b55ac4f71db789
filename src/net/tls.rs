//! Certificates by domain, and TLS 1.2 and 1.3 with them.
//!
//! Which ports speak TLS and when is the doors' business. Certificates are
//! files; who issued them is not asked here.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::net::tickets::{TICKET_LIFE, Tickets};

/// The label of the exporter for channel binding (RFC 9266 §4.1).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// One certificate and the domains it is shown for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The domains; none means: for every domain without one of its own.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or unreadable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate file is empty.
    #[error("{path} holds no certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or rustls refuses them.
    #[error("certificate {certificate} and key {key} do not make a pair")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

/// What both ends of a secured connection can prove to each other.
#[derive(Clone)]
pub struct Binding {
    /// `tls-exporter` (RFC 9266).
    pub exporter: [u8; 32],
    /// `tls-server-end-point` (RFC 5929 §4): the hash of our certificate.
    pub end_point: Vec<u8>,
    /// The name the client asked for.
    pub sni: Option<String>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher: String,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("version", &self.version).finish_non_exhaustive()
    }
}

/// All certificates of this node; replaced as a whole when files change.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<Certificate>,
    shelf: RwLock<Arc<Shelf>>,
    tickets: Tickets,
}

/// The certificates as they were read at one moment.
#[derive(Debug)]
struct Shelf {
    by_domain: HashMap<String, Arc<CertifiedKey>>,
    /// For a domain without a certificate of its own.
    fallback: Option<Arc<CertifiedKey>>,
    changed: Vec<Option<SystemTime>>,
    /// The same for the same certificates, on any node.
    digest: [u8; 32],
}

impl Certificates {
    /// Reads all files.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn read(files: Vec<Certificate>) -> Result<Self, TlsError> {
        let shelf = Shelf::read(&files)?;
        let tickets = Tickets::new(Instant::now());
        Ok(Self { files, shelf: RwLock::new(Arc::new(shelf)), tickets })
    }

    /// Reads all files again. Connections that stand keep what they have; on
    /// an error everything stays as it was.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn reload(&self) -> Result<(), TlsError> {
        let shelf = Arc::new(Shelf::read(&self.files)?);
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
        Ok(())
    }

    /// What sealed the tickets of whoever was here.
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Whether a file has another time of change than when it was read.
    pub fn are_stale(&self) -> bool {
        self.shelf().changed != times(&self.files)
    }

    /// Whether there is anything to show for `domain`.
    pub fn cover(&self, domain: &str) -> bool {
        self.shelf().find(domain).is_some()
    }

    /// TLS for a stream to `domain`, or for whatever name the client asks for
    /// (SNI goes first). `alpn` empty: none is negotiated.
    ///
    /// # Errors
    /// Only if the crypto provider lacks TLS 1.2 or 1.3.
    pub fn config(
        self: &Arc<Self>,
        domain: Option<&str>,
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(self.resolver(domain));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // Without it `tls-exporter` binds nothing on TLS 1.2 (RFC 9266 §4.2).
        config.require_ems = true;
        config.max_early_data_size = 0;
        // a stream has one connection, and gets another ticket with the next
        config.send_tls13_tickets = 1;
        config.ticketer = Arc::new(Ticketer(Arc::clone(self)));
        // tickets are all that is kept, and by the client
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// What a finished handshake binds to; `domain` as given to
    /// [`Certificates::config`].
    ///
    /// # Errors
    /// When the handshake is not finished.
    pub fn binding(
        &self,
        connection: &ServerConnection,
        domain: Option<&str>,
    ) -> Result<Binding, rustls::Error> {
        let sni = connection.server_name().map(str::to_owned);
        let shown = self.shelf().choose(sni.as_deref(), domain);
        let exporter = connection.export_keying_material([0u8; 32], EXPORTER_LABEL, Some(&[]))?;
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown")
            .to_owned();
        let end_point = shown
            .and_then(|key| key.cert.first().map(|certificate| end_point(certificate)))
            .unwrap_or_default();
        Ok(Binding { exporter, end_point, sni, version, cipher })
    }

    /// What is shown for a domain of ours, by whoever opens a connection.
    pub(super) fn shown(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        self.shelf().find(domain)
    }

    /// Chooses what is shown, as [`Certificates::config`] does.
    pub(super) fn resolver(self: &Arc<Self>, domain: Option<&str>) -> Arc<dyn ResolvesServerCert> {
        let certificates = Arc::clone(self);
        Arc::new(Resolver { certificates, domain: domain.map(str::to_owned) })
    }

    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    fn read(files: &[Certificate]) -> Result<Self, TlsError> {
        let (changed, digest) = (times(files), [0; 32]);
        let mut shelf = Self { by_domain: HashMap::new(), fallback: None, changed, digest };
        for file in files {
            let key = Arc::new(read_pair(file)?);
            for domain in &file.domains {
                shelf.by_domain.insert(domain.to_lowercase(), Arc::clone(&key));
            }
            if file.domains.is_empty() {
                shelf.fallback.get_or_insert(key);
            }
        }
        shelf.digest = shelf.hashed();
        Ok(shelf)
    }

    fn hashed(&self) -> [u8; 32] {
        let named = self.by_domain.iter().map(|(domain, key)| (domain.as_str(), key));
        let leaf = |key: &CertifiedKey| key.cert.first().map(Sha256::digest);
        let all = named.chain(self.fallback.iter().map(|key| ("", key)));
        let mut all: Vec<_> = all.map(|(domain, key)| (domain, leaf(key))).collect();
        all.sort_unstable();
        let mut hash = Sha256::new();
        for (domain, leaf) in all {
            hash.update([domain.as_bytes(), &[0]].concat());
            hash.update(leaf.unwrap_or_default());
        }
        hash.finalize().into()
    }

    fn find(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        self.by_domain.get(domain).or(self.fallback.as_ref()).cloned()
    }

    /// The name asked for goes first, then the stream's domain.
    fn choose(&self, sni: Option<&str>, domain: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let asked = sni.map(str::to_lowercase);
        asked
            .and_then(|name| self.by_domain.get(&name).cloned())
            .or_else(|| domain.and_then(|domain| self.find(domain)))
            .or_else(|| self.fallback.clone())
            .or_else(|| self.by_domain.values().next().filter(|_| sni.is_none()).cloned())
    }
}

/// Chooses at the handshake, from what is read by then.
#[derive(Debug)]
struct Resolver {
    certificates: Arc<Certificates>,
    domain: Option<String>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates.shelf().choose(hello.server_name(), self.domain.as_deref())
    }
}

/// Gives tickets that are good as long as the same certificates are shown: a
/// client that comes back binds to the one that it was shown then (RFC 5929 §4).
#[derive(Debug)]
struct Ticketer(Arc<Certificates>);

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TICKET_LIFE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.tickets.seal(plain, &self.0.shelf().digest)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.tickets.open(cipher, &self.0.shelf().digest)
    }
}

fn read_pair(file: &Certificate) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(&file.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: file.certificate.clone(), source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: file.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&file.key)?)
        .map_err(|source| TlsError::Pem { path: file.key.clone(), source })?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|source| TlsError::Pair {
        certificate: file.certificate.clone(),
        key: file.key.clone(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn times(files: &[Certificate]) -> Vec<Option<SystemTime>> {
    let paths = files.iter().flat_map(|file| [&file.certificate, &file.key]);
    paths.map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok()).collect()
}

/// The certificate's hash by the hash function of its own signature, where
/// MD5 and SHA-1 are replaced by SHA-256 (RFC 5929 §4.1).
fn end_point(certificate: &[u8]) -> Vec<u8> {
    match signature_hash(certificate) {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    }
}

enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn signature_hash(certificate: &[u8]) -> Hash {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Hash::Sha256;
    };
    match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // sha384WithRSAEncryption, ecdsa-with-SHA384
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Hash::Sha384,
        // sha512WithRSAEncryption, ecdsa-with-SHA512
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Hash::Sha512,
        _ => Hash::Sha256,
    }
}
