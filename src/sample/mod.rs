//! Samples: an event as its provider would send it, signed by the rules that verify, and broken on purpose where that is asked for;
//! in `trial` one that a source's own stages judge.

mod error;
mod event;
pub mod tamper;
#[cfg(test)]
mod tests;
mod trial;

pub use error::{SampleError, Unfit};
pub use event::{Break, Sample, Wanted, example_settings, made_up, random, stand_in_settings};
pub use trial::{Hand, NoTrial, Trial, Trials, Verdict};
