//! A source's captured secret: armed for a while, taken once, swapped in at once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::file::{self, FileError, Kept};
use crate::audit::TARGET;
use crate::clock::{Clock, Timestamp};
use crate::disk::RealDisk;
use crate::provider::secret::fingerprint;
use crate::provider::{Captured, HandshakeAnswer, Scheme};
use crate::reject::{Refused, Reject};
use crate::tasks;
use crate::verify::{CapturedKeys, Key, KeyError};

/// How long a source is armed where nobody says.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(600);
/// How long a source can be armed.
pub const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// Length of a captured secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=2048;

/// The captured secret of one source.
pub struct Capture {
    source: String,
    scheme: Arc<Scheme>,
    /// Label of the secret, and of the one before it.
    labels: [Arc<str>; 2],
    path: PathBuf,
    keys: CapturedKeys,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In monotonic time.
    armed_until: Option<Duration>,
    kept: Option<Kept>,
}

impl Capture {
    /// The captured secret of `source`, as the file at `path` has it; without a file there is none yet.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(source: &str, scheme: Arc<Scheme>, label: &str, path: PathBuf) -> Result<Self, FileError> {
        let kept = file::read(&path)?;
        let labels = [label.into(), format!("{label}.previous").into()];
        let (keys, state) = (CapturedKeys::default(), Mutex::default());
        let capture = Self { source: source.to_owned(), scheme, labels, path, keys, state };
        if let Some(kept) = kept {
            let unusable = |error| FileError::Unusable(capture.path.clone(), error);
            capture.keys.set(capture.keys_of(&kept).map_err(unusable)?);
            capture.state().kept = Some(kept);
        }
        Ok(capture)
    }

    /// The keys, which change with each capture.
    pub fn keys(&self) -> CapturedKeys {
        self.keys.clone()
    }

    /// Labels that the keys may have.
    pub fn labels(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.labels.iter().map(Arc::clone)
    }

    /// Whether `other` would keep the same secret in the same place under the same names. Of two such, one has to go
    /// on: each would write over what the other has taken.
    pub fn is_same(&self, other: &Self) -> bool {
        let scheme = |capture: &Self| format!("{:?}", capture.scheme);
        self.path == other.path && self.labels == other.labels && scheme(self) == scheme(other)
    }

    /// Whether there is no secret yet.
    pub fn is_empty(&self) -> bool {
        self.state().kept.is_none()
    }

    /// The secret that was brought last and its label, if one was.
    pub fn secret(&self) -> Option<(Arc<str>, Zeroizing<String>)> {
        let state = self.state();
        state.kept.as_ref().map(|kept| (Arc::clone(&self.labels[0]), kept.secret.0.clone()))
    }

    /// Lets the next request that shows a secret bring it, within `window`, at most [`WINDOW_MAX`]; an earlier window
    /// ends.
    pub fn arm(&self, window: Duration, clock: &dyn Clock) {
        let window = window.min(WINDOW_MAX);
        self.state().armed_until = Some(clock.monotonic() + window);
    }

    fn armed(&self, clock: &dyn Clock) -> Result<MutexGuard<'_, State>, Refused> {
        let state = self.state();
        if state.armed_until.is_some_and(|until| clock.monotonic() < until) {
            return Ok(state);
        }
        Err(Reject::NotArmed.because("a handshake that would set the secret, while the source is not armed"))
    }

    /// Makes the value the source's secret, on disk first, and ends the window. Blocks.
    ///
    /// # Errors
    /// `NotArmed`; `ChallengeRefused` where it can be no secret; `CaptureFailed` where the disk refuses. The window stays
    /// open but for the first.
    fn take(&self, captured: &Captured, clock: &dyn Clock) -> Result<(), Refused> {
        let mut state = self.armed(clock)?;
        let text = captured.expose();
        if !SECRET_BYTES.contains(&text.len()) || text.chars().any(char::is_control) {
            let detail = format!(
                "a value of {} bytes to capture; allowed are 16 to 2048 without controls",
                text.len()
            );
            return Err(Reject::ChallengeRefused.because(detail));
        }
        let kept = Kept::after(state.kept.as_ref(), text, clock.now());
        let unusable =
            |error: KeyError| Reject::ChallengeRefused.because(format!("a value to capture: {error}"));
        let keys = self.keys_of(&kept).map_err(unusable)?;
        file::write(&RealDisk, &self.path, &kept).map_err(|error| {
            let detail = format!("{} cannot be written: {error}", self.path.display());
            Reject::CaptureFailed.because(detail)
        })?;
        self.keys.set(keys);
        let rolled = kept.previous.is_some();
        *state = State { armed_until: None, kept: Some(kept) };
        let (source, fingerprint) = (&*self.source, fingerprint(text.as_bytes()));
        tracing::warn!(target: TARGET, audit = "capture", source, fingerprint, rolled, "captured the source's secret");
        Ok(())
    }

    fn keys_of(&self, kept: &Kept) -> Result<Vec<Key>, KeyError> {
        let [label, before] = &self.labels;
        let key = |label: &str, text: &str, until: Option<Timestamp>| {
            Key::new(&self.scheme, label, text.as_bytes()).map(|key| key.valid_between(None, until))
        };
        let current = key(label, &kept.secret.0, None)?;
        let previous = kept.previous.as_ref();
        let previous =
            previous.map(|former| key(before, &former.secret.0, Some(former.until.0))).transpose()?;
        Ok(std::iter::once(current).chain(previous).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer, once the secret is kept that it may bring to a source with this `capture`.
///
/// # Errors
/// `NotArmed`, `ChallengeRefused`, `CaptureFailed`: then nothing was kept that was not there before.
pub async fn kept(
    capture: Option<&Arc<Capture>>,
    answer: HandshakeAnswer,
    clock: &Arc<dyn Clock>,
) -> Result<HandshakeAnswer, Refused> {
    let Some(captured) = answer.capture.clone() else { return Ok(answer) };
    let none = || Reject::NotArmed.because("the source has no secret of the kind { captured = … }");
    let capture = Arc::clone(capture.ok_or_else(none)?);
    // Whoever asks without the window gets no thread.
    drop(capture.armed(&**clock)?);
    let clock = Arc::clone(clock);
    let taken = tasks::blocking(move || capture.take(&captured, &*clock)).await;
    taken.map_err(|_| Reject::CaptureFailed.because("the capture did not end"))??;
    Ok(answer)
}
