//! The command line, then run.

use std::process::ExitCode;

/// Measured beside the system's: a fifth less memory for large tables, and no
/// slower (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    jabiru::cli::run()
}
