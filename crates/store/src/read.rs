//! Reads: of committed blocks, now or at a frozen point, of the window, and of what is written or has changed at all. Blocks that lie side by side on the disk are read in one operation, every
//! block is checked against the checksum in the index or window, and a mismatch is answered as such, never with the bytes.
//!
//! A read that the disk fails is asked again block by block, so that what is bad of it is known and no more than that: one bad sector costs its block
//! and not the megabyte around it. A block that fails by itself is rotten: to whoever wants it, it is the same whether the disk gives wrong bytes or none.
//!
//! What is read is settled when the read begins; later appends change nothing about it. The disk is asked by so many operations
//! at once as the policy allows, first come first served.

use crate::chunk::{Cell, bits_of};
use crate::entry::Crcs;
use crate::geometry::byte_of;
use crate::index::{At, Index};
use crate::pace::Pace;
use crate::shards::{Shard, Shards};
use crate::window::Body;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::disk::{Fault, Op, OpId};
use base::log::{Changes, Event, Extent, PointChange, ReadFault, Request, Rot, Stamp, WindowEntry};
use base::map::Map;
use base::mutant::{Mutant, Mutation};
use base::{BLOCK_BYTES, CHUNK_BLOCKS, IO_BLOCKS_MAX, Payload, PointId, Sequence, ShardId, Time, checksum};

/// Extents that one read of what changed gives, about: blocks that are not written any more cost no bytes, and there may be any number of them.
const EXTENTS_MAX: usize = 512;

/// Payloads that are on their way to the disk.
pub(crate) trait Memory {
    /// The bytes of blocks from `place` on, if they are on their way; and for how many of the `count` blocks the answer holds.
    fn find(&self, place: u32, count: u32) -> (Option<Payload>, u32);
}

#[derive(Debug)]
enum Source {
    /// Nothing is written there.
    Zeroes,
    Memory(Payload),
    /// Blocks from `skip` on of a run.
    Disk {
        run: usize,
        skip: u32,
        crcs: Crcs,
    },
}

/// Blocks of the shard that come from one source.
#[derive(Debug)]
struct Span {
    block: u32,
    count: u32,
    source: Source,
}

/// Blocks that are read from the disk in one operation; after it failed, each in its own.
#[derive(Debug)]
struct Run {
    place: u32,
    count: u32,
    read: Read,
}

/// What the disk gave of a run.
#[derive(Debug)]
enum Read {
    Awaited,
    Whole(Payload),
    /// Block by block, as far as they came; none of those that the disk fails.
    Blocks(Vec<Option<Payload>>),
}

impl Run {
    /// The bytes of a block, if the disk gave them.
    fn block(&self, i: u32) -> Option<&[u8]> {
        match &self.read {
            Read::Awaited => None,
            Read::Whole(bytes) => Some(&bytes[i as usize * BLOCK_BYTES..][..BLOCK_BYTES]),
            Read::Blocks(blocks) => blocks[i as usize].as_deref(),
        }
    }

    /// Blocks that were all given.
    fn bytes(&self, skip: u32, count: u32) -> Payload {
        match &self.read {
            Read::Awaited => unreachable!("a job ends when all its runs are read"),
            Read::Whole(bytes) => bytes.slice(skip as usize * BLOCK_BYTES, count as usize * BLOCK_BYTES),
            Read::Blocks(blocks) => {
                let some = blocks[skip as usize..(skip + count) as usize].iter();
                joined(some.map(|block| block.clone().expect("the job was found sound")).collect())
            }
        }
    }
}

/// An operation of a job: a whole run, or one block of it.
#[derive(Debug, Clone, Copy)]
struct Piece {
    job: u64,
    run: usize,
    block: Option<u32>,
}

/// An entry of a window that is being read.
#[derive(Debug)]
struct EntryRead {
    stamp: Stamp,
    block: u32,
    count: u32,
    /// Of how many spans its data is, if it has any.
    spans: Option<usize>,
    point: Option<PointChange>,
}

