//! What other versions wrote into the durable tables of this room, and what
//! they order each other: `tests/wire/session_manager`. Tables whose values are
//! XML or nothing have no line: what they are is in their standards.

use std::fmt::Debug;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::durable::change::Made;
use crate::cluster::node::NodeId;
use crate::golden::Golden;
use crate::session_manager::accounts;
use crate::session_manager::contacts::{Item, Standing};
use crate::session_manager::everywhere::{self, Announcement};
use crate::session_manager::handing::{self, Page};
use crate::session_manager::last::Went;
use crate::session_manager::made_up;
use crate::session_manager::offline;
use crate::session_manager::orders::{self, Carried, Order, OrderError};
use crate::session_manager::session::Seat;
use crate::session_manager::subscription::State;
use crate::stream::sasl::credentials::{Credentials, Iterations};
use crate::xmpp::jid::BareJid;

const FILE: &str = "session_manager";

const STATES: [State; 9] = [
    State::None,
    State::NonePendingOut,
    State::NonePendingIn,
    State::NonePendingOutIn,
    State::To,
    State::ToPendingIn,
    State::From,
    State::FromPendingOut,
    State::Both,
];

fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain")
}

fn keeps<T: Serialize + for<'a> Deserialize<'a> + Debug>(
    golden: &mut Golden,
    name: &str,
    value: &T,
) {
    golden.keeps(name, value, plain, |bytes| postcard::from_bytes(bytes).ok());
}

fn credentials() -> Credentials {
    let few = Iterations::try_from(4096).expect("allowed");
    Credentials::made_up("romeo", b"secret", few)
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).expect("an address")
}

#[test]
fn what_is_kept_of_people_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "tables");
    for (name, row) in accounts::Row::samples(credentials) {
        golden.keeps(name, &row, |row| row.clone().written(), accounts::Row::read);
    }
    let groups = ["Friends".to_owned(), "Verona".to_owned()].into();
    keeps(&mut golden, "roster: an item", &Item { name: "Juliet".into(), groups });
    for state in STATES {
        let standing = Standing { state, is_approved: false, request: None };
        keeps(&mut golden, &format!("subscriptions: {state:?}"), &standing);
    }
    let request = Some(Bytes::from_static(b"<presence type='subscribe'/>"));
    let asked = Standing { state: State::NonePendingIn, is_approved: true, request };
    keeps(&mut golden, "subscriptions: asked and approved", &asked);
    let key = offline::stored_key(&jid("romeo@example.org"), 1_790_000_000_000_000, 300);
    golden.writes("offline: a key", &key);
    golden.writes("settings: the key of the secret", &made_up::key(1_790_000_000_000, 300));
    keeps(&mut golden, "last: somebody went", &Went::at(1_790_000_000, "Bye"));
    golden.end();
}

#[test]
fn what_nodes_order_each_other_stays_as_it_is() {
    let mut golden = Golden::of(FILE, "orders");
    let topics = [
        handing::topic::HAND_OUT,
        handing::topic::TAKEN,
        orders::TOPIC,
        everywhere::topic::KICK,
        everywhere::topic::ANNOUNCE,
        everywhere::topic::ADDRESSES,
    ];
    golden.writes("topics: hand out, taken, order, kick, announce, addresses", &topics);
    let groups = ["Friends".to_owned()].into();
    let item = Some(Item { name: "Juliet".into(), groups });
    let contact = |item, state| Order::Contact { jid: jid("juliet@example.org"), item, state };
    for (name, order) in [
        ("add", Order::Add(credentials())),
        ("password", Order::Password(credentials())),
        ("remove", Order::Remove),
        ("ban", Order::Ban("spam".into())),
        ("unban", Order::Unban),
        ("contact", contact(item, Some(State::Both))),
        ("contact as it is", contact(None, None)),
        ("contact remove", Order::ContactRemove(jid("juliet@example.org"))),
        ("offline clear", Order::OfflineClear),
        ("vcard", Order::Vcard(Bytes::from_static(b"<vCard/>"))),
    ] {
        keeps(&mut golden, name, &(jid("romeo@example.org"), order));
    }
    let made = Made { nodes: 3, late: 0 };
    let answers: [(&str, orders::Answer); 7] = [
        ("carried out", Ok(Carried { made, count: 300 })),
        ("no account", Err(OrderError::NoAccount)),
        ("foreign", Err(OrderError::Foreign)),
        ("no contact", Err(OrderError::NoContact)),
        ("full", Err(OrderError::Full)),
        ("oneself", Err(OrderError::Oneself)),
        ("silent", Err(OrderError::Silent)),
    ];
    for (name, answer) in answers {
        keeps(&mut golden, name, &answer);
    }
    let (domain, subject, text) = ("example.org".into(), "Hear".into(), "All".into());
    keeps(&mut golden, "announcement", &Announcement { domain, subject, text });
    let seat = Seat { owner: NodeId::new(300, 7), number: 5 };
    golden.writes("hand out", &handing::asked(&jid("romeo@example.org"), seat, b"after".to_vec()));
    let messages = vec![(b"key".to_vec(), Bytes::from_static(b"<message/>"))];
    keeps(&mut golden, "handed out", &Page { messages, has_more: true });
    golden.end();
}
