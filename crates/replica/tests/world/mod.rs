//! Three nodes with one replica each, a store that is a map, links that deliver in order, and an authority that the test plays.

// Each test binary uses a part of this.
#![allow(dead_code)]

use base::io::net::{Frame, Link, Peer, Side};
use base::log::{
    Changes, Event, Extent, Mark, PointChange, ReadFault, Record, Recovered, Register, Request, Rot, Stamp,
};
use base::log::{MARKS_MAX, WindowEntry};
use base::mutant::Mutation;
use base::{BLOCK_BYTES, Configuration, Epoch, Generation, HostId, Learner, Member, NodeId, Payload, Revision};
use base::{PointId, Sequence, ShardId, StoreUuid, Time, VolumeId, checksum};
use replica::{Context, Effects, Peers, Policy, Replica};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use wire::{Message, PointOrder, PointRefusal, PointState, PointStep, Proposal, Refusal, Taught};

pub const HOST: HostId = HostId(7);
pub const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };
pub const BLOCKS: u32 = 64;

pub fn member(n: u64) -> Member {
    Member { node: NodeId(n), store: StoreUuid(u128::from(n)) }
}

pub fn config(epoch: u64, primary: u64, members: &[u64]) -> Configuration {
    Configuration {
        shard: SHARD,
        epoch: Epoch(epoch),
        revision: Revision(epoch * 10),
        blocks: BLOCKS,
        layout: base::Layout::default(),
        primary: NodeId(primary),
        members: members.iter().map(|n| member(*n)).collect(),
        anchors: members.iter().map(|n| member(*n)).collect(),
        learner: None,
        holders: vec![],
        target_copies: 3,
        min_copies: 2,
        generation: Generation(1),
        client: Some(HOST),
        fence: vec![],
        newborn: epoch == 1,
        deleted: false,
    }
}

pub fn with_learner(mut config: Configuration, n: u64, plan: u64) -> Configuration {
    config.learner = Some(Learner { member: member(n), plan });
    config.revision = Revision(config.revision.0 + 1);
    config
}

/// What is on one disk: all that was appended and made durable.
#[derive(Default, Clone)]
pub struct Disk {
    pub register: Option<Register>,
    pub committed: Sequence,
    pub index: BTreeMap<u32, Payload>,
    pub window: BTreeMap<Sequence, WindowEntry>,
    pub points: BTreeMap<PointId, BTreeMap<u32, Payload>>,
    /// Marks, and what changed while each was the newest.
    pub marks: Vec<(Mark, BTreeSet<u32>)>,
    /// Blocks that are rotten, by their checksums.
    pub rotten: BTreeSet<(u32, u32)>,
    /// What is mended rots again at once.
    pub incurable: bool,
    /// The next recovery finds rot in the log, below its durable end.
    pub suspect: bool,
}

/// Where everything rotten lies: these disks have no places.
const PLACE: u32 = 7;

pub fn crc(block: u32, bytes: &[u8]) -> u32 {
    checksum::block(SHARD, block, bytes)
}

impl Disk {
    /// What is rotten of some blocks.
    fn rot_in(&self, block: u32, data: &Payload) -> Vec<Rot> {
        let rot = |(block, bytes): (u32, &[u8])| Rot { block, crc: crc(block, bytes), place: PLACE };
        let blocks = (block..).zip(data.chunks(BLOCK_BYTES)).map(rot);
        blocks.filter(|rot| self.rotten.contains(&(rot.block, rot.crc))).collect()
    }

