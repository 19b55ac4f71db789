//! Which faults happen when: drawn from the seed, and over before the end.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::checks::{self, GOODBYE_SEEN, KILL_SEEN};
use crate::events::{Event, MILLISECOND, SECOND, Seat, Time};
use crate::world::{QUICK_WAY, World};

/// How long all nodes have to agree again after the last fault: a node that
/// nobody reached is dialed again within a second, and a silent connection is
/// closed in less.
const CALM: Time = 8 * SECOND;

pub struct Story {
    world: World,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    FalseAlarms,
    OneKill,
    OneGoodbye,
    SlowWays,
    FaultsOnSlowWays,
    LongFreeze,
    Many,
}

impl Story {
    pub fn of_any_faults(seed: u64) -> Story {
        Story::new(seed, Kind::Any, 2)
    }

    pub fn of_false_alarms(seed: u64) -> Story {
        Story::new(seed, Kind::FalseAlarms, 2)
    }

    pub fn of_one_kill(seed: u64) -> Story {
        Story::new(seed, Kind::OneKill, 2)
    }

    pub fn of_one_goodbye(seed: u64) -> Story {
        Story::new(seed, Kind::OneGoodbye, 2)
    }

    pub fn of_slow_ways(seed: u64) -> Story {
        Story::new(seed, Kind::SlowWays, 2)
    }

    pub fn of_faults_on_slow_ways(seed: u64) -> Story {
        Story::new(seed, Kind::FaultsOnSlowWays, 2)
    }

    pub fn of_a_long_freeze(seed: u64) -> Story {
        Story::new(seed, Kind::LongFreeze, 2)
    }

    /// At least 5 nodes.
    pub fn of_many(seed: u64, seats: usize) -> Story {
        let mut story = Story::new(seed, Kind::Many, 2);
        story.world.lives.resize_with(seats, || None);
        story.world.silent.resize(seats, false);
        story
    }

    fn new(seed: u64, kind: Kind, seats_min: usize) -> Story {
        let mut world = World::new(seed, 0);
        let seats = world.random.random_range(seats_min..=9);
        world.lives.resize_with(seats, || None);
        world.silent.resize(seats, false);
        Story { world, kind }
    }

    /// Plays to the end and checks.
    pub fn play(mut self) {
        self.tell();
        checks::after_calm(&self.world);
    }

    /// What happened, as text.
    pub fn told(mut self) -> Vec<String> {
        self.tell();
        std::mem::take(&mut self.world.record.told)
    }

    fn tell(&mut self) {
        let seats = self.world.lives.len();
        for seat in 0..seats {
            let at = self.world.random.random_range(0..300 * MILLISECOND);
            self.world.events.put(at, Event::Start(seat));
        }
        self.world.run_until(2 * SECOND);
        match self.kind {
            Kind::Any => self.any_faults(),
            Kind::FalseAlarms => self.false_alarms(),
            Kind::OneKill => self.one_end(World::kill),
            Kind::OneGoodbye => self.one_end(World::leave),
            Kind::SlowWays => self.slow_ways(),
            Kind::FaultsOnSlowWays => {
                self.slow();
                self.any_faults();
                self.world.way = QUICK_WAY;
            }
            Kind::LongFreeze => {
                let seat = self.seat();
                let until = self.world.now + 60 * SECOND;
                self.freeze(seat, until);
                self.world.run_until(until + SECOND);
            }
            Kind::Many => self.many(),
        }
        self.world.busy = false;
        // each second of many nodes is long, and their faults are over
        let calm = if self.kind == Kind::Many { 2 * SECOND } else { CALM };
        let end = self.world.now + calm;
        self.world.run_until(end);
        match self.kind {
            Kind::Any | Kind::FaultsOnSlowWays | Kind::LongFreeze => {}
            Kind::SlowWays => self.world.record.check_no_alarm(),
            Kind::Many => {
                self.world.record.check_no_alarm();
                self.world.record.check_seen_within(KILL_SEEN);
            }
            Kind::FalseAlarms => {
                self.world.record.check_no_alarm();
                self.world.record.check_no_doubt();
            }
            Kind::OneKill | Kind::OneGoodbye => {
                let goodbye = self.kind == Kind::OneGoodbye;
                let limit = if goodbye { GOODBYE_SEEN } else { KILL_SEEN };
                self.world.record.check_no_alarm();
                self.world.record.check_seen_within(limit);
            }
        }
    }

