//! Feeds `hookgate::fuzzing`'s target `document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::document(data));
