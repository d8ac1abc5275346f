//! Random requests from a seed, on a random store: random orders of completion, reads, rot and mending, and crashes of the process and of the power at
//! any moment, in the middle of recovery too. The store lives on after each crash, so that its log goes round, is cleaned, and is written over what earlier
//! lives left.

use super::QUICK;
use super::pages::Unflushed;
use crate::bench::disk::Disk;
use crate::bench::model::{Model, pattern};
use crate::bench::{BLOCKS, Bench, blocks, copy, register, shard, stamp};
use base::log::{Event, Mark, PointChange, ReadFault, Record, Request, Rot};
use base::{PointId, Rng, Sequence, ShardId, Time};
use std::collections::BTreeMap;
use store::{Phase, Policy};

/// Blocks that requests may need before anybody looks for room again.
const ROOM_BLOCKS: u64 = 40;

/// What a world went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    /// Crash states that were opened and checked.
    pub states: u64,
    /// Crashes of which that of a process or of the power was in the middle of recovery.
    pub in_recovery: u64,
    /// Of the states, such that were left by pages as `pages` has them.
    pub by_pages: u64,
    pub mends: u64,
    /// Reads through frozen points.
    pub point_reads: u64,
    /// Lives in which the cleaner moved something, and in which a checkpoint was written.
    pub moved: u64,
    pub checkpoints: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { requests, states, in_recovery, by_pages, mends, point_reads, moved, checkpoints } = other;
        self.requests += requests;
        self.states += states;
        self.in_recovery += in_recovery;
        self.by_pages += by_pages;
        self.mends += mends;
        self.point_reads += point_reads;
        self.moved += moved;
        self.checkpoints += checkpoints;
    }
}

/// A run from a seed.
pub struct World {
    rng: Rng,
    pub bench: Bench,
    shards: Vec<ShardId>,
    /// What everything before `log` left.
    base: Model,
    /// Requests since then, in order.
    log: Vec<Request>,
    /// What the store should hold now.
    now: Model,
    /// How many of `log` are known durable.
    acknowledged: usize,
    /// Up to where commits were asked for.
    asked: BTreeMap<ShardId, Sequence>,
    tag: u64,
    /// Blocks of each shard that are written to.
    written: u32,
    pub tally: Tally,
}

impl World {
    /// A new store; on some disks there is so little room that the log goes round and is cleaned.
    pub fn new(seed: u64, mutated: impl FnOnce(Policy) -> Policy) -> Self {
        let mut rng = Rng::new(seed);
        let (segments, written) = *rng.pick(&[(96, BLOCKS), (34, 48), (34, 48), (34, 48)]).expect("there are some");
        let policy = Policy {
            batch_payload_bytes_max: [4096, 3 * 4096, 1 << 20][rng.below(3) as usize],
            batches_in_flight_max: rng.within(1, 5) as u32,
            gathered_bytes_min: [0, 2 * 4096, 8 * 4096][rng.below(3) as usize],
            reads_in_flight_max: rng.within(1, 4) as u32,
            preallocated: rng.chance(1, 2),
            zero_piece_bytes: 5 * 4096,
            // Without any nothing would ever be free again.
            checkpoint_every_segments: [1, 1, 2, 3, 8][rng.below(5) as usize],
            delta_pieces_min: rng.within(1, 8) as u32,
            dissolved_chunks_per_step: rng.within(1, 2) as u32,
            ..Policy::default()
        };
        let mut bench = Bench::ready_with(segments, mutated(policy));
        assert!(bench.recovered().is_empty());
        Self {
            rng,
            bench,
            shards: (1..=3).map(shard).collect(),
            base: Model::default(),
            log: vec![],
            now: Model::default(),
            acknowledged: 0,
            asked: BTreeMap::new(),
            tag: 0,
            written,
            tally: Tally::default(),
        }
    }

    fn tags(&mut self, count: u64) -> Vec<u64> {
        (0..count)
            .map(|_| {
                self.tag += 1;
                self.tag
            })
            .collect()
    }

