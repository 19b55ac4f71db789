//! The commands that say something.

use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;

use crate::admin::requests::{LINE_BYTES_MAX, Request};
use crate::admin::sending::TextKind;
use crate::cli::Exit;
use crate::cli::node::{SocketArgs, ask, say};
use crate::config::Config;

/// `jabiru send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// In whose name: an account of ours, or one of our domains.
    #[arg(required_unless_present = "stanza")]
    from: Option<String>,
    /// To whom: an account of ours, or one of its sessions.
    #[arg(required_unless_present = "stanza")]
    to: Option<String>,
    /// What it says.
    #[arg(required_unless_present = "stanza")]
    text: Option<String>,
    /// As what.
    #[arg(long = "type", value_enum, default_value_t = TextKind::Chat)]
    kind: TextKind,
    /// A file with one whole stanza, - for standard input, in place of all
    /// else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "text", "kind"])]
    stanza: Option<PathBuf>,
}

/// `jabiru announce`.
#[derive(Debug, Args)]
pub struct AnnounceArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Only to the sessions of this domain of ours.
    #[arg(long)]
    domain: Option<String>,
    /// Its subject.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// What it says.
    text: String,
}

/// Sends a message or a stanza.
pub fn send(args: &SendArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = match (&args.stanza, &args.from, &args.to, &args.text) {
        (Some(file), ..) => match read(file) {
            Ok(stanza) => Request::SendStanza { stanza },
            Err(error) => {
                eprintln!("jabiru: {}: {error}", file.display());
                return Exit::Failed;
            }
        },
        (None, Some(from), Some(to), Some(text)) => Request::Send {
            from: from.clone(),
            to: to.clone(),
            kind: args.kind,
            text: text.clone(),
        },
        _ => return Exit::Usage,
    };
    ask(&args.socket, &load, &request).map_or_else(|exit| exit, say)
}

/// Tells something to everybody who is online.
pub fn announce(args: &AnnounceArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = Request::Announce {
        domain: args.domain.clone(),
        subject: args.subject.clone(),
        text: args.text.clone(),
    };
    ask(&args.socket, &load, &request).map_or_else(|exit| exit, say)
}

fn read(file: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    let most = LINE_BYTES_MAX as u64;
    match file.as_os_str() == "-" {
        true => io::stdin().take(most).read_to_string(&mut text)?,
        false => std::fs::File::open(file)?.take(most).read_to_string(&mut text)?,
    };
    Ok(text)
}
