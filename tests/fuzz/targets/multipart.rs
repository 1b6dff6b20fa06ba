//! Feeds `hookgate::fuzzing`'s target `multipart`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::multipart(data));
