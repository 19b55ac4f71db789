//! What the core wishes, carried out: frames go out by lines, one to each
//! connection, and the rooms above are told the rest.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::cluster::asks;
use crate::cluster::events::Event;
use crate::cluster::frame::Frame;
use crate::cluster::handle::{Cluster, State};
use crate::cluster::news::{Input, Output};
use crate::cluster::node::LinkId;
use crate::cluster::protocol::Protocol;
use crate::cluster::receipt::Receipt;

/// The way out to one connection.
pub(super) struct Line {
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) protocol: Protocol,
    pub(super) reader: AbortHandle,
    pub(super) writer: AbortHandle,
}

impl Line {
    fn cut(&self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Cluster {
    pub(super) fn handle(self: &Arc<Self>, state: &mut State, input: Input) {
        let mut lost = Vec::new();
        let mut next = Some(input);
        while let Some(input) = next {
            let mut out = std::mem::take(&mut state.out);
            state.core.handle(self.now(), input, &mut out);
            for output in out.drain(..) {
                self.carry_out(state, output, &mut lost);
            }
            state.out = out;
            next = lost.pop().map(|link| Input::LinkLost { link });
        }
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, output: Output, lost: &mut Vec<LinkId>) {
        match output {
            Output::Send { link, frame } => {
                let Some(line) = state.lines.get(&link) else { return };
                if line.frames.try_send(frame).is_err() {
                    warn!(link = link.0, "a node reads too slowly: its connection is closed");
                    state.lines.remove(&link).iter().for_each(Line::cut);
                    lost.push(link);
                }
            }
            Output::Close { link } => {
                state.lines.remove(&link).iter().for_each(Line::cut);
            }
            Output::Connect { peer } => {
                // a dial whose driver is gone is a process that ends
                let _ = self.dials.send((peer, state.addresses.get(&peer).copied()));
            }
            Output::Delivery { from, number, body } => {
                let receipt = Receipt::new(Arc::clone(self), from, number);
                self.tell(Event::Delivery { from, body, receipt });
            }
            Output::Returned { to, body, reason } => {
                debug!(%to, ?reason, "a delivery came back");
                self.tell(Event::Returned { to, body, reason });
            }
            Output::Word { from, channel, body } => asks::heard(self, from, channel, &body),
            Output::Unsaid { to, channel, body } => self.asks.unsaid(to, channel, body),
            Output::Members(members) => {
                self.asks.only(&members);
                crate::metrics::set(crate::metrics::NODES, members.count());
                self.members.send_replace(Arc::clone(&members));
                self.tell(Event::Members(members));
            }
            Output::Came { node, away, nodes } => self.history.came(&node, away, nodes),
            Output::Gone { node, cause, nodes } => self.history.gone(&node, cause, nodes),
            Output::Rows(rows) => self.tell(Event::Rows(rows)),
            Output::Ghost { by } => self.tell(Event::Ghost { by }),
        }
    }
}
