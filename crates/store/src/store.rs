//! The machine: everything that the outside may ask of a store, and the order in which a step works.
//!
//! ```text
//! Opening --> Ready <--> Full          a step: 1. ends of disk operations   4. batches
//!    |          |          |                   2. opening                   5. reads, zeroes
//!    v          v          v                   3. requests, in their order  6. answers
//! Refused     Poisoned <---+--> Unreadable
//! ```

use crate::append::{Formed, Log, Terms};
use crate::checkpoint::{Checkpoints, Surroundings};
use crate::chunk::Cell;
use crate::cleaner::Cleaner;
use crate::geometry::byte_of;
use crate::open::{Opened, Opening, Progress};
use crate::ops::Ops;
use crate::pace::Pace;
use crate::read::Reads;
use crate::scrub::{Scrub, Scrubbed};
use crate::shards::{Shard, Shards};
use crate::superblock::Superblock;
use crate::walk::Damage;
use crate::zero::Zeroing;
use crate::{FreezeRefusal, Geometry, OpenRefusal, Policy};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::disk::{self, OpId};
use base::log::{Event, POINTS_MAX, Recovered, Request, Stamp};
use base::time::Duration;
use base::{BLOCK_BYTES, CHUNK_BLOCKS, ClusterId, NodeId, ShardId, StoreUuid, Time};

/// Whose disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What to do with a disk whose superblocks are all zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// Make a store on it.
    Format {
        /// The new store's name.
        uuid: StoreUuid,
    },
    /// Refuse it.
    Refuse,
}

/// Where a store is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading the disk. Requests wait.
    Opening,
    /// At work.
    Ready,
    /// At work, but appends wait for space that nobody frees: even the reserve is used up. Reads go on.
    Full,
    /// Not opened. Requests are dropped.
    Refused(OpenRefusal),
    /// A write failed: nothing is appended or becomes durable any more, reads go on for rescue.
    Poisoned(disk::Fault),
    /// So many reads failed one after the other ([`Policy::reads_failed_max`]) that the disk is given up, and not mended block by block for ever. The same
    /// holds as when a write failed.
    Unreadable(disk::Fault),
}

/// Bytes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes that may be promised to shards: those of all segments, the reserve and a sixteenth for headers taken off.
    pub capacity_bytes: u64,
    /// Bytes of blocks that an index, a window or a frozen point names.
    pub used_bytes: u64,
    /// Bytes of blocks that can still be written beside those, what waits to be appended taken off. More than what may be promised leaves.
    pub room_bytes: u64,
}

/// What opening a store took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// From its first step until it was open.
    pub took: Duration,
    /// Bytes that were read: of superblocks, checkpoint, the first block of each segment, and the log.
    pub read_bytes: u64,
    /// Of that, bytes of the log.
    pub log_bytes: u64,
}

/// What a store wrote since it was opened, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Batches, with their headers: all that was appended to the log.
    pub log_bytes: u64,
    /// Of that, blocks that the cleaner moved.
    pub moved_bytes: u64,
    /// Checkpoints.
    pub checkpoint_bytes: u64,
}

/// A store at work.
#[derive(Debug)]
pub(crate) struct Work {
    superblock: Superblock,
    pub(crate) shards: Shards,
    pub(crate) log: Log,
    pace: Pace,
    reads: Reads,
    zeroing: Zeroing,
    pub(crate) checkpoints: Checkpoints,
    cleaner: Cleaner,
    scrub: Scrub,
}

#[derive(Debug)]
enum State {
    Opening(Box<Opening>),
    Closed,
    Open(Box<Work>),
}

/// The store of one disk. It is driven only by its methods and asks the disk only through [`Store::step`].
#[derive(Debug)]
pub struct Store {
    geometry: Geometry,
    policy: Policy,
    phase: Phase,
    state: State,
    begun: bool,
    requests: VecDeque<Request>,
    dones: VecDeque<disk::Done>,
    recovered: Vec<Recovered>,
    /// What became durable in this step; kept for its memory.
    durable: Vec<(ShardId, u64)>,
    next_op: u64,
    damage: Option<Damage>,
    /// When opening began.
    opening_since: Time,
    recovery: Recovery,
    reads_failed: u64,
    /// Of those, how many since the last that succeeded.
    reads_failed_in_a_row: u32,
}

