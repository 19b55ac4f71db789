//! The life of a component's stream: its stanzas to the router, the outbox to
//! it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep, timeout};
use tracing::debug;

use crate::door::c2s::FAREWELL_TIME_MAX;
use crate::door::component::config::Component;
use crate::door::component::{Door, info, nested, privilege};
use crate::door::recent::Recent;
use crate::drain::Drain;
use crate::metrics;
use crate::net::connection::{Connection, Turn};
use crate::net::outbox::Outbox;
use crate::router::instance::{Instance, Passed};
use crate::stream::component::WELCOME;
use crate::xml::framer::{Frame, Framer};
use crate::xml::head::Raw;
use crate::xmpp::content::{Depth, taken};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Jid;
use crate::xmpp::namespaces::COMPONENT;
use crate::xmpp::stanza::{ReadError, Stanza};

/// How often it is looked whether requests have been waiting for too long.
const TICK: Duration = Duration::from_secs(1);

/// A component whose secret was proved.
pub(super) struct Stream {
    pub(super) door: Arc<Door>,
    /// In the table.
    pub(super) instance: Arc<Instance>,
    pub(super) outbox: Arc<Outbox<Passed>>,
    pub(super) framer: Framer,
    /// Whether it speaks for its own domains only.
    pub(super) checks_from: bool,
    /// Stanzas that were taken in this second.
    pub(super) paid: u32,
    /// Whose subscriptions it has just spoken of.
    pub(super) recent: Recent,
}

/// Why nothing more is read.
enum Over {
    /// The component closed its stream: ours closes too.
    Closed,
    /// We end the stream with an error.
    Failed(StreamError),
    /// The last words are written already.
    Written,
    /// This node stops: what it says until it has heard so is still taken.
    Stops,
    /// The socket is of no more use.
    Lost(io::Error),
}

