//! The commands about other servers.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::admin::requests::{Request, Response};
use crate::admin::servers::{ServerLine, ServersRequest};
use crate::cli::Exit;
use crate::cli::node::{SocketArgs, ask, say};
use crate::cli::table::{columns, span};
use crate::config::Config;

/// `jabiru s2s`.
#[derive(Debug, Args)]
pub struct ServersArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(subcommand)]
    work: Option<Work>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// End the streams from and to a domain, on all nodes, and forget that it
    /// could not be reached: the next stanza opens another.
    Close {
        /// Theirs.
        domain: String,
    },
}

/// Shows or ends the streams from and to other servers.
pub fn servers(args: &ServersArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = match &args.work {
        None => ServersRequest::List,
        Some(Work::Close { domain }) => ServersRequest::Close { domain: domain.clone() },
    };
    match ask(&args.socket, &load, &Request::Servers(request)) {
        Ok(Response::Servers { servers }) if args.json => {
            match serde_json::to_string_pretty(&servers) {
                Ok(text) => {
                    println!("{text}");
                    Exit::Done
                }
                Err(error) => {
                    eprintln!("jabiru: {error}");
                    Exit::Failed
                }
            }
        }
        Ok(Response::Servers { servers }) => {
            println!("{}", table(&servers));
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

fn table(servers: &[ServerLine]) -> String {
    let head =
        ["", "DOMAIN", "NODE", "STATE", "PROVED BY", "TLS", "ADDRESS", "SINCE", "STANZAS", "QUEUE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let or_none = |text: &Option<String>| text.clone().unwrap_or("-".into());
    for line in servers {
        let state = match (&line.error, line.next_try) {
            (Some(_), Some(0) | None) => "failed".to_owned(),
            (Some(_), Some(next)) => {
                format!("failed, next try in {}", span(Duration::from_secs(next)))
            }
            (None, _) if line.is_held => format!("{}, held back", line.state),
            (None, _) => line.state.clone(),
        };
        let proof = match (&line.proof, line.is_certain) {
            (Some(proof), Some(false)) => format!("{proof}, theirs not valid"),
            (Some(proof), _) => proof.clone(),
            (None, _) => "-".into(),
        };
        rows.push(vec![
            line.direction.clone(),
            line.theirs.join(" "),
            line.node.clone(),
            state,
            proof,
            or_none(&line.tls),
            or_none(&line.address),
            span(Duration::from_secs(line.since)),
            line.stanzas.to_string(),
            line.queue.to_string(),
        ]);
    }
    let mut text = columns(&rows);
    for line in servers {
        if let Some(error) = &line.error {
            text += &format!("\n{} on {}: {error}", line.theirs.join(" "), line.node);
        }
    }
    match servers.len() {
        1 => format!("{text}\n1 stream"),
        count => format!("{text}\n{count} streams"),
    }
}
