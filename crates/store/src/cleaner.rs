//! The cleaner: makes segments free by writing their live blocks again at the head of the log.
//!
//! ```text
//! choose (benefit over cost) -> read the segment, header by header -> sort its live blocks -> move them, as fast as space and writers want
//!   -> nothing in it is named any more -> the next checkpoint retires it -> free
//! ```
//!
//! *Whom*: the segment with the greatest (dead blocks × age) / (all blocks + live blocks): an old one that is half dead costs less over time than a young one
//! whose other half will die by itself (Rosenblum and Ousterhout, 1992). *How fast*: not at all while enough segments are free; below that
//! for each block that is appended so many are moved as the want is great; and as fast as the disk can when nothing else is to be
//! appended, or when writers have to wait for space. *How much at once*: what those who write and read leave it (the pace), but never less than space
//! demands.
//!
//! It checks every block against its checksum, and reports one that does not match or cannot be read: it stays where it is until it was mended.

use crate::append::{Log, MOVED_BLOCKS_MAX, Moving};
use crate::geometry::Geometry;
use crate::named::Named;
use crate::ops::Ops;
use crate::read::Reads;
use crate::segments::{Segments, Use};
use crate::shards::Shards;
use crate::survey::Survey;
use alloc::collections::{BTreeMap, VecDeque};
use base::io::disk::{Fault, OpId};
use base::log::Rot;
use base::{Payload, StoreUuid, checksum};

/// Free segments down to which the cleaner may begin another: a checkpoint needs two, beside the one that the log names as its next and one that is
/// being written with zeroes.
pub(crate) const FLOOR_OF_MOVES: u32 = 4;
/// Reads under way.
const READS_MAX: usize = 2;
/// Blocks of moves that wait for a batch.
const QUEUED_BLOCKS_MAX: u64 = 128;
/// Blocks that are read at once while others want the disk.
const READ_AT_ONCE_BLOCKS: u64 = 128;
/// Blocks moved for each block appended, when space is almost out.
const HASTE_MAX: u64 = 8;

/// The cleaner of one store.
#[derive(Debug)]
pub(crate) struct Cleaner {
    geometry: Geometry,
    uuid: StoreUuid,
    /// The segment being read.
    victim: Option<Survey>,
    /// Blocks to be moved, in order, each by itself.
    moving: VecDeque<Moving>,
    /// Segments in which something remained that cannot be moved now, and how much was appended when that was seen.
    left: BTreeMap<u32, u64>,
    /// Blocks that may still be moved for what was appended.
    credit: u64,
    /// Blocks that may be read for that.
    reading: u64,
    appended: u64,
    /// Blocks that each batch must take of them, whoever waits.
    least: u32,
}

impl Cleaner {
    /// Nothing under way.
    pub(crate) fn new(geometry: Geometry, uuid: StoreUuid) -> Self {
        Self {
            geometry,
            uuid,
            victim: None,
            moving: VecDeque::new(),
            left: BTreeMap::new(),
            credit: 0,
            reading: 0,
            appended: 0,
            least: 0,
        }
    }

    /// Whether a checkpoint is wanted because segments that it would free are.
    pub(crate) fn wants_checkpoint(&self, segments: &Segments, head: Option<u32>) -> bool {
        let (free, dead) = (segments.free() + segments.retired(), segments.dead(head));
        let wait = segments.free() <= self.geometry.floor_of_writers();
        self.geometry.is_cleaned() && (free < self.geometry.low_water() && dead >= 2 || wait && dead >= 1)
    }

    /// Goes on as far as it should.
    pub(crate) fn step(&mut self, shards: &mut Shards, log: &mut Log, reads: &mut Reads, ops: &mut Ops<'_>) {
        if !self.geometry.is_cleaned() {
            return;
        }
        self.earn(&shards.segments, log, reads);
        while self.credit > 0 && log.moves_queued() < QUEUED_BLOCKS_MAX {
            if !self.moving.is_empty() {
                // Many at once: a few alone would need a header for themselves.
                let many = self.moving.len().min(MOVED_BLOCKS_MAX as usize);
                if self.credit < many as u64 {
                    return;
                }
                self.credit -= many as u64;
                self.gather(many, log, reads);
            } else if self.victim.is_some() {
                if !self.go_on(shards, reads, ops) {
                    return;
                }
            } else if log.moves_queued() > 0 || !self.choose(&shards.segments, log) {
                // What was moved must be known before the next one is chosen: it may be all that was wanted.
                return;
            }
        }
    }

    /// Gives so many of them to the log. They are checked only now: all of a segment at once would take as long as a write may.
    fn gather(&mut self, many: usize, log: &mut Log, reads: &mut Reads) {
        for moving in self.moving.drain(..many) {
            let Moving { shard, block, froms, crcs, data } = &moving;
            let (place, crc) = (froms[0], crcs[0]);
            if checksum::block(*shard, *block, data) == crc {
                log.gather_move(moving);
            } else {
                reads.found(*shard, Rot { block: *block, crc, place });
                self.left.insert(self.geometry.segment_of(place), self.appended);
            }
        }
    }

