//! What nodes of other versions wrote into their stores, and ask each other
//! about it: `tests/wire/durable`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

use crate::cluster::durable::Table;
use crate::cluster::durable::change::{Change, ChangeError, Expect, Made};
use crate::cluster::durable::layout;
use crate::cluster::durable::marks::{Down, Marks, Rank, Standing};
use crate::cluster::durable::row::{Row, Stamp};
use crate::cluster::durable::sums::{Delta, weight};
use crate::cluster::durable::words::{
    AheadAsk, BucketsAnswer, BucketsAsk, ChangeAnswer, ChangeAsk, MergeAnswer, MergeAsk,
    RowsAnswer, RowsAsk, SumsAnswer, SumsAsk, read, topic, written,
};
use crate::cluster::node::NodeId;
use crate::golden::Golden;

const FILE: &str = "durable";

const NODE: NodeId = NodeId { generation: 0x0102_0304_0506_0708, random: 0x1112_1314_1516_1718 };
const STAMP: Stamp = Stamp { time: 1_790_000_000_000 << 16, node: NODE };
const KEY: &[u8] = b"romeo@example.org\0x";

fn word<T: Serialize + for<'a> Deserialize<'a> + Debug>(golden: &mut Golden, name: &str, word: &T) {
    golden.keeps(name, word, |word| written(word).to_vec(), |bytes| read(bytes));
}

#[test]
fn rows_stay_as_they_are_in_a_store() {
    let mut golden = Golden::of(FILE, "rows");
    let there = Row { stamp: STAMP, by: 300, value: Some(Bytes::from_static(b"value")) };
    let removed = Row { value: None, ..there.clone() };
    golden.keeps("a row", &there, Row::written, Row::read);
    golden.keeps("a removed row", &removed, Row::written, Row::read);
    for table in Table::ALL {
        golden.writes(&format!("key in {table:?}"), &layout::row_key(*table, KEY));
        let written = |table: &Table| postcard::to_stdvec(table).expect("plain");
        golden.keeps(&format!("{table:?} in a change"), table, written, |bytes| read(bytes));
    }
    golden.end();
}

#[test]
fn a_store_stays_laid_out_as_it_is() {
    let mut golden = Golden::of(FILE, "layout");
    let key = layout::row_key(Table::Vcard, KEY);
    golden.writes("index", &layout::index_key(&key));
    golden.writes("tombstone", &layout::tombstone_key(STAMP.time, &key));
    golden.writes("sums", &layout::sums_key(200));
    golden.writes("journal", &layout::journal_key(300));
    golden.writes("format key", layout::FORMAT_KEY);
    golden.writes("format", &[layout::FORMAT]);
    golden.writes("marks key", layout::MARKS_KEY);
    golden.writes("count key", layout::COUNT_KEY);
    golden.writes("weight of a row", &weight(&key, b"stored").to_be_bytes());
    let marks = Marks {
        alive: 1_790_000_000_000,
        agreed: Some(7),
        down: Some(Down { from: 5, until: 300 }),
        known: [1, u64::MAX].into(),
    };
    golden.keeps("marks", &marks, Marks::written, |bytes| read(bytes));
    let delta = Delta { buckets: [(300, u64::MAX), (2, 1)].into(), rows: -2 };
    word(&mut golden, "journal entry", &delta);
    golden.end();
}

#[test]
fn what_nodes_ask_each_other_about_rows_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "words");
    let topics = [
        topic::CHANGE,
        topic::MERGE,
        topic::SUMS,
        topic::BUCKETS,
        topic::ROWS,
        topic::AHEAD,
        topic::LOST,
        topic::COMPARE,
    ];
    golden.writes("topics", &topics);
    let rows = vec![(KEY.to_vec(), b"stored".to_vec())];
    let ahead = vec![(KEY.to_vec(), STAMP)];
    let changes = vec![
        Change::put(Table::Accounts, KEY, "value"),
        Change::put(Table::Roster, KEY, "value").expect(Expect::Absent),
        Change::remove(Table::Offline, KEY).expect(Expect::Present),
    ];
    word(&mut golden, "change", &ChangeAsk { by: 300, clock: 5, changes });
    let made = Made { nodes: 3, late: 300 };
    for (name, answer) in [
        ("made", ChangeAnswer::Made(made)),
        ("refused: exists", ChangeAnswer::Refused(ChangeError::Exists)),
        ("refused: missing", ChangeAnswer::Refused(ChangeError::Missing)),
        ("refused: store", ChangeAnswer::Refused(ChangeError::Store("full".into()))),
        ("beaten", ChangeAnswer::Beaten),
    ] {
        word(&mut golden, name, &answer);
    }
    word(&mut golden, "merge", &MergeAsk { wall: 300, rows: rows.clone() });
    let later = rows.clone();
    word(&mut golden, "merged", &MergeAnswer { wall: 300, ahead: ahead.clone(), later });
    word(&mut golden, "sums?", &SumsAsk { wall: 300 });
    for rank in [Rank::New, Rank::Good, Rank::Alone, Rank::Down] {
        let standing = Standing { rank, age: Some(9), known: vec![1, u64::MAX] };
        let sums = SumsAnswer { wall: 300, standing, horizon: 5, groups: vec![1, u64::MAX] };
        word(&mut golden, &format!("sums, {rank:?}"), &sums);
    }
    word(&mut golden, "buckets?", &BucketsAsk { groups: vec![0, 255] });
    word(&mut golden, "buckets", &BucketsAnswer { groups: vec![(255, vec![1, u64::MAX])] });
    let cursor = (300, KEY.to_vec());
    word(&mut golden, "rows?", &RowsAsk { buckets: vec![0, 65_535], from: cursor.clone() });
    word(&mut golden, "rows", &RowsAnswer { rows: rows.clone(), next: Some(cursor) });
    word(&mut golden, "last rows", &RowsAnswer { rows, next: None });
    word(&mut golden, "ahead", &AheadAsk { wall: 300, rows: ahead });
    golden.end();
}
