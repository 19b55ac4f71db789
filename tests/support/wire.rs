//! A client's connection, as plain as it can be: TLS, PLAIN, a resource, and
//! then whole elements in and words out. It counts nothing; `load` does.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use jabiru::net::peer_tls::Anybody;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::DOMAIN;
use super::raw::HEADER;

/// How long a login may take before the client tries elsewhere, as one with a
/// person before it would.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A bound stream.
pub struct Wire {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// What clients of the test clusters trust.
pub fn trust() -> TlsConnector {
    trust_in(&super::tls().join("ca.pem"))
}

/// Trust in one authority.
pub fn trust_in(authority: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).expect("PEM");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    connector(config)
}

/// Trust in anybody.
pub fn careless() -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Anybody::new())
        .with_no_client_auth();
    connector(config)
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl Wire {
    /// Logs in to a test cluster.
    pub async fn open(
        trust: &TlsConnector,
        address: SocketAddr,
        user: &str,
        resource: &str,
    ) -> io::Result<Wire> {
        Wire::open_at(trust, address, DOMAIN, user, resource).await
    }

    /// Logs in to any domain; the password of everybody is their name.
    pub async fn open_at(
        trust: &TlsConnector,
        address: SocketAddr,
        domain: &str,
        user: &str,
        resource: &str,
    ) -> io::Result<Wire> {
        let login = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(domain.to_owned()).expect("a name");
            let stream = trust.connect(name, tcp).await?;
            let header = HEADER.replace(DOMAIN, domain);
            let mut wire = Wire { stream, buffer: Vec::new() };
            wire.begin(&header).await?;
            let plain = format!("\0{user}\0{user}");
            let plain = base64::engine::general_purpose::STANDARD.encode(plain);
            let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
            wire.say(&format!("<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>")).await?;
            wire.expect("<success").await?;
            wire.begin(&header).await?;
            let bind = "urn:ietf:params:xml:ns:xmpp-bind";
            let bind = format!("<bind xmlns='{bind}'><resource>{resource}</resource></bind>");
            wire.say(&format!("<iq type='set' id='bind'>{bind}</iq>")).await?;
            wire.expect("<iq").await?;
            Ok(wire)
        };
        timeout(LOGIN_TIME_MAX, login).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn begin(&mut self, header: &str) -> io::Result<()> {
        self.say(header).await?;
        self.expect("<stream:features").await
    }

    async fn expect(&mut self, begin: &str) -> io::Result<()> {
        while let Some(element) = self.next().await? {
            if element.starts_with(begin) {
                return Ok(());
            }
            if element.starts_with("<failure") || element.starts_with("<stream:error") {
                return Err(io::Error::other(element));
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    pub async fn say(&mut self, words: &str) -> io::Result<()> {
        self.stream.write_all(words.as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next whole element, or tag of the stream; `None`: closed. Nothing
    /// is lost when this is dropped half way.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = whole(&self.buffer) {
                let element = self.buffer.drain(..end).collect::<Vec<u8>>();
                return Ok(Some(String::from_utf8_lossy(&element).trim_start().to_owned()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Where the first whole element ends. The tags of the stream itself, and of
/// the document, count as whole.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'<')?;
        let rest = bytes.get(at..)?;
        let end = tag_end(rest)?;
        let tag = &rest[..end];
        at += end;
        match (rest.get(1)?, tag.get(end - 2)?) {
            (b'/', _) => depth -= 1,
            (b'?', _) | (_, b'/') => {}
            _ if tag.starts_with(b"<stream:stream") => {}
            _ => depth += 1,
        }
        if depth <= 0 {
            return Some(at);
        }
    }
}

/// Where a tag ends; what is quoted does not end it.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// An attribute of an element's own tag.
pub fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let tag = &element[..tag_end(element.as_bytes())?];
    let (_, rest) = tag.split_once(&format!(" {name}="))?;
    let quote = rest.chars().next()?;
    rest[1..].split(quote).next()
}
