//! What each segment is used for, and how many blocks of it are still named by an index or a window.

use crate::geometry::Geometry;
use crate::header::NO_SEGMENT;
use alloc::vec;
use alloc::vec::Vec;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Segment {
    live_blocks: u32,
    /// Of its last use; 0 while it was never used.
    incarnation: u32,
    used: bool,
}

/// All segments of a disk.
#[derive(Debug)]
pub(crate) struct Segments {
    geometry: Geometry,
    segments: Vec<Segment>,
    free: u32,
    live_blocks: u64,
}

impl Segments {
    /// All free, none ever used.
    pub(crate) fn new(geometry: Geometry) -> Self {
        let count = geometry.segments();
        Self { geometry, segments: vec![Segment::default(); count as usize], free: count, live_blocks: 0 }
    }

    /// The incarnation of its last use, as found on the disk.
    pub(crate) fn found(&mut self, segment: u32, incarnation: u32) {
        let s = &mut self.segments[segment as usize];
        s.incarnation = s.incarnation.max(incarnation);
    }

    /// It holds batches of the log.
    pub(crate) fn occupy(&mut self, segment: u32) {
        let s = &mut self.segments[segment as usize];
        if !s.used {
            s.used = true;
            self.free -= 1;
        }
    }

    /// Begins a new use of a free segment and gives its incarnation.
    pub(crate) fn open(&mut self, segment: u32) -> u32 {
        let s = &mut self.segments[segment as usize];
        assert!(!s.used && s.live_blocks == 0, "segment {segment} is opened while it is in use");
        s.incarnation = s.incarnation.checked_add(1).expect("a segment was used 2^32 times");
        let incarnation = s.incarnation;
        self.occupy(segment);
        incarnation
    }

    /// The free segment that follows this one, going round; [`NO_SEGMENT`] when there is none.
    pub(crate) fn free_after(&self, segment: u32) -> u32 {
        if self.free == 0 {
            return NO_SEGMENT;
        }
        let count = self.segments.len() as u32;
        let round = (segment + 1..count).chain(0..=segment.min(count - 1));
        round.into_iter().find(|&s| !self.segments[s as usize].used).unwrap_or(NO_SEGMENT)
    }

    /// Whether it is free.
    pub(crate) fn is_free(&self, segment: u32) -> bool {
        !self.segments[segment as usize].used
    }

    /// How many are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// These blocks are named.
    pub(crate) fn name(&mut self, place: u32, count: u32) {
        self.segments[self.geometry.segment_of(place) as usize].live_blocks += count;
        self.live_blocks += u64::from(count);
    }

    /// These blocks are named no more. They lie in one segment.
    pub(crate) fn forget(&mut self, place: u32, count: u32) {
        let s = &mut self.segments[self.geometry.segment_of(place) as usize];
        s.live_blocks = s.live_blocks.checked_sub(count).expect("more blocks of a segment were freed than it has");
        self.live_blocks -= u64::from(count);
    }

    /// Blocks named, in all segments.
    pub(crate) fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// Blocks named, by segment.
    pub(crate) fn live_by_segment(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().map(|s| s.live_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_segments_are_taken_round_and_only_once() {
        let mut s = Segments::new(Geometry::tiny((64 << 10) * 5));
        assert_eq!((s.free(), s.free_after(0), s.free_after(3)), (4, 1, 0));
        assert_eq!(s.open(1), 1);
        s.found(2, 6);
        assert_eq!((s.free_after(0), s.open(2)), (2, 7));
        s.occupy(2);
        assert_eq!((s.free(), s.free_after(2)), (2, 3));
        s.occupy(3);
        s.occupy(0);
        assert_eq!((s.free(), s.free_after(2)), (0, NO_SEGMENT));
    }

    #[test]
    fn live_blocks_are_counted_where_they_lie() {
        let g = Geometry::tiny((64 << 10) * 4);
        let mut s = Segments::new(g);
        s.name(g.place(0, 5), 3);
        s.name(g.place(2, 1), 2);
        s.forget(g.place(0, 6), 1);
        assert_eq!(s.live_by_segment().collect::<Vec<_>>(), [2, 0, 2]);
        assert_eq!(s.live_blocks(), 4);
    }
}
