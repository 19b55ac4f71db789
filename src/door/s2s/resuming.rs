//! A stream of another server that goes on by a new connection; and that it
//! carries our stanzas.

use crate::door::s2s::kept::Rest;
use crate::door::s2s::peer::{Over, Peer};
use crate::door::s2s::reverse::Reverse;
use crate::s2s_manager::link::Stands;
use crate::stream::server::incoming::{Input, Output};
use crate::stream::server::{Pair, Proof, World};
use crate::xmpp::error::StreamCondition;

impl Peer<'_> {
    /// The peer counts from now on; by the id its stream may go on. So nothing
    /// that was left before does.
    pub(super) fn begin_to_count(&mut self, id: Option<String>) {
        let (Some(id), Some(pair)) = (id, self.machine.certified()) else {
            return;
        };
        self.door.kept.forget(&pair);
        if let Some(pair) = self.reverse.take_refused() {
            let stands = self.stands(&pair);
            let is_used = self.reverse.begin(&pair, stands);
            self.note_both_ways(is_used);
        }
        self.entry = self.door.kept.enter(id, pair);
    }

    /// A stream of the pair shall go on here.
    pub(super) async fn resume(&mut self, pair: Pair, id: String, h: u32) -> Result<(), Over> {
        let rest = self.door.kept.take(&id, &pair).await;
        let handled = rest.as_ref().map(|rest| rest.handled);
        let mut out = Vec::new();
        self.machine.handle(Input::Resumed(id.clone(), handled), &self.view, &mut out);
        for wish in out {
            if let Output::Send(bytes) = wish {
                self.reverse.say(bytes)?;
            }
        }
        let Some(rest) = rest else { return Ok(()) };
        self.entry = self.door.kept.enter(id, pair);
        let is_right = self.reverse.go_on(rest.reverse, h).is_ok();
        self.note_both_ways(self.reverse.link().is_some());
        if !is_right {
            self.refuse(&StreamCondition::UndefinedCondition.into());
            return Err(Over::Refused);
        }
        Ok(())
    }

    /// The connection is lost. Whether the stream may go on: then nothing of it
    /// ends.
    pub(super) fn leave_behind(&mut self) -> bool {
        let (Some(entry), Some(handled)) = (self.entry.take(), self.machine.handled()) else {
            return false;
        };
        let servers = &self.door.rooms.servers;
        let reverse = std::mem::replace(&mut self.reverse, Reverse::new(servers));
        entry.keep(Rest { handled, reverse }, servers.trust().config.resume_time_max.get());
        true
    }

    /// What is known of our direction.
    pub(super) fn stands(&self, pair: &Pair) -> Stands {
        let proof = self.arrived.as_ref().and_then(|arrived| arrived.arrival.proof(&pair.theirs));
        Stands {
            since: std::time::Instant::now(),
            address: self.address,
            proof: proof.unwrap_or(Proof::Dialback),
            is_certain: self.view.vouches(&pair.theirs),
            tls: self.view.secured().map(|secured| (secured.version, secured.cipher)),
            is_both_ways: true,
        }
    }

    /// An operator sees it.
    pub(super) fn note_both_ways(&self, is_used: bool) {
        if let Some(arrived) = &self.arrived {
            arrived.arrival.note_both_ways(is_used);
        }
    }
}
