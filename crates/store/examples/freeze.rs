//! Measures frozen points and marks on a shard of 100 GiB: how long a freeze takes, and what points and marks cost while writes go on.
//!
//! `cargo run --release -p store --example freeze [GiB]`
//!
//! The store is the real one; the disk is not there. Every block that is written is the same 4096 bytes, so the disk forgets them and gives them back for any
//! place: what is timed is the store, and a real disk's write of one batch comes on top. All blocks are written first, in writes of 1 MiB, and then one
//! in each chunk, so that no chunk lies in a run any more and every later overwrite costs the same.

use base::io::disk::{Done, Op};
use base::log::{Event, Mark, PointChange, Record, Register, Request, Stamp, Standing};
use base::{
    BLOCK_BYTES, CHUNK_BLOCKS, ClusterId, Configuration, Epoch, NodeId, Payload, PointId, Rng, Sequence, ShardId,
    StoreUuid, Time, VolumeId,
};
use std::time::{Duration, Instant};
use store::{Blank, Geometry, Identity, Phase, Policy, Store};

const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };
/// Writes that share a turn of the store, and so a batch.
const DEPTH: u64 = 64;
/// Overwrites with each number of points.
const OVERWRITES: u64 = 400_000;

/// A store over no disk.
struct Bench {
    store: Store,
    ops: Vec<Op>,
    events: Vec<Event>,
    /// The bytes of every block.
    block: Payload,
    mebibyte: Payload,
    ticket: u64,
    sequence: u64,
    rng: Rng,
}

impl Bench {
    fn new(blocks: u32) -> Self {
        let identity = Identity { node: NodeId(1), cluster: ClusterId(1) };
        let geometry = Geometry::standard(8 << 40);
        let policy = Policy { preallocated: true, scrub_period: base::time::Duration::ZERO, ..Policy::default() };
        let store = Store::new(identity, geometry, Blank::Format { uuid: StoreUuid(1) }, policy);
        let mebibyte = Payload::from(vec![0x5a; 1 << 20]);
        let block = mebibyte.slice(0, BLOCK_BYTES);
        let mut bench =
            Self { store, ops: vec![], events: vec![], block, mebibyte, ticket: 0, sequence: 0, rng: Rng::new(1) };
        bench.rest();
        assert_eq!(*bench.store.phase(), Phase::Ready);
        let config = Configuration {
            shard: SHARD,
            epoch: Epoch(1),
            revision: base::Revision(1),
            blocks,
            layout: base::Layout::default(),
            primary: NodeId(1),
            members: vec![],
            anchors: vec![],
            learner: None,
            holders: vec![],
            target_copies: 1,
            min_copies: 1,
            generation: base::Generation(1),
            client: None,
            fence: vec![],
            newborn: false,
            deleted: false,
        };
        let register = Register { promised: Epoch(1), adopted: Epoch(1), standing: Standing::Complete, config };
        bench.append(Record::Register(Box::new(register)));
        bench
    }

    /// Lets the store and the disk work until both rest.
    fn rest(&mut self) {
        loop {
            self.store.step(Time(1), &mut self.ops, &mut self.events);
            if self.ops.is_empty() {
                return;
            }
            for op in std::mem::take(&mut self.ops) {
                self.store.done(self.perform(&op));
            }
        }
    }

    fn perform(&self, op: &Op) -> Done {
        let (id, bytes) = match op {
            // What is read before the store is open are the superblocks of a blank disk and the first blocks of its segments.
            Op::Read { id, len, .. } if *self.store.phase() == Phase::Opening => {
                (*id, Payload::from(vec![0; *len as usize]))
            }
            Op::Read { id, len, .. } => (*id, self.mebibyte.slice(0, *len as usize)),
            Op::Write { id, .. } | Op::Flush { id } | Op::Zero { id, .. } => (*id, Payload::empty()),
        };
        Done { id, result: Ok(bytes) }
    }

    fn append(&mut self, record: Record) {
        self.ticket += 1;
        self.store.request(Request::Append { shard: SHARD, ticket: self.ticket, record });
    }

    fn stamp(&mut self) -> Stamp {
        self.sequence += 1;
        Stamp { epoch: Epoch(1), sequence: Sequence(self.sequence) }
    }

    fn write(&mut self, block: u32, data: Payload) {
        let stamp = self.stamp();
        self.append(Record::Data { stamp, block, data });
    }

    fn change(&mut self, change: PointChange) {
        let stamp = self.stamp();
        self.append(Record::Point { stamp, change });
    }

    /// What was appended is durable, and then committed.
    fn commit(&mut self) {
        self.rest();
        self.events.clear();
        self.store.request(Request::Commit { shard: SHARD, through: Sequence(self.sequence) });
        self.rest();
    }

    /// From the request to the first block read through the point.
    fn freeze(&mut self, id: PointId) -> Duration {
        let begun = Instant::now();
        self.change(PointChange::Freeze { id });
        self.commit();
        self.store.request(Request::ReadPoint { shard: SHARD, ticket: 1, point: id, block: 77, count: 1 });
        self.rest();
        let took = begun.elapsed();
        assert!(
            self.events.iter().any(|event| matches!(event, Event::Blocks { parts: Ok(_), .. })),
            "it cannot be read"
        );
        self.events.clear();
        took
    }