#[derive(Debug)]
enum Answer {
    Blocks,
    Extents {
        next: Option<u32>,
    },
    Window(Vec<EntryRead>),
    /// Each span is a copy of the block.
    Matching {
        block: u32,
    },
}

#[derive(Debug)]
struct Job {
    shard: ShardId,
    ticket: u64,
    answer: Answer,
    spans: Vec<Span>,
    runs: Vec<Run>,
    missing: usize,
}

/// All reads under way.
#[derive(Debug)]
pub(crate) struct Reads {
    in_flight_max: usize,
    mutation: Mutation,
    next_job: u64,
    jobs: Map<u64, Job>,
    waiting: VecDeque<Piece>,
    /// What each operation is for, and when it was asked for.
    in_flight: Map<OpId, (Piece, Time)>,
    answers: Vec<Event>,
}

impl Job {
    fn new(shard: ShardId, ticket: u64, answer: Answer) -> Self {
        Self { shard, ticket, answer, spans: Vec::new(), runs: Vec::new(), missing: 0 }
    }

    fn zeroes(&mut self, block: u32, count: u32) {
        if let Some(Span { block: first, count: so_many, source: Source::Zeroes }) = self.spans.last_mut()
            && *first + *so_many == block
        {
            *so_many += count;
            return;
        }
        self.spans.push(Span { block, count, source: Source::Zeroes });
    }

    /// Blocks that lie one behind the other from `place` on.
    fn stored(&mut self, block: u32, place: u32, crcs: &[u32], memory: &impl Memory) {
        let mut done = 0;
        while done < crcs.len() as u32 {
            let at = place + done;
            let (bytes, count) = memory.find(at, crcs.len() as u32 - done);
            let source = match bytes {
                Some(bytes) => Source::Memory(bytes),
                None => {
                    let crcs = crcs[done as usize..(done + count) as usize].iter().copied().collect();
                    let (run, skip) = self.run(at, count);
                    Source::Disk { run, skip, crcs }
                }
            };
            self.spans.push(Span { block: block + done, count, source });
            done += count;
        }
    }

    /// The run that these places are read with, and where in it they begin.
    fn run(&mut self, place: u32, count: u32) -> (usize, u32) {
        let runs = self.runs.len();
        if let Some(last) = self.runs.last_mut()
            && last.place + last.count == place
            && last.count + count <= IO_BLOCKS_MAX
        {
            last.count += count;
            return (runs - 1, last.count - count);
        }
        self.runs.push(Run { place, count, read: Read::Awaited });
        (runs, 0)
    }

    /// Whether the bytes of a span are there and the right ones; a span that is not adds its bad blocks to `rotten`.
    fn check(&self, span: &Span, rotten: &mut Vec<Rot>) {
        let Source::Disk { run, skip, crcs } = &span.source else { return };
        let run = &self.runs[*run];
        for (i, &crc) in (0..).zip(crcs.iter()) {
            let block = span.block + i;
            let right = run.block(skip + i).is_some_and(|bytes| checksum::block(self.shard, block, bytes) == crc);
            if !right && rotten.len() < IO_BLOCKS_MAX as usize {
                rotten.push(Rot { block, crc, place: run.place + skip + i });
            }
        }
    }

    /// Whether all bytes are there, and the right ones.
    fn sound(&self) -> Result<(), ReadFault> {
        let rotten = self.rotten();
        if rotten.is_empty() { Ok(()) } else { Err(ReadFault { rotten }) }
    }

    fn rotten(&self) -> Vec<Rot> {
        let mut rotten = Vec::new();
        self.spans.iter().for_each(|span| self.check(span, &mut rotten));
        rotten
    }

    /// The bytes of a span.
    fn bytes(&self, span: &Span) -> Payload {
        match &span.source {
            Source::Zeroes => Payload::zero_block(),
            Source::Memory(bytes) => bytes.clone(),
            Source::Disk { run, skip, crcs } => self.runs[*run].bytes(*skip, crcs.len() as u32),
        }
    }

