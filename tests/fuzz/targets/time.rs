//! Feeds `hookgate::fuzzing`'s target `time`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::time(data));
