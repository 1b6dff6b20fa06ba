//! Feeds `hookgate::fuzzing`'s target `request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::request(data));
