//! The invariants, and the record that they are checked against.
//!
//! 1. **Nothing is lost**: a letter whose sender lives to the end was written
//!    out by its receiver, or came back.
//! 2. **Nothing is given twice**: no letter is handed up twice, and none after
//!    it came back.
//! 3. **Doubt is honest**: a letter that was handed up and came back said
//!    `InDoubt`, and its receiver had died, left, or was out of reach.
//! 4. **Order stays**: what one life hands up of another is in the order in
//!    which it was sent.
//! 5. **All agree**: after calm every node sees exactly the living nodes, and
//!    of each the rows that it has.
//! 6. **No ghost**: a former life is never seen beside a later one of its
//!    name, nothing dead is seen after calm, and of no hidden node any row.
//! 7. **No false alarm**: a lost link, a lost datagram or a short stall makes
//!    nobody disappear.
//! 8. **Death is noticed at once**: a killed process is hidden within
//!    [`KILL_SEEN`], everywhere, and one that says goodbye within
//!    [`GOODBYE_SEEN`].
//! 9. **The story of the rows is whole**: who applies all changes that were
//!    told has what the table has.
//! 10. **The counters agree**: no replica of one version had other rows.
//! 16. **Slow is not dead**: where all ways take long, letters arrive.

use std::collections::BTreeMap;

use jabiru::cluster::news::Reason;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::cluster::rows::{RowChange, SoftRow};
use jabiru::cluster::tables::Tables;

use crate::events::{MILLISECOND, Seat, Time};
use crate::world::World;

/// A killed process is hidden within this. Mostly it takes a few milliseconds;
/// where no neighbour can be asked, gossip must have been quiet for 150 ms.
pub const KILL_SEEN: Time = 400 * MILLISECOND;

#[derive(Debug)]
struct Letter {
    from: NodeId,
    to: NodeId,
    sent: Time,
    delivered: Option<Time>,
    taken: bool,
    returned: Option<(Time, Reason)>,
}

#[derive(Debug)]
struct Born {
    seat: Seat,
    /// And whether it said goodbye.
    ended: Option<(Time, bool)>,
    /// The last letter handed up, of each sender.
    last: BTreeMap<NodeId, u64>,
    /// Whom it sees now, and since when.
    seen: BTreeMap<NodeId, (Node, Time)>,
    /// Whom it saw disappear, and when.
    unseen: Vec<(NodeId, Time)>,
    /// All rows, as they were told.
    told: BTreeMap<(NodeId, u64), SoftRow>,
}

/// Whoever says goodbye is hidden within this.
pub const GOODBYE_SEEN: Time = 20 * MILLISECOND;

/// What has happened in a story.
#[derive(Debug, Default)]
pub struct Record {
    letters: BTreeMap<u64, Letter>,
    lives: BTreeMap<NodeId, Born>,
    /// All that happened to letters and members, as text.
    pub told: Vec<String>,
}

impl Record {
    pub fn born(&mut self, now: Time, id: NodeId, seat: Seat) {
        self.told.push(format!("{now} n{seat} is {id}"));
        let born = Born {
            seat,
            ended: None,
            last: BTreeMap::new(),
            seen: BTreeMap::new(),
            unseen: Vec::new(),
            told: BTreeMap::new(),
        };
        self.lives.insert(id, born);
    }

    pub fn died(&mut self, now: Time, id: NodeId) {
        self.told.push(format!("{now} {id} is killed"));
        self.lives.entry(id).and_modify(|life| life.ended = Some((now, false)));
    }

    pub fn left(&mut self, now: Time, id: NodeId) {
        self.told.push(format!("{now} {id} leaves"));
        self.lives.entry(id).and_modify(|life| life.ended = Some((now, true)));
    }

    pub fn ghost(&mut self, now: Time, id: NodeId) {
        panic!("{now}: {id} believes to be a ghost, and no name was ever used twice at a time");
    }

    pub fn seat_of(&self, id: NodeId) -> Option<Seat> {
        self.lives.get(&id).map(|life| life.seat)
    }

