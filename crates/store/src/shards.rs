//! What the store knows of its shards, and the one function that changes it: the same for an entry that is appended
//! and for one that is replayed, so that what recovery finds is what was.

use crate::checkpoint::Cutter;
use crate::chunk::Cell;
use crate::entry::Change;
use crate::geometry::Geometry;
use crate::index::Index;
use crate::mutant::{Mutant, Mutation};
use crate::segments::Segments;
use crate::window::{Body, Entry, Places, Window};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use base::log::{Recovered, Register, Stamp, Standing};
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
    /// Where copies of a block lie that have this checksum: in the window, the newest first, then in the index.
    pub(crate) fn matching(&self, block: u32, crc: u32) -> impl Iterator<Item = Cell> + '_ {
        let mut committed = None;
        self.index.each(block, 1, &mut |_, cell| committed = cell);
        self.window.matching(block, crc).chain(committed.filter(|cell| cell.crc == crc))
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
    mutation: Mutation,
}

/// A block that an index or a window names: where it lies, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) shard: ShardId,
    pub(crate) block: u32,
    pub(crate) place: u32,
    pub(crate) crc: u32,
}

/// Whether a replica claims to have all that it acknowledged.
fn claims(register: &Register) -> bool {
    matches!(register.standing, Standing::Complete | Standing::Learned { .. })
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
            }
            s.last = entry.stamp;
        }
        s.committed = through;
    }

    /// An entry of the log: commits what it says is committed, then does what it says.
    pub(crate) fn apply(&mut self, shard: ShardId, committed: Sequence, change: Change) {
        self.commit(shard, committed);
        match change {
            Change::Drop => return self.drop_shard(shard),
            Change::Move { block, place, froms, crcs } => {
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
            Change::Register(register) => {
                if !claims(&register) {
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
        let segments = &mut self.segments;
        s.index.each_run(&mut |place, count| segments.forget(place, count));
        while let Some(entry) = s.window.pop_above(Sequence(0)) {
            forget(segments, &entry);
        }
    }

    /// Whether an index or a window names exactly that.
    pub(crate) fn names(&self, named: &Named) -> bool {
        let &Named { shard, block, place, crc } = named;
        self.get(shard).is_some_and(|s| s.matching(block, crc).any(|cell| cell.place == place))
    }

    /// Every block that an index or a window names within these places. Looks at all there is: for when there is no other way.
    pub(crate) fn named_within(&self, place: u32, count: u32) -> Vec<Named> {
        let mut all = Vec::new();
        for (&shard, s) in self.shards.iter() {
            let within = |cell: Cell| (place..place + count).contains(&cell.place);
            s.index.each_cell(&mut |block, cell| {
                if within(cell) {
                    all.push(Named { shard, block, place: cell.place, crc: cell.crc });
                }
            });
            let cells = s.window.above(Sequence(0)).flat_map(Entry::cells).filter(|(_, cell)| within(*cell));
            all.extend(cells.map(|(block, cell)| Named { shard, block, place: cell.place, crc: cell.crc }));
        }
        all
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
                if let Body::Data { places, crcs } = &entry.body {
                    places.each_run(crcs.len() as u32, &mut |_, place, count| segments.name(place, count));
                }
            }
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
            register.is_some_and(|register| claims(register))
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

/// Blocks from `block` on were written again from `place` on. Each that is still where it was moved from, in the index or the window, lies there from now on;
/// the new places of the others are named by nobody. What lies one behind the other stays a run.
fn relocate(
    s: &mut Shard,
    segments: &mut Segments,
    (block, place): (u32, u32),
    froms: &[u32],
    crcs: &[u32],
    mutation: Mutation,
) {
    let in_index = |s: &Shard, i: usize| {
        let mut named = None;
        s.index.each(block + i as u32, 1, &mut |_, cell| named = cell);
        named == Some(Cell { place: froms[i], crc: crcs[i] }) || named.is_some() && mutation.is(Mutant::MovedAnyway)
    };
    let mut i = 0;
    while i < crcs.len() {
        let run = (i..crcs.len()).take_while(|&i| in_index(s, i)).count();
        let (first, to) = (block + i as u32, place + i as u32);
        if run > 0 {
            segments.name(to, run as u32);
            s.index.put(first, to, &crcs[i..i + run], None, &mut |place, count| segments.forget(place, count));
            i += run;
        } else {
            if s.window.relocate(first, Cell { place: froms[i], crc: crcs[i] }, to) {
                segments.name(to, 1);
                segments.forget(froms[i], 1);
            }
            i += 1;
        }
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

    impl Bench {
        /// Moves blocks from `block` on, which lie at these offsets with these checksums, to offset `to` and behind.
        fn relocate(&mut self, block: u32, to: u32, from: &[(u32, u32)]) {
            let place = |offset| self.geometry.place(0, offset);
            let froms = from.iter().map(|&(offset, _)| place(offset)).collect();
            let crcs = from.iter().map(|&(_, crc)| crc).collect();
            let change = Change::Move { block, place: place(to), froms, crcs };
            self.shards.apply(SHARD, self.shards.committed(SHARD), change);
        }
    }

    #[test]
    fn a_move_takes_the_blocks_that_are_still_where_it_found_them() {
        let mut b = bench();
        (1..=4).for_each(|n| b.data(1, u64::from(n), 6 + n, n));
        b.commit(4);
        let version = |b: &Bench| b.shards.get(SHARD).unwrap().index.version(0);
        let before = version(&b);
        // 7 is where it was; of 8 the place is another, of 9 the checksum, 10 is trimmed meanwhile, and 11 was never written.
        b.trim(5, 10, 1);
        b.commit(5);
        b.relocate(7, 9, &[(1, 1), (1, 2), (3, 4), (4, 4), (5, 5)]);
        assert_eq!([7, 8, 9, 10, 11].map(|block| b.at(block)), [Some(9), Some(2), Some(3), None, None]);
        assert_eq!((b.live(), version(&b).unwrap().sequence), (3, Sequence(5)));
        assert_eq!(before.unwrap().sequence, Sequence(4));
        b.relocate(7, 5, &[(9, 1), (2, 2), (3, 3)]);
        assert_eq!([7, 8, 9].map(|block| b.at(block)), [Some(5), Some(6), Some(7)]);
        assert_eq!((b.live(), version(&b).unwrap().sequence), (3, Sequence(5)), "a move is no write");
    }

    #[test]
    fn a_move_in_the_window_keeps_its_entry_and_goes_into_the_index_with_it() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.commit(1);
        let place = b.geometry.place(0, 2);
        let crcs = Crcs::Many([2, 3, 4].into());
        let change = Change::Data { stamp: stamp(1, 2), block: 6, place, crcs };
        b.shards.apply(SHARD, Sequence(1), change);
        b.relocate(6, 9, &[(1, 1), (3, 3)]);
        assert_eq!((b.at(7), b.live()), (Some(1), 4), "the committed block has another checksum and stays");
        b.commit(2);
        assert_eq!(([6, 7, 8].map(|block| b.at(block)), b.live()), ([Some(2), Some(10), Some(4)], 3));
        assert_eq!(b.standing(), (2, stamp(1, 2)));
        // An entry that was moved and then cut frees what it names now.
        let crcs = Crcs::Many([5, 6].into());
        let place = b.geometry.place(0, 5);
        b.shards.apply(SHARD, Sequence(2), Change::Data { stamp: stamp(1, 3), block: 0, place, crcs });
        b.relocate(1, 11, &[(6, 6)]);
        b.shards.apply(SHARD, Sequence(2), Change::Cut { above: Sequence(2) });
        assert_eq!((b.at(0), b.live()), (None, 3));
    }

    #[test]
    fn a_move_of_a_shard_that_is_gone_brings_nothing_back() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.shards.apply(SHARD, Sequence(1), Change::Drop);
        b.relocate(7, 2, &[(1, 1)]);
        assert!((b.live(), b.shards.get(SHARD).is_none()) == (0, true));
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
