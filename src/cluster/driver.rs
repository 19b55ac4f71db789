//! The cluster's sockets and clock, all on one thread of their own: a busy
//! runtime must not look like death. What is made of them is `core`'s.

use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error, warn};

use crate::cluster::address;
use crate::cluster::config::Config;
use crate::cluster::doorman;
use crate::cluster::events::{Event, Events};
use crate::cluster::gossip::Gossip;
use crate::cluster::handle::Cluster;
use crate::cluster::handshake::{Greeted, Greeter, Stranger};
use crate::cluster::history::What;
use crate::cluster::keyring::Keyring;
use crate::cluster::mesh;
use crate::cluster::news::{Dialed, Failure, Input};
use crate::cluster::node::{Node, NodeId, NodeState};
use crate::cluster::notice::Notice;
use crate::cluster::proof::{Verdict, Wish};
use crate::cluster::protocol::Protocol;
use crate::cluster::seeds::{self, Seeds};
use crate::metrics;

/// How long a dial may take until the host counts as unreachable. A guess:
/// many round trips of any site.
const DIAL_TIME_MAX: Duration = Duration::from_secs(2);

/// A connection that breaks while it is greeted is tried again so often, and
/// after such a pause: the kernel of a process that is being killed accepts a
/// connection and then resets it, and only the next try is refused.
const DIAL_TRIES: usize = 4;
const DIAL_PAUSE: Duration = Duration::from_millis(5);

/// Strangers being greeted at a time; further ones wait in the kernel.
const GREETINGS_MAX: usize = 256;

/// How long goodbyes may take to be written.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);

/// Why the cluster cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error(
        "cannot listen on {address} ({protocol}); is another node, or epmd, there already? `[cluster] listen` names another address"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Anything else.
    #[error("the cluster cannot start: {0}")]
    Other(#[from] anyhow::Error),
}

