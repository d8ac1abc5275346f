//! A host against an invented cluster, at random: three nodes that delay, refuse, reset, fall silent and change the primary, and an
//! in-memory volume that says what every read may return.

mod stage;

use base::io::net::{Down, Peer};
use base::time::Duration;
use base::{Epoch, NodeId, Payload, Rng};
use host::{Op, Policy};
use stage::*;
use std::collections::BTreeMap;
use wire::{Configure, Located, Message, Refusal as Why, Throttle, Throttled};

const SHARDS: u32 = 3;
const SHARD_BLOCKS: u64 = 8;
const BLOCKS: u64 = 20;

fn node(n: u64) -> Peer {
    Peer::Node(NodeId(n))
}

/// Three nodes that share one volume, so that whichever leads has all of it: the replication is not what is tested here.
struct Cluster {
    rng: Rng,
    configs: Vec<base::Configuration>,
    disk: Vec<u8>,
    /// What has arrived and is not yet answered, by link, in order.
    queues: BTreeMap<u64, Vec<Sent>>,
    /// What was sent on a link that was down, until it is up.
    held: BTreeMap<u64, Vec<Sent>>,
    linked: [bool; 4],
    written: u64,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        let configs = (0..SHARDS).map(|i| config(i, 1, 1 + u64::from(i))).collect();
        let disk = vec![0; (BLOCKS * BLOCK) as usize];
        Self { rng, configs, disk, queues: BTreeMap::new(), held: BTreeMap::new(), linked: [false; 4], written: 0 }
    }

    fn take(&mut self, sent: Vec<Sent>) {
        for s in sent {
            match s.to {
                // Sent in the very step that learned of the break: the network keeps it until the link is up again.
                Peer::Node(NodeId(n)) if s.is_io() && !self.linked[n as usize] => {
                    self.held.entry(n).or_default().push(s);
                }
                Peer::Node(NodeId(n)) if s.is_io() => self.queues.entry(n).or_default().push(s),
                // Whoever is asked answers; a question on a link that is down is lost.
                _ => {
                    if matches!(s.message, Message::Locate(_)) {
                        self.queues.entry(9).or_default().push(s);
                    }
                }
            }
        }
    }

    /// No two overlapping writes that could both still be done.
    fn check_overlap(&self) {
        let mut spans = vec![];
        for s in self.queues.values().flatten().filter(|s| s.is_io()) {
            let index = shard_of(s).index;
            if s.epoch() != self.configs[index as usize].epoch.0 {
                continue;
            }
            let base = u64::from(index) * SHARD_BLOCKS;
            match &s.message {
                Message::Write(m) => spans.push((base + u64::from(m.block), s.bytes().len() as u64 / BLOCK)),
                Message::Trim(m) => spans.push((base + u64::from(m.block), u64::from(m.count))),
                _ => {}
            }
        }
        spans.sort_unstable();
        assert!(spans.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "overlapping writes are outstanding: {spans:?}");
    }

    /// One thing happens.
    fn act(&mut self, s: &mut Stage) {
        match self.rng.below(40) {
            0 => self.move_primary(s),
            1 => self.cut(s),
            2 => {
                let n = 1 + self.rng.below(3);
                s.silent(n);
            }
            3 if self.rng.chance(1, 4) => self.throttle(s),
            3..=5 => self.link(s),
            6..=8 => self.locate(s),
            _ => self.answer(s),
        }
    }

    /// Limits of which some make requests wait, and others none.
    fn throttle(&mut self, s: &mut Stage) {
        let (iops, bytes_per_s) =
            (*self.rng.pick(&[0, 0, 500, 4_000]).unwrap(), *self.rng.pick(&[0, 0, 1 << 21, 1 << 24]).unwrap());
        s.zone_says(Throttled { volume: VOLUME, throttle: Throttle { iops, bytes_per_s } });
    }

    fn move_primary(&mut self, s: &mut Stage) {
        let i = self.rng.below(u64::from(SHARDS)) as usize;
        let epoch = self.configs[i].epoch.0 + 1;
        self.configs[i] = config(i as u32, epoch, 1 + self.rng.below(3));
        // Sometimes the authority says so, sometimes the host must find out.
        if self.rng.chance(1, 2) {
            let config = self.configs[i].clone();
            s.zone_says(Configure { cluster: base::ClusterId(1), revision: config.revision, configs: vec![config] });
        }
    }

    fn cut(&mut self, s: &mut Stage) {
        let n = 1 + self.rng.below(3);
        self.linked[n as usize] = false;
        let lost = self.queues.remove(&n).unwrap_or_default();
        // Some of what was on the way had been done: its answer is lost, not its effect.
        for io in lost {
            if self.rng.chance(1, 2) {
                self.perform(&io);
            }
        }
        let why = *self.rng.pick(&[Down::Reset, Down::Refused, Down::Silent]).unwrap();
        s.down(node(n), why);
    }

    fn link(&mut self, s: &mut Stage) {
        let n = 1 + self.rng.below(3);
        if !self.linked[n as usize] {
            self.linked[n as usize] = true;
            s.up(node(n));
            // What waited arrives first. It is done or lost; either way its answer must not count.
            for io in self.held.remove(&n).unwrap_or_default() {
                if self.rng.chance(1, 2) && self.configs[shard_of(&io).index as usize].epoch.0 == io.epoch() {
                    let data = self.perform(&io);
                    s.done(&io, data);
                }
            }
        }
    }

    fn locate(&mut self, s: &mut Stage) {
        let questions = self.queues.remove(&9).unwrap_or_default();
        for q in questions {
            let shard = shard_of(&q);
            let config = self.rng.chance(9, 10).then(|| self.configs[shard.index as usize].clone());
            s.says(q.to, Located { shard, config }, vec![]);
        }
    }

    fn answer(&mut self, s: &mut Stage) {
        let n = 1 + self.rng.below(3);
        let Some(queue) = self.queues.get_mut(&n).filter(|q| !q.is_empty()) else { return };
        // Not always in order: disks and shards differ.
        let io = queue.remove(self.rng.below(queue.len() as u64) as usize);
        let config = self.configs[shard_of(&io).index as usize].clone();
        if config.epoch != Epoch(io.epoch()) || config.primary != NodeId(n) {
            // Of a former epoch a node may have done it before it was deposed; I5 says it was not acknowledged then.
            let why = match self.rng.below(4) {
                0 => Why::Unknown,
                1 => Why::NotPrimary { config },
                _ => Why::WrongEpoch { config },
            };
            return s.refused(&io, why);
        }
        if self.rng.chance(1, 8) {
            return s.refused(&io, Why::Busy);
        }
        let data = self.perform(&io);
        s.done(&io, data);
    }

    /// Does it, if the epoch still allows.
    fn perform(&mut self, io: &Sent) -> Vec<u8> {
        let shard = shard_of(io);
        if self.configs[shard.index as usize].epoch.0 != io.epoch() {
            return vec![];
        }
        let base = (u64::from(shard.index) * SHARD_BLOCKS * BLOCK) as usize;
        let at = |block: u32| base + block as usize * BLOCK as usize;
        match &io.message {
            Message::Read(m) => self.disk[at(m.block)..at(m.block + m.count)].to_vec(),
            Message::Write(m) => {
                let bytes = io.bytes();
                self.disk[at(m.block)..at(m.block) + bytes.len()].copy_from_slice(&bytes);
                self.written += 1;
                vec![]
            }
            Message::Trim(m) => {
                self.disk[at(m.block)..at(m.block + m.count)].fill(0);
                self.written += 1;
                vec![]
            }
            other => panic!("{}", other.name()),
        }
    }
}

