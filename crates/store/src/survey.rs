//! Reads one segment of the log from front to back, and says which of its blocks are live: for who moves them, and for who checks them.
//!
//! What is live is what an index, a window or a frozen point names at the place that a header gives. What a rotten header hides is found through the
//! index, which takes looking at all of it. What the disk fails to read in large is read again block by block, so that only the bad blocks are missing.

use crate::geometry::{Geometry, byte_of};
use crate::header::{Body, Fixed};
use crate::named::Named;
use crate::ops::Ops;
use crate::shards::Shards;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use base::io::disk::{Fault, Op, OpId};
use base::{BLOCK_BYTES, Payload, StoreUuid};

/// Blocks of one read: a disk that is busy with more of them lets a write wait for longer than it would take itself.
const READ_BLOCKS: u32 = 64;

/// A segment being read. It is held in memory until it was looked at.
#[derive(Debug)]
pub(crate) struct Survey {
    geometry: Geometry,
    uuid: StoreUuid,
    segment: u32,
    reads_max: usize,
    /// The next block to be read.
    to_read: u32,
    /// Blocks of reads that failed, to be read one by one.
    singles: VecDeque<u32>,
    /// Reads under way: at which block each began, and how many it is of.
    reading: BTreeMap<OpId, (u32, u32)>,
    /// What was read, by the block in the segment; none of a block that the disk fails.
    read: BTreeMap<u32, Option<Payload>>,
}

impl Survey {
    /// Nothing read yet.
    pub(crate) fn new(geometry: Geometry, uuid: StoreUuid, segment: u32, reads_max: usize) -> Self {
        let (singles, reading, read) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { geometry, uuid, segment, reads_max, to_read: 0, singles, reading, read }
    }

    /// Which segment.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// Reads on until it has asked for so many blocks, and says for how many it did.
    pub(crate) fn read_on(&mut self, blocks_max: u64, ops: &mut Ops<'_>) -> u64 {
        let mut asked = 0;
        while asked < blocks_max
            && self.reading.len() < self.reads_max
            && let Some((offset, blocks)) = self.next()
        {
            asked += u64::from(blocks);
            let id = ops.id();
            let at = byte_of(self.geometry.place(self.segment, offset));
            ops.push(Op::Read { id, at, len: blocks * BLOCK_BYTES as u32 });
            self.reading.insert(id, (offset, blocks));
        }
        asked
    }

    /// Whether all of it was read.
    pub(crate) fn is_read(&self) -> bool {
        self.reading.is_empty() && self.singles.is_empty() && self.to_read == self.geometry.segment_blocks()
    }

    /// What is to be read next.
    fn next(&mut self) -> Option<(u32, u32)> {
        if let Some(offset) = self.singles.pop_front() {
            return Some((offset, 1));
        }
        let (offset, blocks) = (self.to_read, READ_BLOCKS.min(self.geometry.segment_blocks() - self.to_read));
        self.to_read += blocks;
        (blocks > 0).then_some((offset, blocks))
    }

    /// A read ended, if it was one of these.
    pub(crate) fn done(&mut self, op: OpId, result: &Result<Payload, Fault>) -> bool {
        let Some((offset, blocks)) = self.reading.remove(&op) else { return false };
        let bytes = result.as_ref().ok().filter(|bytes| bytes.blocks() == blocks);
        if bytes.is_none() && blocks > 1 {
            self.singles.extend(offset..offset + blocks);
        } else {
            self.read.insert(offset, bytes.cloned());
        }
        true
    }

    /// Which block of its segment a block lies in.
    pub(crate) fn offset_of(&self, named: &Named) -> u32 {
        self.geometry.offset_of(named.place)
    }

    /// Blocks from a place of the segment on, if they could be read.
    pub(crate) fn blocks(&self, place: u32, count: u32) -> Option<Vec<u8>> {
        let offset = self.geometry.offset_of(place);
        let parts: Option<Vec<Payload>> = (offset..offset + count).map(|offset| self.block(offset)).collect();
        Some(parts?.iter().flat_map(|part| part.iter().copied()).collect())
    }

    /// The live blocks of the segment, and their bytes where they could be read.
    pub(crate) fn live(&self, shards: &Shards) -> Vec<(Named, Option<Payload>)> {
        let mut live = self.follow(shards);
        if (live.len() as u32) < shards.segments.live_in(self.segment) {
            live = shards.named_within(self.geometry.place(self.segment, 0), self.geometry.segment_blocks());
        }
        live.into_iter().map(|named| (named, self.block(self.geometry.offset_of(named.place)))).collect()
    }

    /// The numbers of the batches whose headers hold.
    pub(crate) fn batches(&self, shards: &Shards) -> Vec<u64> {
        self.headers(shards).iter().map(|(fixed, _)| fixed.batch).collect()
    }

    /// What the headers say, as far as it holds.
    fn follow(&self, shards: &Shards) -> Vec<Named> {
        let mut live = Vec::new();
        for (shard, _, change) in self.headers(shards).iter().flat_map(|(_, body)| &body.changes) {
            let Some((first, place, crcs)) = change.placed() else { continue };
            let named =
                (0..).zip(crcs).map(|(i, &crc)| Named { shard: *shard, block: first + i, place: place + i, crc });
            live.extend(named.filter(|named| shards.names(named)));
        }
        live
    }

    /// The headers of the segment's use that hold, in their order.
    fn headers(&self, shards: &Shards) -> Vec<(Fixed, Body)> {
        let opened = shards.segments.opened(self.segment);
        let mut headers = Vec::new();
        let mut offset = 0;
        while offset < self.geometry.segment_blocks() {
            let place = self.geometry.place(self.segment, offset);
            let own = |fixed: &Fixed| (fixed.uuid, fixed.place, fixed.opened) == (self.uuid, place, opened);
            let fixed = self.block(offset).and_then(|block| Fixed::decode(&block)).filter(own);
            let whole = fixed.and_then(|fixed| Some((fixed, fixed.body(&self.blocks(place, fixed.header_blocks)?)?)));
            let Some((fixed, body)) = whole else {
                offset += 1;
                continue;
            };
            offset += fixed.blocks();
            headers.push((fixed, body));
        }
        headers
    }

    fn block(&self, offset: u32) -> Option<Payload> {
        let (first, read) = self.read.range(..=offset).next_back()?;
        let skip = offset - first;
        read.as_ref()
            .filter(|read| skip < read.blocks())
            .map(|read| read.slice(skip as usize * BLOCK_BYTES, BLOCK_BYTES))
    }
}
