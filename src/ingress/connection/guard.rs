//! The guard of a connection: passes whole, unambiguous requests on to the HTTP library, one at a time, and answers
//! and ends what is none.
//!
//! What a request came with beyond its end stays here, at most one read of it, until its answer is written: a peer
//! that sends without reading is stopped by its own socket. Bytes are read straight into the library's buffer where
//! nothing is kept back.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::chunks::Chunks;
use super::door::Limits;
use super::frame::{self, Framing, Search};
use super::places::Place;
use super::state::State;
use super::timer::Timer;
use super::transport::Transport;
use crate::clock::Clock;
use crate::ingress::memory::{Memory, Room, crowded};
use crate::reject::{Refused, Reject};

/// Room for a read: most requests whole.
const READ_BYTES: usize = 8 * 1024;
/// Bytes passed on in one go: what the library's buffer of a connection grows to.
const BURST_BYTES_MAX: usize = 8 * 1024;
/// Longest time that a peer may take none of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, and how many bytes of, what a peer still sends is thrown away after a last answer, so that it can be read.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// The same of a body that was answered before its end: many senders read no answer before they have sent all of it.
const LINGER_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long where what the request takes is wanted by others.
const LINGER_IN_A_CROWD: Duration = Duration::from_millis(100);

/// Who is told of refusals, and of whom; the last answer of the connection comes back.
pub(in crate::ingress) type Refusals = Box<dyn Fn(&Refused, IpAddr) -> Bytes + Send + Sync>;

/// What guards of one listener share.
pub(in crate::ingress) struct Rules {
    /// What a connection may take.
    pub limits: Limits,
    /// What time is told by.
    pub clock: Arc<dyn Clock>,
    /// Told of each refusal of the guard's own.
    pub refused: Refusals,
    /// Room for heads and bodies on their way in.
    pub memory: Arc<Memory>,
}

/// Where in the conversation the next byte stands.
enum Stage {
    /// In a head, or before one.
    Head(Search),
    /// In a body of which so many bytes are still to come.
    Length(u64),
    /// In a body that comes in chunks.
    Chunks(Chunks),
    /// After a request whose answer is not written yet.
    Answer { flushed: bool, more: bool },
    /// After the last request: an answer of the guard's own, if there is one, is written, and what comes is thrown away.
    Refusing { answer: Bytes, said: bool, left: usize },
    /// Nothing more is read.
    Ended,
}

/// A connection that the HTTP library serves.
pub struct Guarded {
    io: Transport,
    rules: Arc<Rules>,
    state: Rc<State>,
    peer: IpAddr,
    place: Place,
    stage: Stage,
    timer: Timer,
    /// Read and not passed on; of these the first `passing` may be.
    held: BytesMut,
    passing: usize,
    /// What a long head takes, until it is passed on.
    room: Option<Room>,
    /// Passed on since the task was last given up.
    burst: usize,
    /// The peer has not taken all that was written, since the timer was started for it.
    stuck: bool,
}

impl Guarded {
    pub(super) fn new(io: Transport, rules: Arc<Rules>, peer: IpAddr, place: Place) -> Self {
        let timer = Timer::new(Arc::clone(&rules.clock), rules.limits.head_timeout);
        Self {
            io,
            rules,
            state: Rc::default(),
            peer,
            place,
            stage: Stage::Head(Search::default()),
            timer,
            held: BytesMut::new(),
            passing: 0,
            room: None,
            burst: 0,
            stuck: false,
        }
    }

    /// What its handler shares with it.
    pub fn state(&self) -> Rc<State> {
        Rc::clone(&self.state)
    }

