//! The committed blocks of one shard: from block number to place and checksum; now, and at its frozen points.

use crate::chunk::{Cell, Chunk, bits_of, mask};
use crate::chunks::Chunks;
use crate::frozen::Points;
use crate::marks::Marks;
use alloc::vec::Vec;
use base::log::Stamp;
use base::map::Map;
use base::{CHUNK_BLOCKS, Sequence};

/// The committed blocks of one shard.
#[derive(Debug, Default)]
pub(crate) struct Index {
    chunks: Chunks,
    /// Blocks of each chunk that changed since this was last taken, a bit each: what the next checkpoint must say.
    changed: Map<u32, u128>,
    /// What it was before; they keep what it loses.
    pub(crate) points: Points,
    /// Which blocks changed since when.
    pub(crate) marks: Marks,
}

/// Which of the states of an index: at the point of this place in the row, or now.
pub(crate) type At = usize;

/// Splits a row of blocks into (chunk, first block in the chunk, how many).
fn pieces(block: u32, count: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    let end = u64::from(block) + u64::from(count);
    let mut at = u64::from(block);
    core::iter::from_fn(move || {
        let chunk = at / u64::from(CHUNK_BLOCKS);
        let first = at % u64::from(CHUNK_BLOCKS);
        let len = (u64::from(CHUNK_BLOCKS) - first).min(end - at);
        at += len;
        (len > 0).then_some((chunk as u32, first as u32, len as u32))
    })
}

impl Index {
    /// Blocks from `block` on lie from `place` on. With a stamp, it becomes the version of the chunks.
    pub(crate) fn put(
        &mut self,
        block: u32,
        place: u32,
        crcs: &[u32],
        version: Option<Stamp>,
        freed: &mut impl FnMut(u32, u32),
    ) {
        self.note(block, crcs.len() as u32);
        let kept = if self.points.is_empty() { 0 } else { crcs.len() as u32 };
        for (number, first, len) in pieces(block, kept) {
            if let Some(chunk) = self.chunks.get_mut(number) {
                self.points.keep(number, mask(first, len), chunk);
            } else {
                self.points.keep(number, mask(first, len), &mut Chunk::empty());
            }
        }
        self.relocate(block, place, crcs, version, freed);
    }

    /// These blocks change, or would if they were written.
    fn note(&mut self, block: u32, count: u32) {
        let noted = if self.marks.is_empty() { 0 } else { count };
        for (number, first, len) in pieces(block, noted) {
            self.marks.note(number, mask(first, len));
        }
    }

    /// The same where the bytes of the blocks do not change, so that no point need keep what was there.
    pub(crate) fn relocate(
        &mut self,
        block: u32,
        place: u32,
        crcs: &[u32],
        version: Option<Stamp>,
        freed: &mut impl FnMut(u32, u32),
    ) {
        let mut done = 0;
        for (number, first, len) in pieces(block, crcs.len() as u32) {
            let chunk = self.chunks.entry(number);
            chunk.put(first, place + done, &crcs[done as usize..(done + len) as usize], freed);
            *self.changed.entry(number).or_insert(0) |= mask(first, len);
            if let Some(version) = version {
                chunk.touch(version);
            }
            done += len;
        }
    }

    /// These blocks are not written any more. A chunk without blocks is forgotten, its version with it.
    pub(crate) fn clear(&mut self, block: u32, count: u32, version: Option<Stamp>, freed: &mut impl FnMut(u32, u32)) {
        self.note(block, count);
        let end = u64::from(block) + u64::from(count);
        let mut at = u64::from(block);
        while at < end
            && let Some(next) = self.next_chunk((at / u64::from(CHUNK_BLOCKS)) as u32)
        {
            let from = at.max(u64::from(next) * u64::from(CHUNK_BLOCKS));
            if from >= end {
                return;
            }
            let first = (from % u64::from(CHUNK_BLOCKS)) as u32;
            let len = u64::from(CHUNK_BLOCKS - first).min(end - from);
            self.clear_in_chunk(next, first, len as u32, version, freed);
            at = from + len;
        }
    }

    fn clear_in_chunk(
        &mut self,
        number: u32,
        first: u32,
        len: u32,
        version: Option<Stamp>,
        freed: &mut impl FnMut(u32, u32),
    ) {
        let chunk = self.chunks.get_mut(number).expect("next_chunk found it");
        self.points.keep(number, mask(first, len) & chunk.present(), chunk);
        chunk.clear(first, len, freed);
        *self.changed.entry(number).or_insert(0) |= mask(first, len);
        if let Some(version) = version {
            chunk.touch(version);
        }
        if chunk.present() == 0 {
            self.chunks.remove(number);
        }
    }

