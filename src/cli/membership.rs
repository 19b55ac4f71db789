//! The commands by which nodes come and go, and that show who is there.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clap::Args;

use crate::admin::requests::{Request, Response};
use crate::cli::node::{SocketArgs, ask, ask_for, json, say};
use crate::cli::{Exit, table};
use crate::config::Config;

/// How long a node may take to come or to go: rows are handed over.
const WORK_TIME_MAX: Duration = Duration::from_secs(180);

/// How long a node that was brought back may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Events shown, unless asked for more.
const EVENTS_SHOWN: usize = 100;

/// `jabiru join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Where any node of the other cluster listens: name:4369.
    seed: String,
}

/// `jabiru leave`.
#[derive(Debug, Args)]
pub struct LeaveArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The node that leaves; without it, the one that is asked. It may run, or
    /// be gone.
    node: Option<String>,
}

/// `jabiru nodes`.
#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `jabiru events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// At most so many, the newest.
    #[arg(long, default_value_t = EVENTS_SHOWN)]
    limit: usize,
}

/// Joins the node with a cluster.
pub fn join(args: &JoinArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = Request::Join { seed: args.seed.clone() };
    let mut begun: Option<Instant> = None;
    loop {
        let path = match args.socket.path(&load) {
            Ok(path) => path,
            Err(exit) => return exit,
        };
        // one that was brought back starts, and its socket is not there yet
        let starts = begun.is_some_and(|at| at.elapsed() < START_TIME_MAX);
        if starts && UnixStream::connect(&path).is_err() {
            std::thread::sleep(PAUSE);
            continue;
        }
        match ask_for(&args.socket, &load, &request, WORK_TIME_MAX) {
            Ok(Response::Again { message }) => {
                println!("{message}");
                begun = Some(Instant::now());
            }
            Ok(response) => return say(response),
            Err(exit) => return exit,
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets a node leave for good.
pub fn leave(args: &LeaveArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = Request::Leave { node: args.node.clone() };
    ask_for(&args.socket, &load, &request, WORK_TIME_MAX).map_or_else(|exit| exit, say)
}

/// Shows all nodes of the cluster, whether they run or not.
pub fn nodes(args: &NodesArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    match ask(&args.socket, &load, &Request::Nodes) {
        Ok(Response::Nodes { nodes }) if args.json => json(&nodes),
        Ok(Response::Nodes { nodes }) => {
            println!("{}", table::nodes(&nodes));
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

/// Shows what has happened.
pub fn events(args: &EventsArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    match ask(&args.socket, &load, &Request::Events { limit: args.limit }) {
        Ok(Response::Events { events, .. }) if args.json => json(&events),
        Ok(Response::Events { events, silent }) => {
            println!("{}", table::events(&events));
            if !silent.is_empty() {
                println!("{} did not answer", silent.join(", "));
            }
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}
