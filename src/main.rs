//! The command line, then run.

fn main() {}
