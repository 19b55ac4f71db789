//! Questions between nodes: each has an answer, or an end in time. They are
//! not under custody; whoever asks must be able to live without an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use crate::cluster::events::Event;
use crate::cluster::handle::Cluster;
use crate::cluster::members::Members;
use crate::cluster::news::Input;
use crate::cluster::node::NodeId;

/// The channels of words that questions and answers use.
const QUESTION: u8 = 0;
const ANSWER: u8 = 1;

/// The longest question or answer, in bytes: a frame has room for more.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Questions that may wait for answers; a further one fails as if nobody
/// could be reached.
const WAITING_MAX: usize = 65_536;

/// How long an answer waits for a way to its asker: a node that sees us may not
/// be seen by us yet. A guess: many round trips.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Answers that may wait so. One more is not given, and its asker is late.
const ANSWERS_MAX: usize = 4_096;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no way to the node.
    #[error("the node cannot be reached")]
    Unreachable,
    /// It did not answer in time. It may have done what was asked.
    #[error("the node did not answer in time")]
    Late,
    /// More than [`BODY_BYTES_MAX`].
    #[error("the question is too long")]
    TooLong,
}

/// Another node's question. Dropped without an answer, its asker waits until
/// it is late.
#[derive(Debug)]
pub struct Question {
    /// Who asks.
    pub from: NodeId,
    /// What it is about; the rooms above have numbered them.
    pub topic: u8,
    /// The question.
    pub body: Bytes,
    number: u64,
    cluster: Arc<Cluster>,
}

#[derive(Serialize, Deserialize)]
struct Words {
    number: u64,
    topic: u8,
    body: Bytes,
}

/// Our questions that wait.
#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: Mutex<Waiting>,
    /// Answers that found no way yet.
    unsaid: Mutex<Vec<Unsaid>>,
}

#[derive(Debug)]
struct Unsaid {
    to: NodeId,
    body: Bytes,
    since: Instant,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, (NodeId, oneshot::Sender<Bytes>)>,
}

impl Asks {
    fn begin(&self, to: NodeId) -> Option<(u64, oneshot::Receiver<Bytes>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.answers.len() >= WAITING_MAX {
            return None;
        }
        waiting.next += 1;
        let number = waiting.next;
        let (answer, answered) = oneshot::channel();
        waiting.answers.insert(number, (to, answer));
        Some((number, answered))
    }

    fn end(&self, number: u64) -> Option<oneshot::Sender<Bytes>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.answers.remove(&number).map(|(_, answer)| answer)
    }

    /// Whoever asked a node that is gone need not wait.
    pub(super) fn only(&self, members: &Members) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.answers.retain(|_, (to, _)| members.contains(*to));
    }

    /// A word that found no way.
    pub(super) fn unsaid(&self, to: NodeId, channel: u8, body: Bytes) {
        if channel == ANSWER {
            let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
            if unsaid.len() < ANSWERS_MAX {
                unsaid.push(Unsaid { to, body, since: Instant::now() });
            }
        } else if let Ok(words) = postcard::from_bytes::<Words>(&body) {
            // the asker sees that its answer will not come
            drop(self.end(words.number));
        }
    }

    /// The answers that find a way by now; those that waited too long are
    /// forgotten.
    pub(super) fn said_late(&self, has_way: impl Fn(NodeId) -> bool) -> Vec<Input> {
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.retain(|one| one.since.elapsed() < ANSWER_TIME_MAX);
        let word = |Unsaid { to, body, .. }| Input::Word { to, channel: ANSWER, body };
        unsaid.extract_if(.., |one| has_way(one.to)).map(word).collect()
    }
}

/// A word came in.
pub(super) fn heard(cluster: &Arc<Cluster>, from: NodeId, channel: u8, body: &[u8]) {
    let Ok(Words { number, topic, body }) = postcard::from_bytes(body) else {
        return warn!(%from, channel, "a word that cannot be read was thrown away");
    };
    match channel {
        QUESTION => {
            let cluster = Arc::clone(cluster);
            let question = Question { from, topic, body, number, cluster };
            question.cluster.clone().tell(Event::Question(question));
        }
        ANSWER => {
            if let Some(asker) = cluster.asks.end(number) {
                // it may have stopped waiting just now
                let _ = asker.send(body);
            }
        }
        _ => warn!(%from, channel, "a word for nobody was thrown away"),
    }
}

pub(super) async fn ask(
    cluster: &Arc<Cluster>,
    to: NodeId,
    topic: u8,
    body: Bytes,
    patience: Duration,
) -> Result<Bytes, AskError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(AskError::TooLong);
    }
    let (number, answered) = cluster.asks.begin(to).ok_or(AskError::Unreachable)?;
    if to == cluster.me().id {
        let own = Arc::clone(cluster);
        let question = Question { from: to, topic, body, number, cluster: own };
        cluster.tell(Event::Question(question));
    } else {
        cluster.input(Input::Word { to, channel: QUESTION, body: written(number, topic, body) });
    }
    let answer = timeout(patience, answered).await;
    cluster.asks.end(number);
    match answer {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(AskError::Unreachable),
        Err(_) => Err(AskError::Late),
    }
}

impl Question {
    /// Answers. A body above [`BODY_BYTES_MAX`] is not sent, and said in the
    /// log: the asker is late then.
    pub fn answer(self, body: Bytes) {
        let Self { from, topic, number, cluster, .. } = self;
        if body.len() > BODY_BYTES_MAX {
            return warn!(topic, bytes = body.len(), "an answer is too long to be sent");
        }
        if from == cluster.me().id {
            if let Some(asker) = cluster.asks.end(number) {
                let _ = asker.send(body);
            }
            return;
        }
        let body = written(number, topic, body);
        cluster.input(Input::Word { to: from, channel: ANSWER, body });
    }
}

pub(super) fn written(number: u64, topic: u8, body: Bytes) -> Bytes {
    let words = Words { number, topic, body };
    postcard::to_stdvec(&words).expect("words have only fields that postcard knows").into()
}