/// Ends the cluster's thread when it is dropped.
#[derive(Debug)]
pub struct Running {
    cluster: Arc<Cluster>,
    goodbye: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

/// What all tasks of the driver share.
pub(super) struct Driver {
    pub(super) cluster: Arc<Cluster>,
    pub(super) greeter: Greeter,
    /// Held by every line that still writes.
    writing: mpsc::Sender<()>,
    strangers: std::sync::Mutex<Notice>,
}

/// How one try to dial failed.
enum Failed {
    /// Nobody listens there.
    Refused,
    /// No answer, or not one of ours.
    Unreachable,
    /// It was accepted, and broke.
    Broken,
}

/// Starts this node's part in the cluster.
///
/// # Errors
/// [`StartError`].
pub fn start(
    config: Config,
    ring: &Arc<Keyring>,
    me: Node,
) -> Result<(Arc<Cluster>, Events, Running), StartError> {
    let (udp, tcp) = bind(config.listen)?;
    let bound = udp.local_addr().map_err(anyhow::Error::from)?;
    let address = config.advertise.unwrap_or_else(|| address::at_start(bound, &config.seeds));
    let (dials, dialing) = mpsc::unbounded_channel();
    let (cluster, events) = Cluster::new(
        me.clone(),
        address,
        config.settings(),
        Seeds::new(config.seeds.clone()),
        dials,
    );
    let newest = Protocol::new(config.protocol_max).unwrap_or(Protocol::NEWEST);
    let greeter = Greeter::new(me.clone(), Arc::clone(ring), newest)?;
    let (writing, written) = mpsc::channel(1);
    let strangers = std::sync::Mutex::default();
    let driver = Arc::new(Driver { cluster: Arc::clone(&cluster), greeter, writing, strangers });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let (goodbye, leaving) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    // chitchat must be started on the runtime that it stays on
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let ring = Arc::clone(ring);
    let run = async move {
        let gossip = match Gossip::start(&config, &ring, &me, udp, address).await {
            Ok(gossip) => gossip,
            Err(error) => return drop(tell.send(Err(error))),
        };
        if tell.send(Ok(())).is_err() {
            return;
        }
        let run = run(driver, gossip, config, tcp, dialing, leaving);
        if let Err(error) = run.await {
            error!(%error, "the cluster's sockets have ended");
        }
        let mut written: mpsc::Receiver<()> = written;
        let _ = timeout(GOODBYE_TIME_MAX, written.recv()).await;
        let _ = end.send(());
    };
    thread::Builder::new()
        .name("cluster".into())
        .spawn(move || runtime.block_on(run))
        .map_err(anyhow::Error::from)?;
    told.recv().map_err(anyhow::Error::from)??;
    let running =
        Running { cluster: Arc::clone(&cluster), goodbye: Some(goodbye), ended: Some(ended) };
    Ok((cluster, events, running))
}

/// Both sockets on one port.
fn bind(address: SocketAddr) -> Result<(UdpSocket, StdListener), StartError> {
    let failed = |protocol| move |source| StartError::Bind { address, protocol, source };
    let tcp = StdListener::bind(address).map_err(failed("TCP"))?;
    let port = tcp.local_addr().map_err(failed("TCP"))?.port();
    let udp = UdpSocket::bind((address.ip(), port)).map_err(failed("UDP"))?;
    tcp.set_nonblocking(true).map_err(failed("TCP"))?;
    udp.set_nonblocking(true).map_err(failed("UDP"))?;
    Ok((udp, tcp))
}

impl Running {
    /// Says goodbye to the others, and waits until it is written, for two
    /// seconds at most.
    pub async fn leave(mut self) {
        self.cluster.say_goodbye();
        drop(self.goodbye.take());
        if let Some(ended) = self.ended.take() {
            let _ = timeout(GOODBYE_TIME_MAX, ended).await;
        }
    }
}

async fn run(
    driver: Arc<Driver>,
    gossip: Gossip,
    config: Config,
    tcp: StdListener,
    mut dialing: mpsc::UnboundedReceiver<(NodeId, Option<SocketAddr>)>,
    leaving: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(tcp)?;
    let cluster = Arc::clone(&driver.cluster);
    let dial = async {
        while let Some((peer, address)) = dialing.recv().await {
            tokio::spawn(Arc::clone(&driver).dial(peer, address));
        }
    };
    tokio::select! {
        _ = leaving => {}
        reason = gossip.ended() => cluster.tell(Event::Frozen(reason)),
        () = dial => {}
        () = accept(Arc::clone(&driver), listener) => {}
        () = tick(&cluster) => {}
        () = flush(&cluster) => {}
        () = poll(&cluster, &gossip, &config) => {}
        () = address::follow(&cluster, &gossip, &config) => {}
        () = seeds::look(&driver, &gossip) => {}
    }
    Ok(())
}

/// The clock of the core. Between two ticks never lies more than a little,
/// unless this thread stood still.
async fn tick(cluster: &Arc<Cluster>) {
    let settings = crate::cluster::settings::Settings::default();
    let mut ticks = interval(settings.tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        if last.elapsed() >= settings.stall_min {
            let milliseconds = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
            warn!(milliseconds, "this process stood still");
            cluster.history.note(What::Stalled { milliseconds });
            cluster.input(Input::Stalled);
        }
        last = Instant::now();
        cluster.flush_now();
        cluster.input(Input::Tick);
        cluster.answer_late();
    }
}

async fn flush(cluster: &Arc<Cluster>) {
    loop {
        cluster.flush.notified().await;
        cluster.flush_now();
    }
}

/// Tells the core whom gossip believes alive; several times in an interval, so
/// that it knows well when a heart last beat.
async fn poll(cluster: &Arc<Cluster>, gossip: &Gossip, config: &Config) {
    let mut rounds = interval(config.gossip_interval.get() / 4);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = None;
    loop {
        rounds.tick().await;
        cluster.gossiped(gossip.peers().await);
        let now = cluster.members().get(cluster.me().id).map(|me| me.state);
        if now != state {
            state = now;
            gossip.publish(now.unwrap_or_default()).await;
        }
    }
}

async fn accept(driver: Arc<Driver>, listener: TcpListener) {
    let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&greetings).acquire_owned().await else { return };
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a node");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let driver = Arc::clone(&driver);
        tokio::spawn(async move {
            let judge = async |node: &Node, wish| doorman::judge(&driver.cluster, node, wish).await;
            let greeted = driver.greeter.accept(tcp, judge).await;
            drop(permit);
            match greeted {
                Ok(greeted) => mesh::run(&driver, greeted, Dialed::Theirs, None).await,
                Err(Stranger::Inquired) => {}
                Err(stranger) => driver.refuse(&stranger, address),
            }
        });
    }
}

