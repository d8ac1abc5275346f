//! Opening a disk: superblocks, formatting a blank one, the checkpoint, the first block of every segment, the log, and the mark of a new run.
//!
//! ```text
//! Superblocks --blank--> Formatting ----------------------> Marking (both superblocks, in turn) --> opened
//!      |                                                     ^
//!      +--> Loading --> Firsts --> Walking --> Flushing -----+
//!             ^                        |
//!             +---something failed-----+  (four times; what fails then is bad for good)
//! ```
//!
//! Before a store is opened, what recovery read is flushed: it may have come out of a cache that a dead process left behind, and from now on it
//! counts as durable. The mark is the superblock with the next run: so that headers of a tail that
//! was cut can never pass for this run's, and says with which batch the run begins, so that what was cut stays cut whatever the disk gives later. Until then nothing on a disk that holds a store is changed.

use crate::append::Tail;
use crate::buffer::Need;
use crate::checkpoint::{Loaded, Loading, load};
use crate::geometry::{Geometry, byte_of};
use crate::header::genesis;
use crate::ops::Ops;
use crate::policy::Policy;
use crate::refusal::OpenRefusal;
use crate::shards::Shards;
use crate::store::{Blank, Identity};
use crate::superblock::{self, Copy, Root, Superblock, VERSION, Verdict};
use crate::walk::{Damage, Next, Walk};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use base::io::disk::{Fault, Op, OpId};
use base::mutant::Mutant;
use base::{BLOCK_BYTES, Payload};
use core::ops::ControlFlow::{self, Break, Continue};

/// A store that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) superblock: Superblock,
    pub(crate) shards: Shards,
    pub(crate) tail: Tail,
    pub(crate) loaded: Loaded,
    pub(crate) damage: Option<Damage>,
    /// Superblocks and pieces that were not whole, and are written again.
    pub(crate) rotten: u64,
}

/// How often all is read again because something could not be. What one read in a thousand fails should not cost a copy.
const TRIES: u32 = 4;

/// How far opening got.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The disk was asked for more.
    Going,
    Opened(Opened),
    /// Opened, but the disk takes no writes.
    Poisoned(Opened, Fault),
    Refused(OpenRefusal),
}

#[derive(Debug)]
enum Stage {
    Begin,
    Superblocks([Option<Copy>; 2]),
    Formatting(Superblock),
    Loading(Superblock, Box<Loading>),
    Firsts {
        superblock: Superblock,
        walk: Box<Walk>,
        loaded: Loaded,
        next: u32,
    },
    Walking {
        superblock: Superblock,
        walk: Box<Walk>,
        loaded: Loaded,
    },
    Flushing(Opened),
    /// This superblock is being written.
    Marking(Opened, u32),
    Over,
}

/// An operation under way.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Superblock(usize),
    First(u32),
    Log(Need),
    /// A write or a flush.
    Change,
}

/// The opening of one disk.
#[derive(Debug)]
pub(crate) struct Opening {
    identity: Identity,
    offered: Geometry,
    blank: Blank,
    policy: Policy,
    stage: Stage,
    asked: BTreeMap<OpId, Asked>,
    /// Superblocks that were not whole.
    rotten: u64,
    /// The first superblock that could not be read.
    unreadable: Option<OpenRefusal>,
    /// How often the log was gone through before, and something could not be read.
    tries: u32,
    /// What of the log could not be read in large, and is read block by block.
    singly: Option<Need>,
    /// Of the last write or flush.
    failed: Option<Fault>,
    /// Bytes of the log that were read.
    log_bytes: u64,
}

impl Opening {
    pub(crate) fn new(identity: Identity, offered: Geometry, blank: Blank, policy: Policy) -> Self {
        assert!(offered.is_sound(), "{offered:?} is not a shape that a store can have");
        Self {
            identity,
            offered,
            blank,
            policy,
            stage: Stage::Begin,
            asked: BTreeMap::new(),
            rotten: 0,
            unreadable: None,
            tries: 0,
            singly: None,
            failed: None,
            log_bytes: 0,
        }
    }

