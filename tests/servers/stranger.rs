//! Another server that says what it likes, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jabiru::net::peer_tls::Anybody;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long nothing may come before nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(10);

pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

pub enum Stranger {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The header of a stream between servers.
pub fn header(from: &str, to: &str) -> String {
    let from = if from.is_empty() { String::new() } else { format!(" from='{from}'") };
    let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback'{from}{to} version='1.0'>"
    )
}

impl Stranger {
    pub fn plain(port: u16) -> Stranger {
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Stranger::Plain(tcp)
    }

    /// TLS at once, showing the certificate in a folder.
    pub fn direct(port: u16, folder: &Path) -> Stranger {
        Stranger::plain(port).over(Some(folder), &[b"xmpp-server"])
    }

    /// Opens a stream, changes to TLS, and opens it again; gives back the
    /// features as well.
    #[track_caller]
    pub fn secured(port: u16, folder: Option<&Path>, from: &str, to: &str) -> (Stranger, String) {
        let mut stranger = Stranger::plain(port);
        stranger.say(&header(from, to));
        stranger.hear("</stream:features>");
        stranger.say(&format!("<starttls xmlns='{TLS}'/>"));
        stranger.hear("<proceed");
        let mut stranger = stranger.over(folder, &[]);
        stranger.say(&header(from, to));
        let features = stranger.hear("</stream:features>");
        (stranger, features)
    }

    /// As above, and proves who it is.
    #[track_caller]
    pub fn proved(port: u16, folder: &Path, from: &str, to: &str) -> Stranger {
        let (mut stranger, features) = Stranger::secured(port, Some(folder), from, to);
        assert!(features.contains("EXTERNAL"), "{features}");
        stranger.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>"));
        stranger.hear("<success");
        stranger.say(&header(from, to));
        stranger.hear("</stream:features>");
        stranger
    }

    pub fn over(self, folder: Option<&Path>, alpn: &[&[u8]]) -> Stranger {
        let Stranger::Plain(tcp) = self else { panic!("it is TLS already") };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Anybody::new());
        let mut config = match folder {
            None => config.with_no_client_auth(),
            Some(folder) => {
                let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).expect("PEM");
                let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
                let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("a.example").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("TLS");
        Stranger::Tls(Box::new(StreamOwned::new(connection, tcp)))
    }

    pub fn say(&mut self, words: &str) {
        // the server may have closed while we still speak
        let _ = match self {
            Stranger::Plain(tcp) => tcp.write_all(words.as_bytes()),
            Stranger::Tls(tls) => tls.write_all(words.as_bytes()),
        };
    }

    /// Everything until `end` comes, or the stream is closed.
    #[track_caller]
    pub fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&heard).into_owned();
            if !end.is_empty() && text.contains(end) {
                return text;
            }
            let read = match self {
                Stranger::Plain(tcp) => tcp.read(&mut buffer),
                Stranger::Tls(tls) => tls.read(&mut buffer),
            };
            match read {
                Ok(0) if end.is_empty() => return text,
                Ok(0) => panic!("closed; heard {text:?}, waited for {end:?}"),
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(error)
                    if end.is_empty()
                        && matches!(
                            error.kind(),
                            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                        ) =>
                {
                    return text;
                }
                Err(error) => panic!("{error}; heard {text:?}, waited for {end:?}"),
            }
        }
    }

    /// The stream ends with this error.
    #[track_caller]
    pub fn ended(&mut self, condition: &str) {
        let rest = self.hear("");
        assert!(rest.contains(&format!("<{condition} xmlns")), "{condition} is not in {rest}");
        assert!(rest.ends_with("</stream:error></stream:stream>"), "{rest}");
    }
}
