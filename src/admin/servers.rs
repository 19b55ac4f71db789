//! Commands about other servers: which ones this cluster speaks with, on which
//! node, and how they have proved who they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::admin::answers::{done, failed};
use crate::admin::requests::Response;
use crate::admin::{ANSWER_TIME_MAX, Admin, topic};
use crate::cluster::asks::Question;
use crate::s2s_manager::arrivals::Arrival;
use crate::s2s_manager::link::{Carrier, Link};
use crate::s2s_manager::links::Failed;
use crate::session_manager::session::Held;
use crate::stream::server::Pair;
use crate::xmpp::jid::Domain;

/// Lines of one node that are shown; of more only so many, for an answer has an
/// end.
const LINES_MAX: usize = 2_000;

/// What an operator can ask about other servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServersRequest {
    /// Which ones?
    List,
    /// End the streams from and to one.
    Close {
        /// Its domain.
        domain: String,
    },
}

/// One stream from or to another server, or one that does not come about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLine {
    /// Their domains; more than one only of a stream that has come.
    pub theirs: Vec<String>,
    /// Ours; nothing: all of them.
    pub ours: Option<String>,
    /// The name of the node.
    pub node: String,
    /// `to` or `from`; where one stream carries both, `to+from` of one that we
    /// have opened, `from+to` of one that they have.
    pub direction: String,
    /// `opening`, `open` or `failed`.
    pub state: String,
    /// How whoever has opened it proved who he is: `certificate` or `dialback`.
    pub proof: Option<String>,
    /// Of a stream to them: whether their certificate speaks for them.
    pub is_certain: Option<bool>,
    /// TLS version and cipher suite.
    pub tls: Option<String>,
    /// Where it goes, or comes from.
    pub address: Option<String>,
    /// For so many seconds.
    pub since: u64,
    /// Stanzas that were taken, both ways.
    pub stanzas: u64,
    /// Bytes that wait.
    pub queue: usize,
    /// Whether it is over its rate, and held back until it is not.
    #[serde(default)]
    pub is_held: bool,
    /// Why it does not come about.
    pub error: Option<String>,
    /// When it is tried again, in seconds.
    pub next_try: Option<u64>,
}

/// Carries out a command.
pub async fn carry_out(admin: &Admin, request: ServersRequest) -> Response {
    match request {
        ServersRequest::List => list(admin).await,
        ServersRequest::Close { domain } => match Domain::parse(&domain) {
            Ok(domain) => close(admin, &domain).await,
            Err(_) => failed(format!("{domain:?} is not a domain")),
        },
    }
}

async fn list(admin: &Admin) -> Response {
    let answers = ask_all(admin, topic::SERVERS, Bytes::new()).await;
    let mut servers = lines(admin);
    for answer in answers {
        servers.extend(serde_json::from_slice::<Vec<ServerLine>>(&answer).unwrap_or_default());
    }
    servers.sort_by(|a, b| {
        (&a.theirs, &a.direction, &a.node).cmp(&(&b.theirs, &b.direction, &b.node))
    });
    Response::Servers { servers }
}

async fn close(admin: &Admin, domain: &Domain) -> Response {
    let body = Bytes::from(domain.as_str().to_owned());
    let mut count = close_here(admin, domain.as_str());
    for answer in ask_all(admin, topic::CLOSE_SERVER, body).await {
        count += serde_json::from_slice::<usize>(&answer).unwrap_or_default();
    }
    match count {
        0 => failed(format!("{domain}: there is no stream from or to it")),
        1 => done(format!("{domain}: 1 stream ends")),
        count => done(format!("{domain}: {count} streams end")),
    }
}

