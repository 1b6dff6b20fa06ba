//! How many connections are open, in all and from each address: one entry for each address that has one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::addresses::one_party;

/// Parts of the places in use from which on waits are cut short: seven eighths.
const CROWDED: (usize, usize) = (7, 8);

/// The places that connections take.
#[derive(Debug)]
pub struct Places {
    max: usize,
    /// Zero: as many as there are.
    per_address_max: usize,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    /// `max` in all; `per_address_max` from one address, or any number where that is zero.
    pub fn new(max: usize, per_address_max: usize) -> Self {
        Self { max, per_address_max, open: AtomicUsize::new(0), by_address: Mutex::default() }
    }

    /// A place for a connection; later [told](Place::belongs_to) whose it is.
    pub fn take(self: &Arc<Self>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place { places: Arc::clone(self), address: None }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether so many are taken that nobody may wait long in one.
    pub fn are_short(&self) -> bool {
        self.taken() * CROWDED.1 >= self.max * CROWDED.0
    }
}

impl Place {
    /// Whether nobody may wait long, in this one or another.
    pub fn is_in_a_crowd(&self) -> bool {
        self.places.are_short()
    }

    /// Counts it for `address`, of IPv6 for its /64; false where that has as many as it may have.
    pub fn belongs_to(&mut self, address: IpAddr) -> bool {
        if self.places.per_address_max == 0 {
            return true;
        }
        let address = one_party(address);
        let mut by_address = self.places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.entry(address).or_default();
        if *open >= self.places.per_address_max {
            return false;
        }
        *open += 1;
        self.address = Some(address);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match by_address.get_mut(&address) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(by_address.remove(&address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn an_address_gets_no_more_than_its_own_and_nothing_is_left_behind() {
        let places = Arc::new(Places::new(16, 2));
        let mut taken: Vec<Place> = (0..3).map(|_| places.take()).collect();
        assert!(taken[0].belongs_to(address(1)) && taken[1].belongs_to(address(1)));
        assert!(!taken[2].belongs_to(address(1)));
        assert!(taken[2].belongs_to(address(2)));
        let of_one_network =
            ["2001:db8::1", "2001:db8::2:0:0:2", "2001:db8::3"].map(|text| text.parse().unwrap());
        let mut others: Vec<Place> = of_one_network.iter().map(|_| places.take()).collect();
        let counted = others
            .iter_mut()
            .zip(of_one_network)
            .filter_map(|(place, address)| place.belongs_to(address).then_some(()));
        assert_eq!(counted.count(), 2, "an IPv6 /64 is one");
        drop(others);
        taken.remove(0);
        let mut another = places.take();
        assert!(another.belongs_to(address(1)));
        drop((taken, another));
        assert_eq!(places.taken(), 0);
        assert!(places.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn few_places_are_not_short_from_the_first_on() {
        for max in 1..8 {
            let places = Arc::new(Places::new(max, 0));
            let taken: Vec<Place> = (1..max).map(|_| places.take()).collect();
            assert!(!places.are_short(), "{} of {max}", taken.len());
            let _last = places.take();
            assert!(places.are_short(), "{max} of {max}");
        }
    }

    #[test]
    fn they_are_short_before_there_are_none() {
        let places = Arc::new(Places::new(16, 0));
        let taken: Vec<Place> = (0..13).map(|_| places.take()).collect();
        assert!(!places.are_short());
        let last = places.take();
        assert!(places.are_short());
        drop((taken, last));
        assert!(!places.are_short());
    }
}
