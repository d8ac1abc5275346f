//! A row of blocks of the disk, read ahead of who goes through it from front to back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::{BLOCK_BYTES, Payload};

/// Blocks of one read.
const READ_BLOCKS: u32 = 256;

/// A row of blocks read from the disk.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    start: u32,
    pieces: VecDeque<Payload>,
    blocks: u32,
}

/// What to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) place: u32,
    pub(crate) blocks: u32,
}

impl Buffer {
    /// Makes sure of `count` blocks from `place` on, or says what to read for it. Forgets what lies before. Reads ahead, but not
    /// beyond `end`.
    pub(crate) fn want(&mut self, place: u32, count: u32, end: u32) -> Result<(), Need> {
        if place < self.start || place > self.start + self.blocks {
            *self = Self { start: place, pieces: VecDeque::new(), blocks: 0 };
        }
        while let Some(first) = self.pieces.front()
            && self.start + first.blocks() <= place
        {
            self.start += first.blocks();
            self.blocks -= first.blocks();
            self.pieces.pop_front();
        }
        let have = self.start + self.blocks;
        if place + count <= have { Ok(()) } else { Err(Need { place: have, blocks: READ_BLOCKS.min(end - have) }) }
    }

    /// A block of those that were made sure of.
    pub(crate) fn block(&self, place: u32) -> &[u8] {
        let mut skip = place - self.start;
        for piece in &self.pieces {
            if skip < piece.blocks() {
                return &piece[skip as usize * BLOCK_BYTES..][..BLOCK_BYTES];
            }
            skip -= piece.blocks();
        }
        unreachable!("want made sure of it");
    }

    /// Blocks of those that were made sure of.
    pub(crate) fn copy(&self, place: u32, count: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count as usize * BLOCK_BYTES);
        (place..place + count).for_each(|place| bytes.extend_from_slice(self.block(place)));
        bytes
    }

    /// What was asked for.
    pub(crate) fn read(&mut self, bytes: Payload) {
        self.blocks += bytes.blocks();
        self.pieces.push_back(bytes);
    }
}
