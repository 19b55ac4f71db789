//! TLS between servers: both sides show certificates, and nobody is judged by
//! them yet. Whom a certificate speaks for depends on what is said inside.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::net::tls::Certificates;

/// The name of the protocol inside TLS (XEP-0368 §4).
pub const ALPN: &[u8] = b"xmpp-server";

/// What a finished handshake is known by.
#[derive(Clone)]
pub struct Secured {
    /// What the peer has shown, its own certificate first; nothing: it has
    /// shown none.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher: &'static str,
}

/// TLS for a server that comes to a domain of ours, or to whatever name it
/// asks for. `alpn` empty: none is negotiated.
///
/// # Errors
/// Only if the crypto provider lacks TLS 1.2 or 1.3.
pub fn accepting(
    certificates: &Arc<Certificates>,
    domain: Option<&str>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Anybody::new())
        .with_cert_resolver(certificates.resolver(domain));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// TLS towards another server, for a domain of ours.
///
/// # Errors
/// Only if the crypto provider lacks TLS 1.2 or 1.3.
pub fn connecting(
    certificates: &Arc<Certificates>,
    domain: &str,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let shown = Shown { certificates: Arc::clone(certificates), domain: domain.to_owned() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Anybody::new())
        .with_client_cert_resolver(Arc::new(shown));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

impl Secured {
    /// What a handshake has come to.
    pub fn of(state: &CommonState) -> Self {
        let chain = state.peer_certificates().unwrap_or_default();
        let version = match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Self { chain, version, cipher: cipher.unwrap_or("unknown") }
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("version", &self.version).finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Our certificate, as it is when it is asked for.
#[derive(Debug)]
struct Shown {
    certificates: Arc<Certificates>,
    domain: String,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let shown = self.certificates.shown(&self.domain)?;
        shown.key.choose_scheme(schemes).is_some().then_some(shown)
    }

    fn has_certs(&self) -> bool {
        self.certificates.shown(&self.domain).is_some()
    }
}

/// Takes any certificate whose key the peer has: who that is, is asked
/// elsewhere, or of no interest.
#[derive(Debug)]
pub struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl Anybody {
    /// With ring.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { provider: provider() })
    }

    fn signed_12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn signed_13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed_12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed_13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed_12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed_13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
