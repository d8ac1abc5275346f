//! The head of the log: gathers what is to be appended, forms batches of it, and knows which of them are durable.
//!
//! ```text
//! request -> queue -> batch (one write of header and payloads) -> in flight -> durable, in order -> tickets
//! ```
//!
//! An entry takes effect when its batch is formed: only then has it a place. So a commit or a read that depends on an entry
//! still in the queue waits in the queue behind it; every other one is done at once. Payloads of batches in flight are kept, and reads are answered
//! from them: the disk may still give older bytes. No payload is ever copied.

use crate::checkpoint::{Head, Standing};
use crate::cleaner::FLOOR_OF_MOVES;
use crate::entry::{Change, Crcs, measure, measure_move};
use crate::geometry::{Geometry, byte_of};
use crate::header::{self, BATCH_BLOCKS_MAX, FIXED_BYTES, Fixed, HEAD_HOT, HEADER_BLOCKS_MAX, NO_SEGMENT, SHARD_BYTES};
use crate::named::Named;
use crate::pace::Pace;
use crate::policy::Policy;
use crate::read::{Memory, Reads};
use crate::shards::Shards;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::codec::Writer;
use base::io::disk::{Fault, Op, OpId};
use base::log::{Record, Request};
use base::map::Map;
use base::mutant::Mutant;
use base::{BLOCK_BYTES, Payload, Sequence, ShardId, StoreUuid, Time};

/// Batches in flight, whatever the policy says: recovery relies on a batch telling of all but so many of its predecessors that they are durable.
pub(crate) const BATCHES_IN_FLIGHT_MAX: u32 = 64;

/// Blocks of moves in one batch.
pub(crate) const MOVED_BLOCKS_MAX: u32 = 64;

/// Where the log goes on.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    pub(crate) uuid: StoreUuid,
    pub(crate) run: u64,
    /// The number of the next batch.
    pub(crate) batch: u64,
    /// The link that it must carry: the hash of the last header.
    pub(crate) previous: u64,
    /// The shards of the last batch.
    pub(crate) previous_shards: Vec<ShardId>,
    pub(crate) durable_through: u64,
    /// The segment that follows the one being written, as each header in that one says.
    pub(crate) next_segment: u32,
}

/// A batch being written.
#[derive(Debug)]
struct Flying {
    batch: u64,
    op: OpId,
    place: u32,
    blocks: u32,
    ended: bool,
    /// When it was formed, if it holds something that somebody waits for.
    waited_for: Option<Time>,
    /// Its payloads by their places, in order.
    parts: Vec<(u32, Payload)>,
    /// The last ticket of each shard in it.
    tickets: Vec<(ShardId, u64)>,
}

/// Blocks that are to be written again, and where they lie now. They become a Move, which takes those that still lie there when its batch is formed.
/// Nothing waits for it: what depends on it asks which batches are durable.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) shard: ShardId,
    /// The first block.
    pub(crate) block: u32,
    /// Where each lies.
    pub(crate) froms: Box<[u32]>,
    /// Their checksums, as the index or the window has them.
    pub(crate) crcs: Crcs,
    /// Their bytes, which were checked against these.
    pub(crate) data: Payload,
}

/// What the queue holds of one shard.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    /// Appends and commits.
    items: u32,
    /// Those that change more than the window.
    others: u32,
    /// No sequence of the shard in the queue is lower.
    lowest: Sequence,
}

/// What the next batch will hold.
struct Plan {
    /// Requests to take off the queue.
    requests: usize,
    /// Moves to take off theirs.
    moves: usize,
    entries: u32,
    header_blocks: u32,
    payload_blocks: u32,
    shards: Vec<ShardId>,
}

/// What a batch is formed under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) now: Time,
    /// Blocks of moves that it may have.
    pub(crate) moves: u32,
}

/// What came of trying to form a batch.
#[derive(Debug)]
pub(crate) enum Formed {
    /// Nothing waits, or all slots are taken, or too little while a batch is being written, or zeroes are still being written where it would go.
    Nothing,
    /// A batch was formed; this writes it.
    Batch(Op),
    /// There is no segment left to write into.
    Full,
}

