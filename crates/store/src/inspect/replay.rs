//! Replays batches that no chain leads to. The bytes of a block are believed by their checksums only, so nothing that comes out is another
//! block's; what can be wrong is that a write, a trim or a move is missing. Which shards that may concern is known where one batch is missing (the next one
//! repeats its list of shards), and said of all of them where more are.

use super::read::Reading;
use super::report::{BatchSeen, Salvage};
use super::survey::Found;
use crate::buffer::Need;
use crate::entry::{Change, Crcs};
use crate::geometry::byte_of;
use crate::header::{Body, Fixed};
use crate::named::Named;
use crate::shards::Shards;
use crate::walk::is_whole;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::io::disk::Op;
use base::{BLOCK_BYTES, Sequence, ShardId};

/// A replay.
#[derive(Debug)]
pub(super) struct Replay {
    /// Headers in the order of the log.
    found: Vec<Found>,
    at: usize,
    /// The last batch that was applied.
    last: u64,
    /// Of which run it was.
    run: u64,
    /// The highest batch that is known to have been durable.
    durable: u64,
    /// What the history before the log says is lost, so blocks that were moved may be known by the move alone.
    orphans: bool,
    /// If so: where batches lie that were applied, their blocks, and their numbers.
    known: BTreeMap<u32, (u32, u64)>,
    /// The header at hand, understood, while its payload is read.
    waiting: Option<(Fixed, Body)>,
    pub(super) suspects: BTreeSet<ShardId>,
    pub(super) batches: Vec<BatchSeen>,
    pub(super) salvage: Salvage,
}

/// What a report says of a batch.
pub(super) fn seen(fixed: &Fixed) -> BatchSeen {
    BatchSeen {
        batch: fixed.batch,
        at: byte_of(fixed.place),
        segment: fixed.segment,
        run: fixed.run,
        entries: fixed.entries,
        blocks: fixed.blocks(),
    }
}

impl Replay {
    /// Of batches above `last`.
    pub(super) fn new(found: Vec<Found>, last: u64, durable: u64, orphans: bool) -> Self {
        let at = found.partition_point(|found| found.batch <= last);
        Self {
            found,
            at,
            last,
            run: 0,
            durable,
            orphans,
            known: BTreeMap::new(),
            waiting: None,
            suspects: BTreeSet::new(),
            batches: Vec::new(),
            salvage: Salvage::default(),
        }
    }

    /// Goes on up to this batch; true when that was reached, or the end.
    pub(super) fn step(&mut self, through: u64, shards: &mut Shards, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        while let Some(&found) = self.found.get(self.at).filter(|found| found.batch <= through) {
            if self.waiting.is_none() && !self.header(found, reading, ops) {
                return false;
            }
            if let Some((fixed, body)) = self.waiting.take() {
                let certain = fixed.batch <= self.durable;
                if !certain && fixed.batch != self.last.max(self.durable) + 1 {
                    // Nobody says that the one before it was ever durable: here a torn tail begins.
                    self.found.truncate(self.at);
                    return true;
                }
                match if certain { Some(true) } else { self.payload(&fixed, &body, reading, ops) } {
                    None => {
                        self.waiting = Some((fixed, body));
                        return false;
                    }
                    Some(false) => {
                        self.found.truncate(self.at);
                        return true;
                    }
                    Some(true) => self.apply(&fixed, body, shards),
                }
            }
            self.at += 1;
        }
        true
    }

    /// Batches up to here are known from elsewhere: none of them is missed.
    pub(super) fn skip_to(&mut self, batch: u64) {
        self.last = self.last.max(batch);
        self.batches.clear();
        self.salvage.lost.clear();
    }

    /// No more will come: what is missing at the end is lost as well.
    pub(super) fn close(&mut self) {
        if self.last < self.durable {
            self.salvage.lost.push((self.last + 1, self.durable));
            self.salvage.all_suspect = true;
        }
    }

    /// Reads the header at hand; false while it is being read. One that is not whole, or of an earlier run than the one before, is nobody's.
    fn header(&mut self, found: Found, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        let Some(read) = reading.get(Need { place: found.place, blocks: found.header_blocks }, ops) else {
            return false;
        };
        let understood = read.ok().and_then(|header| {
            let fixed = Fixed::decode(&header)?;
            Some((fixed, fixed.body(&header)?))
        });
        self.waiting = understood.filter(|(fixed, _)| fixed.run >= self.run);
        true
    }

    fn payload(&self, fixed: &Fixed, body: &Body, reading: &mut Reading, ops: &mut Vec<Op>) -> Option<bool> {
        if fixed.payload_blocks == 0 {
            return Some(true);
        }
        let need = Need { place: fixed.place + fixed.header_blocks, blocks: fixed.payload_blocks };
        let read = reading.get(need, ops)?;
        Some(read.is_ok_and(|bytes| is_whole(&body.changes, bytes.chunks_exact(BLOCK_BYTES))))
    }

    fn apply(&mut self, fixed: &Fixed, body: Body, shards: &mut Shards) {
        if fixed.batch > self.last + 1 {
            self.salvage.lost.push((self.last + 1, fixed.batch - 1));
            if fixed.batch == self.last + 2 {
                self.suspects.extend(body.previous_shards);
            } else {
                self.salvage.all_suspect = true;
            }
        }
        (self.last, self.run) = (fixed.batch, fixed.run);
        self.salvage.batches += 1;
        self.batches.push(seen(fixed));
        if self.orphans {
            self.known.insert(fixed.place, (fixed.blocks(), fixed.batch));
        }
        for (shard, committed, change) in body.changes {
            match change {
                Change::Move { frozen_by, block, place, froms, crcs } if self.orphans => {
                    self.adopt((shard, committed), frozen_by, (block, place), &froms, &crcs, shards);
                }
                change => shards.apply(shard, committed, change),
            }
        }
    }

    /// A move whose block came from a place of which no header is left, because its segment was used again, is all that is known of that block.
    fn adopt(
        &self,
        (shard, committed): (ShardId, Sequence),
        frozen_by: Sequence,
        (block, place): (u32, u32),
        froms: &[u32],
        crcs: &[u32],
        shards: &mut Shards,
    ) {
        for (i, (&from, &crc)) in (0..).zip(froms.iter().zip(crcs)) {
            let (block, place) = (block + i, place + i);
            if self.batch_of(from).is_some() {
                let change = Change::Move { frozen_by, block, place, froms: [from].into(), crcs: Crcs::One([crc]) };
                shards.apply(shard, committed, change);
            } else {
                shards.commit(shard, committed);
                shards.adopt(&Named { shard, block, place, crc }, frozen_by);
            }
        }
    }

    /// The batch that was applied and that a place belongs to.
    pub(super) fn batch_of(&self, place: u32) -> Option<u64> {
        let (&first, &(blocks, batch)) = self.known.range(..=place).next_back()?;
        (place - first < blocks).then_some(batch)
    }
}
