//! Draining: new clients go to other nodes, those of this node stay until a
//! deadline, if there is one, and are then asked to move, a few at a time.
//!
//! It moves clients to others; where there are no others that serve, they stay
//! and new ones are let in. So no number of drains makes the service go away.
//! It is not remembered over a restart: whoever starts a node wants it to serve.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tracing::info;

use crate::cluster::asks::Question;
use crate::cluster::handle::Cluster;
use crate::cluster::members::Members;
use crate::cluster::node::{NodeId, NodeState};
use crate::session_manager::sessions::Sessions;
use crate::xmpp::error::{StreamCondition, StreamError};

/// The topic of our question to other nodes: where do your clients reach you?
pub const TOPIC: u8 = 15;

/// How long new clients are still let in: a balancer that looks each second,
/// and believes what it has seen twice, sends none after that.
const GRACE: Duration = Duration::from_secs(5);

/// How often others are asked where their clients reach them.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long they may take to say so.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// How long it may take until we know that another node has begun to serve: it
/// says so within a heartbeat. A guess.
const NEWS_TIME_MAX: Duration = Duration::from_secs(1);

/// So many are asked to move at a time: 500 a second, who log in elsewhere
/// then. A guess: a node of two cores takes more (`benches/storm`).
const MOVED_TOGETHER: usize = 50;
const MOVE_INTERVAL: Duration = Duration::from_millis(100);

/// Whether this node drains, and what it knows of the others.
#[derive(Debug)]
pub struct Draining {
    cluster: Arc<Cluster>,
    sessions: Arc<Sessions>,
    /// Where clients reach this node.
    place: Bytes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    /// This node goes: nothing of it is changed any more.
    leaves: bool,
    until: Option<SystemTime>,
    work: Option<AbortHandle>,
    /// Where clients reach others that serve, the next one first.
    places: Vec<(NodeId, String)>,
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// New clients go elsewhere; so many sessions stay.
    Begun {
        /// Sessions of this node.
        stay: usize,
    },
    /// The deadline is over, and all were asked to move.
    Moved {
        /// How many.
        moved: usize,
    },
    /// No other node serves: whoever is here stays, whoever comes is let in.
    Alone {
        /// Sessions of this node.
        stay: usize,
    },
    /// Another command took its place before the deadline.
    Replaced,
}

/// Why it cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unable {
    /// It does not serve yet.
    #[error("it has only just come, and does not serve yet")]
    Joins,
    /// It goes.
    #[error("it stops already")]
    Leaves,
}

impl Draining {
    /// A node that does not drain. `place`: where its clients reach it, past
    /// all balancers.
    pub fn new(cluster: Arc<Cluster>, sessions: Arc<Sessions>, place: Option<&str>) -> Self {
        let place = place.map(|place| Bytes::copy_from_slice(place.as_bytes()));
        Self { cluster, sessions, place: place.unwrap_or_default(), state: Mutex::default() }
    }

    /// Begins, or begins anew with another deadline, and waits until it is
    /// done: at once, or when the deadline is over and the last one was asked
    /// to move.
    ///
    /// # Errors
    /// [`Unable`].
    pub async fn drain(self: &Arc<Self>, deadline: Option<Duration>) -> Result<Drained, Unable> {
        let (done, waiting) = oneshot::channel();
        {
            let mut state = self.state();
            self.may_change(&state)?;
            let now = Instant::now();
            let at = deadline.map(|deadline| now + deadline);
            state.since.get_or_insert(now);
            state.until = deadline.map(|deadline| SystemTime::now() + deadline);
            let work = tokio::spawn(Arc::clone(self).work(at, done)).abort_handle();
            if let Some(before) = state.work.replace(work) {
                before.abort();
            }
            self.cluster.set_state(NodeState::Draining);
            info!(seconds = deadline.map(|deadline| deadline.as_secs()), "draining");
        }
        let stay = self.sessions.count();
        match deadline {
            None if self.others_come().await => Ok(Drained::Begun { stay }),
            None => Ok(Drained::Alone { stay }),
            // dropped unsaid, the work was cut off
            Some(_) => Ok(waiting.await.unwrap_or(Drained::Replaced)),
        }
    }

    /// Serves again; `false`: it did not drain.
    ///
    /// # Errors
    /// [`Unable`].
    pub fn undrain(&self) -> Result<bool, Unable> {
        let mut state = self.state();
        self.may_change(&state)?;
        let before = std::mem::take(&mut *state);
        if let Some(work) = before.work {
            work.abort();
            self.cluster.set_state(NodeState::Serving);
            info!("serving again");
        }
        Ok(before.since.is_some())
    }

