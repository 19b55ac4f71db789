//! The cluster as the rooms above see it: tables to read, deliveries to hand
//! over, questions to other nodes, and events to fetch.
//!
//! One mutex holds the core and the lines that its frames go out by, so that
//! what the core wishes is carried out in the order in which it wished it.
//! Nothing waits inside: a line that is full is closed, and custody sends
//! again. What runs on sockets is in `driver`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::cluster::asks::{self, Asks};
use crate::cluster::core::Core;
use crate::cluster::events::{Event, Events, Gate};
use crate::cluster::history::{History, What};
use crate::cluster::line::Line;
use crate::cluster::members::Members;
use crate::cluster::moment::Moment;
use crate::cluster::news::{Dialed, Input, Output};
use crate::cluster::node::{LinkId, Node, NodeId, NodeName, NodeState, Peer};
use crate::cluster::registry::Registry;
use crate::cluster::rows::SoftRow;
use crate::cluster::seeds::Seeds;
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
    /// Where others find us; it may change while we run.
    address: Mutex<SocketAddr>,
    tables: Arc<Tables>,
    started: Instant,
    state: Mutex<State>,
    pub(super) members: watch::Sender<Arc<Members>>,
    gate: Gate,
    /// Letters that the rooms above have taken over since the last flush.
    pub(super) taken: Mutex<Vec<(NodeId, u64)>>,
    pub(super) flush: Notify,
    pub(super) dials: mpsc::UnboundedSender<(NodeId, Option<SocketAddr>)>,
    pub(super) asks: Asks,
    /// What has happened.
    pub history: History,
    pub(super) seeds: Seeds,
    /// Who was removed; there as soon as the durable tables are open.
    pub(super) registry: OnceLock<Weak<Registry>>,
}

/// All that one mutex holds.
pub(super) struct State {
    pub(super) core: Core,
    pub(super) lines: HashMap<LinkId, Line>,
    pub(super) addresses: HashMap<NodeId, SocketAddr>,
    next_link: u64,
    pub(super) out: Vec<Output>,
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
        seeds: Seeds,
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
            address: Mutex::new(address),
            tables,
            started: Instant::now(),
            state: Mutex::new(state),
            members,
            gate,
            taken: Mutex::default(),
            flush: Notify::new(),
            dials,
            asks: Asks::default(),
            history: History::default(),
            seeds,
            registry: OnceLock::new(),
        };
        (Arc::new(cluster), events)
    }

    /// Who we are.
    pub fn me(&self) -> &Node {
        &self.me
    }

    /// Where other nodes find us.
    pub fn address(&self) -> SocketAddr {
        *lock(&self.address)
    }

    /// Others find us there from now on.
    pub(super) fn set_address(&self, address: SocketAddr) {
        *lock(&self.address) = address;
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
        let protocol = |link: LinkId| state.lines.get(&link).map(|line| line.protocol);
        PeerView::all(&state.core, self.now(), address, protocol)
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

    /// There may be a node at `seed`, too.
    pub fn add_seed(&self, seed: &str) {
        self.seeds.add(seed);
    }

    /// Says what we are up to.
    pub fn set_state(self: &Arc<Self>, state: NodeState) {
        self.input(Input::State(state));
        self.history.note(What::State { state });
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

    /// Whether a node with this name, and another id, is heard of just now.
    pub(super) fn hears(&self, name: &NodeName, but: NodeId) -> bool {
        lock(&self.state).core.hears(self.now(), name, but)
    }

    /// Whether this name was removed from the cluster.
    pub(super) fn is_removed(&self, name: &NodeName) -> bool {
        let registry = self.registry.get().and_then(Weak::upgrade);
        registry.is_some_and(|registry| registry.is_removed(name))
    }

    pub(super) fn gossiped(self: &Arc<Self>, mut peers: Vec<Peer>) {
        peers.retain(|peer| !self.is_removed(&peer.node.name));
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

    pub(super) fn now(&self) -> Moment {
        let micros = self.started.elapsed().as_micros();
        Moment::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
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
