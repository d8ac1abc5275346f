//! The frozen points of one shard: what its index was at certain moments.
//!
//! ```text
//!   oldest point        newer point         newest point        live index
//!   [kept blocks] ----> [kept blocks] ----> [kept blocks] ----> [all that is written]
//!        a block through a point is what the first of these says of it, from that point rightwards
//! ```
//!
//! Freezing copies nothing: a point begins empty. From then on a block that the live index loses, or that is written where nothing was, is *kept* in the newest
//! point: its cell, or that there was none. What a newer point keeps an older one need not, since it reads through it. So each place is named exactly once,
//! by the live index or by one point, and the counts of live blocks in segments stay exact.
//!
//! A dropped point leaves to the next older one what that does not keep itself, and forgets the rest. That takes as long as what it keeps is long, so it is done
//! a few chunks at a time: until then the point stays in the row, without a name, so that older ones go on reading through it.
//!
//! A shard without points pays for one empty list.

use crate::chunk::{Cell, Chunk, bits_of};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::log::{POINTS_MAX, Stamp};
use base::map::Map;
use base::{CHUNK_BLOCKS, PointId, Sequence};

/// The blocks of one chunk that a point keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Bit n: block n is kept, with a cell or as one that was not written.
    covered: [u64; 2],
    cells: Chunk,
}

/// One frozen point.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) id: PointId,
    /// Of the entry that froze it. Its sequence tells the points of a shard apart, also two that had the same name.
    pub(crate) stamp: Stamp,
    /// It has no name any more, and is being dissolved.
    pub(crate) dropped: bool,
    kept: BTreeMap<u32, Kept>,
    /// Blocks that it names.
    held: u64,
    /// Blocks of each chunk that changed in it since this was last taken, a bit each: what the next checkpoint must say.
    changed: Map<u32, u128>,
}

/// A point as a checkpoint lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: PointId,
    pub(crate) stamp: Stamp,
    pub(crate) dropped: bool,
}

/// Points in a row, dropped ones included: beyond that a dropped one is dissolved at once.
pub(crate) const ROW_MAX: usize = 2 * POINTS_MAX;

/// All of a shard's, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Points {
    list: Vec<Point>,
}

impl Kept {
    fn nothing() -> Self {
        Self { covered: [0; 2], cells: Chunk::empty() }
    }

    /// Which blocks it keeps, a bit each.
    pub(crate) fn covered(&self) -> u128 {
        u128::from(self.covered[0]) | u128::from(self.covered[1]) << 64
    }

    /// The cells of those that were written.
    pub(crate) fn cells(&self) -> &Chunk {
        &self.cells
    }

    fn cover(&mut self, bits: u128) {
        let bits = self.covered() | bits;
        self.covered = [bits as u64, (bits >> 64) as u64];
    }

    /// Takes these blocks out of a chunk. Gives how many of them were written.
    fn take(&mut self, bits: u128, from: &mut Chunk) -> u32 {
        self.cover(bits);
        let written = bits & from.present();
        if written == 0 {
            return 0;
        }
        if self.cells.present() == 0 && written == from.present() {
            self.cells.swap_blocks(from);
            return written.count_ones();
        }
        let mut row: (u32, u32, Vec<u32>) = (0, 0, Vec::new());
        for block in bits_of(written) {
            let Cell { place, crc } = from.get(block).expect("it is written");
            let (first, at, crcs) = &mut row;
            let len = crcs.len() as u32;
            if len > 0 && (*first + len, *at + len) != (block, place) {
                self.cells.put(*first, *at, crcs, &mut |_, _| ());
                crcs.clear();
            }
            if crcs.is_empty() {
                (*first, *at) = (block, place);
            }
            crcs.push(crc);
        }
        self.cells.put(row.0, row.1, &row.2, &mut |_, _| ());
        from.clear_bits(written);
        written.count_ones()
    }
}

