//! Somebody on any of the servers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::support::SOON;
use super::support::wire::{Wire, attribute};

/// One client, and what it has heard and not been asked for.
pub struct Person {
    wire: Wire,
    pub jid: String,
    heard: Vec<String>,
    asked: usize,
}

impl Person {
    /// Logs in and is available.
    pub async fn online(
        trust: &TlsConnector,
        door: SocketAddr,
        user: &str,
        domain: &str,
    ) -> Person {
        let mut person = Person::bound(trust, door, user, domain).await;
        // only who asks for the roster hears of its changes
        person.say("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await;
        let is_roster = |stanza: &str| attribute(stanza, "id") == Some("roster");
        person.hear("its roster", is_roster).await;
        person.say("<presence/>").await;
        let own = format!("{user}@{domain}");
        person.hear("its own presence", |stanza| is_from(stanza, "<presence", &own)).await;
        person
    }

    async fn bound(trust: &TlsConnector, door: SocketAddr, user: &str, domain: &str) -> Person {
        let wire = Wire::open_at(trust, door, domain, user, "r").await;
        let wire = wire.unwrap_or_else(|error| panic!("{user}@{domain}: {error}"));
        Person { wire, jid: format!("{user}@{domain}/r"), heard: Vec::new(), asked: 0 }
    }

    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    pub async fn say(&mut self, words: &str) {
        self.wire.say(words).await.unwrap_or_else(|error| panic!("{}: {error}", self.jid));
    }

    /// A chat message whose id is its text.
    pub async fn write(&mut self, to: &str, text: &str) {
        let body = format!("<body>{text}</body>");
        self.say(&format!("<message type='chat' id='{text}' to='{to}'>{body}</message>")).await;
    }

    /// Waits for the message with this id, or its error.
    pub async fn read(&mut self, text: &str) -> String {
        let is_it =
            |stanza: &str| stanza.starts_with("<message") && attribute(stanza, "id") == Some(text);
        self.hear(&format!("message {text}"), is_it).await
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, kind: &str, to: &str, payload: &str) -> String {
        self.asked += 1;
        let id = format!("ask{}", self.asked);
        self.say(&format!("<iq type='{kind}' id='{id}' to='{to}'>{payload}</iq>")).await;
        let is_it =
            |stanza: &str| stanza.starts_with("<iq") && attribute(stanza, "id") == Some(&*id);
        self.hear(&format!("an answer of {to}"), is_it).await
    }

    /// Waits for a stanza; what else comes is kept.
    pub async fn hear(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        if let Some(at) = self.heard.iter().position(|stanza| is_it(stanza)) {
            return self.heard.remove(at);
        }
        let search = async {
            loop {
                match self.wire.next().await {
                    Ok(Some(stanza)) if is_it(&stanza) => return stanza,
                    Ok(Some(stanza)) => self.heard.push(stanza),
                    Ok(None) => panic!("{} was sent away", self.jid),
                    Err(error) => panic!("{}: {error}", self.jid),
                }
            }
        };
        match timeout(SOON, search).await {
            Ok(stanza) => stanza,
            Err(_) => panic!("{} waited in vain for {what}; heard {:#?}", self.jid, self.heard),
        }
    }

    /// Waits for presence of somebody; `kind`: its type, "" for available.
    pub async fn see(&mut self, from: &str, kind: &str) -> String {
        let what = format!("presence {kind:?} of {from}");
        let is_it = |stanza: &str| {
            is_from(stanza, "<presence", from)
                && attribute(stanza, "type").unwrap_or_default() == kind
        };
        self.hear(&what, is_it).await
    }

    /// Whether a message with this id comes so soon.
    pub async fn comes(&mut self, text: &str, soon: Duration) -> bool {
        let is_it = |stanza: &str| attribute(stanza, "id") == Some(text);
        let begin = std::time::Instant::now();
        while let Some(left) = soon.checked_sub(begin.elapsed()) {
            match timeout(left, self.wire.next()).await {
                Ok(Ok(Some(stanza))) if is_it(&stanza) => return true,
                Ok(Ok(Some(stanza))) => self.heard.push(stanza),
                Ok(Ok(None) | Err(_)) => panic!("{} was sent away", self.jid),
                Err(_) => return false,
            }
        }
        false
    }

    /// Logs out.
    pub async fn leave(mut self) {
        self.say("<presence type='unavailable'/></stream:stream>").await;
        while let Ok(Ok(Some(_))) = timeout(SOON, self.wire.next()).await {}
    }

    /// What has come and nobody asked for, and what comes for a moment.
    pub async fn gather(&mut self, moment: Duration) -> Vec<String> {
        while let Ok(Ok(Some(stanza))) = timeout(moment, self.wire.next()).await {
            self.heard.push(stanza);
        }
        std::mem::take(&mut self.heard)
    }
}

fn is_from(stanza: &str, begin: &str, bare: &str) -> bool {
    let from = attribute(stanza, "from").unwrap_or_default();
    stanza.starts_with(begin) && from.split('/').next() == Some(bare)
}