    /// Bytes of the log that it read.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// An operation ended.
    pub(crate) fn done(&mut self, op: OpId, result: Result<Payload, Fault>) {
        if let Stage::Loading(_, loading) = &mut self.stage
            && loading.is_its(op)
        {
            return loading.done(op, result);
        }
        let asked = self.asked.remove(&op).expect("the disk answers each operation once");
        let sized = |blocks: u32| {
            result.clone().and_then(|bytes| if bytes.blocks() == blocks { Ok(bytes) } else { Err(Fault::Short) })
        };
        match (asked, &mut self.stage) {
            (Asked::Superblock(i), Stage::Superblocks(copies)) => {
                let read = sized(1);
                copies[i] = Some(read.as_ref().map_or(Copy::Damaged, |bytes| superblock::decode(bytes)));
                if let Err(fault) = read {
                    let refusal = OpenRefusal::Unreadable { at: (i * BLOCK_BYTES) as u64, fault };
                    self.unreadable.get_or_insert(refusal);
                }
            }
            (Asked::First(segment), Stage::Firsts { walk, .. }) => match sized(1) {
                Ok(bytes) => walk.first(segment, &bytes),
                Err(fault) => walk.first_fails(segment, fault),
            },
            (Asked::Log(need), Stage::Walking { walk, .. }) => match sized(need.blocks) {
                Ok(bytes) => walk.read(bytes),
                Err(fault) if need.blocks == 1 => walk.fails(fault),
                Err(_) => self.singly = Some(need),
            },
            (Asked::Change, _) => self.failed = result.err(),
            (asked, stage) => unreachable!("{asked:?} ended in {stage:?}"),
        }
    }

