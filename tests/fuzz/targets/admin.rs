//! Feeds `hookgate::fuzzing`'s target `admin`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::admin(data));
