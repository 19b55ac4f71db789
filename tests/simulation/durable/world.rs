//! Nodes that see each other or not, their disks, and the time. What happens
//! to them is the story's choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jabiru::cluster::asks::AskError;
use jabiru::cluster::durable::Table;
use jabiru::cluster::durable::answers;
use jabiru::cluster::durable::change::{Change, Expect};
use jabiru::cluster::durable::clock::At;
use jabiru::cluster::durable::core::Core;
use jabiru::cluster::durable::intent::Intent;
use jabiru::cluster::durable::layout::MARKS_KEY;
use jabiru::cluster::durable::ledger::{Ledger, Plan};
use jabiru::cluster::durable::news::{Input, Output, Say, Settings};
use jabiru::cluster::durable::sums::Sums;
use jabiru::cluster::members::{Member, Members};
use jabiru::cluster::node::{Node, NodeId, NodeState};
use jabiru::storage::{Reads, StoreError};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::checks::Record;
use super::disk::Disk;

/// Milliseconds.
pub type Time = u64;
pub type Seat = usize;
pub const SECOND: Time = 1_000;
pub const MINUTE: Time = 60 * SECOND;

/// The time of day when a story begins: long after 1970.
const BEGIN: Time = 1_700_000_000_000;

/// How long a node that is not heard of stays visible.
const PATIENCE: Time = 600;

#[derive(Debug, Clone)]
enum Event {
    Start(Seat),
    Tick(NodeId, Seat),
    Look(NodeId, Seat),
    Wake(NodeId, Seat),
    /// A question arrives.
    Asked {
        to: (NodeId, Seat),
        from: (NodeId, Seat),
        ask: u64,
        topic: u8,
        body: Bytes,
    },
    /// A question's answer arrives, or none.
    Answered {
        to: (NodeId, Seat),
        ask: u64,
        answer: Result<Bytes, AskError>,
    },
    /// The disk has done.
    Committed(NodeId, Seat),
    Work,
    Heal(u64),
    Mend(Seat),
}

pub struct Life {
    pub id: NodeId,
    born: Time,
    core: Core,
    ledger: Ledger,
    pub sums: Sums,
    jobs: VecDeque<(u64, Intent)>,
    /// What is being written.
    writing: Option<(Vec<u64>, Plan)>,
    /// Whom it sees; of each, when it was last within reach.
    view: BTreeMap<NodeId, (Seat, Time)>,
    frozen: Option<Time>,
    /// What came while it was frozen.
    missed: Vec<Event>,
    waiting: BTreeMap<u64, NodeId>,
    questions: BTreeMap<u64, (NodeId, Seat, u64)>,
    next_question: u64,
}

#[derive(Default)]
pub struct Place {
    pub disk: Disk,
    pub life: Option<Life>,
    pub backup: Option<(Disk, Time)>,
    is_failing: bool,
    clock: i64,
}

pub struct World {
    pub now: Time,
    pub random: StdRng,
    pub seats: Vec<Place>,
    pub record: Record,
    pub is_busy: bool,
    kept: Time,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    waiting: BTreeMap<u64, Event>,
    next: u64,
    lives: u64,
    /// Which side of a split each seat is on; the number tells splits apart.
    sides: Option<(u64, Vec<u8>)>,
}

impl World {
    pub fn new(seed: u64, kept: Time) -> Self {
        let mut world = Self {
            now: 0,
            random: StdRng::seed_from_u64(seed),
            seats: Vec::new(),
            record: Record::default(),
            is_busy: true,
            kept,
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            lives: 0,
            sides: None,
        };
        world.put(0, Event::Work);
        world
    }

    pub fn add(&mut self, seat: Seat) {
        self.seats.resize_with(seat + 1, Place::default);
    }

    fn put(&mut self, after: Time, event: Event) {
        self.next += 1;
        self.waiting.insert(self.next, event);
        self.events.push(Reverse((self.now + after, self.next)));
    }

