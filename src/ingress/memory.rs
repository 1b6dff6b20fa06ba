//! The memory that long heads and bodies take while they come in, capped in all.
//!
//! Heads and bodies that arrive in one piece of a few KiB are not counted: they lie in their connection's buffer, which
//! is bounded. Where there is no room for another, something of the address goes that has most on its way in, the one
//! of its that has been arriving longest: who sends much, or slowly and from many connections, crowds out its own.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::mem;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::addresses::one_party;
use crate::reject::{Refused, Reject};

/// What a body in pieces is put together from.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Room for what is on its way in.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    used: Mutex<Used>,
    /// Told when some of it is given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// Of these, what is given back by those who were told to go.
    leaving: usize,
    /// Of these, what stays: it belongs to requests that are there.
    arrived: usize,
    next: u64,
    /// What is still arriving, the first to come first.
    arriving: BTreeMap<u64, Arrival>,
    /// Blocks that another body may take, whichever thread reads it: each thread's heap would keep what it has freed.
    /// They go when nothing is on its way any more.
    spare: Vec<Vec<u8>>,
}

impl Used {
    /// Keeps a block for others, where with all that is counted there is room for it.
    fn leave(&mut self, mut block: Vec<u8>, bytes_max: usize) {
        if self.bytes + (self.spare.len() + 1) * BLOCK_BYTES <= bytes_max {
            block.clear();
            self.spare.push(block);
        }
    }

    /// Takes out what has to go.
    fn next_to_go(&mut self) -> Option<(u64, Arrival)> {
        let mut parties: HashMap<IpAddr, usize> = HashMap::new();
        for arrival in self.arriving.values() {
            *parties.entry(arrival.party).or_default() += arrival.bytes;
        }
        let most = parties.values().copied().max()?;
        let of_most = |arrival: &Arrival| parties.get(&arrival.party) == Some(&most);
        let number = *self.arriving.iter().find(|(_, arrival)| of_most(arrival))?.0;
        Some((number, self.arriving.remove(&number)?))
    }
}

#[derive(Debug)]
struct Arrival {
    /// Whose it is.
    party: IpAddr,
    bytes: usize,
    notice: Arc<Notice>,
}

/// That something has to go.
#[derive(Debug, Default)]
struct Notice {
    given: AtomicBool,
    waker: AtomicWaker,
}

/// What one request takes, given back when dropped.
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    number: u64,
    bytes: usize,
    notice: Arc<Notice>,
    /// Whether all of it is there.
    arrived: bool,
    /// What has come of a body in pieces: each is full but the last.
    pub blocks: Vec<Vec<u8>>,
}

