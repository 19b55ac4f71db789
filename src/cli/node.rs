//! The commands that a running node carries out.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::admin::requests::{Request, Response};
use crate::cli::{Exit, table};
use crate::config::Config;

/// How long a node may take: changes wait for others.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// How long a backup may take. A guess: a hundred million rows.
pub const WORK_TIME_MAX: Duration = Duration::from_secs(6 * 3_600);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Sessions shown, unless asked for more.
const SESSIONS_SHOWN: usize = 1_000;

/// Where the node is.
#[derive(Debug, Args)]
pub struct SocketArgs {
    /// The control socket of the node. Without it: the one of the
    /// configuration.
    #[arg(long, env = "JABIRU_SOCKET", value_name = "FILE")]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    /// Its path.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn path(&self, load: Load<'_>) -> Result<PathBuf, Exit> {
        match &self.socket {
            Some(path) => Ok(path.clone()),
            None => Ok(load()?.admin.socket),
        }
    }
}

/// `jabiru status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Again and again, every second.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// `jabiru sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Only the sessions of this account.
    account: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// At most so many.
    #[arg(long, default_value_t = SESSIONS_SHOWN)]
    limit: usize,
}

/// `jabiru kick`.
#[derive(Debug, Args)]
pub struct KickArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// A bare JID for all its sessions, a full JID for one.
    address: String,
}

/// `jabiru backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The node opens this file, so its user must be allowed to; nobody else
    /// may read it then. A former file of that name is replaced when the new
    /// one is complete.
    file: PathBuf,
}

/// `jabiru restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The node opens this file, so its user must be allowed to.
    file: PathBuf,
    /// Bring back also what has another value now: whatever was changed since
    /// the backup is lost.
    #[arg(long)]
    overwrite: bool,
}

/// `jabiru user`.
#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make an account.
    Add(PasswordArgs),
    /// Remove an account with all that belongs to it, and end its sessions.
    Remove {
        /// user@domain
        account: String,
    },
    /// Give an account another password.
    Password(PasswordArgs),
    /// List all accounts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// user@domain
    account: String,
    /// The file with the password in its first line. Without it the password
    /// is asked for, or read from standard input if that is no terminal.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What the configuration says, if it is needed.
pub type Load<'a> = &'a dyn Fn() -> Result<Config, Exit>;

