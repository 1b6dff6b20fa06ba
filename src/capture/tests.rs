//! Captures on a real disk: what is taken when, what stays valid, and what a start finds.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Capture, WINDOW_DEFAULT, WINDOW_MAX, kept};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{Delivery, Headers};
use crate::provider::{Definition, HandshakeAnswer, Scheme};
use crate::reject::Reject;
use crate::verify::{Verifier, sign};

/// A clock that is moved by hand.
#[derive(Default)]
struct Hand(AtomicU64);

impl Hand {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn scheme() -> Arc<Scheme> {
    let file = r#"
name = "acme"
title = "Acme"
[[schemes]]
name = "v1"
algorithm = "hmac-sha256"
signed = ["{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
[[handshakes]]
name = "hello"
verify = false
match = { present = ["header:X-Hook-Secret"] }
capture = "header:X-Hook-Secret"
"#;
    let definition: Definition = toml::from_str(file).unwrap();
    Arc::new(Scheme::build(&definition, None, &BTreeMap::new()).unwrap())
}

struct Bench {
    hand: Arc<Hand>,
    clock: Arc<dyn Clock>,
    capture: Arc<Capture>,
    verifier: Verifier,
}

impl Bench {
    fn open(path: &Path) -> Self {
        let hand = Arc::new(Hand::default());
        let capture = Arc::new(Capture::open("acme", scheme(), "live", path.to_owned()).unwrap());
        let verifier = Verifier::new(scheme(), Vec::new()).with_captured(capture.keys());
        Self { clock: Arc::clone(&hand) as Arc<dyn Clock>, hand, capture, verifier }
    }

    fn delivery(&self, header: (&str, &str)) -> Delivery {
        let mut headers = Headers::default();
        headers.push(header.0, header.1.as_bytes());
        let (method, target) = ("POST".to_owned(), "/in/acme".to_owned());
        Delivery { method, target, headers, body: "{}".into(), received_at: self.clock.now() }
    }

    async fn show(&self, secret: &str) -> Result<HandshakeAnswer, Reject> {
        let delivery = self.delivery(("x-hook-secret", secret));
        let answer = self.verifier.answer_anybody(&delivery, self.clock.now());
        let answer = answer.map_err(|refused| refused.reject)?.unwrap();
        kept(Some(&self.capture), answer, &self.clock).await.map_err(|refused| refused.reject)
    }

    /// The label under which a delivery with this secret verifies.
    fn verifies(&self, secret: &str) -> Result<String, Reject> {
        let mut delivery = self.delivery(("x-other", "x"));
        sign(self.verifier.scheme(), secret.as_bytes(), &mut delivery, self.clock.now()).unwrap();
        let verified = self.verifier.verify(delivery, self.clock.now());
        verified.map(|verified| verified.secret().to_string()).map_err(|refused| refused.reject)
    }

    fn arm(&self) {
        self.capture.arm(WINDOW_DEFAULT, &*self.clock);
    }
}

const FIRST: &str = "first-0123456789abcdef";
const SECOND: &str = "second-\"0123456789\\abcdef é";
const THIRD: &str = "third-0123456789abcdef";

#[tokio::test]
async fn a_secret_is_taken_once_in_its_window_and_never_else() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::open(&dir.path().join("secrets/acme"));
    assert_eq!(bench.verifies(FIRST), Err(Reject::NoActiveSecret));
    assert_eq!(bench.show(FIRST).await.unwrap_err(), Reject::NotArmed);
    bench.arm();
    bench.hand.forward(WINDOW_DEFAULT);
    assert_eq!(bench.show(FIRST).await.unwrap_err(), Reject::NotArmed, "the window has ended");
    assert!(!dir.path().join("secrets").exists(), "nothing is written outside a window");
    bench.arm();
    for bad in ["fifteen-bytes-x", &"x".repeat(2049), "with\u{7}a-control-character"] {
        assert_eq!(bench.show(bad).await.unwrap_err(), Reject::ChallengeRefused, "{} bytes", bad.len());
    }
    bench.show(FIRST).await.unwrap();
    assert_eq!(bench.verifies(FIRST).as_deref(), Ok("live"));
    assert_eq!(bench.show(SECOND).await.unwrap_err(), Reject::NotArmed, "once");
    assert_eq!(bench.verifies(SECOND), Err(Reject::SignatureMismatch));
    let mode = std::fs::metadata(dir.path().join("secrets/acme")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(dir.path().join("secrets")).unwrap().count(),
        1,
        "nothing half-done is left"
    );
}

#[tokio::test]
async fn the_secret_before_stays_valid_for_an_hour_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme");
    let bench = Bench::open(&path);
    for secret in [FIRST, SECOND, SECOND] {
        bench.arm();
        bench.show(secret).await.unwrap();
    }
    for bench in [&bench, &Bench::open(&path)] {
        assert_eq!(bench.verifies(SECOND).as_deref(), Ok("live"));
        assert_eq!(bench.verifies(FIRST).as_deref(), Ok("live.previous"), "shown again, it rolls nothing");
        bench.hand.forward(Duration::from_secs(3599));
        assert!(bench.verifies(FIRST).is_ok());
        bench.hand.forward(Duration::from_secs(1));
        assert_eq!(bench.verifies(FIRST), Err(Reject::SignatureMismatch));
    }
    bench.arm();
    bench.show(THIRD).await.unwrap();
    assert_eq!(bench.verifies(FIRST), Err(Reject::SignatureMismatch), "two are kept, no more");
    assert!(bench.verifies(SECOND).is_ok() && bench.verifies(THIRD).is_ok());
}

#[tokio::test]
async fn many_at_once_set_one_secret() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::open(&dir.path().join("acme"));
    bench.arm();
    let secrets: Vec<String> = (0..20).map(|number| format!("racing-0123456789-{number}")).collect();
    let shown = futures_util::future::join_all(secrets.iter().map(|secret| bench.show(secret))).await;
    assert_eq!(shown.iter().filter(|shown| shown.is_ok()).count(), 1);
    let valid = secrets.iter().filter(|secret| bench.verifies(secret).is_ok()).count();
    assert_eq!(valid, 1);
}

#[tokio::test]
async fn a_disk_that_refuses_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets/acme");
    let bench = Bench::open(&path);
    std::fs::write(dir.path().join("secrets"), "a file where the folder should be").unwrap();
    bench.arm();
    assert_eq!(bench.show(FIRST).await.unwrap_err(), Reject::CaptureFailed);
    assert_eq!(bench.verifies(FIRST), Err(Reject::NoActiveSecret));
    std::fs::remove_file(dir.path().join("secrets")).unwrap();
    bench.show(FIRST).await.unwrap();
    assert!(bench.verifies(FIRST).is_ok(), "the window was still open");
}

#[test]
fn a_file_of_something_else_is_told_without_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme");
    for text in [
        "plain-secret-0123456789",
        "{\"secret\":\"s3cret-0123456789\"",
        "{\"secret\":{\"s3cret\":1}}",
        "{\"s3cret\":1}",
        "",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Capture::open("acme", scheme(), "live", path.clone()).err().unwrap().to_string();
        assert!(error.contains("is not what a capture writes") && !error.contains("cret-"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_window_is_never_longer_than_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::open(&dir.path().join("acme"));
    bench.capture.arm(WINDOW_MAX * 30, &*bench.clock);
    bench.hand.forward(WINDOW_MAX);
    assert!(bench.capture.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(bench.show(FIRST)).unwrap_err(), Reject::NotArmed);
}
