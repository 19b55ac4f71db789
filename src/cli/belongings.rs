//! The commands about one account and what belongs to it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::admin::belongings::Place;
use crate::admin::requests::{Request, Response};
use crate::cli::node::{Load, SocketArgs, all, ask, json, say};
use crate::cli::{Exit, table};
use crate::config::Config;

/// `jabiru ban`.
#[derive(Debug, Args)]
pub struct BanArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// user@domain. Without it: who is banned.
    account: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", requires = "account")]
    reason: Option<String>,
    /// As JSON.
    #[arg(long, conflicts_with = "account")]
    json: bool,
}

/// `jabiru unban`.
#[derive(Debug, Args)]
pub struct UnbanArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// user@domain
    account: String,
}

/// `jabiru roster`.
#[derive(Debug, Args)]
pub struct RosterArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// user@domain
    account: String,
    #[command(subcommand)]
    command: Option<RosterCommand>,
}

#[derive(Debug, Subcommand)]
enum RosterCommand {
    /// List all contacts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a contact, or change it.
    Add {
        /// user@domain
        contact: String,
        /// What it is called.
        #[arg(long)]
        name: Option<String>,
        /// A group that it is in; may be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// none, to, from or both. A contact of ours gets the other side.
        #[arg(long, value_name = "WHICH")]
        subscription: Option<String>,
    },
    /// Remove a contact; it is told, as if the account had done it.
    Remove {
        /// user@domain
        contact: String,
    },
}

/// `jabiru offline`.
#[derive(Debug, Args)]
pub struct OfflineArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// user@domain
    account: String,
    #[command(subcommand)]
    command: Option<OfflineCommand>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum OfflineCommand {
    /// List who wrote, when, and how much. What they wrote is theirs.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Count the messages.
    Count,
    /// Throw all messages away.
    Clear,
}

/// `jabiru vcard`.
#[derive(Debug, Args)]
pub struct VcardArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// user@domain
    account: String,
    #[command(subcommand)]
    command: Option<VcardCommand>,
}

#[derive(Debug, Subcommand)]
enum VcardCommand {
    /// Show it.
    Get,
    /// Replace it.
    Set {
        /// A file with one vCard element of the namespace vcard-temp.
        file: PathBuf,
    },
}

/// Bans an account, or lists who is banned.
pub fn ban(args: &BanArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let Some(account) = args.account.clone() else { return bans(args, &load) };
    let reason = args.reason.clone().unwrap_or_default();
    one(&args.socket, &load, &Request::Ban { account, reason })
}

fn bans(args: &BanArgs, load: Load<'_>) -> Exit {
    let bans = all(|from| match ask(&args.socket, load, &Request::Bans { from })? {
        Response::Bans { bans, next } => Ok((bans, next)),
        other => Err(say(other)),
    });
    match bans {
        Ok(bans) if args.json => json(&bans),
        Ok(bans) => {
            println!("{}", table::bans(&bans));
            Exit::Done
        }
        Err(exit) => exit,
    }
}

/// A banned account may be used again.
pub fn unban(args: &UnbanArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    one(&args.socket, &load, &Request::Unban { account: args.account.clone() })
}

/// Lists and changes a roster.
pub fn roster(args: &RosterArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let account = args.account.clone();
    let request = match &args.command {
        None | Some(RosterCommand::List { .. }) => Request::Roster { account },
        Some(RosterCommand::Add { contact, name, groups, subscription }) => Request::RosterAdd {
            account,
            contact: contact.clone(),
            place: Place {
                name: name.clone(),
                groups: groups.clone(),
                subscription: subscription.clone(),
            },
        },
        Some(RosterCommand::Remove { contact }) => {
            Request::RosterRemove { account, contact: contact.clone() }
        }
    };
    let as_json = matches!(args.command, Some(RosterCommand::List { json: true }));
    match ask(&args.socket, &load, &request) {
        Ok(Response::Roster { contacts }) if as_json => json(&contacts),
        Ok(Response::Roster { contacts }) => {
            println!("{}", table::roster(&contacts));
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

/// Lists, counts or clears what waits for an account.
pub fn offline(args: &OfflineArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let account = args.account.clone();
    let command = args.command.unwrap_or(OfflineCommand::List { json: false });
    let request = match command {
        OfflineCommand::Clear => Request::OfflineClear { account },
        OfflineCommand::List { .. } | OfflineCommand::Count => Request::Offline { account },
    };
    match (ask(&args.socket, &load, &request), command) {
        (Ok(Response::Offline { messages }), OfflineCommand::List { json: true }) => {
            json(&messages)
        }
        (Ok(Response::Offline { messages }), OfflineCommand::Count) => {
            println!("{}", messages.len());
            Exit::Done
        }
        (Ok(Response::Offline { messages }), _) => {
            println!("{}", table::offline(&messages));
            Exit::Done
        }
        (Ok(other), _) => say(other),
        (Err(exit), _) => exit,
    }
}

/// Shows or replaces a vCard.
pub fn vcard(args: &VcardArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let account = args.account.clone();
    let request = match &args.command {
        None | Some(VcardCommand::Get) => Request::Vcard { account },
        Some(VcardCommand::Set { file }) => match std::fs::read_to_string(file) {
            Ok(vcard) => Request::VcardSet { account, vcard },
            Err(error) => {
                eprintln!("jabiru: {}: {error}", file.display());
                return Exit::Failed;
            }
        },
    };
    match ask(&args.socket, &load, &request) {
        Ok(Response::Vcard { vcard }) => {
            println!("{vcard}");
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

fn one(socket: &SocketArgs, load: Load<'_>, request: &Request) -> Exit {
    ask(socket, load, request).map_or_else(|exit| exit, say)
}
