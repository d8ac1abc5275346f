//! Where the 128 blocks of a chunk lie, and their checksums.
//!
//! A chunk whose blocks lie in one run on the disk is kept as the place of the first and a row of checksums (4 bytes a block); any other as a
//! set of block numbers with a place and a checksum each (8 bytes a block). A test at the foot of this file holds what a TiB of
//! stored blocks costs, map overhead included: at most 3.5 GiB scattered, 1.3 GiB in runs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use base::CHUNK_BLOCKS;
use base::log::Stamp;

/// Where a block lies, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) place: u32,
    pub(crate) crc: u32,
}

/// The blocks of one chunk that are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    version: Stamp,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Blocks `first..first + crcs.len()`, one behind the other on the disk from `place` on.
    Run {
        first: u8,
        place: u32,
        crcs: Box<[u32]>,
    },
    Scattered(Box<Scattered>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scattered {
    /// Bit n: block n is written.
    present: [u64; 2],
    /// One for each bit set, in order.
    cells: Vec<Cell>,
}

/// Bits `first..first + count`.
pub(crate) fn mask(first: u32, count: u32) -> u128 {
    debug_assert!(count > 0 && first + count <= CHUNK_BLOCKS);
    (u128::MAX >> (CHUNK_BLOCKS - count)) << first
}

/// The numbers of the bits that are set, in order.
pub(crate) fn bits_of(mut bits: u128) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let first = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(first)
    })
}

impl Form {
    /// The shortest one of these cells.
    fn of(all: &[Option<Cell>; CHUNK_BLOCKS as usize]) -> Self {
        let written = || (0..CHUNK_BLOCKS).zip(all).filter_map(|(block, cell)| Some((block, (*cell)?)));
        let Some((first, Cell { place, .. })) = written().next() else { return Chunk::empty().form };
        if written().all(|(block, cell)| cell.place.wrapping_sub(place) == block - first) {
            let crcs: Box<[u32]> = written().map(|(_, cell)| cell.crc).collect();
            if written().next_back().is_some_and(|(last, _)| last - first + 1 == crcs.len() as u32) {
                return Self::Run { first: first as u8, place, crcs };
            }
        }
        let mut s = Scattered { present: [0; 2], cells: written().map(|(_, cell)| cell).collect() };
        s.cells.shrink_to_fit();
        s.set_present(written().fold(0, |bits, (block, _)| bits | 1 << block));
        Self::Scattered(Box::new(s))
    }
}

impl Scattered {
    fn present(&self) -> u128 {
        u128::from(self.present[0]) | u128::from(self.present[1]) << 64
    }

    fn set_present(&mut self, bits: u128) {
        self.present = [bits as u64, (bits >> 64) as u64];
    }

    /// How many blocks below this one are written: where its cell is, or would be.
    fn rank(&self, block: u32) -> usize {
        if block == 0 { 0 } else { (self.present() & mask(0, block)).count_ones() as usize }
    }
}

impl Chunk {
    /// Nothing written.
    pub(crate) fn empty() -> Self {
        Self { version: Stamp::default(), form: Form::Run { first: 0, place: 0, crcs: Box::default() } }
    }

    /// The stamp of the last write or trim of the chunk; zero while it has only copies.
    pub(crate) fn version(&self) -> Stamp {
        self.version
    }

    /// A write or trim with this stamp has reached it.
    pub(crate) fn touch(&mut self, version: Stamp) {
        self.version = version;
    }

    /// Which blocks are written, a bit each.
    pub(crate) fn present(&self) -> u128 {
        match &self.form {
            Form::Run { crcs, .. } if crcs.is_empty() => 0,
            Form::Run { first, crcs, .. } => mask(u32::from(*first), crcs.len() as u32),
            Form::Scattered(s) => s.present(),
        }
    }

    /// Where a block lies, if it is written.
    pub(crate) fn get(&self, block: u32) -> Option<Cell> {
        debug_assert!(block < CHUNK_BLOCKS);
        match &self.form {
            Form::Run { first, place, crcs } => {
                let i = block.checked_sub(u32::from(*first))?;
                crcs.get(i as usize).map(|&crc| Cell { place: place + i, crc })
            }
            Form::Scattered(s) => (s.present() >> block & 1 == 1).then(|| s.cells[s.rank(block)]),
        }
    }

