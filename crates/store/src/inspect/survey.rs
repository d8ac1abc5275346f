//! Every header on the disk, whether a chain leads to it or not: what is left to go by where the log or the checkpoint is damaged.

use super::read::Reading;
use crate::buffer::Need;
use crate::geometry::Geometry;
use crate::header::Fixed;
use crate::walk::header_at;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::io::disk::Op;
use base::{BLOCK_BYTES, Payload, StoreUuid};

/// Blocks of one read.
const READ_BLOCKS: u32 = 256;

/// Where a header lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) batch: u64,
    pub(super) run: u64,
    pub(super) place: u32,
    pub(super) header_blocks: u32,
}

/// A search of all segments.
#[derive(Debug)]
pub(super) struct Survey {
    uuid: StoreUuid,
    geometry: Geometry,
    /// Batches up to here are known already.
    floor: u64,
    segment: u32,
    offset: u32,
    /// Blocks that were read, and the offset of the first.
    buffer: (u32, Payload),
    /// Up to this offset one block is read at a time, since a read of many failed.
    singly: u32,
    /// Headers of the segment at hand, with the first batch of the use that each belongs to.
    here: Vec<(u64, Found)>,
    found: Vec<Found>,
    /// The first batch of each run that anything tells of.
    runs: BTreeMap<u64, u64>,
    /// The highest batch that a header says was durable.
    pub(super) durable: u64,
    pub(super) unreadable_blocks: u64,
}

impl Survey {
    /// Of batches above `floor`. `run` is what the superblock says of its own: its number and first batch.
    pub(super) fn new(uuid: StoreUuid, geometry: Geometry, run: (u64, u64), floor: u64) -> Self {
        Self {
            uuid,
            geometry,
            floor,
            segment: 0,
            offset: 0,
            buffer: (0, Payload::empty()),
            singly: 0,
            here: Vec::new(),
            found: Vec::new(),
            runs: BTreeMap::from([run]),
            durable: floor,
            unreadable_blocks: 0,
        }
    }

    /// Goes on; true when all was searched.
    pub(super) fn step(&mut self, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        while self.segment < self.geometry.segments() {
            while self.offset < self.geometry.segment_blocks() {
                if !self.look(reading, ops) {
                    return false;
                }
            }
            self.close_segment();
        }
        true
    }

    /// Looks at the block at hand and goes on behind it, or behind the batch that begins there; false while it must be read.
    fn look(&mut self, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        let (start, bytes) = &self.buffer;
        if !(*start..*start + bytes.blocks()).contains(&self.offset) {
            let left = self.geometry.segment_blocks() - self.offset;
            let blocks = if self.offset < self.singly { 1 } else { READ_BLOCKS.min(left) };
            let place = self.geometry.place(self.segment, self.offset);
            match reading.get(Need { place, blocks }, ops) {
                None => return false,
                Some(Ok(bytes)) => self.buffer = (self.offset, bytes),
                Some(Err(_)) if blocks > 1 => self.singly = self.offset + blocks,
                Some(Err(_)) => {
                    self.unreadable_blocks += 1;
                    self.offset += 1;
                }
            }
            return true;
        }
        let block = &bytes[(self.offset - start) as usize * BLOCK_BYTES..][..BLOCK_BYTES];
        let fixed = header_at(self.uuid, &self.geometry, (self.segment, self.offset), block);
        self.offset += fixed.map_or(1, |fixed| fixed.blocks());
        if let Some(fixed) = fixed {
            self.note(&fixed);
        }
        true
    }

    fn note(&mut self, fixed: &Fixed) {
        let &Fixed { batch, run, run_first, place, header_blocks, opened, durable_through, .. } = fixed;
        self.runs.insert(run, run_first);
        self.durable = self.durable.max(durable_through);
        if batch > self.floor {
            self.here.push((opened, Found { batch, run, place, header_blocks }));
        }
    }

    /// Of the headers of a segment those of its last use count: what an earlier use left was dead when that began.
    fn close_segment(&mut self) {
        let last = self.here.iter().map(|(opened, _)| *opened).max();
        self.found.extend(self.here.drain(..).filter(|(opened, _)| Some(*opened) == last).map(|(_, found)| found));
        (self.segment, self.offset, self.singly) = (self.segment + 1, 0, 0);
        self.buffer = (0, Payload::empty());
    }

    /// The headers of batches that were not cut, in the order of the log.
    pub(super) fn found(&mut self) -> Vec<Found> {
        let runs = &self.runs;
        let cut = |found: &Found| runs.range(found.run + 1..).any(|(_, &first)| first <= found.batch);
        let mut found: Vec<Found> = core::mem::take(&mut self.found).into_iter().filter(|f| !cut(f)).collect();
        // Of two with one number that of the later run holds.
        found.sort_unstable_by_key(|f| (f.batch, core::cmp::Reverse(f.run)));
        found.dedup_by_key(|f| f.batch);
        found
    }
}