fn take_id(next_op: &mut u64) -> OpId {
    *next_op += 1;
    OpId(*next_op)
}

impl Store {
    /// Not yet opened: the first step begins that. The geometry is used to format a blank disk, and to know the disk's size; on any other the
    /// geometry that it was formatted with holds.
    pub fn new(identity: Identity, geometry: Geometry, blank: Blank, policy: Policy) -> Self {
        Self {
            geometry,
            policy,
            phase: Phase::Opening,
            state: State::Opening(Box::new(Opening::new(identity, geometry, blank, policy))),
            begun: false,
            requests: VecDeque::new(),
            dones: VecDeque::new(),
            recovered: Vec::new(),
            durable: Vec::new(),
            next_op: 0,
            damage: None,
            opening_since: Time::ZERO,
            recovery: Recovery::default(),
            reads_failed: 0,
            reads_failed_in_a_row: 0,
        }
    }

    /// Takes a request; the next step works on it.
    pub fn request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Takes the end of a disk operation; the next step works on it.
    pub fn done(&mut self, done: disk::Done) {
        self.dones.push_back(done);
    }

    /// Works on all that came since the last step.
    pub fn step(&mut self, now: Time, ops: &mut Vec<disk::Op>, events: &mut Vec<Event>) {
        if !self.begun {
            (self.begun, self.opening_since) = (true, now);
        }
        while let Some(done) = self.dones.pop_front() {
            self.ended(now, done);
        }
        self.open(now, ops);
        match &mut self.state {
            State::Opening(_) => {}
            State::Closed => self.requests.clear(),
            State::Open(_) => self.work(now, ops, events),
        }
    }

    /// When to step without anything having come: at once when something waits that can be worked on or a dropped point is being dissolved, otherwise when it is time to scrub.
    pub fn deadline(&self) -> Option<Time> {
        let opening = matches!(self.state, State::Opening(_));
        let waits = !self.begun || !self.dones.is_empty() || !opening && !self.requests.is_empty();
        let dissolves = |work: &Work| work.shards.is_dissolving() && !matches!(self.phase, Phase::Poisoned(_));
        if waits || self.opened().is_some_and(dissolves) {
            Some(Time::ZERO)
        } else {
            self.opened().and_then(|work| work.scrub.deadline())
        }
    }

    /// Where it is in its life.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether appends wait for space that nobody frees.
    pub fn stalled(&self) -> bool {
        self.phase == Phase::Full
    }

    /// The shards that opening found, in order; a second call gives none. A shard that never had a register is not among them.
    pub fn recovered(&mut self) -> Vec<Recovered> {
        core::mem::take(&mut self.recovered)
    }

    /// What opening met that had been durable and is lost: the shards that may have been in it are suspect.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// What opening took, so far.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The store's name; zero before it is opened.
    pub fn uuid(&self) -> StoreUuid {
        self.opened().map_or(StoreUuid(0), |work| work.superblock.uuid)
    }

    /// Its geometry: the disk's own once it is opened.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its bytes; all zero before it is opened.
    pub fn space(&self) -> Space {
        let Some(work) = self.opened() else { return Space::default() };
        let g = &self.geometry;
        let promised = u64::from(g.segments().saturating_sub(g.reserve_segments)) * g.segment_bytes;
        let used_bytes = work.shards.segments.live_blocks() * BLOCK_BYTES as u64;
        let queued_bytes = work.log.queued_blocks() * BLOCK_BYTES as u64;
        let left = if !matches!(self.phase, Phase::Ready) {
            0
        } else if g.is_cleaned() {
            // What is dead is as good as free: the cleaner brings it, and whoever writes faster than it waits a little. Of the reserve, writes
            // that are not committed may take what writers need not leave: what they replace is still there. And never more than leaves a segment that
            // is worth being moved: all of the log's together have no more live blocks than so many each.
            let others = g.floor_of_writers() + work.shards.segments.checkpoints();
            let writers = u64::from(g.segments().saturating_sub(others));
            (writers * u64::from(g.worth_moving_blocks()) * BLOCK_BYTES as u64).saturating_sub(used_bytes)
        } else {
            let head = u64::from(work.log.head_blocks_left()) * BLOCK_BYTES as u64;
            let free = work.shards.segments.free().checked_sub(g.reserve_segments);
            free.map_or(0, |free| (u64::from(free) * g.segment_bytes + head) / 16 * 15)
        };
        Space { capacity_bytes: promised / 16 * 15, used_bytes, room_bytes: left.saturating_sub(queued_bytes) }
    }

