//! The command line, then run.

use std::process::ExitCode;

fn main() -> ExitCode {
    jabiru::cli::run()
}
