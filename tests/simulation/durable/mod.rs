//! Durable tables in one thread, from one seed: nodes with disks that lose what
//! was not synced, fail and are replaced by old backups, with clocks that are
//! wrong, that are killed, frozen, split and away for long, while rows are
//! changed everywhere. The mesh below is not in it; `world` has nodes that see
//! each other or not.

mod checks;
mod disk;
mod world;

use rand::Rng;
use rand::seq::IndexedRandom;

use world::{MINUTE, SECOND, World};

/// How long a tombstone is kept here.
const KEPT: u64 = 120 * MINUTE;

/// The most that a clock is wrong.
const SKEW: i64 = 10 * 60_000;

pub struct Story {
    world: World,
    is_skewed: bool,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let mut world = World::new(seed, KEPT);
        let seats = world.random.random_range(1..=5);
        for seat in 0..seats {
            world.add(seat);
        }
        let is_skewed = world.random.random_bool(0.4);
        world.record.clocks_are_right = !is_skewed;
        if is_skewed {
            for seat in 0..seats {
                world.set_clock(seat, SKEW);
            }
        }
        Self { world, is_skewed }
    }

    /// Plays to the end and checks.
    pub fn play(mut self) {
        self.tell();
        checks::after_calm(&mut self.world);
    }

    /// What happened, as text.
    pub fn told(mut self) -> Vec<String> {
        self.tell();
        std::mem::take(&mut self.world.record.told)
    }

    fn tell(&mut self) {
        let seats = self.world.seats.len();
        for seat in 0..seats {
            self.world.start(seat);
        }
        self.world.run_for(2 * SECOND);
        let faults = self.world.random.random_range(1..9);
        let mut is_long = self.world.random.random_bool(0.3);
        for _ in 0..faults {
            self.fault();
            let pause = match self.world.random.random_range(0..4) {
                0 => self.world.random.random_range(0..300),
                1 => self.world.random.random_range(0..5 * SECOND),
                _ => self.world.random.random_range(0..30 * SECOND),
            };
            self.world.run_for(pause);
            if is_long && self.world.random.random_bool(0.3) {
                is_long = false;
                self.long_absence();
            }
        }
        self.world.end_all_faults();
        self.world.run_for(20 * SECOND);
        self.world.is_busy = false;
        // rows from the future are taken when time has come so far
        let calm = if self.is_skewed { 26 * MINUTE } else { 4 * MINUTE };
        self.world.run_for(calm);
    }

    fn fault(&mut self) {
        let seats = self.world.seats.len();
        let seat = self.world.random.random_range(0..seats);
        let span = *[200, 800, 3 * SECOND, 20 * SECOND, 3 * MINUTE]
            .choose(&mut self.world.random)
            .expect("not empty");
        let span = self.world.random.random_range(1..=span);
        match self.world.random.random_range(0..9) {
            0 | 1 => {
                self.world.kill(seat);
                self.world.start_later(seat, span);
            }
            2 => {
                // the power of the whole house
                for seat in 0..seats {
                    self.world.kill(seat);
                    let later = self.world.random.random_range(1..=span);
                    self.world.start_later(seat, later);
                }
            }
            3 | 4 => self.world.freeze(seat, span),
            5 => {
                let sides = (0..seats).map(|_| self.world.random.random_range(0..2)).collect();
                self.world.split(sides, span);
            }
            6 => self.world.fail_disk(seat, span),
            7 => match self.world.seats[seat].backup.is_some() {
                true => {
                    self.world.kill(seat);
                    self.world.restore(seat);
                    self.world.start_later(seat, span);
                }
                false => self.world.back_up(seat),
            },
            _ if self.is_skewed => self.world.set_clock(seat, SKEW),
            _ => self.world.kill_in_commit(seat, span),
        }
    }

    /// A node is away for longer than tombstones are kept, or nearly.
    fn long_absence(&mut self) {
        let seats = self.world.seats.len();
        let seat = self.world.random.random_range(0..seats);
        let span = match self.world.random.random_bool(0.7) {
            true => self.world.random.random_range(160 * MINUTE..200 * MINUTE),
            false => self.world.random.random_range(20 * MINUTE..90 * MINUTE),
        };
        match self.world.random.random_range(0..3) {
            0 => {
                self.world.kill(seat);
                self.world.start_later(seat, span);
            }
            1 => {
                let sides = (0..seats).map(|other| u8::from(other == seat)).collect();
                self.world.split(sides, span);
            }
            _ => {
                // everybody; who is back first is nobody's choice
                for seat in 0..seats {
                    self.world.kill(seat);
                    let later = self.world.random.random_range(0..10 * SECOND);
                    self.world.start_later(seat, span + later);
                }
            }
        }
        self.world.run_for(20 * SECOND);
        self.world.is_busy = false;
        self.world.run_for(span.saturating_sub(55 * SECOND));
        // what is changed now is young when the absent come back
        self.world.is_busy = true;
        self.world.run_for(35 * SECOND);
    }
}
