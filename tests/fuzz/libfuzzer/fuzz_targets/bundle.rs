//! The target `bundle` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trainyard_fuzz::targets::feed("bundle", input));
