//! Many clients that chat and come back whenever they are sent away, as good
//! clients do, and an account of all that was said.
//!
//! Two and two they throw balls: whoever catches the third throw of a ball
//! throws it for the fourth time. A throw counts when it is written to a stream
//! that stands; it is never repeated. So a lost one stops its ball for good.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::DOMAIN;
use crate::support::raw::HEADER;

/// Balls of each two.
const BALLS: usize = 2;

/// How long people think before they throw: 600 throws a second in all, which
/// leaves a busy machine room for everything else.
const THOUGHT: Duration = Duration::from_millis(500);

/// How long a step of logging in may take; nobody waits for ever.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// A throw: which two, which ball, for which time.
type Throw = (usize, usize, u64);

/// What all have noticed.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Throws, and how often each was caught.
    pub(crate) throws: BTreeMap<Throw, u32>,
    /// How often a stream was ended, by its condition.
    pub(crate) ends: BTreeMap<String, u32>,
    /// What must not happen.
    pub(crate) faults: Vec<String>,
    /// Where each client is connected from now.
    pub(crate) online: BTreeMap<usize, SocketAddr>,
}

/// Clients that run until they are dropped.
pub(crate) struct Crowd {
    pub(crate) account: Arc<Mutex<Account>>,
    /// Nobody throws any more.
    is_over: Arc<AtomicBool>,
    _clients: JoinSet<()>,
}

pub(crate) fn name(client: usize) -> String {
    format!("client{client}")
}

/// One client, connected or not.
struct Client {
    number: usize,
    balancer: SocketAddr,
    tls: Arc<ClientConfig>,
    account: Arc<Mutex<Account>>,
    is_over: Arc<AtomicBool>,
    /// To be thrown as soon as there is a stream, and it is time.
    hands: VecDeque<(Instant, Throw)>,
}

/// A stream, and what was read and not yet understood.
struct Stream {
    tls: TlsStream<TcpStream>,
    read: String,
}

impl Crowd {
    /// So many clients, an even number, by a balancer at this port; each has an
    /// account with the password `secret`.
    pub(crate) fn come(count: usize, port: u16, ca: &Path) -> Crowd {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Arc::new(tls);
        let account = Arc::<Mutex<Account>>::default();
        let is_over = Arc::<AtomicBool>::default();
        let mut clients = JoinSet::new();
        for number in 0..count {
            // the even one of each two has all balls
            let balls = if number % 2 == 0 { 0..BALLS } else { 0..0 };
            let client = Client {
                number,
                balancer: SocketAddr::from(([127, 0, 0, 1], port)),
                tls: Arc::clone(&tls),
                account: Arc::clone(&account),
                is_over: Arc::clone(&is_over),
                hands: balls.map(|ball| (Instant::now(), (number / 2, ball, 0))).collect(),
            };
            clients.spawn(client.live());
        }
        Crowd { account, is_over, _clients: clients }
    }

    /// How often the ball that is furthest behind was caught.
    pub(crate) fn slowest(&self, count: usize) -> u64 {
        let account = self.account.lock().expect("no panic");
        let mut caught = BTreeMap::new();
        for ((two, ball, time), count) in &account.throws {
            if *count > 0 {
                caught.insert((*two, *ball), *time + 1);
            }
        }
        if caught.len() < count / 2 * BALLS {
            return 0;
        }
        caught.values().copied().min().unwrap_or(0)
    }

    /// Nobody throws any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Throws that nobody has caught.
    pub(crate) fn in_the_air(&self) -> BTreeSet<Throw> {
        let account = self.account.lock().expect("no panic");
        let air = account.throws.iter().filter(|(_, caught)| **caught == 0);
        air.map(|(throw, _)| *throw).collect()
    }
}

impl Client {
    async fn live(mut self) {
        loop {
            let end = match self.log_in().await {
                Ok(stream) => self.play(stream).await,
                Err(end) => end,
            };
            let mut account = self.account.lock().expect("no panic");
            account.online.remove(&self.number);
            *account.ends.entry(end).or_default() += 1;
        }
    }

    fn fault(&self, what: String) {
        self.account
            .lock()
            .expect("no panic")
            .faults
            .push(format!("{}: {what}", name(self.number)));
    }

    /// From a connection to a session that is available.
    async fn log_in(&self) -> Result<Stream, String> {
        let mut tcp = match TcpStream::connect(self.balancer).await {
            Ok(tcp) => tcp,
            Err(error) => {
                self.fault(format!("refused: {error}"));
                return Err("refused".into());
            }
        };
        let from = tcp.local_addr().expect("connected");
        tcp.set_nodelay(true).expect("a socket");
        let mut read = String::new();
        self.step(&mut tcp, &mut read, HEADER, "</stream:features>").await?;
        let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        self.step(
            &mut tcp,
            &mut read,
            starttls,
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        )
        .await?;
        let domain = ServerName::try_from(DOMAIN).expect("a name");
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut tls = match connector.connect(domain, tcp).await {
            Ok(tls) => tls,
            Err(error) => {
                self.fault(format!("no TLS: {error}"));
                return Err("no TLS".into());
            }
        };
        let mut read = String::new();
        self.step(&mut tls, &mut read, HEADER, "</stream:features>").await?;
        let plain = format!("\0{}\0secret", name(self.number));
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        let auth = format!("<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>");
        self.step(&mut tls, &mut read, &auth, "<success").await?;
        read.clear();
        self.step(&mut tls, &mut read, HEADER, "</stream:features>").await?;
        let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                    <resource>ball</resource></bind></iq>";
        self.step(&mut tls, &mut read, bind, "</iq>").await?;
        tls.write_all(b"<presence/>").await.map_err(|error| error.kind().to_string())?;
        self.account.lock().expect("no panic").online.insert(self.number, from);
        Ok(Stream { tls, read })
    }