impl Stream {
    /// Serves it to its end, and plans again what it has not dealt with.
    pub(super) async fn live(mut self, mut connection: Connection<Passed>, mut drain: Drain) {
        let welcomed = self.outbox.push(WELCOME.into(), Passed::ours());
        let over = match welcomed {
            Ok(()) => self.listen(&mut connection, &mut drain).await,
            Err(_) => Over::Written,
        };
        // from here nothing is planned for it any more
        self.door.components.release(&self.instance);
        let stops = matches!(over, Over::Stops);
        match over {
            Over::Written => {}
            Over::Lost(error) => debug!(%error, "connection lost"),
            Over::Closed => self.outbox.finish("</stream:stream>".into()),
            Over::Stops => self.outbox.finish(system_shutdown().last_words()),
            Over::Failed(error) => {
                debug!(%error, "stream ended by us");
                self.outbox.finish(error.last_words());
            }
        }
        // one that does not read its last words misses them
        let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&self.outbox)).await;
        if stops {
            let _ = timeout(FAREWELL_TIME_MAX, self.hear_out(&mut connection)).await;
        }
        let mut unwritten = connection.shutdown().await;
        unwritten.extend(self.outbox.close());
        self.door.router.component_ended(&self.instance, unwritten);
    }

    async fn listen(&mut self, connection: &mut Connection<Passed>, drain: &mut Drain) -> Over {
        self.tell_privileges();
        let mut tick = interval(TICK);
        // its first tick is at once
        let mut refresh = interval(info::REFRESH_INTERVAL);
        // what came in one piece with the handshake
        if let Err(over) = self.stanzas(connection).await {
            return over;
        }
        loop {
            let turn = tokio::select! {
                () = drain.started() => return Over::Stops,
                () = self.instance.cut() => return Over::Written,
                _ = tick.tick() => {
                    self.instance.tick(Instant::now());
                    self.paid = 0;
                    continue;
                }
                _ = refresh.tick() => {
                    info::ask(&self.instance, self.door.speaker());
                    if let Some(component) = self.component() {
                        nested::ask(&self.instance, component, self.door.speaker());
                    }
                    continue;
                }
                turn = connection.turn(&self.outbox) => turn,
            };
            match turn {
                Ok(Turn::Read) => {
                    if let Err(over) = self.stanzas(connection).await {
                        return over;
                    }
                }
                Ok(Turn::Ended) => return Over::Closed,
                Ok(Turn::Finished) => return Over::Written,
                Err(error) => return Over::Lost(error),
            }
        }
    }

    fn tell_privileges(&self) {
        let Some((domain, _)) = self.instance.domains.first() else { return };
        let Some(component) = self.component() else { return };
        let speaker = self.door.speaker();
        let privileges = component.privileges.told(speaker, domain);
        let delegated = info::delegated(component, speaker, domain);
        for told in [privileges, delegated].into_iter().flatten() {
            self.instance.ask(&told);
        }
    }

    /// What the operator has decided about it.
    fn component(&self) -> Option<&Component> {
        let (domain, _) = self.instance.domains.first()?;
        self.door.config.domains.get(domain)
    }

    /// Looks whether a stanza is an answer to one of our own questions; says
    /// whether it was, and anything is other than it was.
    fn heard(&self, stanza: &Stanza) -> Option<bool> {
        let speaker = self.door.speaker();
        info::heard(&self.instance, speaker, stanza)
            .or_else(|| nested::heard(&self.instance, self.component()?, speaker, stanza))
    }

    /// Takes what still comes, until the component closes its stream.
    async fn hear_out(&mut self, connection: &mut Connection<Passed>) {
        while self.stanzas(connection).await.is_ok() {
            match connection.read().await {
                Ok(Turn::Read) => {}
                Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
            }
        }
    }

    /// Every whole stanza that was read, as fast as it may come.
    async fn stanzas(&mut self, connection: &mut Connection<Passed>) -> Result<(), Over> {
        loop {
            match self.framer.next(&mut connection.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Element(raw))) => {
                    self.stanza(&raw).map_err(Over::Failed)?;
                    self.pay().await;
                }
                Ok(Some(Frame::Close)) => return Err(Over::Closed),
                Ok(Some(Frame::Open(_))) => {
                    return Err(Over::Failed(StreamCondition::BadFormat.into()));
                }
                Err(error) => return Err(Over::Failed(crate::door::broken(error))),
            }
        }
    }

    /// Waits for the next second, if this one is used up.
    async fn pay(&mut self) {
        self.paid = self.paid.saturating_add(1);
        let most = self.door.config.stanzas_per_second_max;
        if most > 0 && self.paid >= most {
            sleep(TICK).await;
            self.paid = 0;
        }
    }

    fn stanza(&mut self, raw: &Raw) -> Result<(), StreamError> {
        let stanza = match Stanza::read(raw, COMPONENT) {
            Ok(stanza) => stanza,
            Err(ReadError::Bad(fault)) => {
                let own = self.instance.domains.first().map(|(domain, _)| domain.clone().into());
                if let Some(answer) = own.and_then(|own: Jid| fault.answer(&own)) {
                    // one that does not read hears nothing more anyway
                    let _ = self.outbox.push(answer, Passed::ours());
                }
                return Ok(());
            }
            Err(ReadError::NotAStanza) => return Err(StreamCondition::UnsupportedStanzaType.into()),
            Err(ReadError::WrongNamespace) => return Err(StreamCondition::InvalidNamespace.into()),
        };
        self.instance.sent.fetch_add(1, Ordering::Relaxed);
        metrics::add(metrics::COMPONENT_STANZAS_IN, 1);
        let (Some(from), Some(_)) = (&stanza.from, &stanza.to) else {
            let words = "a component's stanza has `from` and `to`";
            return Err(StreamError::new(StreamCondition::ImproperAddressing, words));
        };
        if self.checks_from && !self.instance.is_for(from.domain()) {
            let words = "not one of the domains of this component";
            return Err(StreamError::new(StreamCondition::InvalidFrom, words));
        }
        let stanza = taken(stanza, COMPONENT, Depth::All);
        match self.heard(&stanza) {
            Some(true) => self.door.components.tell(&self.instance),
            Some(false) => {}
            None => {
                let Some(stanza) = privilege::take(&self.door, &self.instance, stanza) else {
                    return Ok(());
                };
                let order = self.recent.order(&stanza, Instant::now());
                self.door.router.take_of_component(&self.instance, stanza, order);
            }
        }
        Ok(())
    }
}

fn system_shutdown() -> StreamError {
    StreamError::new(StreamCondition::SystemShutdown, "this node stops")
}
