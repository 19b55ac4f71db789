//! Who owns rows on this node, and whether they may be seen: one flag for all
//! rows of one owner. The rows themselves are in `table`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::node::NodeId;

/// The most owners at a time, hidden ones included: four times the default
/// `nodes_max`, so that a node may restart three times before its first life
/// is purged. Full: the owner's rows are not taken, which is counted.
pub const OWNERS_MAX: usize = 1_024;

/// An owner's place; each row carries it instead of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u16);

/// The owners of the rows. Reading takes no lock. A slot keeps its id while
/// any row carries it: whoever holds a shard's lock and sees a slot on a row
/// may trust it.
#[derive(Debug)]
pub struct Owners {
    slots: Box<[Owner]>,
    free: Mutex<Vec<u16>>,
    /// How often somebody was shown or hidden.
    turns: AtomicU64,
}

#[derive(Debug, Default)]
struct Owner {
    generation: AtomicU64,
    random: AtomicU64,
    visible: AtomicBool,
}

impl Default for Owners {
    fn default() -> Owners {
        let count = OWNERS_MAX as u16;
        Owners {
            slots: (0..count).map(|_| Owner::default()).collect(),
            free: Mutex::new((0..count).rev().collect()),
            turns: AtomicU64::new(0),
        }
    }
}

impl Owners {
    /// Gives the owner a slot, hidden at first; `None` if all are taken.
    pub(super) fn claim(&self, id: NodeId) -> Option<Slot> {
        let slot = Slot(self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?);
        let owner = self.owner(slot);
        owner.generation.store(id.generation, Ordering::Relaxed);
        owner.random.store(id.random, Ordering::Relaxed);
        owner.visible.store(false, Ordering::Release);
        Some(slot)
    }

    /// Takes the slot back. No row may carry it any more.
    pub(super) fn release(&self, slot: Slot) {
        self.set_visible(slot, false);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot.0);
    }

    /// Shows or hides all rows of this owner, at once.
    pub(super) fn set_visible(&self, slot: Slot, visible: bool) {
        self.owner(slot).visible.store(visible, Ordering::Release);
        self.turns.fetch_add(1, Ordering::AcqRel);
    }

    /// How often somebody was shown or hidden: while it is the same, so is who
    /// may be seen.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// The owner's id, if its rows may be seen.
    pub(super) fn visible(&self, slot: Slot) -> Option<NodeId> {
        let owner = self.owner(slot);
        owner.visible.load(Ordering::Acquire).then(|| owner.id())
    }

    /// The owner's id.
    pub(super) fn id(&self, slot: Slot) -> NodeId {
        self.owner(slot).id()
    }

    fn owner(&self, slot: Slot) -> &Owner {
        &self.slots[usize::from(slot.0) % OWNERS_MAX]
    }
}

impl Owner {
    fn id(&self) -> NodeId {
        NodeId::new(self.generation.load(Ordering::Relaxed), self.random.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_hidden_until_it_is_shown() {
        let owners = Owners::default();
        let id = NodeId::new(7, 8);
        let slot = owners.claim(id).unwrap();
        assert_eq!(owners.visible(slot), None);
        owners.set_visible(slot, true);
        assert_eq!(owners.visible(slot), Some(id));
        owners.release(slot);
        assert_eq!(owners.visible(slot), None);
    }

    #[test]
    fn there_are_only_so_many_slots() {
        let owners = Owners::default();
        let claimed: Vec<_> = (0..).map_while(|n| owners.claim(NodeId::new(n, 0))).collect();
        assert_eq!(claimed.len(), OWNERS_MAX);
        owners.release(claimed[3]);
        assert_eq!(owners.claim(NodeId::new(9, 9)), Some(claimed[3]));
    }
}