    /// Says something, and reads to the end of the answer.
    async fn step<S: AsyncReadExt + AsyncWriteExt + Unpin>(
        &self,
        stream: &mut S,
        read: &mut String,
        say: &str,
        until: &str,
    ) -> Result<(), String> {
        // whoever cannot be written to has said why
        let _ = stream.write_all(say.as_bytes()).await;
        let _ = stream.flush().await;
        let answer = async {
            while !read.contains(until) {
                if let Some(end) = stream_error(read) {
                    return Err(end);
                }
                if read.contains("<failure") {
                    self.fault(format!("authentication: {read}"));
                    return Err("failure".into());
                }
                let mut buffer = [0; 4096];
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => {
                        read.push_str(&String::from_utf8_lossy(&buffer[..count]))
                    }
                    ended => {
                        self.fault(format!("closed at {until}: {ended:?} after {read:?}"));
                        return Err("closed".into());
                    }
                }
            }
            let behind = read.find(until).expect("just found") + until.len();
            read.drain(..behind);
            Ok(())
        };
        match timeout(STEP_TIME_MAX, answer).await {
            Ok(answered) => answered,
            Err(_) => {
                self.fault(format!("no {until}"));
                Err("late".into())
            }
        }
    }

    /// Catches and throws until the stream ends.
    async fn play(&mut self, mut stream: Stream) -> String {
        let mut end = None;
        loop {
            while let Some(throw) = stream.next() {
                self.catch(throw);
            }
            if end.is_none() {
                end = stream_error(&stream.read);
                if end.is_some() {
                    // what was written before is to be taken still
                    let _ = stream.tls.write_all(b"</stream:stream>").await;
                    let _ = stream.tls.shutdown().await;
                }
            }
            let due = self.hands.front().map(|(at, _)| *at).filter(|_| end.is_none());
            let mut buffer = [0; 4096];
            let read = tokio::select! {
                read = stream.tls.read(&mut buffer) => read,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, throw)) = self.hands.pop_front()
                        && let Err(error) = self.throw(&mut stream, throw).await
                    {
                        end = Some(error);
                    }
                    continue;
                }
            };
            match read {
                Ok(count) if count > 0 => {
                    stream.read.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
                Ok(_) => return end.unwrap_or("closed".into()),
                Err(error) => return end.unwrap_or(error.kind().to_string()),
            }
        }
    }

    fn catch(&mut self, (two, ball, time): Throw) {
        {
            let mut account = self.account.lock().expect("no panic");
            let caught = account.throws.entry((two, ball, time)).or_default();
            *caught += 1;
            if *caught > 1 {
                // given twice: it must not be thrown twice
                return;
            }
        }
        if !self.is_over.load(Ordering::Acquire) {
            self.hands.push_back((Instant::now() + THOUGHT, (two, ball, time + 1)));
        }
    }

    async fn throw(&mut self, stream: &mut Stream, throw: Throw) -> Result<(), String> {
        let (two, ball, time) = throw;
        let to = name(self.number ^ 1);
        let id = format!("{two}-{ball}-{time}");
        let message = format!(
            "<message type='chat' to='{to}@{DOMAIN}' id='{id}'><body>{id}</body></message>"
        );
        // whoever catches it may be faster than we are
        self.account.lock().expect("no panic").throws.entry(throw).or_default();
        let written = stream.tls.write_all(message.as_bytes()).await;
        let flushed = match written {
            Ok(()) => stream.tls.flush().await,
            Err(error) => Err(error),
        };
        flushed.map_err(|error| {
            // it did not leave, and will on the next stream
            self.hands.push_front((Instant::now(), throw));
            error.kind().to_string()
        })
    }
}

impl Stream {
    /// The next message that was read.
    fn next(&mut self) -> Option<Throw> {
        let start = self.read.find("<message")?;
        let end = start + self.read[start..].find("</message>")? + "</message>".len();
        let message: String = self.read.drain(..end).collect();
        let body = message.split("<body>").nth(1)?.split("</body>").next()?;
        let mut numbers = body.split('-').map(|number| number.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        Some((next() as usize, next() as usize, next()))
    }
}

/// The condition of the stream's end, if it has one.
fn stream_error(read: &str) -> Option<String> {
    let inside = read.split("<stream:error><").nth(1)?;
    Some(inside.split([' ', '/', '>']).next()?.to_owned())
}
