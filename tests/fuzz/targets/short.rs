//! Feeds `hookgate::fuzzing`'s target `short`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::short(data));