    pub fn request(&mut self) {
        self.tally.requests += 1;
        let shard = *self.rng.pick(&self.shards).unwrap();
        let Some(s) = self.now.shards.get(&shard).filter(|s| s.register.is_some()) else {
            let promised = self.rng.below(9);
            return self.append(shard, register(shard, promised));
        };
        let (end, committed) = (s.end(), s.committed);
        let count = self.rng.within(1, 6) as u32;
        let block = self.rng.below(u64::from(self.written - count)) as u32;
        let next = stamp(end.epoch.0.max(1), end.sequence.0 + 1);
        let kind = self.rng.below(30);
        let space = self.bench.store.space();
        if (kind <= 17 || kind == 23 || kind == 24) && space.used_bytes + ROOM_BLOCKS * 4096 > space.capacity_bytes {
            // Nobody is promised more, and whoever filled a store would wait for ever: what waits for a commit gets it, and points are given up.
            return self.commit(shard, end.sequence);
        }
        match kind {
            0..=8 => {
                let data = blocks(self.tags(u64::from(count)));
                self.append(shard, Record::Data { stamp: next, block, data });
            }
            9 if end.sequence > committed => {
                // The same sequence again, from a later primary.
                let sequence = self.rng.within(committed.0 + 1, end.sequence.0);
                let data = blocks(self.tags(u64::from(count)));
                self.append(shard, Record::Data { stamp: stamp(end.epoch.0 + 1, sequence), block, data });
            }
            10 | 11 => self.append(shard, Record::Trim { stamp: next, block, count: count * 5 }.within_shard()),
            12..=15 => {
                let through = self.rng.within(committed.0, end.sequence.0 + 1);
                self.commit(shard, Sequence(through));
            }
            16 => {
                let above = self.rng.within(committed.0, end.sequence.0);
                self.append(shard, Record::Cut { above: Sequence(above) });
            }
            17 => {
                let tags = self.tags(u64::from(count));
                self.append(shard, copy(block, tags));
            }
            18 => self.append(shard, Record::Erase { block, count }),
            19 => self.append(shard, register(shard, end.sequence.0)),
            20 if self.rng.chance(1, 3) => {
                let committed = Sequence(end.sequence.0 + self.rng.below(3));
                self.append(shard, Record::Restart { committed, keeps_marks: self.tag.is_multiple_of(2) });
            }
            21 if self.rng.chance(1, 4) => self.append(shard, Record::Drop),
            22 => self.rot_and_mend(shard),
            23 | 24 => {
                let id = PointId(self.rng.below(4));
                self.append(shard, Record::Point { stamp: next, change: PointChange::Freeze { id } });
            }
            25 => {
                let id = PointId(self.rng.below(4));
                self.append(shard, Record::Point { stamp: next, change: PointChange::Thaw { id } });
            }
            26 => self.read_point(shard, block, count),
            27 => self.append(shard, Record::Mark(Mark { since: committed, epoch: end.epoch })),
            28 if self.rng.chance(1, 6) => self.append(shard, Record::Unmark),
            _ => self.read(shard, block, count),
        }
    }

    fn append(&mut self, shard: ShardId, record: Record) {
        let ticket = self.bench.append(shard, record.clone());
        let request = Request::Append { shard, ticket, record };
        self.now.request(&request);
        self.log.push(request);
    }

    fn commit(&mut self, shard: ShardId, through: Sequence) {
        let request = Request::Commit { shard, through };
        self.bench.store.request(request.clone());
        self.now.request(&request);
        self.log.push(request);
        let asked = self.asked.entry(shard).or_default();
        *asked = (*asked).max(through);
    }

    /// Asks for blocks and requires what the model holds, whether or not it is on the disk yet.
    fn read(&mut self, shard: ShardId, block: u32, count: u32) {
        let ticket = self.bench.ask_read(shard, block, count);
        let held = &self.now.shards[&shard].blocks;
        let bytes = |b| held.get(&b).map_or(vec![0; 4096], |&tag| pattern(tag));
        let expected = (block..block + count).map(bytes).collect::<Vec<_>>().concat();
        for _ in 0..100_000 {
            self.step();
            if let Some(read) = self.bench.answered(ticket) {
                assert!(read.unwrap() == expected, "{shard}: blocks {block} and {count} more");
                return;
            }
            self.perform();
        }
        let store = &self.bench.store;
        panic!(
            "a read is never answered: {:?}, {:?}, {:?}, live {:?}, {} in flight",
            store.phase(),
            store.space(),
            store.activity(),
            store.live_blocks_by_segment(),
            self.bench.disk.flying.len()
        );
    }

