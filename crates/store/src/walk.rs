//! Recovery of the log: follows the chain of headers from where the last checkpoint left it to the last batch, applies what was durable, cuts a torn tail, and
//! goes over what is not a torn tail: the shards that were in a batch that is lost are suspect.
//!
//! ```text
//! Find --a header with the next number and the right link--> Find
//!   |
//!   +--none--> Prove --no header anywhere says that the missing batch was durable--> Verify --> Done
//!                |                                                                     (payloads of batches above
//!                +--one does--> Bridge: on with the next batch that is there, or with none       the last durable_through)
//! ```
//!
//! *Whose a lost batch was* is told by the header behind it, which repeats the list of its shards. If that one is lost too, or there is none, every shard
//! is suspect.
//!
//! *What may follow a header* is the header right behind its batch, or the first of another segment: a segment that was full, or a
//! run that ended (its tail cut) and a later one that went on in a fresh segment. If both fit, the later run holds: it
//! was written after the other had been cut.
//!
//! *Why a `durable_through` is proof.* A batch is declared durable only after all before it. So whoever says "durable through n" in a header
//! that was itself written later knew that n was on the disk; and no header of a tail that was once cut says so of the batch at which
//! it was cut. Where the next batch must be looked for is certain: right behind, or at the start of the segment that every header of the
//! current one names as next, because a run that goes on after recovery begins there too.
//!
//! *A lost beginning of a run* could send the chain into a tail that had been cut before that run: so the superblock and every header tell with which number their run began,
//! and batches of earlier runs from there on are nobody's.
//!
//! *What the disk fails to read* is passed over where nothing depends on it: in the payload of a batch that was durable, which is checked, and mended, when
//! somebody reads it. In what is free behind the chain it can only have been a header that proves a batch durable which is missing: every shard is suspect then, and is filled anew from others.
//! Anywhere else, and in a header that comes next and begins well, it could be what was acknowledged last; a torn tail is never made of it.
//!
//! Memory: the first header of each segment (40 bytes), 2 MiB of the disk, and the entries of at most 64 batches.

use crate::append::{BATCHES_IN_FLIGHT_MAX, Tail};
use crate::buffer::{Buffer, Need};
use crate::checkpoint::Standing;
use crate::entry::Change;
use crate::geometry::{Geometry, byte_of};
use crate::header::{Fixed, HEAD_HOT, NO_SEGMENT, genesis};
use crate::shards::Shards;
use crate::superblock::Superblock;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use base::io::disk::Fault;
use base::mutant::{Mutant, Mutation};
use base::{Payload, Sequence, ShardId, StoreUuid, checksum};
use core::ops::ControlFlow::{self, Break, Continue};

/// What the first header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct First {
    batch: u64,
    segment: u32,
    run: u64,
    run_first: u64,
    durable_through: u64,
    /// The hash of the header before it.
    previous: u64,
}

/// A batch whose header fits the chain, not yet known to be whole.
#[derive(Debug)]
struct Pending {
    fixed: Fixed,
    link: u64,
    shards: Vec<ShardId>,
    changes: Vec<(ShardId, Sequence, Change)>,
}

/// What the next header must be.
#[derive(Debug, Clone, Copy)]
struct Expected {
    batch: u64,
    previous: u64,
    /// Where the last batch ended: segment, block in it, and the first batch of that segment.
    behind: Option<(u32, u32, u64)>,
    next_segment: u32,
}

#[derive(Debug)]
enum Stage {
    Find,
    /// Headers that may follow, the likeliest last: (segment, block in it).
    Try(Vec<(u32, u32)>),
    /// Stretches of segments in which a proof of rot may lie: (segment, from block).
    Prove(VecDeque<(u32, u32)>),
    /// The missing batch was durable: stretches in which the batch after it may lie, and the best header so far.
    Bridge(VecDeque<(u32, u32)>, Option<Found>),
    /// Batches whose payloads were found whole.
    Verify(usize),
    Done,
}