    pub fn run_for(&mut self, span: Time) {
        let end = self.now + span;
        while let Some(Reverse((at, number))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = at;
            let event = self.waiting.remove(&number).expect("each happens once");
            self.happen(event);
        }
        self.now = end;
    }

    // --- faults

    pub fn set_clock(&mut self, seat: Seat, skew: i64) {
        self.seats[seat].clock = self.random.random_range(-skew..=skew);
        self.tell(format!("the clock of n{seat} is {} ms off", self.seats[seat].clock));
    }

    pub fn start_later(&mut self, seat: Seat, after: Time) {
        self.put(after, Event::Start(seat));
    }

    pub fn kill(&mut self, seat: Seat) {
        let Some(life) = self.seats[seat].life.take() else { return };
        self.tell(format!("n{seat} {} is killed", life.id));
        // what was not synced vanishes, or was just synced
        if let Some((_, plan)) = life.writing
            && self.random.random_bool(0.5)
        {
            self.commit(seat, &plan);
        }
    }

    /// Kills a node while its disk writes.
    pub fn kill_in_commit(&mut self, seat: Seat, span: Time) {
        for _ in 0..100 {
            if self.seats[seat].life.as_ref().is_none_or(|life| life.writing.is_some()) {
                break;
            }
            self.run_for(1);
        }
        self.kill(seat);
        self.start_later(seat, span);
    }

    pub fn freeze(&mut self, seat: Seat, span: Time) {
        let now = self.now;
        let Some(life) = &mut self.seats[seat].life else { return };
        if life.frozen.is_none() {
            life.frozen = Some(now);
            let id = life.id;
            self.tell(format!("n{seat} is frozen for {span}"));
            self.put(span, Event::Wake(id, seat));
        }
    }

    pub fn split(&mut self, sides: Vec<u8>, span: Time) {
        self.tell(format!("split {sides:?} for {span}"));
        self.next += 1;
        self.sides = Some((self.next, sides));
        self.put(span, Event::Heal(self.next));
    }

    pub fn fail_disk(&mut self, seat: Seat, span: Time) {
        self.tell(format!("the disk of n{seat} fails for {span}"));
        self.seats[seat].is_failing = true;
        self.put(span, Event::Mend(seat));
    }

    pub fn back_up(&mut self, seat: Seat) {
        self.tell(format!("n{seat} is backed up"));
        self.seats[seat].backup = Some((self.seats[seat].disk.clone(), self.now));
    }

    /// An old copy is put in place of its files.
    pub fn restore(&mut self, seat: Seat) {
        let (disk, when) = self.seats[seat].backup.take().expect("there is one");
        self.tell(format!("n{seat} has its files of {when} again"));
        self.record.restored(seat, when);
        self.seats[seat].disk = disk;
    }

    pub fn end_all_faults(&mut self) {
        self.sides = None;
        for seat in 0..self.seats.len() {
            self.seats[seat].is_failing = false;
            match &self.seats[seat].life {
                None => self.start(seat),
                Some(life) if life.frozen.is_some() => self.wake(life.id, seat),
                Some(_) => {}
            }
        }
    }

    pub fn start(&mut self, seat: Seat) {
        if self.seats[seat].life.is_some() {
            return;
        }
        self.lives += 1;
        let id = NodeId::new(self.lives, seat as u64);
        let at = self.at(seat, self.now);
        let name = name_of(seat);
        let members = Arc::new(Members::new(member(id, seat), []));
        let place = &mut self.seats[seat];
        let marks = place.disk.get(MARKS_KEY).expect("readable");
        let settings =
            Settings { tombstones_kept: Duration::from_millis(self.kept), ..Settings::default() };
        let core = Core::new(name, members, settings, marks.as_deref(), at);
        let (ledger, sums) = Ledger::read(id, &place.disk).expect("readable");
        place.life = Some(Life {
            id,
            born: self.now,
            core,
            ledger,
            sums,
            jobs: VecDeque::new(),
            writing: None,
            view: BTreeMap::new(),
            frozen: None,
            missed: Vec::new(),
            waiting: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_question: 0,
        });
        self.tell(format!("n{seat} is {id}"));
        self.put(1, Event::Tick(id, seat));
        self.put(self.next % 50, Event::Look(id, seat));
    }