impl Point {
    fn new(Listed { id, stamp, dropped }: Listed) -> Self {
        Self { id, stamp, dropped, kept: BTreeMap::new(), held: 0, changed: Map::default() }
    }

    /// Blocks that it alone names.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    fn take(&mut self, number: u32, bits: u128, from: &mut Chunk) {
        let kept = self.kept.entry(number).or_insert_with(Kept::nothing);
        let fresh = bits & !kept.covered();
        if fresh != 0 {
            self.held += u64::from(kept.take(fresh, from));
            *self.changed.entry(number).or_insert(0) |= fresh;
        }
    }
}

impl Points {
    /// Freezes what the index is now.
    pub(crate) fn freeze(&mut self, id: PointId, stamp: Stamp) {
        if self.find(id).is_none() && self.iter().count() < POINTS_MAX {
            self.list.push(Point::new(Listed { id, stamp, dropped: false }));
        }
    }

    /// Drops a point, which is dissolved bit by bit. Says of each place that is no longer named already.
    pub(crate) fn thaw(&mut self, id: PointId, freed: &mut impl FnMut(u32, u32)) {
        let Some(at) = self.find(id) else { return };
        self.list[at].dropped = true;
        if self.list[at].kept.is_empty() {
            self.list.remove(at);
        }
        while self.list.len() >= ROW_MAX {
            self.dissolve(u32::MAX, freed);
        }
    }

    /// Goes on with dissolving dropped points, so many chunks of the oldest. False if there was none. Says of each place that is no longer named.
    pub(crate) fn dissolve(&mut self, chunks: u32, freed: &mut impl FnMut(u32, u32)) -> bool {
        // All before the first that was dropped have a name, so the next older one is the heir.
        let Some(at) = self.list.iter().position(|point| point.dropped) else { return false };
        let (before, from) = self.list.split_at_mut(at);
        let (point, mut heir) = (&mut from[0], before.last_mut());
        for _ in 0..chunks {
            let Some((number, mut kept)) = point.kept.pop_first() else { break };
            point.held -= u64::from(kept.cells.present().count_ones());
            if let Some(heir) = &mut heir {
                heir.take(number, kept.covered(), &mut kept.cells);
            }
            kept.cells.each_run(freed);
            point.changed.insert(number, u128::MAX);
        }
        if point.kept.is_empty() {
            self.list.remove(at);
        }
        true
    }

    /// Drops all. Says of each place that is no longer named.
    pub(crate) fn forget_all(&mut self, freed: &mut impl FnMut(u32, u32)) {
        core::mem::take(self).each_run(freed);
    }

    /// These blocks of a chunk are about to change in the live index: what of them is not kept yet moves out of it into the newest point. What a dropped one
    /// behind that keeps is what that reads, so nobody reads what is lost now.
    pub(crate) fn keep(&mut self, number: u32, mut bits: u128, live: &mut Chunk) {
        for point in self.list.iter_mut().rev() {
            if !point.dropped {
                return point.take(number, bits, live);
            }
            bits &= !point.kept.get(&number).map_or(0, Kept::covered);
        }
    }

    /// Where a point stands in the row.
    pub(crate) fn find(&self, id: PointId) -> Option<usize> {
        self.list.iter().position(|point| point.id == id && !point.dropped)
    }

