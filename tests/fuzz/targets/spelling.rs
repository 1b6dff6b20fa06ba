//! Feeds `hookgate::fuzzing`'s target `spelling`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::spelling(data));