/// The head of the log.
#[derive(Debug)]
pub(crate) struct Log {
    geometry: Geometry,
    policy: Policy,
    write_blocks_max: u32,
    /// The number of this run's first batch.
    run_first: u64,
    /// Blocks of all batches of this run.
    appended_blocks: u64,
    tail: Tail,
    head: Option<Head>,
    /// Whether the segment being written was begun for moves, when writers had to wait.
    head_is_the_cleaners: bool,
    queue: VecDeque<Request>,
    queued_blocks: u64,
    /// What the cleaner moves; it goes behind what else there is.
    moves: VecDeque<Moving>,
    moves_blocks: u64,
    /// Blocks moved in this run.
    moved_blocks: u64,
    gathered: Map<ShardId, Gathered>,
    flying: VecDeque<Flying>,
    /// Number of each shard in the table of the batch being planned; kept for its memory.
    numbers: Map<ShardId, u16>,
}

impl Log {
    /// Goes on where `tail` says, in a fresh segment.
    pub(crate) fn new(geometry: Geometry, policy: Policy, tail: Tail) -> Self {
        Self {
            geometry,
            policy,
            write_blocks_max: geometry.write_blocks_max(),
            run_first: tail.batch,
            appended_blocks: 0,
            tail,
            head: None,
            head_is_the_cleaners: false,
            queue: VecDeque::new(),
            queued_blocks: 0,
            moves: VecDeque::new(),
            moves_blocks: 0,
            moved_blocks: 0,
            gathered: Map::default(),
            flying: VecDeque::new(),
            numbers: Map::default(),
        }
    }

    /// Takes a request into the queue. A read goes in only if [`Log::must_wait`] said so.
    pub(crate) fn gather(&mut self, request: Request) {
        let (shard, lowest, other) = match &request {
            Request::Append { shard, record, .. } => {
                self.check(*shard, record);
                (*shard, sequence(record).unwrap_or(Sequence(u64::MAX)), sequence(record).is_none())
            }
            Request::Commit { shard, .. } => (*shard, Sequence(u64::MAX), true),
            _ => {
                self.queue.push_back(request);
                return;
            }
        };
        let nothing = Gathered { items: 0, others: 0, lowest: Sequence(u64::MAX) };
        let g = self.gathered.entry(shard).or_insert(nothing);
        g.items += 1;
        g.others += u32::from(other);
        g.lowest = g.lowest.min(lowest);
        self.queue.push_back(request);
    }

    /// Takes blocks into the queue that are to be written again. No request waits for them, and they wait for none.
    pub(crate) fn gather_move(&mut self, moving: Moving) {
        let (blocks, most) = (moving.data.blocks(), self.move_blocks_max());
        assert!(blocks > 0 && moving.data.len().is_multiple_of(BLOCK_BYTES), "{}: a move of parts", moving.shard);
        assert!(blocks <= most, "{}: a move of {blocks} blocks; {most} fit any segment", moving.shard);
        assert!((moving.froms.len(), moving.crcs.len()) == (blocks as usize, blocks as usize));
        self.moves_blocks += u64::from(blocks);
        self.moves.push_back(moving);
    }

    /// Blocks that one move may have: its entry is longer than that of a write, by four bytes a block.
    pub(crate) fn move_blocks_max(&self) -> u32 {
        self.write_blocks_max / 2 + 1
    }

