//! The head of the log: gathers what is to be appended, forms batches of it, and knows which of them are durable.
//!
//! ```text
//! request -> queue -> batch (one write of header and payloads) -> in flight -> durable, in order -> tickets
//! ```
//!
//! An entry takes effect when its batch is formed: only then has it a place. So a commit or a read that depends on an entry
//! still in the queue waits in the queue behind it; every other one is done at once. Payloads of batches in flight are kept, and reads are answered
//! from them: the disk may still give older bytes. No payload is ever copied.

use crate::entry::{Change, Crcs, measure, measure_move};
use crate::geometry::{Geometry, byte_of};
use crate::header::{self, BATCH_BLOCKS_MAX, FIXED_BYTES, Fixed, HEAD_HOT, HEADER_BLOCKS_MAX, NO_SEGMENT, SHARD_BYTES};
use crate::policy::Policy;
use crate::read::{Memory, Reads};
use crate::shards::Shards;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::disk::{Fault, Op, OpId};
use base::log::{Record, Request};
use base::map::Map;
use base::{BLOCK_BYTES, Payload, Sequence, ShardId, StoreUuid};

/// Batches in flight, whatever the policy says: recovery relies on a batch telling of all but so many of its predecessors that they are durable.
pub(crate) const BATCHES_IN_FLIGHT_MAX: u32 = 64;

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

#[derive(Debug, Clone, Copy)]
struct Head {
    segment: u32,
    incarnation: u32,
    /// Blocks of the segment that are taken.
    offset: u32,
}

