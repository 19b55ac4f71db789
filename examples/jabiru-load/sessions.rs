//! Sessions: how fast they come, what they weigh, and how they come back.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Target;
use crate::client::{Client, Dialer};
use crate::machine::{own, usage};
use crate::report::Report;

/// How long memory must stay as it is.
const SETTLED: Duration = Duration::from_secs(2);

/// Of the idle sessions, those that only fill what all share.
const FIRST: usize = 20;

/// How long a client waits before it tries again. Real ones wait longer; here
/// the server is to be measured, and not their patience.
const RETURN_PAUSE: Duration = Duration::from_millis(50);

/// How long all may take to come back.
const RETURN_TIME_MAX: Duration = Duration::from_secs(300);

/// Does something for each number, so many at a time, in order.
async fn each<T, F>(
    count: usize,
    at_once: usize,
    what: impl Fn(usize) -> F,
) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_once.max(1)));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let work = what(number);
        tasks.spawn(async move {
            let done = work.await;
            drop(permit);
            (number, done)
        });
    }
    let mut done = Vec::with_capacity(count);
    while let Some(one) = tasks.join_next().await {
        let (number, result) = one?;
        done.push((number, result?));
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// So many sessions.
pub async fn log_all_in(target: &Target, count: usize) -> anyhow::Result<Vec<Client>> {
    all_in(&Dialer::new(target)?, count).await
}

async fn all_in(dialer: &Dialer, count: usize) -> anyhow::Result<Vec<Client>> {
    each(count, dialer.target.at_once, |number| {
        let dialer = dialer.clone();
        async move { dialer.login(number).await }
    })
    .await
}

/// Makes all accounts.
pub async fn register(target: &Target) -> anyhow::Result<()> {
    let dialer = Dialer::new(target)?;
    let resources = target.resources.max(1);
    let begin = Instant::now();
    let accounts = target.users.div_ceil(resources);
    each(accounts, target.at_once, |number| {
        let dialer = dialer.clone();
        async move { dialer.register(number * resources).await }
    })
    .await?;
    let mut report = Report::default();
    report.count("accounts", accounts as u64);
    report.figure("accounts_a_second", accounts as f64 / begin.elapsed().as_secs_f64());
    report.tell(target.json);
    Ok(())
}

/// All log in, and out again.
pub async fn login(target: &Target, rounds: usize) -> anyhow::Result<()> {
    let dialer = Dialer::new(target)?;
    let (before, own_before, begin) = (usage(&target.pid), own(), Instant::now());
    let mut latency: Histogram<u64> = Histogram::new_with_max(60_000_000, 3)?;
    for _ in 0..rounds {
        let times = each(target.users, target.at_once, |number| {
            let dialer = dialer.clone();
            async move {
                let begin = Instant::now();
                let mut client = dialer.login(number).await?;
                let took = begin.elapsed();
                client.say("</stream:stream>").await?;
                Ok(took)
            }
        })
        .await?;
        for took in times {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let logins = (target.users * rounds) as f64;
    let mut report = Report::default();
    report.count("logins", logins as u64);
    report.figure("logins_a_second", logins / seconds);
    if !target.pid.is_empty() {
        let used = usage(&target.pid).cpu - before.cpu;
        report.figure("logins_a_cpu_second", logins / used.max(0.01));
    }
    report.figure("own_cpu_share", (own() - own_before) / seconds);
    report.figure("p50_milliseconds", latency.value_at_quantile(0.5) as f64 / 1_000.0);
    report.figure("p99_milliseconds", latency.value_at_quantile(0.99) as f64 / 1_000.0);
    report.tell(target.json);
    Ok(())
}

/// All log in and are silent.
pub async fn idle(target: &Target) -> anyhow::Result<()> {
    let dialer = Dialer::new(target)?;
    let enter = |from: usize, count: usize| {
        let dialer = dialer.clone();
        each(count, target.at_once, move |number| {
            let dialer = dialer.clone();
            async move {
                let mut client = dialer.login(from + number).await?;
                client.say("<presence/>").await?;
                client.until("presence").await?;
                Ok(client)
            }
        })
    };
    let first = target.users / FIRST;
    let _first = enter(0, first).await?;
    let before = settled(target).await;
    let begin = Instant::now();
    let others = enter(first, target.users - first).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = settled(target).await;
    let count = others.len() as f64;
    let mut report = Report::default();
    report.count("sessions", target.users as u64);
    report.figure("came_a_second", count / seconds);
    report.figure("bytes_each", after.saturating_sub(before) as f64 / count);
    report.count("bytes_all", after);
    report.tell(target.json);
    Ok(())
}

/// The server's memory once it does not change much any more.
async fn settled(target: &Target) -> u64 {
    let mut last = usage(&target.pid).memory;
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = usage(&target.pid).memory;
        if now.abs_diff(last) < last / 200 {
            return now;
        }
        last = now;
    }
}

/// All are there; a server is killed; those who were on it come back.
pub async fn storm(target: &Target, kill: u32) -> anyhow::Result<()> {
    let dialer = Dialer::new(target)?;
    let clients = all_in(&dialer, target.users).await?;
    let ended = Command::new("kill").args(["-9", &kill.to_string()]).status()?;
    anyhow::ensure!(ended.success(), "process {kill} cannot be killed");
    let begin = Instant::now();
    let room = Arc::new(Semaphore::new(target.at_once.max(1)));
    let mut tasks = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let (dialer, room) = (dialer.clone(), Arc::clone(&room));
        tasks.spawn(async move {
            // whoever is still served is not lost
            let is_lost = async { while client.read().await.is_ok() {} };
            if tokio::time::timeout(Duration::from_secs(2), is_lost).await.is_err() {
                return Ok((client, None));
            }
            for failed in 1.. {
                let _permit = room.acquire().await?;
                match dialer.login_after(number, failed).await {
                    Ok(client) => return Ok((client, Some(Instant::now()))),
                    Err(error) if begin.elapsed() > RETURN_TIME_MAX => return Err(error),
                    Err(_) => tokio::time::sleep(RETURN_PAUSE).await,
                }
            }
            anyhow::bail!("nobody tries for ever")
        });
    }
    let (mut back, mut last, mut kept) = (0u64, begin, Vec::new());
    while let Some(one) = tasks.join_next().await {
        let (client, time) = one?.context("a client does not come back")?;
        kept.push(client);
        if let Some(time) = time {
            back += 1;
            last = last.max(time);
        }
    }
    let mut report = Report::default();
    report.count("came_back", back);
    report.figure("seconds", (last - begin).as_secs_f64());
    report.tell(target.json);
    Ok(())
}