    /// A record of a shape that cannot be appended is a broken promise of the replica.
    fn check(&mut self, shard: ShardId, record: &Record) {
        match record {
            Record::Data { data, block, .. } | Record::Copy { data, block } => {
                let blocks = data.blocks();
                assert!(blocks > 0 && data.len().is_multiple_of(BLOCK_BYTES), "{shard}: a write of parts of blocks");
                assert!(
                    blocks <= self.write_blocks_max,
                    "{shard}: a write of {blocks} blocks does not fit a segment of {} bytes, which takes {}",
                    self.geometry.segment_bytes,
                    self.write_blocks_max
                );
                assert!(block.checked_add(blocks).is_some(), "{shard}: a write beyond the last block");
                self.queued_blocks += u64::from(blocks);
            }
            Record::Mend { data, .. } => {
                assert!(data.len() == BLOCK_BYTES, "{shard}: blocks are mended one by one");
                self.queued_blocks += 1;
            }
            Record::Trim { block, count, .. } | Record::Erase { block, count } => {
                assert!(*count > 0 && block.checked_add(*count).is_some(), "{shard}: no blocks, or beyond the last");
            }
            Record::Register(register) => {
                let bytes = register.encode().len();
                assert!(bytes <= 8192, "{shard}: a register of {bytes} bytes; 8192 fit");
            }
            Record::Point { .. } | Record::Cut { .. } | Record::Restart { .. } => {}
            Record::Mark(_) | Record::Unmark | Record::Drop => {}
        }
    }

    /// Batches that are being written.
    pub(crate) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Whether a commit or a read depends on something in the queue.
    pub(crate) fn must_wait(&self, request: &Request) -> bool {
        let waiting = |shard| self.gathered.get(shard);
        match request {
            Request::Append { .. } => true,
            Request::Commit { shard, through } => waiting(shard).is_some_and(|g| g.others > 0 || g.lowest <= *through),
            Request::Read { shard, .. }
            | Request::ReadExtents { shard, .. }
            | Request::Measure { shard, .. }
            | Request::ReadPoint { shard, .. }
            | Request::ReadChanges { shard, .. } => waiting(shard).is_some_and(|g| g.others > 0),
            Request::ReadWindow { shard, .. } | Request::ReadMatching { shard, .. } => waiting(shard).is_some(),
        }
    }

    /// Forms the next batch, if there is something to append, a slot and a segment. `zeroing` tells whether a range of places
    /// is being written with zeroes, which must end first.
    pub(crate) fn form(
        &mut self,
        op: OpId,
        terms: Terms,
        shards: &mut Shards,
        reads: &mut Reads,
        zeroing: impl Fn(u32, u32) -> bool,
    ) -> Formed {
        let slots = self.policy.batches_in_flight_max.clamp(1, BATCHES_IN_FLIGHT_MAX);
        if self.queue.is_empty() && self.moves.is_empty() || self.flying.len() >= slots as usize {
            return Formed::Nothing;
        }
        let gathered = (self.queued_blocks + self.moves_blocks) * BLOCK_BYTES as u64;
        if !self.flying.is_empty() && gathered < u64::from(self.policy.gathered_bytes_min) {
            return Formed::Nothing;
        }
        let free = shards.segments.free();
        let writers_wait = self.geometry.is_cleaned() && free <= self.geometry.floor_of_writers();
        let room = self.head.map_or(0, |head| self.geometry.segment_blocks() - head.offset);
        // Below the floor the rest of a segment that the cleaner began is the cleaner's too.
        let plan = match self.plan(room, terms.moves, writers_wait && self.head_is_the_cleaners) {
            Some(plan) => plan,
            None if self.tail.next_segment == NO_SEGMENT => return Formed::Full,
            None if writers_wait && (self.moves.is_empty() || free <= FLOOR_OF_MOVES) => return Formed::Nothing,
            None => {
                let segment = self.tail.next_segment;
                shards.segments.open(segment, self.tail.batch);
                self.tail.next_segment = shards.segments.free_after(segment);
                self.head = Some(Head { segment, opened: self.tail.batch, offset: 0 });
                self.head_is_the_cleaners = writers_wait;
                self.plan(self.geometry.segment_blocks(), terms.moves, writers_wait)
                    .expect("what passed its check fits an empty segment")
            }
        };
        let head = self.head.expect("a plan was made for it");
        let place = self.geometry.place(head.segment, head.offset);
        if zeroing(place, plan.header_blocks + plan.payload_blocks) {
            return Formed::Nothing;
        }
        Formed::Batch(self.build((op, terms.now), (head, place), plan, shards, reads))
    }