    /// Waits until a first head is there; false where none came.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.poll_fill(cx)
    }

    /// Looks at what follows the bytes that were passed on: how many of `bytes` may be.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let mut passing = 0;
        if let Stage::Head(search) = &mut self.stage {
            let begun = search.is_begun();
            let found = search
                .end(bytes, self.rules.limits.head_bytes_max)
                .and_then(|end| end.map(|end| Ok((end, frame::framing(&bytes[..end])?))).transpose());
            let head = match &found {
                Ok(Some((end, _))) => *end,
                Ok(None) => bytes.len(),
                Err(_) => 0,
            };
            if head > READ_BYTES && !self.has_room(head) {
                self.make_way();
                return 0;
            }
            match found {
                Ok(None) => {
                    if !begun {
                        self.timer.start(self.rules.limits.head_timeout);
                    }
                    return 0;
                }
                Ok(Some((end, framing))) => {
                    self.timer.stop();
                    self.state.begin(self.room.take());
                    self.stage = match framing {
                        Framing::Length(length) => Stage::Length(length),
                        Framing::Chunked => Stage::Chunks(Chunks::default()),
                    };
                    passing = end;
                }
                Err(refused) => {
                    self.refuse(&refused);
                    return 0;
                }
            }
        }
        passing + self.look_at_body(&bytes[passing..])
    }

    /// Whether a head of so many bytes may be, and go on.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.room.get_or_insert_with(|| self.rules.memory.begin(self.peer)).reach(bytes)
    }

    /// Whether a long head has to go before all of it is there.
    fn must_go(&self, cx: &Context<'_>) -> bool {
        self.room.as_ref().is_some_and(|room| room.must_go(cx))
    }

    fn look_at_body(&mut self, bytes: &[u8]) -> usize {
        let (passing, complete) = match &mut self.stage {
            Stage::Length(left) => {
                let passing = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= passing as u64;
                self.state.pass(passing as u64);
                (passing, *left == 0)
            }
            Stage::Chunks(chunks) => {
                let before = chunks.data();
                match chunks.pass(bytes) {
                    Ok(passing) => {
                        self.state.pass(chunks.data() - before);
                        (passing, chunks.is_complete())
                    }
                    Err(detail) => {
                        self.state.fail(detail);
                        self.stage = Stage::Ended;
                        return 0;
                    }
                }
            }
            _ => return 0,
        };
        if complete {
            self.state.end();
            self.stage = Stage::Answer { flushed: false, more: false };
        }
        passing
    }

    fn refuse(&mut self, refused: &Refused) {
        let answer = (self.rules.refused)(refused, self.peer);
        self.end_after(answer, false, LINGER_BYTES_MAX);
    }

    /// Throws away so many bytes that still come, once that answer is written and, where it is not, said to be the last.
    fn end_after(&mut self, answer: Bytes, said: bool, left: usize) {
        self.timer.start(self.linger());
        (self.held, self.passing, self.room) = (BytesMut::new(), 0, None);
        self.stage = Stage::Refusing { answer, said, left };
    }

    /// How long what still comes is thrown away.
    fn linger(&self) -> Duration {
        if self.state.is_crowded() { LINGER_IN_A_CROWD } else { LINGER }
    }

    /// Refuses a long head for which there is no room.
    fn make_way(&mut self) {
        self.state.make_way();
        self.refuse(&crowded());
    }

    /// The wait has lasted too long.
    fn give_up(&mut self) {
        if matches!(self.stage, Stage::Head(_)) && !self.held.is_empty() {
            let limit = self.rules.limits.head_timeout.as_millis();
            self.refuse(&Reject::HeadTooSlow.because(format!("not complete after {limit} ms")));
        } else {
            self.stage = Stage::Ended;
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.is_over(cx, self.place.is_in_a_crowd())
    }

    /// Reads until something may be passed on; false once nothing will be.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.passing == 0 {
            match &mut self.stage {
                Stage::Ended => return Poll::Ready(false),
                Stage::Refusing { .. } => ready!(self.poll_refuse(cx)),
                Stage::Answer { .. } => ready!(self.poll_next(cx)),
                Stage::Head(_) | Stage::Length(_) | Stage::Chunks(_) => match self.poll_hold(cx) {
                    Poll::Ready(Ok(1..)) => self.look_at_held(),
                    Poll::Ready(_) => self.stage = Stage::Ended,
                    Poll::Pending if self.is_over(cx) => self.give_up(),
                    Poll::Pending if self.must_go(cx) => self.make_way(),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        Poll::Ready(true)
    }

    /// Reads what is there; who waits has no room for it yet.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.io.poll_readable(cx) {
            return Poll::Pending;
        }
        self.held.reserve(READ_BYTES);
        let read = poll_read_buf(Pin::new(&mut self.io), cx, &mut (&mut self.held).limit(READ_BYTES));
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        read
    }

    fn look_at_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let passing = self.look(&held);
        if !matches!(self.stage, Stage::Refusing { .. }) {
            self.held = held;
            self.passing = passing;
        }
    }

    /// Waits until the answer to the last request is written; then the next may come.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Answer { flushed, more } = &mut self.stage else { return Poll::Ready(()) };
        if *flushed {
            self.stage = Stage::Head(Search::default());
            self.timer.start(self.rules.limits.keep_alive);
            if !self.held.is_empty() {
                self.look_at_held();
            }
            return Poll::Ready(());
        }
        // Nothing is read; but where nothing is there to read, the next byte wakes the task, and no flush need to.
        *more = *more || !self.held.is_empty() || self.io.poll_readable(cx);
        // The timer wakes the task, which finds the answer written and begins the next wait.
        self.is_over(cx);
        Poll::Pending
    }

    /// Writes the guard's own answer, says that it was the last, and throws away what still comes.
    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Stage::Refusing { answer, said, left } = &mut self.stage {
            let mut io = Pin::new(&mut self.io);
            let step = if !answer.is_empty() {
                io.poll_write(cx, answer).map_ok(|written| answer.advance(written))
            } else if !*said {
                io.poll_shutdown(cx).map_ok(|()| *said = true)
            } else {
                throw_away(io.as_mut(), cx, left)
            };
            match step {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.stage = Stage::Ended,
                Poll::Pending if self.is_over(cx) => self.stage = Stage::Ended,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Reads what may be passed on straight into the library's buffer.
    fn poll_through(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => self.stage = Stage::Ended,
            Poll::Ready(Ok(())) => {
                let bytes = &buffer.filled()[before..];
                let passing = self.look(bytes);
                if !matches!(self.stage, Stage::Refusing { .. } | Stage::Ended) {
                    self.held.extend_from_slice(&bytes[passing..]);
                }
                buffer.set_filled(before + passing);
            }
            Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
            Poll::Pending if self.is_over(cx) => self.give_up(),
            Poll::Pending if self.must_go(cx) => self.make_way(),
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }

    /// Passes bytes on; none at the end.
    fn poll_pass(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.passing > 0 {
                let taken = self.passing.min(buffer.remaining());
                buffer.put_slice(&self.held[..taken]);
                self.held.advance(taken);
                self.passing -= taken;
                if self.held.is_empty() {
                    self.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let straight = self.held.is_empty()
                && matches!(self.stage, Stage::Head(_) | Stage::Length(_) | Stage::Chunks(_));
            if straight {
                let before = buffer.filled().len();
                ready!(self.poll_through(cx, buffer))?;
                if buffer.filled().len() > before {
                    return Poll::Ready(Ok(()));
                }
            } else if !ready!(self.poll_fill(cx)) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// What a write has come to: an error once the peer has taken nothing for too long.
    fn while_taken<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() && !self.stuck {
            self.stuck = true;
            self.timer.start(WRITE_TIMEOUT);
        }
        self.in_time(cx, written)
    }

    /// What a wait for the peer has come to: an error once it has lasted too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        }
    }
}

/// Reads once; an error where that was the last.
fn throw_away(io: Pin<&mut Transport>, cx: &mut Context<'_>, left: &mut usize) -> Poll<io::Result<()>> {
    let mut room = [0; 2048];
    let mut buffer = ReadBuf::new(&mut room);
    ready!(io.poll_read(cx, &mut buffer))?;
    let thrown = buffer.filled().len();
    let last = thrown == 0 || thrown > *left;
    *left = left.saturating_sub(thrown);
    Poll::Ready(if last { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.burst >= BURST_BYTES_MAX {
            // What was passed on is taken up before more is read.
            this.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // What is held may begin with the head, without which the handler takes nothing.
        let reads = this.passing == 0 && matches!(this.stage, Stage::Length(_) | Stage::Chunks(_));
        if reads && this.state.is_behind(cx) {
            this.burst = 0;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = this.poll_pass(cx, buffer);
        this.burst = if polled.is_pending() { 0 } else { this.burst + buffer.filled().len() - before };
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.state.is_aborted() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.while_taken(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What TLS has taken may still wait for the peer; a plain socket is always flushed.
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.stuck &= flushed.is_pending();
        ready!(this.while_taken(cx, flushed))?;
        if !this.state.is_answered() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.stage {
            Stage::Answer { flushed: flushed @ false, more } => {
                *flushed = true;
                if *more {
                    cx.waker().wake_by_ref();
                }
            }
            // Answered before all of it came. The library would take what still comes into a buffer that grows, and end
            // the connection after it.
            // Nobody else wakes the task for it where the last read waited for the handler, which has gone.
            Stage::Length(_) | Stage::Chunks(_) => {
                this.end_after(Bytes::new(), true, LINGER_BODY_BYTES_MAX);
                cx.waker().wake_by_ref();
            }
            _ => {}
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.io).poll_shutdown(cx);
        if ended.is_pending() {
            this.timer.start_once(LINGER);
        }
        this.in_time(cx, ended)
    }
}
