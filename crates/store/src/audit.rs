//! Counts anew what the store counts as it goes, for whoever asks whether something has leaked. It takes as long as there are blocks named, changes nothing, and
//! nothing that a store does depends on it.

use crate::append::BATCHES_IN_FLIGHT_MAX;
use crate::segments::Use;
use crate::shards::Shards;
use crate::store::Store;
use alloc::vec;
use alloc::vec::Vec;
use base::ShardId;
use base::bounded::Fill;
use core::fmt;

/// A count of the store that is not what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miscount {
    /// Of what.
    pub of: &'static str,
    /// In which segment, if it is about one.
    pub segment: Option<u32>,
    /// What the store says.
    pub said: u64,
    /// What there is.
    pub found: u64,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, and there are {}", self.said, self.of, self.found)?;
        self.segment.map_or(Ok(()), |segment| write!(f, ", in segment {segment}"))
    }
}

fn same(of: &'static str, segment: Option<u32>, said: u64, found: u64) -> Result<(), Miscount> {
    if said == found { Ok(()) } else { Err(Miscount { of, segment, said, found }) }
}

impl Shards {
    /// Blocks that indexes, windows and frozen points name, by segment.
    fn named_by_segment(&self) -> Vec<u64> {
        let mut named = vec![0; self.segments.count() as usize];
        self.each_named_run(&mut |segment, count| named[segment as usize] += u64::from(count));
        named
    }

    /// Whether every segment counts what is named in it, and nothing is named where something else may be written.
    pub(crate) fn audit(&self) -> Result<(), Miscount> {
        let s = &self.segments;
        let (mut by_use, mut live) = ([0u64; 4], 0);
        for (segment, named) in (0..).zip(self.named_by_segment()) {
            let used = s.used(segment);
            by_use[used as usize] += 1;
            match used {
                Use::Log => same("blocks are counted as named", Some(segment), s.live_in(segment).into(), named)?,
                Use::Free => same("blocks are named in a free segment", Some(segment), 0, named)?,
                Use::Retired => same("blocks are named in a segment about to be free", Some(segment), 0, named)?,
                Use::Checkpoint => same("blocks of shards are named in a checkpoint", Some(segment), 0, named)?,
            }
            live += named;
        }
        same("blocks are counted as named", None, s.live_blocks(), live)?;
        same("segments are counted as free", None, s.free().into(), by_use[Use::Free as usize])?;
        same("segments are counted as retired", None, s.retired().into(), by_use[Use::Retired as usize])?;
        same("segments are counted for checkpoints", None, s.checkpoints().into(), by_use[Use::Checkpoint as usize])
    }
}

impl Store {
    /// Whether all that it counts is as it counts it; so it is before it is opened.
    ///
    /// # Errors
    /// The first count that is wrong.
    pub fn audit(&self) -> Result<(), Miscount> {
        let Some(work) = self.opened() else { return Ok(()) };
        work.shards.audit()?;
        let held = work.checkpoints.segments_held();
        same("segments are counted for checkpoints", None, work.shards.segments.checkpoints().into(), held)
    }

    /// Every shard of which it has anything, in order.
    pub fn shards(&self) -> Vec<ShardId> {
        self.opened().map(|work| work.shards.ids()).unwrap_or_default()
    }

    /// How full is what grows with what is asked of it. What waits to be appended or read is bounded by those who ask.
    pub fn fills(&self, tell: &mut dyn FnMut(Fill)) {
        let Some(work) = self.opened() else { return };
        tell(Fill { what: "batches in flight", now: work.log.in_flight(), most: BATCHES_IN_FLIGHT_MAX as usize });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Geometry;
    use crate::entry::{Change, Crcs};
    use alloc::string::ToString;
    use base::log::Stamp;
    use base::{Epoch, Sequence};

    const S: ShardId = ShardId { volume: base::VolumeId(1), index: 0 };

    fn shards() -> Shards {
        let geometry = Geometry::tiny((64 << 10) * 4);
        let mut shards = Shards::new(geometry);
        shards.segments.open(1, 1);
        let crcs: Crcs = [7, 8, 9].into_iter().collect();
        let stamp = Stamp { epoch: Epoch(1), sequence: Sequence(1) };
        shards.apply(S, Sequence(0), Change::Data { stamp, block: 0, place: geometry.place(1, 2), crcs });
        shards
    }

    #[test]
    fn what_is_counted_and_named_is_sound_and_a_leak_and_a_loss_are_not() {
        let mut sound = shards();
        assert_eq!(sound.audit(), Ok(()));
        sound.commit(S, Sequence(1));
        assert_eq!(sound.audit(), Ok(()), "the index names what the window did");
        let (mut leaks, place) = (shards(), Geometry::tiny((64 << 10) * 4).place(1, 9));
        leaks.segments.name(place, 1);
        let leak = leaks.audit().unwrap_err();
        assert_eq!((leak.segment, leak.said, leak.found), (Some(1), 4, 3));
        assert_eq!(leak.to_string(), "4 blocks are counted as named, and there are 3, in segment 1");
        let mut loses = shards();
        loses.segments.forget(place, 1);
        assert_eq!(loses.audit().unwrap_err().said, 2);
    }

    #[test]
    fn a_block_that_is_named_where_something_else_may_be_written_is_found() {
        let (mut shards, geometry) = (shards(), Geometry::tiny((64 << 10) * 4));
        let crcs: Crcs = [1].into_iter().collect();
        shards.apply(S, Sequence(0), Change::Copy { block: 9, place: geometry.place(2, 0), crcs });
        let found = shards.audit().unwrap_err();
        assert_eq!((found.segment, found.said, found.found), (Some(2), 0, 1));
    }
}