    /// How much of the queues goes into the next batch, when it may have so many blocks. None if not even the first append.
    fn plan(&mut self, blocks: u32, moves: u32, only_moves: bool) -> Option<Plan> {
        let payload_max = self.policy.batch_payload_bytes_max / BLOCK_BYTES as u32;
        let shards_max = self.geometry.shards_per_batch_max();
        let mut bytes = FIXED_BYTES + SHARD_BYTES * self.tail.previous_shards.len();
        let mut plan =
            Plan { requests: 0, moves: 0, entries: 0, header_blocks: 0, payload_blocks: 0, shards: Vec::new() };
        self.numbers.clear();
        let numbers = &mut self.numbers;
        let mut fit = |plan: &mut Plan, shard: ShardId, (entry_bytes, entry_blocks): (usize, u32), most: u32| {
            let known = numbers.contains_key(&shard);
            let new_bytes = bytes + entry_bytes + if known { 0 } else { SHARD_BYTES };
            let header_blocks = new_bytes.div_ceil(BLOCK_BYTES) as u32;
            let payload_blocks = plan.payload_blocks + entry_blocks;
            let fits = header_blocks <= HEADER_BLOCKS_MAX
                && header_blocks + payload_blocks <= blocks.min(BATCH_BLOCKS_MAX)
                && (plan.entries == 0 || payload_blocks <= most)
                && (known || plan.shards.len() < shards_max);
            if fits {
                if !known {
                    numbers.insert(shard, plan.shards.len() as u16);
                    plan.shards.push(shard);
                }
                (bytes, plan.header_blocks, plan.payload_blocks) = (new_bytes, header_blocks, payload_blocks);
                plan.entries += 1;
            }
            fits
        };
        for request in self.queue.iter().take(if only_moves { 0 } else { usize::MAX }) {
            if let Request::Append { shard, record, .. } = request
                && !fit(&mut plan, *shard, measure(record), payload_max)
            {
                break;
            }
            plan.requests += 1;
        }
        let most = plan.payload_blocks + moves.min(MOVED_BLOCKS_MAX);
        for moving in &self.moves {
            if !fit(&mut plan, moving.shard, measure_move(moving.data.blocks()), most) {
                break;
            }
            plan.moves += 1;
        }
        (plan.entries > 0).then_some(plan)
    }

    fn build(
        &mut self,
        (op, now): (OpId, Time),
        (head, place): (Head, u32),
        plan: Plan,
        shards: &mut Shards,
        reads: &mut Reads,
    ) -> Op {
        let blocks = plan.header_blocks + plan.payload_blocks;
        self.flying.push_back(Flying {
            batch: self.tail.batch,
            op,
            place,
            blocks,
            ended: false,
            waited_for: (plan.requests > 0).then_some(now),
            parts: Vec::with_capacity(plan.entries as usize),
            tickets: plan.shards.iter().map(|&shard| (shard, 0)).collect(),
        });
        let mut w = header::begin(plan.header_blocks, &plan.shards, &self.tail.previous_shards);
        let mut at = place + plan.header_blocks;
        for _ in 0..plan.requests {
            match self.take().expect("the plan counted it") {
                Request::Append { shard, ticket, record } => {
                    let change = Change::of(shard, &record, at);
                    let entry = (shard, change, payload(record));
                    let number = self.enter(&mut w, &mut at, shards, entry);
                    self.flying.back_mut().expect("pushed above").tickets[number].1 = ticket;
                }
                request => self.settle(request, shards, reads),
            }
        }
        for _ in 0..plan.moves {
            let Moving { shard, block, froms, crcs, data } = self.moves.pop_front().expect("the plan counted it");
            self.moves_blocks -= u64::from(data.blocks());
            self.moved_blocks += u64::from(data.blocks());
            let entry = (shard, Change::Move { frozen_by: Sequence(0), block, place: at, froms, crcs }, Some(data));
            self.enter(&mut w, &mut at, shards, entry);
        }
        assert_eq!(at, place + blocks, "a batch is as long as it was planned");
        let fixed = Fixed {
            uuid: self.tail.uuid,
            run: self.tail.run,
            run_first: self.run_first,
            batch: self.tail.batch,
            previous: self.tail.previous,
            durable_through: self.tail.durable_through,
            place,
            segment: head.segment,
            opened: head.opened,
            next_segment: self.tail.next_segment,
            head: HEAD_HOT,
            header_blocks: plan.header_blocks,
            payload_blocks: plan.payload_blocks,
            body_bytes: 0,
            body_crc: 0,
            shards: plan.shards.len() as u32,
            previous_shards: self.tail.previous_shards.len() as u32,
            entries: plan.entries,
        };
        let (bytes, link) = header::end(w, fixed);
        self.tail.batch += 1;
        self.tail.previous = link;
        self.tail.previous_shards = plan.shards;
        self.head = Some(Head { offset: head.offset + blocks, ..head });
        self.appended_blocks += u64::from(blocks);
        let payloads = self.flying.back().expect("pushed above").parts.iter().map(|(_, payload)| payload.clone());
        let parts = core::iter::once(Payload::from(bytes)).chain(payloads).collect();
        Op::Write { id: op, at: byte_of(place), parts, durable: !self.policy.protected_cache }
    }

