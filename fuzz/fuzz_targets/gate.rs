//! Any bytes at the gate, cut anywhere, beside rxml.
//!
//! `cargo +nightly fuzz run gate` from the top of the project runs it without
//! end. The first byte says how the others are cut.

#![no_main]

#[path = "../../tests/compare/mod.rs"]
mod compare;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let step = usize::from(*first % 16) + 1;
    let cuts: Vec<usize> = (0..rest.len()).step_by(step).collect();
    let stream = [compare::HEADER.as_bytes(), rest].concat();
    compare::compare(&stream, &cuts);
    compare::compare(rest, &cuts);
});
