//! A client that says what it likes, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use jabiru::net::peer_tls::Anybody;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::{DOMAIN, Node};

/// How long nothing may come before nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(10);

pub enum Raw {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

pub fn config(
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = super::tls().join("ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

impl Raw {
    pub fn plain(node: &Node) -> Raw {
        let tcp = TcpStream::connect((node.place.host, node.ports.plain)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw::Plain(tcp)
    }

    /// By the port that speaks TLS at once.
    pub fn direct(node: &Node) -> Raw {
        Raw::direct_with(node, rustls::DEFAULT_VERSIONS)
    }

    /// As [`Raw::direct`], at any server.
    pub fn direct_at(door: std::net::SocketAddr) -> Raw {
        let tcp = TcpStream::connect(door).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw::over(tcp, config(&[b"xmpp-client"], rustls::DEFAULT_VERSIONS))
    }

    pub fn direct_with(node: &Node, versions: &[&'static rustls::SupportedProtocolVersion]) -> Raw {
        let tcp = TcpStream::connect((node.place.host, node.ports.direct)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw::over(tcp, config(&[b"xmpp-client"], versions))
    }

    /// As [`Raw::direct`], with what is remembered of former connections.
    pub fn direct_as(node: &Node, config: &Arc<ClientConfig>) -> Raw {
        let tcp = TcpStream::connect((node.place.host, node.ports.direct)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw::over(tcp, Arc::clone(config))
    }

    /// Whether the handshake was the short one of somebody who was here.
    pub fn is_resumed(&self) -> bool {
        match self {
            Raw::Plain(_) => false,
            Raw::Tls(tls) => tls.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    fn over(tcp: TcpStream, config: impl Into<Arc<ClientConfig>>) -> Raw {
        let name = ServerName::try_from(DOMAIN).expect("a name");
        let connection = ClientConnection::new(config.into(), name).expect("TLS");
        Raw::Tls(Box::new(StreamOwned::new(connection, tcp)))
    }

    /// Changes to TLS after `<proceed/>`.
    pub fn secured(self) -> Raw {
        match self {
            Raw::Plain(tcp) => Raw::over(tcp, config(&[], rustls::DEFAULT_VERSIONS)),
            Raw::Tls(_) => panic!("it is TLS already"),
        }
    }

    /// How long silence is waited for.
    pub fn patience(&self, patience: Duration) {
        let tcp = match self {
            Raw::Plain(tcp) => tcp,
            Raw::Tls(tls) => tls.get_ref(),
        };
        tcp.set_read_timeout(Some(patience)).expect("a timeout");
    }

    /// What comes next, if anything comes in time; `false`: the stream is over.
    pub fn more(&mut self, heard: &mut String) -> bool {
        let mut buffer = [0; 16_384];
        let read = match self {
            Raw::Plain(tcp) => tcp.read(&mut buffer),
            Raw::Tls(tls) => tls.read(&mut buffer),
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// From now on silence is no fault.
    pub fn wait_for_ever(&self) {
        let tcp = match self {
            Raw::Plain(tcp) => tcp,
            Raw::Tls(tls) => tls.get_ref(),
        };
        tcp.set_read_timeout(None).expect("no timeout");
    }

    pub fn say(&mut self, words: &[u8]) {
        // the server may have closed while we still speak
        let _ = match self {
            Raw::Plain(tcp) => tcp.write_all(words),
            Raw::Tls(tls) => tls.write_all(words),
        };
    }

    /// Everything until `end` comes, or the stream is closed.
    #[track_caller]
    pub fn hear(&mut self, end: &str) -> String {
        self.hear_on(String::new(), end)
    }

    /// As above, after what was heard before.
    #[track_caller]
    pub fn hear_on(&mut self, before: String, end: &str) -> String {
        let mut heard = before.into_bytes();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&heard).into_owned();
            if !end.is_empty() && text.contains(end) {
                return text;
            }
            let read = match self {
                Raw::Plain(tcp) => tcp.read(&mut buffer),
                Raw::Tls(tls) => tls.read(&mut buffer),
            };
            match read {
                Ok(0) => return text,
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(
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

    /// Everything until nothing has come for a moment.
    pub fn gather(&mut self) -> String {
        let tcp = match self {
            Raw::Plain(tcp) => tcp,
            Raw::Tls(tls) => tls.get_ref(),
        };
        let tcp = tcp.try_clone().expect("a socket");
        let before = tcp.read_timeout().expect("a timeout");
        tcp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = match self {
                Raw::Plain(tcp) => tcp.read(&mut buffer),
                Raw::Tls(tls) => tls.read(&mut buffer),
            };
            match read {
                Ok(count) if count > 0 => heard.extend_from_slice(&buffer[..count]),
                Ok(_) | Err(_) => break,
            }
        }
        tcp.set_read_timeout(before).expect("a timeout");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Everything until the server closes.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        self.hear("")
    }

    /// Logs in by PLAIN and binds a resource.
    #[track_caller]
    pub fn bind(&mut self, user: &str, password: &str, resource: &str) {
        self.authenticate(user, password);
        self.take(resource);
    }

    /// Logs in by PLAIN, up to the second features, and gives these back.
    #[track_caller]
    pub fn authenticate(&mut self, user: &str, password: &str) -> String {
        use base64::Engine as _;
        self.say(HEADER.as_bytes());
        self.hear("</stream:features>");
        let plain = format!("\0{user}\0{password}");
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        self.say(format!("<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>").as_bytes());
        self.hear("<success");
        self.open()
    }

    /// Logs in by SCRAM-SHA-256 and binds a resource.
    #[track_caller]
    pub fn scram(&mut self, user: &str, password: &str, resource: &str) {
        self.scram_at(DOMAIN, user, password, resource);
    }

    /// As above, at another domain.
    #[track_caller]
    pub fn scram_at(&mut self, domain: &str, user: &str, password: &str, resource: &str) {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        use jabiru::stream::sasl::hash::Hash;
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        let header = HEADER.replace("to='localhost'", &format!("to='{domain}'"));
        let (bare, challenge) = self.challenge(&header, user);
        let field = |name: &str| field(&challenge, name);
        let salt = STANDARD.decode(field("s=")).expect("base64");
        let iterations = field("i=").parse().expect("a number");
        let salted = Hash::Sha256.salted(password.as_bytes(), &salt, iterations);
        let client_key = Hash::Sha256.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={}", field("r="));
        let signed = format!("{bare},{challenge},{without_proof}");
        let signature = Hash::Sha256.hmac(&Hash::Sha256.of(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let last = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
        self.say(format!("<response xmlns='{sasl}'>{last}</response>").as_bytes());
        self.hear("</success>");
        self.say(header.as_bytes());
        self.hear("</stream:features>");
        self.take(resource);
    }

    /// The salt that a server shows for a name in SCRAM-SHA-256 (RFC 5802 §5.1).
    #[track_caller]
    pub fn salt(&mut self, user: &str) -> String {
        field(&self.challenge(HEADER, user).1, "s=")
    }

    /// Begins SCRAM-SHA-256: what we said first, without its head, and the
    /// challenge.
    #[track_caller]
    fn challenge(&mut self, header: &str, user: &str) -> (String, String) {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        self.say(header.as_bytes());
        self.hear("</stream:features>");
        let bare = format!("n={user},r=abcdef");
        let first = STANDARD.encode(format!("n,,{bare}"));
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        let auth = format!("<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>");
        self.say(auth.as_bytes());
        let heard = self.hear("</challenge>");
        let inside = heard.split_once("</challenge>").expect("a challenge").0;
        let challenge = STANDARD.decode(inside.rsplit('>').next().expect("text")).expect("base64");
        (bare, String::from_utf8(challenge).expect("text"))
    }

    fn open(&mut self) -> String {
        self.say(HEADER.as_bytes());
        self.hear("</stream:features>")
    }

    fn take(&mut self, resource: &str) {
        let bind = "urn:ietf:params:xml:ns:xmpp-bind";
        let bind = format!("<bind xmlns='{bind}'><resource>{resource}</resource></bind>");
        self.say(format!("<iq type='set' id='b'>{bind}</iq>").as_bytes());
        self.hear("</iq>");
    }
}

/// A field of a challenge.
fn field(challenge: &str, name: &str) -> String {
    let mut fields = challenge.split(',');
    fields.find_map(|field| field.strip_prefix(name)).expect("a field").to_owned()
}

/// The first certificate in a file.
pub fn certificate(file: &std::path::Path) -> Vec<u8> {
    CertificateDer::from_pem_file(file).expect("PEM").to_vec()
}

/// The certificate that is shown to who asks for this name.
pub fn shown(node: &Node, name: &str) -> Vec<u8> {
    let tcp = TcpStream::connect((node.place.host, node.ports.direct)).expect("it listens");
    shown_on(tcp, Some(name))
}

/// The certificate that is shown to a stream to this domain, whose client
/// names nobody in TLS.
pub fn shown_after_starttls(node: &Node, domain: &str) -> Vec<u8> {
    let mut raw = Raw::plain(node);
    raw.say(HEADER.replace("to='localhost'", &format!("to='{domain}'")).as_bytes());
    raw.hear("</stream:features>");
    raw.say(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.hear("<proceed");
    match raw {
        Raw::Plain(tcp) => shown_on(tcp, None),
        Raw::Tls(_) => panic!("it was plain"),
    }
}

fn shown_on(tcp: TcpStream, name: Option<&str>) -> Vec<u8> {
    let mut client = config(&[], rustls::DEFAULT_VERSIONS);
    // its authority is another one, and only what is shown matters
    client.dangerous().set_certificate_verifier(Anybody::new());
    client.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("x").to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(client), name).expect("TLS");
    let mut tls = StreamOwned::new(connection, tcp);
    tls.conn.complete_io(&mut tls.sock).expect("a handshake");
    let shown = tls.conn.peer_certificates().and_then(|chain| chain.first());
    shown.expect("a certificate").to_vec()
}
