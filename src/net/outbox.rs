//! The outbox: what waits to be written to one connection, bounded in bytes.
//!
//! It does not write: the connection takes from it. It does not decide what
//! happens to what it refuses or gives back: whoever filled it does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// How many pieces one write takes at most. Linux takes up to 1024 slices in
/// one `writev`; 64 fill a socket buffer with chat messages (a guess).
const PIECES_PER_WRITE_MAX: usize = 64;

/// Room that an empty outbox keeps for the next pieces. A guess: what a person is
/// told at a time; a crowd's presence must not stay as room for ever.
const PIECES_KEPT: usize = 8;

/// One piece to write, with a token that is dropped when the piece has been
/// handed to the kernel.
#[derive(Debug)]
pub struct Item<T> {
    /// What the peer will read.
    pub bytes: Bytes,
    /// Whoever holds this knows that the piece was not written yet.
    pub token: T,
}

/// Why a piece was not taken; it comes back to whoever brought it.
#[derive(Debug)]
pub enum Refused<T> {
    /// The limit of bytes is reached: the peer does not read as fast as it is
    /// written to.
    Full(Item<T>),
    /// The connection is closing or gone.
    Closed(Item<T>),
}

/// What the connection shall do next.
#[derive(Debug)]
pub enum Work {
    /// Pieces were moved into the caller's hands.
    Write,
    /// Nothing will come any more: write these last words and close.
    Finish(Bytes),
}

/// A bounded queue with one reader, the connection, and any writers.
#[derive(Debug)]
pub struct Outbox<T> {
    queue: Mutex<Queue<T>>,
    /// Reached: the piece is refused, and the caller closes the connection.
    bytes_max: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Item<T>>,
    /// What waits until nobody holds it back.
    behind: VecDeque<Item<T>>,
    holders: usize,
    /// Of both.
    bytes: usize,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Open,
    Finishing(Bytes),
    Closed,
}

