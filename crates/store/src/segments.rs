//! What each segment is used for, and how many blocks of it are still named by an index, a window, a frozen point or a checkpoint.
//!
//! ```text
//! Free --open--> Log --nothing of it is named, and a checkpoint says so--> Retired --that checkpoint is durable--> Free
//!   ^                                                                        (reads that began before have ended)
//!   +--take--> Checkpoint --nothing of it is named any more--> Free
//! ```
//!
//! A segment of the log is written again only when a durable checkpoint names nothing in it: recovery that starts from an older one would
//! look for blocks there.

use crate::geometry::Geometry;
use crate::header::NO_SEGMENT;
use alloc::vec;
use alloc::vec::Vec;

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Free,
    Log,
    /// Dead, and written again when the checkpoint under way is durable.
    Retired,
    Checkpoint,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    live_blocks: u32,
    used: Use,
    /// Whether all of it was written before, so that it needs no zeroes ahead of its next use.
    written: bool,
    /// The number of the first batch of its last use for the log; 0 while there was none.
    opened: u64,
}

/// All segments of a disk.
#[derive(Debug)]
pub(crate) struct Segments {
    geometry: Geometry,
    segments: Vec<Segment>,
    free: u32,
    retired: u32,
    checkpoints: u32,
    /// Segments of the log in which nothing is named.
    dead: u32,
    live_blocks: u64,
}

impl Segments {
    /// All free, none ever used.
    pub(crate) fn new(geometry: Geometry) -> Self {
        let count = geometry.segments();
        let blank = Segment { live_blocks: 0, used: Use::Free, written: false, opened: 0 };
        let segments = vec![blank; count as usize];
        Self { geometry, segments, free: count, retired: 0, checkpoints: 0, dead: 0, live_blocks: 0 }
    }

    /// A header of a use of this segment stands in it.
    pub(crate) fn found(&mut self, segment: u32, opened: u64) {
        let s = &mut self.segments[segment as usize];
        (s.opened, s.written) = (opened, true);
    }

    fn set(&mut self, segment: u32, used: Use) {
        let s = &mut self.segments[segment as usize];
        let old = core::mem::replace(&mut s.used, used);
        if s.live_blocks == 0 {
            self.dead = self.dead + u32::from(used == Use::Log) - u32::from(old == Use::Log);
        }
        for (which, by) in [(old, u32::MAX), (used, 1)] {
            match which {
                Use::Free => self.free = self.free.wrapping_add(by),
                Use::Retired => self.retired = self.retired.wrapping_add(by),
                Use::Checkpoint => self.checkpoints = self.checkpoints.wrapping_add(by),
                Use::Log => {}
            }
        }
    }

