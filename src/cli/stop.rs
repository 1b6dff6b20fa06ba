//! Why a subcommand ends early: an exit code and the sentence that goes to stderr with it.

use std::fmt;
use std::io;

use crate::exit;
use crate::sample::{SampleError, Unfit};

/// An early end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The exit code.
    pub code: u8,
    /// What was found, what is allowed, what to do.
    pub why: String,
}

impl Stop {
    /// The command line asks for something that is not there.
    pub(super) fn usage(why: impl Into<String>) -> Self {
        Self { code: exit::USAGE, why: why.into() }
    }

    /// The data given, or the secret, does not fit.
    pub(super) fn data(why: impl Into<String>) -> Self {
        Self { code: exit::DATA, why: why.into() }
    }

    /// Nobody answers.
    pub(super) fn unreachable(why: impl Into<String>) -> Self {
        Self { code: exit::UNAVAILABLE, why: why.into() }
    }

    /// Anything else.
    pub(super) fn failure(why: impl fmt::Display) -> Self {
        Self { code: exit::FAILURE, why: why.to_string() }
    }

    /// What is asked for cannot be written. Whoever closes a pipe has read enough: nothing is said then, as by other tools.
    pub(super) fn unprinted(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::told(exit::FAILURE),
            _ => Self::failure(format!("cannot write: {error}")),
        }
    }

    /// The report of a configuration stands on stderr already.
    pub(super) fn told(code: u8) -> Self {
        Self { code, why: String::new() }
    }

    /// Tells why, and gives the exit code.
    pub(super) fn tell(self) -> u8 {
        if !self.why.is_empty() {
            eprintln!("hookgate: {}", self.why);
        }
        self.code
    }
}

impl From<SampleError> for Stop {
    fn from(error: SampleError) -> Self {
        let SampleError { unfit, why, wants_body } = error;
        let why = if wants_body { format!("{why}; send a body of your own: --data FILE") } else { why };
        match unfit {
            Unfit::Asked => Self::usage(why),
            Unfit::Data => Self::data(why),
            Unfit::System => Self::failure(why),
        }
    }
}