    /// Makes a chunk what a checkpoint says it was. One without blocks is not kept.
    pub(crate) fn restore(
        &mut self,
        number: u32,
        version: Stamp,
        cleared: u128,
        cells: impl IntoIterator<Item = (u32, Cell)>,
    ) {
        let chunk = self.chunks.entry(number);
        chunk.restore(cleared, cells);
        chunk.touch(version);
        if chunk.present() == 0 {
            self.chunks.remove(number);
        }
    }

    /// A chunk, if anything of it is written.
    pub(crate) fn chunk(&self, number: u32) -> Option<&Chunk> {
        self.chunks.get(number)
    }

    /// The chunks that changed since the last call, in order, with a bit for each block that did.
    pub(crate) fn take_changed(&mut self) -> Vec<(u32, u128)> {
        let mut changed: Vec<(u32, u128)> = core::mem::take(&mut self.changed).into_iter().collect();
        changed.sort_unstable_by_key(|(number, _)| *number);
        changed
    }

    /// Shows each of these blocks in order, with its place and checksum if it is written.
    pub(crate) fn each(&self, block: u32, count: u32, show: &mut impl FnMut(u32, Option<Cell>)) {
        for (number, first, len) in pieces(block, count) {
            let chunk = self.chunks.get(number);
            for i in first..first + len {
                show(number * CHUNK_BLOCKS + i, chunk.and_then(|chunk| chunk.get(i)));
            }
        }
    }

    /// The state at a point.
    pub(crate) fn at(&self, point: base::PointId) -> Option<At> {
        self.points.find(point)
    }

    /// The state now.
    pub(crate) fn now(&self) -> At {
        self.points.len()
    }

    /// Shows each of these blocks as it was at a point, in order, with its place and checksum if it was written.
    pub(crate) fn each_at(&self, at: At, block: u32, count: u32, show: &mut impl FnMut(u32, Option<Cell>)) {
        if at == self.now() {
            return self.each(block, count, show);
        }
        for (number, first, len) in pieces(block, count) {
            let mut cells = [None; CHUNK_BLOCKS as usize];
            let mut open = mask(first, len);
            for kept in self.points.kept((at, self.now()), number) {
                bits_of(kept.covered() & open).for_each(|b| cells[b as usize] = kept.cells().get(b));
                open &= !kept.covered();
            }
            let chunk = self.chunks.get(number);
            bits_of(open).for_each(|b| cells[b as usize] = chunk.and_then(|chunk| chunk.get(b)));
            (first..first + len).for_each(|b| show(number * CHUNK_BLOCKS + b, cells[b as usize]));
        }
    }

    /// Which blocks of a chunk were written at a point.
    fn written_at(&self, at: At, number: u32) -> u128 {
        let (mut open, mut written) = (u128::MAX, 0);
        for kept in self.points.kept((at, self.now()), number) {
            written |= kept.cells().present() & open;
            open &= !kept.covered();
        }
        written | self.chunks.get(number).map_or(0, Chunk::present) & open
    }

    /// The first chunk, not below this one, of which blocks may differ between two states, and which blocks. Without the first state: which were written
    /// in the second.
    pub(crate) fn next_differing(&self, from: Option<At>, to: At, chunk: u32) -> Option<(u32, u128)> {
        let Some(from) = from else {
            let mut chunk = chunk;
            loop {
                let number = self.next_named((to, self.now()), chunk)?;
                match self.written_at(to, number) {
                    0 => chunk = number + 1,
                    written => return Some((number, written)),
                }
            }
        };
        let row = (from.min(to), from.max(to));
        let number = self.points.next_chunk(row, chunk)?;
        Some((number, self.points.kept(row, number).fold(0, |bits, kept| bits | kept.covered())))
    }

    /// The first chunk, not below this one, that is written now or of which one of these points keeps something.
    pub(crate) fn next_named(&self, row: (At, At), chunk: u32) -> Option<u32> {
        self.points.next_chunk(row, chunk).into_iter().chain(self.next_chunk(chunk)).min()
    }

