//! One client: from the socket to a bound session, and then bytes in and out.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use jabiru::net::peer_tls::Anybody;
use jabiru::net::socket::Socket;
use jabiru::stream::sasl::hash::Hash;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::scan;
use crate::{Mechanism, Target, Tls};

/// How long a login may take, and an answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// A stream with what was read and not taken yet.
#[derive(Debug)]
pub struct Client {
    pub socket: Socket,
    pub buffer: BytesMut,
    /// The full JID.
    pub jid: String,
}

/// Everything that clients share.
#[derive(Clone)]
pub struct Dialer {
    pub target: Target,
    tls: Arc<ClientConfig>,
    /// Where tickets are wanted: the devices of those who were there.
    remembered: Arc<Mutex<HashMap<usize, Arc<ClientConfig>>>>,
    /// Salted passwords, by user and salt.
    salted: Salted,
}

/// Clients may keep them (RFC 5802, section 3), and these do: thousands of
/// devices reckon each on its own, and here one core would for all.
type Salted = Arc<Mutex<HashMap<(String, Vec<u8>), Vec<u8>>>>;

impl Dialer {
    pub fn new(target: &Target) -> anyhow::Result<Dialer> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Anybody::new())
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        if target.tls == Tls::Direct {
            config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        }
        let (target, remembered) = (target.clone(), Arc::default());
        Ok(Dialer { target, tls: Arc::new(config), remembered, salted: Arc::default() })
    }

    /// What this session's device knows of the server.
    fn tls_of(&self, number: usize) -> Arc<ClientConfig> {
        if !self.target.resume {
            return Arc::clone(&self.tls);
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let own = || {
            let mut config = ClientConfig::clone(&self.tls);
            config.resumption = Resumption::in_memory_sessions(1);
            Arc::new(config)
        };
        Arc::clone(remembered.entry(number).or_insert_with(own))
    }

    /// The name of the account of a session.
    pub fn user(&self, number: usize) -> String {
        format!("load{}", self.target.first + number / self.target.resources.max(1))
    }

    /// The address of a session.
    pub fn jid(&self, number: usize) -> String {
        format!("{}@{}/r{number}", self.user(number), self.target.domain)
    }

    /// A socket to the server whose turn it is, after these failed.
    pub async fn dial(&self, number: usize, failed: usize) -> anyhow::Result<TcpStream> {
        let servers = &self.target.server;
        let server = servers[(number + failed) % servers.len()];
        let tcp = connect(server, self.target.sources, number).await;
        let tcp = tcp.with_context(|| format!("{server} does not answer"))?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// Logs in and binds a resource.
    pub async fn login(&self, number: usize) -> anyhow::Result<Client> {
        self.login_after(number, 0).await
    }

    /// As above, by another server than those that failed.
    pub async fn login_after(&self, number: usize, failed: usize) -> anyhow::Result<Client> {
        let login = async {
            let mut client = self.opened(number, failed).await?;
            let user = self.user(number);
            let password = password(&user);
            match self.target.mechanism {
                Mechanism::Plain => client.plain(&user, &password).await?,
                Mechanism::Scram1 => {
                    let way = (Hash::Sha1, "SCRAM-SHA-1");
                    client.scram(way, &user, &password, &self.salted).await?;
                }
                Mechanism::Scram256 => {
                    let way = (Hash::Sha256, "SCRAM-SHA-256");
                    client.scram(way, &user, &password, &self.salted).await?;
                }
            }
            client.open(&self.target.domain).await?;
            let resource = format!("<resource>r{number}</resource>");
            let bind = format!("<bind xmlns='{BIND}'>{resource}</bind>");
            client.say(&format!("<iq type='set' id='bind'>{bind}</iq>")).await?;
            client.until("iq").await?;
            client.jid = self.jid(number);
            anyhow::Ok(client)
        };
        let user = self.user(number);
        timeout(PATIENCE, login).await.context("a login takes too long")?.context(user)
    }

    /// Makes the account of this number; one that exists is fine.
    pub async fn register(&self, number: usize) -> anyhow::Result<()> {
        let mut client = self.opened(number, 0).await?;
        let user = self.user(number);
        let password = password(&user);
        let form = format!("<username>{user}</username><password>{password}</password>");
        let query = format!("<query xmlns='jabber:iq:register'>{form}</query>");
        client.say(&format!("<iq type='set' id='reg'>{query}</iq>")).await?;
        let answer = client.until("iq").await?;
        if !answer.contains("result") && !answer.contains("conflict") {
            bail!("{user} cannot be registered: {answer}");
        }
        client.say("</stream:stream>").await
    }

    /// A stream with its features read, encrypted as is wanted.
    async fn opened(&self, number: usize, failed: usize) -> anyhow::Result<Client> {
        let tcp = self.dial(number, failed).await?;
        let domain = &self.target.domain;
        let socket = match self.target.tls {
            Tls::None => Socket::Plain(tcp),
            Tls::Direct => self.secure(number, tcp).await?,
            Tls::Starttls => {
                let mut client = Client::over(Socket::Plain(tcp));
                client.open(domain).await?;
                client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
                client.until("proceed").await?;
                match client.socket {
                    Socket::Plain(tcp) => self.secure(number, tcp).await?,
                    Socket::Tls(_) => bail!("it was TLS before"),
                }
            }
        };
        let mut client = Client::over(socket);
        client.open(domain).await?;
        Ok(client)
    }

    async fn secure(&self, number: usize, tcp: TcpStream) -> anyhow::Result<Socket> {
        let name = ServerName::try_from(self.target.domain.clone())?;
        let tls = TlsConnector::from(self.tls_of(number));
        Ok(Socket::Tls(Box::new(tls.connect(name, tcp).await?.into())))
    }
}

/// No server should take a password that is the name itself.
fn password(user: &str) -> String {
    format!("pw-{user}")
}

/// A connection from one of the loopback's addresses.
async fn connect(server: SocketAddr, sources: u8, number: usize) -> io::Result<TcpStream> {
    if sources <= 1 {
        return TcpStream::connect(server).await;
    }
    let last = (number % usize::from(sources)) as u8;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 1, 1 + last), 0).into())?;
    socket.connect(server).await
}

