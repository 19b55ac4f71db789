//! Messages that nobody is there for, at the home of their account: what came
//! while the last ones were written is written together. How they come to a
//! session is in `offline`.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use tracing::warn;

use crate::metrics;
use crate::router::Router;
use crate::router::act::Way;
use crate::session_manager::hints::{Fate, fate};
use crate::session_manager::offline::Letter;
use crate::xep::time::utc;
use crate::xml::element::Element;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::BareJid;
use crate::xmpp::kind::Kind;
use crate::xmpp::namespaces::{CLIENT, DELAY};
use crate::xmpp::stanza::Stanza;

/// Messages of one account that wait to be stored. One more comes back, and
/// its sender may try again. A guess: what a full store holds.
const MAIL_MAX: usize = 1_000;

/// Messages of one account that wait to be stored, with who answers for them.
pub(super) type Mail = Vec<(Stanza, Way)>;

impl Router {
    /// The home has looked, and nobody is there.
    pub(super) fn at_home(&self, stanza: Stanza, way: Way) {
        let Kind::Message(_) = stanza.kind else {
            return self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
        };
        match fate(&stanza) {
            Fate::Store => {}
            Fate::Bounce => {
                return self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
            }
            Fate::Ignore => return,
        }
        let Some(account) = stanza.to.as_ref().map(|to| to.bare()) else { return };
        let waiting = {
            let mut mail = self.mail.entry(account.as_str().into()).or_default();
            let waiting = mail.len();
            if waiting < MAIL_MAX {
                mail.push((stanza.clone(), way));
            }
            waiting
        };
        match waiting {
            0 => self.store_soon(account),
            1..MAIL_MAX => {}
            _ => self.bounce(&stanza, StanzaCondition::ResourceConstraint.into()),
        }
    }

    fn store_soon(&self, account: BareJid) {
        let Some(router) = self.this.upgrade() else { return };
        let turn = account.clone();
        let taken = self.turns.take(turn.as_str(), async move {
            router.settle().await;
            let mail = router.take_mail(&account);
            router.store(&account, mail).await;
        });
        if taken.is_err() {
            self.give_back(self.take_mail(&turn), StanzaCondition::ResourceConstraint.into());
        }
    }

    fn take_mail(&self, account: &BareJid) -> Mail {
        self.mail.remove(account.as_str()).map(|(_, mail)| mail).unwrap_or_default()
    }

    async fn store(&self, account: &BareJid, mut mail: Mail) {
        match self.rooms.accounts.exists(account) {
            Ok(true) => {}
            // it was removed while this was on its way
            Ok(false) => return self.give_back(mail, StanzaCondition::ServiceUnavailable.into()),
            Err(error) => return self.give_back(mail, error.into()),
        }
        let now = SystemTime::now();
        let letter = |(stanza, way): &(Stanza, Way)| Letter {
            message: delayed(stanza, account.domain(), now),
            mark: way.mark,
            time: way.time,
            is_repeated: way.is_repeated,
        };
        let messages: Vec<Letter> = mail.iter().map(letter).collect();
        let stored = self.rooms.offline.store(account, &messages).await;
        let rest = mail.split_off(stored.count.min(mail.len()));
        metrics::add(metrics::OFFLINE_STORED, mail.len());
        metrics::add(metrics::OFFLINE_REFUSED, rest.len());
        let refused = match stored.failed {
            Some(error) => {
                warn!(%error, "messages could not be stored");
                error.into()
            }
            None => StanzaError::from(StanzaCondition::ResourceConstraint)
                .with_text("too many messages wait for this account"),
        };
        self.give_back(rest, refused);
        if !mail.is_empty() {
            // somebody may have come meanwhile
            self.call(account);
        }
    }

    fn give_back(&self, mail: Mail, error: StanzaError) {
        mail.iter().for_each(|(stanza, _)| self.bounce(stanza, error));
    }
}

/// The message with the time when it was stored (XEP-0203).
fn delayed(stanza: &Stanza, domain: &str, now: SystemTime) -> Bytes {
    let delay = Element::new("delay", DELAY)
        .attr("from", domain)
        .attr("stamp", utc(now))
        .text("Offline Storage")
        .to_bytes(CLIENT);
    let mut payload = BytesMut::with_capacity(stanza.payload.len() + delay.len());
    payload.put_slice(&stanza.payload);
    payload.put_slice(&delay);
    Stanza { payload: payload.freeze(), ..stanza.clone() }.write()
}
