//! Events that were in flight when the broker closed the channel: one of them is the cause, and is looked for in
//! small groups, then alone. Counts and decides; holds no event.

use crate::lanes::Entry;

/// So many suspects go at once as long as none of them is suspected again.
const GROUP: usize = 16;

/// How many suspects there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    once: usize,
    again: usize,
}

impl Suspects {
    /// Those among `entries`.
    pub(super) fn among(entries: impl Iterator<Item = Entry>) -> Self {
        let mut suspects = Self::default();
        entries.for_each(|entry| suspects.add(&entry));
        suspects
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        match entry.suspicions {
            0 => {}
            1 => self.once += 1,
            _ => self.again += 1,
        }
    }

    /// To be called with the suspicions that the entry was added with.
    pub(super) fn remove(&mut self, entry: &Entry) {
        match entry.suspicions {
            0 => {}
            1 => self.once = self.once.saturating_sub(1),
            _ => self.again = self.again.saturating_sub(1),
        }
    }

    pub(super) fn any(&self) -> bool {
        self.once + self.again > 0
    }

    /// How many events may be in flight, out of `max`.
    pub(super) fn window(&self, max: usize) -> usize {
        match self {
            Self { again: 1.., .. } => 1,
            Self { once: 1.., .. } => max.min(GROUP),
            Self { .. } => max,
        }
    }

    /// Whether an entry may go while the cause is looked for: the narrowest suspicion first, and nobody else.
    pub(super) fn allow(&self, entry: &Entry) -> bool {
        match self {
            Self { again: 1.., .. } => entry.suspicions > 1,
            Self { once: 1.., .. } => entry.suspicions > 0,
            Self { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Sequence;
    use crate::journal::Position;

    fn entry(suspicions: u32) -> Entry {
        let entry = Entry::new(Sequence(1), Position::default(), Timestamp::default(), 100);
        Entry { suspicions, ..entry }
    }

    #[test]
    fn the_window_narrows_with_the_suspicion_and_opens_with_the_last_suspect() {
        let mut suspects = Suspects::default();
        assert_eq!((suspects.window(256), suspects.any()), (256, false));
        assert!(suspects.allow(&entry(0)));
        suspects.add(&entry(1));
        suspects.add(&entry(1));
        assert_eq!((suspects.window(256), suspects.window(4)), (16, 4));
        assert!(suspects.allow(&entry(1)) && !suspects.allow(&entry(0)));
        suspects.remove(&entry(1));
        suspects.add(&entry(2));
        assert_eq!(suspects.window(256), 1);
        assert!(suspects.allow(&entry(2)) && !suspects.allow(&entry(1)));
        suspects.remove(&entry(2));
        assert_eq!(suspects, Suspects::among([entry(0), entry(1)].into_iter()));
        suspects.remove(&entry(1));
        assert_eq!(suspects, Suspects::default());
    }
}
