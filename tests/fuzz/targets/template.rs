//! Feeds `hookgate::fuzzing`'s target `template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hookgate::fuzzing::template(data));
