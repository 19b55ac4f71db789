//! TLS 1.3 of the mesh, with certificates that mean nothing: the cookie, not
//! the certificate, says who is there (`proof`). ALPN chooses the protocol.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConnectionCommon, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::cluster::protocol::Protocol;
use crate::net::peer_tls::Anybody;

/// Label of the exporter (RFC 5705 §4); `EXPERIMENTAL` needs no registration.
const EXPORTER: &[u8] = b"EXPERIMENTAL jabiru mesh 1";

/// What the certificates say they are for; nobody reads it.
const CLUSTER_NAME: &str = "jabiru.invalid";

/// Both ends of TLS.
pub(super) struct MeshTls {
    server: TlsAcceptor,
    client: TlsConnector,
    newest: Protocol,
}

/// A connection that nobody else can read, and what it was agreed to speak.
pub(super) struct Secured {
    pub(super) tls: TlsStream<TcpStream>,
    /// Equal at both ends of this connection, and of no other (RFC 5705).
    pub(super) exporter: [u8; 32],
    /// None: nothing that both speak.
    pub(super) protocol: Option<Protocol>,
}

impl MeshTls {
    /// With a certificate made for this start; `newest` is the newest protocol
    /// that is offered.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub(super) fn new(newest: Protocol) -> Result<Self, anyhow::Error> {
        let made = rcgen::generate_simple_self_signed(vec![CLUSTER_NAME.to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| anyhow::anyhow!(error))?;
        let provider = Arc::new(ring::default_provider());
        let only_13 = &[&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(only_13)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(only_13)?
            .dangerous()
            .with_custom_certificate_verifier(Anybody::new())
            .with_no_client_auth();
        server.alpn_protocols = Protocol::offered(newest);
        client.alpn_protocols = Protocol::offered(newest);
        Ok(Self {
            server: TlsAcceptor::from(Arc::new(server)),
            client: TlsConnector::from(Arc::new(client)),
            newest,
        })
    }

    /// As the one who dialed.
    pub(super) async fn connect(&self, tcp: TcpStream) -> io::Result<Secured> {
        let name = ServerName::try_from(CLUSTER_NAME).map_err(io::Error::other)?;
        let tls = self.client.connect(name, tcp).await?;
        let (exporter, protocol) = self.agreed(tls.get_ref().1)?;
        Ok(Secured { tls: tls.into(), exporter, protocol })
    }

    /// As the one who was dialed.
    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<Secured> {
        let tls = self.server.accept(tcp).await?;
        let (exporter, protocol) = self.agreed(tls.get_ref().1)?;
        Ok(Secured { tls: tls.into(), exporter, protocol })
    }

    /// What is equal at both ends.
    fn agreed<D>(&self, tls: &ConnectionCommon<D>) -> io::Result<([u8; 32], Option<Protocol>)> {
        let exporter = tls.export_keying_material([0; 32], EXPORTER, None);
        let protocol = Protocol::agreed(tls.alpn_protocol(), self.newest);
        Ok((exporter.map_err(io::Error::other)?, protocol))
    }
}