    /// Those that have a name, the oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.list.iter().filter(|point| !point.dropped)
    }

    /// All in the row, as a checkpoint lists them.
    pub(crate) fn listed(&self) -> impl Iterator<Item = Listed> + '_ {
        self.list.iter().map(|&Point { id, stamp, dropped, .. }| Listed { id, stamp, dropped })
    }

    /// Blocks that all of them hold but the newest that has a name.
    pub(crate) fn held_by_others(&self) -> u64 {
        self.list.iter().map(Point::held).sum::<u64>() - self.iter().next_back().map_or(0, Point::held)
    }

    fn by(&self, frozen_by: Sequence) -> Option<usize> {
        self.list.iter().position(|point| point.stamp.sequence == frozen_by)
    }

    /// What points from the place `from` of the row up to `to` keep of a chunk, the oldest first.
    pub(crate) fn kept(&self, (from, to): (usize, usize), number: u32) -> impl Iterator<Item = &Kept> {
        self.list[from..to].iter().filter_map(move |point| point.kept.get(&number))
    }

    /// Whether none is in the row.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are in the row.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The first chunk of which one of these points keeps something and that is not below this one.
    pub(crate) fn next_chunk(&self, (from, to): (usize, usize), chunk: u32) -> Option<u32> {
        let next = |point: &Point| point.kept.range(chunk..).next().map(|(number, _)| *number);
        self.list[from..to].iter().filter_map(next).min()
    }

    /// Which of them keeps a block so: the sequence that froze it.
    pub(crate) fn holder(&self, number: u32, block: u32, cell: Cell) -> Option<Sequence> {
        let holds = |point: &&Point| point.kept.get(&number).is_some_and(|kept| kept.cells.get(block) == Some(cell));
        self.list.iter().find(holds).map(|point| point.stamp.sequence)
    }

    /// The copies of a block that they keep, the newest first.
    pub(crate) fn copies(&self, number: u32, block: u32) -> impl Iterator<Item = Cell> + '_ {
        self.list.iter().rev().filter_map(move |point| point.kept.get(&number)?.cells.get(block))
    }

    /// The copy of a block that lies so lies at `place` from now on. False if none of them keeps it.
    pub(crate) fn relocate(&mut self, number: u32, block: u32, from: Cell, place: u32) -> bool {
        for point in &mut self.list {
            if let Some(kept) = point.kept.get_mut(&number)
                && kept.cells.get(block) == Some(from)
            {
                kept.cells.put(block, place, &[from.crc], &mut |_, _| ());
                *point.changed.entry(number).or_insert(0) |= 1 << block;
                return true;
            }
        }
        false
    }

    /// Every block that they name, in no order that may be relied upon.
    pub(crate) fn each_cell(&self, show: &mut impl FnMut(u32, Cell)) {
        for (number, kept) in self.list.iter().flat_map(|point| &point.kept) {
            kept.cells.each_cell(&mut |block, cell| show(number * CHUNK_BLOCKS + block, cell));
        }
    }

    /// Every run of places that they name.
    pub(crate) fn each_run(&self, run: &mut impl FnMut(u32, u32)) {
        self.list.iter().flat_map(|point| point.kept.values()).for_each(|kept| kept.cells.each_run(run));
    }

    /// What changed in each since the last call: by what it was frozen, and chunks in order, with a bit for each block that did.
    pub(crate) fn take_changed(&mut self) -> Vec<(Sequence, Vec<(u32, u128)>)> {
        let take = |point: &mut Point| {
            let mut changed: Vec<(u32, u128)> = core::mem::take(&mut point.changed).into_iter().collect();
            changed.sort_unstable_by_key(|(number, _)| *number);
            (point.stamp.sequence, changed)
        };
        self.list.iter_mut().map(take).collect()
    }

    /// What a point keeps of a chunk.
    pub(crate) fn kept_by(&self, frozen_by: Sequence, number: u32) -> Option<&Kept> {
        self.list[self.by(frozen_by)?].kept.get(&number)
    }

    /// Makes them those that a checkpoint lists. What those of them keep that were known before they go on keeping.
    pub(crate) fn restore(&mut self, list: Vec<Listed>) {
        let mut old = core::mem::take(&mut self.list);
        let point = |listed: Listed| match old.iter().position(|point| point.stamp == listed.stamp) {
            Some(at) => Point { dropped: listed.dropped, ..old.swap_remove(at) },
            None => Point::new(listed),
        };
        self.list = list.into_iter().map(point).collect();
    }

    /// Makes a point keep what a checkpoint says it kept of a chunk: these blocks as ones that were not written, and these cells; or, if that is nothing, nothing of it. A base that was written while
    /// points came and went may tell of one that it did not list; the deltas behind it say all of that one again, or that it is gone.
    pub(crate) fn restore_kept(&mut self, frozen_by: Sequence, number: u32, absent: u128, cells: &[(u32, Cell)]) {
        let Some(at) = self.by(frozen_by) else { return };
        if absent == 0 && cells.is_empty() {
            self.list[at].kept.remove(&number);
            return;
        }
        let kept = self.list[at].kept.entry(number).or_insert_with(Kept::nothing);
        kept.cover(cells.iter().fold(absent, |bits, (block, _)| bits | 1 << block));
        kept.cells.restore(absent, cells.iter().copied());
    }

    /// For an inspection of what is broken: adds what `told` knows of these points and of others, which it knows from the log alone. Of two copies of a block that
    /// the same point keeps the one in the later batch was moved there.
    pub(crate) fn merge(&mut self, told: &Self, batch_of: &impl Fn(u32) -> Option<u64>) {
        for theirs in &told.list {
            let (id, stamp, dropped) = (theirs.id, theirs.stamp, theirs.dropped);
            let at = self.by(stamp.sequence).unwrap_or_else(|| {
                let at = self.list.partition_point(|point| point.stamp < stamp);
                self.list.insert(at, Point::new(Listed { id, stamp, dropped }));
                at
            });
            self.list[at].dropped |= dropped;
            for (number, kept) in &theirs.kept {
                let mine = self.list[at].kept.entry(*number).or_insert_with(Kept::nothing);
                let absent = kept.covered() & !kept.cells.present() & !mine.covered();
                let is_later = |block: u32, cell: Cell| {
                    let old = mine.cells.get(block);
                    old.map_or(mine.covered() >> block & 1 == 0, |old| batch_of(old.place) < batch_of(cell.place))
                };
                let mut later = Vec::new();
                kept.cells.each_cell(&mut |block, cell| {
                    if is_later(block, cell) {
                        later.push((block, cell));
                    }
                });
                if absent != 0 || !later.is_empty() {
                    self.restore_kept(stamp.sequence, *number, absent, &later);
                }
            }
        }
    }

    /// All was restored, and none of it is news.
    pub(crate) fn restored(&mut self) {
        for point in &mut self.list {
            point.changed.clear();
            point.held = point.kept.values().map(|kept| u64::from(kept.cells.present().count_ones())).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Cutter, record};
    use crate::entry::{Change, Crcs};
    use crate::geometry::Geometry;
    use crate::shards::Shards;
    use base::log::PointChange;
    use base::{Epoch, Rng, ShardId, VolumeId};

    const S: ShardId = ShardId { volume: VolumeId(1), index: 0 };
    /// Blocks of the shard: of a few chunks, so that points are dissolved in several steps.
    const BLOCKS: u32 = 6 * CHUNK_BLOCKS;

    type Blocks = BTreeMap<u32, u32>;

    /// Shards, what they must hold written down the simplest way, and the checkpoint that is made of them meanwhile.
    struct World {
        rng: Rng,
        geometry: Geometry,
        shards: Shards,
        sequence: u64,
        place: u32,
        now: Blocks,
        points: Vec<(PointId, Blocks)>,
        base: Vec<Vec<u8>>,
        deltas: Vec<Vec<u8>>,
        /// A base under way: what it said, its next chunk, and how many deltas there were when it was begun.
        next_base: Option<(Cutter, Option<u32>, usize)>,
    }

    /// Every block as it is at one place of the row, and all that is named.
    fn blocks_at(shards: &Shards, at: usize) -> Blocks {
        let mut blocks = Blocks::new();
        let Some(s) = shards.get(S) else { return blocks };
        s.index.each_at(at, 0, BLOCKS, &mut |block, cell| {
            blocks.extend(cell.map(|cell| (block, cell.crc)));
        });
        blocks
    }

    fn named(shards: &Shards) -> Vec<(u32, u32)> {
        let mut named = Vec::new();
        shards.get(S).into_iter().for_each(|s| s.index.each_cell(&mut |_, cell| named.push((cell.place, cell.crc))));
        named.sort_unstable();
        named
    }

    impl World {
        fn new(seed: u64) -> Self {
            let geometry = Geometry::tiny(64 << 20);
            Self {
                rng: Rng::new(seed),
                geometry,
                shards: Shards::new(geometry),
                sequence: 0,
                place: 0,
                now: Blocks::new(),
                points: Vec::new(),
                base: Vec::new(),
                deltas: Vec::new(),
                next_base: None,
            }
        }

        fn apply(&mut self, change: impl FnOnce(Stamp) -> Change) {
            self.sequence += 1;
            let stamp = Stamp { epoch: Epoch(1), sequence: Sequence(self.sequence) };
            self.shards.apply(S, Sequence(0), change(stamp));
            self.shards.commit(S, stamp.sequence);
        }

        /// A place for so many blocks, which no other ever had.
        fn take_place(&mut self, count: u32) -> u32 {
            let per = self.geometry.segment_blocks();
            if self.place % per + count > per {
                self.place = self.place.next_multiple_of(per);
            }
            let place = self.geometry.place(self.place / per, self.place % per);
            self.place += count;
            place
        }

        fn act(&mut self) {
            let block = self.rng.below(u64::from(BLOCKS - 9)) as u32;
            let count = self.rng.within(1, 8) as u32;
            let id = PointId(self.rng.below(5));
            match self.rng.below(20) {
                0..=8 => {
                    let place = self.take_place(count);
                    let crcs: Crcs = (place..place + count).collect();
                    self.now.extend((block..).zip(place..place + count));
                    if self.rng.chance(1, 5) {
                        return self.shards.apply(S, Sequence(0), Change::Copy { block, place, crcs });
                    }
                    self.apply(|stamp| Change::Data { stamp, block, place, crcs });
                }
                9 | 10 => {
                    let count = count * 20;
                    self.now.retain(|b, _| !(block..block + count).contains(b));
                    self.apply(|stamp| Change::Trim { stamp, block, count });
                }
                11 | 12 => {
                    if self.points.iter().all(|point| point.0 != id) {
                        self.points.push((id, self.now.clone()));
                    }
                    self.apply(|stamp| Change::Point { stamp, change: PointChange::Freeze { id } });
                }
                13 => {
                    self.points.retain(|point| point.0 != id);
                    self.apply(|stamp| Change::Point { stamp, change: PointChange::Thaw { id } });
                }
                14 | 15 => self.relocate(),
                16 if self.rng.chance(1, 20) => {
                    self.points.clear();
                    let committed = Sequence(self.sequence);
                    self.shards.apply(S, Sequence(0), Change::Restart { committed, keeps_marks: false });
                }
                _ => self.shards.dissolve(1),
            }
        }

        /// Moves one block of whatever is named.
        fn relocate(&mut self) {
            let all = self.shards.named_within(0, u32::MAX);
            let Some(&named) = self.rng.pick(&all) else { return };
            let place = self.take_place(1);
            let (frozen_by, froms) = (self.shards.frozen_by(&named), [named.place].into());
            let crcs = Crcs::One([named.crc]);
            let change = Change::Move { frozen_by, block: named.block, place, froms, crcs };
            self.shards.apply(S, Sequence(0), change);
        }

        /// A delta, and with luck a base that is begun or comes to its end; then what a recovery would find.
        fn checkpoint(&mut self) {
            let mut cutter = Cutter::new(8192 + 4096);
            self.shards.take_changes(&mut cutter);
            if self.next_base.as_ref().is_some_and(|(_, at, _)| *at == Some(u32::MAX)) {
                let (mut base, _, from) = self.next_base.take().expect("just looked");
                self.base = base.take(false);
                self.deltas.drain(..from);
            }
            self.deltas.extend(cutter.take(false));
            if self.next_base.is_none() && self.rng.chance(1, 3) {
                self.next_base = Some((Cutter::new(8192 + 4096), None, self.deltas.len()));
            }
            let mut loaded = Shards::new(self.geometry);
            for body in self.base.iter().chain(&self.deltas) {
                record::apply(&mut loaded, &self.geometry, body).expect("it was written so");
            }
            loaded.restored();
            assert_eq!(named(&loaded), named(&self.shards));
            assert_eq!(loaded.segments.live_blocks(), self.shards.segments.live_blocks());
            let listed = |shards: &Shards| shards.get(S).map(|s| s.index.points.listed().collect::<Vec<_>>());
            assert_eq!(listed(&loaded), listed(&self.shards));
            let held = |shards: &Shards| shards.get(S).map(|s| s.index.points.held_by_others());
            assert_eq!(held(&loaded), held(&self.shards));
            for at in 0..=listed(&loaded).map_or(0, |row| row.len()) {
                assert_eq!(blocks_at(&loaded, at), blocks_at(&self.shards, at));
            }
        }

        /// The base goes on by a chunk.
        fn tell(&mut self) {
            let Some((cutter, at, _)) = &mut self.next_base else { return };
            if *at != Some(u32::MAX) {
                *at = Some(self.shards.tell(S, *at, cutter).unwrap_or(u32::MAX));
            }
        }

        fn check(&self) {
            let Some(s) = self.shards.get(S) else { return };
            let ids: Vec<PointId> = s.index.points.iter().map(|point| point.id).collect();
            assert_eq!(ids, self.points.iter().map(|point| point.0).collect::<Vec<_>>());
            assert_eq!(blocks_at(&self.shards, s.index.now()), self.now);
            let mut versions: Vec<u32> = self.now.values().copied().collect();
            for (id, blocks) in &self.points {
                assert_eq!(blocks_at(&self.shards, s.index.at(*id).expect("it stands")), *blocks);
                versions.extend(blocks.values());
            }
            versions.sort_unstable();
            versions.dedup();
            let named: Vec<u32> = named(&self.shards).iter().map(|(_, crc)| *crc).collect();
            let is_in = |version: &u32| named.contains(version);
            assert!(versions.iter().all(is_in), "a version that somebody reads is named");
            assert_eq!(named.len() as u64, self.shards.segments.live_blocks(), "each place is named once");
            if s.index.points.listed().all(|point| !point.dropped) {
                assert_eq!(named.len(), versions.len(), "and none that nobody reads");
            }
        }
    }

    #[test]
    fn points_do_what_copies_of_the_whole_index_do_and_so_do_those_that_a_checkpoint_tells_of() {
        let mut dropped = 0;
        for seed in 0..60 {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.act();
                world.check();
                if world.rng.chance(1, 3) {
                    world.tell();
                }
                if world.rng.chance(1, 8) {
                    let row = world.shards.get(S).map_or(0, |s| s.index.points.listed().filter(|p| p.dropped).count());
                    dropped += row;
                    world.checkpoint();
                }
            }
        }
        assert!(dropped > 200, "points are rarely half dissolved when a checkpoint is made: {dropped}");
    }

    #[test]
    fn dropped_points_do_not_pile_up() {
        let mut points = Points::default();
        let stamp = |n: u64| Stamp { epoch: Epoch(1), sequence: Sequence(n) };
        for n in 0..1000 {
            let mut live = Chunk::empty();
            points.freeze(PointId(n), stamp(n + 1));
            points.keep(n as u32, 1, &mut live);
            points.thaw(PointId(n), &mut |_, _| ());
            assert!(points.len() < ROW_MAX);
        }
        assert!(points.len() > POINTS_MAX, "{} are left to be dissolved", points.len());
    }
}
