//! The log-structured store of one disk: **the log is the volume.**
//!
//! Nothing is overwritten in place. Every write of every replica on the disk is appended to one log, in batches; an index in memory says where
//! the newest copy of each block lies. It speaks [`base::log`] to those who append and read and [`base::io::disk`] to the
//! disk, and knows neither replicas nor volumes, neither files nor clocks.
//!
//! What it promises:
//! - a ticket is durable only when the disk said so of its batch and of all before it;
//! - a read gives the bytes that were written, or says that they are corrupt; never other bytes;
//! - after a crash everything durable is there, in the order of the log, and nothing that was cut off comes back later;
//! - a damaged log is told from a torn tail, and refused.
//!
//! The bytes on the disk are drawn in docs/format/store.md. In memory a shard costs at most 3.5 GiB per TiB stored, 1.3 GiB where chunks lie in one
//! run; the window comes on top and is bounded by the replica.
//!
//! | module | is |
//! |---|---|
//! | `store` | the machine: what the outside may ask, and the order of a step |
//! | `geometry`, `policy` | what is fixed at format, and what may change with each opening |
//! | `superblock`, `header`, `entry` | the bytes |
//! | `open`, `walk`, `buffer` | from a disk to a store: superblocks, then the chain |
//! | `checkpoint` | what is in memory, written down: pieces, deltas and bases, and reading them back |
//! | `survey` | the live blocks of a segment, for those who move or check them |
//! | `scrub` | reads everything that is live once in a while, so that rot is found while a good copy exists |
//! | `cleaner` | moves live blocks out of segments that are mostly dead |
//! | `pace` | how much of that beside those who write and read |
//! | `append`, `zero` | the head of the log, and the zeroes ahead of it |
//! | `read` | reads |
//! | `audit` | counts anew, for checkers, what is counted as it goes |
//! | `inspect` | looks at a disk and changes nothing, also where opening refuses |
//! | `mutant` | what tests of the checkers make wrong; nothing in every other build |
//! | `shards`, `window`, `index`, `frozen`, `chunks`, `chunk`, `segments` | what is known in memory |
//! | `named`, `relocate` | who names a place of the disk, and what a move changes of that |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod append;
mod audit;
mod buffer;
mod checkpoint;
mod chunk;
mod chunks;
mod cleaner;
mod entry;
mod frozen;
mod geometry;
mod header;
mod index;
mod inspect;
mod marks;
mod named;
mod open;
mod ops;
mod pace;
mod policy;
mod read;
mod refusal;
mod relocate;
mod scrub;
mod segments;
mod shards;
mod store;
mod superblock;
mod survey;
mod walk;
mod window;
mod zero;

pub use audit::Miscount;
pub use geometry::Geometry;
pub use inspect::{
    BatchSeen, CheckpointSeen, Extracted, Inspection, LogEnd, PieceSeen, PointSeen, Report, Salvage, SegmentSeen,
    SegmentUse, ShardSeen, SuperblockFields, SuperblockSeen,
};
pub use policy::Policy;
pub use refusal::{FreezeRefusal, OpenRefusal};
pub use scrub::Scrubbed;
pub use store::{Activity, Blank, Identity, Phase, Recovery, Space, Store};
pub use superblock::{LABEL_BYTES, Label, label};
pub use walk::Damage;
