//! A request changed in one place, for vectors that must be refused.

use crate::delivery::Delivery;
use crate::extract::{Pick, put, take_out};

/// `delivery` with the value at `place` changed for what `new` makes of it, and taken out where that is nothing. `None`
/// where there is no such value, or it cannot be changed.
pub(super) fn at(
    delivery: &Delivery,
    place: &Pick,
    new: &dyn Fn(&str) -> Option<String>,
) -> Option<Delivery> {
    match new(&place.read(delivery)?) {
        Some(value) => put(delivery, place, &value),
        None => take_out(delivery, place),
    }
}

/// `delivery` with every line of `place`, a header, twice.
pub(super) fn twice(delivery: &Delivery, place: &Pick) -> Option<Delivery> {
    let Pick::Header(name) = place else { return None };
    let value = delivery.headers.first(name)?.to_vec();
    let mut headers = delivery.headers.clone();
    headers.push(name, &value);
    Some(Delivery { headers, ..delivery.clone() })
}
