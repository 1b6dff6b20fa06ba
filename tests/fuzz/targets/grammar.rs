//! Feeds `hookgate::fuzzing`'s target `grammar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::grammar(data));