    /// Where they lie.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.segments.len() as u32
    }

    /// What it is used for.
    pub(crate) fn used(&self, segment: u32) -> Use {
        self.segments[segment as usize].used
    }

    /// It holds batches of the log.
    pub(crate) fn occupy(&mut self, segment: u32, opened: u64) {
        assert!(matches!(self.used(segment), Use::Free | Use::Log), "segment {segment} is written while it is in use");
        self.found(segment, opened);
        self.set(segment, Use::Log);
    }

    /// Begins a new use of a free segment with this batch.
    pub(crate) fn open(&mut self, segment: u32, batch: u64) {
        let s = &self.segments[segment as usize];
        assert!(s.used == Use::Free && s.live_blocks == 0, "segment {segment} is opened while it is in use");
        self.occupy(segment, batch);
    }

    /// The free segment that follows this one, going round; [`NO_SEGMENT`] when there is none.
    pub(crate) fn free_after(&self, segment: u32) -> u32 {
        if self.free == 0 {
            return NO_SEGMENT;
        }
        let count = self.segments.len() as u32;
        let round = (segment + 1..count).chain(0..=segment.min(count - 1));
        round.into_iter().find(|&s| self.is_free(s)).unwrap_or(NO_SEGMENT)
    }

    /// Takes a free segment for a checkpoint: the last one, since the log goes on upwards from where it is. Never one of those that are spared: the
    /// one that the log names as its next, and one that is just being written with zeroes.
    pub(crate) fn take(&mut self, spared: [u32; 2]) -> Option<u32> {
        let taken = (0..self.segments.len() as u32).rev().find(|&s| self.is_free(s) && !spared.contains(&s))?;
        self.set(taken, Use::Checkpoint);
        Some(taken)
    }

    /// A checkpoint that was read lies in it.
    pub(crate) fn keep(&mut self, segment: u32) {
        self.set(segment, Use::Checkpoint);
    }

    /// A segment of a checkpoint that holds nothing any more, and is not being written.
    pub(crate) fn give_back(&mut self, segment: u32) {
        let s = &self.segments[segment as usize];
        assert!(s.used == Use::Checkpoint && s.live_blocks == 0, "segment {segment} is given back while it is in use");
        self.set(segment, Use::Free);
    }

    /// Every segment of the log but `head` in which nothing is named: the checkpoint that is being made will say so.
    pub(crate) fn retire(&mut self, head: Option<u32>) -> Vec<u32> {
        let dead = |&s: &u32| {
            let segment = &self.segments[s as usize];
            segment.used == Use::Log && segment.live_blocks == 0 && Some(s) != head
        };
        let retired: Vec<u32> = (0..self.segments.len() as u32).filter(dead).collect();
        retired.iter().for_each(|&s| self.set(s, Use::Retired));
        retired
    }

    /// A retired segment may be written again.
    pub(crate) fn free_retired(&mut self, segment: u32) {
        assert_eq!(self.used(segment), Use::Retired, "segment {segment} was not retired");
        self.set(segment, Use::Free);
    }

    /// Whether it is free.
    pub(crate) fn is_free(&self, segment: u32) -> bool {
        self.used(segment) == Use::Free
    }

    /// Whether every block of it exists on the disk.
    pub(crate) fn is_written(&self, segment: u32) -> bool {
        self.segments[segment as usize].written
    }

    /// How many are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// How many are free beside those that are spared.
    pub(crate) fn free_but(&self, spared: [u32; 2]) -> u32 {
        let counts = |segment: u32| u32::from(segment != NO_SEGMENT && self.is_free(segment));
        self.free - counts(spared[0]) - if spared[0] == spared[1] { 0 } else { counts(spared[1]) }
    }

    /// How many are free as soon as the checkpoint under way is durable.
    pub(crate) fn retired(&self) -> u32 {
        self.retired
    }

    /// How many hold checkpoints.
    pub(crate) fn checkpoints(&self) -> u32 {
        self.checkpoints
    }

    /// Segments of the log, but for the one being written, in which nothing is named.
    pub(crate) fn dead(&self, head: Option<u32>) -> u32 {
        self.dead - head.map_or(0, |head| u32::from(self.live_in(head) == 0))
    }

    /// These blocks are named.
    pub(crate) fn name(&mut self, place: u32, count: u32) {
        let s = &mut self.segments[self.geometry.segment_of(place) as usize];
        if s.live_blocks == 0 && s.used == Use::Log && count > 0 {
            self.dead -= 1;
        }
        s.live_blocks += count;
        if s.used != Use::Checkpoint {
            self.live_blocks += u64::from(count);
        }
    }

    /// These blocks are named no more. They lie in one segment.
    pub(crate) fn forget(&mut self, place: u32, count: u32) {
        let s = &mut self.segments[self.geometry.segment_of(place) as usize];
        s.live_blocks = s.live_blocks.checked_sub(count).expect("more blocks of a segment were freed than it has");
        if s.live_blocks == 0 && s.used == Use::Log && count > 0 {
            self.dead += 1;
        }
        if s.used != Use::Checkpoint {
            self.live_blocks -= u64::from(count);
        }
    }

    /// Blocks of shards that are named, in all segments.
    pub(crate) fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// Blocks named in one segment.
    pub(crate) fn live_in(&self, segment: u32) -> u32 {
        self.segments[segment as usize].live_blocks
    }

    /// The number of the first batch of its use for the log.
    pub(crate) fn opened(&self, segment: u32) -> u64 {
        self.segments[segment as usize].opened
    }

    /// Blocks of shards that are named, by segment.
    pub(crate) fn live_by_segment(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().map(|s| if s.used == Use::Checkpoint { 0 } else { s.live_blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_segments_are_taken_round_and_only_once() {
        let mut s = Segments::new(Geometry::tiny((64 << 10) * 5));
        assert_eq!((s.free(), s.free_after(0), s.free_after(3)), (4, 1, 0));
        s.open(1, 1);
        s.found(2, 6);
        assert_eq!(s.free_after(0), 2);
        s.open(2, 7);
        s.occupy(2, 7);
        assert_eq!((s.free(), s.free_after(2), s.opened(2)), (2, 3, 7));
        s.occupy(3, 9);
        s.occupy(0, 12);
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

    #[test]
    fn a_dead_segment_is_retired_first_and_free_later() {
        let g = Geometry::tiny((64 << 10) * 6);
        let mut s = Segments::new(g);
        s.open(0, 1);
        s.open(1, 5);
        s.open(2, 8);
        s.name(g.place(1, 3), 1);
        assert_eq!(s.retire(Some(2)), [0]);
        assert_eq!((s.free(), s.retired(), s.retire(Some(2)).len()), (2, 1, 0));
        s.free_retired(0);
        assert_eq!((s.free(), s.retired(), s.free_after(2)), (3, 0, 3));
    }

    #[test]
    fn checkpoints_take_segments_from_the_end_and_leave_the_next_of_the_log() {
        let mut s = Segments::new(Geometry::tiny((64 << 10) * 5));
        let spared = [3, NO_SEGMENT];
        assert_eq!((s.free_but(spared), s.take(spared), s.take(spared)), (3, Some(2), Some(1)));
        s.give_back(1);
        assert_eq!((s.free_but([0, 3]), s.free_but([0, 0]), s.take([0, 3]), s.take([0, 3])), (1, 2, Some(1), None));
    }
}
