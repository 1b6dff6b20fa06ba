//! Feeds `hookgate::fuzzing`'s target `definition`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::definition(data));
