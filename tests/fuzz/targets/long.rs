//! Feeds `hookgate::fuzzing`'s target `long`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::long(data));
