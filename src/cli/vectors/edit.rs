//! A request changed in one place, for vectors that must be refused.

use crate::delivery::{Delivery, Headers};

/// `delivery` with the value at `place` (a header or a query parameter) changed for what `new` makes of it, and left
/// out where that is nothing. `None` where there is no such value, or it is elsewhere.
pub(super) fn at(delivery: &Delivery, place: &str, new: &dyn Fn(&str) -> Option<String>) -> Option<Delivery> {
    if let Some(name) = place.strip_prefix("header:") {
        return header(delivery, &name.to_ascii_lowercase(), new);
    }
    parameter(delivery, place.strip_prefix("query:")?, new)
}

fn header(delivery: &Delivery, name: &str, new: &dyn Fn(&str) -> Option<String>) -> Option<Delivery> {
    delivery.headers.first(name)?;
    let mut headers = Headers::default();
    for (line, value) in delivery.headers.iter() {
        let text = String::from_utf8_lossy(line);
        if line == name.as_bytes() {
            if let Some(value) = new(&String::from_utf8_lossy(value)) {
                headers.push(&text, value.as_bytes());
            }
        } else {
            headers.push(&text, value);
        }
    }
    Some(Delivery { headers, ..delivery.clone() })
}

fn parameter(delivery: &Delivery, name: &str, new: &dyn Fn(&str) -> Option<String>) -> Option<Delivery> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut found = false;
    for (key, value) in form_urlencoded::parse(delivery.query().as_bytes()) {
        if key != name {
            query.append_pair(&key, &value);
            continue;
        }
        found = true;
        if let Some(value) = new(&value) {
            query.append_pair(&key, &value);
        }
    }
    let target = match query.finish() {
        query if query.is_empty() => delivery.path().to_owned(),
        query => format!("{}?{query}", delivery.path()),
    };
    found.then(|| Delivery { target, ..delivery.clone() })
}

/// `delivery` with every line of `place`, a header, twice.
pub(super) fn twice(delivery: &Delivery, place: &str) -> Option<Delivery> {
    let name = place.strip_prefix("header:")?.to_ascii_lowercase();
    let value = delivery.headers.first(&name)?.to_vec();
    let mut headers = delivery.headers.clone();
    headers.push(&name, &value);
    Some(Delivery { headers, ..delivery.clone() })
}