    pub fn seen_by(&self, id: NodeId) -> Vec<NodeId> {
        self.lives.get(&id).map(|life| life.seen.keys().copied().collect()).unwrap_or_default()
    }

    pub fn sent(&mut self, now: Time, letter: u64, from: NodeId, to: NodeId) {
        let kept = Letter { from, to, sent: now, delivered: None, taken: false, returned: None };
        self.letters.insert(letter, kept);
    }

    pub fn delivered(&mut self, now: Time, number: u64, at: NodeId) {
        self.told.push(format!("{now} {number} handed up at {at}"));
        let letter = self.letters.get_mut(&number).expect("only what was sent arrives");
        assert_eq!(letter.to, at, "{now}: letter {number} reached somebody else");
        assert_eq!(letter.delivered, None, "{now}: letter {number} was handed up twice (2)");
        assert_eq!(
            letter.returned, None,
            "{now}: letter {number} was handed up after it came back (2)"
        );
        letter.delivered = Some(now);
        let from = letter.from;
        let life = self.lives.get_mut(&at).expect("it lives");
        let last = life.last.insert(from, number).unwrap_or(0);
        assert!(last < number, "{now}: letter {number} came after {last} (4)");
    }

    pub fn taken(&mut self, _now: Time, number: u64) {
        self.letters.entry(number).and_modify(|letter| letter.taken = true);
    }

    pub fn returned(&mut self, now: Time, number: u64, reason: Reason) {
        self.told.push(format!("{now} {number} came back: {reason:?}"));
        let letter = self.letters.get_mut(&number).expect("only what was sent comes back");
        assert_eq!(letter.returned, None, "{now}: letter {number} came back twice (2)");
        let honest = letter.delivered.is_none() || reason == Reason::InDoubt;
        assert!(honest, "{now}: letter {number} was handed up, and came back as {reason:?} (3)");
        letter.returned = Some((now, reason));
    }

    pub fn sees(&mut self, now: Time, id: NodeId, nodes: Vec<Node>) {
        let Some(life) = self.lives.get_mut(&id) else { return };
        self.told.push(format!(
            "{now} {id} sees {:?}",
            nodes.iter().map(|node| node.id).collect::<Vec<_>>()
        ));
        let mut names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), nodes.len(), "{now}: {id} sees two lives of one name (6)");
        let before = std::mem::take(&mut life.seen);
        for node in nodes {
            let since = before.get(&node.id).map_or(now, |(_, since)| *since);
            life.seen.insert(node.id, (node, since));
        }
        for gone in before.keys().filter(|gone| !life.seen.contains_key(gone)) {
            life.unseen.push((*gone, now));
        }
    }

    pub fn rows(&mut self, id: NodeId, changes: Vec<RowChange>) {
        let Some(life) = self.lives.get_mut(&id) else { return };
        for RowChange { owner, number, old, new } in changes {
            let before = match new {
                Some(row) => life.told.insert((owner, number), row),
                None => life.told.remove(&(owner, number)),
            };
            // rows of a node that was hidden meanwhile were not told
            let sure = owner == id || life.unseen.iter().all(|(gone, _)| *gone != owner);
            assert!(
                !sure || before == old,
                "{id}: row {number} of {owner} was {before:?}, told as {old:?} (9)"
            );
        }
    }

    /// Whose rows are found is a member.
    pub fn check_hidden(&self, now: Time, id: NodeId, tables: &Tables) {
        let Some(life) = self.lives.get(&id) else { return };
        tables.sessions.for_each(|entry| {
            let owner = entry.owner;
            let seen = owner == id || life.seen.contains_key(&owner);
            assert!(seen, "{now}: {id} finds rows of {owner}, which it does not see (6)");
        });
    }

    fn living(&self) -> Vec<NodeId> {
        let living = self.lives.iter().filter(|(_, life)| life.ended.is_none());
        living.map(|(id, _)| *id).collect()
    }

    /// Somebody disappeared although nobody had ended.
    pub fn check_no_alarm(&self) {
        for (id, life) in &self.lives {
            for (gone, at) in &life.unseen {
                let ended = self.lives.get(gone).and_then(|gone| gone.ended);
                let fair = ended.is_some_and(|(ended, _)| ended <= *at);
                assert!(fair, "{at}: {id} lost sight of {gone}, which lives (7)");
            }
        }
    }

    /// All the living that saw who ended lost sight of it soon after.
    pub fn check_seen_within(&self, limit: Time) {
        for (gone, dead) in self.lives.iter().filter(|(_, life)| life.ended.is_some()) {
            let (ended, _) = dead.ended.unwrap_or_default();
            for id in self.living() {
                let life = &self.lives[&id];
                assert!(
                    !life.seen.contains_key(gone),
                    "{id} sees {gone}, which ended at {ended} (8)"
                );
                for (_, at) in life.unseen.iter().filter(|(unseen, _)| unseen == gone) {
                    let took = at.saturating_sub(ended);
                    assert!(took <= limit, "{id} saw {gone} for {took} µs after its end (8)");
                }
            }
        }
    }

    /// No letter came back that was handed up.
    pub fn check_no_doubt(&self) {
        for (number, letter) in &self.letters {
            let both = letter.delivered.is_some() && letter.returned.is_some();
            assert!(!both, "letter {number} was handed up and came back (3)");
        }
    }

    /// What was sent between these times to somebody who lives was handed up.
    pub fn check_flow(&self, from: Time, to: Time) {
        let sent =
            self.letters.iter().filter(|(_, letter)| letter.sent >= from && letter.sent < to);
        for (number, letter) in sent {
            let lives =
                self.lives[&letter.from].ended.is_none() && self.lives[&letter.to].ended.is_none();
            assert!(!lives || letter.delivered.is_some(), "letter {number} does not come (16)");
        }
    }

    fn check_letters(&self) {
        for (number, letter) in &self.letters {
            if self.lives[&letter.from].ended.is_some() {
                continue;
            }
            let done = letter.taken || letter.returned.is_some();
            assert!(done, "letter {number} is lost: {letter:?} (1)");
        }
    }
}