impl<T> Outbox<T> {
    /// An empty outbox that holds at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let queue = Queue {
            items: VecDeque::new(),
            behind: VecDeque::new(),
            holders: 0,
            bytes: 0,
            end: End::Open,
            reader: None,
        };
        Self { queue: Mutex::new(queue), bytes_max }
    }

    /// Puts one piece behind the others, or hands it back.
    ///
    /// # Errors
    /// [`Refused`], with the piece in it. An empty outbox takes any piece.
    pub fn push(&self, bytes: Bytes, token: T) -> Result<(), Refused<T>> {
        self.put(Item { bytes, token }, |queue| &mut queue.items)
    }

    /// Puts pieces of another outbox in front of all others, over the limit if
    /// need be: they had room before.
    pub fn put_back(&self, items: Vec<Item<T>>) {
        let mut queue = self.lock();
        let bytes: usize = items.iter().map(|item| item.bytes.len()).sum();
        queue.bytes = queue.bytes.saturating_add(bytes);
        for item in items.into_iter().rev() {
            queue.items.push_front(item);
        }
        queue.wake();
    }

    /// As [`Self::push`], but while somebody holds back, the piece waits.
    ///
    /// # Errors
    /// [`Refused`], with the piece in it.
    pub fn push_behind(&self, bytes: Bytes, token: T) -> Result<(), Refused<T>> {
        self.put(Item { bytes, token }, |queue| match queue.holders {
            0 => &mut queue.items,
            _ => &mut queue.behind,
        })
    }

    /// From now on what is pushed behind waits. To be followed by
    /// [`Self::let_go`], as often as this was called.
    pub fn hold_back(&self) {
        self.lock().holders += 1;
    }

    /// What was held back is next, if nobody else holds it.
    pub fn let_go(&self) {
        let mut queue = self.lock();
        queue.holders = queue.holders.saturating_sub(1);
        if queue.holders == 0 {
            queue.catch_up();
        }
    }

    fn put(
        &self,
        item: Item<T>,
        place: impl FnOnce(&mut Queue<T>) -> &mut VecDeque<Item<T>>,
    ) -> Result<(), Refused<T>> {
        let mut queue = self.lock();
        if !matches!(queue.end, End::Open) {
            return Err(Refused::Closed(item));
        }
        let after = queue.bytes.saturating_add(item.bytes.len());
        if queue.bytes > 0 && after > self.bytes_max {
            return Err(Refused::Full(item));
        }
        queue.bytes = after;
        place(&mut queue).push_back(item);
        queue.wake();
        Ok(())
    }

    /// What waits is still written, then `last`, then the connection closes.
    /// The first to say so is heard.
    pub fn finish(&self, last: Bytes) {
        let mut queue = self.lock();
        if matches!(queue.end, End::Open) {
            queue.end = End::Finishing(last);
            queue.catch_up();
            queue.wake();
        }
    }

    /// Nothing that waits is written any more: it is given back, and the
    /// connection closes after `last`.
    pub fn abort(&self, last: Bytes) -> Vec<Item<T>> {
        let mut queue = self.lock();
        if !matches!(queue.end, End::Closed) {
            queue.end = End::Finishing(last);
            queue.wake();
        }
        queue.empty()
    }

    /// The connection is gone: refuses everything from now on and gives back
    /// what nobody wrote.
    pub fn close(&self) -> Vec<Item<T>> {
        let mut queue = self.lock();
        queue.end = End::Closed;
        queue.empty()
    }

    /// How many bytes may wait.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.lock().bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves waiting pieces into `hands`, or says that the end has come.
    /// `hands` is untouched unless the answer is [`Work::Write`].
    pub fn poll_take(&self, cx: &mut Context<'_>, hands: &mut VecDeque<Item<T>>) -> Poll<Work> {
        self.poll_take_some(cx, hands, PIECES_PER_WRITE_MAX)
    }

    /// As above, but no more than `pieces_max`.
    pub fn poll_take_some(
        &self,
        cx: &mut Context<'_>,
        hands: &mut VecDeque<Item<T>>,
        pieces_max: usize,
    ) -> Poll<Work> {
        let mut queue = self.lock();
        if queue.items.is_empty() {
            return match &queue.end {
                End::Finishing(last) => Poll::Ready(Work::Finish(last.clone())),
                End::Closed => Poll::Ready(Work::Finish(Bytes::new())),
                End::Open => {
                    queue.sleep(cx);
                    Poll::Pending
                }
            };
        }
        let count = queue.items.len().min(pieces_max.clamp(1, PIECES_PER_WRITE_MAX));
        let taken: usize = queue.items.iter().take(count).map(|item| item.bytes.len()).sum();
        hands.extend(queue.items.drain(..count));
        queue.bytes = queue.bytes.saturating_sub(taken);
        if queue.items.is_empty() && queue.items.capacity() > PIECES_KEPT {
            queue.items = VecDeque::new();
        }
        Poll::Ready(Work::Write)
    }

    /// The lock is held for pushes and moves only, which do not panic half
    /// way, so a poisoned queue is still whole.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn sleep(&mut self, cx: &Context<'_>) {
        match &self.reader {
            Some(reader) if reader.will_wake(cx.waker()) => {}
            _ => self.reader = Some(cx.waker().clone()),
        }
    }

    fn catch_up(&mut self) {
        if !self.behind.is_empty() {
            self.items.append(&mut self.behind);
            self.wake();
        }
    }

    fn empty(&mut self) -> Vec<Item<T>> {
        self.bytes = 0;
        let mut items = std::mem::take(&mut self.items);
        items.append(&mut self.behind);
        items.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox<u8>) -> String {
        let mut hands = VecDeque::new();
        let mut cx = Context::from_waker(Waker::noop());
        match outbox.poll_take(&mut cx, &mut hands) {
            Poll::Pending => "wait".into(),
            Poll::Ready(Work::Finish(last)) => format!("last {}", text(&last)),
            Poll::Ready(Work::Write) => {
                let pieces: Vec<_> = hands.iter().map(|item| text(&item.bytes)).collect();
                pieces.join(" ")
            }
        }
    }

    fn text(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).expect("the tests write ASCII")
    }

    fn outbox(words: &[&'static str]) -> Outbox<u8> {
        let outbox = Outbox::new(8);
        for (number, word) in words.iter().enumerate() {
            outbox.push(Bytes::from_static(word.as_bytes()), number as u8).expect("there is room");
        }
        outbox
    }

    #[test]
    fn pieces_leave_in_the_order_they_came() {
        let outbox = outbox(&["one", "two"]);
        assert_eq!(take(&outbox), "one two");
        assert_eq!(take(&outbox), "wait");
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_full_outbox_hands_the_piece_back() {
        let outbox = outbox(&["one", "two"]);
        let refused = outbox.push(Bytes::from_static(b"three"), 3);
        assert!(matches!(refused, Err(Refused::Full(Item { token: 3, .. }))));
        assert_eq!(take(&outbox), "one two");
    }

    #[test]
    fn an_empty_outbox_takes_even_a_piece_over_the_limit() {
        assert_eq!(take(&outbox(&["a long farewell"])), "a long farewell");
    }

    #[test]
    fn finishing_writes_what_waits_and_then_the_last_words() {
        let outbox = outbox(&["one"]);
        outbox.finish(Bytes::from_static(b"bye"));
        outbox.finish(Bytes::from_static(b"never said"));
        assert!(matches!(outbox.push(Bytes::from_static(b"late"), 9), Err(Refused::Closed(_))));
        assert_eq!(take(&outbox), "one");
        assert_eq!(take(&outbox), "last bye");
    }

    #[test]
    fn aborting_gives_back_what_waits() {
        let outbox = outbox(&["one", "two"]);
        let back = outbox.abort(Bytes::from_static(b"bye"));
        assert_eq!(back.iter().map(|item| item.token).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(take(&outbox), "last bye");
        outbox.close();
        assert_eq!(take(&outbox), "last ");
    }

    #[test]
    fn what_is_held_back_waits_for_the_last_who_holds() {
        let outbox = Outbox::new(100);
        let push = |piece: &'static str| outbox.push(Bytes::from(piece), 0).expect("room");
        let behind = |piece: &'static str| outbox.push_behind(Bytes::from(piece), 0).expect("room");
        behind("a");
        outbox.hold_back();
        outbox.hold_back();
        behind("c");
        push("b");
        assert_eq!((take(&outbox).as_str(), outbox.len()), ("a b", 1));
        outbox.let_go();
        behind("d");
        assert_eq!(take(&outbox), "wait");
        outbox.let_go();
        behind("e");
        assert_eq!(take(&outbox), "c d e");
    }

    #[test]
    fn what_is_held_back_is_written_before_the_end_and_given_back_if_it_cannot_be() {
        let outbox = Outbox::new(100);
        outbox.hold_back();
        outbox.push_behind(Bytes::from("a"), 0).expect("room");
        outbox.finish(Bytes::from("end"));
        assert_eq!(take(&outbox), "a");
        assert_eq!(take(&outbox), "last end");
        let outbox = Outbox::new(100);
        outbox.hold_back();
        outbox.push_behind(Bytes::from("a"), 7).expect("room");
        let back = outbox.close();
        assert_eq!(back.iter().map(|item| item.token).collect::<Vec<_>>(), [7]);
        assert_eq!(outbox.len(), 0);
    }
}
