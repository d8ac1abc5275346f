//! What the store knows of its shards, and the one function that changes it: the same for an entry that is appended
//! and for one that is replayed, so that what recovery finds is what was.

use crate::checkpoint::Cutter;
use crate::entry::Change;
use crate::geometry::Geometry;
use crate::index::Index;
use crate::segments::Segments;
use crate::window::{Body, Entry, Window};
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::log::{Recovered, Register, Stamp};
use base::map::Map;
use base::{Epoch, Sequence, ShardId};

/// One shard.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) register: Option<Box<Register>>,
    pub(crate) index: Index,
    pub(crate) window: Window,
    pub(crate) committed: Sequence,
    /// The stamp of the last committed entry.
    pub(crate) last: Stamp,
    /// Whether it changed since the last checkpoint was begun.
    changed: bool,
}

impl Shard {
    /// The stamp of the last entry, committed or not.
    fn end(&self) -> Stamp {
        self.window.end().unwrap_or(self.last)
    }
}

/// All shards of a store, and the segments that their blocks lie in.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Map<ShardId, Shard>,
    pub(crate) segments: Segments,
    /// Those that changed since the last checkpoint was begun; some twice, some gone since.
    changed: Vec<ShardId>,
    /// Those that were dropped since then.
    dropped: Vec<ShardId>,
}

/// Remembers that a shard changed.
fn note(id: ShardId, shard: &mut Shard, changed: &mut Vec<ShardId>) {
    if !shard.changed {
        shard.changed = true;
        changed.push(id);
    }
}

