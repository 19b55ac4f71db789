//! What comes from other nodes: finished deliveries, requests to the home,
//! and our own parcels whose node has gone.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::cluster::news::Reason;
use crate::cluster::node::NodeId;
use crate::cluster::receipt::Receipt;
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::act::{Failed, Way};
use crate::router::parcel::{Label, Target};
use crate::session_manager::session::{Seat, Token};
use crate::xmpp::stanza::Stanza;

impl Router {
    /// Another node's parcel. The receipt stays with the stanza until it is
    /// written; then its sender may forget it.
    pub fn receive(&self, from: NodeId, parcel: &Bytes, receipt: Receipt) {
        let (label, stanza) = match Label::unpack(parcel) {
            Ok(opened) => opened,
            Err(error) => return warn!(%error, "a parcel was thrown away"),
        };
        let held = Some(Arc::new(Token::Receipt(receipt, label.mark)));
        let way = Way { hops: label.hops, held, mark: label.mark, ..Way::default() };
        match label.target {
            Target::Seats(seats) => self.write(&seats, &stanza, &way),
            Target::Home { time, is_repeated } => {
                self.again(stanza, Way { time, is_repeated, ..way });
            }
            Target::SenderHome => self.read(stanza, |stanza| self.of_sender(stanza, way)),
            Target::Accounts(accounts) => {
                self.read(stanza, |stanza| self.tell_accounts(&stanza, &accounts));
            }
            Target::Probed(addresses) => self.read(stanza, |probe| {
                if let Some(viewer) = &probe.from {
                    self.tell_own(viewer, &addresses);
                }
            }),
            Target::Shown(account) => self.read(stanza, |probe| {
                if let Some(viewer) = &probe.from {
                    self.show_here(&account.bare(), &viewer.bare());
                }
            }),
            Target::Announce => self.announce_when_seen(from),
            Target::Fetch(seat) => self.fetch_for(seat, from),
            Target::End(account) => self.end_here(&account.bare()),
            Target::Component(number) => self.give(Seat { owner: self.me(), number }, stanza, way),
            Target::Server => self.again(stanza, way),
            Target::InTurn => self.read(stanza, |stanza| self.behind(stanza, way)),
        }
    }

    fn read(&self, stanza: Bytes, then: impl FnOnce(Stanza)) {
        match Stanza::parse_bytes(stanza) {
            Ok(stanza) => then(stanza),
            Err(error) => warn!(%error, "a stanza of another node cannot be read"),
        }
    }

    /// A parcel of ours that its node did not take before it went, or that
    /// it has no room for.
    pub fn returned(&self, by: NodeId, parcel: Bytes, reason: Reason) {
        let (label, stanza) = match Label::unpack(&parcel) {
            Ok(opened) => opened,
            Err(error) => return warn!(%error, "a parcel of ours was thrown away"),
        };
        let is_stanza = matches!(
            label.target,
            Target::Seats(_)
                | Target::Home { .. }
                | Target::SenderHome
                | Target::Server
                | Target::InTurn
                | Target::Component(_)
        );
        if reason == Reason::Full && is_stanza {
            return self.overloaded(stanza);
        }
        let hops = label.hops.saturating_sub(1);
        let is_repeated = reason == Reason::InDoubt;
        let way = Way { hops, is_repeated, mark: label.mark, ..Way::default() };
        match label.target {
            Target::Home { time, is_repeated: was_repeated } => {
                let is_repeated = is_repeated || was_repeated;
                self.again(stanza, Way { time, is_repeated, ..way });
            }
            Target::SenderHome => self.read(stanza, |stanza| self.of_sender(stanza, way)),
            // its instances are gone with it, or known again
            Target::Component(_) => self.again(stanza, way),
            Target::Server => self.again(stanza, way),
            Target::InTurn => self.read(stanza, |stanza| self.behind(stanza, way)),
            // the node and all its sessions are gone
            Target::Accounts(_) | Target::Announce | Target::Fetch(_) | Target::End(_) => {}
            // whoever asked hears that they are unavailable
            Target::Probed(_) | Target::Shown(_) => {}
            Target::Seats(seats) => {
                self.missed(Failed::Node(by), &seats, Item { bytes: stanza, token: None }, &way);
            }
        }
    }
}
