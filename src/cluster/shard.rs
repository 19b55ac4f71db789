//! One shard of a table: rows close together, their texts in one piece behind
//! them, and an index of four bytes a row to find them by hash. Locks, keys and
//! visibility are in `table`.
//!
//! Not a map of fat entries: a hash table keeps a third to a half of its room
//! empty, so it should be the small part. Nor a piece of memory for each text:
//! the allocator's own share would be a quarter of it.

use std::ops::Range;

use hashbrown::HashTable;

use super::owners::Slot;
use super::rows::{Kind, Packed, WEIGHT};

/// Texts of rows that are gone, in bytes, that stay however small the shard is.
const GARBAGE_BYTES_MIN: usize = 4 << 10;

/// A row where it is kept: 32 bytes, and its text elsewhere.
#[derive(Debug)]
struct Kept {
    number: u64,
    wide: u64,
    text: Range<u32>,
    small: [u8; 3],
    mark: u8,
    slot: Slot,
}

/// A row as it is seen in its shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) number: u64,
    pub(super) slot: Slot,
    text: &'a str,
    wide: u64,
    small: [u8; 3],
}

impl Seen<'_> {
    /// Whether this row is found by `key`.
    pub(super) fn has_key(&self, key: &str) -> bool {
        match self.text.as_bytes().strip_prefix(key.as_bytes()) {
            Some(rest) => rest.first().is_none_or(|byte| *byte == b'/'),
            None => false,
        }
    }

    pub(super) fn key(&self) -> &str {
        self.text.split_once('/').map_or(self.text, |(key, _)| key)
    }

    /// Its bytes on the wire, about and rather more.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + WEIGHT
    }

    pub(super) fn packed(&self) -> Packed {
        Packed { text: self.text.into(), wide: self.wide, small: self.small }
    }
}

/// A row that was taken out or replaced.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) number: u64,
    pub(super) packed: Packed,
}

impl Gone {
    /// Its share in its owner's sum.
    pub(super) fn hash(&self, kind: Kind) -> u64 {
        self.packed.hash(kind, self.number)
    }
}

/// Some of a table's rows. `hash` is always the hash of the row's key, by the
/// table's own function, which `rehash` computes again from a row.
#[derive(Debug, Default)]
pub(super) struct Shard {
    index: HashTable<u32>,
    rows: Vec<Kept>,
    texts: String,
    /// Bytes of texts that belong to no row any more.
    garbage: usize,
}

impl Shard {
    /// The rows whose key has this hash, and now and then another.
    pub(super) fn at(&self, hash: u64) -> impl Iterator<Item = Seen<'_>> {
        let rows = self.index.iter_hash(hash).filter_map(|at| self.rows.get(*at as usize));
        rows.map(|row| seen(row, &self.texts))
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        self.rows.iter().map(|row| seen(row, &self.texts))
    }

    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Puts a row in the place of the one with its owner and number, which is
    /// given back; `mark`: which snapshot of its owner has confirmed it. The
    /// shard must have room for four thousand million rows, and bytes of texts.
    pub(super) fn put(
        &mut self,
        hash: u64,
        (slot, number, mark): (Slot, u64, u8),
        packed: Packed,
        rehash: impl Fn(Seen<'_>) -> u64,
    ) -> Option<Gone> {
        let Packed { text, wide, small } = packed;
        let found = self.index.find(hash, |at| is(&self.rows, *at, slot, number)).copied();
        let old = found.and_then(|at| self.rows.get(at as usize));
        let old_text = old.map(|old| old.text.clone());
        let gone = old.map(|old| gone(old, &self.texts));
        let text = match (&gone, old_text) {
            // most changes are of a number
            (Some(gone), Some(same)) if gone.packed.text == text => same,
            (_, old) => {
                self.garbage += old.map_or(0, |old| old.len());
                self.write(&text)
            }
        };
        let row = Kept { number, wide, text, small, mark, slot };
        match found.and_then(|at| self.rows.get_mut(at as usize)) {
            Some(old) => {
                *old = row;
                self.tidy();
            }
            None => {
                let Shard { index, rows, texts, .. } = self;
                if rows.len() == rows.capacity() {
                    // by an eighth, not by the double: memory is what we are short of
                    rows.reserve_exact(rows.len() / 8 + 4);
                }
                let at = rows.len() as u32;
                rows.push(row);
                index.insert_unique(hash, at, |at| rehash(seen(&rows[*at as usize], texts)));
            }
        }
        gone
    }

    fn write(&mut self, text: &str) -> Range<u32> {
        let texts = &mut self.texts;
        if texts.capacity() - texts.len() < text.len() {
            texts.reserve_exact(texts.len() / 8 + 4 * text.len());
        }
        let begin = texts.len() as u32;
        texts.push_str(text);
        begin..texts.len() as u32
    }

    /// Takes out the row with this owner and number.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        slot: Slot,
        number: u64,
        rehash: impl Fn(Seen<'_>) -> u64,
    ) -> Option<Gone> {
        let Shard { index, rows, texts, .. } = self;
        let found = index.find_entry(hash, |at| is(rows, *at, slot, number)).ok()?;
        let at = found.remove().0;
        let row = rows.swap_remove(at as usize);
        if let Some(moved) = rows.get(at as usize) {
            let before = rows.len() as u32;
            if let Some(entry) =
                index.find_mut(rehash(seen(moved, texts)), |other| *other == before)
            {
                *entry = at;
            }
        }
        let gone = gone(&row, texts);
        self.garbage += row.text.len();
        self.tidy();
        Some(gone)
    }

    /// Takes out all rows of an owner whose mark `goes`, and gives back room if
    /// much is free.
    pub(super) fn sweep(
        &mut self,
        slot: Slot,
        goes: impl Fn(u8) -> bool,
        rehash: impl Fn(Seen<'_>) -> u64,
        mut out: impl FnMut(Gone),
    ) {
        let goes = |row: &Kept| row.slot == slot && goes(row.mark);
        if !self.rows.iter().any(goes) {
            return;
        }
        let Shard { rows, texts, garbage, .. } = self;
        for row in rows.extract_if(.., |row| goes(row)) {
            *garbage += row.text.len();
            out(gone(&row, texts));
        }
        if self.rows.len() < self.rows.capacity() / 2 {
            self.rows.shrink_to_fit();
        }
        self.tidy();
        self.index.clear();
        let (rows, texts) = (&self.rows, &self.texts);
        let rehash = |at: &u32| rehash(seen(&rows[*at as usize], texts));
        self.index.shrink_to(rows.len(), rehash);
        for (at, _) in (0u32..).zip(rows) {
            self.index.insert_unique(rehash(&at), at, rehash);
        }
    }

    /// Writes the texts anew, without those of rows that are gone, when a third
    /// of them is.
    fn tidy(&mut self) {
        if self.garbage < GARBAGE_BYTES_MIN || self.garbage < self.texts.len() / 3 {
            return;
        }
        let kept = self.texts.len().saturating_sub(self.garbage);
        let mut texts = String::with_capacity(kept + kept / 8);
        for row in &mut self.rows {
            let begin = texts.len() as u32;
            texts.push_str(text_of(row, &self.texts));
            row.text = begin..texts.len() as u32;
        }
        self.texts = texts;
        self.garbage = 0;
    }
}

fn is(rows: &[Kept], at: u32, slot: Slot, number: u64) -> bool {
    rows.get(at as usize).is_some_and(|row| row.number == number && row.slot == slot)
}

fn text_of<'a>(row: &Kept, texts: &'a str) -> &'a str {
    texts.get(row.text.start as usize..row.text.end as usize).unwrap_or_default()
}

