//! Where things lie on a disk: fixed when the disk is formatted, written in its superblocks, and the same arithmetic for
//! a disk of terabytes and for one of the simulator's of a few hundred kilobytes.
//!
//! ```text
//! | preface (superblocks in its first two blocks) | segment 0 | segment 1 | ... | segment n-1 | unused rest |
//! ```
//!
//! A *place* is the number of a block on the disk, counted from its start; 32 bits of it reach 16 TiB. Place 0 is a superblock, so
//! no block of a shard ever lies there.

use crate::header;
use base::{BLOCK_BYTES, IO_BLOCKS_MAX};

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
    /// For real disks: segments of 32 MiB, smaller ones on a disk that has not 128 of them.
    pub const fn standard(capacity_bytes: u64) -> Self {
        let mut segment_bytes = 32 << 20;
        while segment_bytes > 2 << 20 && segment_bytes * 128 > capacity_bytes {
            segment_bytes /= 2;
        }
        let reserve_segments = reserve(capacity_bytes, segment_bytes);
        Self { capacity_bytes, segment_bytes, preface_bytes: 1 << 20, reserve_segments }
    }

    /// For the simulator: segments of 64 KiB on the smallest disks, growing with the disk so that there are at least 64 of
    /// them where that is possible. A single write must fit a segment: see [`Geometry::write_blocks_max`].
    pub const fn tiny(capacity_bytes: u64) -> Self {
        let mut segment_bytes = 64 << 10;
        while segment_bytes < 32 << 20 && segment_bytes * 2 * 64 <= capacity_bytes {
            segment_bytes *= 2;
        }
        let reserve_segments = reserve(capacity_bytes, segment_bytes);
        Self { capacity_bytes, segment_bytes, preface_bytes: 64 << 10, reserve_segments }
    }

    /// Blocks of the largest single write that fits a segment, whatever else its batch must carry. The whole
    /// [`IO_BLOCKS_MAX`] from segments of 2 MiB on.
    pub fn write_blocks_max(&self) -> u32 {
        let fits = |blocks: u32| {
            let header = header::bytes_max(self.shards_per_batch_max(), blocks).div_ceil(BLOCK_BYTES) as u64;
            header + u64::from(blocks) <= u64::from(self.segment_blocks())
        };
        (1..=IO_BLOCKS_MAX).rev().find(|&blocks| fits(blocks)).unwrap_or(0)
    }

    /// Bytes that the least useful disk of this shape needs: the reserve, one segment to write and one to follow it.
    pub fn least_bytes(&self) -> u64 {
        self.preface_bytes + (u64::from(self.reserve_segments) + 2) * self.segment_bytes
    }

    /// Whether there are enough segments to clean them. Where there are not, the log ends when it is full.
    pub fn is_cleaned(&self) -> bool {
        u64::from(self.reserve_segments) >= low_water(u64::from(self.segments()))
    }

    /// Free segments at which writers wait for the cleaner.
    pub(crate) fn floor_of_writers(&self) -> u32 {
        floor_of_writers(u64::from(self.segments())) as u32
    }

    /// Free segments below which it is time to clean.
    pub(crate) fn low_water(&self) -> u32 {
        low_water(u64::from(self.segments())) as u32
    }

    /// Live blocks of a segment up to which it is worth being moved when writers wait: even from the end of one segment to the beginning of the next, with a
    /// header in each, they take fewer than the segment has.
    pub(crate) fn worth_moving_blocks(&self) -> u32 {
        self.segment_blocks() / 8 * 7 - 1
    }

    /// How many segments there are.
    pub fn segments(&self) -> u32 {
        let bytes = self.capacity_bytes.min(CAPACITY_BYTES_MAX).saturating_sub(self.preface_bytes);
        u32::try_from(bytes / self.segment_bytes)
            .expect("a segment has at least one block, so there are fewer than 2^32")
    }

    /// Whether it can be a shape at all; one read from a disk may not be.
    pub(crate) fn is_sound(&self) -> bool {
        self.segment_bytes.is_multiple_of(BLOCK)
            && self.preface_bytes.is_multiple_of(BLOCK)
            && (4 * BLOCK..=1 << 32).contains(&self.segment_bytes)
            && (2 * BLOCK..=1 << 32).contains(&self.preface_bytes)
            && self.reserve_segments <= 1 << 16
            && self.write_blocks_max() > 0
    }

    /// Blocks in a segment.
    pub(crate) fn segment_blocks(&self) -> u32 {
        (self.segment_bytes / BLOCK) as u32
    }

    /// Shards that one batch may touch: their list is repeated in the next header, which must fit a segment too.
    pub(crate) fn shards_per_batch_max(&self) -> usize {
        (self.segment_blocks() as usize * 8).min(512)
    }

    /// The place of a block of a segment.
    pub(crate) fn place(&self, segment: u32, offset: u32) -> u32 {
        debug_assert!(offset < self.segment_blocks() && segment < self.segments());
        (self.preface_bytes / BLOCK) as u32 + segment * self.segment_blocks() + offset
    }

    /// The block of its segment that a place is.
    pub(crate) fn offset_of(&self, place: u32) -> u32 {
        (place - (self.preface_bytes / BLOCK) as u32) % self.segment_blocks()
    }

    /// Whether so many blocks from a place on lie in one segment.
    pub(crate) fn holds(&self, place: u32, blocks: u32) -> bool {
        let first = self.preface_bytes / BLOCK;
        let Some(from) = u64::from(place).checked_sub(first) else { return false };
        let per = u64::from(self.segment_blocks());
        from / per < u64::from(self.segments()) && from % per + u64::from(blocks) <= per
    }

    /// The segment that a place lies in.
    pub(crate) fn segment_of(&self, place: u32) -> u32 {
        (place - (self.preface_bytes / BLOCK) as u32) / self.segment_blocks()
    }
}

