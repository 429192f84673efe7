//! `judge::wire`, called by libFuzzer.

#![no_main]

use cowrite_fuzz::{judge, let_yrs_panic};

libfuzzer_sys::fuzz_target!(init: let_yrs_panic(), |input: &[u8]| judge::wire(input));