    /// Goes on as far as what has ended allows.
    pub(crate) fn advance(&mut self, ops: &mut Ops<'_>) -> Progress {
        loop {
            let result = match core::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Begin => {
                    for i in 0..2 {
                        self.read(Asked::Superblock(i), Need { place: i as u32, blocks: 1 }, ops);
                    }
                    self.stage = Stage::Superblocks([None; 2]);
                    Continue(())
                }
                Stage::Superblocks([Some(a), Some(b)]) => self.judge(a, b, ops),
                waiting @ Stage::Superblocks(_) => {
                    self.stage = waiting;
                    return Progress::Going;
                }
                Stage::Formatting(superblock) => self.formatted(superblock, ops),
                Stage::Loading(superblock, loading) => self.loading(superblock, loading, ops),
                Stage::Firsts { superblock, walk, loaded, next } => self.firsts(superblock, walk, loaded, next, ops),
                Stage::Walking { superblock, walk, loaded } => self.walking(superblock, walk, loaded, ops),
                Stage::Flushing(opened) => self.flushed(opened, ops),
                Stage::Marking(opened, place) => self.marked(opened, place, ops),
                Stage::Over => unreachable!("opening ended"),
            };
            if let Break(progress) = result {
                return progress;
            }
        }
    }

    fn read(&mut self, asked: Asked, need: Need, ops: &mut Ops<'_>) {
        let id = ops.id();
        self.asked.insert(id, asked);
        if matches!(asked, Asked::Log(_)) {
            self.log_bytes += u64::from(need.blocks) * BLOCK_BYTES as u64;
        }
        ops.push(Op::Read { id, at: byte_of(need.place), len: need.blocks * BLOCK_BYTES as u32 });
    }

    fn write_superblock(&mut self, place: u32, superblock: &Superblock, ops: &mut Ops<'_>) {
        let id = ops.id();
        self.asked.insert(id, Asked::Change);
        let at = byte_of(place);
        ops.push(Op::Write { id, at, parts: vec![superblock.encode()], durable: !self.policy.protected_cache });
    }

    /// What the two copies mean together.
    fn judge(&mut self, a: Copy, b: Copy, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        self.rotten = [a, b].iter().filter(|copy| matches!(copy, Copy::Damaged)).count() as u64;
        let superblock = match superblock::judge(a, b) {
            Verdict::Holds(superblock) => superblock,
            Verdict::Newer(found) => {
                return Break(Progress::Refused(OpenRefusal::NewerFormat { found, known: VERSION }));
            }
            Verdict::Blank => return self.blank(ops),
            Verdict::Damaged => {
                let refusal = self.unreadable.take().unwrap_or(OpenRefusal::SuperblocksDamaged);
                return Break(Progress::Refused(refusal));
            }
        };
        self.unreadable = None;
        let (found, expected) = (&superblock, self.identity);
        let refusal = if found.cluster != expected.cluster {
            OpenRefusal::OtherCluster { found: found.cluster, expected: expected.cluster }
        } else if found.node != expected.node {
            OpenRefusal::OtherNode { found: found.node, expected: expected.node }
        } else if found.geometry.capacity_bytes > self.offered.capacity_bytes {
            let formatted_bytes = found.geometry.capacity_bytes;
            OpenRefusal::Shrunk { formatted_bytes, capacity_bytes: self.offered.capacity_bytes }
        } else {
            self.stage = Stage::Loading(superblock, Box::new(Loading::new(&superblock)));
            return Continue(());
        };
        Break(Progress::Refused(refusal))
    }

    fn blank(&mut self, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        let Blank::Format { uuid } = self.blank else { return Break(Progress::Refused(OpenRefusal::Blank)) };
        let geometry = self.offered;
        if geometry.capacity_bytes < geometry.least_bytes() {
            let least_bytes = geometry.least_bytes();
            let refusal = OpenRefusal::TooSmall { capacity_bytes: geometry.capacity_bytes, least_bytes };
            return Break(Progress::Refused(refusal));
        }
        let Identity { node, cluster } = self.identity;
        let superblock =
            Superblock { uuid, node, cluster, geometry, generation: 1, run: 0, run_first: 1, root: Root::default() };
        self.write_superblock(1, &superblock, ops);
        self.stage = Stage::Formatting(superblock);
        Continue(())
    }

    fn formatted(&mut self, superblock: Superblock, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        if !self.asked.is_empty() {
            self.stage = Stage::Formatting(superblock);
            return Break(Progress::Going);
        }
        let opened = Opened {
            superblock,
            shards: Shards::new(superblock.geometry).mutated(self.policy.mutation),
            loaded: Loaded::default(),
            damage: None,
            rotten: 0,
            tail: Tail {
                uuid: superblock.uuid,
                run: superblock.run + 1,
                batch: 1,
                previous: genesis(superblock.uuid),
                previous_shards: Vec::new(),
                durable_through: 0,
                next_segment: 0,
            },
        };
        self.mark(opened, ops)
    }

    fn loading(
        &mut self,
        superblock: Superblock,
        mut loading: Box<Loading>,
        ops: &mut Ops<'_>,
    ) -> ControlFlow<Progress> {
        match loading.advance(ops) {
            load::Progress::Going => {
                self.stage = Stage::Loading(superblock, loading);
                Break(Progress::Going)
            }
            load::Progress::Refused(refusal) => Break(Progress::Refused(refusal)),
            load::Progress::Loaded(shards, loaded) => {
                let shards = shards.mutated(self.policy.mutation);
                let walk = Walk::new(&superblock, shards, &loaded.contents.standing);
                let walk = Box::new(walk.mutated(self.policy.mutation));
                self.stage = Stage::Firsts { superblock, walk, loaded, next: 0 };
                Continue(())
            }
        }
    }

    fn firsts(
        &mut self,
        superblock: Superblock,
        mut walk: Box<Walk>,
        loaded: Loaded,
        mut next: u32,
        ops: &mut Ops<'_>,
    ) -> ControlFlow<Progress> {
        let geometry = superblock.geometry;
        while next < geometry.segments() && self.asked.len() < self.policy.reads_in_flight_max.max(1) as usize {
            self.read(Asked::First(next), Need { place: geometry.place(next, 0), blocks: 1 }, ops);
            next += 1;
        }
        if !self.asked.is_empty() {
            self.stage = Stage::Firsts { superblock, walk, loaded, next };
            return Break(Progress::Going);
        }
        walk.begin();
        self.stage = Stage::Walking { superblock, walk, loaded };
        Continue(())
    }

    fn walking(
        &mut self,
        superblock: Superblock,
        mut walk: Box<Walk>,
        loaded: Loaded,
        ops: &mut Ops<'_>,
    ) -> ControlFlow<Progress> {
        let failed = walk.unreadable();
        let refused = |(place, fault)| Break(Progress::Refused(OpenRefusal::Unreadable { at: byte_of(place), fault }));
        if let Some((&place, &fault)) = failed.first_key_value()
            && failed.len() >= self.policy.reads_failed_max as usize
        {
            return refused((place, fault));
        }
        if let Some(Need { place, blocks }) = self.singly.take_if(|_| self.asked.is_empty()) {
            self.singly = (blocks > 1).then_some(Need { place: place + 1, blocks: blocks - 1 });
            let need = Need { place, blocks: 1 };
            self.read(Asked::Log(need), need, ops);
        } else if self.asked.is_empty() {
            match walk.advance() {
                Next::Read(need) => self.read(Asked::Log(need), need, ops),
                Next::Done if walk.met_failures() && self.tries < TRIES && !self.gives_up_at_once() => {
                    self.tries += 1;
                    self.stage = Stage::Loading(superblock, Box::new(Loading::new(&superblock)));
                    return Continue(());
                }
                Next::Done => {
                    if let Some(matters) = walk.doubt() {
                        return refused(matters);
                    }
                    let damage = walk.damage();
                    let (shards, tail) = walk.finish(superblock.run + 1);
                    let rotten = self.rotten + loaded.rotten;
                    return self.flush(Opened { superblock, shards, tail, loaded, damage, rotten }, ops);
                }
            }
        }
        self.stage = Stage::Walking { superblock, walk, loaded };
        Break(Progress::Going)
    }

    fn gives_up_at_once(&self) -> bool {
        self.policy.mutation.is(Mutant::DoubtedAtOnce)
    }

    fn flush(&mut self, opened: Opened, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        if self.policy.protected_cache || self.policy.mutation.is(Mutant::NoFlushAtOpening) {
            return self.mark(opened, ops);
        }
        let id = ops.id();
        self.asked.insert(id, Asked::Change);
        ops.push(Op::Flush { id });
        self.stage = Stage::Flushing(opened);
        Continue(())
    }

    fn flushed(&mut self, opened: Opened, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        if self.asked.is_empty() {
            return self.mark(opened, ops);
        }
        self.stage = Stage::Flushing(opened);
        Break(Progress::Going)
    }

    /// Writes the superblocks of this run, unless a write before them failed.
    fn mark(&mut self, mut opened: Opened, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        if let Some(fault) = self.failed {
            return Break(Progress::Poisoned(opened, fault));
        }
        if self.policy.mutation.is(Mutant::RunNotMarked) {
            return Break(Progress::Opened(opened));
        }
        opened.superblock.generation += 1;
        (opened.superblock.run, opened.superblock.run_first) = (opened.tail.run, opened.tail.batch);
        self.write_superblock(0, &opened.superblock, ops);
        self.stage = Stage::Marking(opened, 0);
        Continue(())
    }

    fn marked(&mut self, opened: Opened, place: u32, ops: &mut Ops<'_>) -> ControlFlow<Progress> {
        if !self.asked.is_empty() {
            self.stage = Stage::Marking(opened, place);
            return Break(Progress::Going);
        }
        if place == 0 && self.failed.is_none() {
            self.write_superblock(1, &opened.superblock, ops);
            self.stage = Stage::Marking(opened, 1);
            return Continue(());
        }
        Break(match self.failed {
            None => Progress::Opened(opened),
            Some(fault) => Progress::Poisoned(opened, fault),
        })
    }
}
