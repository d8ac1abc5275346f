//! What the store knows of its shards, and the one function that changes it: the same for an entry that is appended
//! and for one that is replayed, so that what recovery finds is what was.

use crate::checkpoint::Cutter;
use crate::chunk::Cell;
use crate::entry::Change;
use crate::frozen::Point;
use crate::geometry::Geometry;
use crate::index::Index;
use crate::named::Named;
use crate::relocate::relocate;
use crate::segments::Segments;
use crate::window::{Body, Entry, Places, Window};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use base::log::{PointChange, Recovered, Register, Stamp, Standing};
use base::map::Map;
use base::mutant::{Mutant, Mutation};
use base::{CHUNK_BLOCKS, Epoch, Sequence, ShardId};

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
    /// Where copies of a block lie that have this checksum: in the window, the newest first, then in the index, then in frozen points.
    pub(crate) fn matching(&self, block: u32, crc: u32) -> impl Iterator<Item = Cell> + '_ {
        let mut committed = None;
        self.index.each(block, 1, &mut |_, cell| committed = cell);
        let kept = self.index.points.copies(block / CHUNK_BLOCKS, block % CHUNK_BLOCKS);
        self.window.matching(block, crc).chain(committed.into_iter().chain(kept).filter(move |cell| cell.crc == crc))
    }

    /// Blocks that stand promised to it: as many as its configuration gives it; once more while it has frozen points, since the newest of them may come to
    /// hold as many; and what the older ones hold, which can only become less.
    fn promised_blocks(&self) -> u64 {
        let points = &self.index.points;
        let newest = points.iter().next_back().map_or(0, |_| self.blocks());
        self.blocks() + newest + points.held_by_others()
    }

    /// Blocks that another point would take of what may be promised: what the newest one holds stays, and the new one may come to hold all.
    pub(crate) fn another_point_blocks(&self) -> u64 {
        self.index.points.iter().next_back().map_or(self.blocks(), Point::held)
    }

    fn blocks(&self) -> u64 {
        self.register.as_ref().map_or(0, |register| u64::from(register.config.blocks))
    }

    /// Every run of places that its index, its frozen points and its window name.
    fn each_run(&self, run: &mut impl FnMut(u32, u32)) {
        self.index.each_run(run);
        for entry in self.window.above(Sequence(0)) {
            if let Body::Data { places, crcs } = &entry.body {
                places.each_run(crcs.len() as u32, &mut |_, place, count| run(place, count));
            }
        }
    }

    /// The stamp of the last entry, committed or not.
    pub(crate) fn end(&self) -> Stamp {
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
    /// Those that lost something that may have been acknowledged, until their replicas have written down that they know.
    suspects: BTreeSet<ShardId>,
    /// Those that may have dropped points which are not dissolved yet.
    dissolving: BTreeSet<ShardId>,
    mutation: Mutation,
}

/// Whether a replica claims to have all that it acknowledged.
fn claims(register: &Register) -> bool {
    matches!(register.standing, Standing::Complete | Standing::Learned { .. })
}