    /// Bytes that stand promised: those of every shard that has a register; as many again where it has frozen points, for the newest of them may come to hold
    /// all that is overwritten; and what older points hold.
    pub fn promised_bytes(&self) -> u64 {
        self.opened().map_or(0, |work| work.shards.promised_blocks() * BLOCK_BYTES as u64)
    }

    /// Why a shard cannot be frozen once more, if it cannot; to be asked before that is sequenced. What is sequenced is never refused.
    pub fn refuses_freeze(&self, shard: ShardId) -> Option<FreezeRefusal> {
        let Some(s) = self.opened().and_then(|work| work.shards.get(shard)) else {
            return Some(FreezeRefusal::NoShard);
        };
        if s.index.points.iter().count() >= POINTS_MAX {
            return Some(FreezeRefusal::TooManyPoints { most: POINTS_MAX });
        }
        let needed_bytes = s.another_point_blocks() * BLOCK_BYTES as u64;
        let (promised_bytes, capacity_bytes) = (self.promised_bytes(), self.space().capacity_bytes);
        let refusal = FreezeRefusal::NoSpace { needed_bytes, promised_bytes, capacity_bytes };
        (promised_bytes + needed_bytes > capacity_bytes).then_some(refusal)
    }

    /// How far scrubbing is.
    pub fn scrubbed(&self) -> Scrubbed {
        self.opened().map(|work| work.scrub.scrubbed()).unwrap_or_default()
    }

    /// Reads that the disk failed since it was opened. One that is asked again block by block counts as often as it failed.
    pub fn reads_failed(&self) -> u64 {
        self.reads_failed
    }

    /// What it wrote since it was opened.
    pub fn activity(&self) -> Activity {
        let Some(work) = self.opened() else { return Activity::default() };
        let bytes = |blocks: u64| blocks * BLOCK_BYTES as u64;
        Activity {
            log_bytes: bytes(work.log.appended_blocks()),
            moved_bytes: bytes(work.log.moved_blocks()),
            checkpoint_bytes: bytes(work.checkpoints.written_blocks()),
        }
    }

    /// How many blocks of each segment an index or a window names, in the order of the disk; none before it is opened.
    pub fn live_blocks_by_segment(&self) -> Vec<u32> {
        self.opened().map(|work| work.shards.segments.live_by_segment().collect()).unwrap_or_default()
    }

    /// The stamp of the last committed write or trim of a chunk (512 KiB, numbered from 0 in its shard). None where nothing is written; zero
    /// where all of it was copied.
    pub fn chunk_version(&self, shard: ShardId, chunk: u32) -> Option<Stamp> {
        self.shard(shard)?.index.version(chunk)
    }

    /// The byte of the disk where the committed copy of a block lies: for who breaks it on purpose.
    pub fn byte_of(&self, shard: ShardId, block: u32) -> Option<u64> {
        let mut found = None;
        self.shard(shard)?.index.each(block, 1, &mut |_, cell| found = cell);
        found.map(|cell| byte_of(cell.place))
    }

    /// Whether it is a frozen point that names what lies at a place: the index has something else for that block by now.
    pub fn is_frozen(&self, shard: ShardId, block: u32, place: u32) -> bool {
        self.frozen_copies(shard, block).any(|cell| cell.place == place)
    }

    /// The checksums of what frozen points keep of a block: for who judges what may be lost.
    pub fn frozen_checksums(&self, shard: ShardId, block: u32) -> impl Iterator<Item = u32> {
        self.frozen_copies(shard, block).map(|cell| cell.crc)
    }

