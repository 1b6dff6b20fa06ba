//! Feeds `hookgate::fuzzing`'s target `config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::config(data));
