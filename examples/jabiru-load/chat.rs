//! Two and two write to each other: in a closed loop, where every message is
//! answered, or at a rate that does not wait for the server.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use hdrhistogram::Histogram;
use jabiru::net::socket::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, LocalSet, yield_now};

use crate::account::Received;
use crate::client::{Client, Dialer};
use crate::machine::{own, usage};
use crate::report::Report;
use crate::sessions::log_all_in;
use crate::{Target, scan};

/// How long what is under way at the end may take to come.
const LAST_TIME_MAX: Duration = Duration::from_secs(10);

/// How long all rest when there is nothing to write at a rate: what is measured
/// is as exact as this, and the kernel's timer, which takes as much again.
const NAP: Duration = Duration::from_micros(20);

/// Sessions of one account among those that say nothing.
const IDLE_RESOURCES: usize = 20;

/// How it is measured.
#[derive(Args, Clone, Debug)]
pub struct Chat {
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds before that.
    #[arg(long, default_value_t = 2)]
    pub warm: u64,
    /// Messages under way of each two, in a closed loop.
    #[arg(long, default_value_t = 1)]
    pub window: usize,
    /// Characters of the body. With 300, a message is about as long as those
    /// of today's clients, 470 bytes.
    #[arg(long, default_value_t = 300)]
    pub body: usize,
    /// Sessions beside, of the accounts behind those who chat, 20 of each: they
    /// say nothing.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// Against `jabiru-load relay`.
    #[arg(long)]
    pub bare: bool,
}

/// What all clients share.
pub struct Shared {
    pub began: Instant,
    pub is_measured: Cell<bool>,
    pub is_over: Cell<bool>,
    pub received: Cell<u64>,
    pub bounced: Cell<u64>,
    sent: Cell<u64>,
    arrived: Cell<u64>,
    doubled: Cell<u64>,
    overtaken: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

/// One who writes to another and gets answers.
pub struct Talker {
    pub socket: Socket,
    pub buffer: bytes::BytesMut,
    pub to: String,
    pub body: Rc<str>,
    pub shared: Rc<Shared>,
    pub sent: u64,
    pub received: Received,
    out: String,
}

impl Shared {
    pub fn new() -> anyhow::Result<Rc<Shared>> {
        Ok(Rc::new(Shared {
            began: Instant::now(),
            is_measured: Cell::new(false),
            is_over: Cell::new(false),
            received: Cell::new(0),
            bounced: Cell::new(0),
            sent: Cell::new(0),
            arrived: Cell::new(0),
            doubled: Cell::new(0),
            overtaken: Cell::new(0),
            // up to a minute, in microseconds
            latency: RefCell::new(Histogram::new_with_max(60_000_000, 3)?),
        }))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn note(&self, received: &mut Received, id: &str) {
        let Some((number, time)) = id.split_once('.') else { return };
        let (Ok(number), Ok(time)) = (number.parse(), time.parse::<u64>()) else { return };
        let before = (received.count, received.doubled, received.overtaken);
        received.note(number);
        add(&self.arrived, received.count - before.0);
        add(&self.doubled, received.doubled - before.1);
        add(&self.overtaken, received.overtaken - before.2);
        if self.is_measured.get() {
            add(&self.received, 1);
            let took = self.micros().saturating_sub(time);
            // longer than a minute counts as a minute
            self.latency.borrow_mut().saturating_record(took);
        }
    }
}

pub fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get() + count);
}

impl Talker {
    pub fn new(client: Client, to: String, body: &Rc<str>, shared: &Rc<Shared>) -> Talker {
        let Client { socket, buffer, .. } = client;
        Talker {
            socket,
            buffer,
            to,
            body: Rc::clone(body),
            shared: Rc::clone(shared),
            sent: 0,
            received: Received::default(),
            out: String::new(),
        }
    }

