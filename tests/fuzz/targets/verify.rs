//! Feeds `hookgate::fuzzing`'s target `verify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::verify(data));
