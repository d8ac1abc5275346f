//! A watched peer to whom anything happens in any order: it is pinged, and falls silent once. The same function is tried with seeded bytes by crates/wire/tests/keepalive_anything.rs, on every run
//! of the tests.
//!
//!     cargo xtask fuzz keepalive
#![no_main]

#[path = "../../crates/wire/tests/beat/mod.rs"]
mod beat;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = beat::beat_anything(bytes); });
