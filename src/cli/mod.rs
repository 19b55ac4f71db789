//! The command line: what can be typed, and which exit code comes back.
//!
//! 0: done. 1: failed. 2: wrong usage or configuration. 3: no node answers.

pub mod belongings;
pub mod components;
pub mod keys;
pub mod life;
pub mod membership;
pub mod node;
pub mod probing;
pub mod sending;
pub mod servers;
pub mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::admin::http;
use crate::config::{Config, LogFormat};
use crate::server;

/// Where the configuration is looked for if none is named.
const CONFIG_FILES: [&str; 2] = ["jabiru.toml", "/etc/jabiru/jabiru.toml"];

/// A masterless XMPP cluster server.
#[derive(Debug, Parser)]
#[command(name = "jabiru", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// A configuration file; several are read in order, the later over the
    /// earlier. Without one: jabiru.toml here, or /etc/jabiru/jabiru.toml.
    #[arg(short, long = "config", global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// One key of the configuration, over all files: cluster.name=a
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run this node.
    Serve,
    /// Check the configuration, and all files that it names; or how another
    /// server is reached.
    Check(probing::CheckArgs),
    /// Make a cookie: the secret that all nodes of a cluster share.
    Cookie(keys::CookieArgs),
    /// Make a certificate authority and a certificate, for trying out.
    Cert(keys::CertArgs),
    /// Show all nodes, and whether they agree.
    Status(node::StatusArgs),
    /// Show who is connected, on whichever node.
    Sessions(node::SessionsArgs),
    /// Make, change, remove and list accounts.
    User(node::UserArgs),
    /// End the sessions of an account, or of one full JID.
    Kick(node::KickArgs),
    /// Write all accounts, rosters and other durable rows into a file, as they
    /// are at one moment. The node runs on.
    Backup(node::BackupArgs),
    /// Bring back rows of a backup that are missing now, on all nodes. The
    /// nodes run on.
    Restore(node::RestoreArgs),
    /// Keep an account from logging in, and end its sessions; all that belongs
    /// to it stays.
    Ban(belongings::BanArgs),
    /// Let a banned account log in again.
    Unban(belongings::UnbanArgs),
    /// Show and change the roster of an account.
    Roster(belongings::RosterArgs),
    /// Show and clear what waits for an account.
    Offline(belongings::OfflineArgs),
    /// Show and replace the vCard of an account.
    Vcard(belongings::VcardArgs),
    /// Send a message, or any stanza, in somebody's name.
    Send(sending::SendArgs),
    /// Tell something to everybody who is online.
    Announce(sending::AnnounceArgs),
    /// Show the components that are connected, on whichever node.
    Components(components::ComponentsArgs),
    /// Let one instance of a component drain, or serve again.
    Component(components::ComponentArgs),
    /// Show the streams from and to other servers, on whichever node; end some.
    S2s(servers::ServersArgs),
    /// Show all nodes of the cluster: those that run, those that are gone, and
    /// those that were removed.
    Nodes(membership::NodesArgs),
    /// Show what has happened to the nodes, and why.
    Events(membership::EventsArgs),
    /// Join this node with the cluster of another. Nothing that either has is
    /// lost. One that was removed is brought back.
    Join(membership::JoinArgs),
    /// Let a node leave for good: it hands over what it has, and stops. Also
    /// removes one that is gone and will not come back.
    Leave(membership::LeaveArgs),
    /// Send new clients to other nodes; those of this node stay until they go,
    /// or until a deadline. A restart ends the drain.
    Drain(life::DrainArgs),
    /// Let new clients in again.
    Undrain(node::SocketArgs),
    /// Stop the node in good order, and wait until it has ended.
    Stop(node::SocketArgs),
    /// Write completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done,
    /// It was not done.
    Failed,
    /// It was asked for in a wrong way.
    Usage,
    /// No node answers.
    NoNode,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoNode => 3,
        })
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are no errors; clap knows which is which
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let load = || load(&cli.config, &cli.set);
    let exit = match cli.command {
        Command::Serve => load().map_or_else(|exit| exit, serve),
        Command::Check(args) => load().map_or_else(
            |exit| exit,
            |config| match args.what {
                None => check(&config),
                Some(what) => probing::probe(&what, config),
            },
        ),
        Command::Cookie(args) => keys::cookie(&args),
        Command::Cert(args) => keys::cert(&args),
        Command::Status(args) => node::status(&args, load),
        Command::Sessions(args) => node::sessions(&args, load),
        Command::User(args) => node::user(&args, load),
        Command::Kick(args) => node::kick(&args, load),
        Command::Backup(args) => node::backup(&args, load),
        Command::Restore(args) => node::restore(&args, load),
        Command::Ban(args) => belongings::ban(&args, load),
        Command::Unban(args) => belongings::unban(&args, load),
        Command::Roster(args) => belongings::roster(&args, load),
        Command::Offline(args) => belongings::offline(&args, load),
        Command::Vcard(args) => belongings::vcard(&args, load),
        Command::Send(args) => sending::send(&args, load),
        Command::Announce(args) => sending::announce(&args, load),
        Command::Components(args) => components::components(&args, load),
        Command::Component(args) => components::component(&args, load),
        Command::S2s(args) => servers::servers(&args, load),
        Command::Nodes(args) => membership::nodes(&args, load),
        Command::Events(args) => membership::events(&args, load),
        Command::Join(args) => membership::join(&args, load),
        Command::Leave(args) => membership::leave(&args, load),
        Command::Drain(args) => life::drain(&args, load),
        Command::Undrain(args) => life::undrain(&args, load),
        Command::Stop(args) => life::stop(&args, load),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "jabiru", &mut std::io::stdout());
            Exit::Done
        }
    };
    exit.into()
}

fn load(files: &[PathBuf], flags: &[String]) -> Result<Config, Exit> {
    let mut files = files.to_vec();
    if files.is_empty() {
        files.extend(CONFIG_FILES.iter().map(PathBuf::from).find(|file| file.exists()));
    }
    Config::load(&files, std::env::vars(), flags).map_err(|errors| {
        for error in errors {
            eprintln!("{error}");
        }
        if files.is_empty() {
            eprintln!("no configuration file: `--config FILE` names one");
        }
        Exit::Usage
    })
}

fn check(config: &Config) -> Exit {
    match server::checked::check(config) {
        Ok(()) => {
            println!("all is well");
            Exit::Done
        }
        Err(errors) => {
            for error in errors {
                eprintln!("{}", server::chain(&error));
            }
            Exit::Usage
        }
    }
}

fn serve(config: Config) -> Exit {
    let filter = EnvFilter::try_new(&config.log.level).unwrap_or_default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    // each session is an open file; more than the hard limit nobody may have
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(files) => tracing::info!(files, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    let metrics = match http::collect() {
        Ok(metrics) => metrics,
        Err(error) => return failed(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(server::serve(config, metrics)) {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Exit {
    eprintln!("jabiru: {}", server::chain(error));
    Exit::Failed
}
