//! The ground floor: ids, units, time, randomness, and the two seams that every other room meets at.
//!
//! - [`io`] is everything a machine may ask of the world and everything the world may answer. `runtime` speaks it to real
//!   disks and sockets, `sim` to invented ones; a machine cannot tell which.
//! - [`log`] is the words in which a replica tells a store what to append and read, so that neither knows the other.
//!
//! Nothing here reads a clock, opens a file, or draws randomness that was not seeded.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backoff;
pub mod bounded;
pub mod bucket;
pub mod checksum;
pub mod codec;
pub mod config;
pub mod id;
pub mod io;
pub mod log;
pub mod map;
pub mod mutant;
pub mod payload;
pub mod rng;
pub mod size;
pub mod sometimes;
pub mod time;
pub mod truth;

pub use config::{Configuration, Layout, Learner, Member};
pub use id::*;
pub use payload::Payload;
pub use rng::Rng;
pub use time::Time;

/// Bytes in a block: the unit of checksums, of addressing inside a shard, and of disk alignment.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks in a chunk (512 KiB): the unit of versions and of snapshots.
pub const CHUNK_BLOCKS: u32 = 128;

/// Blocks in the largest read, write or trim that one message carries (1 MiB). Hosts split what is larger.
pub const IO_BLOCKS_MAX: u32 = 256;

/// The most blocks whose allocation can be asked for in one message: 1 GiB, so that the answer has 32 KiB.
pub const MAP_BLOCKS_MAX: u32 = 1 << 18;
