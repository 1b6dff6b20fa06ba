//! What TLS carries is read as strictly as what comes plain.

use super::battery::Battery;
use super::{chunks, framing};

#[test]
fn what_could_be_read_in_two_ways_is_refused_under_tls_too() {
    let battery = Battery::under_tls();
    let cases: Vec<_> = framing::all().into_iter().chain(chunks::all()).collect();
    battery.run(&cases);
    battery.end(&[framing::ACCEPTED, chunks::ACCEPTED].concat());
}
