//! What the guard of a connection and the handler of its requests tell each other; both run in one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::task::{Context, Waker};

use crate::ingress::memory::Room;
use crate::verify::ClientChain;

/// Bytes of a body that wait for a handler which is held up itself.
const AHEAD_BYTES_MAX: u64 = 16 * 1024;

/// One connection, as its guard and its handler share it.
#[derive(Default)]
pub struct State {
    /// The request that was passed on has its answer, which may not be written yet.
    answered: Cell<bool>,
    /// All of that request has been passed on.
    complete: Cell<bool>,
    /// Bytes of its body that were passed on, and of these what the handler has taken.
    passed: Cell<u64>,
    taken: Cell<u64>,
    /// Whom to wake once the handler takes more.
    waits: RefCell<Option<Waker>>,
    /// What is wrong with the framing of its body.
    broken: Cell<Option<&'static str>>,
    /// What its long head takes, until the handler takes it over.
    room: Cell<Option<Room>>,
    /// Nothing more is to be written.
    aborted: Cell<bool>,
    /// What the request takes is wanted by others.
    crowded: Cell<bool>,
    /// The certificate that the client has shown.
    client: OnceCell<ClientChain>,
}

impl State {
    /// A request's head is passed on, that takes this room.
    pub(super) fn begin(&self, room: Option<Room>) {
        self.room.set(room);
        self.answered.set(false);
        self.complete.set(false);
        self.crowded.set(false);
        self.passed.set(0);
        self.taken.set(0);
    }

    /// So many bytes of its body have been passed on.
    pub(super) fn pass(&self, bytes: u64) {
        self.passed.set(self.passed.get() + bytes);
    }

    /// Whether the handler has so much to take that nothing more is read for it; the task is woken when it takes some.
    pub(super) fn is_behind(&self, cx: &Context<'_>) -> bool {
        let behind = self.passed.get() - self.taken.get() >= AHEAD_BYTES_MAX && !self.answered.get();
        if behind {
            *self.waits.borrow_mut() = Some(cx.waker().clone());
        }
        behind
    }

    /// The handler has taken so many bytes of the body.
    pub fn take(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes as u64);
        if let Some(waker) = self.waits.borrow_mut().take() {
            waker.wake();
        }
    }

    /// All of the request has been passed on.
    pub(super) fn end(&self) {
        self.complete.set(true);
    }

    /// The request's body is framed wrongly, and nothing more of it is passed on.
    pub(super) fn fail(&self, detail: &'static str) {
        self.broken.set(Some(detail));
    }

    /// What the request's head takes, which its body adds to.
    pub fn take_room(&self) -> Option<Room> {
        self.room.take()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Whether all of the request has come in, without which the connection cannot go on after its answer.
    pub fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// The handler has its answer.
    pub fn answer(&self) {
        self.answered.set(true);
        self.room.set(None);
    }

    /// What is wrong with the framing of the body, if that is why it ended.
    pub fn broken(&self) -> Option<&'static str> {
        self.broken.get()
    }

    /// The client has shown this certificate, before any request.
    pub(super) fn shown(&self, client: ClientChain) {
        // A connection has one handshake.
        drop(self.client.set(client));
    }

    /// The certificate that the client has shown.
    pub fn client(&self) -> Option<&ClientChain> {
        self.client.get()
    }

    /// What the request takes is wanted by others: its connection ends soon after the answer.
    pub fn make_way(&self) {
        self.crowded.set(true);
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.get()
    }

    /// Ends the connection instead of writing an answer.
    pub fn abort(&self) {
        self.aborted.set(true);
    }
}