impl Shards {
    /// None yet.
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { shards: Map::default(), segments: Segments::new(geometry), changed: Vec::new(), dropped: Vec::new() }
    }

    /// A shard, if it is known.
    pub(crate) fn get(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(&shard)
    }

    /// Up to which sequence a shard is committed.
    pub(crate) fn committed(&self, shard: ShardId) -> Sequence {
        self.shards.get(&shard).map_or(Sequence(0), |s| s.committed)
    }

    /// Window entries up to here enter the index. Never beyond the shard's end: what is not in the log cannot be committed.
    pub(crate) fn commit(&mut self, shard: ShardId, through: Sequence) {
        let Some(s) = self.shards.get_mut(&shard) else { return };
        let through = through.min(s.end().sequence);
        if through <= s.committed {
            return;
        }
        note(shard, s, &mut self.changed);
        let segments = &mut self.segments;
        let freed = &mut |place, count| segments.forget(place, count);
        while let Some(entry) = s.window.pop_through(through) {
            let version = Some(entry.stamp);
            match entry.body {
                Body::Data { place, crcs } => s.index.put(entry.block, place, &crcs, version, freed),
                Body::Trim { count } => s.index.clear(entry.block, count, version, freed),
            }
            s.last = entry.stamp;
        }
        s.committed = through;
    }

    /// An entry of the log: commits what it says is committed, then does what it says.
    pub(crate) fn apply(&mut self, shard: ShardId, committed: Sequence, change: Change) {
        self.commit(shard, committed);
        if change == Change::Drop {
            self.drop_shard(shard);
            return;
        }
        let s = self.shards.entry(shard).or_default();
        note(shard, s, &mut self.changed);
        let segments = &mut self.segments;
        match change {
            Change::Data { stamp, block, place, crcs } => {
                let count = crcs.len() as u32;
                segments.name(place, count);
                insert(s, segments, Entry { stamp, block, body: Body::Data { place, crcs } });
            }
            Change::Trim { stamp, block, count } => {
                insert(s, segments, Entry { stamp, block, body: Body::Trim { count } });
            }
            Change::Copy { block, place, crcs } => {
                segments.name(place, crcs.len() as u32);
                s.index.put(block, place, &crcs, None, &mut |place, count| segments.forget(place, count));
            }
            Change::Erase { block, count } => {
                s.index.clear(block, count, None, &mut |place, count| segments.forget(place, count));
            }
            Change::Cut { above } => {
                while let Some(entry) = s.window.pop_above(above) {
                    forget(segments, &entry);
                }
            }
            Change::Restart { committed } => {
                while let Some(entry) = s.window.pop_above(Sequence(0)) {
                    forget(segments, &entry);
                }
                s.committed = committed;
                s.last = Stamp { epoch: Epoch(0), sequence: committed };
            }
            Change::Register(register) => s.register = Some(register),
            Change::Drop => unreachable!("done above"),
        }
    }

    fn drop_shard(&mut self, shard: ShardId) {
        let Some(mut s) = self.shards.remove(&shard) else { return };
        self.dropped.push(shard);
        let segments = &mut self.segments;
        s.index.each_run(&mut |place, count| segments.forget(place, count));
        while let Some(entry) = s.window.pop_above(Sequence(0)) {
            forget(segments, &entry);
        }
    }

    /// Their names, in order.
    pub(crate) fn ids(&self) -> Vec<ShardId> {
        let mut ids: Vec<ShardId> = self.shards.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Says what changed since the last call.
    pub(crate) fn take_changes(&mut self, cutter: &mut Cutter) {
        core::mem::take(&mut self.dropped).into_iter().for_each(|id| cutter.gone(id));
        let mut changed = core::mem::take(&mut self.changed);
        changed.sort_unstable();
        for id in changed {
            let Some(s) = self.shards.get_mut(&id).filter(|s| s.changed) else { continue };
            s.changed = false;
            cutter.state(id, s);
            for (number, bits) in s.index.take_changed() {
                cutter.chunk(id, number, s.index.chunk(number), bits);
            }
        }
    }

    /// Says the next part of a shard: its state first, then chunk by chunk from this one on. Gives the next chunk; none when all was said.
    pub(crate) fn tell(&self, id: ShardId, chunk: Option<u32>, cutter: &mut Cutter) -> Option<u32> {
        let s = self.shards.get(&id)?;
        let Some(chunk) = chunk else {
            cutter.state(id, s);
            return Some(0);
        };
        let number = s.index.next_chunk(chunk)?;
        cutter.chunk(id, number, s.index.chunk(number), u128::MAX);
        Some(number + 1)
    }

    /// A shard, to be made what a checkpoint says it was.
    pub(crate) fn restore(&mut self, id: ShardId) -> &mut Shard {
        self.shards.entry(id).or_default()
    }

    /// A shard that was gone when a checkpoint was begun.
    pub(crate) fn restore_gone(&mut self, id: ShardId) {
        self.shards.remove(&id);
    }

    /// All was restored: counts the blocks that are named. None of it is news.
    pub(crate) fn restored(&mut self) {
        let segments = &mut self.segments;
        for s in self.shards.values_mut() {
            s.index.take_changed();
            s.index.each_run(&mut |place, count| segments.name(place, count));
            for entry in s.window.above(Sequence(0)) {
                if let Body::Data { place, crcs } = &entry.body {
                    segments.name(*place, crcs.len() as u32);
                }
            }
        }
    }

    /// Every shard that has a register, in order. A replica writes that first of all, so one without it never began.
    pub(crate) fn recovered(&self) -> Vec<Recovered> {
        let with_register = self.shards.iter().filter_map(|(&shard, s)| {
            let register = Register::clone(s.register.as_deref()?);
            Some(Recovered { shard, register, committed: s.committed, end: s.end() })
        });
        let mut all: Vec<Recovered> = with_register.collect();
        all.sort_unstable_by_key(|r| r.shard);
        all
    }
}

/// Puts an entry into the window. One that is committed already, or whose place another takes, frees its blocks.
fn insert(s: &mut Shard, segments: &mut Segments, entry: Entry) {
    if entry.stamp.sequence <= s.committed {
        forget(segments, &entry);
    } else if let Some(replaced) = s.window.insert(entry) {
        forget(segments, &replaced);
    }
}

