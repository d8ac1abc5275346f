//! Anything at all, taken for what comes over a connection: it is read or refused, and what is read can be said again. The same function is tried with seeded bytes by
//! crates/wire/tests/anything.rs, on every run of the tests.
//!
//!     cargo xtask fuzz messages
#![no_main]

#[path = "../../crates/wire/tests/any/mod.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { any::read_anything(bytes); });
