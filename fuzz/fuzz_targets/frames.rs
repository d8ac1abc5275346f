//! Anything at all, received on a connection in any pieces: what is sound of it arrives, and nothing larger than a frame is waited for. The same function is tried with seeded bytes by the tests of
//! crates/runtime/src/incoming.rs, on every run of the tests.
//!
//!     cargo xtask fuzz frames
#![no_main]
#![allow(dead_code, unreachable_pub)]

#[path = "../../crates/runtime/src/arena.rs"]
mod arena;
#[path = "../../crates/runtime/src/incoming.rs"]
mod incoming;
#[path = "../../crates/runtime/src/incoming/any.rs"]
mod any;

/// What `incoming` says to the ring, which is not here.
mod ring {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct How {
        pub dry: bool,
        pub whole: bool,
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = any::receive_anything(bytes); });
