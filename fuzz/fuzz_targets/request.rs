//! Any bytes, taken for the body of a request to one of the services: it is one, or it is refused with a message that can be sent. The same function is tried with seeded bytes by
//! crates/api/tests/anything.rs, on every run of the tests.
//!
//!     cargo xtask fuzz request
#![no_main]

#[path = "../../crates/api/tests/request/mod.rs"]
mod request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { _ = request::read_anything(bytes); });