    /// Blocks `first..` lie from `place` on, with these checksums. Says of each place that is no longer named.
    pub(crate) fn put(&mut self, first: u32, place: u32, crcs: &[u32], freed: &mut impl FnMut(u32, u32)) {
        let count = crcs.len() as u32;
        let new = mask(first, count);
        if self.present() & !new == 0 {
            self.each_run(freed);
            self.form = Form::Run { first: first as u8, place, crcs: crcs.into() };
            return;
        }
        if let Form::Run { first: from, place: at, crcs: old } = &mut self.form
            && (u32::from(*from) + old.len() as u32, *at + old.len() as u32) == (first, place)
        {
            *old = old.iter().chain(crcs).copied().collect();
            return;
        }
        let s = self.scatter();
        let (a, b) = (s.rank(first), s.rank(first) + (s.present() & new).count_ones() as usize);
        let cells = crcs.iter().zip(place..).map(|(&crc, place)| Cell { place, crc });
        for cell in s.cells.splice(a..b, cells) {
            freed(cell.place, 1);
        }
        s.set_present(s.present() | new);
    }

    /// Blocks `first..first + count` are not written any more. Says of each place that is no longer named.
    pub(crate) fn clear(&mut self, first: u32, count: u32, freed: &mut impl FnMut(u32, u32)) {
        let present = self.present();
        let gone = mask(first, count) & present;
        if gone == 0 {
            return;
        }
        if gone == present {
            self.each_run(freed);
            self.form = Self::empty().form;
            return;
        }
        let s = self.scatter();
        let (a, b) = (s.rank(first), s.rank(first) + gone.count_ones() as usize);
        for cell in s.cells.drain(a..b) {
            freed(cell.place, 1);
        }
        s.set_present(present & !gone);
    }

