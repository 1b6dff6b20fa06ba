//! Long bodies of one shape: a fuzzer's few bytes, repeated until a body is as long as bodies get. What takes longer than
//! a pass or two over it shows.

use std::sync::LazyLock;
use std::time::Duration;

use super::bodies::{line, posted};
use super::signatures::{NOW, SECRET, scheme, verifier};
use crate::clock::{Clock as _, System};
use crate::delivery::{Delivery, Headers};
use crate::extract::{self, FormText, Pick, Pointer, Spelling};
use crate::verify::Verifier;

/// Bytes of a body: the default bound of a gateway, or less of it where each run of the tests reads them unoptimised.
const BODY_BYTES: usize =
    if cfg!(all(debug_assertions, not(feature = "fuzzing"))) { 1 << 17 } else { 1 << 20 };
/// Processor time that no reader takes for it; more where nothing is optimised, or a fuzzer looks on.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 4000 } else { 50 });
/// What was made of a body, for each byte of it, at most: `\u` and four digits for a sign of two bytes.
const GROWTH_MAX: usize = 3;

/// Something that reads a body, by name; gives the bytes that it made.
type Reader = (&'static str, fn(&Delivery) -> usize);

const READERS: [Reader; 13] = [
    ("json", |delivery| picked("json:/a/0/a", delivery)),
    ("elements", |delivery| {
        let spans = extract::elements(&delivery.body, Some(&Pointer::root()), 1000);
        spans.map_or(0, |spans| spans.len())
    }),
    ("form", |delivery| picked("form:a", delivery)),
    ("form, where it lies", |delivery| {
        extract::form_field_span(&delivery.body, "none").map_or(0, |span| span.len())
    }),
    ("form, sorted", |delivery| FormText::default().of(delivery).map_or(0, |text| text.len())),
    ("query", |delivery| {
        let target = format!("/?{}", String::from_utf8_lossy(&delivery.body));
        picked("query:none", &Delivery { target, ..posted(b"") })
    }),
    ("xml", |delivery| picked("xml:/a/a/@a", delivery)),
    ("base64", |delivery| picked("body > base64", delivery)),
    ("ascii", |delivery| spelled(Spelling::Ascii, delivery)),
    ("compact", |delivery| spelled(Spelling::Compact, delivery)),
    ("sorted", |delivery| spelled(Spelling::Sorted, delivery)),
    ("token", |delivery| refused(&AS_BODY, delivery)),
    ("pairs", |delivery| {
        let mut headers = Headers::default();
        headers.push("x-sig", &delivery.body);
        refused(&PAIRS, &Delivery { headers, ..delivery.clone() })
    }),
];

static AS_BODY: LazyLock<Verifier> =
    LazyLock::new(|| verifier(scheme("algorithm = \"jwt-hs256\"\nsignature = { from = \"body\" }"), SECRET));
static PAIRS: LazyLock<Verifier> = LazyLock::new(|| {
    let lines = "algorithm = \"hmac-sha256\"\nsigned = [\"{timestamp}.{body}\"]\n\
                 timestamp = { from = \"signature:t\", unit = \"seconds\" }\n\
                 signature = { from = \"header:x-sig\", encoding = \"hex\", grammar = { kind = \"sets\", separator = \" \", \
                 pairs = { separator = \",\", assign = \"=\", keys = [\"v1\"] } } }";
    verifier(scheme(lines), SECRET)
});

fn picked(place: &str, delivery: &Delivery) -> usize {
    let pick = Pick::parse(place).expect("it is a place");
    pick.read(delivery).map_or(0, |value| value.len())
}

fn spelled(spelling: Spelling, delivery: &Delivery) -> usize {
    spelling.of(&delivery.body).map_or(0, |text| text.len())
}

fn refused(verifier: &Verifier, delivery: &Delivery) -> usize {
    assert!(verifier.verify(delivery.clone(), NOW).is_err(), "nobody has the key");
    0
}

/// How a body begins in the first line, what is repeated in the second, how it ends in the third.
pub fn long(data: &[u8]) {
    times(data);
}

/// How long each reader takes for a body of the shape, which is within the limit.
pub(super) fn times(data: &[u8]) -> Vec<(&'static str, Duration)> {
    let Some(delivery) = body(data) else { return Vec::new() };
    let timed = |(name, read): Reader| {
        let begun = busy();
        let made = read(&delivery);
        let taken = busy().saturating_sub(begun);
        assert!(made <= GROWTH_MAX * delivery.body.len().max(1), "{name} made {made} bytes");
        assert!(taken < LIMIT, "{name} took {taken:?}");
        (name, taken)
    };
    READERS.into_iter().map(timed).collect()
}

fn body(data: &[u8]) -> Option<Delivery> {
    let (start, rest) = line(data);
    let (middle, rest) = line(rest);
    let (end, _) = line(rest);
    let plain = |text: &str| text.replace('\r', "\n").into_bytes();
    let (start, middle, end) = (plain(&start), plain(&middle), plain(&end));
    let times = BODY_BYTES.saturating_sub(start.len() + end.len()).checked_div(middle.len())?;
    Some(posted(&[start, middle.repeat(times), end].concat()))
}

/// Processor time of this thread, which others on the machine do not lengthen, to the scheduler's tick; where the system
/// does not tell it, the time that goes by.
fn busy() -> Duration {
    static CLOCK: LazyLock<System> = LazyLock::new(System::new);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| CLOCK.monotonic(), Duration::from_nanos)
}
