//! The first words on a mesh connection: TLS 1.3 with certificates that mean
//! nothing, then each side proves that it has the cookie.
//!
//! The proof is an HMAC over the TLS exporter (RFC 5705), so nobody can stand
//! between, and it says who we are. Who dials proves first: a stranger who
//! connects learns nothing, not even our name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

use crate::cluster::cookie::{Cookie, Purpose};
use crate::cluster::node::{NAME_BYTES_MAX, Node, NodeId, NodeName};
use crate::xmpp::jid::NORMALISER;

/// What every proof begins with: a name and the version of the mesh.
const MAGIC: [u8; 4] = [b'J', b'b', b'm', 1];

/// Label of the exporter (RFC 5705 §4); `EXPERIMENTAL` needs no registration.
const EXPORTER: &[u8] = b"EXPERIMENTAL jabiru mesh 1";

/// How long all of it may take. A guess; mostly it takes 2 ms.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Who proves: the same bytes never prove the other side.
#[derive(Clone, Copy)]
enum Role {
    Dialer = 1,
    Listener = 2,
}

/// What is needed to greet other nodes.
pub(super) struct Greeter {
    me: Node,
    normaliser: u16,
    key: Zeroizing<[u8; 32]>,
    server: TlsAcceptor,
    client: TlsConnector,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    /// The connection or TLS failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no proof came in time")]
    Late,
    /// Not our protocol, or another version of it.
    #[error("it speaks another protocol, or another version of ours")]
    Foreign,
    /// It would look for one user in another home than we.
    #[error(
        "its version normalises addresses in another way: two such nodes cannot serve together"
    )]
    Normaliser,
    /// Its proof is wrong.
    #[error("its cookie is another one")]
    Cookie,
    /// It closed when it had seen our proof.
    #[error("it did not accept our proof; most likely its cookie is another one")]
    Refused,
}

