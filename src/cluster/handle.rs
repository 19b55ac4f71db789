//! The cluster as the rooms above see it: tables to read, deliveries to hand
//! over, questions to other nodes, and events to fetch.
//!
//! One mutex holds the core and the lines that its frames go out by, so that
//! what the core wishes is carried out in the order in which it wished it.
//! Nothing waits inside: a line that is full is closed, and custody sends
//! again. What runs on sockets is in `driver`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::cluster::asks::{self, Asks};
use crate::cluster::core::Core;
use crate::cluster::events::{Event, Events, Gate};
use crate::cluster::frame::Frame;
use crate::cluster::members::Members;
use crate::cluster::moment::Moment;
use crate::cluster::news::{Dialed, Input, Output};
use crate::cluster::node::{LinkId, Node, NodeId, NodeState, Peer};
use crate::cluster::receipt::Receipt;
use crate::cluster::rows::SoftRow;
use crate::cluster::settings::{Counts, Settings};
use crate::cluster::tables::Tables;
use crate::cluster::view::PeerView;

/// Frames that may wait for one connection. The core keeps at most half as
/// many letters on their way to a peer. Full: the connection is closed, and
/// what was not received is sent by the next.
pub(super) const FRAMES_MAX: usize = 16_384;

/// The cluster, for whoever is in it.
pub struct Cluster {
    me: Node,
    address: SocketAddr,
    tables: Arc<Tables>,
    started: Instant,
    state: Mutex<State>,
    members: watch::Sender<Arc<Members>>,
    gate: Gate,
    /// Letters that the rooms above have taken over since the last flush.
    pub(super) taken: Mutex<Vec<(NodeId, u64)>>,
    pub(super) flush: Notify,
    pub(super) dials: mpsc::UnboundedSender<(NodeId, Option<SocketAddr>)>,
    pub(super) asks: Asks,
}

struct State {
    core: Core,
    lines: HashMap<LinkId, Line>,
    addresses: HashMap<NodeId, SocketAddr>,
    next_link: u64,
    out: Vec<Output>,
}

