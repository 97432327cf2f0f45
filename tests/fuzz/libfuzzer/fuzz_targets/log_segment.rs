//! The target `log_segment` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trainyard_fuzz::targets::feed("log_segment", input));