    /// Whether it names a copy of a block with this checksum, wherever: for who judges what may be lost.
    pub fn has_copy(&self, shard: ShardId, block: u32, crc: u32) -> bool {
        self.shard(shard).is_some_and(|s| s.matching(block, crc).next().is_some())
    }

    fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.opened()?.shards.get(shard)
    }

    fn frozen_copies(&self, shard: ShardId, block: u32) -> impl Iterator<Item = Cell> {
        let shard = self.shard(shard).into_iter();
        shard.flat_map(move |s| s.index.points.copies(block / CHUNK_BLOCKS, block % CHUNK_BLOCKS))
    }

    /// The number of the last batch that is durable.
    pub fn durable_batch(&self) -> u64 {
        self.opened().map_or(0, |work| work.log.durable_through())
    }

    pub(crate) fn opened(&self) -> Option<&Work> {
        match &self.state {
            State::Open(work) => Some(work),
            State::Opening(_) | State::Closed => None,
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Poisoned(_) | Phase::Unreadable(_))
    }

    /// The first failure is the one that is told.
    fn fail(&mut self, phase: Phase) {
        if !self.has_failed() {
            self.phase = phase;
        }
    }

    fn ended(&mut self, now: Time, done: disk::Done) {
        let failed = self.has_failed();
        let work = match &mut self.state {
            State::Opening(opening) => return opening.done(done.id, done.result),
            State::Closed => return,
            State::Open(work) => work,
        };
        let before = self.durable.len();
        if work.log.done(done.id, &done.result, (now, &mut work.pace), &mut self.durable) {
            if failed {
                self.durable.truncate(before);
            }
            if let Err(fault) = done.result {
                self.fail(Phase::Poisoned(fault));
            }
        } else if work.checkpoints.done(done.id) {
            if let Err(fault) = done.result {
                self.fail(Phase::Poisoned(fault));
            }
        } else if !work.zeroing.done(done.id, done.result.is_ok()) {
            let fault = done.result.as_ref().err().copied();
            let known = work.cleaner.done(done.id, &done.result)
                || work.scrub.done(done.id, &done.result, &mut work.checkpoints)
                || work.reads.done(done.id, done.result, (now, &mut work.pace));
            assert!(known, "the disk ended operation {:?}, which nobody asked for", done.id);
            self.read_ended(fault);
        }
    }

    /// One bad spot after the other is mended; a disk that reads nothing any more is not.
    fn read_ended(&mut self, fault: Option<disk::Fault>) {
        let Some(fault) = fault else {
            self.reads_failed_in_a_row = 0;
            return;
        };
        self.reads_failed += 1;
        self.reads_failed_in_a_row += 1;
        if self.reads_failed_in_a_row >= self.policy.reads_failed_max {
            self.fail(Phase::Unreadable(fault));
        }
    }

    fn open(&mut self, now: Time, ops: &mut Vec<disk::Op>) {
        let State::Opening(opening) = &mut self.state else { return };
        let before = ops.len();
        let progress = opening.advance(&mut Ops { last: &mut self.next_op, list: ops });
        let read = |op: &disk::Op| if let disk::Op::Read { len, .. } = op { u64::from(*len) } else { 0 };
        self.recovery.read_bytes += ops[before..].iter().map(read).sum::<u64>();
        self.recovery.log_bytes = opening.log_bytes();
        self.recovery.took = now.since(self.opening_since);
        match progress {
            Progress::Going => {}
            Progress::Refused(refusal) => {
                self.phase = Phase::Refused(refusal);
                self.state = State::Closed;
            }
            Progress::Opened(opened) => {
                self.phase = Phase::Ready;
                self.begin(opened);
            }
            Progress::Poisoned(opened, fault) => {
                self.phase = Phase::Poisoned(fault);
                self.begin(opened);
            }
        }
    }

    fn begin(&mut self, Opened { superblock, shards, tail, loaded, damage, rotten }: Opened) {
        self.damage = damage;
        self.geometry = superblock.geometry;
        self.recovered = shards.recovered();
        self.state = State::Open(Box::new(Work {
            superblock,
            shards,
            log: Log::new(superblock.geometry, self.policy, tail),
            pace: Pace::new(),
            reads: Reads::new(self.policy.reads_in_flight_max, self.policy.mutation),
            zeroing: Zeroing::new(superblock.geometry, self.policy),
            checkpoints: Checkpoints::new(self.policy, superblock, loaded),
            cleaner: Cleaner::new(superblock.geometry, superblock.uuid),
            scrub: Scrub::new(superblock.geometry, superblock.uuid, self.policy, rotten),
        }));
    }

    fn work(&mut self, now: Time, ops: &mut Vec<disk::Op>, events: &mut Vec<Event>) {
        let failed = self.has_failed();
        let State::Open(work) = &mut self.state else { return };
        for request in self.requests.drain(..) {
            if work.log.must_wait(&request) {
                work.log.gather(request);
            } else {
                work.log.settle(request, &mut work.shards, &mut work.reads);
            }
        }
        if failed {
            work.log.abandon(&mut work.shards, &mut work.reads);
        } else {
            // What a checkpoint frees is there for the cleaner, and what the cleaner moves for the next batch: nothing else would call for another step.
            let out = &mut Ops { last: &mut self.next_op, list: ops };
            work.scrub.step(now, &work.shards, &work.log, &mut work.reads, &mut work.checkpoints, out);
            work.checkpoint(out);
            work.shards.dissolve(self.policy.dissolved_chunks_per_step.max(1));
            work.cleaner.step(&mut work.shards, &mut work.log, &mut work.reads, out);
            self.phase = work.append(now, &mut self.next_op, ops);
            // Moves may just have left a segment dead that is waited for.
            if work.is_checkpoint_due() {
                work.checkpoint(&mut Ops { last: &mut self.next_op, list: ops });
            }
        }
        let next_op = &mut self.next_op;
        work.reads.issue(now, || take_id(next_op), ops);
        self.durable.sort_unstable();
        for i in 0..self.durable.len() {
            let (shard, ticket) = self.durable[i];
            if self.durable.get(i + 1).is_none_or(|next| next.0 != shard) {
                events.push(Event::Durable { shard, ticket });
            }
        }
        self.durable.clear();
        events.extend(work.reads.answers());
    }
}