/// The way out to one connection.
pub(super) struct Line {
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) reader: AbortHandle,
    pub(super) writer: AbortHandle,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(super) fn new(
        me: Node,
        address: SocketAddr,
        settings: Settings,
        dials: mpsc::UnboundedSender<(NodeId, Option<SocketAddr>)>,
    ) -> (Arc<Self>, Events) {
        let tables = Arc::new(Tables::new(rand::random()));
        let core = Core::new(me.clone(), settings, Arc::clone(&tables), rand::random());
        let (members, _) = watch::channel(Arc::clone(core.members()));
        let (gate, events) = Gate::new();
        let state = State {
            core,
            lines: HashMap::new(),
            addresses: HashMap::new(),
            next_link: 1,
            out: Vec::new(),
        };
        let cluster = Self {
            me,
            address,
            tables,
            started: Instant::now(),
            state: Mutex::new(state),
            members,
            gate,
            taken: Mutex::default(),
            flush: Notify::new(),
            dials,
            asks: Asks::default(),
        };
        (Arc::new(cluster), events)
    }

    /// Who we are.
    pub fn me(&self) -> &Node {
        &self.me
    }

    /// Where other nodes find us.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The tables that all nodes keep equal.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The nodes that are visible now.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.borrow())
    }

    /// The nodes that are visible, to wait for a change.
    pub fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.subscribe()
    }

    /// What is known of all other nodes, visible or not.
    pub fn peers(&self) -> Vec<PeerView> {
        let state = lock(&self.state);
        let address = |id: NodeId| state.addresses.get(&id).copied();
        PeerView::all(&state.core, self.now(), address)
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        *lock(&self.state).core.counts()
    }

    /// Deliveries of ours that no other node has taken yet.
    pub fn undelivered(&self) -> usize {
        lock(&self.state).core.undelivered()
    }

    /// How many changes our own rows have seen.
    pub fn version(&self) -> u64 {
        lock(&self.state).core.version()
    }

    /// Makes or changes one of our own rows. All nodes have it within
    /// milliseconds.
    pub fn put(self: &Arc<Self>, number: u64, row: SoftRow) {
        self.input(Input::Put { number, row });
        self.flush.notify_one();
    }

    /// Removes one of our own rows.
    pub fn remove(self: &Arc<Self>, number: u64) {
        self.input(Input::Remove { number });
        self.flush.notify_one();
    }

    /// Delivers to another node, under custody: it arrives, or comes back as
    /// [`Event::Returned`].
    pub fn deliver(self: &Arc<Self>, to: NodeId, body: Bytes) {
        self.input(Input::Deliver { to, body });
        self.flush.notify_one();
    }

    /// Says what we are up to.
    pub fn set_state(self: &Arc<Self>, state: NodeState) {
        self.input(Input::State(state));
        self.flush.notify_one();
    }

    /// Says goodbye: the others hide us now and take back what we have not
    /// acknowledged. Lines end when they have written what waits.
    pub(super) fn say_goodbye(self: &Arc<Self>) {
        self.input(Input::Leave);
        lock(&self.state).lines.clear();
    }

    /// Tells the core.
    pub(super) fn input(self: &Arc<Self>, input: Input) {
        self.inputs([input]);
    }

    pub(super) fn inputs(self: &Arc<Self>, inputs: impl IntoIterator<Item = Input>) {
        let mut state = lock(&self.state);
        for input in inputs {
            self.handle(&mut state, input);
        }
    }

    /// What was gathered goes out.
    pub(super) fn flush_now(self: &Arc<Self>) {
        let taken = std::mem::take(&mut *lock(&self.taken));
        let taken = taken.into_iter().map(|(from, number)| Input::Taken { from, number });
        self.inputs(taken.chain([Input::Flush]));
    }

    /// Answers whose asker we did not see before.
    pub(super) fn answer_late(self: &Arc<Self>) {
        let late = {
            let state = lock(&self.state);
            self.asks.said_late(|node| state.core.reaches(node))
        };
        self.inputs(late);
    }

    pub(super) fn gossiped(self: &Arc<Self>, peers: Vec<Peer>) {
        let mut state = lock(&self.state);
        for peer in &peers {
            state.addresses.insert(peer.node.id, peer.address);
        }
        let State { core, addresses, .. } = &mut *state;
        addresses.retain(|id, _| core.knows(*id) || peers.iter().any(|peer| peer.node.id == *id));
        self.handle(&mut state, Input::Gossip(peers));
    }

    /// A number for a new connection.
    pub(super) fn next_link(&self) -> LinkId {
        let mut state = lock(&self.state);
        state.next_link += 1;
        LinkId(state.next_link)
    }

    /// A connection is there; its line is known before the core is told.
    /// `address`: where we dialed; gossip may not have said it yet.
    pub(super) fn link_up(
        self: &Arc<Self>,
        (link, node): (LinkId, Node),
        line: Line,
        dialed: Dialed,
        address: Option<SocketAddr>,
    ) {
        let mut state = lock(&self.state);
        state.lines.insert(link, line);
        if let Some(address) = address {
            state.addresses.entry(node.id).or_insert(address);
        }
        let input = Input::LinkUp { node, link, dialed };
        self.handle(&mut state, input);
    }

    /// Waits while the rooms above have too many events to fetch.
    pub(super) async fn room(&self) {
        self.gate.room().await;
    }

    pub(super) fn tell(&self, event: Event) {
        self.gate.tell(event);
    }

    fn now(&self) -> Moment {
        let micros = self.started.elapsed().as_micros();
        Moment::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn handle(self: &Arc<Self>, state: &mut State, input: Input) {
        let mut lost = Vec::new();
        let mut next = Some(input);
        while let Some(input) = next {
            let mut out = std::mem::take(&mut state.out);
            state.core.handle(self.now(), input, &mut out);
            for output in out.drain(..) {
                self.carry_out(state, output, &mut lost);
            }
            state.out = out;
            next = lost.pop().map(|link| Input::LinkLost { link });
        }
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, output: Output, lost: &mut Vec<LinkId>) {
        match output {
            Output::Send { link, frame } => {
                let Some(line) = state.lines.get(&link) else { return };
                if line.frames.try_send(frame).is_err() {
                    warn!(link = link.0, "a node reads too slowly: its connection is closed");
                    state.lines.remove(&link).iter().for_each(Line::cut);
                    lost.push(link);
                }
            }
            Output::Close { link } => {
                state.lines.remove(&link).iter().for_each(Line::cut);
            }
            Output::Connect { peer } => {
                // a dial whose driver is gone is a process that ends
                let _ = self.dials.send((peer, state.addresses.get(&peer).copied()));
            }
            Output::Delivery { from, number, body } => {
                let receipt = Receipt::new(Arc::clone(self), from, number);
                self.tell(Event::Delivery { from, body, receipt });
            }
            Output::Returned { to, body, reason } => {
                debug!(%to, ?reason, "a delivery came back");
                self.tell(Event::Returned { to, body, reason });
            }
            Output::Word { from, channel, body } => asks::heard(self, from, channel, &body),
            Output::Unsaid { to, channel, body } => self.asks.unsaid(to, channel, body),
            Output::Members(members) => {
                self.say_members(&members);
                self.asks.only(&members);
                self.members.send_replace(Arc::clone(&members));
                self.tell(Event::Members(members));
            }
            Output::Rows(rows) => self.tell(Event::Rows(rows)),
            Output::Ghost { by } => self.tell(Event::Ghost { by }),
        }
    }

    fn say_members(&self, members: &Members) {
        let before = self.members.borrow();
        for member in members.iter().filter(|member| !before.contains(member.node.id)) {
            info!(node = %member.node.name, id = %member.node.id, nodes = members.count(), "node joined");
        }
        for member in before.iter().filter(|member| !members.contains(member.node.id)) {
            info!(node = %member.node.name, id = %member.node.id, nodes = members.count(), "node gone");
        }
        crate::metrics::set(crate::metrics::NODES, members.count());
    }

    /// Asks another node, or ourselves, and waits for its answer at most for
    /// `patience`.
    ///
    /// # Errors
    /// [`asks::AskError`].
    pub async fn ask(
        self: &Arc<Self>,
        to: NodeId,
        topic: u8,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, asks::AskError> {
        asks::ask(self, to, topic, body, patience).await
    }
}

impl Line {
    fn cut(&self) {
        self.reader.abort();
        self.writer.abort();
    }
}
