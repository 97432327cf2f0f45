//! The target `manifest` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trainyard_fuzz::targets::feed("manifest", input));