    /// One message more to write, that was due at this time.
    fn put(&mut self, due: u64) {
        self.sent += 1;
        add(&self.shared.sent, 1);
        let (number, to, body) = (self.sent, &self.to, &self.body);
        // a String takes whatever is written
        let _ = write!(
            self.out,
            "<message type='chat' id='{number}.{due}' to='{to}'><body>{body}</body></message>"
        );
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.socket.write_all(self.out.as_bytes()).await?;
            self.socket.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Takes what has been read; how many messages it was.
    fn take(&mut self) -> u64 {
        let mut count = 0;
        while let Some((seen, end)) = scan::next(&self.buffer) {
            if seen.is("message") && seen.is_error() {
                add(&self.shared.bounced, 1);
            } else if seen.is("message")
                && let Some(id) = seen.attribute("id")
            {
                self.shared.note(&mut self.received, id);
                count += 1;
            }
            let _ = self.buffer.split_to(end);
        }
        count
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(8_192);
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => anyhow::bail!("the server has closed the stream"),
            _ => Ok(()),
        }
    }

    /// Answers every message, until it is over; then only listens.
    pub async fn answer(mut self, first: usize) -> anyhow::Result<()> {
        for _ in 0..first {
            let now = self.shared.micros();
            self.put(now);
        }
        self.write().await?;
        loop {
            self.read().await?;
            let come = self.take();
            if !self.shared.is_over.get() {
                let now = self.shared.micros();
                (0..come).for_each(|_| self.put(now));
                self.write().await?;
            }
        }
    }

    /// Only listens.
    async fn listen(mut self) -> anyhow::Result<()> {
        loop {
            self.read().await?;
            self.take();
        }
    }
}

/// Writes a message every so often, whatever comes back: each talker in turn.
async fn pace(mut talkers: Vec<Talker>, begin: Duration, every: Duration) -> anyhow::Result<()> {
    let Some(shared) = talkers.first().map(|talker| Rc::clone(&talker.shared)) else {
        return Ok(());
    };
    let (mut due, mut turn) = (begin, 0);
    while !shared.is_over.get() {
        if shared.began.elapsed() < due {
            // the runtime's timer would be late by up to a millisecond, and a
            // loop that never sleeps keeps the kernel from its own work
            std::thread::sleep(NAP);
            yield_now().await;
            continue;
        }
        let talker = &mut talkers[turn];
        talker.put(u64::try_from(due.as_micros()).unwrap_or(u64::MAX));
        talker.write().await?;
        due += every;
        turn = (turn + 1) % talkers.len();
    }
    let mut rest = JoinSet::new();
    // for what bounces
    talkers.into_iter().for_each(|talker| drop(rest.spawn_local(talker.listen())));
    match rest.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// All clients of a chat, available; against a relay without a word.
async fn enter(target: &Target, bare: bool) -> anyhow::Result<Vec<Client>> {
    let count = target.users / 2 * 2;
    if !bare {
        let mut clients = log_all_in(target, count).await?;
        for client in &mut clients {
            client.say("<presence/>").await?;
            client.until("presence").await?;
        }
        return Ok(clients);
    }
    let dialer = Dialer::new(target)?;
    let mut clients = Vec::new();
    for number in 0..count {
        let mut tcp = dialer.dial(number, 0).await?;
        tcp.write_all(&(number as u64 / 2).to_be_bytes()).await?;
        let jid = dialer.jid(number);
        clients.push(Client { jid, ..Client::over(Socket::Plain(tcp)) });
    }
    Ok(clients)
}

/// Those who are only there.
async fn enter_idle(target: &Target, count: usize) -> anyhow::Result<Vec<Client>> {
    let first = target.first + target.users;
    let others = Target { first, users: count, resources: IDLE_RESOURCES, ..target.clone() };
    log_all_in(&others, count).await
}

fn body(chat: &Chat) -> Rc<str> {
    "x".repeat(chat.body).into()
}

/// Every message is answered.
pub async fn closed(target: &Target, chat: &Chat) -> anyhow::Result<()> {
    let shared = Shared::new()?;
    let _idle = enter_idle(target, chat.idle).await?;
    let clients = enter(target, chat.bare).await?;
    let jids: Vec<String> = clients.iter().map(|client| client.jid.clone()).collect();
    let mut talkers = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        talkers.push(Talker::new(client, jids[number ^ 1].clone(), &body(chat), &shared));
    }
    let window = chat.window;
    let talks = talkers
        .into_iter()
        .enumerate()
        .map(|(number, talker)| talker.answer(if number % 2 == 0 { window } else { 0 }));
    measure(target, chat, &shared, talks).await
}