/// What those are told that have to go.
pub(super) fn crowded() -> Refused {
    Reject::Overloaded.because("heads and bodies on their way in take more than bodies_in_flight_max")
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: Mutex::default(), freed: Notify::new() }
    }

    /// Something begins to arrive from `address`.
    pub fn begin(self: &Arc<Self>, address: IpAddr) -> Room {
        let notice = Arc::<Notice>::default();
        let mut used = self.lock();
        let number = used.next;
        used.next += 1;
        let arrival = Arrival { party: one_party(address), bytes: 0, notice: Arc::clone(&notice) };
        used.arriving.insert(number, arrival);
        Room { memory: Arc::clone(self), number, bytes: 0, notice, arrived: false, blocks: Vec::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Takes `bytes` more, once there is room; false where it has to go itself.
    #[must_use]
    pub async fn grow(&mut self, bytes: usize) -> bool {
        let memory = Arc::clone(&self.memory);
        loop {
            let mut freed = pin!(memory.freed.notified());
            freed.as_mut().enable();
            match self.take(bytes) {
                Some(taken) => return taken,
                None => tokio::select! {
                    () = freed => {}
                    // Who waits may be told to go, too: others wait for what it has.
                    () = self.notice() => return false,
                },
            }
        }
    }

    /// Adds an empty block, for which it has grown.
    pub fn add_block(&mut self) {
        let spare = self.memory.lock().spare.pop();
        self.blocks.push(spare.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES)));
    }

    /// What the blocks hold, in one piece of `length`. Each goes as soon as it is copied.
    pub fn gather(&mut self, length: usize) -> Vec<u8> {
        let mut whole = Vec::with_capacity(length);
        for block in mem::take(&mut self.blocks) {
            whole.extend_from_slice(&block);
            self.memory.lock().leave(block, self.memory.bytes_max);
        }
        whole
    }

    /// Takes so much that it has `bytes` in all, if there is room just now.
    #[must_use]
    pub fn reach(&mut self, bytes: usize) -> bool {
        bytes <= self.bytes || self.take(bytes - self.bytes) == Some(true)
    }

    /// Takes `bytes`, or makes others go for them: none while they have not gone.
    fn take(&mut self, bytes: usize) -> Option<bool> {
        let mut used = self.memory.lock();
        if !used.arriving.contains_key(&self.number) {
            return Some(false);
        }
        if used.arrived + self.bytes + bytes > self.memory.bytes_max {
            // Whoever else went, those that stay would leave no room.
            return Some(false);
        }
        while used.bytes - used.leaving + bytes > self.memory.bytes_max {
            let Some((number, going)) = used.next_to_go() else { return Some(false) };
            used.leaving += going.bytes;
            going.notice.given.store(true, Ordering::Release);
            going.notice.waker.wake();
            if number == self.number {
                return Some(false);
            }
        }
        if used.bytes + bytes > self.memory.bytes_max {
            return None;
        }
        used.bytes += bytes;
        self.bytes += bytes;
        if let Some(own) = used.arriving.get_mut(&self.number) {
            own.bytes += bytes;
        }
        Some(true)
    }

    /// All of it is there: it stays until it is dropped.
    pub fn arrive(&mut self) {
        let mut used = self.memory.lock();
        self.arrived = used.arriving.remove(&self.number).is_some();
        if self.arrived {
            used.arrived += self.bytes;
        }
    }

    /// Yields once it has to go.
    pub async fn notice(&self) {
        poll_fn(|cx| if self.must_go(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether it has to go; the task is woken once it has to.
    pub fn must_go(&self, cx: &Context<'_>) -> bool {
        self.notice.waker.register(cx.waker());
        self.notice.given.load(Ordering::Acquire)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.memory.lock();
        used.bytes -= self.bytes;
        if self.arrived {
            used.arrived -= self.bytes;
        } else if used.arriving.remove(&self.number).is_none() {
            used.leaving -= self.bytes;
        }
        mem::take(&mut self.blocks).into_iter().for_each(|block| used.leave(block, self.memory.bytes_max));
        let spare = if used.bytes == 0 { mem::take(&mut used.spare) } else { Vec::new() };
        drop(used);
        drop(spare);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn must_go(room: &Room) -> bool {
        room.notice().now_or_never().is_some()
    }

    /// Whether it got them at once; none where it waits.
    fn grows(room: &mut Room, bytes: usize) -> Option<bool> {
        room.grow(bytes).now_or_never()
    }

    fn state(memory: &Memory) -> (usize, usize, usize) {
        let used = memory.lock();
        (used.bytes, used.leaving, used.arriving.len())
    }

    #[test]
    fn the_one_that_has_been_arriving_longest_goes() {
        let memory = Arc::new(Memory::new(100));
        let (mut first, mut second, mut third) = (memory.begin(ONE), memory.begin(ONE), memory.begin(ONE));
        assert_eq!((grows(&mut first, 40), grows(&mut second, 40)), (Some(true), Some(true)));
        assert!(!must_go(&first));
        assert_eq!(grows(&mut third, 40), None, "there is room once the first has gone");
        assert!(must_go(&first) && !must_go(&second) && !must_go(&third));
        assert_eq!(grows(&mut first, 1), Some(false), "who must go gets nothing more");
        drop(first);
        assert_eq!(grows(&mut third, 40), Some(true));
        assert_eq!(state(&memory), (80, 0, 2));
    }

    #[test]
    fn who_has_most_on_its_way_gives_way_however_long_others_take() {
        let memory = Arc::new(Memory::new(100));
        let mut honest = memory.begin(OTHER);
        assert_eq!(grows(&mut honest, 10), Some(true));
        let mut flood: Vec<Room> = (0..3).map(|_| memory.begin(ONE)).collect();
        assert!(flood.iter_mut().all(|room| grows(room, 30) == Some(true)));
        assert!(!flood[2].reach(60), "its own first has to go for it");
        assert!(must_go(&flood[0]) && !must_go(&flood[1]) && !must_go(&honest));
        flood.remove(0);
        assert!(flood[1].reach(60) && flood[1].reach(40), "it has them");
        assert_eq!(grows(&mut honest, 10), None);
        assert!(must_go(&flood[0]) && !must_go(&honest));
        drop(flood);
        assert_eq!(state(&memory), (10, 0, 1));
    }

    #[test]
    fn what_has_arrived_stays_and_a_newcomer_goes_and_takes_nobody_along() {
        let memory = Arc::new(Memory::new(100));
        let (mut kept, mut other) = (memory.begin(ONE), memory.begin(ONE));
        assert_eq!((grows(&mut other, 5), grows(&mut kept, 90)), (Some(true), Some(true)));
        kept.arrive();
        let mut late = memory.begin(ONE);
        assert_eq!(grows(&mut late, 20), Some(false));
        assert!(!must_go(&other) && !must_go(&kept), "their going would not have made room");
        assert_eq!(grows(&mut late, 4), Some(true));
        assert_eq!(grows(&mut late, 8), Some(false), "with what it has itself there is no room either");
        assert!(!must_go(&other));
        drop((late, kept));
        assert_eq!(grows(&mut other, 95), Some(true));
        drop(other);
        assert_eq!((state(&memory), memory.lock().arrived), ((0, 0, 0), 0));
    }

    #[test]
    fn it_is_never_more_than_the_cap_and_nothing_is_left_behind() {
        let memory = Arc::new(Memory::new(64));
        let mut rooms: Vec<Room> = (0..40).map(|_| memory.begin(ONE)).collect();
        for round in 0..40 {
            for (index, room) in rooms.iter_mut().enumerate() {
                let _in_out_or_waiting = grows(room, 1 + (index * 7 + round) % 5);
                assert!(state(&memory).0 <= 64);
            }
            if round % 3 == 0 {
                rooms.remove(rooms.len() / 2).arrive();
            }
        }
        rooms.clear();
        assert_eq!(state(&memory), (0, 0, 0));
    }

    #[test]
    fn blocks_go_from_one_body_to_another_and_not_beyond_the_last() {
        let memory = Arc::new(Memory::new(8 * BLOCK_BYTES));
        let (mut whole, mut broken) = (memory.begin(ONE), memory.begin(OTHER));
        assert!(whole.reach(2 * BLOCK_BYTES) && broken.reach(BLOCK_BYTES));
        whole.add_block();
        whole.add_block();
        broken.add_block();
        whole.blocks[0].extend(vec![1; BLOCK_BYTES]);
        whole.blocks[1].extend([2, 3]);
        broken.blocks[0].extend([4]);
        let gathered = whole.gather(BLOCK_BYTES + 2);
        assert_eq!((gathered.len(), &gathered[BLOCK_BYTES - 1..]), (BLOCK_BYTES + 2, &[1, 2, 3][..]));
        drop(broken);
        assert_eq!(memory.lock().spare.len(), 3);
        let mut next = memory.begin(ONE);
        assert!(next.reach(BLOCK_BYTES));
        next.add_block();
        assert_eq!((next.blocks[0].as_slice(), memory.lock().spare.len()), (&[][..], 2));
        assert!(whole.reach(6 * BLOCK_BYTES));
        next.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        next.gather(0);
        assert_eq!(memory.lock().spare.len(), 2, "7 blocks of 8 are counted: none is added");
        drop((whole, next));
        assert!(memory.lock().spare.is_empty());
    }

    #[test]
    fn who_is_told_to_go_while_it_waits_goes() {
        let memory = Arc::new(Memory::new(100));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut first, mut second, mut third) = (memory.begin(ONE), memory.begin(ONE), memory.begin(OTHER));
        assert!(first.reach(50) && second.reach(40));
        runtime.block_on(async {
            let waits = async {
                assert!(!second.grow(40).await, "it waited for the first, and had to go for the third");
                drop(second);
            };
            let other = async { third.grow(70).await };
            // The first is told to go, and does not until the others have waited.
            let slow = async {
                tokio::task::yield_now().await;
                drop(first);
            };
            let ((), grown, ()) = tokio::join!(waits, other, slow);
            assert!(grown);
        });
    }

    #[test]
    fn who_waits_goes_on_when_others_have_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let memory = Arc::new(Memory::new(10));
        let (mut old, mut new) = (memory.begin(ONE), memory.begin(ONE));
        runtime.block_on(async {
            assert!(old.grow(10).await);
            let evicted = async {
                old.notice().await;
                drop(old);
            };
            let (grown, ()) = tokio::join!(new.grow(10), evicted);
            assert!(grown);
        });
        assert_eq!(state(&memory), (10, 0, 1));
    }
}