    /// The same through a frozen point.
    fn read_point(&mut self, shard: ShardId, block: u32, count: u32) {
        let Some((id, _, held)) = self.rng.pick(&self.now.shards[&shard].points).cloned() else { return };
        let ticket = self.bench.ask_point(shard, id.0, block, count);
        let bytes = |b| held.get(&b).map_or(vec![0; 4096], |&tag| pattern(tag));
        let expected = (block..block + count).map(bytes).collect::<Vec<_>>().concat();
        let read = (0..100_000).find_map(|_| {
            self.step();
            let read = self.bench.answered(ticket);
            self.perform();
            read
        });
        assert!(
            read.expect("a read is answered").unwrap() == expected,
            "{shard}, {id}: blocks {block} and {count} more"
        );
        self.tally.point_reads += 1;
    }

    /// A bit of a block flips. It is never given, and comes from a peer. (The bit flips back, as if it had been read wrongly: what is torn off at the
    /// end of the log in a crash is another test's.)
    fn rot_and_mend(&mut self, shard: ShardId) {
        // Of what is committed now, or of what a point has.
        let s = &self.now.shards[&shard];
        let states = s.points.iter().map(|point| (Some(point.0.0), &point.2)).chain([(None, &s.blocks)]);
        let held: Vec<(Option<u64>, u32, u64)> =
            states.flat_map(|(point, blocks)| blocks.iter().map(move |(&b, &tag)| (point, b, tag))).collect();
        let Some(&(point, block, tag)) = self.rng.pick(&held) else { return };
        let Some(at) = self.bench.find_on_media(&pattern(tag)) else { return };
        let (at, bit) = (at + self.rng.below(4096), self.rng.below(8) as u8);
        self.bench.disk.rot(at, bit);
        let rotten = self.bench.disk.durable((at / 4096) as u32);
        let ticket = match point {
            Some(point) => self.bench.ask_point(shard, point, block, 1),
            None => self.bench.ask_read(shard, block, 1),
        };
        let read = (0..100_000).find_map(|_| {
            self.step();
            let read = self.bench.answered(ticket);
            self.perform();
            read
        });
        // Unless it was written over meanwhile.
        if self.bench.disk.durable((at / 4096) as u32) == rotten {
            self.bench.disk.rot(at, bit);
        }
        // It may lie elsewhere, mended before, or be answered out of memory.
        match read.expect("a read is answered") {
            Ok(bytes) => assert!(bytes == pattern(tag), "{shard}: block {block}"),
            Err(ReadFault { rotten }) => {
                let Rot { place, .. } = rotten[0];
                self.tally.mends += 1;
                self.append(shard, Record::Mend { block, place, data: blocks([tag]) });
            }
        }
    }

    pub fn perform(&mut self) {
        let flying = self.bench.disk.flying.len() as u64;
        if flying > 0 {
            let i = self.rng.below(flying) as usize;
            self.bench.perform(i);
        }
    }

    pub fn step(&mut self) {
        let before = self.bench.events.len();
        self.bench.step();
        let mut seen = vec![];
        for event in &self.bench.events[before..] {
            let &Event::Durable { shard, ticket } = event else { continue };
            assert!(!seen.contains(&shard), "at most one Durable for each shard in a step");
            seen.push(shard);
            let is_it =
                |r: &Request| matches!(r, Request::Append { shard: s, ticket: t, .. } if (*s, *t) == (shard, ticket));
            let at = self.log.iter().position(is_it).expect("a ticket that nobody gave, or gave in another life");
            self.acknowledged = self.acknowledged.max(at + 1);
        }
    }

    /// Some requests, with steps of the store and of the disk between them.
    pub fn live(&mut self, turns: u64, requests_max: u64) {
        for _ in 0..turns {
            for _ in 0..self.rng.within(1, requests_max) {
                self.request();
            }
            if self.rng.chance(3, 4) {
                self.step();
            }
            for _ in 0..self.rng.below(4) {
                self.perform();
            }
        }
    }