/// What each byte may be read as: what it is, and what writes in flight may make of it.
struct Model {
    settled: Vec<u8>,
    writes: BTreeMap<u64, (u64, Vec<u8>)>,
    reads: BTreeMap<u64, Reading>,
    flushes: BTreeMap<u64, Vec<u64>>,
}

struct Reading {
    offset: u64,
    /// For each byte, the values that are allowed.
    allowed: Vec<Vec<u8>>,
}

impl Model {
    fn submit(&mut self, tag: u64, op: &Op) {
        match op {
            Op::Read { offset, len } => {
                let at = |i: u64| vec![self.settled[i as usize]];
                let mut reading = Reading { offset: *offset, allowed: (*offset..offset + len).map(at).collect() };
                self.writes.values().for_each(|(at, bytes)| reading.allow(*at, bytes));
                self.reads.insert(tag, reading);
            }
            Op::Write { offset, data } => self.write(tag, *offset, data.to_vec()),
            Op::Trim { offset, len } | Op::Zero { offset, len } => self.write(tag, *offset, vec![0; *len as usize]),
            Op::Flush => _ = self.flushes.insert(tag, self.writes.keys().copied().collect()),
            Op::Map { .. } => unreachable!("the guest of this model asks for bytes only"),
        }
    }

    fn write(&mut self, tag: u64, offset: u64, bytes: Vec<u8>) {
        self.reads.values_mut().for_each(|r| r.allow(offset, &bytes));
        self.writes.insert(tag, (offset, bytes));
    }

