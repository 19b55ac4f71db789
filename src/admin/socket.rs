//! The local control socket: commands of whoever owns this node.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::admin::answers::{bare, done, failed};
use crate::admin::report::Status;
use crate::admin::requests::{LINE_BYTES_MAX, Request, Response, SessionLine};
use crate::admin::{Admin, accounts, belongings, components, life, membership, sending, servers};
use crate::cluster::durable::backup::{BackedUp, Restored};
use crate::session_manager::everywhere::{self, Told};
use crate::session_manager::session::Seat;
use crate::xmpp::jid::Jid;

/// How long a command may take to be said.
const LINE_TIME_MAX: Duration = Duration::from_secs(10);

/// Bits of a bind stamp below its milliseconds.
const STAMP_COUNTER_BITS: u32 = 16;

/// Binds the socket so that nobody else could ever open it.
///
/// # Errors
/// What the system says.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // made under another name, closed to others, then moved into its place
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    match fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
    fs::rename(&hidden, path)?;
    Ok(listener)
}

/// Answers commands for ever.
pub async fn serve(admin: Arc<Admin>, listener: UnixListener) {
    let room = admin.end.commands();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    if let Err(error) = answer(&admin, stream).await {
                        debug!(%error, "a command was broken off");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot take a command");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(admin: &Arc<Admin>, stream: UnixStream) -> io::Result<()> {
    let (request, mut writing) = hear(stream).await?;
    let response = match request {
        Ok(request) => carry_out(admin, request).await,
        Err(response) => response,
    };
    tell(&mut writing, &response).await
}

/// Hears one command; what is none has its answer.
///
/// # Errors
/// What the system says, or that nothing came in time.
pub async fn hear(stream: UnixStream) -> io::Result<(Result<Request, Response>, OwnedWriteHalf)> {
    let (reading, writing) = stream.into_split();
    let mut line = Vec::new();
    let mut reading = BufReader::new(reading.take(LINE_BYTES_MAX as u64));
    timeout(LINE_TIME_MAX, reading.read_until(b'\n', &mut line)).await??;
    let request = serde_json::from_slice(&line);
    Ok((request.map_err(|error| failed(format!("no such command: {error}"))), writing))
}

/// Tells what became of it.
///
/// # Errors
/// What the system says, or that it could not be told in time.
pub async fn tell(writing: &mut OwnedWriteHalf, response: &Response) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    timeout(LINE_TIME_MAX, writing.write_all(&text)).await??;
    writing.shutdown().await
}

async fn carry_out(admin: &Arc<Admin>, request: Request) -> Response {
    match request {
        Request::Status => Response::Status(Status::ask(admin).await),
        Request::Sessions { account, limit } => sessions(admin, account.as_deref(), limit).await,
        Request::UserAdd { account, password } => accounts::add(admin, &account, &password).await,
        Request::UserPassword { account, password } => {
            accounts::password(admin, &account, &password).await
        }
        Request::UserRemove { account } => accounts::remove(admin, &account).await,
        Request::UserList { from } => accounts::list(admin, &from),
        Request::Ban { account, reason } => accounts::ban(admin, &account, reason).await,
        Request::Unban { account } => accounts::unban(admin, &account).await,
        Request::Bans { from } => accounts::bans(admin, &from),
        Request::Roster { account } => belongings::roster(admin, &account),
        Request::RosterAdd { account, contact, place } => {
            belongings::add(admin, &account, &contact, place).await
        }
        Request::RosterRemove { account, contact } => {
            belongings::remove(admin, &account, &contact).await
        }
        Request::Offline { account } => belongings::offline(admin, &account),
        Request::OfflineClear { account } => belongings::clear(admin, &account).await,
        Request::Vcard { account } => belongings::vcard(admin, &account),
        Request::VcardSet { account, vcard } => {
            belongings::set_vcard(admin, &account, &vcard).await
        }
        Request::Send { from, to, kind, text } => sending::send(admin, &from, &to, kind, &text),
        Request::SendStanza { stanza } => sending::stanza(admin, stanza),
        Request::Announce { domain, subject, text } => {
            sending::announce(admin, domain, subject, text).await
        }
        Request::Kick { address } => match Jid::parse(&address) {
            Err(_) => failed(format!("{address:?} is not an address")),
            Ok(jid) => match everywhere::kick(&admin.cluster, &jid).await {
                Told { silent: 1.., sessions } => failed(format!(
                    "{sessions} sessions of {jid} ended, but not every node answered"
                )),
                Told { sessions: 0, .. } => failed(format!("{jid} has no session")),
                Told { sessions: 1, .. } => done(format!("1 session of {jid} ended")),
                Told { sessions, .. } => done(format!("{sessions} sessions of {jid} ended")),
            },
        },
        Request::Backup { file } => match admin.durable.back_up(file).await {
            Ok(BackedUp { rows, damaged: 0 }) => done(format!("{} backed up", rows_of(rows))),
            Ok(BackedUp { rows, damaged }) => done(format!(
                "{} backed up, without {} that this disk has damaged: try another node",
                rows_of(rows),
                rows_of(damaged)
            )),
            Err(error) => failed(error),
        },
        Request::Restore { file, overwrite } => {
            match admin.durable.restore(file, overwrite).await {
                Ok(Restored { restored, kept }) => {
                    let (restored, kept) = (rows_of(restored), rows_of(kept));
                    done(format!("{restored} restored, {kept} left as they are"))
                }
                Err(error) => failed(error),
            }
        }
        Request::Join { seed } => membership::join(admin, &seed).await,
        Request::Leave { node } => membership::leave(admin, node.as_deref()).await,
        Request::Nodes => membership::nodes(admin).await,
        Request::Events { limit } => membership::events(admin, limit).await,
        Request::Servers(request) => servers::carry_out(admin, request).await,
        Request::Drain { deadline } => life::drain(admin, deadline).await,
        Request::Undrain => life::undrain(admin),
        Request::Components => components::list(admin).await,
        Request::ComponentDrain { domain, instance, drains } => {
            components::drain(admin, &domain, &instance, drains).await
        }
        Request::Stop => life::stop(admin).await,
    }
}

async fn sessions(admin: &Admin, account: Option<&str>, limit: usize) -> Response {
    let members = admin.cluster.members();
    let mut sessions = Vec::new();
    let mut seats = Vec::new();
    let mut count = 0;
    let mut put = |entry: crate::cluster::table::Entry<crate::cluster::rows::SessionRow>| {
        count += 1;
        if sessions.len() < limit {
            let node = members.get(entry.owner).map(|member| member.node.name.to_string());
            seats.push(Seat { owner: entry.owner, number: entry.number });
            sessions.push(SessionLine {
                jid: entry.row.jid.into(),
                node: node.unwrap_or_default(),
                priority: entry.row.priority,
                bound: entry.row.bound >> STAMP_COUNTER_BITS,
                address: None,
            });
        }
    };
    match account {
        None => admin.cluster.tables().sessions.for_each(put),
        Some(account) => match bare(account) {
            Err(failed) => return failed,
            Ok(jid) => admin.sessions.of(jid.as_str()).into_iter().for_each(&mut put),
        },
    }
    let addresses = everywhere::addresses(&admin.cluster, seats.iter().copied()).await;
    for (session, seat) in sessions.iter_mut().zip(&seats) {
        session.address = addresses.get(seat).map(ToString::to_string);
    }
    sessions.sort_by(|one, other| one.jid.cmp(&other.jid));
    Response::Sessions { sessions, count }
}

fn rows_of(count: u64) -> String {
    match count {
        1 => "1 row".into(),
        count => format!("{count} rows"),
    }
}