/// What must hold after calm.
pub fn after_calm(world: &World) {
    let record = &world.record;
    record.check_letters();
    let living = record.living();
    for life in world.lives.iter().flatten() {
        let mut seen = record.seen_by(life.id);
        seen.push(life.id);
        seen.sort();
        assert_eq!(seen, living, "{} sees others than live (5, 6)", life.id);
        assert_eq!(life.core.counts().mismatches, 0, "{}: sums differ (10)", life.id);
        for owner in world.lives.iter().flatten() {
            let rows = rows_of(world, life.id, owner.id);
            assert_eq!(rows, owner.rows, "{} has other rows of {} (5)", life.id, owner.id);
            let was_hidden =
                record.lives[&life.id].unseen.iter().any(|(gone, _)| *gone == owner.id);
            if !was_hidden {
                let told =
                    record.lives[&life.id].told.iter().filter(|((of, _), _)| *of == owner.id);
                let told: BTreeMap<_, _> =
                    told.map(|((_, number), row)| (*number, row.clone())).collect();
                assert_eq!(told, rows, "{} was told other rows of {} (9)", life.id, owner.id);
            }
        }
        for user in 0..6 {
            for entry in life.tables.sessions.find(&format!("u{user}@im")) {
                assert!(living.contains(&entry.owner), "{} has rows of the dead (6)", life.id);
            }
        }
    }
}

fn rows_of(world: &World, at: NodeId, owner: NodeId) -> BTreeMap<u64, SoftRow> {
    let mut rows = BTreeMap::new();
    let life = world.lives.iter().flatten().find(|life| life.id == at).expect("it lives");
    life.tables.sessions.for_each_of(owner, |entry| {
        rows.insert(entry.number, SoftRow::Session(entry.row));
    });
    rows
}

/// A story that fails prints what happened, if it is asked for.
impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("JABIRU_SEED").is_some() {
            for line in &self.told {
                eprintln!("{line}");
            }
        }
    }
}
