//! Why there is no sample: whose fault it is, and what was found.

use std::fmt;

/// Whose fault it is that there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What is asked for is not there, or cannot be done.
    Asked,
    /// The secret or the body does not fit the scheme.
    Data,
    /// Something of the system's.
    System,
}

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleError {
    /// Whose fault it is.
    pub unfit: Unfit,
    /// What was found, and what is allowed.
    pub why: String,
    /// Whether a body of the caller's own would do.
    pub wants_body: bool,
}

impl SampleError {
    pub(super) fn asked(why: impl Into<String>) -> Self {
        Self { unfit: Unfit::Asked, why: why.into(), wants_body: false }
    }

    pub(super) fn data(why: impl fmt::Display) -> Self {
        Self { unfit: Unfit::Data, why: why.to_string(), wants_body: false }
    }

    pub(super) fn system(why: impl fmt::Display) -> Self {
        Self { unfit: Unfit::System, why: why.to_string(), wants_body: false }
    }

    pub(super) fn or_own_body(self) -> Self {
        Self { wants_body: true, ..self }
    }
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for SampleError {}
