//! One connection, plain or TLS: read, written and flushed in one task.
//!
//! It knows neither XML nor who is at the other end. Reading and writing live
//! in one place so that an idle connection costs one task, no read buffer and
//! no lock between its halves.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::net::outbox::{Item, Outbox, Work};
use crate::net::socket::Socket;

/// How much is read at once. One TLS record holds 16 KiB of plain text; chat
/// stanzas are far smaller, and a larger one only takes several turns.
const READ_BYTES: usize = 8 * 1024;

/// Room that an idle connection keeps for the next pieces. A guess.
const HANDS_KEPT: usize = 4;

/// How long and how much we listen to a peer after our last word. Guesses.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);
const GOODBYE_BYTES_MAX: usize = 1024 * 1024;

/// Slices in one vectored write.
const SLICES_MAX: usize = 16;

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The read buffer grew.
    Read,
    /// The peer will send nothing more.
    Ended,
    /// The last words are written, and all before them.
    Finished,
}

/// A socket with its read buffer and what is being written.
#[derive(Debug)]
pub struct Connection<T> {
    socket: Socket,
    /// What was read and not yet understood. Empty and without memory while
    /// the peer is silent.
    pub buffer: BytesMut,
    /// Taken from the outbox, not yet flushed.
    hands: VecDeque<Item<T>>,
    /// Bytes of the first of them that are written. The piece stays whole: if
    /// the connection ends now, its peer has not had it.
    begun: usize,
    /// Written into the socket, waiting for the flush.
    written: Vec<T>,
    last: Last,
    /// How long the peer may refuse to read.
    write_timeout: Duration,
    /// Runs while it does.
    stall: Option<Pin<Box<Sleep>>>,
}

/// The way to the last words.
#[derive(Debug)]
enum Last {
    NotYet,
    Writing(Bytes),
    Done,
}

