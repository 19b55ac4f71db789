//! The bounds and paces of the cluster's core, and what it counts. How an
//! operator writes them is the driver's `Config`.

use std::time::Duration;

/// Every time and bound of the core. [`Settings::default`] is measured or
/// guessed for one site with round trips well under 50 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often the driver gives us [`super::news::Input::Tick`], at least.
    /// A guess; all other times are no finer than this.
    pub tick_interval: Duration,
    /// How often each link hears from us. Measured: 100 ms gave no false
    /// alarm with both cores busy.
    pub heartbeat_interval: Duration,
    /// A path on which nothing was heard for this long is not offered to
    /// others any more, and a delivery that took longer than this is not
    /// taken (see `custody`). Three heartbeats.
    pub fresh_max: Duration,
    /// Where the way to another node and back takes long, deliveries may be
    /// older, up to this; and nothing comes back sooner. A guess: the other
    /// side of the world on a bad day.
    pub taken_max: Duration,
    /// A link on which nothing was heard for this long is closed. Twice
    /// `fresh_max`.
    pub silence_max: Duration,
    /// With nobody else to ask: how long gossip must stay quiet about a node
    /// that reset its link and refuses a new one. A guess, one and a half
    /// gossip intervals.
    pub confirmation: Duration,
    /// Between two inputs never lies more than a tick, unless we stood still.
    /// A gap of this length is a stall; three ticks, and half of `fresh_max`.
    pub stall_min: Duration,
    /// After an own stall we accuse nobody for so long: three heartbeats.
    pub stall_guard: Duration,
    /// A node that gossip believes alive and nobody can reach is hidden after
    /// so long, and what waited for it comes back. A guess.
    pub unreachable_max: Duration,
    /// The rows of a hidden node stay for so long, so that a return costs
    /// only what it missed (a guess).
    pub purge_after: Duration,
    /// How often a peer, one in turn, is told what we have.
    pub digest_interval: Duration,
    /// The pause after the first failed try to connect; it doubles up to
    /// `redial_max`. A guess.
    pub redial_min: Duration,
    /// The longest pause between two tries. A guess: it bounds how long a
    /// healed pair still needs its neighbours.
    pub redial_max: Duration,
    /// How long a sender waits before it asks again whether a letter came
    /// through. A guess; more than any round trip.
    pub probe_after: Duration,
    /// The most nodes we know at a time; further ones are refused and
    /// counted. Gossip's own ceiling lies at about 1,180.
    pub nodes_max: usize,
    /// The most bytes kept for one peer until it acknowledges. Full: the
    /// newest delivery comes back at once.
    pub custody_bytes_max: usize,
    /// The most deliveries kept for one peer until it acknowledges. Full: as
    /// above.
    pub custody_count_max: usize,
    /// Our latest changes, kept to mend what a peer missed. Older ones are
    /// forgotten, and the peer gets a snapshot.
    pub ring_max: usize,
    /// The bytes of rows in one table frame, unpacked, about: a delivery may
    /// have to wait for so many to pass. A guess; 1 ms of a gigabit link.
    pub part_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick_interval: Duration::from_millis(50),
            heartbeat_interval: Duration::from_millis(100),
            fresh_max: Duration::from_millis(300),
            taken_max: Duration::from_secs(3),
            silence_max: Duration::from_millis(600),
            confirmation: Duration::from_millis(150),
            stall_min: Duration::from_millis(150),
            stall_guard: Duration::from_millis(300),
            unreachable_max: Duration::from_secs(10),
            purge_after: Duration::from_secs(60),
            digest_interval: Duration::from_secs(1),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(1),
            probe_after: Duration::from_millis(300),
            nodes_max: 256,
            custody_bytes_max: 64 << 20,
            custody_count_max: 262_144,
            ring_max: 131_072,
            part_bytes: 128 << 10,
        }
    }
}

/// What the core has counted since its start; the driver shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes refused because `nodes_max` are known.
    pub nodes_refused: u64,
    /// Times a node was hidden.
    pub hidden: u64,
    /// Times a hidden node was shown again.
    pub shown_again: u64,
    /// Times we noticed that we ourselves stood still.
    pub stalls: u64,
    /// Deliveries handed to the rooms above.
    pub delivered: u64,
    /// Deliveries that came back.
    pub returned: u64,
    /// Of those, such as had been sent: the peer may have taken them.
    pub returned_in_doubt: u64,
    /// Deliveries not taken because they came too late, twice, or after a gap.
    pub refused: u64,
    /// Parcels passed on for two others.
    pub relayed: u64,
    /// Snapshots begun, as the receiver.
    pub snapshots: u64,
    /// Replicas of the same version with other rows; must stay 0.
    pub mismatches: u64,
    /// Frames that made no sense.
    pub nonsense: u64,
}
