//! A disk in memory that loses what a real one may lose: of writes that were not yet durable any part of 512 bytes, in any subset.

use base::io::disk::{Done, Fault, Op};
use base::{BLOCK_BYTES, Payload, Rng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that a disk writes wholly or not at all.
pub const SECTOR: usize = 512;

/// Blocks by their places.
type Blocks = BTreeMap<u32, Vec<u8>>;

/// What one write puts on the disk: blocks and their places, in order.
pub type Written = Vec<(u32, Vec<u8>)>;

/// The disk.
#[derive(Clone, Default)]
pub struct Disk {
    /// What survives a loss of power: what was written here, over what lies below.
    pub media: Blocks,
    /// What many disks share that went different ways from there on.
    pub below: Arc<BTreeMap<u32, Arc<Vec<u8>>>>,
    /// What was written and is not durable; reads see it.
    pub cache: Blocks,
    /// Operations that were asked for and have not ended, oldest first.
    pub flying: Vec<Op>,
    /// Places whose reads fail.
    pub bad_places: Vec<u32>,
    /// After so many failures they do no more; never, if none.
    pub bad_reads: Option<u32>,
    /// Whether writes and flushes fail.
    pub refuses_writes: bool,
    /// Whether a read gives one block too few.
    pub reads_short: bool,
}

fn zeroes() -> Vec<u8> {
    vec![0; BLOCK_BYTES]
}

fn place_of(at: u64) -> u32 {
    assert!(at.is_multiple_of(BLOCK_BYTES as u64), "an operation that is not aligned: {at}");
    (at / BLOCK_BYTES as u64) as u32
}

/// The blocks that an operation writes.
pub fn written(op: &Op) -> Written {
    match op {
        Op::Write { at, parts, .. } => {
            assert!(parts.iter().all(|part| !part.is_empty() && part.len().is_multiple_of(BLOCK_BYTES)));
            let bytes = parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>().concat();
            (place_of(*at)..).zip(bytes.chunks(BLOCK_BYTES).map(<[u8]>::to_vec)).collect()
        }
        Op::Zero { at, len, .. } => {
            (place_of(*at)..place_of(*at) + (*len / BLOCK_BYTES as u64) as u32).map(|place| (place, zeroes())).collect()
        }
        Op::Read { .. } | Op::Flush { .. } => Vec::new(),
    }
}

impl Disk {
    /// A disk on which this lies, durable. To clone it costs nothing.
    pub fn shared(&self) -> Self {
        let mut below = BTreeMap::clone(&self.below);
        below.extend(self.media.iter().map(|(&place, block)| (place, Arc::new(block.clone()))));
        Self { below: Arc::new(below), ..Self::default() }
    }

    /// What a read of a block gives now.
    pub fn block(&self, place: u32) -> Vec<u8> {
        self.cache.get(&place).cloned().unwrap_or_else(|| self.durable(place))
    }

    /// What a block is after a loss of power.
    pub fn durable(&self, place: u32) -> Vec<u8> {
        self.durable_at(place).cloned().unwrap_or_else(zeroes)
    }

    fn durable_at(&self, place: u32) -> Option<&Vec<u8>> {
        self.media.get(&place).or_else(|| self.below.get(&place).map(|block| &**block))
    }

    /// All that was ever written and is durable, in the order of the disk.
    pub fn all_durable(&self) -> impl Iterator<Item = (u32, &Vec<u8>)> {
        let below = self.below.iter().filter(|(place, _)| !self.media.contains_key(place));
        let below = below.map(|(place, block)| (place, &**block));
        self.media.iter().chain(below).map(|(&place, block)| (place, block))
    }

    /// Does one of the operations in flight.
    pub fn perform(&mut self, i: usize) -> Done {
        let op = self.flying.remove(i);
        let (id, result) = match &op {
            Op::Read { id, at, len } => (*id, self.read(place_of(*at), len / BLOCK_BYTES as u32)),
            Op::Write { id, .. } | Op::Flush { id } | Op::Zero { id, .. } if self.refuses_writes => {
                (*id, Err(Fault::Os(5)))
            }
            Op::Write { id, durable: true, .. } => {
                for (place, bytes) in written(&op) {
                    self.cache.remove(&place);
                    self.media.insert(place, bytes);
                }
                (*id, Ok(Payload::empty()))
            }
            Op::Write { id, .. } | Op::Zero { id, .. } => {
                self.cache.extend(written(&op));
                (*id, Ok(Payload::empty()))
            }
            Op::Flush { id } => {
                self.media.append(&mut self.cache);
                (*id, Ok(Payload::empty()))
            }
        };
        Done { id, result }
    }

    fn read(&mut self, place: u32, blocks: u32) -> Result<Payload, Fault> {
        let fails = self.bad_reads != Some(0);
        if fails && self.bad_places.iter().any(|bad| (place..place + blocks).contains(bad)) {
            self.bad_reads = self.bad_reads.map(|left| left - 1);
            return Err(Fault::Os(5));
        }
        let blocks = if self.reads_short { blocks - 1 } else { blocks };
        let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
        for (place, bytes) in (place..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
            if let Some(block) = self.cache.get(&place).or_else(|| self.durable_at(place)) {
                bytes.copy_from_slice(block);
            }
        }
        Ok(Payload::from(bytes))
    }

    /// Power goes: of all that is not durable, any sectors remain.
    pub fn lose_power(&mut self, rng: &mut Rng) {
        for (place, bytes) in std::mem::take(&mut self.cache) {
            let keep = Keep::any(rng);
            self.tear(place, &bytes, rng, keep);
        }
        for op in std::mem::take(&mut self.flying) {
            let keep = Keep::any(rng);
            for (place, bytes) in written(&op) {
                self.tear(place, &bytes, rng, keep);
            }
        }
    }

    fn tear(&mut self, place: u32, bytes: &[u8], rng: &mut Rng, keep: Keep) {
        if let Some(torn) = torn(self.durable(place), bytes, rng, keep) {
            self.media.insert(place, torn);
        }
    }

    /// The process dies: of what was in flight any sectors are in the cache, which stays.
    pub fn lose_process(&mut self, rng: &mut Rng) {
        for op in std::mem::take(&mut self.flying) {
            let keep = Keep::any(rng);
            for (place, bytes) in written(&op) {
                if let Some(torn) = torn(self.block(place), &bytes, rng, keep) {
                    self.cache.insert(place, torn);
                }
            }
        }
    }

    /// Changes one bit of what is on the disk.
    pub fn rot(&mut self, at: u64, bit: u8) {
        let place = (at / BLOCK_BYTES as u64) as u32;
        let old = self.durable(place);
        let block = self.media.entry(place).or_insert(old);
        block[(at % BLOCK_BYTES as u64) as usize] ^= 1 << bit;
    }
}

/// How much of an operation is kept when it is cut off.
#[derive(Clone, Copy)]
enum Keep {
    None,
    All,
    Some,
}

impl Keep {
    fn any(rng: &mut Rng) -> Self {
        [Self::None, Self::All, Self::Some, Self::Some][rng.below(4) as usize]
    }
}

/// A block over which some sectors of another were written; none if it was not touched.
fn torn(mut block: Vec<u8>, bytes: &[u8], rng: &mut Rng, keep: Keep) -> Option<Vec<u8>> {
    let kept: Vec<bool> = (0..BLOCK_BYTES / SECTOR)
        .map(|_| match keep {
            Keep::None => false,
            Keep::All => true,
            Keep::Some => rng.chance(3, 4),
        })
        .collect();
    for (i, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
        block[i * SECTOR..][..SECTOR].copy_from_slice(&bytes[i * SECTOR..][..SECTOR]);
    }
    kept.contains(&true).then_some(block)
}
