//! Refusals that an address gets too many of: held back for a moment, so that whoever makes them up waits.
//!
//! Only the answers to requests whose proof fails are held, stale ones among them; who verifies is not looked at. At most a
//! fixed number is held; whose turn to be held comes beyond that is closed at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::limit::{AddressLimit, per_second};

/// Refusals that an address gets at once, in a second and in one go.
const PER_SECOND: u32 = 200;
const BURST: u32 = 1000;
/// Addresses told apart; of two that fall together only refusals are slower.
const ADDRESSES: usize = 16 * 1024;
/// How long an answer is held.
const HELD_FOR: Duration = Duration::from_millis(500);
/// Answers held at one time.
const HELD_MAX: usize = 256;

/// What becomes of a refusal.
pub enum Turn {
    /// It is written.
    Now,
    /// It is written after that time.
    Later(Duration, Held),
    /// Its connection is closed instead.
    Never,
}

/// A place among those that are held.
pub struct Held(Arc<AtomicUsize>);

/// Who is refused how often.
pub struct Flood {
    allowed: AddressLimit,
    held: Arc<AtomicUsize>,
}

impl Flood {
    /// Nobody so far.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            allowed: AddressLimit::new(per_second(PER_SECOND, BURST), ADDRESSES, clock),
            held: Arc::default(),
        }
    }

    /// A request from `address` is refused without having proved anything.
    pub fn turn(&self, address: IpAddr) -> Turn {
        if self.allowed.take(address).is_ok() {
            return Turn::Now;
        }
        let held = Held(Arc::clone(&self.held));
        if self.held.fetch_add(1, Ordering::Relaxed) < HELD_MAX {
            Turn::Later(HELD_FOR, held)
        } else {
            Turn::Never
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Manual, Timestamp};

    #[test]
    fn a_flood_waits_and_then_is_not_answered_and_others_are() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let flood = Flood::new(clock.clone());
        let (bad, good) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held = Vec::new();
        let (mut now, mut never) = (0, 0);
        for _ in 0..2000 {
            match flood.turn(bad) {
                Turn::Now => now += 1,
                Turn::Later(wait, place) => {
                    assert!(wait <= Duration::from_secs(2));
                    held.push(place);
                }
                Turn::Never => never += 1,
            }
        }
        assert_eq!((now, held.len(), never), (BURST as usize, HELD_MAX, 2000 - BURST as usize - HELD_MAX));
        assert!(matches!(flood.turn(good), Turn::Now));
        held.pop();
        assert!(matches!(flood.turn(bad), Turn::Later(..)));
        clock.advance(Duration::from_secs(60));
        assert!(matches!(flood.turn(bad), Turn::Now));
    }
}
