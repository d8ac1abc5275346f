//! A disk of which anything may have become anything else: it is opened or refused, can be read and written on as far as it was opened, and can be inspected. The same function is tried with seeded
//! changes by crates/store/tests/anything.rs, on every run of the tests.
//!
//!     cargo xtask fuzz image
#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../crates/store/tests/bench/mod.rs"]
mod bench;
#[path = "../../crates/store/tests/image/mod.rs"]
mod image;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = image::open_anything(bytes); });