    /// Until nothing of the point is left: how long that took in all, and the longest step in it, in time of the processor.
    fn thaw(&mut self, id: PointId) -> (Duration, Duration) {
        let (begun, mut longest) = (processor(), Duration::ZERO);
        self.change(PointChange::Thaw { id });
        self.commit();
        while self.store.deadline() == Some(Time::ZERO) {
            let step = processor();
            self.rest();
            longest = longest.max(processor() - step);
        }
        (processor() - begun, longest)
    }

    /// Overwrites blocks at random; what a write took, and the longest turn, in time of the processor.
    fn overwrite(&mut self, blocks: u32, writes: u64) -> (Duration, Duration) {
        let (begun, mut longest) = (processor(), Duration::ZERO);
        for _ in 0..writes / DEPTH {
            let turn = processor();
            for _ in 0..DEPTH {
                let block = self.rng.below(u64::from(blocks)) as u32;
                self.write(block, self.block.clone());
            }
            self.commit();
            longest = longest.max(processor() - turn);
        }
        ((processor() - begun) / writes as u32, longest)
    }
}

/// Time that the process had a processor (proc(5)): what else the machine does is not counted. It is told at each tick of the kernel only.
fn processor() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").expect("this is measured on Linux");
    Duration::from_nanos(schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("proc(5)"))
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is measured on Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("proc(5)") * 4096
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("median {:?}, worst of {} {:?}", times[times.len() / 2], times.len(), times[times.len() - 1])
}

fn main() {
    let gib: u32 = std::env::args().nth(1).map_or(100, |gib| gib.parse().expect("a number of GiB"));
    let blocks = gib << 18;
    let mut bench = Bench::new(blocks);
    let (begun, before) = (Instant::now(), resident());
    for block in (0..blocks).step_by(256) {
        bench.write(block, bench.mebibyte.clone());
        bench.commit();
    }
    for chunk in 0..blocks / CHUNK_BLOCKS {
        bench.write(chunk * CHUNK_BLOCKS + 64, bench.block.clone());
        if u64::from(chunk) % DEPTH == 0 {
            bench.commit();
        }
    }
    bench.commit();
    let index = (resident() - before) >> 20;
    println!("{gib} GiB written in {:.0?}; {index} MiB of memory for the index", begun.elapsed());

    let mut freezes = vec![];
    for n in 0..20 {
        freezes.push(bench.freeze(PointId(n)));
        bench.overwrite(blocks, 10 * DEPTH);
        bench.thaw(PointId(n));
    }
    println!("freeze, from the request to a block read through the point: {}", spread(freezes));

    for marks in [0, 1, 2] {
        if marks > 0 {
            let mark = Mark { since: Sequence(bench.sequence), epoch: Epoch(1) };
            bench.append(Record::Mark(mark));
            bench.commit();
        }
        let (before, written) = (resident(), bench.store.activity().checkpoint_bytes);
        let (took, longest) = bench.overwrite(blocks, OVERWRITES);
        let checkpoints = (bench.store.activity().checkpoint_bytes - written) as f64;
        println!(
            "{marks} marks: {took:?} a write, {longest:?} the longest turn of {DEPTH}; {} MiB more of memory; {:.1} % of what was written in checkpoints",
            resident().saturating_sub(before) >> 20,
            checkpoints * 100.0 / (OVERWRITES * BLOCK_BYTES as u64) as f64,
        );
    }
    bench.append(Record::Unmark);
    bench.commit();

    let mut standing = 0;
    for points in [0, 1, 4] {
        while standing < points {
            bench.freeze(PointId(100 + standing));
            bench.overwrite(blocks, 10 * DEPTH);
            standing += 1;
        }
        let (before, used, written) =
            (resident(), bench.store.space().used_bytes, bench.store.activity().checkpoint_bytes);
        let (took, longest) = bench.overwrite(blocks, OVERWRITES);
        let held = (bench.store.space().used_bytes - used) / BLOCK_BYTES as u64;
        let grown = resident().saturating_sub(before);
        let checkpoints = (bench.store.activity().checkpoint_bytes - written) as f64;
        println!(
            "{points} points: {took:?} a write, {longest:?} the longest turn of {DEPTH}; {held} blocks newly held, {} bytes of memory for each; \
             {:.1} % of what was written in checkpoints",
            grown.checked_div(held).unwrap_or(0),
            checkpoints * 100.0 / (OVERWRITES * BLOCK_BYTES as u64) as f64,
        );
    }
    for (id, what) in [(103, "the newest, into the one before it"), (100, "the oldest, into nothing")] {
        let used = bench.store.space().used_bytes;
        let (took, longest) = bench.thaw(PointId(id));
        println!(
            "thaw of {what}: {took:?} in all, {longest:?} the longest step; {} blocks free",
            (used - bench.store.space().used_bytes) / BLOCK_BYTES as u64
        );
    }
}
