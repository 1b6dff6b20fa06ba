//! What `[sender] unverified` may list: keys and short phrases, so that nobody takes a fact for confirmed because the
//! word that doubts it was misspelt. Never judges whether a doubt is right.

use super::definition::Definition;

/// Every key of `[sender]` that states a fact. One that a file leaves out may be doubted too: nobody told it.
const FACTS: [&str; 10] = [
    "retries",
    "body_bytes_max",
    "never_retries",
    "timeout",
    "success",
    "schedule",
    "disables",
    "addresses",
    "pitfalls",
    "notes",
];
/// Longest phrase, in characters.
const PHRASE_MAX: usize = 100;
/// How like a key a word is that was meant to be it, of 1 for the same.
const LIKE_MIN: f64 = 0.75;

/// What is wrong with the list, if anything; `text` is the file.
///
/// # Errors
/// A sentence that names the entry and what is allowed.
pub(super) fn check(definition: &Definition, text: &str) -> Result<(), String> {
    definition.sender.unverified.iter().try_for_each(|entry| {
        let wrong = |allowed: &str| {
            let shown: String = entry.chars().take(PHRASE_MAX).collect();
            Err(format!("sender.unverified: {shown:?}; allowed: {allowed}"))
        };
        if FACTS.contains(&entry.as_str()) {
            return Ok(());
        }
        let words = entry.split_whitespace().count();
        let letters = entry.chars().filter(|sign| sign.is_alphabetic()).count();
        if entry.chars().count() > PHRASE_MAX || letters < 3 {
            return wrong(&format!(
                "a key, or a phrase of 3 letters or more and at most {PHRASE_MAX} characters"
            ));
        }
        if words == 1
            && !entry.contains('.')
            && let Some(meant) = meant(entry)
        {
            return wrong(&format!("did you mean \"{meant}\"?"));
        }
        if words == 1 && entry.contains('.') && !is_key(text, entry) {
            return wrong("the path of a key in this file, such as \"event.id\"; or a phrase");
        }
        Ok(())
    })
}

/// The fact whose name was likely meant.
fn meant(entry: &str) -> Option<&'static str> {
    let bare = entry.replace(['_', '-'], "").to_lowercase();
    let like = |fact: &&'static str| strsim::normalized_damerau_levenshtein(&fact.replace('_', ""), &bare);
    FACTS
        .into_iter()
        .filter(|fact| like(fact) >= LIKE_MIN)
        .max_by(|one, other| like(one).total_cmp(&like(other)))
}

/// Whether the file has a key at that path from its top; in a list of tables, in any of them.
fn is_key(text: &str, path: &str) -> bool {
    fn holds(value: &toml::Value, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        match value {
            toml::Value::Table(table) => table.get(*first).is_some_and(|value| holds(value, rest)),
            toml::Value::Array(values) => values.iter().any(|value| holds(value, path)),
            _ => false,
        }
    }
    let path: Vec<&str> = path.split('.').collect();
    text.parse::<toml::Table>().is_ok_and(|table| holds(&toml::Value::Table(table), &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(entries: &str) -> Result<(), String> {
        let text = format!(
            "name = \"a\"\ntitle = \"A\"\n[sender]\ntimeout = \"10s\"\nunverified = [{entries}]\n[event]\nid = \"json:/id\"\n\
             [[schemes]]\nname = \"s\"\nalgorithm = \"hmac-sha256\"\nsigned = [\"{{timestamp}}{{body}}\"]\n\
             timestamp = {{ from = \"header:t\", unit = \"seconds\" }}\n\
             signature = {{ from = \"header:x\", encoding = \"hex\" }}\n"
        );
        check(&toml::from_str(&text).unwrap(), &text)
    }

    #[test]
    fn keys_paths_and_phrases_may_be_doubted() {
        for entries in [
            "",
            "\"timeout\", \"retries\", \"never_retries\"",
            "\"event.id\", \"schemes.timestamp\", \"sender.timeout\", \"schemes.timestamp.unit\"",
            "\"the 5 minutes\", \"scheme v2\", \"retries: one page says 72 h\", \"schedule of the sandbox\"",
            "\"never retries\", \"docs\", \"colour\"",
        ] {
            assert_eq!(checked(entries), Ok(()), "{entries}");
        }
    }

    #[test]
    fn a_misspelt_key_and_what_says_nothing_are_told() {
        for (entry, told) in [
            ("timout", "did you mean \"timeout\"?"),
            ("retires", "did you mean \"retries\"?"),
            ("Timeout", "did you mean \"timeout\"?"),
            ("adresses", "did you mean \"addresses\"?"),
            ("event.di", "the path of a key in this file"),
            ("schemes.timestamp.form", "the path of a key in this file"),
            ("?", "3 letters or more"),
            ("", "3 letters or more"),
        ] {
            let said = checked(&format!("\"{entry}\"")).unwrap_err();
            assert!(said.contains(told) && said.contains(&format!("{entry:?}")), "{entry}: {said}");
        }
        assert!(checked(&format!("\"{}\"", "long word ".repeat(20))).is_err());
    }
}