    /// All that was asked for is done, and is counted right.
    pub fn settle(&mut self) {
        self.bench.settle();
        self.step();
        let live = self.now.live_blocks() * 4096;
        assert_eq!(self.bench.store.space().used_bytes, live, "live and counted blocks differ");
    }

    /// Power fails, or the process dies. What is found must hold.
    pub fn crash(&mut self) {
        let done = self.bench.store.activity();
        self.tally.moved += u64::from(done.moved_bytes > 0);
        self.tally.checkpoints += u64::from(done.checkpoint_bytes > 0);
        let mut disk: Disk = std::mem::take(&mut self.bench.disk);
        loop {
            disk = self.lose(disk);
            self.bench = Bench::on(disk, self.bench.geometry, self.bench.policy);
            if self.rng.chance(3, 4) {
                break;
            }
            // Again, somewhere in the middle of recovery.
            self.tally.in_recovery += 1;
            for _ in 0..self.rng.below(140) {
                self.bench.store.step(Time::ZERO, &mut self.bench.disk.flying, &mut self.bench.events);
                self.perform();
            }
            disk = std::mem::take(&mut self.bench.disk);
        }
        self.bench.settle();
        assert_eq!(*self.bench.store.phase(), Phase::Ready);
        self.compare();
        self.tally.states += 1;
    }

    /// Any sectors of all that is not durable are lost; or any pages, and some of one.
    fn lose(&mut self, mut disk: Disk) -> Disk {
        match self.rng.below(4) {
            0 => disk.lose_power(&mut self.rng),
            1 if Unflushed::fits(&disk) => {
                let unflushed = Unflushed::of(&disk, &QUICK);
                let left = unflushed.any_left(&mut self.rng);
                self.tally.by_pages += 1;
                unflushed.lay_on(&mut disk, &left);
            }
            1 => disk.lose_power(&mut self.rng),
            _ => disk.lose_process(&mut self.rng),
        }
        disk
    }

    /// What was found is what a prefix leaves that has everything acknowledged in it; the test goes on from there.
    fn compare(&mut self) {
        let recovered = self.bench.recovered();
        assert!(recovered.is_sorted_by_key(|r| r.shard));
        let found = Model::read_from(&mut self.bench, &self.shards, self.written, &recovered);
        let mut model = self.base.clone();
        let mut waiting: BTreeMap<ShardId, Sequence> = BTreeMap::new();
        let mut fits = if self.acknowledged == 0 { model.as_found(&found, &self.asked) } else { None };
        for (k, request) in self.log.iter().enumerate() {
            match request {
                // Commits are carried into the log by the next append of their shard, if there is one.
                Request::Commit { shard, through } => {
                    waiting.insert(*shard, (*through).max(waiting.get(shard).copied().unwrap_or_default()));
                }
                Request::Append { shard, .. } => {
                    if let Some(through) = waiting.remove(shard) {
                        model.request(&Request::Commit { shard: *shard, through });
                    }
                    model.request(request);
                }
                _ => unreachable!("reads are not logged"),
            }
            if k + 1 >= self.acknowledged && fits.is_none() {
                fits = model.as_found(&found, &self.asked);
            }
        }
        let Some(fits) = fits else {
            let (least, log) = (self.acknowledged, &self.log);
            panic!("no prefix of {log:#?} from {least} on leaves what was found: {found:#?}");
        };
        assert_eq!(self.bench.store.space().used_bytes, found.live_blocks() * 4096);
        let by_segment: u64 = self.bench.store.live_blocks_by_segment().iter().map(|&n| u64::from(n)).sum();
        assert_eq!(by_segment, found.live_blocks());
        (self.base, self.now, self.acknowledged) = (fits.clone(), fits, 0);
        self.log.clear();
        self.asked.clear();
    }
}

trait WithinShard {
    fn within_shard(self) -> Self;
}

impl WithinShard for Record {
    /// A trim that would reach beyond the shard ends with it.
    fn within_shard(self) -> Self {
        match self {
            Self::Trim { stamp, block, count } => Self::Trim { stamp, block, count: count.min(BLOCKS - block) },
            other => other,
        }
    }
}
