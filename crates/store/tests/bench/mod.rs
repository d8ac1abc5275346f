//! A store on a disk in memory, and the words in which the tests speak to it.

// Each test binary uses a part of this.
#![allow(dead_code)]

pub mod disk;
pub mod left_behind;
pub mod model;

use base::io::disk::{Done, Op};
use base::log::{
    Changes, Event, Extent, Mark, PointChange, ReadFault, Record, Recovered, Register, Request, Rot, Stamp, Standing,
    WindowEntry,
};
use base::{
    BLOCK_BYTES, ClusterId, Configuration, Epoch, Generation, NodeId, Payload, PointId, Revision, Rng, Sequence,
    ShardId, StoreUuid, Time, VolumeId, checksum,
};
use disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use store::{Blank, Geometry, Identity, Phase, Policy, Store};

pub const UUID: StoreUuid = StoreUuid(0x5ea_a11);
pub const IDENTITY: Identity = Identity { node: NodeId(1), cluster: ClusterId(0xc1) };
/// Blocks in each shard of the tests.
pub const BLOCKS: u32 = 200;

pub fn shard(n: u64) -> ShardId {
    ShardId { volume: VolumeId(n), index: 0 }
}

pub fn stamp(epoch: u64, sequence: u64) -> Stamp {
    Stamp { epoch: Epoch(epoch), sequence: Sequence(sequence) }
}

pub fn register(shard: ShardId, promised: u64) -> Record {
    let config = Configuration {
        shard,
        epoch: Epoch(1),
        revision: Revision(1),
        blocks: BLOCKS,
        layout: base::Layout::default(),
        primary: NodeId(1),
        members: vec![],
        anchors: vec![],
        learner: None,
        holders: vec![],
        target_copies: 3,
        min_copies: 2,
        generation: Generation(0),
        client: None,
        fence: vec![],
        newborn: false,
        deleted: false,
    };
    let (promised, adopted) = (Epoch(promised), Epoch(1));
    Record::Register(Box::new(Register { promised, adopted, standing: Standing::Complete, config }))
}

/// Blocks with these tags, one behind the other.
pub fn blocks(tags: impl IntoIterator<Item = u64>) -> Payload {
    Payload::from(tags.into_iter().map(model::pattern).collect::<Vec<_>>().concat())
}

pub fn data(sequence: u64, block: u32, tags: impl IntoIterator<Item = u64>) -> Record {
    Record::Data { stamp: stamp(1, sequence), block, data: blocks(tags) }
}

pub fn trim(sequence: u64, block: u32, count: u32) -> Record {
    Record::Trim { stamp: stamp(1, sequence), block, count }
}

pub fn freeze(sequence: u64, point: u64) -> Record {
    Record::Point { stamp: stamp(1, sequence), change: PointChange::Freeze { id: PointId(point) } }
}

pub fn thaw(sequence: u64, point: u64) -> Record {
    Record::Point { stamp: stamp(1, sequence), change: PointChange::Thaw { id: PointId(point) } }
}

pub fn mark(since: u64) -> Record {
    Record::Mark(Mark { since: Sequence(since), epoch: Epoch(1) })
}

pub fn copy(block: u32, tags: impl IntoIterator<Item = u64>) -> Record {
    Record::Copy { block, data: blocks(tags) }
}

/// A store and its disk.
pub struct Bench {
    pub store: Store,
    pub disk: Disk,
    pub events: Vec<Event>,
    pub policy: Policy,
    pub geometry: Geometry,
    pub now: Time,
    tickets: BTreeMap<ShardId, u64>,
    reads: u64,
    /// Whether points were dropped, or may have been before the opening, so that the store may go on by itself.
    dissolves: bool,
}

impl Bench {
    /// A store being opened; a blank disk is formatted.
    pub fn on(disk: Disk, geometry: Geometry, policy: Policy) -> Self {
        let store = Store::new(IDENTITY, geometry, Blank::Format { uuid: UUID }, policy);
        Self {
            store,
            disk,
            events: vec![],
            policy,
            geometry,
            now: Time::ZERO,
            tickets: BTreeMap::new(),
            reads: 0,
            dissolves: true,
        }
    }

    /// A new store, ready, with segments of 64 KiB.
    pub fn ready(segments: u64) -> Self {
        Self::ready_with(segments, Policy::default())
    }

