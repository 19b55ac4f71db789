//! The nodes and what happens to them. The faults of a story are chosen in
//! `story`, what must hold is in `checks`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jabiru::cluster::core::Core;
use jabiru::cluster::frame::Frame;
use jabiru::cluster::moment::Moment;
use jabiru::cluster::news::{Dialed, Failure, Input, Output};
use jabiru::cluster::node::{LinkId, Node, NodeId, NodeName, NodeState, Peer};
use jabiru::cluster::protocol::Protocol;
use jabiru::cluster::rows::{SessionRow, SoftRow};
use jabiru::cluster::settings::Settings;
use jabiru::cluster::tables::Tables;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::checks::Record;
use crate::events::{Event, Events, MILLISECOND, Seat, Time, link_of};
use crate::gossip::{Gossip, INTERVAL};
use crate::network::Network;

/// Between two ticks of a node.
const TICK: Time = 25 * MILLISECOND;

/// One life of a node.
pub struct Life {
    pub id: NodeId,
    pub core: Core,
    pub tables: Arc<Tables>,
    pub gossip: Gossip,
    started: Time,
    /// Its clock's pace, in parts per million off.
    pace: i64,
    /// It stands still until then.
    pub frozen: Time,
    flush_due: bool,
    /// Its own rows, as the room above believes them to be.
    pub rows: BTreeMap<u64, SoftRow>,
    next_row: u64,
}

pub struct World {
    pub now: Time,
    pub random: StdRng,
    pub events: Events,
    pub network: Network,
    pub lives: Vec<Option<Life>>,
    /// Hosts that answer nothing: not even that nobody listens.
    pub silent: Vec<bool>,
    pub record: Record,
    pub settings: Settings,
    generation: u64,
    next_letter: u64,
    /// Of 100 datagrams.
    pub loss: u32,
    /// How long a frame takes, at least and at most.
    pub way: (Time, Time),
    /// Clients change rows and send.
    pub busy: bool,
}

/// A frame's way within one site.
pub const QUICK_WAY: (Time, Time) = (100, 2 * MILLISECOND);

fn name(seat: Seat) -> NodeName {
    format!("n{seat}").parse().expect("a name")
}