/// What all other nodes answer in time.
async fn ask_all(admin: &Admin, topic: u8, body: Bytes) -> Vec<Bytes> {
    let mut asks = JoinSet::new();
    for member in admin.cluster.members().others() {
        let (cluster, node) = (Arc::clone(&admin.cluster), member.node.id);
        let body = body.clone();
        asks.spawn(async move { cluster.ask(node, topic, body, ANSWER_TIME_MAX).await.ok() });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asks.join_next().await {
        answers.extend(answer.ok().flatten());
    }
    answers
}

/// The lines of this node, for another.
pub(super) fn written(admin: &Admin) -> Bytes {
    serde_json::to_vec(&lines(admin)).unwrap_or_default().into()
}

/// Another node wants streams to end here as well.
pub(super) fn asked_to_close(admin: &Admin, question: Question) {
    let domain = String::from_utf8_lossy(&question.body).into_owned();
    let count = close_here(admin, &domain);
    question.answer(count.to_string().into());
}

fn close_here(admin: &Admin, domain: &str) -> usize {
    admin.servers.close(domain) + admin.arrivals.close(domain)
}

fn lines(admin: &Admin) -> Vec<ServerLine> {
    let node = admin.cluster.me().name.to_string();
    let out = admin.servers.all();
    let failed = admin.servers.failed();
    let arrivals = admin.arrivals.all();
    let links = out.iter().map(|link| link_line(&node, link));
    let not_open = |pair: &Pair| !out.iter().any(|link| link.pair == *pair);
    let failed = failed.iter().filter(|(pair, _)| not_open(pair));
    let failed = failed.map(|(pair, failed)| failed_line(&node, pair, failed));
    // one stream is one line, unless it speaks for others as well
    let is_other = |one: &&Arc<Arrival>| !one.is_both_ways() || one.proved().len() > 1;
    let arrivals = arrivals.iter().filter(is_other).map(|one| arrival_line(&node, one));
    links.chain(failed).chain(arrivals).take(LINES_MAX).collect()
}

fn empty(node: &str, direction: &str, state: &str) -> ServerLine {
    ServerLine {
        theirs: Vec::new(),
        ours: None,
        node: node.to_owned(),
        direction: direction.to_owned(),
        state: state.to_owned(),
        proof: None,
        is_certain: None,
        tls: None,
        address: None,
        since: 0,
        stanzas: 0,
        queue: 0,
        is_held: false,
        error: None,
        next_try: None,
    }
}

fn link_line(node: &str, link: &Link<Held>) -> ServerLine {
    let stands = link.stands();
    let state = if stands.is_some() { "open" } else { "opening" };
    let since = stands.as_ref().map_or(link.age(), |stands| stands.since.elapsed());
    let direction = match (link.carrier, stands.as_ref().is_some_and(|stands| stands.is_both_ways))
    {
        (Carrier::Come, _) => "from+to",
        (Carrier::Opened, true) => "to+from",
        (Carrier::Opened, false) => "to",
    };
    ServerLine {
        theirs: vec![link.pair.theirs.to_string()],
        ours: Some(link.pair.ours.to_string()),
        proof: stands.as_ref().map(|stands| stands.proof.word().to_owned()),
        is_certain: stands.as_ref().map(|stands| stands.is_certain),
        tls: stands.as_ref().and_then(|stands| stands.tls).map(tls),
        address: stands.as_ref().map(|stands| stands.address.to_string()),
        since: since.as_secs(),
        stanzas: link.stanzas(),
        queue: link.outbox.len(),
        is_held: link.is_held(),
        ..empty(node, direction, state)
    }
}

fn failed_line(node: &str, pair: &Pair, failed: &Failed) -> ServerLine {
    let wait = failed.until.saturating_duration_since(Instant::now());
    ServerLine {
        theirs: vec![pair.theirs.to_string()],
        ours: Some(pair.ours.to_string()),
        error: Some(in_words(&failed.error)),
        next_try: Some(wait.as_secs() + u64::from(wait > Duration::ZERO)),
        ..empty(node, "to", "failed")
    }
}

fn arrival_line(node: &str, arrival: &Arrival) -> ServerLine {
    let proved = arrival.proved();
    ServerLine {
        theirs: proved.iter().map(|(domain, _)| domain.to_string()).collect(),
        proof: proved.first().map(|(_, proof)| proof.word().to_owned()),
        tls: arrival.tls.map(tls),
        address: Some(arrival.address.to_string()),
        since: arrival.since.elapsed().as_secs(),
        stanzas: arrival.stanzas(),
        is_held: arrival.is_held(),
        ..empty(node, "from", "open")
    }
}

fn tls((version, cipher): (&'static str, &'static str)) -> String {
    format!("{version} {cipher}")
}

/// An error and its causes.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
