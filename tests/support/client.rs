//! A client that nobody here wrote: tokio-xmpp, with the few words that the
//! tests need.

use std::time::Duration;

use futures::StreamExt;
use tokio_xmpp::connect::{DirectTlsServerConnector, DnsConfig, StartTlsServerConnector};
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::message::{Id, Lang, Message, MessageType};
use tokio_xmpp::parsers::presence::{Presence, Type};
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, Stanza};

use super::{DOMAIN, Node, SOON};

/// A client that is online.
pub struct One {
    pub client: Client,
    pub jid: Jid,
}

/// By which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    StartTls,
    Direct,
}

pub fn address(user: &str, resource: &str) -> Jid {
    Jid::new(&format!("{user}@{DOMAIN}/{resource}")).expect("an address")
}

fn timeouts() -> Timeouts {
    Timeouts { read_timeout: Duration::from_secs(60), response_timeout: Duration::from_secs(60) }
}

/// A client on its way.
pub fn connect(node: &Node, door: Door, user: &str, resource: &str, password: &str) -> Client {
    let jid = address(user, resource);
    match door {
        Door::StartTls => {
            let addr = format!("{}:{}", node.place.host, node.ports.plain);
            let connector = StartTlsServerConnector(DnsConfig::Addr { addr });
            Client::new_with_connector(jid, password, connector, timeouts())
        }
        Door::Direct => {
            let addr = format!("{}:{}", node.place.host, node.ports.direct);
            let connector = DirectTlsServerConnector(DnsConfig::Addr { addr });
            Client::new_with_connector(jid, password, connector, timeouts())
        }
    }
}

impl One {
    /// Logs in and becomes available.
    pub async fn online(
        node: &Node,
        door: Door,
        user: &str,
        resource: &str,
        password: &str,
    ) -> One {
        let mut client = connect(node, door, user, resource, password);
        let online = async {
            loop {
                match client.next().await {
                    Some(Event::Online { bound_jid, .. }) => return bound_jid,
                    Some(Event::Disconnected(error)) => panic!("{user}: {error}"),
                    Some(Event::Stanza(_)) => {}
                    None => panic!("{user}: the client has ended"),
                }
            }
        };
        let jid = tokio::time::timeout(SOON, online).await.expect("online in time");
        let mut one = One { client, jid };
        one.send(Presence::new(Type::None).into()).await;
        one
    }

    pub async fn send(&mut self, stanza: Stanza) {
        self.client.send_stanza(stanza).await.expect("sent");
    }

    /// A chat message whose id is its text.
    pub async fn say(&mut self, to: &Jid, text: &str) {
        let mut message = Message::new(Some(to.clone()));
        message.type_ = MessageType::Chat;
        message.id = Some(Id(text.to_owned()));
        message.bodies.insert(Lang::from(String::new()), text.to_owned());
        self.send(message.into()).await;
    }

    /// The next message.
    pub async fn message(&mut self) -> Message {
        let next = async {
            loop {
                match self.client.next().await {
                    Some(Event::Stanza(Stanza::Message(message))) => return message,
                    Some(Event::Disconnected(error)) => panic!("{}: {error}", self.jid),
                    Some(_) => {}
                    None => panic!("{}: the client has ended", self.jid),
                }
            }
        };
        tokio::time::timeout(SOON, next).await.expect("a message in time")
    }

    /// The text of the next message, and who sent it.
    pub async fn hear(&mut self) -> (Jid, String) {
        let message = self.message().await;
        let text = message.bodies.values().next().cloned().unwrap_or_default();
        (message.from.expect("servers say who it is from"), text)
    }
}