impl Driver {
    async fn dial(self: Arc<Self>, peer: NodeId, address: Option<SocketAddr>) {
        let mut how = Failure::Unreachable;
        for _ in 0..DIAL_TRIES {
            match self.try_dial(address).await {
                Ok(greeted) => {
                    if greeted.node.id != peer {
                        // its address has another life: the former one is gone
                        self.cluster.input(Input::ConnectFailed { peer, how: Failure::Refused });
                    }
                    return mesh::run(&self, greeted, Dialed::Ours, address).await;
                }
                Err(Failed::Refused) => {
                    how = Failure::Refused;
                    break;
                }
                Err(Failed::Unreachable) => break,
                Err(Failed::Broken) => tokio::time::sleep(DIAL_PAUSE).await,
            }
        }
        self.cluster.input(Input::ConnectFailed { peer, how });
    }

    async fn try_dial(&self, address: Option<SocketAddr>) -> Result<Greeted, Failed> {
        let address = address.ok_or(Failed::Unreachable)?;
        let tcp = match timeout(DIAL_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(Failed::Refused);
            }
            Ok(Err(_)) | Err(_) => return Err(Failed::Unreachable),
        };
        self.greeter.dial(tcp, Wish::Link).await.map_err(|stranger| {
            debug!(%address, %stranger, "cannot greet a node");
            match stranger {
                Stranger::Io(_) | Stranger::Refused => Failed::Broken,
                Stranger::Turned(verdict) => {
                    self.turned(verdict);
                    Failed::Unreachable
                }
                Stranger::Late | Stranger::Foreign | Stranger::Cookie | Stranger::Inquired => {
                    Failed::Unreachable
                }
            }
        })
    }

    /// Another node does not let us in. Who was removed, and has nobody left
    /// who would have him, ends. (One that says so may only not know yet that
    /// we were asked to return.)
    pub(super) fn turned(&self, verdict: Verdict) {
        let members = self.cluster.members();
        let is_leaving = members.get(members.me()).map(|me| me.state) == Some(NodeState::Leaving);
        if verdict == Verdict::Removed && members.count() == 1 && !is_leaving {
            self.cluster.tell(Event::Removed);
        }
    }

    /// Counts, and says so now and then.
    fn refuse(&self, stranger: &Stranger, address: SocketAddr) {
        let word = match stranger {
            Stranger::Io(_) | Stranger::Refused | Stranger::Inquired => "connection",
            Stranger::Late => "late",
            Stranger::Foreign => "foreign",
            Stranger::Turned(Verdict::Normaliser) => "normaliser",
            Stranger::Turned(_) => "turned away",
            Stranger::Cookie => "cookie",
        };
        metrics::count(metrics::MESH_REFUSED, word);
        let mut strangers =
            self.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = strangers.say() {
            warn!(%address, %stranger, count, "a connection to the mesh was refused");
        }
    }

    /// To be held by a line while it writes.
    pub(super) fn writing(&self) -> mpsc::Sender<()> {
        self.writing.clone()
    }
}