    /// Puts an entry into the batch being built: its bytes, its effect, and its payload. Gives the number of its shard in the table.
    fn enter(
        &mut self,
        w: &mut Writer,
        at: &mut u32,
        shards: &mut Shards,
        (shard, mut change, data): (ShardId, Change, Option<Payload>),
    ) -> usize {
        if let Change::Move { frozen_by, block, froms, crcs, .. } = &mut change {
            *frozen_by = shards.frozen_by(&Named { shard, block: *block, place: froms[0], crc: crcs[0] });
        }
        let number = self.numbers[&shard];
        let committed = shards.committed(shard);
        let carried = if self.policy.mutation.is(Mutant::CommitForgotten) { Sequence(0) } else { committed };
        change.put(w, number, carried);
        shards.apply(shard, committed, change);
        if let Some(data) = data {
            let first = *at;
            *at += data.blocks();
            self.flying.back_mut().expect("a batch is being built").parts.push((first, data));
        }
        usize::from(number)
    }

    /// Takes the first request off the queue.
    fn take(&mut self) -> Option<Request> {
        let request = self.queue.pop_front()?;
        let (shard, other) = match &request {
            Request::Append { shard, record, .. } => {
                self.queued_blocks -= u64::from(measure(record).1);
                (*shard, sequence(record).is_none())
            }
            Request::Commit { shard, .. } => (*shard, true),
            _ => return Some(request),
        };
        let g = self.gathered.get_mut(&shard).expect("it was counted when it was gathered");
        g.items -= 1;
        g.others -= u32::from(other);
        if g.items == 0 {
            self.gathered.remove(&shard);
        }
        Some(request)
    }

    /// Does what a request that is not an append asks.
    pub(crate) fn settle(&self, request: Request, shards: &mut Shards, reads: &mut Reads) {
        match request {
            Request::Commit { shard, through } => shards.commit(shard, through),
            Request::Append { .. } => unreachable!("an append goes into a batch"),
            read => reads.begin(shards, self, &read),
        }
    }

    /// A write ended, if it was one of these. Adds the tickets that became durable by it.
    pub(crate) fn done(
        &mut self,
        op: OpId,
        result: &Result<Payload, Fault>,
        (now, pace): (Time, &mut Pace),
        durable: &mut Vec<(ShardId, u64)>,
    ) -> bool {
        let is = |mutant| self.policy.mutation.is(mutant);
        let Some(flying) = self.flying.iter_mut().find(|flying| flying.op == op) else { return false };
        flying.ended = result.is_ok();
        let ended = flying.batch;
        for flying in self.flying.iter().filter(|f| f.batch == ended || is(Mutant::AcknowledgedBeforeDurable)) {
            if is(Mutant::AcknowledgedBeforeDurable) || is(Mutant::AcknowledgedOutOfOrder) {
                durable.extend(flying.tickets.iter().filter(|(_, ticket)| *ticket > 0));
            }
        }
        while self.flying.front().is_some_and(|flying| flying.ended) {
            let flying = self.flying.pop_front().expect("it was there");
            assert!(flying.batch > self.tail.durable_through, "batches become durable in order");
            self.tail.durable_through = flying.batch;
            flying.waited_for.into_iter().for_each(|formed| pace.wrote(now.since(formed)));
            // A shard of which there were only moves has no ticket in it.
            durable.extend(flying.tickets.into_iter().filter(|(_, ticket)| *ticket > 0));
        }
        true
    }