    fn finish(self, mutation: Mutation) -> Event {
        let (shard, ticket) = (self.shard, self.ticket);
        if let Answer::Matching { block } = self.answer {
            return Event::Matching { shard, ticket, block, data: self.first_sound(), rotten: self.rotten() };
        }
        let sound = if mutation.is(Mutant::ReadUnchecked) { Ok(()) } else { self.sound() };
        match &self.answer {
            Answer::Blocks => Event::Blocks { shard, ticket, parts: sound.map(|()| self.parts()) },
            &Answer::Extents { next } => {
                Event::Extents { shard, ticket, extents: sound.map(|()| self.extents()), next }
            }
            Answer::Window(entries) => Event::Window { shard, ticket, entries: sound.map(|()| self.entries(entries)) },
            Answer::Matching { .. } => unreachable!("answered above"),
        }
    }

    fn parts(&self) -> Vec<Payload> {
        let mut parts = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let times = if matches!(span.source, Source::Zeroes) { span.count } else { 1 };
            parts.extend(core::iter::repeat_n(self.bytes(span), times as usize));
        }
        parts
    }

    fn extents(&self) -> Vec<Extent> {
        let extent = |span: &Span| {
            let written = !matches!(span.source, Source::Zeroes);
            Extent { block: span.block, count: span.count, data: written.then(|| self.bytes(span)) }
        };
        self.spans.iter().map(extent).collect()
    }

    fn entries(&self, entries: &[EntryRead]) -> Vec<WindowEntry> {
        let mut spans = self.spans.iter();
        let mut entry = |e: &EntryRead| {
            let data = e.spans.map(|n| joined(spans.by_ref().take(n).map(|span| self.bytes(span)).collect()));
            WindowEntry { stamp: e.stamp, block: e.block, count: e.count, data, point: e.point }
        };
        entries.iter().map(&mut entry).collect()
    }

    /// The first copy that is readable and right.
    fn first_sound(&self) -> Option<Payload> {
        let sound = |span: &&Span| {
            let mut rotten = Vec::new();
            self.check(span, &mut rotten);
            rotten.is_empty()
        };
        self.spans.iter().find(sound).map(|span| self.bytes(span))
    }
}

/// The bytes as one: copied together if they are not, as where some blocks of an entry were moved, which is rare.
fn joined(mut parts: Vec<Payload>) -> Payload {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let bytes = parts.iter().map(|part| part.len()).sum();
    let mut whole = Vec::with_capacity(bytes);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    Payload::from(whole)
}

impl Reads {
    /// None under way.
    pub(crate) fn new(in_flight_max: u32, mutation: Mutation) -> Self {
        Self {
            in_flight_max: in_flight_max.max(1) as usize,
            mutation,
            next_job: 0,
            jobs: Map::default(),
            waiting: VecDeque::new(),
            in_flight: Map::default(),
            answers: Vec::new(),
        }
    }

