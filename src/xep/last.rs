//! Last activity (XEP-0012): since when this node serves, and since when an
//! account is away.

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xml::element::Element;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, LAST};
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Last;

#[async_trait]
impl Extension for Last {
    fn about(&self) -> About {
        About {
            specification: "XEP-0012: Last Activity",
            host_features: &[LAST],
            account_features: &[LAST],
            requests: &[LAST],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if request.kind != Kind::Iq(IqType::Get) || &*child.name != "query" {
            return Err(StanzaCondition::BadRequest.into());
        }
        match cx.place {
            Place::Host => Ok(said(cx.uptime.as_secs(), "")),
            Place::Account => of_account(cx, request),
        }
        .map(|query| query.to_bytes(CLIENT).into())
    }
}

/// Only whoever may see its presence learns it (§5).
fn of_account(cx: &Cx<'_>, request: &Stanza) -> Result<Element, StanzaError> {
    let (Some(from), Some(to)) = (&request.from, &request.to) else {
        return Err(StanzaCondition::BadRequest.into());
    };
    let account = to.bare();
    if !cx.rooms.may_see(&account, from) {
        return Err(StanzaCondition::Forbidden.into());
    }
    let sessions = cx.rooms.sessions.of(account.as_str());
    if sessions.iter().any(|session| session.row.priority.is_some()) {
        return Ok(said(0, ""));
    }
    // one that was never here has no last activity
    let went = cx.rooms.last.get(&account)?.ok_or(StanzaCondition::ItemNotFound)?;
    let ago = cx.now.duration_since(went.when()).unwrap_or_default();
    Ok(said(ago.as_secs(), &went.status))
}

fn said(seconds: u64, words: &str) -> Element {
    let query = Element::new("query", LAST).attr("seconds", seconds.to_string());
    if words.is_empty() { query } else { query.text(words) }
}
