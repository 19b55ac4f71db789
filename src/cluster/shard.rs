//! One shard of a table: rows close together, and an index of four bytes a row
//! to find them by hash. Locks, keys and visibility are in `table`.
//!
//! Not a map of fat entries: a hash table keeps a third to a half of its room
//! empty, so it should be the small part.

use hashbrown::HashTable;

use super::owners::Slot;
use super::rows::{Kind, Packed, WEIGHT};

/// A row where it is kept: 40 bytes and its text.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) number: u64,
    text: Box<str>,
    wide: u64,
    small: [u8; 3],
    /// Which snapshot of its owner confirmed it last.
    pub(super) mark: u8,
    pub(super) slot: Slot,
}

impl Kept {
    pub(super) fn new(slot: Slot, number: u64, mark: u8, packed: Packed) -> Kept {
        let Packed { text, wide, small } = packed;
        Kept { number, text, wide, small, mark, slot }
    }

    /// Whether this row is found by `key`.
    pub(super) fn has_key(&self, key: &str) -> bool {
        match self.text.as_bytes().strip_prefix(key.as_bytes()) {
            Some(rest) => rest.first().is_none_or(|byte| *byte == b'/'),
            None => false,
        }
    }

    pub(super) fn key(&self) -> &str {
        self.text.split_once('/').map_or(&*self.text, |(key, _)| key)
    }

    /// Its bytes on the wire, about and rather more.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + WEIGHT
    }

    pub(super) fn packed(&self) -> Packed {
        Packed { text: self.text.clone(), wide: self.wide, small: self.small }
    }

    pub(super) fn into_packed(self) -> Packed {
        Packed { text: self.text, wide: self.wide, small: self.small }
    }

    pub(super) fn hash(self, kind: Kind) -> (Packed, u64) {
        let number = self.number;
        let packed = self.into_packed();
        let hash = packed.hash(kind, number);
        (packed, hash)
    }
}

/// Some of a table's rows. `hash` is always the hash of the row's key, by the
/// table's own function, which `rehash` computes again from a row.
#[derive(Debug, Default)]
pub(super) struct Shard {
    index: HashTable<u32>,
    rows: Vec<Kept>,
}

impl Shard {
    /// The rows whose key has this hash, and now and then another.
    pub(super) fn at(&self, hash: u64) -> impl Iterator<Item = &Kept> {
        self.index.iter_hash(hash).filter_map(|at| self.rows.get(*at as usize))
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.rows.iter()
    }

    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Puts a row in the place of the one with its owner and number, which is
    /// given back. The shard must have room for four thousand million.
    pub(super) fn put(
        &mut self,
        hash: u64,
        row: Kept,
        rehash: impl Fn(&Kept) -> u64,
    ) -> Option<Kept> {
        let Shard { index, rows } = self;
        if let Some(at) = index.find(hash, |at| is(rows, *at, row.slot, row.number)) {
            let old = rows.get_mut(*at as usize)?;
            return Some(std::mem::replace(old, row));
        }
        if rows.len() == rows.capacity() {
            // by an eighth, not by the double: memory is what we are short of
            rows.reserve_exact(rows.len() / 8 + 4);
        }
        let at = rows.len() as u32;
        rows.push(row);
        index.insert_unique(hash, at, |at| rehash(&rows[*at as usize]));
        None
    }

    /// Takes out the row with this owner and number.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        slot: Slot,
        number: u64,
        rehash: impl Fn(&Kept) -> u64,
    ) -> Option<Kept> {
        let Shard { index, rows } = self;
        let found = index.find_entry(hash, |at| is(rows, *at, slot, number)).ok()?;
        let at = found.remove().0;
        let gone = rows.swap_remove(at as usize);
        if let Some(moved) = rows.get(at as usize) {
            let before = rows.len() as u32;
            if let Some(entry) = index.find_mut(rehash(moved), |other| *other == before) {
                *entry = at;
            }
        }
        Some(gone)
    }

    /// Takes out all rows that `goes` says, and gives back room if much is free.
    pub(super) fn sweep(
        &mut self,
        goes: impl Fn(&Kept) -> bool,
        rehash: impl Fn(&Kept) -> u64,
        mut gone: impl FnMut(Kept),
    ) {
        if !self.rows.iter().any(&goes) {
            return;
        }
        for row in self.rows.extract_if(.., |row| goes(row)) {
            gone(row);
        }
        if self.rows.len() < self.rows.capacity() / 2 {
            self.rows.shrink_to_fit();
        }
        self.index.clear();
        let rows = &self.rows;
        self.index.shrink_to(rows.len(), |at| rehash(&rows[*at as usize]));
        for (at, row) in (0u32..).zip(rows) {
            self.index.insert_unique(rehash(row), at, |at| rehash(&rows[*at as usize]));
        }
    }
}

fn is(rows: &[Kept], at: u32, slot: Slot, number: u64) -> bool {
    rows.get(at as usize).is_some_and(|row| row.number == number && row.slot == slot)
}
