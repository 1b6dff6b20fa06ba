//! The memory that bodies take while they come in, capped in all.
//!
//! A body that arrives in one piece is not counted: it lies in its connection's buffer, which is bounded. Of the others
//! the one that has been arriving longest has to go when there is no room: that of an honest sender arrives in
//! milliseconds, so that slow ones crowd out each other and nobody else.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// Room for bodies on their way in.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// Of these, what is given back by those who were told to go.
    leaving: usize,
    next: u64,
    /// Bodies still arriving, the first to come first.
    arriving: BTreeMap<u64, Arrival>,
}

#[derive(Debug)]
struct Arrival {
    bytes: usize,
    notice: Arc<Notice>,
}

/// That a body has to go.
#[derive(Debug, Default)]
struct Notice {
    given: AtomicBool,
    waker: AtomicWaker,
}

/// What one body takes, given back when dropped.
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    number: u64,
    bytes: usize,
    notice: Arc<Notice>,
    /// Whether all of it is there.
    arrived: bool,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: Mutex::default() }
    }

    /// A body begins to arrive.
    pub fn begin(self: &Arc<Self>) -> Room {
        let notice = Arc::<Notice>::default();
        let mut used = self.lock();
        let number = used.next;
        used.next += 1;
        used.arriving.insert(number, Arrival { bytes: 0, notice: Arc::clone(&notice) });
        Room { memory: Arc::clone(self), number, bytes: 0, notice, arrived: false }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Takes `bytes` more; false where this body itself has to go.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut used = self.memory.lock();
        let Some(own) = used.arriving.get_mut(&self.number) else { return false };
        own.bytes += bytes;
        self.bytes += bytes;
        used.bytes += bytes;
        while used.bytes - used.leaving > self.memory.bytes_max {
            let Some((number, oldest)) = used.arriving.pop_first() else { return false };
            used.leaving += oldest.bytes;
            oldest.notice.given.store(true, Ordering::Release);
            oldest.notice.waker.wake();
            if number == self.number {
                return false;
            }
        }
        true
    }

    /// All of the body is there: it stays until it is dropped.
    pub fn arrive(&mut self) {
        self.arrived = self.memory.lock().arriving.remove(&self.number).is_some();
    }

    /// Yields once the body has to go.
    pub async fn notice(&self) {
        poll_fn(|cx| {
            self.notice.waker.register(cx.waker());
            if self.notice.given.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.memory.lock();
        used.bytes -= self.bytes;
        if !self.arrived && used.arriving.remove(&self.number).is_none() {
            used.leaving -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn must_go(room: &Room) -> bool {
        room.notice().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_has_been_arriving_longest_goes() {
        let memory = Arc::new(Memory::new(100));
        let (mut first, mut second, mut third) = (memory.begin(), memory.begin(), memory.begin());
        assert!(first.grow(40) && second.grow(40));
        assert!(!must_go(&first));
        assert!(third.grow(40), "there is room once the first has gone");
        assert!(must_go(&first) && !must_go(&second) && !must_go(&third));
        assert!(!first.grow(1), "who must go gets nothing more");
        drop(first);
        let used = memory.lock();
        assert_eq!((used.bytes, used.leaving), (80, 0));
        drop(used);
    }

    #[test]
    fn what_has_arrived_stays_and_a_newcomer_goes() {
        let memory = Arc::new(Memory::new(100));
        let mut kept = memory.begin();
        assert!(kept.grow(90));
        kept.arrive();
        let mut late = memory.begin();
        assert!(!late.grow(20));
        assert!(must_go(&late) && !must_go(&kept));
        drop((late, kept));
        let used = memory.lock();
        assert_eq!((used.bytes, used.leaving, used.arriving.len()), (0, 0, 0));
    }

    #[test]
    fn nothing_is_left_behind_whatever_the_order() {
        let memory = Arc::new(Memory::new(64));
        let mut rooms: Vec<Room> = (0..40).map(|_| memory.begin()).collect();
        for round in 0..40 {
            for (index, room) in rooms.iter_mut().enumerate() {
                let _in_or_out = room.grow(1 + (index * 7 + round) % 5);
            }
            if round % 3 == 0 {
                rooms.remove(rooms.len() / 2).arrive();
            }
        }
        let used = memory.lock();
        assert!(used.bytes - used.leaving <= 64, "{used:?}");
        drop(used);
        rooms.clear();
        let used = memory.lock();
        assert_eq!((used.bytes, used.leaving, used.arriving.len()), (0, 0, 0));
    }
}
