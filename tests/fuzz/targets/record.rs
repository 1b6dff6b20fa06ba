//! Feeds `hookgate::fuzzing`'s target `record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::record(data));