fn forget(segments: &mut Segments, entry: &Entry) {
    if let Body::Data { place, crcs } = &entry.body {
        segments.forget(*place, crcs.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Cell;
    use crate::entry::Crcs;
    use base::VolumeId;

    const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };

    struct Bench {
        shards: Shards,
        geometry: Geometry,
    }

    fn bench() -> Bench {
        let geometry = Geometry::tiny(1 << 20);
        Bench { shards: Shards::new(geometry), geometry }
    }

    fn stamp(epoch: u64, sequence: u64) -> Stamp {
        Stamp { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    impl Bench {
        fn data(&mut self, epoch: u64, sequence: u64, block: u32, offset: u32) {
            let place = self.geometry.place(0, offset);
            let change = Change::Data { stamp: stamp(epoch, sequence), block, place, crcs: Crcs::One([offset]) };
            self.shards.apply(SHARD, Sequence(0), change);
        }
        fn trim(&mut self, sequence: u64, block: u32, count: u32) {
            self.shards.apply(SHARD, Sequence(0), Change::Trim { stamp: stamp(1, sequence), block, count });
        }
        fn commit(&mut self, through: u64) {
            self.shards.commit(SHARD, Sequence(through));
        }
        fn at(&self, block: u32) -> Option<u32> {
            let mut found = None;
            let place = |Cell { place, .. }| place - self.geometry.place(0, 0);
            self.shards.get(SHARD)?.index.each(block, 1, &mut |_, cell| found = cell.map(place));
            found
        }
        fn live(&self) -> u64 {
            self.shards.segments.live_blocks()
        }
        fn standing(&self) -> (u64, Stamp) {
            self.shards.get(SHARD).map_or((0, Stamp::default()), |s| (s.committed.0, s.end()))
        }
    }

    #[test]
    fn entries_enter_the_index_on_commit_in_the_order_of_their_sequences() {
        let mut b = bench();
        b.data(1, 2, 7, 1);
        b.data(1, 1, 7, 2);
        assert_eq!((b.at(7), b.live()), (None, 2));
        b.commit(2);
        assert_eq!((b.at(7), b.live()), (Some(1), 1));
        assert_eq!(b.standing(), (2, stamp(1, 2)));
    }

    #[test]
    fn a_commit_never_goes_beyond_the_end_of_the_log() {
        let mut b = bench();
        b.commit(9);
        b.data(1, 1, 7, 1);
        b.commit(9);
        assert_eq!(b.standing(), (1, stamp(1, 1)));
        b.data(1, 2, 7, 2);
        assert_eq!((b.at(7), b.standing().0), (Some(1), 1));
        b.commit(2);
        assert_eq!(b.at(7), Some(2));
    }

    #[test]
    fn what_comes_again_after_its_commit_changes_nothing() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.commit(1);
        b.data(1, 1, 7, 2);
        assert_eq!((b.at(7), b.live(), b.standing()), (Some(1), 1, (1, stamp(1, 1))));
    }

    #[test]
    fn a_replaced_and_a_cut_entry_free_their_blocks() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.data(1, 2, 8, 2);
        b.data(2, 2, 9, 3);
        b.data(2, 3, 9, 4);
        assert_eq!(b.live(), 3);
        b.shards.apply(SHARD, Sequence(1), Change::Cut { above: Sequence(2) });
        assert_eq!((b.live(), b.standing()), (2, (1, stamp(2, 2))));
        b.commit(3);
        assert_eq!((b.at(7), b.at(8), b.at(9)), (Some(1), None, Some(3)));
    }

    #[test]
    fn a_trim_frees_on_commit_and_an_erase_at_once() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.data(1, 2, 8, 2);
        b.commit(2);
        b.trim(3, 0, 8);
        assert_eq!((b.at(7), b.live()), (Some(1), 2));
        b.commit(3);
        assert_eq!((b.at(7), b.at(8), b.live()), (None, Some(2), 1));
        b.shards.apply(SHARD, Sequence(3), Change::Erase { block: 8, count: 1 });
        assert_eq!((b.at(8), b.live()), (None, 0));
    }

    #[test]
    fn a_restart_keeps_the_index_and_starts_the_window_anew() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.commit(1);
        b.data(1, 2, 8, 2);
        b.shards.apply(SHARD, Sequence(1), Change::Restart { committed: Sequence(20) });
        assert_eq!((b.at(7), b.live(), b.standing()), (Some(1), 1, (20, stamp(0, 20))));
        let place = b.geometry.place(0, 5);
        b.shards.apply(SHARD, Sequence(20), Change::Copy { block: 7, place, crcs: Crcs::One([5]) });
        assert_eq!((b.at(7), b.live()), (Some(5), 1));
    }

    #[test]
    fn a_dropped_shard_leaves_nothing_live_and_can_begin_again() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.commit(1);
        b.data(1, 2, 8, 2);
        b.shards.apply(SHARD, Sequence(1), Change::Drop);
        b.shards.apply(SHARD, Sequence(0), Change::Drop);
        assert_eq!((b.at(7), b.live(), b.standing()), (None, 0, (0, Stamp::default())));
        b.data(5, 1, 7, 3);
        b.commit(1);
        assert_eq!((b.at(7), b.live()), (Some(3), 1));
        assert!(b.shards.recovered().is_empty(), "no register, so nothing to report");
    }
}
