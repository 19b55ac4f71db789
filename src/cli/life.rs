//! The commands about the life of a node: drain, undrain, stop.

use std::time::Duration;

use clap::Args;

use crate::admin::requests::Request;
use crate::cli::Exit;
use crate::cli::node::{SocketArgs, WORK_TIME_MAX, ask, ask_for, say};
use crate::config::Config;
use crate::units::Span;

/// `jabiru drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// After so long (10m, 30s) those who are left are asked to connect
    /// elsewhere, and the command ends when none is left; broken off before, it
    /// is carried out all the same. Without it, it ends at once, and they stay.
    #[arg(long, value_name = "TIME")]
    deadline: Option<Span>,
}

/// Sends clients elsewhere.
pub fn drain(args: &DrainArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let wait = args.deadline.map_or(Duration::ZERO, Span::get);
    let request = Request::Drain { deadline: args.deadline };
    ask_for(&args.socket, &load, &request, WORK_TIME_MAX.saturating_add(wait))
        .map_or_else(|exit| exit, say)
}

/// Lets clients in again.
pub fn undrain(args: &SocketArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    ask(args, &load, &Request::Undrain).map_or_else(|exit| exit, say)
}

/// Stops the node.
pub fn stop(args: &SocketArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    ask_for(args, &load, &Request::Stop, WORK_TIME_MAX).map_or_else(|exit| exit, say)
}
