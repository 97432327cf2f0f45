//! The target `snapshot` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trainyard_fuzz::targets::feed("snapshot", input));
