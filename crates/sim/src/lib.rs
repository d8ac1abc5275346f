//! The invented world: one thread, an event heap, one seed.
//!
//! Everything that a machine meets in production is here and worse: clocks that drift, networks that hold, reset and
//! damage, disks that end late and tear, metadata whose reply is lost. The machines are the real ones, and cannot tell.
//! [`run`] builds a region from a seed, disturbs it, and lets the checkers of [`check`] judge what its clients saw.
//!
//! It reads no clock, draws no entropy and starts no thread: a seed is a run, to the byte.
#![forbid(unsafe_code)]

pub mod check;
pub mod clock;
pub mod disk;
pub mod heap;
pub mod history;
pub mod meta;
pub mod net;
pub mod trace;
pub mod world;
