//! One connection of a witness: asks, takes the answers in whatever order they come, and writes down of every block when it was asked for, when it was
//! answered, and what was in it. It believes nothing and judges nothing but whether a block is whole.

use super::judge::Seen;
use super::stamp::Stamp;
use super::times::{Kind, Tick};
use crate::args::Lie;
use base::{BLOCK_BYTES, Rng, VolumeId};
use frontend::nbd::client::{Client, Command, Completion, Error};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Blocks that half of the load goes to, so that requests meet.
const HOT_BLOCKS: u64 = 256;
/// Connections of the probe: each asks in its turn, so that an answer may take that many milliseconds before the probe falls behind.
pub const LANES: u64 = 16;
/// Blocks at the end of the volume that each of them has for itself.
const LANE_BLOCKS: u64 = 16;
/// Blocks of the largest request of the load.
const REQUEST_BLOCKS_MAX: u64 = 8;
/// Blocks of one request of a look at everything.
const LOOK_BLOCKS: u64 = 64;
/// What was missed for longer than this is not made up for: a load that was stopped does not come back as a flood.
const BEHIND_MAX: u64 = 50_000_000;
/// One request in so many is a lie, when lies are wanted.
const LIE_EVERY: u64 = 50;
/// Words of what went wrong that are kept.
const FAILURES_MAX: usize = 20;

/// Now, in nanoseconds.
pub fn now() -> u64 {
    runtime::monotonic().0
}

/// What all connections share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Asked to end.
    pub stop: AtomicBool,
    /// Requests that were answered with an error.
    pub errors: AtomicU64,
    /// Blocks that were nobody's write, connections that broke the protocol; how many, and the first of them in words.
    pub failures: Mutex<(u64, Vec<String>)>,
    /// Every answer.
    pub ticks: Mutex<Vec<Tick>>,
    /// Per generation: when its first request was answered.
    pub first_answers: Mutex<BTreeMap<u32, u64>>,
}

impl Shared {
    /// Something is wrong with what was answered.
    pub fn fail(&self, what: String) {
        let mut failures = self.failures.lock().expect("a worker panicked");
        failures.0 += 1;
        if failures.1.len() < FAILURES_MAX {
            failures.1.push(what);
        }
    }
}

/// What can be seen of a connection from outside.
#[derive(Debug, Default)]
pub struct Progress {
    /// When the latest request was asked that has been answered.
    pub answered_from: AtomicU64,
    /// The connection was lost.
    pub is_gone: AtomicBool,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Reads and writes at random until told to stop: so many requests in flight at most, one each so many nanoseconds.
    Load { depth: usize, every: u64 },
    /// Reads and writes its own blocks in turn, one request each so many nanoseconds, the first after `offset`.
    Probe { lane: u64, every: u64, offset: u64 },
    /// Reads the blocks from one on and before another, and ends.
    Look { from: u64, to: u64 },
}

/// A request in flight.
struct Pending {
    op: u64,
    block: u64,
    count: u64,
    /// None: a read. The value of each block: 0 or the request's own.
    writes: Option<u64>,
    invoked: u64,
}

/// What a connection is told.
pub struct Part<'a> {
    /// What it shares with the others.
    pub shared: &'a Shared,
    /// Where it says how far it is.
    pub progress: &'a Progress,
    /// The volume that it is to open.
    pub volume: VolumeId,
    /// Under which generation of the attachment.
    pub generation: u32,
    /// Its number; no two connections of a witness ever have the same.
    pub io: u64,
    /// What it does.
    pub task: Task,
    /// How it lies.
    pub lie: Option<Lie>,
}

/// One connection.
pub struct Worker<'a> {
    part: Part<'a>,
    client: Client,
    rng: Rng,
    counter: u64,
    in_flight: HashMap<u64, Pending>,
    history: Vec<Seen>,
    /// For lies: what this connection once wrote.
    once: HashMap<u64, u64>,
}

impl<'a> Worker<'a> {
    /// Over a connection that is open.
    pub fn new(part: Part<'a>, client: Client, rng: Rng) -> Self {
        let (in_flight, history, once) = (HashMap::new(), Vec::new(), HashMap::new());
        Self { part, client, rng, counter: 0, in_flight, history, once }
    }

