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
//! by the live index or by one point, and the counts of live blocks in segments stay exact. A dropped point leaves to the next older one what that does
//! not keep itself, and forgets the rest.
//!
//! A shard without points pays for one empty list.

use crate::chunk::{Cell, Chunk, bits_of};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::CHUNK_BLOCKS;
use base::PointId;
use base::log::{POINTS_MAX, Stamp};
use base::map::Map;

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
    /// Of the entry that froze it.
    pub(crate) stamp: Stamp,
    kept: BTreeMap<u32, Kept>,
    /// Blocks that it names.
    held: u64,
    /// Blocks of each chunk that changed in it since this was last taken, a bit each: what the next checkpoint must say.
    changed: Map<u32, u128>,
}

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
    fn new(id: PointId, stamp: Stamp) -> Self {
        Self { id, stamp, kept: BTreeMap::new(), held: 0, changed: Map::default() }
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
        if self.find(id).is_none() && self.list.len() < POINTS_MAX {
            self.list.push(Point::new(id, stamp));
        }
    }

    /// Drops a point. Says of each place that is no longer named.
    pub(crate) fn thaw(&mut self, id: PointId, freed: &mut impl FnMut(u32, u32)) {
        let Some(at) = self.find(id) else { return };
        let mut older = at.checked_sub(1);
        for (number, mut kept) in self.list.remove(at).kept {
            let heir = older.as_mut().map(|older| &mut self.list[*older]);
            if let Some(heir) = heir {
                heir.take(number, kept.covered(), &mut kept.cells);
            }
            kept.cells.each_run(freed);
        }
    }

    /// Drops all. Says of each place that is no longer named.
    pub(crate) fn forget_all(&mut self, freed: &mut impl FnMut(u32, u32)) {
        core::mem::take(self).each_run(freed);
    }

    /// These blocks of a chunk are about to change in the live index: what of them is not kept yet moves out of it into the newest point.
    pub(crate) fn keep(&mut self, number: u32, bits: u128, live: &mut Chunk) {
        if let Some(newest) = self.list.last_mut() {
            newest.take(number, bits, live);
        }
    }

    /// Where a point stands in the row.
    pub(crate) fn find(&self, id: PointId) -> Option<usize> {
        self.list.iter().position(|point| point.id == id)
    }

    /// The oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.list.iter()
    }

    /// What points from the place `from` of the row up to `to` keep of a chunk, the oldest first.
    pub(crate) fn kept(&self, (from, to): (usize, usize), number: u32) -> impl Iterator<Item = &Kept> {
        self.list[from..to].iter().filter_map(move |point| point.kept.get(&number))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The first chunk of which one of these points keeps something and that is not below this one.
    pub(crate) fn next_chunk(&self, (from, to): (usize, usize), chunk: u32) -> Option<u32> {
        let next = |point: &Point| point.kept.range(chunk..).next().map(|(number, _)| *number);
        self.list[from..to].iter().filter_map(next).min()
    }

    /// Which of them keeps a block so.
    pub(crate) fn holder(&self, number: u32, block: u32, cell: Cell) -> Option<PointId> {
        let holds = |point: &&Point| point.kept.get(&number).is_some_and(|kept| kept.cells.get(block) == Some(cell));
        self.list.iter().find(holds).map(|point| point.id)
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

    /// What changed in each since the last call: its name, and chunks in order, with a bit for each block that did.
    pub(crate) fn take_changed(&mut self) -> Vec<(PointId, Vec<(u32, u128)>)> {
        let take = |point: &mut Point| {
            let mut changed: Vec<(u32, u128)> = core::mem::take(&mut point.changed).into_iter().collect();
            changed.sort_unstable_by_key(|(number, _)| *number);
            (point.id, changed)
        };
        self.list.iter_mut().map(take).collect()
    }

    /// What a point keeps of a chunk.
    pub(crate) fn kept_by(&self, id: PointId, number: u32) -> Option<&Kept> {
        self.list[self.find(id)?].kept.get(&number)
    }

    /// Makes them those that a checkpoint lists. One of the same name that another entry froze is another point.
    pub(crate) fn restore(&mut self, list: Vec<(PointId, Stamp)>) {
        let mut old = core::mem::take(&mut self.list);
        let mut point = |(id, stamp)| {
            let at = old.iter().position(|point| (point.id, point.stamp) == (id, stamp));
            at.map_or_else(|| Point::new(id, stamp), |at| old.swap_remove(at))
        };
        self.list = list.into_iter().map(&mut point).collect();
    }

    /// Makes a point keep what a checkpoint says it kept of a chunk: these blocks as ones that were not written, and these cells. A base that was written while
    /// points came and went may tell of one that it did not list; the deltas behind it say all of that one again, or that it is gone.
    pub(crate) fn restore_kept(&mut self, id: PointId, number: u32, absent: u128, cells: &[(u32, Cell)]) {
        let Some(at) = self.find(id) else { return };
        let kept = self.list[at].kept.entry(number).or_insert_with(Kept::nothing);
        kept.cover(cells.iter().fold(absent, |bits, (block, _)| bits | 1 << block));
        kept.cells.restore(absent, cells.iter().copied());
    }

    /// For an inspection of what is broken: adds what `told` knows of these points and of others, which it knows from the log alone. Of two copies of a block that
    /// the same point keeps the one in the later batch was moved there.
    pub(crate) fn merge(&mut self, told: &Self, batch_of: &impl Fn(u32) -> Option<u64>) {
        for theirs in &told.list {
            let at = self.find(theirs.id).unwrap_or_else(|| {
                let at = self.list.partition_point(|point| point.stamp < theirs.stamp);
                self.list.insert(at, Point::new(theirs.id, theirs.stamp));
                at
            });
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
                self.restore_kept(theirs.id, *number, absent, &later);
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
