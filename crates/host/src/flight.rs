//! One request in flight: which messages it needs, in what order, and what their answers add up to.
//!
//! A write whose edges are not whole blocks first reads those blocks (at most two), lays its bytes over them, and then writes
//! whole blocks; a trim lays zeroes over them and trims what lies between. This happens while the request holds its blocks in
//! [`crate::order::Order`], so nothing can change them in between.
//!
//! A large request makes its messages one at a time, as it is asked for them: a trim of a terabyte costs no more memory than one
//! of a block. It refuses to know where a message goes, beyond the length of a shard.

use crate::request::{Op, Refusal, Reply, Request};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use base::mutant::{Mutant, Mutation};
use base::{BLOCK_BYTES, IO_BLOCKS_MAX, MAP_BLOCKS_MAX, Payload};
use core::ops::Range;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What one message is to do; blocks are counted from the start of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Read so many blocks.
    Read { block: u32, count: u32 },
    /// Write these whole blocks.
    Write { block: u32, data: Vec<Payload> },
    /// Trim so many blocks.
    Trim { block: u32, count: u32 },
    /// Say which of so many blocks are written.
    Map { block: u32, count: u32 },
}

impl What {
    /// Bytes of blocks that go over the wire for it, one way or the other.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Read { count, .. } => u64::from(*count) * BLOCK,
            Self::Write { data, .. } => base::payload::len(data) as u64,
            Self::Map { count, .. } => u64::from(count.div_ceil(8)),
            Self::Trim { .. } => 0,
        }
    }

    /// Bytes that its answer must carry.
    pub(crate) fn answer_bytes(&self) -> usize {
        match self {
            Self::Read { count, .. } => *count as usize * BLOCK_BYTES,
            Self::Map { count, .. } => count.div_ceil(8) as usize,
            Self::Write { .. } | Self::Trim { .. } => 0,
        }
    }
}

/// One message that a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// For which shard of the volume.
    pub(crate) shard: u32,
    /// Names it within its request.
    pub(crate) part: u64,
    /// What.
    pub(crate) what: What,
}

/// A stretch of blocks of the volume with one thing to be done to it.
#[derive(Debug)]
enum Segment {
    Read(Range<u64>),
    Write(Range<u64>, VecDeque<Payload>),
    Trim(Range<u64>),
    Map(Range<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for its blocks, or has not begun.
    Held,
    /// It reads the blocks at its edges.
    Edges,
    /// It does what it was asked to.
    Running,
}

/// See the page above.
#[derive(Debug)]
pub(crate) struct Flight {
    tag: u64,
    op: Op,
    stage: Stage,
    plan: VecDeque<Segment>,
    next_part: u64,
    outstanding: u32,
    got: BTreeMap<u64, Vec<Payload>>,
    /// Of a map: how many blocks each message asks about.
    counts: Vec<u32>,
    failed: Option<Refusal>,
    mutation: Mutation,
}

impl Flight {
    pub(crate) fn new(request: Request) -> Self {
        Self {
            tag: request.tag,
            op: request.op,
            stage: Stage::Held,
            plan: VecDeque::new(),
            next_part: 0,
            outstanding: 0,
            got: BTreeMap::new(),
            counts: Vec::new(),
            failed: None,
            mutation: Mutation::NONE,
        }
    }

    /// Makes it wrong, for the tests of the checkers.
    pub(crate) fn mutated(self, mutation: Mutation) -> Self {
        Self { mutation, ..self }
    }

    /// The request's own tag.
    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }

    /// What it counts for in the bounds of its volume.
    pub(crate) fn weight(&self) -> u64 {
        self.op.weight()
    }

    /// Whether it is a flush.
    pub(crate) fn is_flush(&self) -> bool {
        matches!(self.op, Op::Flush)
    }

    /// Whether it changes blocks.
    pub(crate) fn changes(&self) -> bool {
        self.op.changes()
    }

    /// The blocks of the volume that it touches.
    pub(crate) fn blocks(&self) -> Range<u64> {
        let (offset, len) = self.op.span();
        offset / BLOCK..(offset + len).div_ceil(BLOCK)
    }

    /// Blocks that it touches and does not fill: none, one or two.
    fn edges(&self) -> Vec<u64> {
        let (offset, len) = self.op.span();
        let mut edges = Vec::new();
        if !offset.is_multiple_of(BLOCK) {
            edges.push(offset / BLOCK);
        }
        let end = offset + len;
        if !end.is_multiple_of(BLOCK) && edges.first() != Some(&(end / BLOCK)) {
            edges.push(end / BLOCK);
        }
        edges
    }