    /// The block that has this checksum, the newest first, and whether it is rotten.
    fn matching(&self, block: u32, wanted: u32) -> (Option<Payload>, Vec<Rot>) {
        let in_entry = |e: &WindowEntry| {
            let at = block.checked_sub(e.block).filter(|i| *i < e.count)? as usize * BLOCK_BYTES;
            e.data.as_ref().map(|data| data.slice(at, BLOCK_BYTES))
        };
        let copies = self.window.values().rev().filter_map(in_entry).chain(self.index.get(&block).cloned());
        let found = copies.into_iter().find(|data| crc(block, data) == wanted);
        match found {
            Some(_) if self.rotten.contains(&(block, wanted)) => (None, vec![Rot { block, crc: wanted, place: PLACE }]),
            found => (found, vec![]),
        }
    }

    fn append(&mut self, record: Record) {
        match record {
            Record::Data { stamp, block, data } => {
                let entry = WindowEntry { stamp, block, count: data.blocks(), data: Some(data), point: None };
                self.window.insert(stamp.sequence, entry);
            }
            Record::Trim { stamp, block, count } => {
                self.window.insert(stamp.sequence, WindowEntry { stamp, block, count, data: None, point: None });
            }
            Record::Point { stamp, change } => {
                let entry = WindowEntry { stamp, block: 0, count: 0, data: None, point: Some(change) };
                self.window.insert(stamp.sequence, entry);
            }
            Record::Copy { block, data } => self.put(block, data.blocks(), Some(&data)),
            Record::Erase { block, count } => self.put(block, count, None),
            Record::Cut { above } => self.window.retain(|s, _| *s <= above),
            Record::Restart { committed, keeps_marks } => {
                self.window.clear();
                self.points.clear();
                self.marks.retain(|_| keeps_marks);
                self.committed = committed;
            }
            Record::Mark(mark) => {
                let newer = self.marks.last().is_none_or(|newest| newest.0.since < mark.since);
                assert!(newer && self.marks.len() < MARKS_MAX, "the store would not make {mark:?}");
                self.marks.push((mark, BTreeSet::new()));
            }
            Record::Unmark => self.marks.clear(),
            Record::Register(register) => self.register = Some(*register),
            Record::Mend { block, data, .. } => {
                if !self.incurable {
                    self.rotten.remove(&(block, crc(block, &data)));
                }
            }
            Record::Drop => *self = Self::default(),
        }
    }

    fn put(&mut self, block: u32, count: u32, data: Option<&Payload>) {
        for i in 0..count {
            self.marks.last_mut().into_iter().for_each(|newest| _ = newest.1.insert(block + i));
            match data {
                Some(data) => self.index.insert(block + i, data.slice(i as usize * BLOCK_BYTES, BLOCK_BYTES)),
                None => self.index.remove(&(block + i)),
            };
        }
    }

    fn commit(&mut self, through: Sequence) {
        let keep = self.window.split_off(&through.next());
        for (_, e) in std::mem::replace(&mut self.window, keep) {
            self.put(e.block, e.count, e.data.as_ref());
            match e.point {
                Some(PointChange::Freeze { id }) => _ = self.points.entry(id).or_insert_with(|| self.index.clone()),
                Some(PointChange::Thaw { id }) => _ = self.points.remove(&id),
                None => {}
            }
        }
        self.committed = self.committed.max(through);
    }

    /// What changed since a mark, if it is there.
    pub fn changed_since(&self, since: Option<Sequence>) -> Option<BTreeSet<u32>> {
        let at = self.marks.iter().position(|(mark, _)| Some(mark.since) == since)?;
        Some(self.marks[at..].iter().flat_map(|(_, blocks)| blocks).copied().collect())
    }

    /// Blocks for copying: of what changed a few at once, of everything one.
    fn extents(&self, since: Option<Sequence>, block: u32) -> (Vec<Extent>, Option<u32>) {
        let extent = |block: u32| Extent { block, count: 1, data: self.index.get(&block).cloned() };
        if let Some(changed) = self.changed_since(since) {
            let mut rest = changed.range(block..).copied();
            return (rest.by_ref().take(3).map(extent).collect(), rest.next());
        }
        let all = self.register.as_ref().map_or(BLOCKS, |register| register.config.blocks);
        let next = self.index.range(block..).next().map_or(all, |(b, _)| *b);
        let extent = if next == block { extent(block) } else { Extent { block, count: next - block, data: None } };
        let end = block + extent.count;
        (vec![extent], Some(end).filter(|end| *end < all))
    }