    // --- what happens

    fn happen(&mut self, event: Event) {
        let whose = match &event {
            Event::Tick(id, seat) | Event::Look(id, seat) => Some((*id, *seat)),
            Event::Asked { to, .. } | Event::Answered { to, .. } => Some(*to),
            Event::Committed(id, seat) => Some((*id, *seat)),
            _ => None,
        };
        if let Some((id, seat)) = whose {
            let life = self.seats[seat].life.as_mut().filter(|life| life.id == id);
            let Some(life) = life else { return };
            if life.frozen.is_some() {
                return life.missed.push(event);
            }
        }
        match event {
            Event::Start(seat) => self.start(seat),
            Event::Tick(id, seat) => {
                let pause = if self.is_busy { 700 } else { 20 * SECOND };
                self.put(pause, Event::Tick(id, seat));
                self.retry_disk(seat);
                self.input(seat, Input::Tick);
            }
            Event::Look(id, seat) => {
                let pause = if self.is_busy { 50 } else { 5 * SECOND };
                self.put(pause, Event::Look(id, seat));
                self.look(seat);
            }
            Event::Wake(id, seat) => self.wake(id, seat),
            Event::Asked { to: (_, seat), from, ask, topic, body } => {
                self.asked(seat, from, ask, topic, body);
            }
            Event::Answered { to: (_, seat), ask, answer } => {
                let life = self.seats[seat].life.as_mut().expect("it lives");
                if life.waiting.remove(&ask).is_some() {
                    self.input(seat, Input::Answer { ask, answer });
                }
            }
            Event::Committed(_, seat) => self.committed(seat),
            Event::Work => self.work(),
            Event::Heal(number) => {
                if self.sides.as_ref().is_some_and(|(split, _)| *split == number) {
                    self.tell("healed".into());
                    self.sides = None;
                }
            }
            Event::Mend(seat) => self.seats[seat].is_failing = false,
        }
    }

    fn wake(&mut self, id: NodeId, seat: Seat) {
        let life = self.seats[seat].life.as_mut().filter(|life| life.id == id);
        let Some(life) = life.filter(|life| life.frozen.is_some()) else { return };
        life.frozen = None;
        let missed = std::mem::take(&mut life.missed);
        self.tell(format!("n{seat} wakes"));
        for event in missed {
            // a little later, but in their order, and before anything new
            self.put(0, event);
        }
    }

    fn reaches(&self, from: Seat, to: Seat) -> bool {
        self.sides.as_ref().is_none_or(|(_, sides)| sides.get(from) == sides.get(to))
    }

    /// Who is visible changes some time after who can be reached.
    fn look(&mut self, seat: Seat) {
        let now = self.now;
        let mut within: BTreeMap<NodeId, Seat> = BTreeMap::new();
        let mut alive = BTreeSet::new();
        for (other, place) in self.seats.iter().enumerate() {
            let Some(life) = &place.life else { continue };
            alive.insert(life.id);
            if other != seat && self.reaches(seat, other) && life.frozen.is_none() {
                within.insert(life.id, other);
            }
        }
        let life = self.seats[seat].life.as_mut().expect("it lives");
        let before: Vec<NodeId> = life.view.keys().copied().collect();
        for (id, other) in within {
            life.view.insert(id, (other, now));
        }
        life.view.retain(|id, (_, heard)| alive.contains(id) && now - *heard < PATIENCE);
        if before.iter().eq(life.view.keys()) {
            return;
        }
        let gone: Vec<u64> = life
            .waiting
            .iter()
            .filter(|(_, node)| !life.view.contains_key(node))
            .map(|(ask, _)| *ask)
            .collect();
        let me = (life.id, seat);
        let others = life.view.iter().map(|(id, (seat, _))| member(*id, *seat));
        let members = Arc::new(Members::new(member(life.id, seat), others));
        self.input(seat, Input::Members(members));
        for ask in gone {
            self.put(0, Event::Answered { to: me, ask, answer: Err(AskError::Unreachable) });
        }
    }

