//! Blocks that were written and are not on the disk yet: what a disk has in its cache, of which power loss leaves nothing.
//! It knows what is in it and does nothing by itself.

use crate::arena::ALIGN;
use base::Payload;
use bytes::Bytes;
use std::collections::BTreeMap;

const BLOCK: u64 = ALIGN as u64;
/// Blocks written as one.
const RUN_BLOCKS_MAX: usize = 256;

/// The blocks, by their number.
#[derive(Debug, Default)]
pub struct Held(BTreeMap<u64, Bytes>);

impl Held {
    /// Blocks in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a write in; what was there before is written over.
    pub fn put(&mut self, at: u64, parts: &[Payload]) {
        let blocks =
            parts.iter().flat_map(|part| (0..part.len() / ALIGN).map(|n| part.0.slice(n * ALIGN..(n + 1) * ALIGN)));
        self.0.extend((at / BLOCK..).zip(blocks));
    }

    /// Takes zeroes in.
    pub fn put_zeroes(&mut self, at: u64, len: u64) {
        let zeroes = Payload::zero_block().0;
        self.0.extend((at / BLOCK..(at + len) / BLOCK).map(|block| (block, zeroes.clone())));
    }

    /// Forgets a range: something newer is on its way past it.
    pub fn forget(&mut self, at: u64, len: u64) {
        let range = at / BLOCK..(at + len) / BLOCK;
        let blocks: Vec<u64> = self.0.range(range).map(|(block, _)| *block).collect();
        blocks.iter().for_each(|block| drop(self.0.remove(block)));
    }

    /// What a read of this range must show of it: where in the read, and the block.
    pub fn over(&self, at: u64, len: u64) -> impl Iterator<Item = (usize, Bytes)> + '_ {
        let range = at / BLOCK..(at + len) / BLOCK;
        self.0.range(range).map(move |(block, bytes)| ((block * BLOCK - at) as usize, bytes.clone()))
    }

    /// All of it as writes, neighbours together.
    pub fn runs(&self) -> Vec<(u64, Vec<Payload>)> {
        let mut runs: Vec<(u64, Vec<Payload>)> = Vec::new();
        for (block, bytes) in &self.0 {
            match runs.last_mut() {
                Some((at, parts))
                    if *at + parts.len() as u64 * BLOCK == block * BLOCK && parts.len() < RUN_BLOCKS_MAX =>
                {
                    parts.push(Payload(bytes.clone()));
                }
                _ => runs.push((block * BLOCK, vec![Payload(bytes.clone())])),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(bytes: &[u8]) -> Payload {
        bytes.iter().flat_map(|b| [*b; ALIGN]).collect::<Vec<u8>>().into()
    }

    #[test]
    fn what_is_written_last_is_shown_and_neighbours_become_one_write() {
        let mut held = Held::default();
        held.put(2 * BLOCK, &[blocks(&[1, 2]), blocks(&[3])]);
        held.put_zeroes(3 * BLOCK, BLOCK);
        held.put(9 * BLOCK, &[blocks(&[4])]);
        let shown = |held: &Held| held.over(BLOCK, 4 * BLOCK).map(|(at, b)| (at / ALIGN, b[0])).collect::<Vec<_>>();
        assert_eq!(shown(&held), [(1, 1), (2, 0), (3, 3)]);
        let runs: Vec<_> = held.runs().iter().map(|(at, parts)| (at / BLOCK, parts.len())).collect();
        assert_eq!(runs, [(2, 3), (9, 1)]);
        held.forget(3 * BLOCK, 2 * BLOCK);
        assert_eq!((shown(&held), held.len()), (vec![(1, 1)], 2));
        held.put_zeroes(100 * BLOCK, 600 * BLOCK);
        let lens: Vec<_> = held.runs().iter().map(|(_, parts)| parts.len()).collect();
        assert_eq!(lens, [1, 1, 256, 256, 88]);
    }
}
