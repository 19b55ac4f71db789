//! Gives the core its clock, its cluster and its store, and carries out what
//! it wishes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::cluster::asks::Question;
use crate::cluster::durable::answers;
use crate::cluster::durable::change::{ChangeError, Made};
use crate::cluster::durable::clock::At;
use crate::cluster::durable::news::{Input, Output, Say};
use crate::cluster::durable::words::topic;
use crate::cluster::durable::{Durable, Table, owner_of};
use crate::cluster::events::Event;
use crate::cluster::node::NodeId;

/// How often the core is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Milliseconds since 1970.
pub(super) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durable {
    /// Compares with whoever joins, and with everybody every minute, for ever.
    pub async fn keep_equal(self: Arc<Self>) {
        let mut members = self.cluster.watch_members();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let seen = Arc::clone(&members.borrow_and_update());
            self.input(Input::Members(seen));
            loop {
                tokio::select! {
                    changed = members.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    _ = ticks.tick() => self.input(Input::Tick),
                }
            }
        }
    }

    /// Answers another node's question, if it is about us.
    pub fn answer(self: &Arc<Self>, question: Question) -> Option<Question> {
        let (from, topic) = (question.from, question.topic);
        if answers::is_read(topic) {
            let durable = Arc::clone(self);
            // whole buckets are read: not among those who must not wait
            tokio::task::spawn_blocking(move || durable.read_for(question));
            return None;
        }
        if !(topic::CHANGE..=topic::COMPARE).contains(&topic) {
            return Some(question);
        }
        let body = question.body.clone();
        let number = self.number();
        lock(&self.questions).insert(number, question);
        self.input(Input::Question { number, from, topic, body });
        None
    }

    fn read_for(&self, question: Question) {
        let read = || {
            let snapshot = self.store.snapshot()?;
            answers::answer(&*snapshot, question.topic, &question.body)
        };
        match read() {
            Ok(Some(body)) => question.answer(body),
            Ok(None) => warn!(topic = question.topic, "a question that cannot be read"),
            Err(error) => warn!(%error, "rows cannot be read for another node"),
        }
    }

    /// Somebody waits for the end of a change.
    pub(super) fn wait_for(&self, answer: oneshot::Sender<Result<Made, ChangeError>>) -> u64 {
        let number = self.number();
        lock(&self.waiting).insert(number, answer);
        number
    }

    /// Tells the core, and carries out what it wishes.
    pub(super) fn input(&self, input: Input) {
        let mut out = Vec::new();
        {
            let mut core = lock(&self.core);
            let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
            core.handle(self.at(), &sums, input, &mut out);
        }
        for output in out {
            self.carry_out(output);
        }
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::Ask { ask, to, topic, body, patience } => {
                if let Some(durable) = self.own.upgrade() {
                    self.runtime.spawn(durable.ask(ask, to, topic, body, patience));
                }
            }
            Output::Reply { number, body } => {
                if let Some(question) = lock(&self.questions).remove(&number) {
                    question.answer(body);
                }
            }
            Output::Drop { number } => drop(lock(&self.questions).remove(&number)),
            Output::Write { job, intent } => {
                if let Err(error) = self.writer.write(job, intent) {
                    self.input(Input::Written(vec![(job, Err(error))]));
                }
            }
            Output::Done { number, answer } => {
                if let Some(waiting) = lock(&self.waiting).remove(&number) {
                    // whoever asked may have gone; the change is made all the same
                    let _ = waiting.send(answer);
                }
            }
            Output::Kept(keys) => self.tell_kept(&keys),
            Output::Say(say) => self.say(say),
        }
    }

    async fn ask(self: Arc<Self>, ask: u64, to: NodeId, topic: u8, body: Bytes, time: Duration) {
        let answer = self.cluster.ask(to, topic, body, time).await;
        self.input(Input::Answer { ask, answer });
    }

    /// Tells the rooms above for whom messages are stored that other nodes had
    /// stored.
    fn tell_kept(&self, keys: &[Vec<u8>]) {
        let keys = keys.iter().filter_map(|key| key.split_first());
        let stored = keys.filter(|(prefix, _)| **prefix == Table::Offline.prefix());
        let owner = |(_, key)| String::from_utf8_lossy(owner_of(key)).into();
        let owners: BTreeSet<Box<str>> = stored.map(owner).collect();
        if !owners.is_empty() {
            self.cluster.tell(Event::Stored(owners.into_iter().collect()));
        }
    }

    fn say(&self, say: Say) {
        let members = self.cluster.members();
        let name = |id: NodeId| match members.get(id) {
            Some(member) => member.node.name.to_string(),
            None => id.to_string(),
        };
        match say {
            Say::Agreed => info!("this node has the durable rows that the others have"),
            Say::Fetched { from, rows } => {
                info!(node = name(from), rows, "rows that were missed have been fetched");
            }
            Say::GaveUp { from, rows } => warn!(
                node = name(from),
                rows,
                "this node was away for longer than tombstones are kept: it has taken a fresh copy, and given up rows of its own that were removed meanwhile"
            ),
            Say::Ahead { from, rows } => warn!(
                node = name(from),
                rows, "rows with stamps from the future were refused: is a clock wrong?"
            ),
            Say::Restamped { by, rows } => warn!(
                node = name(by),
                rows, "rows of ours had stamps from far in the future: they get others"
            ),
            Say::Lost { others } => {
                warn!(others, "a row on our disk is damaged: other nodes are asked for it");
            }
            Say::NotKept(error) => warn!(%error, "rows of another node cannot be kept"),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn at(&self) -> At {
        let steady = self.started.elapsed().as_millis();
        At { steady: u64::try_from(steady).unwrap_or(u64::MAX), wall: wall() }
    }
}
