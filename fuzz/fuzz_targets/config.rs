//! Any text, taken for a configuration file: it is one, or it is said in which line it is none. The same function is tried with seeded texts by the tests of
//! crates/seawall/src/config.rs, on every run of the tests.
//!
//!     cargo xtask fuzz config
#![no_main]
#![allow(dead_code, missing_docs, unexpected_cfgs)]

#[path = "../../crates/seawall/src/config/any.rs"]
mod any;
#[path = "../../crates/seawall/src/config.rs"]
mod config;
#[path = "../../crates/seawall/src/refusal.rs"]
mod refusal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = any::read_anything(bytes); });
