//! Feeds `hookgate::fuzzing`'s target `xml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::xml(data));