    pub fn ready_with(segments: u64, policy: Policy) -> Self {
        let geometry = Geometry { segment_bytes: 64 << 10, ..Geometry::tiny((64 << 10) * (segments + 1)) };
        let mut bench = Self::on(Disk::default(), geometry, policy);
        bench.settle();
        assert_eq!(*bench.store.phase(), Phase::Ready);
        bench.dissolves = false;
        bench
    }

    /// Forgets the process and opens the disk again.
    pub fn reopen(self) -> Self {
        let mut disk = self.disk;
        disk.flying.clear();
        Self::on(disk, self.geometry, self.policy)
    }

    /// The same, until it is ready.
    pub fn reopened(self) -> Self {
        let mut bench = self.reopen();
        bench.settle();
        assert_eq!(*bench.store.phase(), Phase::Ready);
        bench
    }

    /// Whether opening meets damage.
    pub fn damaged(mut self) -> bool {
        self.settle();
        assert_eq!(*self.store.phase(), Phase::Ready);
        self.store.damage().is_some()
    }

    pub fn append(&mut self, shard: ShardId, record: Record) -> u64 {
        let ticket = self.tickets.entry(shard).or_default();
        *ticket += 1;
        self.dissolves |= matches!(record, Record::Point { change: PointChange::Thaw { .. }, .. });
        self.store.request(Request::Append { shard, ticket: *ticket, record });
        *ticket
    }

    pub fn commit(&mut self, shard: ShardId, through: u64) {
        self.store.request(Request::Commit { shard, through: Sequence(through) });
    }

    pub fn step(&mut self) {
        self.store.step(self.now, &mut self.disk.flying, &mut self.events);
        let rests = self.store.deadline().is_none_or(|at| at > self.now);
        assert!(rests || self.dissolves, "after a step nothing waits to be worked on");
    }

    /// A step, and the disk does some of what it was asked, in any order, with a step after each.
    pub fn work(&mut self, rng: &mut Rng) {
        self.step();
        for _ in 0..rng.below(6) {
            if self.disk.flying.is_empty() {
                return;
            }
            let i = rng.below(self.disk.flying.len() as u64) as usize;
            self.perform(i);
            self.step();
        }
    }

    /// Lets the disk do one operation.
    pub fn perform(&mut self, i: usize) {
        let done: Done = self.disk.perform(i);
        self.store.done(done);
    }

