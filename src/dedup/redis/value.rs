//! The grammar of a key's value: read and written here, by the table at the head of [`super`]. Pure.

use std::time::Duration;

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held<'v> {
    /// Published and confirmed.
    Done,
    /// Claimed.
    Claimed(Words<'v>),
    /// None of ours.
    Foreign,
}

/// The words of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<'v> {
    /// Whose.
    pub replica: &'v str,
    /// For how long.
    pub term: Term<'v>,
    /// Somebody else held it before, and may have published.
    pub over: bool,
}

/// How long a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term<'v> {
    /// While its replica lives; in that run, where it is told.
    Run(Option<&'v str>),
    /// Until that time on Redis's clock, in milliseconds since the epoch.
    Until(u64),
}

/// Reads a value; words behind those of the grammar are passed over.
pub(super) fn read(value: &str) -> Held<'_> {
    let mut words = value.split(' ');
    let (state, replica) = (words.next(), words.next().unwrap_or_default());
    if !is_replica(replica) {
        return Held::Foreign;
    }
    match state {
        Some("done") => Held::Done,
        Some("claimed") => claim(replica, words),
        _ => Held::Foreign,
    }
}

fn claim<'v>(replica: &'v str, mut words: impl Iterator<Item = &'v str>) -> Held<'v> {
    let term = match words.next() {
        Some("run") => Term::Run(words.next()),
        Some("lease") => match (words.next().and_then(|ends| ends.parse().ok()), words.next()) {
            (Some(ends), Some(_token)) => Term::Until(ends),
            _ => return Held::Foreign,
        },
        _ => Term::Run(None),
    };
    Held::Claimed(Words { replica, term, over: words.next() == Some("over") })
}

/// A claim that holds while its replica's run lasts.
pub(super) fn claimed(replica: &str, run: &str, over: bool) -> String {
    format!("claimed {replica} run {run}{}", if over { " over" } else { "" })
}

/// A lease that has run out, of an attempt that may have published.
pub(super) fn run_out(replica: &str, token: u64) -> String {
    format!("claimed {replica} lease 0 {token} over")
}

/// Confirmed.
pub(super) fn done(replica: &str) -> String {
    format!("done {replica}")
}

/// What is left of a lease that ends at `ends`, at `now`, both in milliseconds since the epoch; zero where it
/// has run out.
pub(super) fn left(ends: u64, now: u64) -> Duration {
    Duration::from_millis(ends.saturating_sub(now))
}

/// Whether a text can be a replica's id.
pub(super) fn is_replica(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "11111111111111111111111111111111";

    fn words(term: Term<'_>, over: bool) -> Held<'_> {
        Held::Claimed(Words { replica: ONE, term, over })
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&claimed(ONE, "ab", false)), words(Term::Run(Some("ab")), false));
        assert_eq!(read(&claimed(ONE, "ab", true)), words(Term::Run(Some("ab")), true));
        assert_eq!(read(&done(ONE)), Held::Done);
        assert_eq!(read(&run_out(ONE, 7)), words(Term::Until(0), true));
        let lease = |rest: &str| format!("claimed {ONE} lease {rest}");
        assert_eq!(read(&lease("12 7")), words(Term::Until(12), false));
        assert_eq!(read(&lease("12 7 over")), words(Term::Until(12), true));
        assert_eq!(read(&format!("claimed {ONE}")), words(Term::Run(None), false));
        assert_eq!(read(&format!("claimed {ONE} later words")), words(Term::Run(None), false));
    }

    #[test]
    fn what_is_not_of_the_grammar_is_foreign() {
        let lease = format!("claimed {ONE} lease soon 7");
        let upper = format!("Done {ONE}");
        for value in ["", "done", "claimed", "claimed x", "done  ", "\u{fffd}", &lease, &upper] {
            assert_eq!(read(value), Held::Foreign, "{value}");
        }
    }
}