    /// Works until it is done, told to stop, or cut off; what it saw.
    pub fn run(mut self) -> Vec<Seen> {
        let outcome = match self.part.task {
            Task::Load { depth, every } => self.keep_asking(depth, every, now()),
            Task::Probe { every, offset, .. } => self.keep_asking(1, every, now() + offset),
            Task::Look { from, to } => self.look(from, to),
        };
        if let Err(why) = outcome {
            match why {
                Error::Io(_) => self.part.progress.is_gone.store(true, Ordering::Release),
                other => self.part.shared.fail(format!("connection {}: {other}", self.part.io)),
            }
        }
        let open: Vec<Pending> = self.in_flight.drain().map(|(_, pending)| pending).collect();
        open.into_iter().for_each(|pending| self.wrote(&pending, None));
        // A server that is gone needs no goodbye.
        let _ = self.client.disconnect();
        self.history
    }

    fn keep_asking(&mut self, depth: usize, every: u64, first: u64) -> Result<(), Error> {
        let mut due = first;
        loop {
            let stopped = self.part.shared.stop.load(Ordering::Acquire);
            while !stopped && self.in_flight.len() < depth && due <= now() {
                self.ask()?;
                due = (due + every).max(now().saturating_sub(BEHIND_MAX));
            }
            if !self.in_flight.is_empty() {
                self.take()?;
            } else if stopped {
                return Ok(());
            } else {
                std::thread::park_timeout(Duration::from_nanos(due.saturating_sub(now())));
            }
        }
    }

    fn look(&mut self, from: u64, to: u64) -> Result<(), Error> {
        let mut block = from;
        while block < to {
            let count = LOOK_BLOCKS.min(to - block);
            self.read(block, count)?;
            self.take()?;
            block += count;
        }
        Ok(())
    }

    /// One request, of a kind that the task and chance decide.
    fn ask(&mut self) -> Result<(), Error> {
        let blocks = self.client.size() / BLOCK_BYTES as u64;
        if let Task::Probe { lane, .. } = self.part.task {
            // Written, and read at the next turn.
            let block = blocks - (lane + 1) * LANE_BLOCKS + self.counter / 2 % LANE_BLOCKS;
            return if self.counter.is_multiple_of(2) { self.write(block, 1) } else { self.read(block, 1) };
        }
        let count = self.rng.within(1, REQUEST_BLOCKS_MAX);
        let everywhere = blocks - LANES * LANE_BLOCKS;
        let within = if self.rng.chance(1, 2) { HOT_BLOCKS.min(everywhere) } else { everywhere };
        let block = self.rng.below(within - count + 1);
        match self.rng.below(64) {
            0 => self.zero(block, count),
            1..32 => self.write(block, count),
            _ => self.read(block, count),
        }
    }

    fn next(&mut self, block: u64, count: u64) -> Pending {
        self.counter += 1;
        let op = self.stamp(block).value();
        Pending { op, block, count, writes: None, invoked: now() }
    }

    fn stamp(&self, block: u64) -> Stamp {
        let (volume, generation) = (self.part.volume, u64::from(self.part.generation));
        Stamp { volume, block, generation, io: self.part.io, counter: self.counter }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.part.lie == Some(lie) && self.counter.is_multiple_of(LIE_EVERY)
    }

    fn send(&mut self, pending: Pending, data: &[u8]) -> Result<(), Error> {
        let (offset, len) = (pending.block * BLOCK_BYTES as u64, pending.count as u32 * BLOCK_BYTES as u32);
        let command = match pending.writes {
            None => Command::Read { offset, len },
            Some(0) => Command::Zero { offset, len },
            Some(_) => Command::Write { offset, data },
        };
        match self.client.send(command) {
            Ok(cookie) => {
                self.in_flight.insert(cookie, pending);
                Ok(())
            }
            Err(why) => {
                // Some of it may have left.
                self.wrote(&pending, None);
                Err(why)
            }
        }
    }