impl Work {
    fn is_checkpoint_due(&self) -> bool {
        let urgent = self.cleaner.wants_checkpoint(&self.shards.segments, self.log.head_segment());
        // A checkpoint would hide damage that its shards do not know of yet from the next recovery.
        !self.shards.has_suspects() && self.checkpoints.is_due(self.log.appended_blocks(), urgent)
    }

    /// Begins a checkpoint when one is due, and goes on with one under way.
    fn checkpoint(&mut self, ops: &mut Ops<'_>) {
        if self.is_checkpoint_due() {
            self.checkpoints.begin(&mut self.shards, self.log.standing(), self.log.appended_blocks());
        }
        let surroundings = Surroundings {
            shards: &mut self.shards,
            reads: &self.reads,
            spared: [self.log.named_next(), self.zeroing.segment()],
            durable: self.log.durable_through(),
        };
        self.checkpoints.step(surroundings, ops);
    }

    /// Forms as many batches as there are slots, and zeroes what comes next.
    fn append(&mut self, now: Time, next_op: &mut u64, ops: &mut Vec<disk::Op>) -> Phase {
        let terms = Terms { now, moves: self.pace.blocks().max(self.cleaner.least()) };
        loop {
            let id = OpId(*next_op + 1);
            let zeroing = |place, blocks| self.zeroing.covers(place, blocks);
            match self.log.form(id, terms, &mut self.shards, &mut self.reads, zeroing) {
                Formed::Batch(op) => {
                    take_id(next_op);
                    self.zeroing.wrote((op.extent().1 / BLOCK_BYTES as u64) as u32);
                    ops.push(op);
                }
                Formed::Nothing => break,
                Formed::Full => {
                    self.log.release_reads(&mut self.shards, &mut self.reads);
                    return Phase::Full;
                }
            }
        }
        if let (Some(head), Some(next)) = (self.log.head(), self.log.next_segment()) {
            ops.extend(self.zeroing.issue(head, next, &self.shards.segments, || take_id(next_op)));
        }
        Phase::Ready
    }
}