    fn reply(&mut self, reply: host::Reply) {
        let result = reply.result.expect("a fail-over fails no I/O"); // R15
        if let Some((offset, bytes)) = self.writes.remove(&reply.tag) {
            self.settled[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes);
            assert!(result.is_empty());
        } else if let Some(before) = self.flushes.remove(&reply.tag) {
            let open: Vec<_> = before.iter().filter(|w| self.writes.contains_key(w)).collect();
            assert!(open.is_empty(), "a flush was answered before the writes {open:?}");
        } else {
            let reading = self.reads.remove(&reply.tag).expect("each tag is answered once");
            let bytes: Vec<u8> = result.iter().flat_map(|p| p.to_vec()).collect();
            assert_eq!(bytes.len(), reading.allowed.len());
            for (i, (byte, allowed)) in bytes.iter().zip(&reading.allowed).enumerate() {
                assert!(
                    allowed.contains(byte),
                    "byte {} read as {byte}, not one of {allowed:?}",
                    reading.offset + i as u64
                );
            }
        }
    }
}

impl Reading {
    fn allow(&mut self, offset: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            let at = offset + i as u64;
            if at >= self.offset && at < self.offset + self.allowed.len() as u64 {
                self.allowed[(at - self.offset) as usize].push(*byte);
            }
        }
    }
}

fn random_op(rng: &mut Rng) -> Op {
    let size = BLOCKS * BLOCK;
    let unit = *rng.pick(&[1, 512, BLOCK]).unwrap();
    let offset = rng.below(size / unit) * unit;
    let len = ((1 + rng.below(6)) * unit.max(700)).next_multiple_of(unit).min(size - offset);
    match rng.below(10) {
        0..=3 => Op::Read { offset, len },
        4..=6 => {
            // No two neighbours alike, so that a byte in the wrong place shows.
            let (first, step) = (rng.below(256), 1 + 2 * rng.below(100));
            let bytes: Vec<u8> = (0..len).map(|i| (first + i * step) as u8).collect();
            Op::Write { offset, data: Payload::from(bytes) }
        }
        7 => Op::Trim { offset, len },
        8 => Op::Zero { offset, len },
        _ => Op::Flush,
    }
}

fn run(seed: u64, turns: u64) -> (usize, u64) {
    let mut cluster = Cluster::new(seed);
    let mut rng = Rng::new(seed).split("guest");
    let mut s = Stage::with(Policy { pieces_max: 2, shard_ios_max: 6, ..Policy::default() });
    let mut model = Model {
        settled: cluster.disk.clone(),
        writes: BTreeMap::new(),
        reads: BTreeMap::new(),
        flushes: BTreeMap::new(),
    };
    s.attach(BLOCKS, SHARD_BLOCKS as u32, cluster.configs.clone());
    s.step();
    let mut answered = 0;
    for turn in 0..turns + 20_000 {
        let open = model.reads.len() + model.writes.len() + model.flushes.len();
        if turn >= turns && open == 0 {
            break;
        }
        if turn < turns && open < 12 && rng.chance(1, 3) {
            let op = random_op(&mut rng);
            let tag = s.submit(op.clone());
            model.submit(tag, &op);
        }
        cluster.act(&mut s);
        let sent = s.step();
        cluster.take(sent);
        let passed = s.pass(Duration::from_micros(rng.below(3_000)));
        cluster.take(passed.into_iter().map(|(_, sent)| sent).collect());
        cluster.check_overlap();
        for reply in s.replies() {
            answered += 1;
            model.reply(reply);
        }
    }
    let open = model.reads.len() + model.writes.len() + model.flushes.len();
    assert_eq!(open, 0, "seed {seed}: some I/O was never answered");
    assert!(cluster.disk == model.settled, "seed {seed}: the disk is not what was acknowledged");
    (answered, cluster.configs.iter().map(|c| c.epoch.0).sum())
}

#[test]
fn at_random_every_io_is_answered_rightly_through_every_fail_over() {
    // R5, R15
    let (mut answered, mut epochs) = (0, 0);
    for seed in 0..30 {
        let (a, e) = run(seed, 3_000);
        (answered, epochs) = (answered + a, epochs + e);
    }
    assert!(answered > 10_000 && epochs > 1_000, "the run was too tame: {answered} answers, {epochs} epochs");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, 2_000), run(7, 2_000));
}