    fn read(&mut self, block: u64, count: u64) -> Result<(), Error> {
        let pending = self.next(block, count);
        self.send(pending, &[])
    }

    fn zero(&mut self, block: u64, count: u64) -> Result<(), Error> {
        let pending = self.next(block, count);
        self.send(Pending { writes: Some(0), ..pending }, &[])
    }

    fn write(&mut self, block: u64, count: u64) -> Result<(), Error> {
        let mut data = vec![0; count as usize * BLOCK_BYTES];
        let pending = self.next(block, count);
        let pending = Pending { writes: Some(pending.op), ..pending };
        for (at, bytes) in (block..).zip(data.chunks_exact_mut(BLOCK_BYTES)) {
            self.stamp(at).fill(bytes);
        }
        if self.lies(Lie::TornBlock) {
            data[BLOCK_BYTES / 2..BLOCK_BYTES].fill(7);
        }
        if self.lies(Lie::LostWrite) {
            self.wrote(&pending, Some(now()));
            return Ok(());
        }
        self.send(pending, &data)
    }

    /// Waits for an answer.
    fn take(&mut self) -> Result<(), Error> {
        let Completion { cookie, result } = self.client.receive()?;
        let at = now();
        let pending = self.in_flight.remove(&cookie).ok_or(Error::Protocol("an answer to nothing"))?;
        let kind = match (self.part.task, pending.writes) {
            (Task::Probe { .. }, None) => Kind::ProbeRead,
            (Task::Probe { .. }, Some(_)) => Kind::ProbeWrite,
            _ => Kind::Load,
        };
        match (result, pending.writes) {
            (Err(errno), writes) => {
                self.part.shared.errors.fetch_add(1, Ordering::Relaxed);
                let kind = if writes.is_some() { "writing" } else { "reading" };
                let Pending { block, count, .. } = pending;
                self.part.shared.fail(format!("{kind} {count} blocks from block {block} on failed: {errno}"));
                self.wrote(&pending, None);
                return Ok(());
            }
            (Ok(_), Some(_)) => self.wrote(&pending, Some(at)),
            (Ok(data), None) => self.saw(&pending, data, at),
        }
        self.part.shared.ticks.lock().expect("a worker panicked").push(Tick { from: pending.invoked, to: at, kind });
        let mut first = self.part.shared.first_answers.lock().expect("a worker panicked");
        first.entry(self.part.generation).or_insert(at);
        self.part.progress.answered_from.fetch_max(pending.invoked, Ordering::AcqRel);
        Ok(())
    }

    /// Notes a write; nothing when the request was a read.
    fn wrote(&mut self, pending: &Pending, returned: Option<u64>) {
        let Some(value) = pending.writes else { return };
        for block in pending.block..pending.block + pending.count {
            self.note(pending, block, value, returned);
            self.once.entry(block).or_insert(value);
        }
    }

    fn saw(&mut self, pending: &Pending, mut data: Vec<u8>, at: u64) {
        if self.lies(Lie::FlipByte) {
            data[17] ^= 1;
        }
        if data.len() != pending.count as usize * BLOCK_BYTES {
            self.part.shared.fail(format!("reading {} blocks gave {} bytes", pending.count, data.len()));
        }
        for (block, bytes) in (pending.block..).zip(data.chunks_exact(BLOCK_BYTES)) {
            match Stamp::read(bytes, self.part.volume, block) {
                Ok(value) => {
                    let old = self.once.get(&block).copied().filter(|_| self.lies(Lie::StaleRead));
                    self.note(pending, block, old.unwrap_or(value), Some(at));
                }
                Err(why) => self.part.shared.fail(format!("block {block} {why}")),
            }
        }
    }

    fn note(&mut self, pending: &Pending, block: u64, value: u64, returned: Option<u64>) {
        let (is_write, generation) = (pending.writes.is_some(), self.part.generation);
        let block = u32::try_from(block).expect("a volume of a witness has fewer blocks");
        self.history.push(Seen {
            block,
            generation,
            is_write,
            value,
            op: pending.op,
            invoked: pending.invoked,
            returned,
        });
    }
}