impl<T: Unpin> Connection<T> {
    /// Wraps a socket on which nothing was read yet. A peer that reads nothing
    /// for `write_timeout` while we write ends the connection.
    pub fn new(socket: Socket, write_timeout: Duration) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
            hands: VecDeque::new(),
            begun: 0,
            written: Vec::new(),
            last: Last::NotYet,
            write_timeout,
            stall: None,
        }
    }

    /// Whether nobody on the way can have changed what is read and written.
    pub fn is_secured(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    /// Waits until something was read, the peer has ended, or everything that
    /// `outbox` will ever give is written. Writes meanwhile. Safe to cancel.
    ///
    /// # Errors
    /// What the socket says; the connection is then of no more use.
    pub async fn turn(&mut self, outbox: &Outbox<T>) -> io::Result<Turn> {
        poll_fn(|cx| self.poll_turn(cx, outbox)).await
    }

    /// As [`Connection::turn`]; a connection that is held is written to, and not
    /// read. Safe to cancel.
    ///
    /// # Errors
    /// As there.
    pub async fn turn_held(&mut self, outbox: &Outbox<T>, is_held: bool) -> io::Result<Turn> {
        match is_held {
            true => self.write_out(outbox).await.map(|()| Turn::Finished),
            false => self.turn(outbox).await,
        }
    }

    /// Waits until something was read or the peer has ended, and writes
    /// nothing: for what a peer says after our last word. Safe to cancel.
    ///
    /// # Errors
    /// As [`Connection::turn`].
    pub async fn read(&mut self) -> io::Result<Turn> {
        match poll_fn(|cx| self.poll_read(cx)).await? {
            0 => Ok(Turn::Ended),
            _ => Ok(Turn::Read),
        }
    }

    /// Writes what the outbox holds now, reads nothing, and returns when all of
    /// it is flushed. Safe to cancel.
    ///
    /// # Errors
    /// As [`Connection::turn`].
    pub async fn flush(&mut self, outbox: &Outbox<T>) -> io::Result<()> {
        poll_fn(|cx| match self.poll_write_out(cx, outbox) {
            Poll::Pending if self.is_writing() => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(done) => Poll::Ready(done),
        })
        .await
    }

    /// Writes what the outbox holds and no longer reads. For the end of a
    /// stream, whose peer has nothing more to say to us. Safe to cancel.
    ///
    /// # Errors
    /// As [`Connection::turn`].
    pub async fn write_out(&mut self, outbox: &Outbox<T>) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_out(cx, outbox)).await
    }

    /// Says goodbye in TLS and TCP, and waits a little for the peer's: a
    /// socket closed over unread bytes is reset, and the reset would overtake
    /// our last words. Gives back what was taken from the outbox and not
    /// flushed.
    pub async fn shutdown(mut self) -> Vec<Item<T>> {
        let goodbye = poll_fn(|cx| self.poll_goodbye(cx));
        // Late or failed: the peer is gone already, there is nobody to tell.
        let _ = tokio::time::timeout(GOODBYE_TIME_MAX, goodbye).await;
        self.hands.into()
    }

    /// What was taken from the outbox and not flushed, without a goodbye.
    pub fn abandon(self) -> Vec<Item<T>> {
        self.hands.into()
    }

    /// The socket alone, for the change to TLS. What was read and not
    /// understood is thrown away (RFC 6120 §5.4.3.1).
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Whether pieces wait for a peer that does not read.
    pub fn is_writing(&self) -> bool {
        !self.hands.is_empty() || !self.written.is_empty()
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, outbox: &Outbox<T>) -> Poll<io::Result<Turn>> {
        if let Poll::Ready(done) = self.poll_write_out(cx, outbox) {
            return Poll::Ready(done.map(|()| Turn::Finished));
        }
        match ready!(self.poll_read(cx))? {
            0 => Poll::Ready(Ok(Turn::Ended)),
            _ => Poll::Ready(Ok(Turn::Read)),
        }
    }

    /// Ready when the last words are flushed.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, outbox: &Outbox<T>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_empty_hands(cx))?;
            match &mut self.last {
                Last::Done => return Poll::Ready(Ok(())),
                Last::Writing(last) if last.is_empty() => {
                    ready!(self.socket.pin().poll_flush(cx))?;
                    self.last = Last::Done;
                }
                Last::Writing(last) => {
                    let count = ready!(self.socket.pin().poll_write(cx, last))?;
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    last.advance(count);
                }
                Last::NotYet => match ready!(outbox.poll_take(cx, &mut self.hands)) {
                    Work::Write => {}
                    Work::Finish(last) => self.last = Last::Writing(last),
                },
            }
        }
    }

    /// Closes our direction, then reads the other to its end.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.pin().poll_shutdown(cx))?;
        let mut ignored = 0usize;
        while ignored < GOODBYE_BYTES_MAX {
            match ready!(self.poll_read(cx))? {
                0 => break,
                count => ignored = ignored.saturating_add(count),
            }
            self.buffer.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes and flushes what is in our hands; the tokens go with the flush.
    fn poll_empty_hands(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.hands.is_empty() {
            let Poll::Ready(count) = self.poll_write_some(cx) else {
                return self.poll_stall(cx);
            };
            let mut count = count?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stall = None;
            while let Some(first) = self.hands.front() {
                let step = count.min(first.bytes.len().saturating_sub(self.begun));
                self.begun += step;
                count -= step;
                if self.begun < first.bytes.len() {
                    break;
                }
                self.begun = 0;
                self.written.extend(self.hands.pop_front().map(|item| item.token));
            }
        }
        if !self.written.is_empty() {
            let Poll::Ready(flushed) = self.socket.pin().poll_flush(cx) else {
                return self.poll_stall(cx);
            };
            flushed?;
            self.stall = None;
            self.written = Vec::new();
            if self.hands.capacity() > HANDS_KEPT {
                self.hands = VecDeque::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The peer does not read: pending, until its time is over.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.hands.len() > 1 && self.socket.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut begun = self.begun;
            for (slice, item) in slices.iter_mut().zip(&self.hands) {
                let rest = item.bytes.get(std::mem::take(&mut begun)..).unwrap_or_default();
                *slice = IoSlice::new(rest);
            }
            return self.socket.pin().poll_write_vectored(cx, &slices);
        }
        match self.hands.front() {
            Some(item) => {
                let rest = item.bytes.get(self.begun..).unwrap_or_default();
                self.socket.pin().poll_write(cx, rest)
            }
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Reads through the stack, so that a silent peer holds no buffer of ours.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut chunk);
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        ready!(self.socket.pin().poll_read(cx, &mut read))?;
        self.buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    /// A piece that no kernel takes at once.
    const LONG: usize = 64 << 20;

    #[tokio::test]
    async fn a_piece_of_which_the_peer_has_read_half_comes_back_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (tcp, peer) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _peer = peer.expect("it comes");
        let socket = Socket::Plain(tcp.expect("it listens"));
        let mut connection = Connection::new(socket, Duration::from_millis(50));
        let outbox = Outbox::new(2 * LONG);
        for (byte, length) in [(b'a', 3), (b'b', LONG), (b'c', 5)] {
            let piece = Bytes::from(vec![byte; length]);
            assert!(outbox.push(piece, byte).is_ok());
        }
        let error = connection.turn(&outbox).await.expect_err("the peer does not read");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let left = connection.abandon();
        let left: Vec<(u8, usize)> =
            left.iter().map(|item| (item.token, item.bytes.len())).collect();
        assert_eq!(left, [(b'b', LONG), (b'c', 5)]);
    }
}