/// Shows all nodes.
pub fn status(args: &StatusArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    loop {
        let response = ask(&args.socket, &load, &Request::Status);
        let exit = match response {
            Ok(Response::Status(status)) => {
                let shown = match args.json {
                    true => serde_json::to_string_pretty(&status).unwrap_or_default(),
                    false => table::status(&status),
                };
                if args.watch {
                    // clear the screen, begin at its top
                    print!("\x1b[2J\x1b[H");
                }
                println!("{shown}");
                if status.is_well { Exit::Done } else { Exit::Failed }
            }
            Ok(other) => say(other),
            Err(exit) => exit,
        };
        if !args.watch || exit == Exit::NoNode || io::stdout().flush().is_err() {
            return exit;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Shows who is connected.
pub fn sessions(args: &SessionsArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = Request::Sessions { account: args.account.clone(), limit: args.limit };
    match ask(&args.socket, &load, &request) {
        Ok(Response::Sessions { sessions, .. }) if args.json => {
            println!("{}", serde_json::to_string_pretty(&sessions).unwrap_or_default());
            Exit::Done
        }
        Ok(Response::Sessions { sessions, count }) => {
            println!("{}", table::sessions(&sessions, count));
            Exit::Done
        }
        Ok(other) => say(other),
        Err(exit) => exit,
    }
}

/// Makes, changes, removes and lists accounts.
pub fn user(args: &UserArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = match &args.command {
        UserCommand::Remove { account } => Request::UserRemove { account: account.clone() },
        UserCommand::List { json } => return list(&args.socket, &load, *json),
        UserCommand::Add(new) => match password(new) {
            Ok(password) => Request::UserAdd { account: new.account.clone(), password },
            Err(exit) => return exit,
        },
        UserCommand::Password(new) => match password(new) {
            Ok(password) => Request::UserPassword { account: new.account.clone(), password },
            Err(exit) => return exit,
        },
    };
    ask(&args.socket, &load, &request).map_or_else(|exit| exit, say)
}

/// Ends sessions.
pub fn kick(args: &KickArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let request = Request::Kick { address: args.address.clone() };
    ask(&args.socket, &load, &request).map_or_else(|exit| exit, say)
}

/// Writes a backup.
pub fn backup(args: &BackupArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let Ok(file) = std::path::absolute(&args.file) else { return Exit::Usage };
    ask_for(&args.socket, &load, &Request::Backup { file }, WORK_TIME_MAX)
        .map_or_else(|exit| exit, say)
}

/// Restores a backup.
pub fn restore(args: &RestoreArgs, load: impl Fn() -> Result<Config, Exit>) -> Exit {
    let Ok(file) = std::path::absolute(&args.file) else { return Exit::Usage };
    let request = Request::Restore { file, overwrite: args.overwrite };
    ask_for(&args.socket, &load, &request, WORK_TIME_MAX).map_or_else(|exit| exit, say)
}

fn list(socket: &SocketArgs, load: Load<'_>, as_json: bool) -> Exit {
    let accounts = all(|from| match ask(socket, load, &Request::UserList { from })? {
        Response::Users { accounts, next } => Ok((accounts, next)),
        other => Err(say(other)),
    });
    match accounts {
        Ok(accounts) if as_json => json(&accounts),
        Ok(accounts) => {
            accounts.iter().for_each(|account| println!("{account}"));
            Exit::Done
        }
        Err(exit) => exit,
    }
}

/// All pages of something, one after the other.
///
/// # Errors
/// Of the first page that fails.
pub fn all<T>(
    mut page: impl FnMut(String) -> Result<(Vec<T>, Option<String>), Exit>,
) -> Result<Vec<T>, Exit> {
    let mut from = String::new();
    let mut all = Vec::new();
    loop {
        let (some, next) = page(from)?;
        all.extend(some);
        match next {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}

/// Prints something as JSON.
pub fn json(value: &impl serde::Serialize) -> Exit {
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
    Exit::Done
}

/// Says what a node said, in words.
pub fn say(response: Response) -> Exit {
    match response {
        Response::Done { message } => {
            println!("{message}");
            Exit::Done
        }
        Response::Failed { message } => {
            eprintln!("jabiru: {message}");
            Exit::Failed
        }
        other => {
            eprintln!("jabiru: the node said what was not asked: {other:?}");
            Exit::Failed
        }
    }
}

/// Says one command to the node, and hears its answer.
pub fn ask(socket: &SocketArgs, load: Load<'_>, request: &Request) -> Result<Response, Exit> {
    ask_for(socket, load, request, ANSWER_TIME_MAX)
}

/// The same, and how long its answer may take.
pub fn ask_for(
    socket: &SocketArgs,
    load: Load<'_>,
    request: &Request,
    patience: Duration,
) -> Result<Response, Exit> {
    let path = socket.path(load)?;
    let said = || -> io::Result<Response> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    };
    said().map_err(|error| {
        eprintln!("jabiru: no node answers at {}: {error}", path.display());
        Exit::NoNode
    })
}

/// The password: from a file, a pipe or the keyboard, never an argument.
fn password(args: &PasswordArgs) -> Result<String, Exit> {
    let read = || -> io::Result<String> {
        if let Some(path) = &args.password_file {
            return first_line(std::fs::File::open(path)?);
        }
        if !io::stdin().is_terminal() {
            return first_line(io::stdin());
        }
        let first = rpassword::prompt_password(format!("password of {}: ", args.account))?;
        let again = rpassword::prompt_password("once more: ")?;
        if first == again { Ok(first) } else { Err(io::Error::other("they differ")) }
    };
    read().map_err(|error| {
        eprintln!("jabiru: no password: {error}");
        Exit::Failed
    })
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(4_096)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