    /// Until the disk has nothing left to do.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            self.step();
            if !self.disk.flying.is_empty() {
                self.perform(0);
            } else if self.store.deadline() != Some(Time::ZERO) {
                return;
            }
        }
        panic!("the store never comes to rest");
    }

    /// The highest ticket of a shard that was declared durable.
    pub fn durable(&self, shard: ShardId) -> u64 {
        let durable = |event: &Event| match event {
            Event::Durable { shard: s, ticket } if *s == shard => Some(*ticket),
            _ => None,
        };
        self.events.iter().filter_map(durable).max().unwrap_or(0)
    }

    fn ticket(&mut self) -> u64 {
        self.reads += 1;
        self.reads
    }

    pub fn ask_read(&mut self, shard: ShardId, block: u32, count: u32) -> u64 {
        let ticket = self.ticket();
        self.store.request(Request::Read { shard, ticket, block, count });
        ticket
    }

    /// Takes the answer to a read out of the events.
    pub fn answer(&mut self, asked: u64) -> Option<Event> {
        let at = self.events.iter().position(|event| match event {
            Event::Blocks { ticket, .. }
            | Event::Window { ticket, .. }
            | Event::Extents { ticket, .. }
            | Event::Measured { ticket, .. }
            | Event::Changes { ticket, .. }
            | Event::NoPoint { ticket, .. }
            | Event::Matching { ticket, .. } => *ticket == asked,
            Event::Durable { .. } | Event::Corrupt { .. } => false,
        })?;
        Some(self.events.remove(at))
    }

    /// The bytes that a read gave.
    pub fn answered(&mut self, asked: u64) -> Option<Result<Vec<u8>, ReadFault>> {
        let Event::Blocks { parts, .. } = self.answer(asked)? else { panic!("another answer") };
        Some(parts.map(|parts| {
            let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes
        }))
    }

    pub fn read(&mut self, shard: ShardId, block: u32, count: u32) -> Result<Vec<u8>, ReadFault> {
        let ticket = self.ask_read(shard, block, count);
        self.settle();
        let bytes = self.answered(ticket).expect("a read is answered");
        if let Ok(bytes) = &bytes {
            assert_eq!(bytes.len(), count as usize * BLOCK_BYTES);
        }
        bytes
    }

    pub fn ask_point(&mut self, shard: ShardId, point: u64, block: u32, count: u32) -> u64 {
        let ticket = self.ticket();
        self.store.request(Request::ReadPoint { shard, ticket, point: PointId(point), block, count });
        ticket
    }

    /// The bytes as they were at a point; none if there is no such point.
    pub fn read_point(
        &mut self,
        shard: ShardId,
        point: u64,
        block: u32,
        count: u32,
    ) -> Option<Result<Vec<u8>, ReadFault>> {
        let asked = self.ask_point(shard, point, block, count);
        self.settle();
        let none = |event: &Event| matches!(event, Event::NoPoint { ticket, point: p, .. } if (*ticket, p.0) == (asked, point));
        if self.events.iter().any(none) { None } else { self.answered(asked) }
    }

    /// The tags of blocks at a point, 0 for those that were zeroes.
    pub fn tags_at(&mut self, shard: ShardId, point: u64, block: u32, count: u32) -> Vec<u64> {
        let bytes = self.read_point(shard, point, block, count).expect("it is there").expect("readable");
        bytes.chunks(BLOCK_BYTES).map(model::tag_of).collect()
    }

    pub fn ask_changes(
        &mut self,
        shard: ShardId,
        (from, to): (Option<u64>, Option<u64>),
        (block, count): (u32, u32),
        most: u32,
    ) -> u64 {
        let ticket = self.ticket();
        let (from, to) = (from.map(PointId), to.map(PointId));
        self.store.request(Request::ReadChanges { shard, ticket, from, to, block, count, most });
        ticket
    }

    /// None if there is no such point.
    pub fn changes(
        &mut self,
        shard: ShardId,
        states: (Option<u64>, Option<u64>),
        block: u32,
        most: u32,
    ) -> Option<Changes> {
        self.changes_in(shard, states, (block, u32::MAX), most)
    }

    /// Of so many blocks only.
    pub fn changes_in(
        &mut self,
        shard: ShardId,
        states: (Option<u64>, Option<u64>),
        blocks: (u32, u32),
        most: u32,
    ) -> Option<Changes> {
        let ticket = self.ask_changes(shard, states, blocks, most);
        self.settle();
        match self.answer(ticket) {
            Some(Event::Changes { changes, .. }) => Some(changes),
            Some(Event::NoPoint { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Every block that may differ, a few stretches at a time.
    pub fn changed_blocks(&mut self, shard: ShardId, states: (Option<u64>, Option<u64>)) -> Vec<u32> {
        let (mut all, mut next) = (vec![], Some(0));
        while let Some(block) = next {
            let changes = self.changes(shard, states, block, 3).expect("both states are there");
            assert!(changes.next.is_none() || changes.stretches.len() == 3);
            all.extend(changes.stretches.iter().flat_map(|&(first, count)| first..first + count));
            next = changes.next;
        }
        assert!(all.is_sorted_by(|a, b| a < b), "in order, each once");
        all
    }

    /// The tags of blocks, 0 for those that are zeroes.
    pub fn tags(&mut self, shard: ShardId, block: u32, count: u32) -> Vec<u64> {
        let bytes = self.read(shard, block, count).expect("readable");
        bytes.chunks(BLOCK_BYTES).map(model::tag_of).collect()
    }

    pub fn ask_window(&mut self, shard: ShardId, above: u64) -> u64 {
        let ticket = self.ticket();
        self.store.request(Request::ReadWindow { shard, ticket, above: Sequence(above) });
        ticket
    }

    pub fn window(&mut self, shard: ShardId, above: u64) -> Result<Vec<WindowEntry>, ReadFault> {
        let ticket = self.ask_window(shard, above);
        self.settle();
        let Some(Event::Window { entries, .. }) = self.answer(ticket) else { panic!("a window is answered") };
        entries
    }

    pub fn ask_extents(&mut self, shard: ShardId, block: u32, count: u32) -> u64 {
        let ticket = self.ticket();
        self.store.request(Request::ReadExtents { shard, ticket, since: None, block, count });
        ticket
    }

    /// Extents of what changed since a mark, and where to go on.
    pub fn extents_since(
        &mut self,
        shard: ShardId,
        since: Sequence,
        block: u32,
        count: u32,
    ) -> (Result<Vec<Extent>, ReadFault>, Option<u32>) {
        let ticket = self.ticket();
        self.store.request(Request::ReadExtents { shard, ticket, since: Some(since), block, count });
        self.settle();
        let Some(Event::Extents { extents, next, .. }) = self.answer(ticket) else { panic!("extents are answered") };
        (extents, next)
    }

    pub fn measure(&mut self, shard: ShardId, since: Option<Sequence>) -> u32 {
        let ticket = self.ticket();
        self.store.request(Request::Measure { shard, ticket, since });
        self.settle();
        let Some(Event::Measured { blocks, .. }) = self.answer(ticket) else { panic!("it is answered") };
        blocks
    }

    /// Every block that changed since a mark, a few at a time. The bytes are those that a read gives.
    pub fn changed_since(&mut self, shard: ShardId, since: Sequence) -> BTreeSet<u32> {
        let (mut all, mut next) = (vec![], Some(0));
        while let Some(block) = next {
            let (extents, then) = self.extents_since(shard, since, block, 5);
            for Extent { block, count, data } in extents.expect("readable") {
                all.extend(block..block + count);
                let expected = data.map_or(vec![0; count as usize * BLOCK_BYTES], |data| data.to_vec());
                assert!(self.read(shard, block, count).expect("readable") == expected, "{shard} block {block}");
            }
            next = then;
        }
        assert!(all.is_sorted_by(|a, b| a < b), "in order, each once");
        assert_eq!(self.measure(shard, Some(since)), all.len() as u32);
        all.into_iter().collect()
    }

    pub fn extents(&mut self, shard: ShardId, block: u32, count: u32) -> Result<Vec<Extent>, ReadFault> {
        let ticket = self.ask_extents(shard, block, count);
        self.settle();
        let Some(Event::Extents { extents, .. }) = self.answer(ticket) else { panic!("extents are answered") };
        extents
    }

    pub fn ask_matching(&mut self, shard: ShardId, block: u32, crc: u32) -> u64 {
        let ticket = self.ticket();
        self.store.request(Request::ReadMatching { shard, ticket, block, crc });
        ticket
    }

    /// The tag of the block here that has the checksum of this one; none if no good copy is here.
    pub fn matching(&mut self, shard: ShardId, block: u32, tag: u64) -> Option<u64> {
        let ticket = self.ask_matching(shard, block, checksum::block(shard, block, &model::pattern(tag)));
        self.settle();
        match self.answer(ticket) {
            Some(Event::Matching { block: b, data, .. }) if b == block => data.map(|data| model::tag_of(&data)),
            other => panic!("{other:?}"),
        }
    }

    /// Flips a bit of the first block on the disk with this tag, and says of which it must be said that it is rotten.
    pub fn rot(&mut self, shard: ShardId, block: u32, tag: u64) -> Rot {
        let at = self.find_on_media(&model::pattern(tag)).expect("it is on the disk");
        self.disk.rot(at + tag % 4096, (tag % 8) as u8);
        Rot { block, crc: checksum::block(shard, block, &model::pattern(tag)), place: (at / 4096) as u32 }
    }

    /// The whole shard, a few blocks of data at a time; checks that nothing is left out.
    pub fn extents_all(&mut self, shard: ShardId) -> Vec<Extent> {
        let mut all = vec![];
        let mut at = 0;
        while at < BLOCKS {
            for extent in self.extents(shard, at, 20).expect("readable") {
                assert_eq!(extent.block, at, "extents leave no gap");
                assert!(extent.data.as_ref().is_none_or(|data| data.blocks() == extent.count));
                at += extent.count;
                all.push(extent);
            }
        }
        assert_eq!(at, BLOCKS, "extents end where the shard ends");
        all
    }

    pub fn recovered(&mut self) -> Vec<Recovered> {
        self.store.recovered()
    }

    /// The byte on the disk where the first block with these contents lies.
    pub fn find_on_media(&self, bytes: &[u8]) -> Option<u64> {
        self.disk.all_durable().find(|(_, block)| block.as_slice() == bytes).map(|(p, _)| u64::from(p) * 4096)
    }

    /// Where writes in flight go.
    pub fn writes(&self) -> Vec<u64> {
        let at = |op: &Op| if let Op::Write { at, .. } = op { Some(*at) } else { None };
        self.disk.flying.iter().filter_map(at).collect()
    }
}