    /// Nothing will be appended any more: drops the appends and does what waited behind them.
    pub(crate) fn abandon(&mut self, shards: &mut Shards, reads: &mut Reads) {
        while let Some(request) = self.take() {
            if !matches!(request, Request::Append { .. }) {
                self.settle(request, shards, reads);
            }
        }
        self.moves.clear();
        self.moves_blocks = 0;
    }

    /// Appends wait for space that nobody frees: reads behind them go on, with what there is.
    pub(crate) fn release_reads(&mut self, shards: &mut Shards, reads: &mut Reads) {
        let waits = |request: &Request| matches!(request, Request::Append { .. } | Request::Commit { .. });
        for request in core::mem::take(&mut self.queue) {
            if waits(&request) {
                self.queue.push_back(request);
            } else {
                self.settle(request, shards, reads);
            }
        }
    }

    /// Blocks of payload that wait for a batch.
    pub(crate) fn queued_blocks(&self) -> u64 {
        self.queued_blocks
    }

    /// The segment being written, and its blocks that are taken.
    pub(crate) fn head(&self) -> Option<(u32, u32)> {
        self.head.map(|head| (head.segment, head.offset))
    }

    /// Blocks left in the segment being written.
    pub(crate) fn head_blocks_left(&self) -> u32 {
        self.head.map_or(0, |head| self.geometry.segment_blocks() - head.offset)
    }

    /// Where the log stands, all that was formed taken for written.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            batch: self.tail.batch - 1,
            link: self.tail.previous,
            head: self.head,
            next_segment: self.tail.next_segment,
            shards: self.tail.previous_shards.clone(),
        }
    }

    /// The segment that the log names as its next.
    pub(crate) fn named_next(&self) -> u32 {
        self.tail.next_segment
    }

    /// The batch up to which the log is durable.
    pub(crate) fn durable_through(&self) -> u64 {
        self.tail.durable_through
    }

    /// Blocks of all batches formed in this run.
    pub(crate) fn appended_blocks(&self) -> u64 {
        self.appended_blocks
    }

    /// The batch with which the segment that is being written, or is to be written next, begins; none while a batch in the segments before it is not
    /// durable.
    pub(crate) fn settled_before(&self) -> Option<u64> {
        let first = self.head.map_or(self.tail.batch, |head| head.opened);
        (self.tail.durable_through + 1 >= first).then_some(first)
    }

    /// The segment being written and its blocks that are taken, if all of them are durable.
    pub(crate) fn durable_head(&self) -> Option<(u32, u32)> {
        self.head.filter(|_| self.flying.is_empty()).map(|head| (head.segment, head.offset))
    }

    /// The segment being written.
    pub(crate) fn head_segment(&self) -> Option<u32> {
        self.head.map(|head| head.segment)
    }

    /// Blocks of moves that wait for a batch.
    pub(crate) fn moves_queued(&self) -> u64 {
        self.moves_blocks
    }

    /// Blocks moved in this run.
    pub(crate) fn moved_blocks(&self) -> u64 {
        self.moved_blocks
    }

    /// Whether nothing is being appended.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flying.is_empty()
    }

    /// The segment that will be written next; none before anything was appended, or when there is none left.
    pub(crate) fn next_segment(&self) -> Option<u32> {
        (self.head.is_some() && self.tail.next_segment != NO_SEGMENT).then_some(self.tail.next_segment)
    }
}

