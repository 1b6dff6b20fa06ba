//! How signatures stand in the value that holds them: the form of `signature.grammar` in a provider file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How signatures stand in the value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grammar {
    /// One signature after a fixed prefix.
    Plain {
        /// What stands before it.
        #[serde(default)]
        prefix: String,
        /// Whether the prefix may be written in any case.
        #[serde(default)]
        ignore_case: bool,
        /// Whether it may be absent.
        #[serde(default)]
        optional: bool,
    },
    /// `t=1,v1=abc,v1=def`: named values, unknown names ignored.
    Pairs(PairsForm),
    /// `t=1,v1=abc t=2,v1=def`: several of such, each with named values of its own.
    Sets {
        /// Between sets.
        separator: String,
        /// What one looks like.
        pairs: PairsForm,
    },
    /// `1,abc,def`: the first items are named values, the rest are signatures.
    Positional {
        /// Between items.
        separator: String,
        /// Names of the first items; none where all are signatures.
        #[serde(default)]
        names: Vec<String>,
    },
    /// What the groups of a regular expression over the whole value hold: `signature`, and named values.
    Pattern {
        /// The expression.
        pattern: String,
    },
    /// One signature after a prefix that says how it was made.
    Choices {
        /// Prefixes, and the algorithm that each stands for.
        choices: BTreeMap<String, String>,
    },
    /// `v1,abc v1,def`: items of which those with a known version are signatures.
    Versions {
        /// Between items.
        separator: String,
        /// Between version and signature.
        assign: String,
        /// Versions that count.
        keys: Vec<String>,
    },
}

impl Default for Grammar {
    fn default() -> Self {
        Self::Plain { prefix: String::new(), ignore_case: false, optional: false }
    }
}

/// Named values of which some are signatures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PairsForm {
    /// Between pairs.
    pub separator: String,
    /// Between name and value.
    pub assign: String,
    /// Names whose values are signatures.
    pub keys: Vec<String>,
    /// Whether blanks around names and values count for nothing.
    #[serde(default)]
    pub trim: bool,
    /// Whether only the first signature counts.
    #[serde(default)]
    pub first: bool,
}
