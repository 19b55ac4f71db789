//! What goes out to another node, by whatever path leads to it now.

use super::core::Core;
use super::frame::{Frame, Letter, Parcel, Pull};
use super::news::Output;
use super::node::{LinkId, NodeId};
use super::peer::Path;

impl Core {
    pub(super) fn letters(
        &mut self,
        to: NodeId,
        letters: impl IntoIterator<Item = Letter>,
        out: &mut Vec<Output>,
    ) {
        for letter in letters {
            // without a path it stays in custody, and is written on the next
            let _ = self.send(to, Parcel::Letter(letter), out);
        }
    }

    pub(super) fn pull(
        &mut self,
        pulls: impl IntoIterator<Item = (NodeId, Pull)>,
        out: &mut Vec<Output>,
    ) {
        for (to, pull) in pulls {
            // without a path it is asked again when there is one
            let _ = self.send(to, Parcel::Pull(pull), out);
        }
    }

    /// Sends a parcel on the path of now; gives it back if there is none.
    pub(super) fn send(
        &self,
        to: NodeId,
        parcel: Parcel,
        out: &mut Vec<Output>,
    ) -> Result<(), Parcel> {
        let echo = |link: LinkId| self.membership.links.get(link).map_or(0, |link| link.stamp);
        let (link, frame) = match self.membership.path(to) {
            Path::None => return Err(parcel),
            Path::Direct(link) => (link, Frame::Direct { echo: echo(link), parcel }),
            Path::Relay { link, .. } => {
                (link, Frame::Relay { echo: echo(link), from: self.me, to, parcel })
            }
        };
        out.push(Output::Send { link, frame });
        Ok(())
    }
}