    fn end(&self) -> Stamp {
        let last = self.window.values().next_back().map(|e| e.stamp);
        last.unwrap_or(Stamp { epoch: Epoch(0), sequence: self.committed })
    }
}

pub struct Machine {
    pub replica: Option<Replica>,
    pub disk: Disk,
    /// Appends that are not durable while the disk is held.
    pub unwritten: VecDeque<(u64, Record)>,
    pub held: bool,
    pub peers: Peers,
    pub wish: Option<Proposal>,
    /// Blocks found rotten, and mended.
    pub rot: (u64, u64),
    /// What it sent to learners.
    pub taught: Taught,
    /// Bytes that its store can append.
    pub room: u64,
}

pub struct World {
    pub now: Time,
    pub machines: BTreeMap<u64, Machine>,
    /// Frames under way, in order.
    pub wire: VecDeque<(Link, NodeId, Frame)>,
    /// What the host was told.
    pub host: Vec<(NodeId, Message, Option<Payload>)>,
    /// Messages between nodes that are lost: (from, to).
    pub cut: Vec<(u64, u64)>,
    /// Nodes whose shard has news for the authority.
    pub changed: Vec<u64>,
    /// Everything that was sent, by name.
    pub trace: Vec<String>,
    /// The numbers of the questions for good copies.
    pub asked: Vec<u64>,
    /// What the authority was told of points, and by whom.
    pub told: Vec<(u64, PointState)>,
    policy: Policy,
    /// What is wrong with its replicas.
    mutation: Mutation,
    io: u64,
}

thread_local! {
    /// What is wrong with the replicas of worlds that begin from now on: nothing, unless it is asked which story shows what.
    pub static MUTATION: Cell<Mutation> = const { Cell::new(Mutation::NONE) };
}

impl World {
    pub fn new() -> Self {
        let machine = || Machine {
            replica: None,
            disk: Disk::default(),
            unwritten: VecDeque::new(),
            held: false,
            peers: Peers::default(),
            wish: None,
            rot: (0, 0),
            taught: Taught::default(),
            room: 1 << 30,
        };
        Self {
            now: Time(1_000_000_000),
            machines: (1..=4).map(|n| (n, machine())).collect(),
            wire: VecDeque::new(),
            host: vec![],
            cut: vec![],
            changed: vec![],
            trace: vec![],
            asked: vec![],
            told: vec![],
            policy: Policy { room_slack_bytes: 0, ..Policy::default() },
            mutation: MUTATION.get(),
            io: 0,
        }
    }

    /// A volume of three copies that serves: node 1 leads.
    pub fn serving() -> Self {
        let mut world = Self::new();
        world.configure(&config(1, 1, &[1, 2, 3]));
        world.run();
        assert!(world.replica(1).is_serving());
        world
    }

    pub fn replica(&self, n: u64) -> &Replica {
        self.machines[&n].replica.as_ref().unwrap()
    }

    /// The authority tells everybody concerned.
    pub fn configure(&mut self, config: &Configuration) {
        let concerned: Vec<u64> = self.machines.keys().copied().collect();
        for n in concerned {
            self.configure_one(n, config);
        }
    }

    pub fn configure_one(&mut self, n: u64, config: &Configuration) {
        let me = member(n);
        self.turn(n, |replica, cx, fx| match replica {
            Some(replica) => replica.on_config(cx, config, fx),
            None if config.newborn && config.is_member(me) => *replica = Some(Replica::newborn(me, config, cx, fx)),
            None if config.learner.is_some_and(|l| l.member == me) => {
                *replica = Some(Replica::reserved(me, config, cx, fx));
            }
            None => {}
        });
    }

