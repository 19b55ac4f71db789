//! Presence: one account whose changes all others see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Target;
use crate::client::Client;
use crate::machine::{own, usage};
use crate::report::Report;
use crate::sessions::log_all_in;

/// Longer than a change takes to be seen by all.
const SEEN_TIME_MAX: Duration = Duration::from_secs(60);

/// Who may wait for an answer at a time: a server keeps so many requests of one
/// account and no more.
const REQUESTS_MAX: usize = 50;

/// The first account changes its presence so often; the others are contacts.
pub async fn presence(target: &Target, changes: usize) -> anyhow::Result<()> {
    let mut clients = log_all_in(target, target.users).await?;
    let mut star = clients.remove(0);
    let count = clients.len();
    star.say("<presence/>").await?;
    star.until("presence").await?;
    let name = star.jid.split('/').next().unwrap_or_default().to_owned();
    let mut contacts = JoinSet::new();
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    for mut client in clients {
        let (name, places) = (name.clone(), Arc::clone(&places));
        contacts.spawn(async move {
            let _place = places.acquire().await?;
            client.say(&format!("<presence/><presence type='subscribe' to='{name}'/>")).await?;
            sees(&mut client, &name, "").await?;
            Ok(client)
        });
    }
    let clients: Vec<Client> = befriend(&mut star, contacts).await?;
    let (before, own_before, begin) = (usage(&target.pid), own(), Instant::now());
    let mut watching = JoinSet::new();
    for mut client in clients {
        let name = name.clone();
        watching.spawn(async move {
            for change in 0..changes {
                sees(&mut client, &name, &format!("<status>{change}<")).await?;
            }
            anyhow::Ok(client)
        });
    }
    for change in 0..changes {
        star.say(&format!("<presence><status>{change}</status></presence>")).await?;
        star.until("presence").await?;
    }
    let all = async {
        while let Some(one) = watching.join_next().await {
            drop(one??);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SEEN_TIME_MAX, all).await.context("not all changes were seen")??;
    let seconds = begin.elapsed().as_secs_f64();
    let seen = (changes * count) as f64;
    let mut report = Report::default();
    report.count("contacts", count as u64);
    report.figure("seen_a_second", seen / seconds);
    if !target.pid.is_empty() {
        let used = usage(&target.pid).cpu - before.cpu;
        report.figure("seen_a_cpu_second", seen / used.max(0.01));
    }
    report.figure("own_cpu_share", (own() - own_before) / seconds);
    report.tell(target.json);
    Ok(())
}

/// Lets all who ask see the presence, until all do.
async fn befriend(
    star: &mut Client,
    mut contacts: JoinSet<anyhow::Result<Client>>,
) -> anyhow::Result<Vec<Client>> {
    let mut friends = Vec::new();
    loop {
        tokio::select! {
            asked = star.until("presence") => {
                let asked = asked?;
                let text = asked.as_bytes();
                let seen = crate::scan::next(text).map(|(seen, _)| seen);
                let Some(seen) = seen.filter(|seen| seen.attribute("type") == Some("subscribe"))
                else { continue };
                let from = seen.attribute("from").unwrap_or_default();
                star.say(&format!("<presence type='subscribed' to='{from}'/>")).await?;
            }
            friend = contacts.join_next() => match friend {
                Some(friend) => friends.push(friend??),
                None => return Ok(friends),
            },
        }
    }
}

/// Waits for presence of this account that has these words in it.
async fn sees(client: &mut Client, name: &str, words: &str) -> anyhow::Result<()> {
    let search = async {
        loop {
            let presence = client.until("presence").await?;
            let is_it = presence.contains(&format!("from='{name}/"))
                || presence.contains(&format!("from=\"{name}/"));
            if is_it && presence.contains(words) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(SEEN_TIME_MAX, search).await.context("a presence is not seen")?
}