    /// This node goes: others know it from now on.
    pub fn leave(&self) {
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, State { leaves: true, ..State::default() });
        if let Some(work) = before.work {
            work.abort();
        }
        self.cluster.set_state(NodeState::Leaving);
    }

    /// When those who are left are asked to move.
    pub fn until(&self) -> Option<SystemTime> {
        self.state().until
    }

    /// What a new client hears; `None`: it is let in.
    pub fn turned_away(&self) -> Option<StreamError> {
        let since = self.state().since?;
        (since.elapsed() >= GRACE && self.others_serve()).then(|| self.elsewhere())
    }

    /// What clients hear when this process stops.
    pub fn stopped(&self) -> StreamError {
        let members = self.cluster.members();
        let serves = |state| matches!(state, NodeState::Serving | NodeState::Draining);
        match members.others().any(|member| serves(member.state)) {
            true => StreamError::new(StreamCondition::Reset, "this node stops; connect again"),
            false => StreamError::new(StreamCondition::SystemShutdown, "this node stops"),
        }
    }

    /// Answers another node's question, if it is about us.
    pub fn answer(&self, question: Question) -> Option<Question> {
        match question.topic {
            TOPIC => question.answer(self.place.clone()),
            _ => return Some(question),
        }
        None
    }

    /// Looks where the others are, and moves whoever is here when `at` is over.
    async fn work(self: Arc<Self>, at: Option<Instant>, done: oneshot::Sender<Drained>) {
        let mut done = Some(done);
        self.look().await;
        loop {
            let next = Instant::now() + LOOK_INTERVAL;
            match at.filter(|at| *at <= next) {
                // before the first time; after it, whoever came meanwhile
                Some(at) if done.is_some() => sleep_until(at).await,
                _ => sleep_until(next).await,
            }
            self.look().await;
            if at.is_none_or(|at| at > Instant::now()) {
                continue;
            }
            let drained = self.move_all().await;
            if let Some(done) = done.take() {
                info!(?drained, "the deadline of the drain is over");
                // whoever asked may have gone
                let _ = done.send(drained);
            }
        }
    }

    async fn move_all(&self) -> Drained {
        let mut moved = 0;
        let mut turn = interval(MOVE_INTERVAL);
        loop {
            turn.tick().await;
            if !self.others_come().await {
                return Drained::Alone { stay: self.sessions.count() };
            }
            let some = self.sessions.some_here(MOVED_TOGETHER);
            if some.is_empty() {
                return Drained::Moved { moved };
            }
            for session in &some {
                self.sessions.move_away(session, &self.elsewhere());
            }
            moved += some.len();
        }
    }

    /// To a node that has said where it is, to each in turn; else anywhere.
    fn elsewhere(&self) -> StreamError {
        let members = self.cluster.members();
        let serves =
            |id: NodeId| members.get(id).is_some_and(|member| member.state == NodeState::Serving);
        let mut state = self.state();
        match state.places.iter().position(|(id, _)| serves(*id)) {
            Some(at) => {
                let place = state.places.remove(at);
                let error = StreamError::see_other_host(&place.1);
                state.places.push(place);
                error
            }
            None => StreamError::new(StreamCondition::Reset, "this node drains; connect again"),
        }
    }

    /// Asks those that serve where their clients reach them.
    async fn look(&self) {
        let mut asks = JoinSet::new();
        let members = self.cluster.members();
        let serving = members.others().filter(|member| member.state == NodeState::Serving);
        for id in serving.map(|member| member.node.id) {
            let cluster = Arc::clone(&self.cluster);
            asks.spawn(async move {
                let said = cluster.ask(id, TOPIC, Bytes::new(), ANSWER_TIME_MAX).await.ok()?;
                let place = std::str::from_utf8(&said).ok()?.to_owned();
                (!place.is_empty()).then_some((id, place))
            });
        }
        let mut places = Vec::new();
        while let Some(said) = asks.join_next().await {
            places.extend(said.ok().flatten());
        }
        self.state().places = places;
    }

    fn others_serve(&self) -> bool {
        serve(&self.cluster.members())
    }

    /// Whether another node serves, or says so within a moment.
    async fn others_come(&self) -> bool {
        let mut members = self.cluster.watch_members();
        timeout(NEWS_TIME_MAX, members.wait_for(|members| serve(members))).await.is_ok()
    }

    fn may_change(&self, state: &State) -> Result<(), Unable> {
        if state.leaves {
            return Err(Unable::Leaves);
        }
        let members = self.cluster.members();
        match members.get(self.cluster.me().id).map(|me| me.state) {
            Some(NodeState::Serving | NodeState::Draining) => Ok(()),
            Some(NodeState::Leaving) => Err(Unable::Leaves),
            Some(NodeState::Joining) | None => Err(Unable::Joins),
        }
    }

    /// The lock is held for moves only, which leave no half of it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another node lets clients in.
fn serve(members: &Members) -> bool {
    members.others().any(|member| member.state == NodeState::Serving)
}
