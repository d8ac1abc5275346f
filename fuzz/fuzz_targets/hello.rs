//! Anything at all, said to either end of a hello: nobody without the key is let in. The same function is tried with seeded bytes by crates/runtime/tests/anything.rs, on every run of the tests.
//!
//!     cargo xtask fuzz hello
#![no_main]
#![allow(dead_code)]

#[path = "../../crates/runtime/tests/any/mod.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = any::greet_anything(bytes); });