    /// Begins what a request asks.
    pub(crate) fn begin(&mut self, shards: &Shards, memory: &impl Memory, request: &Request) {
        let job = match *request {
            Request::Read { shard, ticket, block, count } => {
                let state = shards.get(shard).map(|s| (&s.index, s.index.now()));
                blocks(memory, (shard, ticket), state, block, count)
            }
            Request::ReadPoint { shard, ticket, point, block, count } => match at_point(shards, shard, point) {
                Ok(state) => blocks(memory, (shard, ticket), Some(state), block, count),
                Err(point) => return self.answers.push(Event::NoPoint { shard, ticket, point }),
            },
            Request::ReadChanges { shard, ticket, from, to, block, count, most } => {
                let blocks = block..block.saturating_add(count);
                let answer = match changes(shards, shard, (from, to), blocks, most) {
                    Ok(changes) => Event::Changes { shard, ticket, changes },
                    Err(point) => Event::NoPoint { shard, ticket, point },
                };
                return self.answers.push(answer);
            }
            Request::ReadExtents { shard, ticket, since, block, count } => {
                let mut job = Job::new(shard, ticket, Answer::Extents { next: None });
                let next = shards.get(shard).and_then(|s| extents(s, memory, &mut job, since, block, count));
                job.answer = Answer::Extents { next };
                job
            }
            Request::Measure { shard, ticket, since } => {
                let blocks = shards.get(shard).map_or(0, |s| measure(&s.index, since));
                return self.answers.push(Event::Measured { shard, ticket, blocks });
            }
            Request::ReadWindow { shard, ticket, above } => window(shards, memory, shard, ticket, above),
            Request::ReadMatching { shard, ticket, block, crc } => {
                let mut job = Job::new(shard, ticket, Answer::Matching { block });
                for cell in shards.get(shard).iter().flat_map(|s| s.matching(block, crc)) {
                    job.stored(block, cell.place, &[cell.crc], memory);
                }
                job
            }
            Request::Append { .. } | Request::Commit { .. } => unreachable!("not a read"),
        };
        self.add(job);
    }

    fn add(&mut self, mut job: Job) {
        job.missing = job.runs.len();
        if job.missing == 0 {
            self.answers.push(job.finish(self.mutation));
            return;
        }
        let id = self.next_job;
        self.next_job += 1;
        self.waiting.extend((0..job.runs.len()).map(|run| Piece { job: id, run, block: None }));
        self.jobs.insert(id, job);
    }

    /// Asks the disk for as much as may be asked at once.
    pub(crate) fn issue(&mut self, now: Time, mut next_op: impl FnMut() -> OpId, ops: &mut Vec<Op>) {
        while self.in_flight.len() < self.in_flight_max
            && let Some(piece) = self.waiting.pop_front()
        {
            let Run { place, count, .. } = self.jobs[&piece.job].runs[piece.run];
            let (place, count) = piece.block.map_or((place, count), |i| (place + i, 1));
            let op = next_op();
            self.in_flight.insert(op, (piece, now));
            ops.push(Op::Read { id: op, at: byte_of(place), len: count * BLOCK_BYTES as u32 });
        }
    }

    /// Whether any of these blocks is being read, or is going to be.
    pub(crate) fn touch(&self, place: u32, blocks: u32) -> bool {
        let within = |piece: &Piece| {
            let run = &self.jobs[&piece.job].runs[piece.run];
            run.place < place + blocks && place < run.place + run.count
        };
        self.waiting.iter().chain(self.in_flight.values().map(|(piece, _)| piece)).any(within)
    }

    /// A read ended, if it was one of these.
    pub(crate) fn done(&mut self, op: OpId, result: Result<Payload, Fault>, (now, pace): (Time, &mut Pace)) -> bool {
        let Some((piece, asked)) = self.in_flight.remove(&op) else { return false };
        pace.read(now.since(asked));
        let job = self.jobs.get_mut(&piece.job).expect("a job lives until its last run is read");
        let run = &mut job.runs[piece.run];
        let count = if piece.block.is_some() { 1 } else { run.count };
        let bytes = result.ok().filter(|bytes| bytes.blocks() == count);
        job.missing -= 1;
        match (&mut run.read, piece.block, bytes) {
            (Read::Blocks(blocks), Some(i), bytes) => blocks[i as usize] = bytes,
            (read, _, Some(bytes)) => *read = Read::Whole(bytes),
            (read, _, None) => {
                let mut blocks = Vec::new();
                blocks.resize_with(count as usize, || None);
                *read = Read::Blocks(blocks);
                // Of a single block that failed nothing more can be known.
                let again = if count > 1 { 0..count } else { 0..0 };
                job.missing += again.len();
                self.waiting.extend(again.map(|i| Piece { block: Some(i), ..piece }));
            }
        }
        if job.missing == 0 {
            let job = self.jobs.remove(&piece.job).expect("found above");
            self.answers.push(job.finish(self.mutation));
        }
        true
    }