/// The fewest segments that are cleaned: with fewer there would be no room to do it in.
const CLEANED_SEGMENTS_MIN: u64 = 32;

/// Free segments at which writers wait for the cleaner: two times what checkpoints need when all is written (16 bytes for each block of a full disk), and
/// what it takes to move a segment.
const fn floor_of_writers(segments: u64) -> u64 {
    10 + segments / 64
}

/// Free segments below which it is time to clean.
const fn low_water(segments: u64) -> u64 {
    floor_of_writers(segments) + if segments < 96 { 3 } else { segments / 32 }
}

/// The segments of a disk that are not promised to anyone: those that are kept free, and so many that, when all that is promised is written and
/// writers wait, the segments of the log are less than seven eighths live: so there always is one that is worth being cleaned.
const fn reserve(capacity_bytes: u64, segment_bytes: u64) -> u32 {
    let reached = if capacity_bytes < CAPACITY_BYTES_MAX { capacity_bytes } else { CAPACITY_BYTES_MAX };
    let segments = reached / segment_bytes;
    // In the smallest segments a header takes most.
    let spared = if segment_bytes < 128 << 10 { segments / 8 } else { segments / 16 };
    if segments < CLEANED_SEGMENTS_MIN { 2 } else { (low_water(segments) + 6 + spared) as u32 }
}

/// The byte of the disk where a place begins.
pub(crate) fn byte_of(place: u32) -> u64 {
    u64::from(place) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_write_of_the_protocol_fits_a_standard_segment() {
        assert_eq!(Geometry::standard(1 << 40).write_blocks_max(), IO_BLOCKS_MAX);
        assert_eq!(Geometry::tiny(128 << 20).write_blocks_max(), IO_BLOCKS_MAX);
        assert_eq!(Geometry::tiny(1 << 20).write_blocks_max(), 15);
    }

    #[test]
    fn places_and_segments_agree() {
        let g = Geometry::tiny(1 << 20);
        assert_eq!((g.segments(), g.segment_blocks()), (15, 16));
        for segment in 0..15 {
            for offset in 0..16 {
                let place = g.place(segment, offset);
                assert_eq!(g.segment_of(place), segment);
                assert!(byte_of(place) >= g.preface_bytes && byte_of(place) + BLOCK <= g.capacity_bytes);
            }
        }
    }

    #[test]
    fn a_disk_beyond_sixteen_tebibytes_keeps_to_what_places_reach() {
        let g = Geometry::standard(1 << 60);
        assert_eq!(g.segments(), (1 << 19) - 1);
        assert!(g.is_sound());
    }

    #[test]
    fn nonsense_is_no_shape() {
        let good = Geometry::tiny(1 << 20);
        assert!(good.is_sound());
        for bad in [
            Geometry { segment_bytes: 0, ..good },
            Geometry { segment_bytes: 4096, ..good },
            Geometry { segment_bytes: 65_537, ..good },
            Geometry { segment_bytes: 1 << 40, ..good },
            Geometry { preface_bytes: 4096, ..good },
            Geometry { preface_bytes: 8193, ..good },
            Geometry { reserve_segments: u32::MAX, ..good },
        ] {
            assert!(!bad.is_sound(), "{bad:?}");
        }
    }
}