    /// What changed since a mark, from this chunk on: chunks in order, with a bit for each block. None if there is no such mark.
    pub(crate) fn changed_since(&self, since: Sequence, chunk: u32) -> Option<impl Iterator<Item = (u32, u128)>> {
        Some(self.marks.since(self.marks.find(since)?, chunk))
    }

    /// Blocks that are written.
    pub(crate) fn written(&self) -> u32 {
        self.chunks.iter().map(|(_, chunk)| chunk.present().count_ones()).sum()
    }

    /// The first written block that is not below this one.
    pub(crate) fn next_written(&self, block: u32) -> Option<u32> {
        let mut chunk = self.next_chunk(block / CHUNK_BLOCKS)?;
        let mut below = if chunk == block / CHUNK_BLOCKS { block % CHUNK_BLOCKS } else { 0 };
        loop {
            let present = self.chunks.get(chunk).map_or(0, Chunk::present) >> below << below;
            if present != 0 {
                return Some(chunk * CHUNK_BLOCKS + present.trailing_zeros());
            }
            below = 0;
            chunk = self.next_chunk(chunk + 1)?;
        }
    }

    /// The first chunk that exists and is not below this one.
    pub(crate) fn next_chunk(&self, chunk: u32) -> Option<u32> {
        self.chunks.next(chunk)
    }

    /// The stamp of the last write or trim of a chunk.
    pub(crate) fn version(&self, chunk: u32) -> Option<Stamp> {
        self.chunks.get(chunk).map(Chunk::version)
    }

    /// Every block that it or a point names, in no order that may be relied upon.
    pub(crate) fn each_cell(&self, show: &mut impl FnMut(u32, Cell)) {
        for (number, chunk) in self.chunks.iter() {
            chunk.each_cell(&mut |block, cell| show(number * CHUNK_BLOCKS + block, cell));
        }
        self.points.each_cell(show);
    }

    /// Every run of places that it or a point names, in no order that may be relied upon.
    pub(crate) fn each_run(&self, run: &mut impl FnMut(u32, u32)) {
        self.chunks.iter().for_each(|(_, chunk)| chunk.each_run(run));
        self.points.each_run(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use base::{Epoch, Rng, Sequence};

    #[test]
    fn an_index_does_what_a_map_of_blocks_does() {
        // Near the top of what 32 bits number, so that overflow would show.
        for (seed, base_block) in (0..100).map(|seed| (seed, if seed % 2 == 0 { 0 } else { u32::MAX - 2000 })) {
            let mut rng = Rng::new(seed);
            let mut index = Index::default();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let mut live = 0i64;
            let mut place = 1;
            for step in 0..80 {
                let block = base_block + rng.below(1500) as u32;
                let count = rng.within(1, 300) as u32;
                let mut freed = |_, count| live -= i64::from(count);
                let version = Some(Stamp { epoch: Epoch(1), sequence: Sequence(step + 1) });
                if rng.chance(2, 3) {
                    let crcs: Vec<u32> = (place..place + count).collect();
                    index.put(block, place, &crcs, version, &mut freed);
                    live += i64::from(count);
                    model.extend((0..count).map(|i| (block + i, place + i)));
                    place += count;
                    assert_eq!(index.version(block / CHUNK_BLOCKS), version);
                } else {
                    index.clear(block, count, version, &mut freed);
                    (0..count).for_each(|i| {
                        model.remove(&(block + i));
                    });
                }
                assert_eq!(live, model.len() as i64, "seed {seed}");
                let from = base_block + rng.below(1500) as u32;
                let next = model.range(from..).next().map(|(&block, _)| block);
                assert_eq!(index.next_written(from), next, "seed {seed}");
                let mut named = 0;
                index.each_run(&mut |_, count| named += count);
                assert_eq!(named as usize, model.len());
                index.each(from, 300, &mut |block, cell| {
                    assert_eq!(cell, model.get(&block).map(|&p| Cell { place: p, crc: p }), "seed {seed}");
                });
            }
        }
    }

    #[test]
    fn clearing_the_widest_range_ends_and_leaves_nothing() {
        let mut index = Index::default();
        let mut freed = 0;
        for block in [0, 5_000_000, u32::MAX - 1] {
            index.put(block, 7, &[1], None, &mut |_, _| ());
        }
        assert_eq!(index.next_written(1), Some(5_000_000));
        index.clear(0, u32::MAX, None, &mut |_, n| freed += n);
        assert_eq!((freed, index.next_written(0)), (3, None));
        assert!(index.chunks.is_empty());
    }
}
