//! A load for XMPP servers: it measures any of them from outside, and counts
//! what is lost, doubled or overtaken.
//!
//! ```text
//! jabiru-load register --server 127.0.0.1:5222 --domain example.org --users 200
//! jabiru-load chat     --server 127.0.0.1:5222 --domain example.org --users 200 --pid 4711
//! jabiru-load rate     … --rate 5000
//! jabiru-load idle     … --users 20000
//! ```
//!
//! Accounts are `load0`, `load1` and so on; each one's password is its name with
//! `pw-` before it.
//! `register` makes them by in-band registration (XEP-0077). `--pid` names the
//! processes of the server, whose processor time and memory are told beside.
//! `--json` prints one line for programs. The tool itself uses one core; what
//! it could do at most, `relay` and `chat --bare` tell: they only copy bytes.

#![forbid(unsafe_code)]
#![allow(unreachable_pub)]

mod account;
mod chat;
mod client;
mod fanout;
mod machine;
mod relay;
mod report;
mod scan;
mod service;
mod sessions;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The command line.
#[derive(Debug, Parser)]
#[command(about = "A load for XMPP servers", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

/// Where the server is, and who comes.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Where clients come in; several are used in turn.
    #[arg(long, required = true)]
    server: Vec<SocketAddr>,
    /// The domain.
    #[arg(long, default_value = "localhost")]
    domain: String,
    /// TLS: none, after STARTTLS, or from the first byte. No certificate is
    /// looked at.
    #[arg(long, value_enum, default_value_t = Tls::None)]
    tls: Tls,
    /// Who was there comes back with its TLS ticket, where the server gives any;
    /// otherwise each handshake is a whole one.
    #[arg(long)]
    resume: bool,
    /// How clients prove who they are.
    #[arg(long, value_enum, default_value_t = Mechanism::Scram1)]
    mechanism: Mechanism,
    /// Sessions.
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// Sessions of each account.
    #[arg(long, default_value_t = 1)]
    resources: usize,
    /// The number of the first account.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Logins at a time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Loopback addresses that clients come from, 127.0.1.1 and on: one has
    /// 28,000 ports.
    #[arg(long, default_value_t = 1)]
    sources: u8,
    /// Processes of the server.
    #[arg(long)]
    pid: Vec<u32>,
    /// One line of JSON instead of words.
    #[arg(long)]
    json: bool,
}

/// Whether the stream is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// It is not.
    None,
    /// From a request of the client on.
    Starttls,
    /// From the first byte on.
    Direct,
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// PLAIN
    Plain,
    /// SCRAM-SHA-1
    Scram1,
    /// SCRAM-SHA-256
    Scram256,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the accounts.
    Register {
        #[command(flatten)]
        target: Target,
    },
    /// Log in, all once, and measure how fast.
    Login {
        #[command(flatten)]
        target: Target,
        /// Times that all log in.
        #[arg(long, default_value_t = 1)]
        rounds: usize,
    },
    /// Log in, stay, and measure the memory of it.
    Idle {
        #[command(flatten)]
        target: Target,
    },
    /// Two and two write to each other: whoever gets a message answers.
    Chat {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        chat: chat::Chat,
    },
    /// Messages at a rate that does not wait for the server; the time of each
    /// from when it was due.
    Rate {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        chat: chat::Chat,
        /// Messages a second, all clients together.
        #[arg(long)]
        rate: u64,
    },
    /// One account changes its presence, and all others are its contacts.
    Presence {
        #[command(flatten)]
        target: Target,
        /// Changes.
        #[arg(long, default_value_t = 100)]
        changes: usize,
    },
    /// A component that answers every message, and users who write to it.
    Component {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        service: service::Service,
        #[command(flatten)]
        chat: chat::Chat,
    },
    /// All log in; then a process is killed, and they come back by the other
    /// servers.
    Storm {
        #[command(flatten)]
        target: Target,
        /// Whom to kill.
        #[arg(long)]
        kill: u32,
    },
    /// Copies bytes between two and two, as `chat --bare` wants it: the limit
    /// of what any server could do on this machine.
    Relay {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:5999")]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // there is none to lose if it fails: the first connection over it says so
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    // the sockets are looked at after each round of all clients: what has come
    // is to be timed when it comes
    let runtime =
        tokio::runtime::Builder::new_current_thread().event_interval(1).enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match cli.what {
                What::Register { target } => sessions::register(&target).await,
                What::Login { target, rounds } => sessions::login(&target, rounds).await,
                What::Idle { target } => sessions::idle(&target).await,
                What::Chat { target, chat } => chat::closed(&target, &chat).await,
                What::Rate { target, chat, rate } => chat::open(&target, &chat, rate).await,
                What::Presence { target, changes } => fanout::presence(&target, changes).await,
                What::Component { target, service, chat } => {
                    service::component(&target, &service, &chat).await
                }
                What::Storm { target, kill } => sessions::storm(&target, kill).await,
                What::Relay { listen } => relay::serve(listen).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jabiru-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