/// A batch being written.
#[derive(Debug)]
struct Flying {
    batch: u64,
    op: OpId,
    place: u32,
    blocks: u32,
    ended: bool,
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

/// What waits for a batch, in order.
#[derive(Debug)]
enum Item {
    Request(Request),
    Move(Moving),
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
    /// Items to take off the queue.
    items: usize,
    entries: u32,
    header_blocks: u32,
    payload_blocks: u32,
    shards: Vec<ShardId>,
}

/// What came of trying to form a batch.
#[derive(Debug)]
pub(crate) enum Formed {
    /// Nothing waits, or all slots are taken, or zeroes are still being written where it would go.
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
    tail: Tail,
    head: Option<Head>,
    queue: VecDeque<Item>,
    queued_blocks: u64,
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
            tail,
            head: None,
            queue: VecDeque::new(),
            queued_blocks: 0,
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
                match record {
                    Record::Data { stamp, .. } | Record::Trim { stamp, .. } => (*shard, stamp.sequence, false),
                    _ => (*shard, Sequence(u64::MAX), true),
                }
            }
            Request::Commit { shard, .. } => (*shard, Sequence(u64::MAX), true),
            _ => {
                self.queue.push_back(Item::Request(request));
                return;
            }
        };
        let nothing = Gathered { items: 0, others: 0, lowest: Sequence(u64::MAX) };
        let g = self.gathered.entry(shard).or_insert(nothing);
        g.items += 1;
        g.others += u32::from(other);
        g.lowest = g.lowest.min(lowest);
        self.queue.push_back(Item::Request(request));
    }

    /// Takes blocks into the queue that are to be written again. No request waits for them, and they wait for none.
    #[allow(dead_code, reason = "for the cleaner, which moves live blocks out of the segments that it frees")]
    pub(crate) fn gather_move(&mut self, moving: Moving) {
        let (blocks, most) = (moving.data.blocks(), self.move_blocks_max());
        assert!(blocks > 0 && moving.data.len().is_multiple_of(BLOCK_BYTES), "{}: a move of parts", moving.shard);
        assert!(blocks <= most, "{}: a move of {blocks} blocks; {most} fit any segment", moving.shard);
        assert!((moving.froms.len(), moving.crcs.len()) == (blocks as usize, blocks as usize));
        self.queued_blocks += u64::from(blocks);
        self.queue.push_back(Item::Move(moving));
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
            Record::Cut { .. } | Record::Restart { .. } | Record::Drop => {}
        }
    }

    /// Whether a commit or a read depends on something in the queue.
    pub(crate) fn must_wait(&self, request: &Request) -> bool {
        let waiting = |shard| self.gathered.get(shard);
        match request {
            Request::Append { .. } => true,
            Request::Commit { shard, through } => waiting(shard).is_some_and(|g| g.others > 0 || g.lowest <= *through),
            Request::Read { shard, .. } | Request::ReadExtents { shard, .. } => {
                waiting(shard).is_some_and(|g| g.others > 0)
            }
            Request::ReadWindow { shard, .. } | Request::ReadMatching { shard, .. } => waiting(shard).is_some(),
        }
    }

    /// Forms the next batch, if there is something to append, a slot and a segment. `zeroing` tells whether a range of places
    /// is being written with zeroes, which must end first.
    pub(crate) fn form(
        &mut self,
        op: OpId,
        shards: &mut Shards,
        reads: &mut Reads,
        zeroing: impl Fn(u32, u32) -> bool,
    ) -> Formed {
        let slots = self.policy.batches_in_flight_max.clamp(1, BATCHES_IN_FLIGHT_MAX);
        if self.queue.is_empty() || self.flying.len() >= slots as usize {
            return Formed::Nothing;
        }
        let room = self.head.map_or(0, |head| self.geometry.segment_blocks() - head.offset);
        let plan = match self.plan(room) {
            Some(plan) => plan,
            None if self.tail.next_segment == NO_SEGMENT => return Formed::Full,
            None => {
                let segment = self.tail.next_segment;
                let incarnation = shards.segments.open(segment);
                self.tail.next_segment = shards.segments.free_after(segment);
                self.head = Some(Head { segment, incarnation, offset: 0 });
                self.plan(self.geometry.segment_blocks())
                    .expect("a request that passed its check fits an empty segment")
            }
        };
        let head = self.head.expect("a plan was made for it");
        let place = self.geometry.place(head.segment, head.offset);
        if zeroing(place, plan.header_blocks + plan.payload_blocks) {
            return Formed::Nothing;
        }
        Formed::Batch(self.build(op, head, place, plan, shards, reads))
    }

    /// How much of the queue goes into the next batch, when it may have so many blocks. None if not even the first append.
    fn plan(&mut self, blocks: u32) -> Option<Plan> {
        let payload_max = self.policy.batch_payload_bytes_max / BLOCK_BYTES as u32;
        let shards_max = self.geometry.shards_per_batch_max();
        let mut bytes = FIXED_BYTES + SHARD_BYTES * self.tail.previous_shards.len();
        let mut plan = Plan { items: 0, entries: 0, header_blocks: 0, payload_blocks: 0, shards: Vec::new() };
        self.numbers.clear();
        for item in &self.queue {
            let entry = match item {
                Item::Request(Request::Append { shard, record, .. }) => Some((shard, measure(record))),
                Item::Request(_) => None,
                Item::Move(moving) => Some((&moving.shard, measure_move(moving.data.blocks()))),
            };
            if let Some((shard, (entry_bytes, entry_blocks))) = entry {
                let known = self.numbers.contains_key(shard);
                let new_bytes = bytes + entry_bytes + if known { 0 } else { SHARD_BYTES };
                let header_blocks = new_bytes.div_ceil(BLOCK_BYTES) as u32;
                let payload_blocks = plan.payload_blocks + entry_blocks;
                let fits = header_blocks <= HEADER_BLOCKS_MAX
                    && header_blocks + payload_blocks <= blocks.min(BATCH_BLOCKS_MAX)
                    && (plan.entries == 0 || payload_blocks <= payload_max)
                    && (known || plan.shards.len() < shards_max);
                if !fits {
                    break;
                }
                if !known {
                    self.numbers.insert(*shard, plan.shards.len() as u16);
                    plan.shards.push(*shard);
                }
                (bytes, plan.header_blocks, plan.payload_blocks) = (new_bytes, header_blocks, payload_blocks);
                plan.entries += 1;
            }
            plan.items += 1;
        }
        (plan.entries > 0).then_some(plan)
    }

    fn build(&mut self, op: OpId, head: Head, place: u32, plan: Plan, shards: &mut Shards, reads: &mut Reads) -> Op {
        let blocks = plan.header_blocks + plan.payload_blocks;
        self.flying.push_back(Flying {
            batch: self.tail.batch,
            op,
            place,
            blocks,
            ended: false,
            parts: Vec::with_capacity(plan.entries as usize),
            tickets: plan.shards.iter().map(|&shard| (shard, 0)).collect(),
        });
        let mut w = header::begin(plan.header_blocks, &plan.shards, &self.tail.previous_shards);
        let mut at = place + plan.header_blocks;
        for _ in 0..plan.items {
            let (shard, change, ticket, data) = match self.take().expect("the plan counted it") {
                Item::Request(Request::Append { shard, ticket, record }) => {
                    let change = Change::of(shard, &record, at);
                    (shard, change, Some(ticket), payload(record))
                }
                Item::Request(request) => {
                    self.settle(request, shards, reads);
                    continue;
                }
                Item::Move(Moving { shard, block, froms, crcs, data }) => {
                    (shard, Change::Move { block, place: at, froms, crcs }, None, Some(data))
                }
            };
            let number = self.numbers[&shard];
            let committed = shards.committed(shard);
            change.put(&mut w, number, committed);
            shards.apply(shard, committed, change);
            let flying = self.flying.back_mut().expect("pushed above");
            if let Some(ticket) = ticket {
                flying.tickets[usize::from(number)].1 = ticket;
            }
            if let Some(data) = data {
                let first = at;
                at += data.blocks();
                flying.parts.push((first, data));
            }
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
            incarnation: head.incarnation,
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
        let payloads = self.flying.back().expect("pushed above").parts.iter().map(|(_, payload)| payload.clone());
        let parts = core::iter::once(Payload::from(bytes)).chain(payloads).collect();
        Op::Write { id: op, at: byte_of(place), parts, durable: !self.policy.protected_cache }
    }

    /// Takes the first item off the queue.
    fn take(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        let (shard, other) = match &item {
            Item::Request(Request::Append { shard, record, .. }) => {
                self.queued_blocks -= u64::from(measure(record).1);
                (*shard, !matches!(record, Record::Data { .. } | Record::Trim { .. }))
            }
            Item::Request(Request::Commit { shard, .. }) => (*shard, true),
            Item::Request(_) => return Some(item),
            Item::Move(moving) => {
                self.queued_blocks -= u64::from(moving.data.blocks());
                return Some(item);
            }
        };
        let g = self.gathered.get_mut(&shard).expect("it was counted when it was gathered");
        g.items -= 1;
        g.others -= u32::from(other);
        if g.items == 0 {
            self.gathered.remove(&shard);
        }
        Some(item)
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
        durable: &mut Vec<(ShardId, u64)>,
    ) -> bool {
        let Some(flying) = self.flying.iter_mut().find(|flying| flying.op == op) else { return false };
        flying.ended = result.is_ok();
        while self.flying.front().is_some_and(|flying| flying.ended) {
            let flying = self.flying.pop_front().expect("it was there");
            assert!(flying.batch > self.tail.durable_through, "batches become durable in order");
            self.tail.durable_through = flying.batch;
            // A shard of which there were only moves has no ticket in it.
            durable.extend(flying.tickets.into_iter().filter(|(_, ticket)| *ticket > 0));
        }
        true
    }

    /// Nothing will be appended any more: drops the appends and does what waited behind them.
    pub(crate) fn abandon(&mut self, shards: &mut Shards, reads: &mut Reads) {
        while let Some(item) = self.take() {
            match item {
                Item::Move(_) | Item::Request(Request::Append { .. }) => {}
                Item::Request(request) => self.settle(request, shards, reads),
            }
        }
    }

    /// Appends wait for space that nobody frees: reads behind them go on, with what there is.
    pub(crate) fn release_reads(&mut self, shards: &mut Shards, reads: &mut Reads) {
        for item in core::mem::take(&mut self.queue) {
            match item {
                Item::Move(_) | Item::Request(Request::Append { .. } | Request::Commit { .. }) => {
                    self.queue.push_back(item);
                }
                Item::Request(read) => self.settle(read, shards, reads),
            }
        }
    }

    /// The number of the last batch that is durable.
    pub(crate) fn durable_batch(&self) -> u64 {
        self.tail.durable_through
    }

    /// Blocks of payload that wait for a batch.
    pub(crate) fn queued_blocks(&self) -> u64 {
        self.queued_blocks
    }

    /// Blocks left in the segment being written.
    pub(crate) fn head_blocks_left(&self) -> u32 {
        self.head.map_or(0, |head| self.geometry.segment_blocks() - head.offset)
    }

    /// The segment that will be written next; none before anything was appended, or when there is none left.
    pub(crate) fn next_segment(&self) -> Option<u32> {
        (self.head.is_some() && self.tail.next_segment != NO_SEGMENT).then_some(self.tail.next_segment)
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
        let (mut shards, mut reads) = (Shards::new(geometry), Reads::new(1));
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
        let data = Payload::from(vec![7; 2 * BLOCK_BYTES]);
        let stamp = Stamp { sequence: Sequence(1), ..Stamp::default() };
        let record = Record::Data { stamp, block: 4, data: data.clone() };
        log.gather(Request::Append { shard, ticket: 1, record });
        assert!(matches!(log.form(OpId(1), &mut shards, &mut reads, |_, _| false), Formed::Batch(_)));
        let lies = |shards: &Shards, block| {
            let window = &shards.get(shard).expect("it was written to").window;
            window.above(Sequence(0)).find_map(|e| e.cell(block)).expect("the window has it")
        };
        let (a, b) = (lies(&shards, 4), lies(&shards, 5));
        // The second is not where the mover thinks; a read does not wait for a move.
        let (froms, crcs) = ([a.place, 1].into(), Crcs::of(shard, 4, &data));
        log.gather_move(Moving { shard, block: 4, froms, crcs, data });
        assert_eq!((log.queued_blocks(), log.move_blocks_max()), (2, 8));
        assert!(!log.must_wait(&Request::Read { shard, ticket: 1, block: 4, count: 1 }));
        let Formed::Batch(Op::Write { parts, .. }) = log.form(OpId(2), &mut shards, &mut reads, |_, _| false) else {
            panic!("a slot and a segment are free");
        };
        assert_eq!(parts.iter().map(|part| part.blocks()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((lies(&shards, 4).place, lies(&shards, 5)), (b.place + 2, b));
        assert_eq!((log.queued_blocks(), shards.segments.live_blocks()), (0, 2));
        let mut durable = Vec::new();
        for op in [OpId(1), OpId(2)] {
            assert!(log.done(op, &Ok(Payload::empty()), &mut durable));
        }
        assert_eq!((durable, log.tail.durable_through), (vec![(shard, 1)], 2));
    }
}