fn seen<'a>(row: &Kept, texts: &'a str) -> Seen<'a> {
    let Kept { number, wide, small, slot, .. } = *row;
    Seen { number, slot, text: text_of(row, texts), wide, small }
}

fn gone(row: &Kept, texts: &str) -> Gone {
    Gone { number: row.number, packed: seen(row, texts).packed() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn hash(row: Seen<'_>) -> u64 {
        // few: rows meet
        row.key().len() as u64
    }

    fn packed(key: &str, wide: u64) -> Packed {
        Packed { text: format!("{key}/r").into(), wide, small: [1, 2, 3] }
    }

    /// What the shard holds, by owner and number.
    fn held(shard: &Shard) -> BTreeMap<(u16, u64), (String, u64)> {
        let row = |row: Seen<'_>| ((row.slot.0, row.number), (row.key().to_owned(), row.wide));
        shard.iter().map(row).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u16, u64, String, u8),
        Remove(u16, u64),
        Sweep(u16, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..3u16, 0..40u64, "[a-c]{1,200}", 0..3u8)
                .prop_map(|(slot, number, key, mark)| Step::Put(slot, number, key, mark)),
            4 => (0..3u16, 0..40u64).prop_map(|(slot, number)| Step::Remove(slot, number)),
            1 => (0..3u16, 0..3u8).prop_map(|(slot, mark)| Step::Sweep(slot, mark)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_holds_what_was_put_and_little_more(steps in prop::collection::vec(step(), 1..400)) {
            let mut shard = Shard::default();
            let mut model: BTreeMap<(u16, u64), (String, u64, u8)> = BTreeMap::new();
            for (at, step) in (0..).zip(steps) {
                match step {
                    Step::Put(slot, number, key, mark) => {
                        // a row keeps its key for life
                        let key = model.get(&(slot, number)).map_or(key, |row| row.0.clone());
                        let place = (Slot(slot), number, mark);
                        let hash_of = key.len() as u64;
                        let gone = shard.put(hash_of, place, packed(&key, at), hash);
                        let old = model.insert((slot, number), (key, at, mark));
                        prop_assert_eq!(gone.map(|gone| gone.packed.wide), old.map(|old| old.1));
                    }
                    Step::Remove(slot, number) => {
                        let old = model.remove(&(slot, number));
                        let hash_of = old.as_ref().map_or(1, |old| old.0.len() as u64);
                        let gone = shard.remove(hash_of, Slot(slot), number, hash);
                        let old = old.map(|(key, wide, _)| packed(&key, wide));
                        prop_assert_eq!(gone.map(|gone| gone.packed), old);
                    }
                    Step::Sweep(slot, goes) => {
                        let mut gone = 0;
                        shard.sweep(Slot(slot), |mark| mark == goes, hash, |_| gone += 1);
                        let before = model.len();
                        model.retain(|(of, _), (_, _, mark)| *of != slot || *mark != goes);
                        prop_assert_eq!(gone, before - model.len());
                    }
                }
                let wanted = model.iter().map(|(place, row)| (*place, (row.0.clone(), row.1)));
                prop_assert_eq!(held(&shard), wanted.collect());
                for ((slot, number), (key, ..)) in &model {
                    let found = shard.at(key.len() as u64).filter(|row| row.has_key(key));
                    let mut found = found.map(|row| (row.slot.0, row.number));
                    prop_assert!(found.any(|place| place == (*slot, *number)));
                }
                let texts: usize = model.values().map(|row| row.0.len() + 2).sum();
                prop_assert!(shard.texts.len() <= texts * 3 / 2 + GARBAGE_BYTES_MIN);
            }
        }
    }
}
