//! Long bodies of one shape: a fuzzer's few bytes, repeated until a body is as long as bodies get. What takes longer than
//! a pass or two over it shows.

use std::sync::LazyLock;
use std::time::Duration;

use super::bodies::{line, posted};
use super::signatures::{NOW, SECRET, scheme, verifier};
use crate::clock::{Clock as _, System};
use crate::delivery::Delivery;
use crate::extract::{self, Pick, Pointer};
use crate::verify::Verifier;

/// Bytes of a body: the default bound of a gateway, or less of it where each test run reads them all.
const BODY_BYTES: usize = if cfg!(feature = "fuzzing") { 1 << 20 } else { 1 << 17 };
/// What no reader takes even unoptimised and on a busy machine, and one that is quadratic does.
const LIMIT: Duration = Duration::from_secs(4);
/// What was made of a body, for each byte of it, at most: `\u` and four digits for a sign of two bytes.
const GROWTH_MAX: usize = 3;

/// Something that reads a body, by name; gives the bytes that it made.
type Reader = (&'static str, fn(&Delivery) -> usize);

const READERS: [Reader; 12] = [
    ("json", |delivery| picked("json:/a/0/a", delivery)),
    ("elements", |delivery| {
        let spans = extract::elements(&delivery.body, Some(&Pointer::root()), 1000);
        spans.map_or(0, |spans| spans.len())
    }),
    ("form", |delivery| picked("form:a", delivery)),
    ("form, where it lies", |delivery| {
        extract::form_field_span(&delivery.body, "none").map_or(0, |span| span.len())
    }),
    ("form, sorted", |delivery| extract::form_sorted(&delivery.body).map_or(0, |text| text.len())),
    ("query", |delivery| {
        let target = format!("/?{}", String::from_utf8_lossy(&delivery.body));
        picked("query:none", &Delivery { target, ..posted(b"") })
    }),
    ("xml", |delivery| picked("xml:/a/a/@a", delivery)),
    ("base64", |delivery| picked("body > base64", delivery)),
    ("ascii", |delivery| extract::spelled_ascii(&delivery.body).map_or(0, |text| text.len())),
    ("compact", |delivery| extract::spelled_compact(&delivery.body).map_or(0, |text| text.len())),
    ("token", |delivery| refused(&AS_BODY, delivery)),
    ("pairs", |delivery| refused(&PAIRS, delivery)),
];

static AS_BODY: LazyLock<Verifier> =
    LazyLock::new(|| verifier(scheme("algorithm = \"jwt-hs256\"\nsignature = { from = \"body\" }"), SECRET));
static PAIRS: LazyLock<Verifier> = LazyLock::new(|| {
    let lines = "algorithm = \"hmac-sha256\"\nsigned = [\"{timestamp}.{body}\"]\n\
                 timestamp = { from = \"signature:t\", unit = \"seconds\" }\n\
                 signature = { from = \"body\", encoding = \"hex\", grammar = { kind = \"sets\", separator = \" \", \
                 pairs = { separator = \",\", assign = \"=\", keys = [\"v1\"] } } }";
    verifier(scheme(lines), SECRET)
});

fn picked(place: &str, delivery: &Delivery) -> usize {
    let pick = Pick::parse(place).expect("it is a place");
    pick.read(delivery).map_or(0, |value| value.len())
}

fn refused(verifier: &Verifier, delivery: &Delivery) -> usize {
    assert!(verifier.verify(delivery.clone(), NOW).is_err(), "nobody has the key");
    0
}

/// How a body begins in the first line, what is repeated in the second, how it ends in the third.
pub fn long(data: &[u8]) {
    let (start, rest) = line(data);
    let (middle, rest) = line(rest);
    let (end, _) = line(rest);
    let plain = |text: &str| text.replace('\r', "\n").into_bytes();
    let (start, middle, end) = (plain(&start), plain(&middle), plain(&end));
    if middle.is_empty() {
        return;
    }
    let times = BODY_BYTES.saturating_sub(start.len() + end.len()) / middle.len();
    let delivery = posted(&[start, middle.repeat(times), end].concat());
    let clock = System::new();
    for (name, read) in READERS {
        let begun = clock.monotonic();
        let made = read(&delivery);
        let taken = clock.monotonic().saturating_sub(begun);
        assert!(made <= GROWTH_MAX * delivery.body.len().max(1), "{name} made {made} bytes");
        assert!(taken < LIMIT, "{name} took {taken:?}");
    }
}
