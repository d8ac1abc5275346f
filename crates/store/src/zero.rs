//! Writes zeroes into the segments that will be written next, so that appending to a file never waits for the file system's
//! own metadata. One piece at a time; nothing waits for it but a batch that would go where a piece is being written.
//!
//! A disk that will not do it is left alone: zeroing is a convenience, and a write that fails will say so itself.

use crate::geometry::{BLOCK, Geometry, byte_of};
use crate::header::NO_SEGMENT;
use crate::policy::Policy;
use crate::segments::Segments;
use alloc::collections::BTreeMap;
use base::io::disk::{Op, OpId};

/// Zeroes ahead of the log.
#[derive(Debug)]
pub(crate) struct Zeroing {
    geometry: Geometry,
    segments_ahead: u32,
    piece_blocks: u32,
    /// Blocks done, of each segment ahead.
    done: BTreeMap<u32, u32>,
    /// The piece being written: its operation, place and blocks.
    piece: Option<(OpId, u32, u32)>,
}

impl Zeroing {
    /// Nothing done yet.
    pub(crate) fn new(geometry: Geometry, policy: Policy) -> Self {
        let segments_ahead = if policy.preallocated { 0 } else { policy.zero_ahead_segments };
        let piece_blocks = (policy.zero_piece_bytes / BLOCK as u32).max(1);
        Self { geometry, segments_ahead, piece_blocks, done: BTreeMap::new(), piece: None }
    }

    /// Begins the next piece, if there is one to do. `next` is the segment that follows the one being written.
    pub(crate) fn issue(&mut self, next: u32, segments: &Segments, op: impl FnOnce() -> OpId) -> Option<Op> {
        if self.piece.is_some() || self.segments_ahead == 0 {
            return None;
        }
        let mut segment = next;
        for _ in 0..self.segments_ahead {
            let done = self.done.entry(segment).or_insert(0);
            let left = if segments.is_written(segment) { 0 } else { self.geometry.segment_blocks() - *done };
            if left > 0 {
                let (place, blocks) = (self.geometry.place(segment, *done), left.min(self.piece_blocks));
                *done += blocks;
                let id = op();
                self.piece = Some((id, place, blocks));
                return Some(Op::Zero { id, at: byte_of(place), len: u64::from(blocks) * BLOCK });
            }
            segment = segments.free_after(segment);
            if segment == next || segment == NO_SEGMENT {
                break;
            }
        }
        self.done.retain(|&segment, _| segments.is_free(segment));
        None
    }

    /// Whether a piece being written touches these places.
    pub(crate) fn covers(&self, place: u32, blocks: u32) -> bool {
        self.piece.is_some_and(|(_, at, count)| at < place + blocks && place < at + count)
    }

    /// The segment of the piece being written; [`NO_SEGMENT`] while there is none.
    pub(crate) fn segment(&self) -> u32 {
        self.piece.map_or(NO_SEGMENT, |(_, place, _)| self.geometry.segment_of(place))
    }

    /// A piece ended, if it was one of these. One that failed is the last.
    pub(crate) fn done(&mut self, op: OpId, well: bool) -> bool {
        if self.piece.is_none_or(|(id, ..)| id != op) {
            return false;
        }
        self.piece = None;
        if !well {
            self.segments_ahead = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn pieces(zeroing: &mut Zeroing, next: u32, segments: &Segments) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        while let Some(Op::Zero { id, at, len }) = zeroing.issue(next, segments, || OpId(all.len() as u64)) {
            all.push((at, len));
            assert!(zeroing.issue(next, segments, || OpId(99)).is_none(), "one at a time");
            assert!(!zeroing.done(OpId(99), true));
            assert!(zeroing.done(id, true));
        }
        all
    }

    #[test]
    fn two_segments_ahead_are_zeroed_once_and_in_pieces() {
        let g = Geometry::tiny(64 << 14);
        let policy = Policy { zero_piece_bytes: 40 << 10, ..Policy::default() };
        let mut segments = Segments::new(g);
        segments.open(0, 1);
        let mut zeroing = Zeroing::new(g, policy);
        let (k, first) = (1 << 10, g.preface_bytes + g.segment_bytes);
        let one = [(first, 40 * k), (first + 40 * k, 24 * k)];
        let two = one.map(|(at, len)| (at + g.segment_bytes, len));
        assert_eq!(pieces(&mut zeroing, 1, &segments), [one, two].concat());
        segments.open(1, 2);
        let three = two.map(|(at, len)| (at + g.segment_bytes, len));
        assert_eq!(pieces(&mut zeroing, 2, &segments), three);
    }

    #[test]
    fn a_raw_device_and_a_disk_that_cannot_are_left_alone() {
        let g = Geometry::tiny(64 << 14);
        let segments = Segments::new(g);
        let mut raw = Zeroing::new(g, Policy { preallocated: true, ..Policy::default() });
        assert!(raw.issue(1, &segments, || OpId(1)).is_none());
        let mut cannot = Zeroing::new(g, Policy::default());
        let op = cannot.issue(1, &segments, || OpId(1));
        assert!(matches!(op, Some(Op::Zero { len: 65_536, .. })));
        let place = g.place(1, 3);
        assert!(cannot.covers(place, 1) && !cannot.covers(g.place(0, 15), 1) && !cannot.covers(g.place(2, 0), 1));
        assert!(cannot.done(OpId(1), false));
        assert!(!cannot.covers(place, 1));
        assert!(cannot.issue(1, &segments, || OpId(2)).is_none());
    }

    #[test]
    fn the_last_free_segment_is_not_zeroed_twice() {
        let g = Geometry::tiny(64 << 14);
        let mut segments = Segments::new(g);
        (0..g.segments() - 1).for_each(|segment| segments.occupy(segment, 1));
        let mut zeroing = Zeroing::new(g, Policy::default());
        assert_eq!(pieces(&mut zeroing, g.segments() - 1, &segments).len(), 1);
    }
}
