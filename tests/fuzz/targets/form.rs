//! Feeds `hookgate::fuzzing`'s target `form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::form(data));
