//! Feeds `hookgate::fuzzing`'s target `key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::key(data));
