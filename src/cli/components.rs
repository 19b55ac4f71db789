//! The commands about components.

use clap::{Args, Subcommand};

use crate::admin::requests::{Request, Response};
use crate::cli::node::{SocketArgs, ask, json, say};
use crate::cli::{Exit, table};
use crate::config::Config;

/// `jabiru components`.
#[derive(Debug, Args)]
pub struct ComponentsArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `jabiru component`.
#[derive(Debug, Args)]
pub struct ComponentArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Give it nothing that another instance can take; it stays connected, and
    /// what it has begun it can end.
    Drain(InstanceArgs),
    /// Give it its share again.
    Undrain(InstanceArgs),
}

#[derive(Debug, Args)]
struct InstanceArgs {
    /// One of its domains.
    domain: String,
    /// Its name, as `jabiru components` shows it.
    instance: String,
}

/// Shows all components, on whichever node.
pub fn components(args: &ComponentsArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    match ask(&args.socket, &load, &Request::Components) {
        Ok(Response::Components { components, .. }) if args.json => json(&components),
        Ok(Response::Components { components, silent }) => {
            println!("{}", table::components(&components));
            if !silent.is_empty() {
                println!("{} did not answer", silent.join(", "));
            }
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

/// Has an instance drain, or serve again.
pub fn component(args: &ComponentArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let (one, drains) = match &args.what {
        What::Drain(one) => (one, true),
        What::Undrain(one) => (one, false),
    };
    let (domain, instance) = (one.domain.clone(), one.instance.clone());
    let request = Request::ComponentDrain { domain, instance, drains };
    ask(&args.socket, &load, &request).map_or_else(|exit| exit, say)
}
