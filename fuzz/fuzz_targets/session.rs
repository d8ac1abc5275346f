//! Anything at all, said to an NBD session: it neither panics nor keeps more than it may. The same function is tried with seeded bytes by
//! crates/frontend/tests/anything.rs, on every run of the tests.
//!
//!     cargo +nightly fuzz run session -- -max_len=4096 -dict=session.dict
//!
//! Without cargo-fuzz, which only passes these flags on:
//!
//!     RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
//!       -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address" \
//!       cargo +nightly run --release --target x86_64-unknown-linux-gnu --bin session -- -max_len=4096 -dict=session.dict -max_total_time=60 CORPUS
#![no_main]

#[path = "../../crates/frontend/tests/stage/mod.rs"]
mod stage;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { stage::hear_anything(bytes); });