    /// A read ended, if it was one of these.
    pub(crate) fn done(&mut self, op: OpId, result: &Result<Payload, Fault>) -> bool {
        self.victim.as_mut().is_some_and(|victim| victim.done(op, result))
    }

    /// Blocks of moves that each batch must take, if there are so many.
    pub(crate) fn least(&self) -> u32 {
        self.least
    }

    /// What may be moved now. What only waits for a checkpoint counts as free.
    fn earn(&mut self, segments: &Segments, log: &Log, reads: &Reads) {
        let per = u64::from(self.geometry.segment_blocks());
        let blocks = |segments: u32| u64::from(segments) * per;
        let free = segments.free() + segments.retired() + segments.dead(log.head_segment());
        let left = blocks(free) + u64::from(log.head_blocks_left());
        let floor_segments = self.geometry.floor_of_writers();
        let (low, floor) = (blocks(self.geometry.low_water()), blocks(floor_segments));
        let appended = log.appended_blocks() - log.moved_blocks();
        let fresh = appended - core::mem::replace(&mut self.appended, appended);
        if left >= low {
            (self.credit, self.reading, self.least) = (0, 0, 0);
        } else if free <= floor_segments || log.is_idle() && reads.is_idle() {
            (self.credit, self.reading) = (self.credit.max(QUEUED_BLOCKS_MAX), per);
            self.least = MOVED_BLOCKS_MAX;
        } else {
            let fresh = if log.is_idle() { QUEUED_BLOCKS_MAX } else { fresh };
            let (missing, all) = (low - left, low - floor);
            let moved = fresh * (missing * HASTE_MAX + all) / all;
            self.credit = (self.credit + moved).min(4 * per);
            // About half of what is read is live, and nothing is moved meanwhile. It is not saved up: that would come as a burst.
            self.reading = (self.reading + fresh + moved).min(READ_AT_ONCE_BLOCKS);
            self.least = (u64::from(MOVED_BLOCKS_MAX) * missing / all) as u32;
        }
    }

    fn choose(&mut self, segments: &Segments, log: &Log) -> bool {
        let Some(settled) = log.settled_before() else { return false };
        // What is not worth it is not moved round and round; and whatever is begun must come to an end in one more segment.
        let per = self.geometry.segment_blocks();
        let waited_for = segments.free() <= self.geometry.floor_of_writers();
        let most = if waited_for { self.geometry.worth_moving_blocks() } else { per / 4 * 3 };
        if segments.free() <= FLOOR_OF_MOVES {
            return false;
        }
        let all = u128::from(self.geometry.segment_blocks());
        let patience = u64::from(self.geometry.segments()) * u64::from(self.geometry.segment_blocks()) / 8;
        self.left.retain(|_, since| self.appended < *since + patience);
        let value = |segment: u32| {
            let live = u128::from(segments.live_in(segment));
            let age = settled.saturating_sub(segments.opened(segment));
            let fit = segments.used(segment) == Use::Log
                && Some(segment) != log.head_segment()
                && (1..=u128::from(most)).contains(&live)
                && age > 0
                && !self.left.contains_key(&segment);
            fit.then(|| (all - live) * u128::from(age) * 256 / (all + live)).filter(|value| *value > 0)
        };
        let best = (0..self.geometry.segments()).filter_map(|s| Some((value(s)?, s))).max();
        self.victim = best.map(|(_, segment)| Survey::new(self.geometry, self.uuid, segment, READS_MAX));
        self.victim.is_some()
    }

    /// Reads, and makes moves of the live blocks of a segment that was read, in the order of shards and blocks. False if there is nothing to do
    /// but to wait for the disk.
    fn go_on(&mut self, shards: &Shards, reads: &mut Reads, ops: &mut Ops<'_>) -> bool {
        if let Some(victim) = &mut self.victim {
            self.reading = self.reading.saturating_sub(victim.read_on(self.reading, ops));
        }
        let Some(victim) = self.victim.take_if(|victim| victim.is_read()) else { return false };
        let mut live = victim.live(shards);
        live.sort_unstable_by_key(|(named, _)| (named.shard, named.block));
        let mut whole = true;
        for (Named { shard, block, place, crc }, bytes) in live {
            if let Some(data) = bytes {
                let (froms, crcs) = ([place].into(), [crc].into_iter().collect());
                self.moving.push_back(Moving { shard, block, froms, crcs, data });
            } else {
                reads.found(shard, Rot { block, crc, place });
                whole = false;
            }
        }
        if !whole || self.moving.is_empty() {
            self.left.insert(victim.segment(), self.appended);
        }
        true
    }
}
