//! Commands about accounts: who may log in.

use crate::admin::Admin;
use crate::admin::answers::{bare, carried, done, failed, on};
use crate::admin::requests::{BanLine, Response};
use crate::session_manager::accounts::HashError;
use crate::session_manager::orders::{self, Answer, Order};
use crate::stream::sasl::credentials::Credentials;
use crate::xep::time::utc;
use crate::xmpp::jid::BareJid;

/// Bytes of a reason. A guess: a sentence, and where to read more.
const REASON_BYTES_MAX: usize = 1_023;

/// Makes an account.
pub async fn add(admin: &Admin, account: &str, password: &str) -> Response {
    with_password(admin, account, password, Order::Add, "added").await
}

/// Gives an account another password; its sessions stay.
pub async fn password(admin: &Admin, account: &str, password: &str) -> Response {
    with_password(admin, account, password, Order::Password, "has a new password").await
}

async fn with_password(
    admin: &Admin,
    account: &str,
    password: &str,
    order: fn(Credentials) -> Order,
    what: &str,
) -> Response {
    let jid = match bare(account) {
        Ok(jid) => jid,
        Err(failed) => return failed,
    };
    let hashed: Result<Credentials, HashError> = admin.rooms.accounts.hash(password).await;
    match hashed {
        Ok(credentials) => carried(give(admin, &jid, order(credentials)).await, &jid, what),
        Err(error) => failed(format!("{jid}: {error}")),
    }
}

/// Removes an account with all that belongs to it.
pub async fn remove(admin: &Admin, account: &str) -> Response {
    simple(admin, account, Order::Remove, "removed").await
}

/// An account may not be used any more. All that belongs to it stays, and
/// messages to it are kept as for everybody who is away.
pub async fn ban(admin: &Admin, account: &str, reason: String) -> Response {
    if reason.len() > REASON_BYTES_MAX {
        return failed(format!("a reason has at most {REASON_BYTES_MAX} bytes"));
    }
    simple(admin, account, Order::Ban(reason), "is banned").await
}

/// It may be used again.
pub async fn unban(admin: &Admin, account: &str) -> Response {
    let jid = match bare(account) {
        Ok(jid) => jid,
        Err(failed) => return failed,
    };
    match give(admin, &jid, Order::Unban).await {
        Ok(carried) if carried.count == 0 => done(format!("{jid} was not banned")),
        Ok(carried) => done(format!("{jid} may be used again ({})", on(carried.made))),
        Err(error) => failed(format!("{jid}: {error}")),
    }
}

async fn simple(admin: &Admin, account: &str, order: Order, what: &str) -> Response {
    match bare(account) {
        Ok(jid) => carried(give(admin, &jid, order).await, &jid, what),
        Err(failed) => failed,
    }
}

/// Which accounts there are.
pub fn list(admin: &Admin, from: &str) -> Response {
    match admin.rooms.accounts.list(from) {
        Ok((accounts, next)) => Response::Users { accounts, next },
        Err(error) => failed(error),
    }
}

/// Which of them may not be used.
pub fn bans(admin: &Admin, from: &str) -> Response {
    let line = |(account, ban): (String, crate::session_manager::accounts::Ban)| BanLine {
        account,
        since: utc(ban.since()),
        reason: ban.reason,
    };
    match admin.rooms.accounts.banned(from) {
        Ok((bans, next)) => Response::Bans { bans: bans.into_iter().map(line).collect(), next },
        Err(error) => failed(error),
    }
}

/// Has the account's home carry something out.
pub async fn give(admin: &Admin, account: &BareJid, order: Order) -> Answer {
    orders::give(&admin.cluster, account, &order).await
}