impl Greeter {
    /// Greets as `me`, with a certificate made for this start.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub(super) fn new(me: Node, cookie: &Cookie) -> Result<Self, anyhow::Error> {
        let made = rcgen::generate_simple_self_signed(vec![CLUSTER_NAME.to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| anyhow::anyhow!(error))?;
        let provider = Arc::new(ring::default_provider());
        let only_13 = &[&rustls::version::TLS13];
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(only_13)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(only_13)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self {
            me,
            normaliser: NORMALISER,
            key: cookie.key(Purpose::Mesh),
            server: TlsAcceptor::from(Arc::new(server)),
            client: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Greets whom we dialed.
    pub(super) async fn dial(
        &self,
        tcp: TcpStream,
    ) -> Result<(Node, TlsStream<TcpStream>), Stranger> {
        let greet = async {
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(CLUSTER_NAME).map_err(io::Error::other)?;
            let mut tls = TlsStream::from(self.client.connect(name, tcp).await?);
            let exporter = export(&tls)?;
            tls.write_all(&self.proof(Role::Dialer, &exporter)).await?;
            tls.flush().await?;
            let node = self.read_proof(&mut tls, Role::Listener, &exporter).await;
            match node {
                Err(Stranger::Io(_)) => Err(Stranger::Refused),
                node => Ok((node?, tls)),
            }
        };
        timeout(TIME_MAX, greet).await.unwrap_or(Err(Stranger::Late))
    }

    /// Greets who dialed us.
    pub(super) async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<(Node, TlsStream<TcpStream>), Stranger> {
        let greet = async {
            tcp.set_nodelay(true)?;
            let mut tls = TlsStream::from(self.server.accept(tcp).await?);
            let exporter = export(&tls)?;
            let node = self.read_proof(&mut tls, Role::Dialer, &exporter).await?;
            tls.write_all(&self.proof(Role::Listener, &exporter)).await?;
            tls.flush().await?;
            Ok((node, tls))
        };
        timeout(TIME_MAX, greet).await.unwrap_or(Err(Stranger::Late))
    }

    /// Magic, normaliser, id, length of the name, name, HMAC.
    fn proof(&self, role: Role, exporter: &[u8; 32]) -> Vec<u8> {
        let name = self.me.name.as_str();
        let mut proof = MAGIC.to_vec();
        proof.extend_from_slice(&self.normaliser.to_be_bytes());
        proof.extend_from_slice(&self.me.id.generation.to_be_bytes());
        proof.extend_from_slice(&self.me.id.random.to_be_bytes());
        proof.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        proof.extend_from_slice(name.as_bytes());
        let mac = self.mac(role, exporter, &proof).finalize().into_bytes();
        proof.extend_from_slice(&mac);
        proof
    }

    async fn read_proof(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        role: Role,
        exporter: &[u8; 32],
    ) -> Result<Node, Stranger> {
        let mut head = [0; MAGIC.len() + 19];
        stream.read_exact(&mut head).await?;
        let (magic, rest) = head.split_first_chunk::<4>().ok_or(Stranger::Foreign)?;
        let (normaliser, rest) = rest.split_first_chunk::<2>().ok_or(Stranger::Foreign)?;
        let (generation, rest) = rest.split_first_chunk::<8>().ok_or(Stranger::Foreign)?;
        let (random, length) = rest.split_first_chunk::<8>().ok_or(Stranger::Foreign)?;
        let length = usize::from(length.first().copied().unwrap_or(0));
        if *magic != MAGIC || length > NAME_BYTES_MAX {
            return Err(Stranger::Foreign);
        }
        let mut name = vec![0; length];
        stream.read_exact(&mut name).await?;
        let mut mac = [0; 32];
        stream.read_exact(&mut mac).await?;
        let said = [&head[..], &name].concat();
        let is_right = self.mac(role, exporter, &said).verify_slice(&mac);
        is_right.map_err(|_| Stranger::Cookie)?;
        if u16::from_be_bytes(*normaliser) != self.normaliser {
            return Err(Stranger::Normaliser);
        }
        let name = std::str::from_utf8(&name).ok().and_then(|name| NodeName::new(name).ok());
        let id = NodeId::new(u64::from_be_bytes(*generation), u64::from_be_bytes(*random));
        Ok(Node { id, name: name.ok_or(Stranger::Foreign)? })
    }

    fn mac(&self, role: Role, exporter: &[u8; 32], said: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&*self.key)
            .expect("HMAC takes keys of any length");
        mac.update(&[role as u8]);
        mac.update(exporter);
        mac.update(said);
        mac
    }
}

/// What the certificates say they are for; nobody reads it.
const CLUSTER_NAME: &str = "jabiru.invalid";

fn export(tls: &TlsStream<TcpStream>) -> Result<[u8; 32], Stranger> {
    let exported = match tls {
        TlsStream::Client(tls) => tls.get_ref().1.export_keying_material([0; 32], EXPORTER, None),
        TlsStream::Server(tls) => tls.get_ref().1.export_keying_material([0; 32], EXPORTER, None),
    };
    exported.map_err(|error| Stranger::Io(io::Error::other(error)))
}

/// The cookie, not the certificate, says who is there.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("the mesh speaks TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn greeter(name: &str, cookie: &str) -> Greeter {
        let cookie = Cookie::new(cookie).expect("long enough");
        let node = Node { id: NodeId::new(7, 8), name: name.parse().expect("a name") };
        Greeter::new(node, &cookie).expect("a certificate")
    }

    async fn meet(dialer: Greeter, listener: Greeter) -> [Result<String, Stranger>; 2] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let accepted = async {
            let (tcp, _) = socket.accept().await?;
            Ok(listener.accept(tcp).await?.0.name.to_string())
        };
        let dialed = async {
            let tcp = TcpStream::connect(address).await?;
            Ok(dialer.dial(tcp).await?.0.name.to_string())
        };
        let (accepted, dialed) = tokio::join!(accepted, dialed);
        [dialed, accepted]
    }

    #[tokio::test]
    async fn who_has_the_cookie_is_greeted() {
        let both = meet(greeter("a", "0123456789abcdef"), greeter("b", "0123456789abcdef")).await;
        let [Ok(dialed), Ok(accepted)] = both else { panic!("{both:?}") };
        assert_eq!((&*dialed, &*accepted), ("b", "a"));
    }

    #[tokio::test]
    async fn who_normalises_otherwise_is_refused_and_told_why_in_the_log() {
        let mut newer = greeter("a", "0123456789abcdef");
        newer.normaliser += 1;
        let both = meet(newer, greeter("b", "0123456789abcdef")).await;
        let [Err(Stranger::Refused), Err(Stranger::Normaliser)] = both else { panic!("{both:?}") };
    }

    #[tokio::test]
    async fn who_has_another_cookie_is_told_nothing() {
        let both = meet(greeter("a", "0123456789abcdef"), greeter("b", "0123456789abcdeF")).await;
        let [Err(Stranger::Refused), Err(Stranger::Cookie)] = both else { panic!("{both:?}") };
    }
}
