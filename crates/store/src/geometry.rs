//! Where things lie on a disk: fixed when the disk is formatted, written in its superblocks, and the same arithmetic for
//! a disk of terabytes and for one of the simulator's of a few hundred kilobytes.
//!
//! ```text
//! | preface (superblocks in its first two blocks) | segment 0 | segment 1 | ... | segment n-1 | unused rest |
//! ```
//!
//! A *place* is the number of a block on the disk, counted from its start; 32 bits of it reach 16 TiB.


use base::{BLOCK_BYTES};

/// Bytes of a block, as the arithmetic here wants it.
pub(crate) const BLOCK: u64 = BLOCK_BYTES as u64;

/// The most that places of 32 bits can reach.
const CAPACITY_BYTES_MAX: u64 = (u32::MAX as u64) * BLOCK;

/// The shape of a store on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the file or device. What lies beyond 16 TiB is not used.
    pub capacity_bytes: u64,
    /// Bytes of a segment, a multiple of 4096.
    pub segment_bytes: u64,
    /// Bytes before the first segment, a multiple of 4096, two blocks at least.
    pub preface_bytes: u64,
    /// Segments that are not promised to anyone: they belong to the cleaner, to metadata and to deletes.
    pub reserve_segments: u32,
}

impl Geometry {
    /// For real disks: segments of 32 MiB.
    pub const fn standard(capacity_bytes: u64) -> Self {
        Self { capacity_bytes, segment_bytes: 32 << 20, preface_bytes: 1 << 20, reserve_segments: 4 }
    }

    /// For the simulator: segments of 64 KiB on the smallest disks, growing with the disk so that there are at least 64 of
    /// them where that is possible. A single write must fit a segment: see [`Geometry::write_blocks_max`].
    pub const fn tiny(capacity_bytes: u64) -> Self {
        let mut segment_bytes = 64 << 10;
        while segment_bytes < 32 << 20 && segment_bytes * 2 * 64 <= capacity_bytes {
            segment_bytes *= 2;
        }
        Self { capacity_bytes, segment_bytes, preface_bytes: 64 << 10, reserve_segments: 2 }
    }
}