/// Messages at a rate.
pub async fn open(target: &Target, chat: &Chat, rate: u64) -> anyhow::Result<()> {
    let shared = Shared::new()?;
    let clients = enter(target, chat.bare).await?;
    let jids: Vec<String> = clients.iter().map(|client| client.jid.clone()).collect();
    let every = Duration::from_secs(1) / u32::try_from(rate.max(1))?;
    let (mut writers, mut talks) = (Vec::new(), Vec::<Talk>::new());
    for (number, client) in clients.into_iter().enumerate() {
        let talker = Talker::new(client, jids[number ^ 1].clone(), &body(chat), &shared);
        match number % 2 {
            0 => writers.push(talker),
            _ => talks.push(Box::pin(talker.listen())),
        }
    }
    talks.push(Box::pin(pace(writers, shared.began.elapsed(), every)));
    measure(target, chat, &shared, talks.into_iter()).await
}

/// What runs until the measurement ends.
type Talk = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// Lets all talk, measures for a while, and waits for what is under way.
pub async fn measure<T>(
    target: &Target,
    chat: &Chat,
    shared: &Rc<Shared>,
    talks: impl Iterator<Item = T>,
) -> anyhow::Result<()>
where
    T: Future<Output = anyhow::Result<()>> + 'static,
{
    let local = LocalSet::new();
    let mut running = JoinSet::new();
    talks.for_each(|talk| drop(running.spawn_local_on(talk, &local)));
    let (seconds, used, spent) = local
        .run_until(async {
            let rest = |time: u64| tokio::time::sleep(Duration::from_secs(time));
            until(&mut running, rest(chat.warm)).await?;
            let (before, own_before) = (usage(&target.pid), own());
            let begin = Instant::now();
            shared.is_measured.set(true);
            until(&mut running, rest(chat.seconds)).await?;
            shared.is_measured.set(false);
            let seconds = begin.elapsed().as_secs_f64();
            let (used, spent) = (usage(&target.pid).cpu - before.cpu, own() - own_before);
            shared.is_over.set(true);
            let last = async {
                while shared.arrived.get() + shared.bounced.get() < shared.sent.get() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // what comes twice comes late
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            let _ = tokio::time::timeout(LAST_TIME_MAX, until(&mut running, last)).await;
            anyhow::Ok((seconds, used, spent))
        })
        .await?;
    tell(target, shared, seconds, used, spent);
    Ok(())
}

/// Waits, unless somebody is sent away.
async fn until(
    running: &mut JoinSet<anyhow::Result<()>>,
    wait: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        () = wait => Ok(()),
        Some(ended) = running.join_next() => {
            ended?.context("a client")?;
            anyhow::bail!("a client has ended");
        }
    }
}

fn tell(target: &Target, shared: &Shared, seconds: f64, used: f64, spent: f64) {
    let messages = shared.received.get();
    let mut report = Report::default();
    report.count("messages", messages);
    report.figure("messages_a_second", messages as f64 / seconds);
    if !target.pid.is_empty() {
        report.figure("cpu_seconds", used);
        report.figure("messages_a_cpu_second", messages as f64 / used.max(0.01));
    }
    report.figure("own_cpu_share", spent / seconds);
    let latency = shared.latency.borrow();
    for (name, quantile) in [
        ("p50_milliseconds", 0.5),
        ("p99_milliseconds", 0.99),
        ("p99_9_milliseconds", 0.999),
        ("worst_milliseconds", 1.0),
    ] {
        report.figure(name, latency.value_at_quantile(quantile) as f64 / 1_000.0);
    }
    let known = shared.arrived.get() + shared.bounced.get();
    report.count("lost", shared.sent.get().saturating_sub(known));
    report.count("bounced", shared.bounced.get());
    report.count("doubled", shared.doubled.get());
    report.count("overtaken", shared.overtaken.get());
    report.tell(target.json);
}