    /// A block was found rotten, or unreadable, by somebody whom nobody had asked to read it: the replica is told, and asks its peers.
    pub(crate) fn found(&mut self, shard: ShardId, rot: Rot) {
        self.answers.push(Event::Corrupt { shard, rot });
    }

    /// Whether nobody waits for the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What was answered since the last call.
    pub(crate) fn answers(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.answers.drain(..)
    }
}

/// Gathers stored blocks that lie one behind the other, both in the shard and on the disk.
#[derive(Default)]
struct Row {
    block: u32,
    place: u32,
    crcs: Vec<u32>,
}

impl Row {
    fn push(&mut self, job: &mut Job, memory: &impl Memory, block: u32, cell: Cell) {
        let count = self.crcs.len() as u32;
        if (self.block + count, self.place + count) != (block, cell.place) {
            self.flush(job, memory);
            (self.block, self.place) = (block, cell.place);
        }
        self.crcs.push(cell.crc);
    }

    fn flush(&mut self, job: &mut Job, memory: &impl Memory) {
        if !self.crcs.is_empty() {
            job.stored(self.block, self.place, &self.crcs, memory);
            self.crcs.clear();
        }
    }
}

/// The index of a shard, and its state at a point; the point, if there is none.
fn at_point(shards: &Shards, shard: ShardId, point: PointId) -> Result<(&Index, At), PointId> {
    let found = shards.get(shard).and_then(|s| Some((&s.index, s.index.at(point)?)));
    found.ok_or(point)
}

/// Where two states may differ. As many stretches as are wanted, so that neither the answer nor the time it takes grows with the shard.
fn changes(
    shards: &Shards,
    shard: ShardId,
    (from, to): (Option<PointId>, Option<PointId>),
    range: core::ops::Range<u32>,
    most: u32,
) -> Result<Changes, PointId> {
    let from = from.map(|point| at_point(shards, shard, point)).transpose()?.map(|(_, at)| at);
    let to = to.map(|point| at_point(shards, shard, point)).transpose()?.map(|(_, at)| at);
    let mut changes = Changes::default();
    let Some(index) = shards.get(shard).map(|s| &s.index) else { return Ok(changes) };
    let mut next = Some(range.start / CHUNK_BLOCKS);
    while let Some((number, bits)) = next.and_then(|n| index.next_differing(from, to.unwrap_or(index.now()), n))
        && number <= range.end.saturating_sub(1) / CHUNK_BLOCKS
    {
        let first = number * CHUNK_BLOCKS;
        let below = range.start.saturating_sub(first);
        for b in bits_of(bits >> below << below).map(|bit| first + bit).filter(|b| *b < range.end) {
            let full = changes.stretches.len() as u32 >= most.max(1);
            match changes.stretches.last_mut() {
                Some((at, count)) if *at + *count == b => *count += 1,
                _ if full => {
                    changes.next = Some(b);
                    return Ok(changes);
                }
                _ => changes.stretches.push((b, 1)),
            }
        }
        next = Some(number + 1);
    }
    Ok(changes)
}

fn blocks(
    memory: &impl Memory,
    (shard, ticket): (ShardId, u64),
    state: Option<(&Index, At)>,
    block: u32,
    count: u32,
) -> Job {
    assert!(
        (1..=IO_BLOCKS_MAX).contains(&count) && block.checked_add(count).is_some(),
        "{shard}: a read of {count} blocks from {block} on; at most {IO_BLOCKS_MAX} can be read at once"
    );
    let mut job = Job::new(shard, ticket, Answer::Blocks);
    let Some((index, at)) = state else {
        job.zeroes(block, count);
        return job;
    };
    let mut row = Row::default();
    index.each_at(at, block, count, &mut |block, cell| match cell {
        Some(cell) => row.push(&mut job, memory, block, cell),
        None => {
            row.flush(&mut job, memory);
            job.zeroes(block, 1);
        }
    });
    row.flush(&mut job, memory);
    job
}