    fn asked(&mut self, seat: Seat, from: (NodeId, Seat), ask: u64, topic: u8, body: Bytes) {
        if answers::is_read(topic) {
            let read = answers::answer(&self.seats[seat].disk, topic, &body).expect("readable");
            if let Some(body) = read {
                self.reply(seat, from, ask, body);
            }
            return;
        }
        let life = self.seats[seat].life.as_mut().expect("it lives");
        life.next_question += 1;
        let number = life.next_question;
        life.questions.insert(number, (from.0, from.1, ask));
        self.input(seat, Input::Question { number, from: from.0, topic, body });
    }

    fn reply(&mut self, seat: Seat, to: (NodeId, Seat), ask: u64, body: Bytes) {
        if self.reaches(seat, to.1) {
            let after = self.random.random_range(0..20);
            self.put(after, Event::Answered { to, ask, answer: Ok(body) });
        }
    }

    /// Somebody changes something somewhere.
    fn work(&mut self) {
        let pause = if self.is_busy { self.random.random_range(0..400) } else { 10 * SECOND };
        self.put(pause, Event::Work);
        let seat = self.random.random_range(0..self.seats.len());
        let is_up = self.seats[seat].life.as_ref().is_some_and(|life| life.frozen.is_none());
        if !self.is_busy || !is_up {
            return;
        }
        let by: u64 = self.random.random();
        let number = self.record.next_change();
        // most fight for a few rows; some are changed once or twice, so that
        // it is seen if they are lost
        let owner = match self.random.random_range(0..10) {
            0..2 => format!("v{}@im", number / 2),
            _ => format!("u{}@im", self.random.random_range(0..3)),
        };
        let rows = if self.random.random_bool(0.2) { 2 } else { 1 };
        let changes: Vec<Change> = (0..rows)
            .map(|row| {
                let key = format!("{owner}\0{row}");
                let value = format!("{number}").into_bytes();
                let change = match self.random.random_range(0..10) {
                    0..6 => Change::put(Table::Roster, key, value),
                    _ => Change::remove(Table::Roster, key),
                };
                let expect = [Expect::Any, Expect::Any, Expect::Absent, Expect::Present];
                change.expect(*expect.choose(&mut self.random).expect("not empty"))
            })
            .collect();
        self.record.begun(self.now, number, by, seat, &changes);
        self.input(seat, Input::Change { number, by, changes });
    }

    // --- one node

    fn at(&self, seat: Seat, born: Time) -> At {
        let wall = (BEGIN + self.now).saturating_add_signed(self.seats[seat].clock);
        At { steady: self.now - born, wall }
    }

    fn input(&mut self, seat: Seat, input: Input) {
        let born = self.seats[seat].life.as_ref().expect("it lives").born;
        let at = self.at(seat, born);
        let life = self.seats[seat].life.as_mut().expect("it lives");
        let mut out = Vec::new();
        life.core.handle(at, &life.sums, input, &mut out);
        for output in out {
            self.carry_out(seat, output);
        }
        self.begin_commit(seat);
    }

