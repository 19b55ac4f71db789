//! Carrying out what shall become of an account, at its home, in its turn; and
//! what all nodes are asked for.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{info, warn};

use crate::cluster::asks::Question;
use crate::cluster::durable::Table;
use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::extension::Effect;
use crate::im::provisioning;
use crate::router::Router;
use crate::router::act::Way;
use crate::router::in_name;
use crate::session_manager::accounts::Ban;
use crate::session_manager::everywhere::{self, Announcement};
use crate::session_manager::orders::{self, Answer, Carried, Order, OrderError};
use crate::session_manager::session::Seat;
use crate::stream::sasl::credentials::Credentials;
use crate::xml::element::Element;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{Kind, MessageType};
use crate::xmpp::namespaces::CLIENT;
use crate::xmpp::stanza::Stanza;

impl Router {
    /// Answers another node's question, if it is about us.
    pub fn answer(&self, question: Question) -> Option<Question> {
        match question.topic {
            orders::TOPIC => self.order(question),
            everywhere::topic::KICK => {
                let address = std::str::from_utf8(&question.body).ok();
                let ended = address.and_then(|text| Jid::parse(text).ok()).map_or(0, |address| {
                    let error =
                        StreamError::new(StreamCondition::PolicyViolation, "ended by the operator");
                    self.rooms.sessions.end(&address.bare(), address.resource(), &error)
                });
                question.answer(everywhere::count(ended));
            }
            everywhere::topic::ADDRESSES => {
                let address = |number| Some(self.rooms.sessions.local(number)?.address);
                let addresses = everywhere::own_addresses(&question.body, address);
                question.answer(addresses);
            }
            everywhere::topic::ANNOUNCE => self.on_announce(question),
            in_name::TOPIC => self.asked_in_name(question),
            _ => return self.answer_stored(question),
        }
        None
    }

    /// Takes a stanza that the operator says in somebody's name.
    pub fn inject(&self, stanza: Stanza) {
        let from_ours = stanza.from.as_ref().is_some_and(|from| self.rooms.serves(from.domain()));
        match stanza.kind.is_subscription() && from_ours {
            true => self.subscribe(stanza, Way::default()),
            false => self.route(stanza),
        }
    }

    fn order(&self, question: Question) {
        let Some((account, order)) = orders::read(&question.body) else {
            return warn!("a node orders what we do not know; is it newer?");
        };
        let Some(router) = self.this.upgrade() else { return };
        let name = account.clone();
        let taken = self.turns.take(name.as_str(), async move {
            let answer = router.obey(&account, order).await;
            let answer = postcard::to_stdvec(&answer).expect("an answer can be written");
            question.answer(answer.into());
        });
        if taken.is_err() {
            // the question is dropped, and its asker sees that it is late
            warn!(account = %name, "too much waits for an account");
        }
    }

    async fn obey(&self, account: &BareJid, order: Order) -> Answer {
        let accounts = &self.rooms.accounts;
        let is_there = matches!(order, Order::Add(_)) || accounts.exists(account)?;
        match order {
            Order::Add(credentials) => Ok(self.add(account, credentials).await?.into()),
            Order::Password(credentials) => {
                Ok(accounts.set_credentials(account, credentials).await?.into())
            }
            // one that was cut off is taken up again
            Order::Remove => Ok(self.remove(account).await?.into()),
            Order::Ban(reason) => {
                let made = accounts.set_ban(account, Some(Ban::now(reason))).await?;
                info!(%account, "account disabled");
                self.effects(vec![Effect::End(account.clone())]);
                Ok(made.into())
            }
            Order::Unban => self.unban(account).await,
            _ if !is_there => Err(OrderError::NoAccount),
            Order::Contact { jid, item, state } => {
                let placed = (item, state);
                let done =
                    provisioning::place(&self.rooms, &self.config, account, &jid, placed).await;
                self.placed(done)
            }
            Order::ContactRemove(jid) => {
                self.placed(provisioning::remove(&self.rooms, account, &jid).await)
            }
            Order::OfflineClear => {
                let count = self.rooms.offline.clear(account).await? as u64;
                let nodes = u32::try_from(self.rooms.cluster.members().count()).unwrap_or(1);
                Ok(Carried { made: Made { nodes, late: 0 }, count })
            }
            Order::Vcard(vcard) => {
                let change = match vcard.is_empty() {
                    true => Change::remove(Table::Vcard, account.as_str()),
                    false => Change::put(Table::Vcard, account.as_str(), vcard),
                };
                Ok(self.rooms.durable.change([change]).await?.into())
            }
        }
    }

    /// An account that is new has nothing of a former one of its name.
    async fn add(&self, account: &BareJid, credentials: Credentials) -> Result<Made, OrderError> {
        if !self.rooms.serves(account.domain()) {
            return Err(OrderError::Foreign);
        }
        if self.rooms.accounts.exists(account)? {
            return Err(ChangeError::Exists.into());
        }
        match self.rooms.accounts.is_leaving(account)? {
            true => drop(self.remove(account).await?),
            false => self.erase(account).await?,
        }
        let made = self.rooms.accounts.add(account, credentials).await?;
        info!(%account, "account added");
        Ok(made)
    }

    async fn unban(&self, account: &BareJid) -> Answer {
        let is_banned = self.rooms.accounts.ban(account)?.is_some();
        let made = self.rooms.accounts.set_ban(account, None).await?;
        Ok(Carried { made, count: u64::from(is_banned) })
    }

    fn placed(&self, placed: provisioning::Placed) -> Answer {
        let (made, effects) = placed?;
        self.effects(effects);
        Ok(made.into())
    }

    /// Says something to all available sessions of this node that it is for.
    fn on_announce(&self, question: Question) {
        let Ok(announcement) = postcard::from_bytes::<Announcement>(&question.body) else {
            return warn!("an announcement cannot be read");
        };
        let Some(router) = self.this.upgrade() else { return };
        tokio::task::spawn_blocking(move || {
            let told = router.announce_here(&announcement);
            question.answer(everywhere::count(told));
        });
    }

    fn announce_here(self: &Arc<Self>, announcement: &Announcement) -> usize {
        let Ok(domain) = Jid::parse(&announcement.domain) else { return 0 };
        let payload = payload(announcement);
        let mut told = 0;
        for session in self.rooms.sessions.all_here() {
            if session.jid.domain() != domain.as_str() || session.row().priority.is_none() {
                continue;
            }
            let to = Some(session.jid.as_jid().clone());
            let kind = Kind::Message(MessageType::Headline);
            let message = Stanza::new(kind, Some(domain.clone()), to, payload.clone());
            let seat = Seat { owner: self.me(), number: session.number };
            self.effects(vec![Effect::Write(vec![seat], message)]);
            told += 1;
        }
        told
    }
}

fn payload(announcement: &Announcement) -> Bytes {
    let mut payload = Vec::new();
    if !announcement.subject.is_empty() {
        Element::new("subject", CLIENT).text(&announcement.subject).write(CLIENT, &mut payload);
    }
    Element::new("body", CLIENT).text(&announcement.text).write(CLIENT, &mut payload);
    payload.into()
}
