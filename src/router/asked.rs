//! What an instance of a component was asked and has not answered: if it ends,
//! another one is asked.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cluster::hash::Sip;
use crate::router::instance::Left;
use crate::session_manager::session::Held;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// Requests that are kept until they are answered; with one more the first is
/// forgotten, and is lost if the instance breaks. So is the first of too many
/// bytes: twice those of its outbox, for what waits there, and as much that it
/// has read or the kernel holds. A guess: more than a busy component has under
/// way.
const ASKED_MAX: usize = 262_144;

/// How long a request may wait for its answer. Clients have given up by then
/// (a guess; most wait for 30 s).
const ASKED_TIME_MAX: Duration = Duration::from_secs(60);

/// How long another node answers for a request that it has sent us, so that it
/// is sent elsewhere if we go first: everything behind it waits to be
/// acknowledged as well. A guess.
const HELD_TIME_MAX: Duration = Duration::from_secs(2);

/// Requests without an answer, the first one first.
#[derive(Debug, Default)]
pub(super) struct Asked {
    requests: HashMap<u64, Request>,
    order: VecDeque<(u64, u64)>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    place: u64,
    original: Bytes,
    held: Held,
    at: Instant,
}

impl Asked {
    /// A request is given to the instance. More than `bytes_max` are not kept.
    pub(super) fn note(&mut self, key: u64, original: &Bytes, held: Held, bytes_max: usize) {
        self.forget(key);
        self.next += 1;
        let place = self.next;
        self.bytes += original.len();
        if self.order.len() > 4 * ASKED_MAX {
            let requests = &self.requests;
            self.order
                .retain(|(key, place)| requests.get(key).is_some_and(|one| one.place == *place));
        }
        self.order.push_back((key, place));
        let original = original.clone();
        self.requests.insert(key, Request { place, original, held, at: Instant::now() });
        while self.requests.len() > ASKED_MAX || self.bytes > bytes_max {
            let Some((key, place)) = self.order.pop_front() else { break };
            if place != self.next && self.is_at(key, place) {
                self.forget(key);
            }
        }
    }

    /// A request is answered, or planned again; gives back who answered for
    /// it. `None`: it is not known.
    pub(super) fn forget(&mut self, key: u64) -> Option<Held> {
        let request = self.requests.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(request.original.len());
        if self.requests.is_empty() {
            self.order = VecDeque::new();
        }
        Some(request.held)
    }

    fn is_at(&self, key: u64, place: u64) -> bool {
        self.requests.get(&key).is_some_and(|request| request.place == place)
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some((key, place)) = self.order.front().copied() {
            let is_old = |one: &Request| now.duration_since(one.at) >= ASKED_TIME_MAX;
            match self.requests.get(&key) {
                Some(one) if one.place == place && !is_old(one) => break,
                Some(one) if one.place == place => drop(self.forget(key)),
                _ => {}
            }
            self.order.pop_front();
        }
        for (key, _) in &self.order {
            if let Some(one) = self.requests.get_mut(key) {
                if now.duration_since(one.at) < HELD_TIME_MAX {
                    break;
                }
                one.held = None;
            }
        }
    }

    /// All of them, in order.
    pub(super) fn empty(&mut self) -> Vec<Left> {
        let asked = std::mem::take(self);
        let mut requests: Vec<Request> = asked.requests.into_values().collect();
        requests.sort_unstable_by_key(|request| request.place);
        requests.into_iter().map(|one| Left { bytes: one.original, held: one.held }).collect()
    }
}

/// The key of a request; `None`: it is none.
pub(super) fn request(bytes: &Bytes) -> Option<u64> {
    if !bytes.starts_with(b"<iq") {
        return None;
    }
    let stanza = Stanza::parse_bytes(bytes.clone()).ok().filter(|one| one.kind.is_request())?;
    Some(key(stanza.from.as_ref()?, stanza.id.as_deref()?))
}

/// By whom and by which id an answer is known.
pub(super) fn key(asker: &Jid, id: &str) -> u64 {
    let mut sip = Sip::default();
    sip.write(asker.as_str().as_bytes());
    sip.write(&[0]);
    sip.write(id.as_bytes());
    sip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_not_kept_for_ever() {
        let mut asked = Asked::default();
        let text = Bytes::from_static(b"<iq/>");
        for number in 0..ASKED_MAX as u64 + 10 {
            asked.note(number, &text, None, usize::MAX);
        }
        assert_eq!(asked.requests.len(), ASKED_MAX);
        assert!(asked.forget(9).is_none() && asked.forget(10).is_some());
        asked.tick(Instant::now() + ASKED_TIME_MAX);
        assert!(asked.requests.is_empty());
        assert_eq!((asked.bytes, asked.order.len()), (0, 0));
    }

    #[test]
    fn too_many_bytes_are_not_kept_and_the_last_one_always() {
        let mut asked = Asked::default();
        for number in 0..10 {
            asked.note(number, &Bytes::from_static(b"12345"), None, 12);
        }
        assert_eq!(asked.empty().len(), 2);
        asked.note(1, &Bytes::from_static(b"1234567890123"), None, 12);
        assert_eq!(asked.empty().len(), 1);
    }

    #[test]
    fn only_requests_have_a_key() {
        let key = |text: &'static str| request(&Bytes::from_static(text.as_bytes()));
        let get = key("<iq from='a@im/r' id='1' type='get'><q xmlns='u'/></iq>");
        assert_eq!(get, Some(super::key(&Jid::parse("a@im/r").expect("a jid"), "1")));
        assert_eq!(key("<iq from='a@im/r' id='1' type='result'/>"), None);
        assert_eq!(key("<message from='a@im/r' id='1'/>"), None);
    }
}