fn window(shards: &Shards, memory: &impl Memory, shard: ShardId, ticket: u64, above: Sequence) -> Job {
    let mut job = Job::new(shard, ticket, Answer::Blocks);
    let mut entries = Vec::new();
    for entry in shards.get(shard).iter().flat_map(|s| s.window.above(above)) {
        let mut point = None;
        let (count, spans) = match &entry.body {
            Body::Trim { count } => (*count, None),
            Body::Point(change) => {
                point = Some(*change);
                (0, None)
            }
            Body::Data { places, crcs } => {
                let before = job.spans.len();
                places.each_run(crcs.len() as u32, &mut |first, place, count| {
                    let crcs = &crcs[first as usize..(first + count) as usize];
                    job.stored(entry.block + first, place, crcs, memory);
                });
                (crcs.len() as u32, Some(job.spans.len() - before))
            }
        };
        entries.push(EntryRead { stamp: entry.stamp, block: entry.block, count, spans, point });
    }
    job.answer = Answer::Window(entries);
    job
}

/// Up to `count` blocks for copying. Gives where to go on.
fn extents(
    s: &Shard,
    memory: &impl Memory,
    job: &mut Job,
    since: Option<Sequence>,
    block: u32,
    count: u32,
) -> Option<u32> {
    let count = count.clamp(1, IO_BLOCKS_MAX);
    match since.and_then(|since| s.index.changed_since(since, block / CHUNK_BLOCKS)) {
        Some(changed) => changed_extents(&s.index, changed, memory, job, block, count),
        None => all_extents(s, memory, job, block, count),
    }
}

/// Written blocks, with the gaps between and behind them: behind the last written block of the shard, up to the end that its configuration gives it.
fn all_extents(s: &Shard, memory: &impl Memory, job: &mut Job, block: u32, count: u32) -> Option<u32> {
    let end = s.register.as_ref().map_or(u32::MAX, |register| register.config.blocks);
    let (mut left, mut at, mut row) = (count, block, Row::default());
    loop {
        let next = s.index.next_written(at);
        let gap_end = next.unwrap_or(end).max(at);
        if gap_end > at {
            row.flush(job, memory);
            job.zeroes(at, gap_end - at);
        }
        let Some(next) = next.filter(|_| left > 0) else {
            row.flush(job, memory);
            return next;
        };
        s.index.each(next, 1, &mut |block, cell| row.push(job, memory, block, cell.expect("it is written")));
        left -= 1;
        at = next + 1;
    }
}

/// Changed blocks: those that are written, and those that are not any more.
fn changed_extents(
    index: &Index,
    changed: impl Iterator<Item = (u32, u128)>,
    memory: &impl Memory,
    job: &mut Job,
    from: u32,
    count: u32,
) -> Option<u32> {
    let (mut left, mut row) = (count, Row::default());
    let blocks = changed.flat_map(|(number, bits)| bits_of(bits).map(move |bit| number * CHUNK_BLOCKS + bit));
    for block in blocks.skip_while(|block| *block < from) {
        let mut cell = None;
        index.each(block, 1, &mut |_, found| cell = found);
        if job.spans.len() >= EXTENTS_MAX || (left == 0 && cell.is_some()) {
            row.flush(job, memory);
            return Some(block);
        }
        match cell {
            Some(cell) => {
                row.push(job, memory, block, cell);
                left -= 1;
            }
            None => {
                row.flush(job, memory);
                job.zeroes(block, 1);
            }
        }
    }
    row.flush(job, memory);
    None
}

/// Blocks that there are to copy.
fn measure(index: &Index, since: Option<Sequence>) -> u32 {
    let changed = since.and_then(|since| index.changed_since(since, 0));
    changed.map_or_else(|| index.written(), |changed| changed.map(|(_, bits)| bits.count_ones()).sum())
}
