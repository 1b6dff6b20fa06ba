//! What happened in schedules, by name: a simulation in which something never happens proves nothing about it.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub(super) fn one(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.add(what, *count));
    }

    /// Those of `expected` that never happened.
    pub(super) fn missing<'e>(&self, expected: &[&'e str]) -> Vec<&'e str> {
        expected.iter().copied().filter(|what| self.of(what) == 0).collect()
    }

    pub(super) fn lines(&self) -> String {
        let line = |(what, count): (&&str, &u64)| format!("{count:>10}  {what}\n");
        self.0.iter().map(line).collect()
    }
}
