//! A login storm: everybody comes back at once, each with a roster of twenty
//! contacts who see each other. It prints lines for `benches/README.md`.
//!
//! `cargo bench --bench storm` with three nodes; `-- 1` with one. Clients use
//! SCRAM-SHA-256 with keys that they remember, over plain TCP: TLS would
//! measure the clients of this process as much as the server.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jabiru::stream::sasl::hash::Hash;
use support::raw::HEADER;
use support::{Node, Nodes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// People.
const PEOPLE: usize = 1_000;

/// Contacts of each: so many neighbours on each side.
const NEIGHBOURS: usize = 10;

/// Clients that log in at a time.
const AT_A_TIME: usize = 64;

/// Storms.
const STORMS: usize = 5;

const PASSWORD: &str = "secret";

/// Salted passwords by salt: what a client remembers from its last login.
type Keys = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

struct Client {
    tcp: TcpStream,
    heard: String,
}

impl Client {
    async fn say(&mut self, words: &str) -> io::Result<()> {
        self.tcp.write_all(words.as_bytes()).await
    }

    /// Everything up to `end`, which must come.
    async fn hear(&mut self, end: &str) -> io::Result<String> {
        let mut buffer = [0; 16_384];
        loop {
            if let Some(at) = self.heard.find(end) {
                let rest = self.heard.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.heard, rest));
            }
            let read = tokio::time::timeout(Duration::from_secs(60), self.tcp.read(&mut buffer));
            match read.await?? {
                0 => return Err(io::Error::other(format!("closed: {}", self.heard))),
                count => self.heard += &String::from_utf8_lossy(&buffer[..count]),
            }
        }
    }

    /// These, in any order; all that came with them is forgotten.
    async fn hear_all(&mut self, words: [&str; 2]) -> io::Result<()> {
        let mut all = String::new();
        while !words.iter().all(|words| all.contains(words)) {
            all += &self.hear(">").await?;
        }
        Ok(())
    }

    /// Comes with its roster and its presence.
    async fn come(address: SocketAddr, user: &str, keys: &Keys) -> io::Result<Client> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut client = Client { tcp, heard: String::new() };
        client.log_in(user, keys).await?;
        client.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>").await?;
        client.say("<presence/>").await?;
        let own = format!("<presence from='{user}@localhost/storm'");
        client.hear_all(["id='r'", &own]).await?;
        Ok(client)
    }

    async fn log_in(&mut self, user: &str, keys: &Keys) -> io::Result<()> {
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        self.say(HEADER).await?;
        self.hear("</stream:features>").await?;
        let bare = format!("n={user},r=abcdef");
        let first = STANDARD.encode(format!("n,,{bare}"));
        self.say(&format!("<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>")).await?;
        let heard = self.hear("</challenge>").await?;
        let inside = heard.trim_end_matches("</challenge>").rsplit('>').next().unwrap_or_default();
        let challenge = STANDARD.decode(inside).map_err(io::Error::other)?;
        let challenge = String::from_utf8_lossy(&challenge).into_owned();
        let field = |name: &str| {
            let mut fields = challenge.split(',');
            fields.find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let salt = STANDARD.decode(field("s=")).map_err(io::Error::other)?;
        let known = keys.lock().expect("no panic").get(&salt).cloned();
        let salted = match known {
            Some(salted) => salted,
            None => {
                let iterations = field("i=").parse().map_err(io::Error::other)?;
                let salted = Hash::Sha256.salted(PASSWORD.as_bytes(), &salt, iterations);
                keys.lock().expect("no panic").insert(salt, salted.clone());
                salted
            }
        };
        let client_key = Hash::Sha256.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={}", field("r="));
        let signed = format!("{bare},{challenge},{without_proof}");
        let signature = Hash::Sha256.hmac(&Hash::Sha256.of(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let last = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
        self.say(&format!("<response xmlns='{sasl}'>{last}</response>")).await?;
        self.hear("</success>").await?;
        self.say(HEADER).await?;
        self.hear("</stream:features>").await?;
        let bind = "urn:ietf:params:xml:ns:xmpp-bind";
        self.say(&format!(
            "<iq type='set' id='b'><bind xmlns='{bind}'><resource>storm</resource></bind></iq>"
        ))
        .await?;
        self.hear("</iq>").await.map(drop)
    }

    /// Everybody at its side shall see it, and it shall see them.
    async fn befriend(&mut self, contacts: &[String], kind: &str) -> io::Result<()> {
        for contact in contacts {
            self.say(&format!("<presence to='{contact}@localhost' type='{kind}'/>")).await?;
        }
        self.say("<iq type='get' id='done'><query xmlns='jabber:iq:roster'/></iq>").await?;
        self.hear("id='done'").await.map(drop)
    }
}

fn name(at: usize) -> String {
    format!("s{}", at % PEOPLE)
}

fn contacts(at: usize) -> Vec<String> {
    (1..=NEIGHBOURS).flat_map(|step| [name(at + step), name(at + PEOPLE - step)]).collect()
}

fn addresses(nodes: &Nodes) -> Vec<SocketAddr> {
    let address = |node: &Node| SocketAddr::from(([127, 0, 0, 1], node.ports.plain));
    nodes.list.iter().map(address).collect()
}

/// All come; the clients, and how long each took.
async fn storm(addresses: &[SocketAddr], keys: &Keys) -> Vec<(Client, Duration)> {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let mut coming = JoinSet::new();
    for at in 0..PEOPLE {
        let (room, keys) = (Arc::clone(&room), Arc::clone(keys));
        let address = addresses[at % addresses.len()];
        coming.spawn(async move {
            let _permit = room.acquire().await.expect("open");
            let begin = Instant::now();
            let client = Client::come(address, &name(at), &keys).await.expect("it comes");
            (client, begin.elapsed())
        });
    }
    coming.join_all().await
}

async fn all_befriend(addresses: &[SocketAddr], keys: &Keys, kind: &'static str) {
    let mut tasks = JoinSet::new();
    for at in 0..PEOPLE {
        let (address, keys) = (addresses[at % addresses.len()], Arc::clone(keys));
        tasks.spawn(async move {
            let mut client = Client::come(address, &name(at), &keys).await.expect("it comes");
            client.befriend(&contacts(at), kind).await.expect("it is told");
        });
    }
    tasks.join_all().await;
}

fn run(count: usize) {
    let mut nodes = Nodes::prepare(count, "");
    for node in &mut nodes.list {
        node.configure("[c2s]", "[c2s]\nrequire_tls = false");
        node.start();
    }
    nodes.wait_until_all_agree();
    let file = nodes.folder.path().join("password");
    std::fs::write(&file, PASSWORD).expect("writable");
    let list = &nodes.list;
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let file = &file;
            scope.spawn(move || {
                for at in (worker..PEOPLE).step_by(4) {
                    let jid = format!("{}@localhost", name(at));
                    let node = &list[at % list.len()];
                    let file = format!("--password-file={}", file.display());
                    node.jabiru(&["user", "add", &jid, &file], "");
                }
            });
        }
    });
    let addresses = addresses(&nodes);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let keys = Keys::default();
    runtime.block_on(async {
        all_befriend(&addresses, &keys, "subscribed").await;
        all_befriend(&addresses, &keys, "subscribe").await;
    });
    nodes.wait_until_all_agree();
    let mut rates = Vec::new();
    let mut times = Vec::new();
    for _ in 0..STORMS {
        support::wait_for("all have gone", || list.iter().all(|node| node.sessions().is_empty()));
        let begin = Instant::now();
        let clients = runtime.block_on(storm(&addresses, &keys));
        rates.push(PEOPLE as f64 / begin.elapsed().as_secs_f64());
        times.extend(clients.iter().map(|(_, took)| *took));
    }
    rates.sort_by(f64::total_cmp);
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "login storm, {count} nodes, {PEOPLE} people with {} contacts: {:.0} a second \
         ({:.0} to {:.0}); one takes p50 {:.1?}, p99 {:.1?}",
        2 * NEIGHBOURS,
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        at(0.5),
        at(0.99)
    );
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let count = asked.first().and_then(|text| text.parse().ok()).unwrap_or(3);
    rlimit::increase_nofile_limit(65_536).expect("open files");
    run(count);
}
