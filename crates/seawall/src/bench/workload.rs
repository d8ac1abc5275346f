//! What is asked, in which order, and what is written: all of it follows from the seed and from nothing else, so that a run can be
//! repeated to the byte. How many of the requests are made before the time is over is the volume's affair.

use super::rows::{Row, Shape};
use base::{BLOCK_BYTES, Rng};

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Its first block.
    pub block: u64,
    /// How many.
    pub blocks: u64,
    /// What a write leaves in its blocks; none for a read.
    pub version: Option<Version>,
}

impl Op {
    /// Whether the order of the two decides what is read or left behind.
    pub fn meets(&self, other: &Self) -> bool {
        let apart = self.block + self.blocks <= other.block || other.block + other.blocks <= self.block;
        !apart && (self.version.is_some() || other.version.is_some())
    }
}

/// Which write of a run a block was written by. No two writes have the same, and 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version(u64);

impl Version {
    /// How much of the number counts the requests of one row.
    const REQUEST_BITS: u32 = 48;

    /// The `request`-th (from 0) of the `turn`-th row of the run.
    fn of(turn: usize, request: u64) -> Self {
        assert!(request >> Self::REQUEST_BITS == 0 && turn < 1 << 15, "row {turn}, request {request}");
        Self((turn as u64 + 1) << Self::REQUEST_BITS | request)
    }
}

/// The requests of one row, without end unless the row ends by itself.
#[derive(Debug)]
pub struct Workload {
    shape: Shape,
    /// Which row of the run it is.
    turn: usize,
    /// Places for a request of this size in the part of the volume that is touched.
    places: u64,
    where_to: Rng,
    which: Rng,
    next: u64,
}

impl Workload {
    /// Of a row that has its `turn` in a run that touches the first so many blocks.
    pub fn new(row: Row, turn: usize, seed: u64, blocks: u64) -> Self {
        let shape = row.shape();
        let rng = Rng::new(seed).split(&row.name());
        let (where_to, which) = (rng.split("places"), rng.split("kinds"));
        Self { shape, turn, places: blocks / shape.blocks, where_to, which, next: 0 }
    }
}

impl Iterator for Workload {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let request = self.next;
        if self.shape.is_once && request >= self.places {
            return None;
        }
        self.next += 1;
        let place = if self.shape.is_random { self.where_to.below(self.places) } else { request % self.places };
        let is_read = self.which.chance(self.shape.reads, 100);
        let version = (!is_read).then(|| Version::of(self.turn, request));
        Some(Op { block: place * self.shape.blocks, blocks: self.shape.blocks, version })
    }
}

const WORD: usize = 8;
/// Bytes of a disk that are written together or not at all: each part of a block says by itself what it belongs to.
const SECTOR_BYTES: usize = 512;
/// Different bodies that a block can have.
const BODIES: u64 = 1 << 15;

/// What is written.
#[derive(Debug)]
pub struct Contents {
    seed: u64,
    /// Every body is a piece of this: to draw each anew would cost more than to copy it, and be counted as the volume's time.
    noise: Vec<u8>,
}

impl Contents {
    /// As it follows from a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed).split("contents");
        let words = BODIES as usize + BLOCK_BYTES / WORD;
        Self { seed, noise: (0..words).flat_map(|_| rng.u64().to_le_bytes()).collect() }
    }

    /// Fills the bytes of one block.
    pub fn fill(&self, bytes: &mut [u8], block: u64, version: Version) {
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let mixed = block.rotate_left(32) ^ version.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 49) as usize * WORD;
        bytes.copy_from_slice(&self.noise[at..at + BLOCK_BYTES]);
        for (sector, bytes) in (0..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
            let stamp = [self.seed, block << 3 | sector, version.0];
            bytes
                .chunks_exact_mut(WORD)
                .zip(stamp)
                .for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
        }
    }

    /// The first byte of a block that is not as this write left it.
    pub fn differs(&self, bytes: &[u8], block: u64, version: Version) -> Option<usize> {
        let mut expected = [0; BLOCK_BYTES];
        self.fill(&mut expected, block, version);
        (bytes != expected).then(|| expected.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(bytes.len()))
    }
}

/// Which write each block was last given to.
#[derive(Debug)]
pub struct Ledger {
    last: Vec<Version>,
}

impl Ledger {
    /// Of so many blocks that nobody here has written.
    pub fn new(blocks: u64) -> Self {
        Self { last: vec![Version::default(); blocks as usize] }
    }

    /// How many blocks it is of.
    pub fn blocks(&self) -> u64 {
        self.last.len() as u64
    }

    /// A request is made.
    pub fn note(&mut self, op: &Op) {
        if let Some(version) = op.version {
            self.last[op.block as usize..(op.block + op.blocks) as usize].fill(version);
        }
    }

