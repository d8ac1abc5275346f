//! An authority that starts on metadata of which anything may have become anything else: it works or says what it refuses. The same function is tried with seeded
//! changes by crates/zone/tests/rotten.rs, on every run of the tests.
//!
//!     cargo xtask fuzz metadata
#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../crates/zone/tests/spoil/mod.rs"]
mod spoil;
#[path = "../../crates/zone/tests/world/mod.rs"]
mod world;

use std::sync::LazyLock;

static SOUND: LazyLock<std::collections::BTreeMap<String, (bytes::Bytes, u64)>> = LazyLock::new(spoil::metadata);

libfuzzer_sys::fuzz_target!(|changes: &[u8]| { spoil::start_on(SOUND.clone(), changes); });
