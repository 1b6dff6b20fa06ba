//! Feeds `hookgate::fuzzing`'s target `url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::url(data));