    /// From now on each frame takes long, and some longer.
    fn slow(&mut self) {
        let least = self.world.random.random_range(20..300) * MILLISECOND;
        let jitter = self.world.random.random_range(1..60) * MILLISECOND;
        self.world.way = (least, least + jitter);
    }

    /// All ways take long, and nothing else happens.
    fn slow_ways(&mut self) {
        self.slow();
        // until all have learned how long
        let learned = self.world.now + 5 * SECOND;
        self.world.run_until(learned);
        let last = learned + 4 * SECOND;
        self.world.run_until(last + 2 * SECOND);
        self.world.record.check_flow(learned, last);
        self.world.way = QUICK_WAY;
    }

    /// One of many dies, two others do not reach each other for a while, and
    /// the way between two more comes and goes.
    fn many(&mut self) {
        self.world.kill(0);
        let begin = self.world.now;
        for (one, other) in [(1, 2), (2, 1)] {
            self.cut(one, other, begin + 2 * SECOND, true, true);
        }
        for time in 0..3 {
            for (one, other) in [(3, 4), (4, 3)] {
                self.cut(one, other, begin + (2 * time + 1) * 400 * MILLISECOND, true, true);
            }
            self.world.run_until(begin + (2 * time + 2) * 400 * MILLISECOND);
        }
        self.world.run_until(begin + 3 * SECOND);
    }

    fn any_faults(&mut self) {
        let count = self.world.random.random_range(1..12);
        // if nobody changes or sends anything after a fault, nothing that
        // follows can show that something was lost
        let quiet = self.world.random.random_range(0..count * 2);
        for at in 0..count {
            self.world.busy &= at != quiet;
            self.fault();
            let pause = match self.world.random.random_range(0..3) {
                0 => self.world.random.random_range(0..20 * MILLISECOND),
                1 => self.world.random.random_range(0..SECOND),
                _ => self.world.random.random_range(0..5 * SECOND),
            };
            let end = self.world.now + pause;
            self.world.run_until(end);
        }
        self.end_all_faults();
    }

    fn seat(&mut self) -> Seat {
        let seats = self.world.lives.len();
        self.world.random.random_range(0..seats)
    }

    fn fault(&mut self) {
        let (one, other) = (self.seat(), self.seat());
        let span =
            *[20, 100, 250, 500, 800, 1_500, 4_000].choose(&mut self.world.random).unwrap_or(&100);
        let span = self.world.random.random_range(1..=span) * MILLISECOND;
        let until = self.world.now + span;
        match self.world.random.random_range(0..10) {
            0 | 1 => {
                self.world.kill(one);
                self.world.events.put(until, Event::Start(one));
            }
            2 => self.fall_silent(one, until),
            3 => self.freeze(one, until),
            4 => {
                let both = self.world.random.random_bool(0.5);
                self.cut(one, other, until, true, true);
                if both {
                    self.cut(other, one, until, true, true);
                }
            }
            5 => self.split(until),
            6 => {
                // deaf or dumb: links are cut, gossip is not, or the other way
                let links = self.world.random.random_bool(0.5);
                for seat in 0..self.world.lives.len() {
                    self.cut(one, seat, until, !links, links);
                }
            }
            7 => self.reset(one, other),
            8 => self.without_gossip(one, until),
            _ => {
                self.world.leave(one);
                self.world.events.put(until, Event::Start(one));
            }
        }
        if self.world.random.random_bool(0.2) {
            self.world.loss = self.world.random.random_range(0..40);
        }
    }

    fn cut(&mut self, from: Seat, to: Seat, until: Time, gossip: bool, links: bool) {
        if from == to {
            return;
        }
        if gossip {
            self.world.network.cut_gossip.insert((from, to));
        }
        if links {
            self.world.network.cut_links.insert((from, to));
        }
        self.world.events.put(until, Event::Heal { from, to, gossip, links });
    }

    fn split(&mut self, until: Time) {
        let sides: Vec<bool> =
            (0..self.world.lives.len()).map(|_| self.world.random.random_bool(0.5)).collect();
        for (from, side) in sides.iter().enumerate() {
            for to in (0..sides.len()).filter(|to| sides[*to] != *side) {
                self.cut(from, to, until, true, true);
            }
        }
    }

    /// The process stands still, and its kernel does not.
    fn freeze(&mut self, seat: Seat, until: Time) {
        if let Some(life) = &mut self.world.lives[seat] {
            life.frozen = life.frozen.max(until);
        }
    }

