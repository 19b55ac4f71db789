//! What operators read: the same words for the same outcome.

use crate::admin::requests::Response;
use crate::cluster::durable::change::Made;
use crate::session_manager::orders::Answer;
use crate::xmpp::jid::{BareJid, Jid};

/// An account, or why it is none.
///
/// # Errors
/// The answer.
pub fn bare(account: &str) -> Result<BareJid, Response> {
    let jid = BareJid::parse(account).ok().filter(|jid| jid.local().is_some());
    jid.ok_or_else(|| failed(format!("{account:?} is not an account: expected user@domain")))
}

/// An address, or why it is none.
///
/// # Errors
/// The answer.
pub fn address(text: &str) -> Result<Jid, Response> {
    Jid::parse(text).map_err(|_| failed(format!("{text:?} is not an address")))
}

/// What became of an order.
pub fn carried(answer: Answer, jid: &BareJid, what: &str) -> Response {
    match answer {
        Ok(carried) => done(format!("{jid} {what} ({})", on(carried.made))),
        Err(error) => failed(format!("{jid}: {error}")),
    }
}

/// On how many nodes something is now.
pub fn on(Made { nodes, late }: Made) -> String {
    let on = match nodes {
        1 => "on 1 node".to_owned(),
        nodes => format!("on {nodes} nodes"),
    };
    match late {
        0 => on,
        late => format!("{on}, {late} late: they are caught up"),
    }
}

/// It was done.
pub fn done(message: impl ToString) -> Response {
    Response::Done { message: message.to_string() }
}

/// It was not done.
pub fn failed(message: impl ToString) -> Response {
    Response::Failed { message: message.to_string() }
}