    /// Trades all blocks with another chunk; versions stay where they are.
    pub(crate) fn swap_blocks(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.form, &mut other.form);
    }

    /// These blocks, which are written, are not in it any more: somebody else names their places now.
    pub(crate) fn clear_bits(&mut self, bits: u128) {
        let mut left = bits;
        while left != 0 {
            let first = left.trailing_zeros();
            let count = (!(left >> first)).trailing_zeros();
            self.clear(first, count, &mut |_, _| ());
            left &= !mask(first, count);
        }
    }

    /// Shows each written block in order, with its place and checksum.
    pub(crate) fn each_cell(&self, show: &mut impl FnMut(u32, Cell)) {
        bits_of(self.present()).filter_map(|block| Some((block, self.get(block)?))).for_each(|(b, c)| show(b, c));
    }

    /// Its blocks in one run: the first, where it lies, and the checksums; if they lie so.
    pub(crate) fn run(&self) -> Option<(u32, u32, &[u32])> {
        match &self.form {
            Form::Run { first, place, crcs } => Some((u32::from(*first), *place, crcs)),
            Form::Scattered(_) => None,
        }
    }

    /// As a checkpoint says it was: these blocks are not written, and then these lie so. In the shortest form.
    pub(crate) fn restore(&mut self, cleared: u128, cells: impl IntoIterator<Item = (u32, Cell)>) {
        let mut all: [Option<Cell>; CHUNK_BLOCKS as usize] = [None; CHUNK_BLOCKS as usize];
        for block in (0..CHUNK_BLOCKS).filter(|block| cleared >> block & 1 == 0) {
            all[block as usize] = self.get(block);
        }
        cells.into_iter().for_each(|(block, cell)| all[block as usize] = Some(cell));
        self.form = Form::of(&all);
    }

    /// Every run of places it names.
    pub(crate) fn each_run(&self, run: &mut impl FnMut(u32, u32)) {
        match &self.form {
            Form::Run { crcs, .. } if crcs.is_empty() => {}
            Form::Run { place, crcs, .. } => run(*place, crcs.len() as u32),
            Form::Scattered(s) => s.cells.iter().for_each(|cell| run(cell.place, 1)),
        }
    }

    fn scatter(&mut self) -> &mut Scattered {
        if let Form::Run { place, crcs, .. } = &self.form {
            let cells = crcs.iter().zip(*place..).map(|(&crc, place)| Cell { place, crc }).collect();
            let mut s = Scattered { present: [0; 2], cells };
            s.set_present(self.present());
            self.form = Form::Scattered(Box::new(s));
        }
        match &mut self.form {
            Form::Scattered(s) => s,
            Form::Run { .. } => unreachable!("it was made scattered above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::Rng;

    /// What malloc adds to an allocation, generously.
    const MALLOC: usize = 16;
    const TIB: usize = 1 << 40;

    /// Of the map of chunks, of which one slot in eight may be empty (see `chunks`), and a group's share.
    fn map_bytes_per_chunk() -> usize {
        size_of::<Chunk>() * 9 / 8 + 1
    }

    #[test]
    fn a_tebibyte_costs_no_more_memory_than_promised() {
        let chunks = TIB / (CHUNK_BLOCKS as usize * base::BLOCK_BYTES);
        let run = map_bytes_per_chunk() + 4 * CHUNK_BLOCKS as usize + MALLOC;
        let scattered =
            map_bytes_per_chunk() + size_of::<Scattered>() + size_of::<Cell>() * CHUNK_BLOCKS as usize + 2 * MALLOC;
        assert!(run * chunks <= (13 << 30) / 10, "{run} bytes a chunk in a run");
        assert!(scattered * chunks <= (35 << 30) / 10, "{scattered} bytes a scattered chunk");
        // What the sum above relies on.
        assert_eq!((size_of::<Cell>(), size_of::<Form>(), size_of::<Chunk>()), (8, 24, 40));
        let mut full = Chunk::empty();
        (0..CHUNK_BLOCKS).for_each(|b| full.put(b, 1000 - b, &[b], &mut |_, _| ()));
        assert!(matches!(&full.form, Form::Scattered(s) if s.cells.capacity() <= CHUNK_BLOCKS as usize));
    }

    #[test]
    fn a_chunk_does_what_an_array_of_cells_does() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut chunk = Chunk::empty();
            let mut model = [None; CHUNK_BLOCKS as usize];
            let mut place = 1;
            for _ in 0..60 {
                let first = rng.below(128) as u32;
                let longest = 1 << rng.below(8);
                let count = rng.within(1, u64::from(128 - first).min(longest)) as u32;
                let mut freed = vec![];
                let mut expected = vec![];
                let old = model[first as usize..(first + count) as usize].iter().flatten();
                expected.extend(old.map(|cell: &Cell| cell.place));
                let mut free = |place, count| freed.extend(place..place + count);
                if rng.chance(2, 3) {
                    let crcs: Vec<u32> = (0..count).map(|_| rng.u64() as u32).collect();
                    chunk.put(first, place, &crcs, &mut free);
                    for (i, &crc) in crcs.iter().enumerate() {
                        model[first as usize + i] = Some(Cell { place: place + i as u32, crc });
                    }
                    place += count + rng.below(2) as u32;
                } else {
                    chunk.clear(first, count, &mut free);
                    model[first as usize..(first + count) as usize].fill(None);
                }
                freed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(freed, expected, "seed {seed}");
                let read: Vec<_> = (0..CHUNK_BLOCKS).map(|b| chunk.get(b)).collect();
                assert_eq!(read, model, "seed {seed}");
                assert!((0..CHUNK_BLOCKS).all(|b| (chunk.present() >> b & 1 == 1) == model[b as usize].is_some()));
                let mut named = vec![];
                chunk.each_run(&mut |place, count| named.extend(place..place + count));
                named.sort_unstable();
                let mut places: Vec<u32> = model.iter().flatten().map(|cell| cell.place).collect();
                places.sort_unstable();
                assert_eq!(named, places, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_restored_chunk_is_what_it_was_in_its_shortest_form() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut chunk = Chunk::empty();
            let spread = rng.chance(1, 2);
            for place in (100..).step_by(7).take(rng.below(6) as usize) {
                let first = if spread { rng.below(120) as u32 } else { 40 };
                chunk.put(first, place, &[place; 5], &mut |_, _| ());
            }
            let cells = |c: &Chunk| -> Vec<(u32, Cell)> {
                (0..CHUNK_BLOCKS).filter_map(|block| Some((block, c.get(block)?))).collect()
            };
            let mut restored = Chunk::empty();
            restored.put(3, 999, &[1, 2, 3], &mut |_, _| ());
            restored.restore(u128::MAX, cells(&chunk));
            assert_eq!((cells(&restored), restored.present()), (cells(&chunk), chunk.present()), "seed {seed}");
            let mut partly = chunk.clone();
            partly.restore(0b110 << 40, [(50, Cell { place: 9, crc: 9 })]);
            let expected = |b| match b {
                41 | 42 => None,
                50 => Some(Cell { place: 9, crc: 9 }),
                b => chunk.get(b),
            };
            assert!((0..CHUNK_BLOCKS).all(|b| partly.get(b) == expected(b)), "seed {seed}");
        }
        let mut run = Chunk::empty();
        run.restore(0, (4..9).map(|b| (b, Cell { place: 100 + b, crc: b })));
        assert_eq!(run.run(), Some((4, 104, &[4, 5, 6, 7, 8][..])));
    }

    #[test]
    fn writes_that_follow_one_another_on_the_disk_stay_a_run() {
        let mut chunk = Chunk::empty();
        chunk.put(4, 100, &[1, 2], &mut |_, _| panic!("nothing was there"));
        chunk.put(6, 102, &[3], &mut |_, _| panic!("nothing was there"));
        assert!(matches!(&chunk.form, Form::Run { first: 4, place: 100, crcs } if crcs.len() == 3));
        let stamp = Stamp { epoch: base::Epoch(1), sequence: base::Sequence(2) };
        chunk.touch(stamp);
        assert_eq!(chunk.version(), stamp);
    }
}