/// The sequence of a record that enters the window, and changes nothing else before it is committed.
fn sequence(record: &Record) -> Option<Sequence> {
    match record {
        Record::Data { stamp, .. } | Record::Trim { stamp, .. } | Record::Point { stamp, .. } => Some(stamp.sequence),
        _ => None,
    }
}

/// The blocks that a record brings.
fn payload(record: Record) -> Option<Payload> {
    match record {
        Record::Data { data, .. } | Record::Copy { data, .. } | Record::Mend { data, .. } => Some(data),
        _ => None,
    }
}

impl Memory for Log {
    fn find(&self, place: u32, count: u32) -> (Option<Payload>, u32) {
        // Blocks that lie side by side are of one batch, for between two there is a header.
        let in_it = |flying: &&Flying| (flying.place..flying.place + flying.blocks).contains(&place);
        let Some(flying) = self.flying.iter().find(in_it) else { return (None, count) };
        let i = flying.parts.partition_point(|(first, _)| *first <= place);
        let (first, payload) = &flying.parts[i.checked_sub(1).expect("no index names a header")];
        let skip = place - first;
        let n = count.min(payload.blocks() - skip);
        (Some(payload.slice(skip as usize * BLOCK_BYTES, n as usize * BLOCK_BYTES)), n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::genesis;
    use alloc::vec;
    use base::VolumeId;
    use base::log::Stamp;

    #[test]
    fn a_move_goes_through_the_batches_of_all_others_and_nobody_is_told() {
        let shard = ShardId { volume: VolumeId(1), index: 0 };
        let geometry = Geometry::tiny(1 << 20);
        let (mut shards, mut reads) = (Shards::new(geometry), Reads::new(1, base::mutant::Mutation::NONE));
        let uuid = StoreUuid(1);
        let tail = Tail {
            uuid,
            run: 2,
            batch: 1,
            previous: genesis(uuid),
            previous_shards: Vec::new(),
            durable_through: 0,
            next_segment: 0,
        };
        let mut log = Log::new(geometry, Policy::default(), tail);
        let terms = Terms { now: Time::ZERO, moves: MOVED_BLOCKS_MAX };
        let data = Payload::from(vec![7; 2 * BLOCK_BYTES]);
        let stamp = Stamp { sequence: Sequence(1), ..Stamp::default() };
        let record = Record::Data { stamp, block: 4, data: data.clone() };
        log.gather(Request::Append { shard, ticket: 1, record });
        assert!(matches!(log.form(OpId(1), terms, &mut shards, &mut reads, |_, _| false), Formed::Batch(_)));
        let lies = |shards: &Shards, block| {
            let window = &shards.get(shard).expect("it was written to").window;
            window.above(Sequence(0)).find_map(|e| e.cell(block)).expect("the window has it")
        };
        let (a, b) = (lies(&shards, 4), lies(&shards, 5));
        // The second is not where the mover thinks; a read does not wait for a move.
        let (froms, crcs) = ([a.place, 1].into(), Crcs::of(shard, 4, &data));
        log.gather_move(Moving { shard, block: 4, froms, crcs, data });
        assert_eq!((log.moves_queued(), log.move_blocks_max()), (2, 8));
        assert!(!log.must_wait(&Request::Read { shard, ticket: 1, block: 4, count: 1 }));
        let Formed::Batch(Op::Write { parts, .. }) = log.form(OpId(2), terms, &mut shards, &mut reads, |_, _| false)
        else {
            panic!("a slot and a segment are free");
        };
        assert_eq!(parts.iter().map(|part| part.blocks()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((lies(&shards, 4).place, lies(&shards, 5)), (b.place + 2, b));
        assert_eq!((log.moves_queued(), shards.segments.live_blocks()), (0, 2));
        let mut durable = Vec::new();
        for op in [OpId(1), OpId(2)] {
            assert!(log.done(op, &Ok(Payload::empty()), (Time::ZERO, &mut Pace::new()), &mut durable));
        }
        assert_eq!((durable, log.tail.durable_through), (vec![(shard, 1)], 2));
    }
}