    /// What a block must hold, if it was written.
    pub fn last(&self, block: u64) -> Option<Version> {
        Some(self.last[block as usize]).filter(|version| *version != Version::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u64 = (64 << 20) / BLOCK_BYTES as u64;

    fn first(row: Row, seed: u64, count: usize) -> Vec<Op> {
        Workload::new(row, 1, seed, BLOCKS).take(count).collect()
    }

    /// One number for a thousand requests and all that they write.
    fn digest(row: Row, seed: u64) -> u64 {
        let contents = Contents::new(seed);
        let mut bytes = [0; BLOCK_BYTES];
        let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        first(row, seed, 1000).into_iter().fold(seed, |mut sum, op| {
            sum = mix(mix(mix(sum, op.block), op.blocks), op.version.map_or(0, |version| version.0));
            let Some(version) = op.version else { return sum };
            for block in op.block..op.block + op.blocks {
                contents.fill(&mut bytes, block, version);
                let words = bytes.chunks_exact(WORD).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
                sum = words.fold(sum, mix);
            }
            sum
        })
    }

    #[test]
    fn a_seed_gives_the_same_places_kinds_and_contents_and_another_seed_others() {
        for row in Row::all() {
            assert_eq!(first(row, 7, 1000), first(row, 7, 1000), "{}", row.name());
            assert_eq!(digest(row, 7), digest(row, 7), "{}", row.name());
            if row.shape().is_random {
                assert_ne!(first(row, 7, 1000), first(row, 8, 1000), "{}", row.name());
            }
            if row.writes() {
                assert_ne!(digest(row, 7), digest(row, 8), "{}", row.name());
            }
        }
        assert_ne!(first(Row::WriteQd1, 7, 9), first(Row::WriteQd32, 7, 9), "no row repeats another");
    }

    #[test]
    fn every_build_makes_the_same_of_a_seed() {
        // Two revisions are compared by one client; figures of two clients are of the same requests only while these numbers stay.
        let digests =
            [Row::Fill, Row::WriteQd32, Row::ReadQd32, Row::Mixed, Row::SeqWrite].map(|row| digest(row, 2011));
        let pinned = [
            3_058_216_703_625_290_180,
            8_639_826_929_557_898_631,
            1_255_408_389_369_014_355,
            13_275_834_929_570_159_458,
            4_069_656_703_388_812_178,
        ];
        assert_eq!(digests, pinned);
    }

    #[test]
    fn requests_go_everywhere_or_one_behind_the_other_and_never_beyond_the_end() {
        for row in Row::all() {
            let shape = row.shape();
            let ops = first(row, 3, 200_000);
            assert!(ops.iter().all(|op| op.block + op.blocks <= BLOCKS && op.block.is_multiple_of(op.blocks)));
            let mut seen: Vec<u64> = ops.iter().map(|op| op.block).collect();
            if !shape.is_random {
                assert!(seen.iter().zip(0..).all(|(block, n)| *block == n * shape.blocks % BLOCKS), "{}", row.name());
            }
            seen.sort_unstable();
            seen.dedup();
            let places = BLOCKS / shape.blocks;
            assert_eq!(seen.len() as u64, places, "{} has not been everywhere", row.name());
            assert_eq!(ops.len() as u64, if shape.is_once { places } else { 200_000 });
            let reads = ops.iter().filter(|op| op.version.is_none()).count() as u64;
            let wanted = ops.len() as u64 * shape.reads / 100;
            assert!(reads.abs_diff(wanted) <= ops.len() as u64 / 200, "{}: {reads} reads of {wanted}", row.name());
        }
    }

    #[test]
    fn requests_meet_where_they_overlap_and_one_of_them_writes() {
        let read = |block, blocks| Op { block, blocks, version: None };
        let write = |block, blocks| Op { block, blocks, version: Some(Version::of(0, 1)) };
        assert!(write(4, 2).meets(&read(5, 1)) && read(5, 1).meets(&write(4, 2)) && write(4, 1).meets(&write(0, 8)));
        assert!(!read(4, 2).meets(&read(4, 2)));
        assert!(!write(4, 2).meets(&write(6, 1)) && !write(6, 1).meets(&write(4, 2)));
    }

    #[test]
    fn an_old_a_misplaced_a_torn_and_a_damaged_block_are_noticed() {
        let contents = Contents::new(1);
        let (old, new) = (Version::of(2, 8), Version::of(2, 9));
        let mut bytes = [0; BLOCK_BYTES];
        assert!(contents.differs(&bytes, 0, new).is_some(), "zeroes");
        contents.fill(&mut bytes, 5, new);
        assert_eq!(contents.differs(&bytes, 5, new), None);
        for (seed, block, version) in [(2, 5, new), (1, 6, new), (1, 5, old), (1, 5, Version::of(3, 9))] {
            assert!(Contents::new(seed).differs(&bytes, block, version).is_some(), "{seed} {block} {version:?}");
        }
        for sector in 0..BLOCK_BYTES / SECTOR_BYTES {
            let (mut torn, range) = (bytes, sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES);
            let mut before = [0; BLOCK_BYTES];
            contents.fill(&mut before, 5, old);
            torn[range.clone()].copy_from_slice(&before[range.clone()]);
            assert!(contents.differs(&torn, 5, new).is_some_and(|byte| range.contains(&byte)), "sector {sector}");
        }
        bytes[4095] ^= 0x10;
        assert_eq!(contents.differs(&bytes, 5, new), Some(4095));
    }

    #[test]
    fn a_block_must_hold_what_was_written_last() {
        let mut ledger = Ledger::new(8);
        for (block, blocks, request) in [(0, 8, 1), (2, 2, 2), (3, 1, 3)] {
            ledger.note(&Op { block, blocks, version: Some(Version::of(0, request)) });
        }
        ledger.note(&Op { block: 4, blocks: 1, version: None });
        let held: Vec<_> = (0..8).map(|block| ledger.last(block).unwrap()).collect();
        assert_eq!(held, [1, 1, 2, 3, 1, 1, 1, 1].map(|request| Version::of(0, request)));
        assert_eq!(Ledger::new(1).last(0), None);
    }
}