impl World {
    pub fn new(seed: u64, seats: usize) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let mut settings = Settings {
            purge_after: std::time::Duration::from_secs(5),
            unreachable_max: std::time::Duration::from_secs(2),
            ..Settings::default()
        };
        if random.random_bool(0.5) {
            // so short that snapshots are needed, and so small that they are
            // of many parts
            settings.ring_max = random.random_range(1..40);
            settings.part_bytes = random.random_range(1..2_000);
        }
        World {
            now: 0,
            random,
            events: Events::default(),
            network: Network::default(),
            lives: (0..seats).map(|_| None).collect(),
            silent: vec![false; seats],
            record: Record::default(),
            settings,
            generation: 1_000,
            next_letter: 0,
            loss: 0,
            way: QUICK_WAY,
            busy: true,
        }
    }

    pub fn run_until(&mut self, end: Time) {
        while let Some((at, event)) = self.events.take(end) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    pub fn start(&mut self, seat: Seat) {
        if self.lives[seat].is_some() {
            return;
        }
        self.generation += self.random.random_range(1..9);
        let id = NodeId::new(self.generation, self.random.random());
        let tables = Arc::new(Tables::new(self.random.random()));
        let node = Node { id, name: name(seat) };
        let core = Core::new(node, self.settings.clone(), tables.clone(), self.random.random());
        let mut gossip = Gossip::default();
        gossip.beat(id, seat, self.now);
        self.lives[seat] = Some(Life {
            id,
            core,
            tables,
            gossip,
            started: self.now.saturating_sub(self.random.random_range(0..5_000_000)),
            pace: self.random.random_range(-200..200),
            frozen: 0,
            flush_due: false,
            rows: BTreeMap::new(),
            next_row: 1,
        });
        self.record.born(self.now, id, seat);
        self.news(id, seat, Input::State(NodeState::Serving));
        let first = self.random.random_range(0..TICK);
        self.events.put(self.now + first, Event::Tick(id, seat));
        self.events.put(self.now + first, Event::Gossip(id, seat));
        self.events.put(self.now + first, Event::Work(id, seat));
    }

    /// The process ends. Its host closes its connections, if it still answers.
    pub fn kill(&mut self, seat: Seat) {
        let Some(life) = self.lives[seat].take() else { return };
        self.record.died(self.now, life.id);
        for (connection, end) in self.network.of(life.id) {
            self.close(connection, end, true);
        }
    }

    /// It says goodbye, and ends soon after.
    pub fn leave(&mut self, seat: Seat) {
        let Some(id) = self.lives[seat].as_ref().map(|life| life.id) else { return };
        self.news(id, seat, Input::Leave);
        self.record.left(self.now, id);
        self.lives[seat] = None;
        // what was written before is still sent
        for (connection, end) in self.network.of(id) {
            self.close(connection, end, false);
        }
    }

    fn happen(&mut self, event: Event) {
        let owner = match &event {
            Event::News(id, seat, _)
            | Event::Flush(id, seat)
            | Event::Tick(id, seat)
            | Event::Gossip(id, seat)
            | Event::Work(id, seat)
            | Event::Written { at: (id, seat), .. } => Some((*id, *seat)),
            _ => None,
        };
        if let Some((id, seat)) = owner {
            let Some(life) = self.lives[seat].as_ref().filter(|life| life.id == id) else { return };
            if life.frozen > self.now {
                let then = life.frozen;
                return self.events.put(then, event);
            }
        }
        match event {
            Event::News(id, seat, input) => self.news(id, seat, input),
            Event::Flush(id, seat) => {
                if let Some(life) = &mut self.lives[seat] {
                    life.flush_due = false;
                }
                self.tell(id, seat, Input::Flush);
            }
            Event::Tick(id, seat) => {
                self.tell(id, seat, Input::Tick);
                self.events.put(self.now + TICK, Event::Tick(id, seat));
            }
            Event::Gossip(id, seat) => self.gossip(id, seat),
            Event::Arrive(connection, end) => self.arrive(connection, end),
            Event::Connected { from, to } => self.connected(from, to),
            Event::Written { at: (id, seat), from, number, letter } => {
                self.record.taken(self.now, letter);
                self.news(id, seat, Input::Taken { from, number });
            }
            Event::Work(id, seat) => self.work(id, seat),
            Event::Heal { from, to, gossip, links } => self.heal(from, to, gossip, links),
            Event::Start(seat) => self.start(seat),
        }
    }

    /// Tells a core, and has it flush soon after.
    fn news(&mut self, id: NodeId, seat: Seat, input: Input) {
        self.tell(id, seat, input);
        let Some(life) = &mut self.lives[seat] else { return };
        if !std::mem::replace(&mut life.flush_due, true) {
            let soon = self.random.random_range(5..200);
            self.events.put(self.now + soon, Event::Flush(id, seat));
        }
    }

    fn tell(&mut self, id: NodeId, seat: Seat, input: Input) {
        let now = self.now;
        let Some(life) = self.lives[seat].as_mut().filter(|life| life.id == id) else { return };
        let elapsed = i64::try_from(now - life.started).expect("a short story");
        let micros = elapsed + elapsed * life.pace / 1_000_000;
        let mut out = Vec::new();
        life.core.handle(Moment::from_micros(micros as u64), input, &mut out);
        let moved = out.iter().any(|output| matches!(output, Output::Members(_)));
        for output in out {
            self.carry_out(id, seat, output);
        }
        if moved && let Some(life) = &self.lives[seat] {
            self.record.check_hidden(now, id, &life.tables);
        }
    }

    fn carry_out(&mut self, id: NodeId, seat: Seat, output: Output) {
        match output {
            Output::Send { link, frame } => self.send(link, &frame),
            Output::Connect { peer } => {
                let Some(to) = self.record.seat_of(peer) else { return };
                let there_and_back = if self.way == QUICK_WAY { 0 } else { 2 * self.way.1 };
                let later = there_and_back + self.random.random_range(500..3 * MILLISECOND);
                let event = Event::Connected { from: (id, seat), to: (peer, to) };
                self.events.put(self.now + later, event);
            }
            Output::Close { link } => {
                let (connection, end) = (link.0 / 2, (link.0 % 2) as usize);
                self.close(connection, end, true);
            }
            Output::Delivery { from, number, body } => {
                let letter = u64::from_le_bytes(body[..8].try_into().expect("a letter's number"));
                self.record.delivered(self.now, letter, id);
                let later = match self.random.random_range(0..10) {
                    0 => self.random.random_range(0..200 * MILLISECOND),
                    _ => self.random.random_range(0..2 * MILLISECOND),
                };
                let event = Event::Written { at: (id, seat), from, number, letter };
                self.events.put(self.now + later, event);
            }
            Output::Returned { body, reason, .. } => {
                let letter = u64::from_le_bytes(body[..8].try_into().expect("a letter's number"));
                self.record.returned(self.now, letter, reason);
            }
            Output::Members(members) => {
                let seen = members.others().map(|member| member.node.clone()).collect();
                self.record.sees(self.now, id, seen);
            }
            Output::Rows(changes) => self.record.rows(id, changes),
            Output::Came { .. } | Output::Gone { .. } => {}
            Output::Word { .. } | Output::Unsaid { .. } => {}
            Output::Ghost { .. } => self.record.ghost(self.now, id),
        }
    }

    fn send(&mut self, link: LinkId, frame: &Frame) {
        let (id, end) = (link.0 / 2, (link.0 % 2) as usize);
        let other = 1 - end;
        let mut at = self.now + self.random.random_range(self.way.0..self.way.1);
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        if !connection.open[end] {
            return;
        }
        at = at.max(connection.up[other] + 1);
        let pipe = &mut connection.pipes[other];
        if pipe.closed {
            return;
        }
        if let Some((last, _)) = pipe.frames.back() {
            at = at.max(*last);
        }
        pipe.frames.push_back((at, Network::bytes(frame)));
        self.events.put(at, Event::Arrive(id, other));
    }

    /// Something between two healthy ends resets their connection.
    pub fn reset(&mut self, id: u64) {
        self.close_by_network(id, 0);
        self.close_by_network(id, 1);
    }

    fn close_by_network(&mut self, id: u64, end: usize) {
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let up = connection.up[end];
        let pipe = &mut connection.pipes[end];
        let kept = self.random.random_range(0..=pipe.frames.len());
        pipe.frames.truncate(kept);
        pipe.closed = true;
        let last = pipe.frames.back().map_or(up, |(at, _)| *at);
        let at = last.max(self.now) + self.random.random_range(50..MILLISECOND);
        self.events.put(at, Event::Arrive(id, end));
    }

    /// One end lets go. `hard`: what was not read yet is lost, from somewhere
    /// on.
    fn close(&mut self, id: u64, end: usize, hard: bool) {
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        if !std::mem::replace(&mut connection.open[end], false) {
            return;
        }
        let other = 1 - end;
        connection.pipes[end].frames.clear();
        let up = connection.up[other];
        let pipe = &mut connection.pipes[other];
        if hard {
            let kept = self.random.random_range(0..=pipe.frames.len());
            pipe.frames.truncate(kept);
        }
        pipe.closed = true;
        let last = pipe.frames.back().map_or(up, |(at, _)| *at);
        let at = last.max(self.now) + self.random.random_range(50..MILLISECOND);
        let silent = self.silent[connection.ends[end].1];
        if !silent {
            self.events.put(at, Event::Arrive(id, other));
        }
    }

    fn arrive(&mut self, id: u64, end: usize) {
        let Some(connection) = self.network.connections.get(&id) else { return };
        let (life, seat) = connection.ends[end];
        let from = connection.ends[1 - end].1;
        let held = !self.network.passes(from, seat) || self.silent[from] || self.silent[seat];
        if held || !connection.open[end] {
            return;
        }
        let frozen = self.lives[seat].as_ref().map_or(0, |life| life.frozen);
        if frozen > self.now {
            return self.events.put(frozen, Event::Arrive(id, end));
        }
        let now = self.now;
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[end];
        let link = link_of(id, end);
        if let Some((_, bytes)) = pipe.frames.pop_front_if(|(at, _)| *at <= now) {
            let frame = Frame::decode(Protocol::NEWEST, &bytes).expect("our own frames are read");
            self.news(life, seat, Input::Frame { link, frame });
        } else if pipe.frames.is_empty() && pipe.closed {
            connection.open[end] = false;
            if connection.open == [false, false] {
                self.network.connections.remove(&id);
            }
            self.news(life, seat, Input::LinkLost { link });
        }
    }

    fn connected(&mut self, from: (NodeId, Seat), to: (NodeId, Seat)) {
        let reaches = |one: Seat, other: Seat| {
            self.network.passes(one, other) && !self.silent[one] && !self.silent[other]
        };
        let both = reaches(from.1, to.1) && reaches(to.1, from.1);
        let failed = |how| Input::ConnectFailed { peer: to.0, how };
        if !both {
            let later = self.now + 1_000 * MILLISECOND;
            let event = Event::News(from.0, from.1, failed(Failure::Unreachable));
            return self.events.put(later, event);
        }
        let listens = self.lives[to.1].as_ref();
        let Some(listener) = listens else {
            return self.news(from.0, from.1, failed(Failure::Refused));
        };
        if listener.id != to.0 {
            // the address has another life now: the handshake says so
            return self.news(from.0, from.1, failed(Failure::Refused));
        }
        if self.network.rejects.contains(&(from.1, to.1)) {
            return self.news(from.0, from.1, failed(Failure::Refused));
        }
        if self.lives[from.1].as_ref().is_none_or(|life| life.id != from.0) {
            return;
        }
        let connection = self.network.connect(from, to);
        for (end, (own, other)) in [(from, to), (to, from)].into_iter().enumerate() {
            let dialed = if end == 0 { Dialed::Ours } else { Dialed::Theirs };
            let node = Node { id: other.0, name: name(other.1) };
            let link = link_of(connection, end);
            let later = self.now + self.random.random_range(0..MILLISECOND);
            if let Some(connection) = self.network.connections.get_mut(&connection) {
                connection.up[end] = later;
            }
            let event = Event::News(own.0, own.1, Input::LinkUp { node, link, dialed });
            self.events.put(later, event);
        }
    }

    fn heal(&mut self, from: Seat, to: Seat, gossip: bool, links: bool) {
        if gossip {
            self.network.cut_gossip.remove(&(from, to));
        }
        if links {
            self.network.cut_links.remove(&(from, to));
            self.wake_connections();
        }
    }

    /// What was held arrives now, or soon.
    pub fn wake_connections(&mut self) {
        for (id, connection) in &self.network.connections {
            for end in 0..2 {
                let count = connection.pipes[end].frames.len() + 1;
                for number in 0..count {
                    let at = self.now + number as u64;
                    let last = connection.pipes[end].frames.back().map_or(at, |(last, _)| *last);
                    self.events.put(at.max(last), Event::Arrive(*id, end));
                }
            }
        }
    }

    fn gossip(&mut self, id: NodeId, seat: Seat) {
        let now = self.now;
        let seats = self.lives.len();
        for _ in 0..3 {
            let to = self.random.random_range(0..seats);
            let lost = self.random.random_range(0..100) < self.loss
                || self.network.cut_gossip.contains(&(seat, to))
                || self.silent[seat]
                || self.silent[to];
            let Some(mine) = self.lives[seat].as_mut() else { return };
            mine.gossip.beat(id, seat, now);
            let table = mine.gossip.clone();
            if let Some(other) =
                self.lives[to].as_mut().filter(|other| !lost && other.frozen <= now)
            {
                other.gossip.merge(&table, now);
            }
        }
        let Some(life) = self.lives[seat].as_ref() else { return };
        let peers = life.gossip.live(now).filter(|(other, _)| *other != id);
        let peers = peers.map(|(other, heard)| Peer {
            node: Node { id: other, name: name(heard.seat) },
            address: ([127, 0, 0, 1], 4369).into(),
            state: NodeState::Serving,
            heartbeat: heard.count,
        });
        let peers = peers.collect();
        self.events.put(now + INTERVAL, Event::Gossip(id, seat));
        self.news(id, seat, Input::Gossip(peers));
    }

    fn work(&mut self, id: NodeId, seat: Seat) {
        // of many nodes each does less
        let share = (self.lives.len() as u64).div_ceil(9);
        let pause = share * self.random.random_range(MILLISECOND..60 * MILLISECOND);
        self.events.put(self.now + pause, Event::Work(id, seat));
        if !self.busy {
            return;
        }
        match self.random.random_range(0..10) {
            0..3 => self.change_row(id, seat),
            _ => self.send_letter(id, seat),
        }
    }

    fn change_row(&mut self, id: NodeId, seat: Seat) {
        let Some(life) = &mut self.lives[seat] else { return };
        if life.rows.len() > 3 && self.random.random_bool(0.4) {
            let at = self.random.random_range(0..life.rows.len());
            let Some(number) = life.rows.keys().nth(at).copied() else { return };
            life.rows.remove(&number);
            return self.news(id, seat, Input::Remove { number });
        }
        let is_new = life.rows.is_empty() || self.random.random_bool(0.6);
        let number = if is_new {
            life.next_row += 1;
            life.next_row
        } else {
            let at = self.random.random_range(0..life.rows.len());
            life.rows.keys().nth(at).copied().unwrap_or(1)
        };
        let user = if is_new { self.random.random_range(0..6) } else { number % 6 };
        let user = match life.rows.get(&number) {
            Some(SoftRow::Session(row)) => row.jid.clone(),
            _ => format!("u{user}@im/{seat}-{number}").into(),
        };
        let priority = self.random.random_bool(0.8).then(|| self.random.random_range(-9..9));
        let row = SessionRow { jid: user, priority, flags: 0, bound: self.now };
        let row = SoftRow::Session(row);
        life.rows.insert(number, row.clone());
        self.news(id, seat, Input::Put { number, row });
    }

    fn send_letter(&mut self, id: NodeId, seat: Seat) {
        let others: Vec<NodeId> = self.record.seen_by(id);
        if others.is_empty() {
            return;
        }
        let to = others[self.random.random_range(0..others.len())];
        self.next_letter += 1;
        let letter = self.next_letter;
        self.record.sent(self.now, letter, id, to);
        let mut body = letter.to_le_bytes().to_vec();
        body.resize(8 + self.random.random_range(0..400), b'x');
        self.news(id, seat, Input::Deliver { to, body: Bytes::from(body) });
    }
}