impl Client {
    pub fn over(socket: Socket) -> Client {
        Client { socket, buffer: BytesMut::new(), jid: String::new() }
    }

    pub async fn say(&mut self, words: &str) -> anyhow::Result<()> {
        self.socket.write_all(words.as_bytes()).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// More bytes; an error at the end of the stream.
    pub async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(4096);
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => bail!("the server has closed the stream"),
            _ => Ok(()),
        }
    }

    /// Takes everything up to the first stanza of this name, and gives that.
    pub async fn until(&mut self, name: &str) -> anyhow::Result<String> {
        loop {
            while let Some((seen, end)) = scan::next(&self.buffer) {
                let (is_it, is_bad) =
                    (seen.is(name), seen.is("failure") || seen.is("stream:error"));
                let text = String::from_utf8_lossy(seen.text).into_owned();
                let _ = self.buffer.split_to(end);
                if is_it {
                    return Ok(text);
                }
                if is_bad {
                    bail!("{text}");
                }
            }
            self.read().await?;
        }
    }

    async fn open(&mut self, domain: &str) -> anyhow::Result<()> {
        self.say(&format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        ))
        .await?;
        self.until("stream:features").await.map(drop)
    }

    async fn plain(&mut self, user: &str, password: &str) -> anyhow::Result<()> {
        let words = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{words}</auth>")).await?;
        self.until("success").await.map(drop)
    }

    async fn scram(
        &mut self,
        (hash, name): (Hash, &str),
        user: &str,
        password: &str,
        kept: &Salted,
    ) -> anyhow::Result<()> {
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        let bare = format!("n={user},r={nonce}");
        let first = STANDARD.encode(format!("n,,{bare}"));
        self.say(&format!("<auth xmlns='{SASL}' mechanism='{name}'>{first}</auth>")).await?;
        let challenge = self.until("challenge").await?;
        let inside = challenge.split('>').nth(1).and_then(|rest| rest.split('<').next());
        let challenge = String::from_utf8(STANDARD.decode(inside.unwrap_or_default())?)?;
        let field = |name: &str| {
            let found = challenge.split(',').find_map(|field| field.strip_prefix(name));
            found.with_context(|| format!("no {name} in the challenge"))
        };
        let salt = STANDARD.decode(field("s=")?)?;
        let iterations = field("i=")?.parse()?;
        let place = (user.to_owned(), salt);
        let known = kept.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        let salted = known.unwrap_or_else(|| {
            let salted = hash.salted(password.as_bytes(), &place.1, iterations);
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(place, salted.clone());
            salted
        });
        let client_key = hash.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={}", field("r=")?);
        let signed = format!("{bare},{challenge},{without_proof}");
        let signature = hash.hmac(&hash.of(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let last = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
        self.say(&format!("<response xmlns='{SASL}'>{last}</response>")).await?;
        self.until("success").await.map(drop)
    }
}
