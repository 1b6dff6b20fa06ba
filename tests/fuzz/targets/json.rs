//! Feeds `hookgate::fuzzing`'s target `json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::json(data));