/// Whether something of what it has counts: if some is lost, it must know.
fn relies(register: &Register) -> bool {
    claims(register) || matches!(register.standing, Standing::Learning { base: Some(_), .. })
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
        Self {
            shards: Map::default(),
            segments: Segments::new(geometry),
            changed: Vec::new(),
            dropped: Vec::new(),
            suspects: BTreeSet::new(),
            dissolving: BTreeSet::new(),
            mutation: Mutation::default(),
        }
    }

    /// Makes them wrong.
    pub(crate) fn mutated(self, mutation: Mutation) -> Self {
        Self { mutation, ..self }
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
                Body::Data { places, crcs } => places.each_run(crcs.len() as u32, &mut |first, place, count| {
                    let crcs = &crcs[first as usize..(first + count) as usize];
                    s.index.put(entry.block + first, place, crcs, version, freed);
                }),
                Body::Trim { count } => s.index.clear(entry.block, count, version, freed),
                // Who has only a part would freeze what never was.
                Body::Point(PointChange::Freeze { id }) if s.register.as_deref().is_none_or(claims) => {
                    s.index.points.freeze(id, entry.stamp);
                }
                Body::Point(PointChange::Freeze { .. }) => {}
                Body::Point(PointChange::Thaw { id }) => {
                    s.index.points.thaw(id, freed);
                    self.dissolving.insert(shard);
                }
            }
            s.last = entry.stamp;
        }
        s.committed = through;
    }

    /// Goes on with dissolving dropped points, so many chunks. What they held is free afterwards, and nothing else changes that anybody could see.
    pub(crate) fn dissolve(&mut self, chunks: u32) {
        let Some(&shard) = self.dissolving.first() else { return };
        let segments = &mut self.segments;
        let more = self.shards.get_mut(&shard).is_some_and(|s| {
            note(shard, s, &mut self.changed);
            s.index.points.dissolve(chunks, &mut |place, count| segments.forget(place, count))
        });
        if !more {
            self.dissolving.remove(&shard);
        }
    }

    /// Whether a dropped point may wait to be dissolved.
    pub(crate) fn is_dissolving(&self) -> bool {
        !self.dissolving.is_empty()
    }

    /// An entry of the log: commits what it says is committed, then does what it says.
    pub(crate) fn apply(&mut self, shard: ShardId, committed: Sequence, change: Change) {
        self.commit(shard, committed);
        match change {
            Change::Drop => return self.drop_shard(shard),
            Change::Move { block, place, froms, crcs, .. } => {
                if let Some(s) = self.shards.get_mut(&shard) {
                    note(shard, s, &mut self.changed);
                    relocate(s, &mut self.segments, (block, place), &froms, &crcs, self.mutation);
                }
                return;
            }
            _ => {}
        }
        let s = self.shards.entry(shard).or_default();
        note(shard, s, &mut self.changed);
        let segments = &mut self.segments;
        match change {
            Change::Data { stamp, block, place, crcs } => {
                let count = crcs.len() as u32;
                segments.name(place, count);
                insert(s, segments, Entry { stamp, block, body: Body::Data { places: Places::Run(place), crcs } });
            }
            Change::Trim { stamp, block, count } => {
                insert(s, segments, Entry { stamp, block, body: Body::Trim { count } });
            }
            Change::Point { stamp, change } => {
                insert(s, segments, Entry { stamp, block: 0, body: Body::Point(change) });
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
            Change::Restart { committed, keeps_marks } => {
                while let Some(entry) = s.window.pop_above(Sequence(0)) {
                    forget(segments, &entry);
                }
                s.index.points.forget_all(&mut |place, count| segments.forget(place, count));
                if !keeps_marks {
                    s.index.marks.forget_all();
                }
                s.committed = committed;
                s.last = Stamp { epoch: Epoch(0), sequence: committed };
            }
            Change::Mark(mark) => s.index.marks.make(mark),
            Change::Unmark => s.index.marks.forget_all(),
            Change::Register(register) => {
                if !relies(&register) {
                    self.suspects.remove(&shard);
                }
                s.register = Some(register);
            }
            Change::Drop | Change::Move { .. } => unreachable!("done above"),
        }
    }

    fn drop_shard(&mut self, shard: ShardId) {
        let Some(mut s) = self.shards.remove(&shard) else { return };
        self.dropped.push(shard);
        self.suspects.remove(&shard);
        if self.mutation.is(Mutant::DropLeaks) {
            return;
        }
        let segments = &mut self.segments;
        s.index.each_run(&mut |place, count| segments.forget(place, count));
        while let Some(entry) = s.window.pop_above(Sequence(0)) {
            forget(segments, &entry);
        }
    }

    /// Blocks that stand promised to all shards and their frozen points.
    pub(crate) fn promised_blocks(&self) -> u64 {
        self.shards.values().map(Shard::promised_blocks).sum()
    }

    /// Their names, in order.
    pub(crate) fn ids(&self) -> Vec<ShardId> {
        let mut ids: Vec<ShardId> = self.shards.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Says what changed since the last call.
    pub(crate) fn take_changes(&mut self, cutter: &mut Cutter) {
        let dropped = core::mem::take(&mut self.dropped);
        if !self.mutation.is(Mutant::DropForgotten) {
            dropped.into_iter().for_each(|id| cutter.gone(id));
        }
        let mut changed = core::mem::take(&mut self.changed);
        changed.sort_unstable();
        for id in changed {
            let Some(s) = self.shards.get_mut(&id).filter(|s| s.changed) else { continue };
            s.changed = false;
            if !self.mutation.is(Mutant::StateForgotten) {
                cutter.state(id, s);
            }
            for (number, bits) in s.index.take_changed() {
                cutter.chunk(id, number, s.index.chunk(number), bits);
            }
            for (point, changed) in s.index.points.take_changed() {
                for (number, bits) in changed {
                    cutter.kept(id, (point, number), s.index.points.kept_by(point, number), bits);
                }
            }
            let noted = s.index.marks.take_changed();
            let noted = noted.into_iter().filter(|_| !self.mutation.is(Mutant::NotesForgotten));
            for (since, changed) in noted {
                changed.into_iter().for_each(|(number, bits)| cutter.noted(id, since, number, bits));
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
        let named = s.index.next_named((0, s.index.now()), chunk);
        let number = named.into_iter().chain(s.index.marks.next_chunk(chunk)).min()?;
        cutter.chunk(id, number, s.index.chunk(number), u128::MAX);
        for point in s.index.points.listed().map(|point| point.stamp.sequence) {
            if let Some(kept) = s.index.points.kept_by(point, number) {
                cutter.kept(id, (point, number), Some(kept), u128::MAX);
            }
        }
        s.index.marks.of_chunk(number).for_each(|(since, bits)| cutter.noted(id, since, number, bits));
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
        for (&id, s) in self.shards.iter_mut() {
            s.index.take_changed();
            s.index.points.restored();
            s.index.marks.restored();
            if s.index.points.listed().any(|point| point.dropped) {
                self.dissolving.insert(id);
            }
            s.each_run(&mut |place, count| segments.name(place, count));
        }
    }

    /// Every run of places that anything of them names, with its segment, in no order that may be relied upon.
    pub(crate) fn each_named_run(&self, run: &mut impl FnMut(u32, u32)) {
        let geometry = self.segments.geometry();
        self.shards.values().for_each(|s| s.each_run(&mut |place, count| run(geometry.segment_of(place), count)));
    }

    /// For an inspection of what is broken: a block is known by nothing but the move that brought it here, out of the index or out of this point.
    pub(crate) fn adopt(&mut self, named: &Named, frozen_by: Sequence) {
        let &Named { shard, block, place, crc } = named;
        let index = &mut self.shards.entry(shard).or_default().index;
        let segments = &mut self.segments;
        if frozen_by == Sequence(0) {
            segments.name(place, 1);
            return index.relocate(block, place, &[crc], None, &mut |place, count| segments.forget(place, count));
        }
        let (number, block) = (block / CHUNK_BLOCKS, block % CHUNK_BLOCKS);
        if index.points.listed().any(|point| point.stamp.sequence == frozen_by) {
            segments.name(place, 1);
            let old = index.points.kept_by(frozen_by, number).and_then(|kept| kept.cells().get(block));
            old.into_iter().for_each(|old| segments.forget(old.place, 1));
            index.points.restore_kept(frozen_by, number, 0, &[(block, Cell { place, crc })]);
        }
    }

    /// Something of this shard is lost.
    pub(crate) fn suspect(&mut self, shard: ShardId) {
        self.suspects.insert(shard);
    }

    /// Something is lost, and nobody knows of whom.
    pub(crate) fn suspect_all(&mut self) {
        self.suspects.extend(self.shards.keys());
    }

    /// Recovery is over. Of the suspects those remain that will write down that they know: who has nothing or only a part has nothing to lose.
    pub(crate) fn settle_suspects(&mut self) {
        let shards = &self.shards;
        self.suspects.retain(|shard| {
            let register = shards.get(shard).and_then(|s| s.register.as_ref());
            register.is_some_and(|register| relies(register))
        });
    }

    /// Whether a suspect has not written down yet that it is one: a checkpoint would hide the damage from the next recovery.
    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Every shard that has a register, in order. A replica writes that first of all, so one without it never began.
    pub(crate) fn recovered(&self) -> Vec<Recovered> {
        let with_register = self.shards.iter().filter_map(|(&shard, s)| {
            let register = Register::clone(s.register.as_deref()?);
            Some(Recovered {
                shard,
                register,
                committed: s.committed,
                end: s.end(),
                points: s.index.points.iter().map(|point| (point.id, point.stamp)).collect(),
                marks: s.index.marks.row().to_vec(),
                suspect: self.suspects.contains(&shard),
            })
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
    if let Body::Data { places, crcs } = &entry.body {
        places.each_run(crcs.len() as u32, &mut |_, place, count| segments.forget(place, count));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::chunk::Cell;
    use crate::entry::Crcs;
    use base::VolumeId;

    pub(crate) const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };

    pub(crate) struct Bench {
        pub(crate) shards: Shards,
        pub(crate) geometry: Geometry,
    }

    pub(crate) fn bench() -> Bench {
        let geometry = Geometry::tiny(1 << 20);
        Bench { shards: Shards::new(geometry), geometry }
    }

    pub(crate) fn stamp(epoch: u64, sequence: u64) -> Stamp {
        Stamp { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    impl Bench {
        pub(crate) fn data(&mut self, epoch: u64, sequence: u64, block: u32, offset: u32) {
            let place = self.geometry.place(0, offset);
            let change = Change::Data { stamp: stamp(epoch, sequence), block, place, crcs: Crcs::One([offset]) };
            self.shards.apply(SHARD, Sequence(0), change);
        }
        pub(crate) fn trim(&mut self, sequence: u64, block: u32, count: u32) {
            self.shards.apply(SHARD, Sequence(0), Change::Trim { stamp: stamp(1, sequence), block, count });
        }
        pub(crate) fn commit(&mut self, through: u64) {
            self.shards.commit(SHARD, Sequence(through));
        }
        pub(crate) fn at(&self, block: u32) -> Option<u32> {
            let mut found = None;
            let place = |Cell { place, .. }| place - self.geometry.place(0, 0);
            self.shards.get(SHARD)?.index.each(block, 1, &mut |_, cell| found = cell.map(place));
            found
        }
        pub(crate) fn live(&self) -> u64 {
            self.shards.segments.live_blocks()
        }
        pub(crate) fn standing(&self) -> (u64, Stamp) {
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
        b.shards.apply(SHARD, Sequence(1), Change::Restart { committed: Sequence(20), keeps_marks: false });
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
