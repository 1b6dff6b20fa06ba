//! Feeds `hookgate::fuzzing`'s target `token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::token(data));