    /// The host is off, and so is all that ran there.
    fn fall_silent(&mut self, seat: Seat, until: Time) {
        self.world.silent[seat] = true;
        self.world.kill(seat);
        let end = until.max(self.world.now + 10 * MILLISECOND);
        self.world.run_until(end);
        self.world.silent[seat] = false;
        self.world.wake_connections();
        self.world.start(seat);
    }

    /// No gossip anywhere: only its links say that a node lives, and then they
    /// are reset, or nothing passes.
    fn without_gossip(&mut self, seat: Seat, until: Time) {
        let quiet = self.world.now + 900 * MILLISECOND;
        let seats = self.world.lives.len();
        for from in 0..seats {
            for to in 0..seats {
                self.cut(from, to, quiet + SECOND, true, false);
            }
        }
        self.world.run_until(quiet);
        let is_reset = self.world.random.random_bool(0.5);
        for other in 0..seats {
            if is_reset {
                self.reset(seat, other);
            } else {
                self.cut(seat, other, until.max(quiet), false, true);
                self.cut(other, seat, until.max(quiet), false, true);
            }
        }
    }

    /// The link between two healthy nodes is reset.
    fn reset(&mut self, one: Seat, other: Seat) {
        let connections = &self.world.network.connections;
        let between = |ends: [Seat; 2]| ends == [one, other] || ends == [other, one];
        let ids: Vec<u64> = connections
            .iter()
            .filter(|(_, connection)| between(connection.ends.map(|(_, seat)| seat)))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.world.reset(id);
        }
    }

    fn end_all_faults(&mut self) {
        self.world.loss = 0;
        self.world.network.cut_gossip.clear();
        self.world.network.cut_links.clear();
        self.world.wake_connections();
        for seat in 0..self.world.lives.len() {
            if self.world.random.random_bool(0.8) {
                self.world.start(seat);
            }
        }
        // whoever is to start later starts within the calm; let it be before
        let end = self.world.now + 4 * SECOND;
        self.world.run_until(end);
    }

    fn false_alarms(&mut self) {
        let seats = self.world.lives.len();
        for _ in 0..self.world.random.random_range(1..15) {
            let (one, other) = (self.seat(), self.seat());
            match self.world.random.random_range(0..6) {
                0 | 1 => self.reset(one, other),
                2 => {
                    // what a busy machine or a pause of its host does
                    let until =
                        self.world.now + self.world.random.random_range(1..400) * MILLISECOND;
                    self.freeze(one, until);
                }
                3 => self.deaf_then_stalled(one),
                4 if seats > 2 => self.rejected(one, other),
                _ if seats > 2 => {
                    // two that cannot reach each other: the others can
                    let until =
                        self.world.now + self.world.random.random_range(1..3_000) * MILLISECOND;
                    self.cut(one, other, until, true, true);
                    self.cut(other, one, until, true, true);
                    let end = until + SECOND;
                    self.world.run_until(end);
                }
                _ => self.world.loss = 30,
            }
            let end = self.world.now + self.world.random.random_range(0..SECOND);
            self.world.run_until(end);
        }
        self.world.loss = 0;
    }

    /// It hears nothing for a moment, and stands still before that ends: it
    /// must not believe that all others were silent for so long.
    fn deaf_then_stalled(&mut self, seat: Seat) {
        let calm = self.world.now + SECOND;
        self.world.run_until(calm);
        let stalled = calm + 350 * MILLISECOND;
        for from in 0..self.world.lives.len() {
            self.cut(from, seat, stalled + 200 * MILLISECOND, true, true);
        }
        self.world.run_until(stalled);
        self.freeze(seat, stalled + 390 * MILLISECOND);
        self.world.run_until(stalled + SECOND);
    }

    /// A firewall ends the connection of two and refuses new ones in the name
    /// of either: the others can reach both.
    fn rejected(&mut self, one: Seat, other: Seat) {
        let calm = self.world.now + SECOND;
        self.world.run_until(calm);
        let both = [(one, other), (other, one)];
        self.world.network.rejects.extend(both);
        self.reset(one, other);
        let until = calm + self.world.random.random_range(1..3_000) * MILLISECOND;
        self.world.run_until(until);
        self.world.network.rejects.clear();
        self.world.run_until(until + 2 * SECOND);
    }

    fn one_end(&mut self, end: fn(&mut World, Seat)) {
        let seat = self.seat();
        end(&mut self.world, seat);
        let until = self.world.now + 3 * SECOND;
        self.world.run_until(until);
    }
}
