//! Feeds `hookgate::fuzzing`'s target `payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::payload(data));