/// A header behind a lost batch. The lowest batch counts, of the latest run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    batch: u64,
    run: u64,
    previous: u64,
    segment: u32,
    offset: u32,
}

/// What recovery wants.
#[derive(Debug)]
pub(crate) enum Next {
    Read(Need),
    Done,
}

/// Something that had been durable is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The first batch that is lost.
    pub batch: u64,
    /// The segment it should be in.
    pub segment: u32,
    /// The byte of the disk where it should begin.
    pub at: u64,
}

/// The recovery of one log.
#[derive(Debug)]
pub(crate) struct Walk {
    geometry: Geometry,
    uuid: StoreUuid,
    firsts: Vec<First>,
    buffer: Buffer,
    stage: Stage,
    expected: Expected,
    /// The highest batch known durable.
    durable: u64,
    pending: VecDeque<Pending>,
    /// The highest `durable_through` of headers off the chain.
    proof: u64,
    /// Runs that the superblock and headers off the chain tell of, by their numbers: their first batches.
    runs: BTreeMap<u64, u64>,
    /// The last batch applied: its number, link, shards, segment, and the segment that follows it.
    last: (u64, u64, Vec<ShardId>, u32, u32),
    /// The first damage that was met.
    damage: Option<Damage>,
    /// The next header tells of whom the batch before it was.
    bridged: bool,
    shards: Shards,
    /// The blocks of headers that fit the chain by their first block and are not whole: places of the first one, and behind the last.
    broken: Vec<(u32, u32)>,
    /// Places that the disk fails to read, which may matter.
    unreadable: BTreeMap<u32, Fault>,
    /// Segments whose first block it failed to read.
    firsts_failed: BTreeMap<u32, Fault>,
    /// Whether shards are suspect for one that it left behind.
    doubted: bool,
    /// What it went through, if somebody wants to see that.
    trace: Option<Trace>,
    mutation: Mutation,
}

/// What a walk went through.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The batches that it applied.
    pub(crate) batches: Vec<Fixed>,
    /// Headers of this run that it cut: of a torn tail.
    pub(crate) torn: u32,
}

/// A header of this store, at its own place and of possible size; whether it fits the chain is another question.
pub(crate) fn header_at(
    uuid: StoreUuid,
    geometry: &Geometry,
    (segment, offset): (u32, u32),
    block: &[u8],
) -> Option<Fixed> {
    let fixed = Fixed::decode(block)?;
    let own = fixed.uuid == uuid
        && (fixed.segment, fixed.place) == (segment, geometry.place(segment, offset))
        && fixed.head == HEAD_HOT
        && fixed.batch - fixed.durable_through <= u64::from(BATCHES_IN_FLIGHT_MAX)
        && fixed.blocks() <= geometry.segment_blocks() - offset
        && (fixed.next_segment == NO_SEGMENT || fixed.next_segment < geometry.segments());
    own.then_some(fixed)
}

/// Whether each block of a batch's payload is the one that was written; `blocks` are they, in their order.
pub(crate) fn is_whole<'a>(
    changes: &[(ShardId, Sequence, Change)],
    mut blocks: impl Iterator<Item = &'a [u8]>,
) -> bool {
    changes.iter().filter_map(|(shard, _, change)| Some((shard, change.payload()?))).all(|(shard, (block, crcs))| {
        (block..)
            .zip(crcs)
            .all(|(block, &crc)| blocks.next().is_some_and(|bytes| checksum::block(*shard, block, bytes) == crc))
    })
}