    /// Its blocks are its own now: begin.
    pub(crate) fn begin(&mut self) {
        assert_eq!(self.stage, Stage::Held, "a request began twice");
        match &self.op {
            Op::Read { .. } => {
                self.stage = Stage::Running;
                self.plan.push_back(Segment::Read(self.blocks()));
            }
            Op::Map { .. } => {
                self.stage = Stage::Running;
                self.plan.push_back(Segment::Map(self.blocks()));
            }
            Op::Flush => self.stage = Stage::Running,
            Op::Write { .. } | Op::Trim { .. } | Op::Zero { .. } => {
                let edges = self.edges();
                if edges.is_empty() {
                    self.run();
                } else {
                    self.stage = Stage::Edges;
                    self.plan.extend(edges.into_iter().map(|block| Segment::Read(block..block + 1)));
                }
            }
        }
    }

    /// The next message, if one may go now: at most `most` are outstanding.
    pub(crate) fn next(&mut self, shard_blocks: u32, most: u32) -> Option<Step> {
        if self.failed.is_some() || self.outstanding >= most {
            return None;
        }
        let (blocks, longest) = match self.plan.front_mut()? {
            Segment::Read(blocks) | Segment::Write(blocks, _) | Segment::Trim(blocks) => (blocks, IO_BLOCKS_MAX),
            Segment::Map(blocks) => (blocks, MAP_BLOCKS_MAX),
        };
        let shard_blocks = u64::from(shard_blocks);
        let (shard, block) = (blocks.start / shard_blocks, blocks.start % shard_blocks);
        let inside = if self.mutation.is(Mutant::SplitForgotten) { u64::MAX } else { shard_blocks - block };
        let count = (blocks.end - blocks.start).min(u64::from(longest)).min(inside) as u32;
        blocks.start += u64::from(count);
        let is_last = blocks.is_empty();
        let block = block as u32;
        let what = match self.plan.front_mut()? {
            Segment::Read(_) => What::Read { block, count },
            Segment::Write(_, data) => What::Write { block, data: take(data, count as usize * BLOCK_BYTES) },
            Segment::Trim(_) => What::Trim { block, count },
            Segment::Map(_) => {
                self.counts.push(count);
                What::Map { block, count }
            }
        };
        if is_last {
            self.plan.pop_front();
        }
        let part = self.next_part;
        self.next_part += 1;
        self.outstanding += 1;
        Some(Step { shard: shard as u32, part, what })
    }

    /// A message was answered.
    pub(crate) fn landed(&mut self, part: u64, result: Result<Vec<Payload>, Refusal>) {
        self.outstanding = self.outstanding.checked_sub(1).expect("an answer to a message that was not outstanding");
        match result {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                self.got.insert(part, data);
            }
            // What is outstanding is still waited for, so that the blocks are not given to another before it has ended.
            Err(why) => self.failed = Some(self.failed.unwrap_or(why)),
        }
        if self.stage == Stage::Edges && self.plan.is_empty() && self.outstanding == 0 && self.failed.is_none() {
            self.run();
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.outstanding == 0 && (self.failed.is_some() || (self.stage == Stage::Running && self.plan.is_empty()))
    }

    /// What to say of it.
    pub(crate) fn reply(self) -> Reply {
        let result = match (self.failed, &self.op) {
            (Some(why), _) => Err(why),
            (None, Op::Read { offset, len }) => {
                let mut parts: VecDeque<Payload> = self.got.into_values().flatten().collect();
                take(&mut parts, (offset % BLOCK) as usize);
                Ok(take(&mut parts, *len as usize))
            }
            (None, Op::Map { .. }) => Ok(bits_in_a_row(self.got.into_values().zip(self.counts))),
            (None, _) => Ok(Vec::new()),
        };
        Reply { tag: self.tag, result }
    }

