//! `judge::dialect`, called by libFuzzer.

#![no_main]

use cowrite_fuzz::{judge, let_libraries_panic};

libfuzzer_sys::fuzz_target!(init: let_libraries_panic(), |input: &[u8]| judge::dialect(input));