impl Walk {
    /// Goes on from `shards` as they were when the log stood there; from the beginning of the log when that was never written down. To be
    /// given the first block of every segment, and then begun.
    pub(crate) fn new(superblock: &Superblock, shards: Shards, standing: &Standing) -> Self {
        let &Superblock { geometry, uuid, run, run_first, .. } = superblock;
        let previous = if standing.batch == 0 { genesis(uuid) } else { standing.link };
        let behind = standing.head.map(|head| (head.segment, head.offset, head.opened));
        let expected = Expected { batch: standing.batch + 1, previous, behind, next_segment: standing.next_segment };
        let segment = standing.head.map_or(0, |head| head.segment);
        Self {
            geometry,
            uuid,
            firsts: Vec::new(),
            buffer: Buffer::default(),
            stage: Stage::Find,
            expected,
            durable: standing.batch,
            pending: VecDeque::new(),
            proof: 0,
            runs: BTreeMap::from([(run, run_first)]),
            last: (standing.batch, previous, standing.shards.clone(), segment, standing.next_segment),
            damage: None,
            bridged: false,
            shards,
            broken: Vec::new(),
            unreadable: BTreeMap::new(),
            firsts_failed: BTreeMap::new(),
            doubted: false,
            trace: None,
            mutation: Mutation::default(),
        }
    }

    /// Makes it wrong.
    pub(crate) fn mutated(self, mutation: Mutation) -> Self {
        Self { mutation, ..self }
    }

    /// Remembers what it goes through.
    pub(crate) fn traced(mut self) -> Self {
        self.trace = Some(Trace::default());
        self
    }

    /// The chain has ended. Gives the first place that could not be read and could be what was acknowledged last. If there are such only as could have told of
    /// it, nobody can say of any shard that it is whole.
    pub(crate) fn doubt(&mut self) -> Option<(u32, Fault)> {
        let Expected { batch, behind, next_segment, .. } = self.expected;
        let is_free = |place: &u32| {
            let (segment, offset) = (self.geometry.segment_of(*place), self.geometry.offset_of(*place));
            let is_behind = behind.is_some_and(|(at, end, _)| segment == at && offset > end);
            let is_of_header = self.broken.iter().any(|&(from, to)| (from..to).contains(place));
            !is_of_header && (is_behind || (segment == next_segment && offset > 0))
        };
        if let Some((&place, &fault)) = self.unreadable.iter().find(|(place, _)| !is_free(place)) {
            return Some((place, fault));
        }
        // It may be read by now, and what the log was taken for without it is wrong all the same.
        if let Some(&fault) = self.firsts_failed.get(&next_segment) {
            return Some((self.geometry.place(next_segment, 0), fault));
        }
        if let Some((&place, _)) = self.unreadable.first_key_value() {
            let segment = self.geometry.segment_of(place);
            self.damage.get_or_insert(Damage { batch, segment, at: byte_of(place) });
            self.shards.suspect_all();
        }
        None
    }

    /// Gives up, or is done: the shards as far as it came, the last batch applied, and what it went through. Where a batch is missing that was
    /// durable, all before it were.
    pub(crate) fn surrender(mut self, was_durable: bool) -> (Shards, u64, Trace) {
        if was_durable {
            self.apply_through(u64::MAX);
        }
        (self.shards, self.last.0, self.trace.unwrap_or_default())
    }

    /// The first block of a segment.
    pub(crate) fn first(&mut self, segment: u32, block: &[u8]) {
        if let Some(fixed) = self.header_at(segment, 0, block) {
            self.shards.segments.found(segment, fixed.opened);
            let Fixed { batch, run, run_first, previous, .. } = fixed;
            let durable_through = self.told_durable(&fixed);
            self.firsts.push(First { batch, segment, run, run_first, durable_through, previous });
        }
    }

    /// All first blocks were given.
    pub(crate) fn begin(&mut self) {
        self.firsts.sort_unstable();
    }

    /// What was asked for with [`Next::Read`].
    pub(crate) fn read(&mut self, bytes: Payload) {
        self.buffer.put(bytes);
    }

    /// The next block of what was asked for cannot be read.
    pub(crate) fn fails(&mut self, fault: Fault) {
        self.unreadable.insert(self.buffer.end(), fault);
        self.buffer.put(Payload::zero_block());
    }

    /// The first block of a segment cannot be read. It matters if the log goes on there.
    pub(crate) fn first_fails(&mut self, segment: u32, fault: Fault) {
        self.firsts_failed.insert(segment, fault);
    }

