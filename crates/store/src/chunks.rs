//! A map from the number of a chunk to the chunk, which costs little more than the chunks themselves.
//!
//! Numbers that follow one another share a group: a bit for each of its numbers that is there, and the chunks of those in order. A hash table right
//! after it doubled has more than two slots for each chunk; here at most one in eight is empty.

use crate::chunk::Chunk;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Numbers of a group.
const GROUP: u32 = 1024;
const WORDS: usize = GROUP as usize / 64;

#[derive(Debug)]
struct Group {
    present: [u64; WORDS],
    chunks: Vec<Chunk>,
}

/// The chunks of an index.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// By the number of the group; none is empty.
    groups: BTreeMap<u32, Box<Group>>,
}

impl Group {
    const fn new() -> Self {
        Self { present: [0; WORDS], chunks: Vec::new() }
    }

    fn has(&self, slot: u32) -> bool {
        self.present[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// How many chunks are before this slot: where its own is, or would be.
    fn rank(&self, slot: u32) -> usize {
        let word = slot as usize / 64;
        let before = self.present[..word].iter().map(|bits| bits.count_ones()).sum::<u32>();
        (before + (self.present[word] & ((1 << (slot % 64)) - 1)).count_ones()) as usize
    }

    /// The first slot from here on that holds a chunk.
    fn next(&self, slot: u32) -> Option<u32> {
        let word = slot as usize / 64;
        let first = self.present[word] >> (slot % 64) << (slot % 64);
        let rest = self.present[word + 1..].iter().copied();
        let (i, bits) = core::iter::once(first).chain(rest).enumerate().find(|(_, bits)| *bits != 0)?;
        Some((word + i) as u32 * 64 + bits.trailing_zeros())
    }

    fn insert(&mut self, slot: u32) -> &mut Chunk {
        let rank = self.rank(slot);
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(1 + self.chunks.len() / 8);
        }
        self.present[slot as usize / 64] |= 1 << (slot % 64);
        self.chunks.insert(rank, Chunk::empty());
        &mut self.chunks[rank]
    }

    fn remove(&mut self, slot: u32) -> Chunk {
        let rank = self.rank(slot);
        self.present[slot as usize / 64] &= !(1 << (slot % 64));
        let chunk = self.chunks.remove(rank);
        if self.chunks.len() + self.chunks.len() / 4 < self.chunks.capacity() {
            self.chunks.shrink_to_fit();
        }
        chunk
    }
}

impl Chunks {
    /// The chunk of this number, if there is one.
    pub(crate) fn get(&self, number: u32) -> Option<&Chunk> {
        let group = self.groups.get(&(number / GROUP))?;
        group.has(number % GROUP).then(|| &group.chunks[group.rank(number % GROUP)])
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Chunk> {
        let group = self.groups.get_mut(&(number / GROUP))?;
        let rank = group.has(number % GROUP).then(|| group.rank(number % GROUP))?;
        Some(&mut group.chunks[rank])
    }

    /// The chunk of this number: an empty one if there was none.
    pub(crate) fn entry(&mut self, number: u32) -> &mut Chunk {
        let group = self.groups.entry(number / GROUP).or_insert_with(|| Box::new(Group::new()));
        let slot = number % GROUP;
        if group.has(slot) {
            let rank = group.rank(slot);
            &mut group.chunks[rank]
        } else {
            group.insert(slot)
        }
    }

    /// Takes a chunk out.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Chunk> {
        let group = self.groups.get_mut(&(number / GROUP))?;
        let chunk = group.has(number % GROUP).then(|| group.remove(number % GROUP))?;
        if group.chunks.is_empty() {
            self.groups.remove(&(number / GROUP));
        }
        Some(chunk)
    }

    /// The first number from this one on of which there is a chunk.
    pub(crate) fn next(&self, number: u32) -> Option<u32> {
        self.groups.range(number / GROUP..).find_map(|(&group, chunks)| {
            let slot = if group == number / GROUP { number % GROUP } else { 0 };
            Some(group * GROUP + chunks.next(slot)?)
        })
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Chunk)> {
        self.groups.iter().flat_map(|(&number, group)| {
            let slots = core::iter::successors(group.next(0), |slot| {
                (slot + 1 < GROUP).then(|| group.next(slot + 1)).flatten()
            });
            slots.map(move |slot| number * GROUP + slot).zip(&group.chunks)
        })
    }

    /// Whether there is none.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::log::Stamp;
    use base::{Epoch, Rng, Sequence};

    fn stamp(n: u64) -> Stamp {
        Stamp { epoch: Epoch(1), sequence: Sequence(n) }
    }

    #[test]
    fn it_does_what_a_map_does() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut chunks = Chunks::default();
            let mut model: BTreeMap<u32, Stamp> = BTreeMap::new();
            let base = if seed % 2 == 0 { 0 } else { u32::MAX / base::CHUNK_BLOCKS - 3000 };
            for step in 0..2000 {
                let number = base + rng.below(3000) as u32;
                if rng.chance(3, 5) {
                    chunks.entry(number).touch(stamp(step));
                    model.insert(number, stamp(step));
                } else {
                    assert_eq!(chunks.remove(number).map(|chunk| chunk.version()), model.remove(&number));
                }
                let number = base + rng.below(3000) as u32;
                assert_eq!(chunks.get(number).map(Chunk::version), model.get(&number).copied(), "seed {seed}");
                assert_eq!(chunks.get_mut(number).map(|chunk| chunk.version()), model.get(&number).copied());
                assert_eq!(chunks.next(number), model.range(number..).next().map(|(&n, _)| n), "seed {seed}");
            }
            assert!(chunks.iter().map(|(n, chunk)| (n, chunk.version())).eq(model.iter().map(|(&n, &v)| (n, v))));
            model.keys().for_each(|&number| assert!(chunks.remove(number).is_some()));
            assert!(chunks.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn no_more_than_one_slot_in_eight_is_empty() {
        let mut rng = Rng::new(1);
        let mut group = Group::new();
        for _ in 0..20_000 {
            let slot = rng.below(u64::from(GROUP)) as u32;
            if !group.has(slot) {
                group.insert(slot);
            } else if rng.chance(1, 3) {
                group.remove(slot);
            }
            let (there, room) = (group.chunks.len(), group.chunks.capacity());
            assert!(room <= there + there / 4 + 1, "{there} chunks in room for {room}");
        }
        (0..GROUP)
            .filter(|&slot| !group.has(slot))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|slot| _ = group.insert(slot));
        assert!(group.chunks.capacity() <= GROUP as usize / 8 * 9);
    }
}