    /// The edges, if there are any, have been read: plan the whole blocks.
    fn run(&mut self) {
        self.stage = Stage::Running;
        let edges = core::mem::take(&mut self.got).into_values().map(|parts| joined(&parts));
        let mut edges: BTreeMap<u64, Vec<u8>> = self.edges().into_iter().zip(edges).collect();
        let (offset, len) = self.op.span();
        let blocks = self.blocks();
        let data = if let Op::Write { data, .. } = &self.op { Some(data.clone()) } else { None };
        // Of each edge the bytes that belong to the request are laid over; what is left lies between the edges.
        for (block, bytes) in &mut edges {
            if self.mutation.is(Mutant::EdgeForgotten) {
                bytes.fill(0);
            }
            let start = offset.max(block * BLOCK);
            let end = (offset + len).min((block + 1) * BLOCK);
            let target = &mut bytes[(start - block * BLOCK) as usize..(end - block * BLOCK) as usize];
            match &data {
                Some(data) => target.copy_from_slice(&data[(start - offset) as usize..(end - offset) as usize]),
                None => target.fill(0),
            }
        }
        let mut middle = blocks.clone();
        let head = edges.remove(&middle.start);
        if head.is_some() {
            middle.start += 1;
        }
        let tail = blocks.end.checked_sub(1).and_then(|last| edges.remove(&last));
        if tail.is_some() {
            middle.end -= 1;
        }
        let (head, tail) = (head.map(Payload::from), tail.map(Payload::from));
        match data {
            Some(data) => {
                let inner = (!middle.is_empty()).then(|| {
                    let at = (middle.start * BLOCK - offset) as usize;
                    data.slice(at, ((middle.end - middle.start) * BLOCK) as usize)
                });
                self.plan.push_back(Segment::Write(blocks, head.into_iter().chain(inner).chain(tail).collect()));
            }
            None => {
                let last = blocks.end.saturating_sub(1);
                let edge = |block: u64, bytes| Segment::Write(block..block + 1, VecDeque::from(vec![bytes]));
                self.plan.extend(head.map(|bytes| edge(blocks.start, bytes)));
                if !middle.is_empty() {
                    self.plan.push_back(Segment::Trim(middle));
                }
                self.plan.extend(tail.map(|bytes| edge(last, bytes)));
            }
        }
    }
}

/// The first `len` bytes of a row of payloads, or what there is; the rest stays. Copies nothing.
fn take(parts: &mut VecDeque<Payload>, len: usize) -> Vec<Payload> {
    let mut taken = Vec::new();
    let mut left = len;
    while left > 0 {
        let Some(part) = parts.pop_front() else { break };
        if part.len() > left {
            taken.push(part.slice(0, left));
            parts.push_front(part.slice(left, part.len() - left));
            break;
        }
        left -= part.len();
        taken.push(part);
    }
    taken
}

/// Bits of several answers, each with how many of them count, one behind the other. One answer alone is passed on as it is.
fn bits_in_a_row(mut answers: impl ExactSizeIterator<Item = (Vec<Payload>, u32)>) -> Vec<Payload> {
    if answers.len() == 1 {
        return answers.next().map_or(Vec::new(), |(parts, _)| parts);
    }
    let (mut row, mut len) = (Vec::new(), 0);
    for (parts, count) in answers {
        let bits = joined(&parts);
        for bit in 0..count as usize {
            if len % 8 == 0 {
                row.push(0u8);
            }
            *row.last_mut().expect("it was just pushed") |= (bits[bit / 8] >> (bit % 8) & 1) << (len % 8);
            len += 1;
        }
    }
    Vec::from([Payload::from(row)])
}