    /// Whether something could not be read that may have mattered to what was found.
    pub(crate) fn met_failures(&self) -> bool {
        self.doubted || !self.unreadable.is_empty() || self.firsts_failed.contains_key(&self.expected.next_segment)
    }

    /// Places that the disk failed to read so far, without those of which it is known that they do not matter here.
    pub(crate) fn unreadable(&self) -> &BTreeMap<u32, Fault> {
        &self.unreadable
    }

    /// Goes on as far as what was read allows.
    pub(crate) fn advance(&mut self) -> Next {
        loop {
            let result = match core::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Find => self.find(),
                Stage::Try(candidates) => self.attempt(candidates),
                Stage::Prove(stretches) => self.prove(stretches),
                Stage::Bridge(stretches, best) => self.bridge(stretches, best),
                Stage::Verify(whole) => self.verify(whole),
                Stage::Done => return Next::Done,
            };
            if let Break(next) = result {
                return next;
            }
        }
    }

    /// The damage that was met, if there was any.
    pub(crate) fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// The shards as the log leaves them, and where it goes on.
    pub(crate) fn finish(mut self, run: u64) -> (Shards, Tail) {
        self.shards.settle_suspects();
        let (batch, link, previous_shards, segment, named) = self.last;
        let free = named != NO_SEGMENT && self.shards.segments.is_free(named);
        let next_segment = if free { named } else { self.shards.segments.free_after(segment) };
        let tail = Tail {
            uuid: self.uuid,
            run,
            batch: batch + 1,
            previous: link,
            previous_shards,
            durable_through: batch,
            next_segment,
        };
        (self.shards, tail)
    }

    fn end_of(&self, segment: u32) -> u32 {
        self.geometry.place(segment, 0) + self.geometry.segment_blocks()
    }

    fn header_at(&self, segment: u32, offset: u32, block: &[u8]) -> Option<Fixed> {
        header_at(self.uuid, &self.geometry, (segment, offset), block)
    }

    /// The batch up to which a header says that all is durable.
    fn told_durable(&self, fixed: &Fixed) -> u64 {
        if self.mutation.is(Mutant::DurableThroughIgnored) { 0 } else { fixed.durable_through }
    }

    /// A header that is the next link of the chain.
    fn next_at(&self, segment: u32, offset: u32, block: &[u8]) -> Option<Fixed> {
        let fixed = self.header_at(segment, offset, block)?;
        let links = fixed.previous == self.expected.previous || self.mutation.is(Mutant::AnyPrevious);
        let next = links
            && fixed.batch == self.expected.batch
            && self.expected.behind.is_none_or(|(_, _, opened)| {
                if offset == 0 { fixed.opened == fixed.batch } else { fixed.opened == opened }
            });
        next.then_some(fixed)
    }

    /// Where the next header would be if it is right behind the last batch.
    fn behind(&self) -> Option<(u32, u32)> {
        let (segment, offset, _) = self.expected.behind?;
        (offset < self.geometry.segment_blocks()).then_some((segment, offset))
    }

    fn find(&mut self) -> ControlFlow<Next> {
        let mut candidates: Vec<(u64, u32, u32)> = Vec::new();
        if let Some((segment, offset)) = self.behind() {
            let place = self.geometry.place(segment, offset);
            if let Err(need) = self.buffer.want(place, 1, self.end_of(segment)) {
                self.stage = Stage::Find;
                return Break(Next::Read(need));
            }
            if let Some(fixed) = self.next_at(segment, offset, self.buffer.block(place)) {
                candidates.push((fixed.run, segment, offset));
            }
        }
        let batch = self.expected.batch;
        let from = self.firsts.partition_point(|first| first.batch < batch);
        let same = self.firsts[from..].iter().take_while(|first| first.batch == batch);
        candidates.extend(same.map(|first| (first.run, first.segment, 0)));
        candidates.sort_unstable();
        self.stage = Stage::Try(candidates.into_iter().map(|(_, segment, offset)| (segment, offset)).collect());
        Continue(())
    }

    fn attempt(&mut self, mut candidates: Vec<(u32, u32)>) -> ControlFlow<Next> {
        let Some(&(segment, offset)) = candidates.last() else {
            if core::mem::take(&mut self.bridged) {
                self.shards.suspect_all();
            }
            self.stage = self.stretches();
            return Continue(());
        };
        let (place, end) = (self.geometry.place(segment, offset), self.end_of(segment));
        let mut wanted = self.buffer.want(place, 1, end);
        let fixed = if wanted.is_ok() { self.next_at(segment, offset, self.buffer.block(place)) } else { None };
        if let Some(fixed) = fixed {
            wanted = self.buffer.want(place, fixed.header_blocks, end);
        }
        if let Err(need) = wanted {
            self.stage = Stage::Try(candidates);
            return Break(Next::Read(need));
        }
        let whole = fixed.and_then(|fixed| {
            let header = self.buffer.copy(place, fixed.header_blocks);
            fixed.body(&header).map(|body| (fixed, body, checksum::chain(&header)))
        });
        let Some((fixed, body, link)) = whole else {
            if let Some(fixed) = fixed {
                self.broken.push((place, place + fixed.header_blocks));
            }
            candidates.pop();
            self.stage = Stage::Try(candidates);
            return Continue(());
        };
        if core::mem::take(&mut self.bridged) {
            body.previous_shards.iter().for_each(|shard| self.shards.suspect(*shard));
        }
        let behind = Some((segment, offset + fixed.blocks(), fixed.opened));
        let next = Expected { batch: fixed.batch + 1, previous: link, behind, next_segment: fixed.next_segment };
        let before = core::mem::replace(&mut self.expected, next);
        self.pending.push_back(Pending { fixed, link, shards: body.shards, changes: body.changes });
        self.durable = self.durable.max(self.told_durable(&fixed));
        self.apply_through(self.durable);
        if let Some((left, end, _)) = before.behind.filter(|(left, ..)| *left != segment) {
            self.leave(left, end, &fixed);
        }
        self.stage = Stage::Find;
        Continue(())
    }

    /// The chain has gone on to another segment, so what lies behind its end in this one is none of it, and need not be read. But a run that began after it
    /// opened without it too, with every shard suspect, and not all may have written that down.
    fn leave(&mut self, segment: u32, end: u32, next: &Fixed) {
        let behind = self.geometry.place(segment, 0) + end..self.end_of(segment);
        let Some(&place) = self.unreadable.range(behind.clone()).next().map(|(place, _)| place) else { return };
        if self.mutation.is(Mutant::LeftBehindMatters) {
            return;
        }
        if next.run_first == next.batch && !self.mutation.is(Mutant::LeftBehindForgotten) {
            self.damage.get_or_insert(Damage { batch: next.batch, segment, at: byte_of(place) });
            self.shards.suspect_all();
            self.doubted = true;
        }
        self.unreadable.retain(|place, _| !behind.contains(place));
    }

    fn apply_through(&mut self, batch: u64) {
        while self.pending.front().is_some_and(|p| p.fixed.batch <= batch) {
            let p = self.pending.pop_front().expect("it was there");
            self.shards.segments.occupy(p.fixed.segment, p.fixed.opened);
            let payload = p.fixed.place + p.fixed.header_blocks..p.fixed.place + p.fixed.blocks();
            self.unreadable.retain(|place, _| !payload.contains(place));
            for (shard, committed, change) in p.changes {
                self.shards.apply(shard, committed, change);
            }
            self.last = (p.fixed.batch, p.link, p.shards, p.fixed.segment, p.fixed.next_segment);
            if let Some(trace) = &mut self.trace {
                trace.batches.push(p.fixed);
            }
        }
    }

    /// The chain ends. Where a header could lie that was written after the missing batch was durable.
    fn stretches(&mut self) -> Stage {
        self.runs.extend(self.firsts.iter().map(|first| (first.run, first.run_first)));
        self.disown();
        let missing = self.expected.batch;
        self.proof = self.firsts.iter().map(|first| first.durable_through).max().unwrap_or(0);
        if self.proof >= missing {
            return self.damaged(None);
        }
        let mut stretches = VecDeque::new();
        stretches.extend(self.behind());
        if self.expected.next_segment != NO_SEGMENT {
            stretches.push_back((self.expected.next_segment, 0));
        }
        let later = self.firsts.iter().filter(|first| first.batch > missing);
        stretches.extend(later.map(|first| (first.segment, 0)));
        Stage::Prove(stretches)
    }

    /// The next header in these stretches, which are shortened to what lies behind it. None when all of them were searched.
    fn next_header(&mut self, stretches: &mut VecDeque<(u32, u32)>) -> Result<Option<Fixed>, Need> {
        while let Some(&(segment, offset)) = stretches.front() {
            if offset >= self.geometry.segment_blocks() {
                stretches.pop_front();
                continue;
            }
            let place = self.geometry.place(segment, offset);
            self.buffer.want(place, 1, self.end_of(segment))?;
            let fixed = self.header_at(segment, offset, self.buffer.block(place));
            stretches[0] = (segment, offset + fixed.map_or(1, |fixed| fixed.blocks()));
            if let Some(fixed) = fixed {
                self.runs.insert(fixed.run, fixed.run_first);
                return Ok(Some(fixed));
            }
        }
        Ok(None)
    }

    fn prove(&mut self, mut stretches: VecDeque<(u32, u32)>) -> ControlFlow<Next> {
        loop {
            let fixed = match self.next_header(&mut stretches) {
                Ok(Some(fixed)) => fixed,
                Ok(None) => break,
                Err(need) => {
                    self.stage = Stage::Prove(stretches);
                    return Break(Next::Read(need));
                }
            };
            self.disown();
            if self.told_durable(&fixed) >= self.expected.batch {
                self.stage = self.damaged(Some(fixed.segment));
                return Continue(());
            }
            self.proof = self.proof.max(self.told_durable(&fixed));
            if fixed.batch >= self.expected.batch {
                self.note_torn(&fixed);
            }
        }
        if self.proof >= self.expected.batch {
            self.stage = self.damaged(None);
            return Continue(());
        }
        self.durable = self.durable.max(self.proof);
        self.apply_through(self.durable);
        self.stage = Stage::Verify(0);
        Continue(())
    }

    /// Where the first header of a later run is lost, the chain may have gone on into a tail that was cut before that run began. Such batches are
    /// nobody's, and the one that is missing has the number of the first of them.
    fn disown(&mut self) {
        let Some(at) = self.pending.iter().position(|p| self.is_cut(p.fixed.run, p.fixed.batch)) else { return };
        let Fixed { batch, previous, segment, place, opened, .. } = self.pending[at].fixed;
        let before = at.checked_sub(1).map_or(self.last.4, |at| self.pending[at].fixed.next_segment);
        let offset = place - self.geometry.place(segment, 0);
        let behind = Some((segment, offset, opened));
        self.expected = Expected { batch, previous, behind, next_segment: before };
        self.pending.truncate(at);
    }

    /// The missing batch was durable, says a header. It was right behind the last one if that header, or the first of the
    /// segment that comes next, was written after it there; otherwise at the start of that segment. The batch after it lies behind it in either, or begins
    /// another segment.
    fn damaged(&mut self, proof_in: Option<u32>) -> Stage {
        let Expected { batch, next_segment, .. } = self.expected;
        let next_is_later = self.firsts.iter().any(|first| first.segment == next_segment && first.batch > batch);
        let here =
            |&(segment, _): &(u32, u32)| proof_in == Some(segment) || next_is_later || next_segment == NO_SEGMENT;
        let last_resort = self.expected.behind.map_or(0, |(segment, ..)| segment);
        let next = if next_segment == NO_SEGMENT { last_resort } else { next_segment };
        let (segment, offset) = self.behind().filter(here).unwrap_or((next, 0));
        let at = byte_of(self.geometry.place(segment, offset));
        self.damage.get_or_insert(Damage { batch, segment, at });
        if self.trace.is_some() {
            // Who only looks goes on in a way of his own, which takes all that there is.
            return Stage::Done;
        }
        let rest = self.behind().into_iter().chain((next_segment != NO_SEGMENT).then_some((next_segment, 0)));
        Stage::Bridge(rest.collect(), None)
    }

    /// Looks for the batch with which the chain goes on.
    fn bridge(&mut self, mut stretches: VecDeque<(u32, u32)>, mut best: Option<Found>) -> ControlFlow<Next> {
        loop {
            match self.next_header(&mut stretches) {
                Ok(Some(Fixed { batch, run, previous, segment, place, .. })) => {
                    let offset = self.geometry.offset_of(place);
                    best = self.better(best, Found { batch, run, previous, segment, offset });
                }
                Ok(None) => break,
                Err(need) => {
                    self.stage = Stage::Bridge(stretches, best);
                    return Break(Next::Read(need));
                }
            }
        }
        for &First { batch, segment, run, previous, .. } in &self.firsts {
            best = self.better(best, Found { batch, run, previous, segment, offset: 0 });
        }
        // A run that was met only now may disown what was taken for the best before.
        let missing = self.expected.batch;
        self.durable = self.durable.max(self.proof);
        let Some(found) = best.filter(|found| !self.is_cut(found.run, found.batch)) else {
            self.shards.suspect_all();
            self.apply_through(u64::MAX);
            self.stage = Stage::Done;
            return Continue(());
        };
        if found.batch == missing + 1 {
            self.bridged = true;
        } else {
            self.shards.suspect_all();
        }
        // All before the missing one was durable.
        self.apply_through(missing);
        self.expected =
            Expected { batch: found.batch, previous: found.previous, behind: None, next_segment: NO_SEGMENT };
        self.stage = Stage::Try(alloc::vec![(found.segment, found.offset)]);
        Continue(())
    }

    fn better(&self, best: Option<Found>, found: Found) -> Option<Found> {
        let counts = found.batch > self.expected.batch && !self.is_cut(found.run, found.batch);
        let order = |f: &Found| (f.batch, core::cmp::Reverse(f.run));
        if counts && best.is_none_or(|best| order(&found) < order(&best)) { Some(found) } else { best }
    }

    /// Whether a batch of a run had been cut when a later run began.
    fn is_cut(&self, run: u64, batch: u64) -> bool {
        !self.mutation.is(Mutant::AnyPrevious) && self.runs.range(run + 1..).any(|(_, &first)| first <= batch)
    }

    /// Of the batches that nobody knows to have been durable: those before the first with a bad payload were, or now are.
    fn verify(&mut self, mut whole: usize) -> ControlFlow<Next> {
        while let Some(p) = self.pending.get(whole) {
            let end = self.end_of(p.fixed.segment);
            let first = p.fixed.place + p.fixed.header_blocks;
            if p.fixed.payload_blocks > 0
                && let Err(need) = self.buffer.want(first, p.fixed.payload_blocks, end)
            {
                self.stage = Stage::Verify(whole);
                return Break(Next::Read(need));
            }
            if !self.is_whole(p) && !self.mutation.is(Mutant::PayloadUnchecked) {
                break;
            }
            whole += 1;
        }
        let cut = self.pending.split_off(whole);
        cut.iter().for_each(|p| self.note_torn(&p.fixed));
        self.apply_through(u64::MAX);
        self.stage = Stage::Done;
        Continue(())
    }

    /// A header behind the end. One of an earlier run was cut before this run began.
    fn note_torn(&mut self, fixed: &Fixed) {
        let last = self.runs.keys().next_back().copied();
        if let Some(trace) = &mut self.trace
            && last == Some(fixed.run)
        {
            trace.torn += 1;
        }
    }

    fn is_whole(&self, p: &Pending) -> bool {
        let first = p.fixed.place + p.fixed.header_blocks;
        is_whole(&p.changes, (first..first + p.fixed.payload_blocks).map(|place| self.buffer.block(place)))
    }
}
