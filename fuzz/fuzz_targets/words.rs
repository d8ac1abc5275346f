//! Any text, taken for a size or a name: it is understood as it is written, or refused. The same function is tried with seeded texts by crates/base/tests/anything.rs, on every run of the tests.
//!
//!     cargo xtask fuzz words
#![no_main]

#[path = "../../crates/base/tests/words/mod.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = words::read_anything(bytes); });