fn joined(parts: &[Payload]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(base::payload::len(parts));
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Rng, VolumeId};

    fn flight(op: Op) -> Flight {
        let mut flight = Flight::new(Request { volume: VolumeId(1), tag: 7, op });
        flight.begin();
        flight
    }

    fn drain(flight: &mut Flight, shard_blocks: u32) -> Vec<Step> {
        core::iter::from_fn(|| flight.next(shard_blocks, u32::MAX)).collect()
    }

    #[test]
    fn an_aligned_write_is_split_at_shards_and_at_the_largest_message_and_copies_nothing() {
        let data = Payload::from(vec![5u8; 600 * BLOCK_BYTES]);
        let mut f = flight(Op::Write { offset: 300 * BLOCK, data: data.clone() });
        let steps = drain(&mut f, 512);
        let shapes: Vec<_> = steps
            .iter()
            .map(|s| match &s.what {
                What::Write { block, data } => (s.shard, *block, base::payload::len(data) / BLOCK_BYTES),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(shapes, [(0, 300, 212), (1, 0, 256), (1, 256, 132)]);
        let What::Write { data: first, .. } = &steps[0].what else { unreachable!() };
        assert_eq!(first[0].as_ptr(), data.as_ptr());
    }

    #[test]
    fn an_unaligned_write_reads_its_edges_first_and_then_writes_whole_blocks() {
        let mut f = flight(Op::Write { offset: BLOCK - 2, data: Payload::from(vec![9u8; BLOCK_BYTES + 4]) });
        let edges = drain(&mut f, 100);
        assert_eq!(edges.len(), 2);
        assert_eq!(
            (&edges[0].what, &edges[1].what),
            (&What::Read { block: 0, count: 1 }, &What::Read { block: 2, count: 1 })
        );
        // Answers may come in any order.
        f.landed(edges[1].part, Ok(vec![Payload::from(vec![2u8; BLOCK_BYTES])]));
        f.landed(edges[0].part, Ok(vec![Payload::from(vec![1u8; BLOCK_BYTES])]));
        let steps = drain(&mut f, 100);
        let [Step { what: What::Write { block: 0, data }, part, .. }] = &steps[..] else { panic!("{steps:?}") };
        let bytes = joined(data);
        let wanted: Vec<u8> = [vec![1; BLOCK_BYTES - 2], vec![9; BLOCK_BYTES + 4], vec![2; BLOCK_BYTES - 2]].concat();
        assert!(bytes == wanted);
        assert!(!f.is_over());
        f.landed(*part, Ok(vec![]));
        assert!(f.is_over());
    }

    #[test]
    fn a_trim_with_ragged_edges_writes_them_and_trims_between() {
        let mut f = flight(Op::Trim { offset: 10, len: 3 * BLOCK });
        let edges = drain(&mut f, 100);
        for edge in &edges {
            f.landed(edge.part, Ok(vec![Payload::from(vec![1u8; BLOCK_BYTES])]));
        }
        let steps = drain(&mut f, 100);
        let [
            Step { what: What::Write { block: 0, data: head }, .. },
            Step { what: What::Trim { block: 1, count: 2 }, .. },
            Step { what: What::Write { block: 3, data: tail }, .. },
        ] = &steps[..]
        else {
            panic!("{steps:?}")
        };
        assert!(joined(head) == [vec![1; 10], vec![0; BLOCK_BYTES - 10]].concat());
        assert!(joined(tail) == [vec![0; 10], vec![1; BLOCK_BYTES - 10]].concat());
    }

    #[test]
    fn a_map_is_asked_for_shard_by_shard_and_its_bits_stand_in_a_row() {
        // Blocks 2 to 12 of shards of 5: three, five and three of them.
        let mut f = flight(Op::Map { offset: 2 * BLOCK + 7, len: 10 * BLOCK });
        let steps = drain(&mut f, 5);
        let asked: Vec<_> = steps.iter().map(|s| (s.shard, s.what.clone())).collect();
        let map = |block, count| What::Map { block, count };
        assert_eq!(asked, [(0, map(2, 3)), (1, map(0, 5)), (2, map(0, 3))]);
        let bits = |b: u8| Ok(vec![Payload::from(vec![b])]);
        f.landed(steps[2].part, bits(0b110));
        f.landed(steps[0].part, bits(0b101));
        assert!(!f.is_over());
        f.landed(steps[1].part, bits(0b10001));
        assert!(f.is_over());
        assert_eq!(joined(&f.reply().result.unwrap()), [0b1000_1101, 0b110]);
        let mut large = flight(Op::Map { offset: 0, len: 3 << 30 });
        assert_eq!(drain(&mut large, u32::MAX).len(), 3, "1 GiB at a time");
    }

    #[test]
    fn a_failed_part_ends_the_request_only_when_nothing_of_it_is_outstanding() {
        let mut f = flight(Op::Trim { offset: 0, len: 1 << 30 });
        let first = f.next(1 << 20, 2).unwrap();
        let second = f.next(1 << 20, 2).unwrap();
        assert!(f.next(1 << 20, 2).is_none());
        f.landed(first.part, Err(Refusal::Full { room: 3 }));
        assert!(f.next(1 << 20, 2).is_none() && !f.is_over());
        f.landed(second.part, Ok(vec![]));
        assert!(f.is_over());
        assert_eq!(f.reply().result, Err(Refusal::Full { room: 3 }));
    }

    #[test]
    fn any_read_gives_exactly_the_bytes_asked_for() {
        let mut rng = Rng::new(3);
        let volume: Vec<u8> = (0..64 * BLOCK_BYTES).map(|_| rng.u64() as u8).collect();
        for _ in 0..200 {
            let offset = rng.below(volume.len() as u64);
            let len = rng.below(volume.len() as u64 - offset + 1);
            let mut f = flight(Op::Read { offset, len });
            let mut steps = drain(&mut f, 10);
            rng.shuffle(&mut steps);
            for step in steps {
                let What::Read { block, count } = step.what else { panic!() };
                let at = (step.shard * 10 + block) as usize * BLOCK_BYTES;
                let bytes = volume[at..at + count as usize * BLOCK_BYTES].to_vec();
                f.landed(step.part, Ok(vec![Payload::from(bytes)]));
            }
            assert!(joined(&f.reply().result.unwrap()) == volume[offset as usize..(offset + len) as usize]);
        }
    }
}
