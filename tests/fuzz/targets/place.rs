//! Feeds `hookgate::fuzzing`'s target `place`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::place(data));
