//! What comes from other nodes: finished deliveries, requests to the home,
//! and our own parcels whose node has gone.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::cluster::handle::Receipt;
use crate::cluster::news::Reason;
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::act::Way;
use crate::router::parcel::{Label, Target};

impl Router {
    /// Another node's parcel. The receipt stays with the stanza until it is
    /// written; then its sender may forget it.
    pub fn receive(&self, parcel: &Bytes, receipt: Receipt) {
        let (label, stanza) = match Label::unpack(parcel) {
            Ok(opened) => opened,
            Err(error) => return warn!(%error, "a parcel was thrown away"),
        };
        let way = Way { hops: label.hops, held: Some(Arc::new(receipt)), ..Way::default() };
        match label.target {
            Target::Seats(seats) => self.write(&seats, &stanza, &way),
            Target::Home => self.again(stanza, way),
        }
    }

    /// A parcel of ours that its node did not take before it went, or that
    /// it has no room for.
    pub fn returned(&self, parcel: Bytes, reason: Reason) {
        let (label, stanza) = match Label::unpack(&parcel) {
            Ok(opened) => opened,
            Err(error) => return warn!(%error, "a parcel of ours was thrown away"),
        };
        if reason == Reason::Full {
            return self.overloaded(stanza);
        }
        let hops = label.hops.saturating_sub(1);
        let way = Way { hops, ..Way::default() };
        match label.target {
            Target::Home => self.again(stanza, way),
            Target::Seats(seats) => {
                self.missed(None, &seats, Item { bytes: stanza, token: None }, &way);
            }
        }
    }
}
