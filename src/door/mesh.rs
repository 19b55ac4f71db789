//! The door for other nodes: fetches what the cluster has for the rooms
//! above, and carries it to them.

use std::sync::Arc;

use crate::cluster::asks::Question;
use crate::cluster::durable::Durable;
use crate::cluster::events::{Event, Events};
use crate::cluster::node::NodeId;
use crate::router::Router;
use crate::session_manager::sessions::Sessions;

/// Why this process must end.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Another process has our name.
    #[error(
        "another node with our name has started ({0}): two nodes of one cluster need different names"
    )]
    Ghost(NodeId),
    /// We were removed.
    #[error(
        "this node was removed from the cluster; started again it waits until `jabiru join SEED` brings it back"
    )]
    Removed,
    /// Gossip has ended.
    #[error("gossip has ended ({0}): this node would not notice who comes and goes")]
    Frozen(String),
}

/// The rooms that events are for.
#[derive(Debug)]
pub struct Rooms {
    /// Deliveries.
    pub router: Arc<Router>,
    /// Changes of the session table.
    pub sessions: Arc<Sessions>,
    /// Durable rows.
    pub durable: Arc<Durable>,
}

/// Fetches for ever. `others` gets the questions that are for nobody here.
pub async fn serve(rooms: Rooms, mut events: Events, others: impl Fn(Question)) -> Option<End> {
    while let Some(event) = events.next().await {
        match event {
            Event::Delivery { from, body, receipt } => rooms.router.receive(from, &body, receipt),
            Event::Returned { to, body, reason } => rooms.router.returned(to, body, reason),
            Event::Rows(changes) => {
                rooms.sessions.note(&changes);
                rooms.router.note_rows(&changes);
                rooms.router.note_routes(&changes);
            }
            Event::Stored(accounts) => rooms.router.note_stored(&accounts),
            Event::Members(members) => {
                rooms.router.note_members(&members);
                rooms.router.note_routes_of_members();
                rooms.sessions.settle_all();
            }
            Event::Question(question) => {
                let question = rooms.durable.answer(question);
                let question = question.and_then(|question| rooms.router.answer(question));
                if let Some(question) = question {
                    others(question);
                }
            }
            Event::Ghost { by } => return Some(End::Ghost(by)),
            Event::Removed => return Some(End::Removed),
            Event::Frozen(reason) => return Some(End::Frozen(reason)),
        }
    }
    None
}