    fn carry_out(&mut self, seat: Seat, output: Output) {
        let life = self.seats[seat].life.as_mut().expect("it lives");
        let me = (life.id, seat);
        match output {
            Output::Ask { ask, to, topic, body, patience } => {
                life.waiting.insert(ask, to);
                let Some((other, _)) = life.view.get(&to).copied() else {
                    let answer = Err(AskError::Unreachable);
                    return self.put(0, Event::Answered { to: me, ask, answer });
                };
                let patience = patience.as_millis() as Time;
                self.put(patience, Event::Answered { to: me, ask, answer: Err(AskError::Late) });
                if self.reaches(seat, other) {
                    let after = self.random.random_range(0..20);
                    self.put(after, Event::Asked { to: (to, other), from: me, ask, topic, body });
                }
            }
            Output::Reply { number, body } => {
                if let Some((id, other, ask)) = life.questions.remove(&number) {
                    self.reply(seat, (id, other), ask, body);
                }
            }
            Output::Drop { number } => drop(life.questions.remove(&number)),
            Output::Write { job, intent } => life.jobs.push_back((job, intent)),
            Output::Done { number, answer } => {
                let disks: Vec<&Disk> = self.seats.iter().map(|place| &place.disk).collect();
                self.record.done(self.now, number, &answer, &disks);
            }
            // whoever waits for a message looks at the disk here
            Output::Kept(_) => {}
            Output::Say(say) => {
                if matches!(say, Say::GaveUp { .. }) {
                    self.record.gave_up(seat, self.now.saturating_sub(self.kept));
                }
                if !matches!(say, Say::Fetched { .. }) {
                    self.tell(format!("n{seat}: {say:?}"));
                }
            }
        }
    }

    fn begin_commit(&mut self, seat: Seat) {
        let together = self.random.random_range(1..10);
        let place = &mut self.seats[seat];
        let life = place.life.as_mut().expect("it lives");
        if life.writing.is_some() || life.jobs.is_empty() {
            return;
        }
        let count = together.min(life.jobs.len());
        let (numbers, intents): (Vec<_>, Vec<_>) = life.jobs.drain(..count).unzip();
        let mut plan = life.ledger.plan(&place.disk, &life.sums, intents).expect("readable");
        let made = plan.take_made(&numbers);
        life.ledger.promise(&plan);
        life.writing = Some((numbers, plan));
        let id = life.id;
        // as long as others may need for what they are told
        let after = self.random.random_range(1..30);
        self.put(after, Event::Committed(id, seat));
        if !made.is_empty() {
            self.input(seat, Input::Planned(made));
        }
    }

    fn commit(&mut self, seat: Seat, plan: &Plan) {
        // clocks may be ten minutes off
        let old = (BEGIN + self.now + 10 * MINUTE).saturating_sub(self.kept);
        self.record.committed(self.now, old, seat, &self.seats[seat].disk, &plan.writes);
        self.seats[seat].disk.write(&plan.writes);
    }

    fn committed(&mut self, seat: Seat) {
        let life = self.seats[seat].life.as_mut().expect("it lives");
        let Some((numbers, plan)) = life.writing.take() else { return };
        let results = match self.seats[seat].is_failing {
            false => {
                self.commit(seat, &plan);
                let life = self.seats[seat].life.as_mut().expect("it lives");
                life.ledger.done(&plan, &mut life.sums);
                numbers.into_iter().zip(plan.outcomes.into_iter().map(Ok)).collect()
            }
            true => {
                // nobody knows whether it was written
                if self.random.random_bool(0.3) {
                    self.commit(seat, &plan);
                }
                self.read_again(seat);
                let failed =
                    StoreError { place: "disk".into(), reason: "no space left on device".into() };
                numbers.into_iter().map(|number| (number, Err(failed.clone()))).collect()
            }
        };
        self.input(seat, Input::Written(results));
    }

    fn read_again(&mut self, seat: Seat) {
        let place = &mut self.seats[seat];
        let life = place.life.as_mut().expect("it lives");
        life.sums = life.ledger.read_again(&place.disk).expect("readable");
    }

    fn retry_disk(&mut self, seat: Seat) {
        let life = self.seats[seat].life.as_ref().expect("it lives");
        if self.seats[seat].is_failing && life.writing.is_none() {
            self.read_again(seat);
        }
    }

    fn tell(&mut self, what: String) {
        self.record.tell(self.now, what);
    }
}

fn name_of(seat: Seat) -> jabiru::cluster::node::NodeName {
    format!("n{seat}").parse().expect("a name")
}

fn member(id: NodeId, seat: Seat) -> Member {
    Member { node: Node { id, name: name_of(seat) }, state: NodeState::Serving }
}