    /// One turn of one machine.
    pub fn turn(&mut self, n: u64, work: impl FnOnce(&mut Option<Replica>, &Context<'_>, &mut Effects)) {
        let (now, policy, mutation) = (self.now, self.policy.clone(), self.mutation);
        let machine = self.machines.get_mut(&n).unwrap();
        let mut fx = Effects { taught: machine.taught, ..Effects::default() };
        let peers = machine.peers.clone();
        let cx = Context { now, peers: &peers, policy: &policy, room: machine.room, may_copy: true };
        work(&mut machine.replica, &cx, &mut fx);
        machine.replica = machine.replica.take().map(|replica| replica.mutated(mutation));
        loop {
            for request in std::mem::take(&mut fx.log) {
                machine.obey(request, &cx, &mut fx);
            }
            if let Some(replica) = &mut machine.replica {
                replica.end_turn(&cx, &mut fx);
            }
            if fx.log.is_empty() {
                break;
            }
        }
        if !fx.changed.is_empty() {
            self.changed.push(n);
        }
        for (_, wish) in fx.wishes {
            machine.wish = wish;
        }
        machine.taught = fx.taught;
        machine.rot.0 += fx.rot_found;
        machine.rot.1 += fx.rot_mended;
        for (link, frame) in fx.frames {
            let message = Message::decode(&frame).unwrap();
            self.trace.push(format!("{n}>{} {}", link.peer, message.name()));
            if let Message::Mend(m) = message {
                self.asked.push(m.number);
            }
            self.wire.push_back((link, NodeId(n), frame));
        }
    }

    /// Delivers until nothing is under way.
    pub fn run(&mut self) {
        while !self.wire.is_empty() {
            self.step();
        }
    }

    /// Delivers one frame.
    pub fn step(&mut self) {
        if let Some((link, from, frame)) = self.wire.pop_front() {
            let message = Message::decode(&frame).unwrap();
            let data = joined(frame.data);
            match link.peer {
                Peer::Host(_) => self.host.push((from, message, data)),
                Peer::Zone => {
                    if let Message::PointState(state) = message {
                        self.told.push((from.0, state));
                    }
                }
                Peer::Node(to) if !self.cut.contains(&(from.0, to.0)) => {
                    let side = if link.side == Side::Opened { Side::Accepted } else { Side::Opened };
                    let back = Link { peer: Peer::Node(from), lane: link.lane, side };
                    self.turn(to.0, |replica, cx, fx| {
                        if let Some(replica) = replica {
                            replica.on_message(cx, back, message, data, fx);
                        }
                    });
                }
                _ => {}
            }
        }
    }

    /// The disk of one machine catches up.
    pub fn release(&mut self, n: u64) {
        self.turn(n, |_, _, _| {});
        let machine = self.machines.get_mut(&n).unwrap();
        machine.held = false;
        let last = machine.unwritten.back().map(|(t, _)| *t);
        for (_, record) in std::mem::take(&mut machine.unwritten) {
            machine.disk.append(record);
        }
        if let Some(ticket) = last {
            self.turn(n, |replica, cx, fx| {
                replica.as_mut().unwrap().on_store(cx, Event::Durable { shard: SHARD, ticket }, fx);
            });
        }
    }

    /// The disk of one machine does the first of what it was asked, and no more.
    pub fn release_one(&mut self, n: u64) {
        self.turn(n, |_, _, _| {});
        let machine = self.machines.get_mut(&n).unwrap();
        let (ticket, record) = machine.unwritten.pop_front().unwrap();
        machine.disk.append(record);
        self.turn(n, |replica, cx, fx| {
            replica.as_mut().unwrap().on_store(cx, Event::Durable { shard: SHARD, ticket }, fx);
        });
    }

    /// kill -9: what was not durable is gone, and so is everything under way to and from it. Peers see its address refuse.
    pub fn kill(&mut self, n: u64) {
        let machine = self.machines.get_mut(&n).unwrap();
        (machine.replica, machine.wish, machine.held) = (None, None, false);
        machine.unwritten.clear();
        self.wire.retain(|(link, from, _)| from.0 != n && link.peer != Peer::Node(NodeId(n)));
        let others: Vec<u64> = self.machines.keys().copied().filter(|m| *m != n).collect();
        for other in others {
            let peers = &mut self.machines.get_mut(&other).unwrap().peers;
            peers.on_down(NodeId(n), base::io::net::Down::Refused);
            self.turn(other, |_, _, _| {});
        }
    }

    pub fn restart(&mut self, n: u64) {
        self.restart_alone(n);
        self.link_up(n);
    }

    /// The address of everybody else refuses when it begins.
    pub fn restart_alone(&mut self, n: u64) {
        let others: Vec<u64> = self.machines.keys().copied().filter(|m| *m != n).collect();
        let machine = self.machines.get_mut(&n).unwrap();
        machine.peers = Peers::default();
        others.iter().for_each(|other| machine.peers.on_down(NodeId(*other), base::io::net::Down::Refused));
        let suspect = std::mem::take(&mut machine.disk.suspect);
        if let Some(register) = machine.disk.register.clone() {
            let (committed, end) = (machine.disk.committed, machine.disk.end());
            let marks = machine.disk.marks.iter().map(|(mark, _)| *mark).collect();
            let found = Recovered { shard: SHARD, register, committed, end, points: vec![], marks, suspect };
            self.turn(n, |r, cx, fx| *r = Some(Replica::recovered(member(n), found, cx.now, fx)));
        }
    }

    /// Links to and from `n` are open again.
    pub fn link_up(&mut self, n: u64) {
        let others: Vec<u64> = self.machines.keys().copied().filter(|m| *m != n).collect();
        others.into_iter().for_each(|other| self.link_between(n, other));
    }

    /// Both links between two of them are.
    pub fn link_between(&mut self, a: u64, b: u64) {
        for (n, other) in [(b, a), (a, b)] {
            self.machines.get_mut(&n).unwrap().peers.on_up(NodeId(other));
            self.turn(n, |r, cx, fx| {
                if let Some(r) = r {
                    r.on_link_up(cx, NodeId(other), fx);
                }
            });
        }
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        let all: Vec<u64> = self.machines.keys().copied().collect();
        for n in all {
            self.turn(n, |r, cx, fx| {
                if let Some(r) = r.as_mut().filter(|r| r.wake().is_some_and(|at| at <= cx.now)) {
                    r.tick(cx, fx);
                }
            });
        }
        self.run();
    }

    /// A keepalive of `n` to `peer`, asked now, is answered.
    pub fn heard(&mut self, n: u64, peer: u64) {
        let now = self.now;
        let machine = self.machines.get_mut(&n).unwrap();
        machine.peers.on_heard(NodeId(peer), base::io::net::Network::Primary, true, now);
        self.turn(n, |r, cx, fx| r.as_mut().unwrap().tick(cx, fx));
    }

    fn client(&mut self, to: u64, message: Message, data: Option<Payload>) {
        let from = Link::from(Peer::Host(HOST));
        self.turn(to, |r, cx, fx| r.as_mut().unwrap().on_message(cx, from, message, data, fx));
        self.run();
    }

    /// The host writes one block full of `byte` in `epoch`.
    pub fn write(&mut self, to: u64, epoch: u64, block: u32, byte: u8) -> u64 {
        self.io += 1;
        let io = self.io;
        let m = wire::Write { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io, block };
        self.client(to, m.into(), Some(vec![byte; BLOCK_BYTES].into()));
        io
    }

    /// The host trims.
    pub fn trim(&mut self, to: u64, epoch: u64, block: u32, count: u32) -> u64 {
        self.io += 1;
        let io = self.io;
        let m = wire::Trim { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io, block, count };
        self.client(to, m.into(), None);
        io
    }

    /// Asks a replica to freeze a point or to drop it; the sequence, if it does.
    pub fn change_point(&mut self, to: u64, change: PointChange) -> Option<Sequence> {
        let mut sequence = None;
        self.turn(to, |r, _, fx| sequence = r.as_mut().unwrap().change_point(change, fx));
        self.run();
        sequence
    }

    /// The authority asks a node for a step of a point, in an epoch. `no_room` is what its store says of it.
    pub fn order(&mut self, to: u64, epoch: u64, point: u64, step: PointStep, no_room: Option<PointRefusal>) {
        let order = PointOrder { shard: SHARD, epoch: Epoch(epoch), point: PointId(point), step };
        let from = Link::to(Peer::Zone);
        self.turn(to, |r, cx, fx| r.as_mut().unwrap().on_point_order(cx, from, order, no_room, fx));
        self.run();
    }

    /// The byte that fills a block at a point, as this machine has it; none if it has no such point.
    pub fn frozen(&self, n: u64, point: u64, block: u32) -> Option<u8> {
        let blocks = self.machines[&n].disk.points.get(&PointId(point))?;
        Some(blocks.get(&block).map_or(0, |data| data[0]))
    }

    pub fn read(&mut self, to: u64, epoch: u64, block: u32) -> u64 {
        self.read_many(to, epoch, block, 1)
    }

    pub fn read_many(&mut self, to: u64, epoch: u64, block: u32, count: u32) -> u64 {
        self.io += 1;
        let io = self.io;
        let m = wire::Read { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io, block, count };
        self.client(to, m.into(), None);
        io
    }

    /// The host asks which of these blocks are written.
    pub fn map(&mut self, to: u64, epoch: u64, block: u32, count: u32) -> u64 {
        self.io += 1;
        let io = self.io;
        let m = wire::Map { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io, block, count };
        self.client(to, m.into(), None);
        io
    }

    /// The bits of the first blocks that were asked about.
    pub fn mapped(&self, io: u64) -> Option<u8> {
        self.answer(io)
    }

    /// The scrub finds so many blocks rotten.
    pub fn fill_wanted(&mut self, n: u64, count: u32) {
        for crc in 0..count {
            self.scrub(n, Rot { block: 63, crc, place: PLACE });
        }
    }

    /// Whether this I/O was done, and in which epoch.
    pub fn done(&self, io: u64) -> Option<Epoch> {
        self.host.iter().find_map(|(_, m, _)| match m {
            Message::Done(d) if d.io == io => Some(d.epoch),
            _ => None,
        })
    }

    pub fn refusal(&self, io: u64) -> Option<&Refusal> {
        self.host.iter().find_map(|(_, m, _)| match m {
            Message::Refused(d) if d.io == io => Some(&d.why),
            _ => None,
        })
    }

    /// The byte that a read answered with.
    pub fn answer(&self, io: u64) -> Option<u8> {
        self.host.iter().find_map(|(_, m, data)| match m {
            Message::Done(d) if d.io == io => data.as_ref().map(|d| d[0]),
            _ => None,
        })
    }

    /// The byte in the index of a node, 0 where nothing is written.
    pub fn stored(&self, n: u64, block: u32) -> u8 {
        self.machines[&n].disk.index.get(&block).map_or(0, |d| d[0])
    }

    /// What this node has of a block that is full of `byte` rots; a scrub has not seen it yet.
    pub fn rot(&mut self, n: u64, block: u32, byte: u8) -> Rot {
        let crc = crc(block, &[byte; BLOCK_BYTES]);
        self.machines.get_mut(&n).unwrap().disk.rotten.insert((block, crc));
        Rot { block, crc, place: PLACE }
    }

    /// Whether nothing on this node's disk is rotten.
    pub fn is_sound(&self, n: u64) -> bool {
        self.machines[&n].disk.rotten.is_empty()
    }

    /// The scrub of this node finds it.
    pub fn scrub(&mut self, n: u64, rot: Rot) {
        self.turn(n, |r, cx, fx| r.as_mut().unwrap().on_store(cx, Event::Corrupt { shard: SHARD, rot }, fx));
        self.run();
    }

    pub fn wish(&self, n: u64) -> Option<&Proposal> {
        self.machines[&n].wish.as_ref()
    }

    pub fn sent(&self, what: &str) -> usize {
        self.trace.iter().filter(|t| t.as_str() == what).count()
    }
}

impl Machine {
    fn obey(&mut self, request: Request, cx: &Context<'_>, fx: &mut Effects) {
        let replica = self.replica.as_mut().unwrap();
        let event = match request {
            Request::Append { ticket, record, .. } if self.held => {
                self.unwritten.push_back((ticket, record));
                return;
            }
            Request::Append { shard, ticket, record } => {
                self.disk.append(record);
                Event::Durable { shard, ticket }
            }
            Request::Commit { through, .. } => {
                self.disk.commit(through);
                return;
            }
            Request::Read { shard, ticket, block, count } => {
                let read = |b| self.disk.index.get(&b).cloned().unwrap_or(Payload::zero_block());
                let parts: Vec<Payload> = (block..block + count).map(read).collect();
                let rotten = (block..).zip(&parts).flat_map(|(b, part)| self.disk.rot_in(b, part)).collect();
                Event::Blocks { shard, ticket, parts: sound(rotten, parts) }
            }
            Request::ReadWindow { shard, ticket, above } => {
                let entries = self.disk.window.values().filter(|e| e.stamp.sequence > above).cloned();
                let entries: Vec<WindowEntry> = entries.collect();
                let rot_in = |e: &WindowEntry| e.data.as_ref().map(|data| self.disk.rot_in(e.block, data));
                let rotten = entries.iter().filter_map(rot_in).flatten().collect();
                Event::Window { shard, ticket, entries: sound(rotten, entries) }
            }
            Request::ReadExtents { shard, ticket, since, block, .. } => {
                let (extents, next) = self.disk.extents(since, block);
                let rot_in = |e: &Extent| e.data.as_ref().map(|data| self.disk.rot_in(e.block, data));
                let rotten = extents.iter().filter_map(rot_in).flatten().collect();
                Event::Extents { shard, ticket, extents: sound(rotten, extents), next }
            }
            Request::Measure { shard, ticket, since } => {
                let blocks = self.disk.changed_since(since).map_or(self.disk.index.len(), |changed| changed.len());
                Event::Measured { shard, ticket, blocks: blocks as u32 }
            }
            Request::ReadChanges { shard, ticket, from: None, to: None, block, count, .. } => {
                let written = |b: &u32| self.disk.index.contains_key(b);
                let stretches = (block..block + count).filter(written).map(|b| (b, 1)).collect();
                Event::Changes { shard, ticket, changes: Changes { stretches, next: None } }
            }
            Request::ReadPoint { .. } | Request::ReadChanges { .. } => {
                unreachable!("no replica reads through a point yet")
            }
            Request::ReadMatching { shard, ticket, block, crc } => {
                let (data, rotten) = self.disk.matching(block, crc);
                Event::Matching { shard, ticket, block, data, rotten }
            }
        };
        replica.on_store(cx, event, fx);
    }
}

/// As it comes off a connection: one behind the other.
fn joined(parts: Vec<Payload>) -> Option<Payload> {
    (!parts.is_empty()).then(|| parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>().into())
}

fn sound<T>(rotten: Vec<Rot>, read: T) -> Result<T, ReadFault> {
    if rotten.is_empty() { Ok(read) } else { Err(ReadFault { rotten }) }
}
