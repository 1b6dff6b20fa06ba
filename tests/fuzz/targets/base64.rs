//! Feeds `hookgate::fuzzing`'s target `base64`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::base64(data));
