//! A storage machine: many replicas over one store, behind one loop.
//!
//! It carries between its parts and the world, and owns what they share: the peers, the timers, the link to the authority. It
//! refuses to know the rules of replication (`replica`) and the layout of the disk (`store`).
//!
//! A step drains its parts in one fixed order until all are quiet:
//!
//! 1. what the world brought, in order of arrival: disk completions go to the store, frames and news of peers to the replicas;
//! 2. replicas whose time has come;
//! 3. the store works, and its answers go to the replicas, until neither has anything for the other;
//! 4. every replica that was touched ends its turn: cumulative confirmations, wishes; then 3 once more;
//! 5. what the authority must hear;
//! 6. all that is to be sent and closed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod authority;
mod copying;
mod fills;
mod histogram;
mod holdings;
mod isolation;
mod latency;
mod partners;
mod points;
mod retries;
mod seen;
mod slowness;

pub use seen::Distrust;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use authority::Authority;
use base::io::net::{Event as NetEvent, Lane, Link, Op as NetOp, Peer, Side, Traffic};
use base::io::{Inbox, Input, Machine, Outbox, disk};
use base::log::Event as StoreEvent;
use base::mutant::Mutant;
use base::time::Duration;
use base::{ClusterId, Configuration, Epoch, Incarnation, Member, NodeId, Rng, ShardId, Time};
use copying::Copying;
use holdings::Holdings;
use isolation::Isolation;
use partners::Partners;
use replica::{Context, Effects, Peers, Replica};
use seen::Memory;
use slowness::Slowness;
use store::{Phase, Store};
use wire::{Message, NodeEntry, Refusal};

/// Who a node is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Which run of the process.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub entry: NodeEntry,
    /// Its failure domain.
    pub rack: alloc::string::String,
}

/// Knobs of a node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Of each replica.
    pub replica: replica::Policy,
    /// Bytes sent to learners in each second, in full; by delta twice as many. Default 375 MiB, which is 30 % of what a network of 10 Gbit/s carries.
    pub copy_per_s: u64,
    /// Between reports to the authority when nothing changed. Default 1 s.
    pub report_every: Duration,
    /// Between reports when something did. Default 20 ms.
    pub report_gap: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            replica: replica::Policy::default(),
            copy_per_s: 375 << 20,
            report_every: Duration::from_secs(1),
            report_gap: Duration::from_millis(20),
        }
    }
}

/// Frames that may wait for the store to be read after a start; more are dropped, and their senders ask again.
const EARLY_MAX: usize = 65_536;

/// One storage node.
pub struct Node {
    setup: Setup,
    policy: Policy,
    store: Store,
    me: Option<Member>,
    replicas: BTreeMap<ShardId, Replica>,
    holdings: Holdings,
    peers: Peers,
    partners: Partners,
    isolation: Isolation,
    copying: Copying,
    timers: BTreeSet<(Time, ShardId)>,
    wakes: BTreeMap<ShardId, Time>,
    awaiting_lease: BTreeSet<ShardId>,
    /// Touched in this turn.
    touched: BTreeSet<ShardId>,
    authority: Authority,
    /// What went over the networks, as of the report before the next.
    traffic: Traffic,
    /// How its disk does.
    slowness: Slowness,
    memory: Memory,
    /// What came before the store was read.
    early: VecDeque<NetEvent>,
    fx: Effects,
    ops: Vec<disk::Op>,
    events: Vec<StoreEvent>,
    now: Time,
    started: bool,
}

impl Node {
    /// A node over a store that it will open first.
    pub fn new(setup: Setup, store: Store, policy: Policy, rng: Rng) -> Self {
        Self {
            setup,
            copying: Copying::new(policy.copy_per_s),
            policy,
            store,
            me: None,
            replicas: BTreeMap::new(),
            holdings: Holdings::default(),
            peers: Peers::default(),
            partners: Partners::default(),
            isolation: Isolation::default(),
            timers: BTreeSet::new(),
            wakes: BTreeMap::new(),
            awaiting_lease: BTreeSet::new(),
            touched: BTreeSet::new(),
            authority: Authority::new(rng.split("retries")),
            traffic: Traffic::default(),
            slowness: Slowness::new(),
            memory: Memory::default(),
            early: VecDeque::new(),
            fx: Effects::default(),
            ops: Vec::new(),
            events: Vec::new(),
            now: Time::ZERO,
            started: false,
        }
    }

    /// Why it cannot go on, if it cannot: its process should end, so that others see at once that it is gone.
    pub fn failure(&self) -> Option<&Phase> {
        match self.store.phase() {
            Phase::Opening | Phase::Ready | Phase::Full => None,
            failed => Some(failed),
        }
    }

    /// Whether it has read its store and takes part.
    pub fn is_ready(&self) -> bool {
        self.me.is_some()
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.setup.node
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its replicas, in order.
    pub fn replicas(&self) -> impl Iterator<Item = (&ShardId, &Replica)> {
        self.replicas.iter()
    }

    /// How many there are.
    pub fn replica_count(&self) -> usize {
        self.replicas.len()
    }

    /// One of them.
    pub fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.replicas.get(&shard)
    }

    // ---- 1: what the world brought. -----------------------------------------------------------------------------

    fn take(&mut self, inbox: &mut Inbox, out: &mut Outbox) {
        for input in inbox.drain(..) {
            match input {
                Input::Disk(done) => {
                    self.slowness.ended(self.now, done.id);
                    self.store.done(done);
                }
                Input::Net(event) if self.me.is_some() => self.on_net(event, out),
                Input::Net(event) if self.early.len() < EARLY_MAX => self.early.push_back(event),
                Input::Net(_) | Input::Meta(_) => {}
            }
        }
    }

    fn on_net(&mut self, event: NetEvent, out: &mut Outbox) {
        match event {
            NetEvent::Frame { from, mut frame } => match Message::decode(&frame) {
                Ok(message) => self.on_message(from, message, frame.data.pop(), out),
                // Its checksums held, so the peer speaks another dialect: nothing good can follow on this link.
                Err(_) => out.net(NetOp::Close { link: from }),
            },
            NetEvent::Up { link } => self.on_up(link),
            NetEvent::Down { link, why } => match (link.peer, link.lane, link.side) {
                (Peer::Zone, _, Side::Opened) => self.authority.on_down(),
                (Peer::Node(node), Lane::Data, Side::Opened) => {
                    self.peers.on_down(node, why);
                    self.isolation.look_again();
                    self.touch_partners(node);
                }
                (Peer::Node(node), Lane::Bulk, Side::Opened) => {
                    for shard in self.partners.shards(node) {
                        self.with(shard, |replica, _, fx| replica.on_bulk_down(node, fx));
                    }
                }
                _ => {}
            },
            NetEvent::Heard { peer: Peer::Node(node), network, ordered, asked } => {
                let was_gone = self.peers.is_gone(node);
                self.peers.on_heard(node, network, ordered, asked);
                if was_gone || self.peers.is_gone(node) {
                    self.isolation.look_again();
                    self.touch_partners(node);
                }
                for shard in core::mem::take(&mut self.awaiting_lease) {
                    self.tick(shard);
                }
            }
            NetEvent::Silent { peer: Peer::Node(node), network, .. } => {
                self.peers.on_silent(node, network);
                self.isolation.look_again();
                self.touch_partners(node);
            }
            NetEvent::Counted(traffic) => self.traffic = *traffic,
            NetEvent::Heard { .. } | NetEvent::Silent { .. } => {}
        }
    }

    fn on_up(&mut self, link: Link) {
        match (link.peer, link.lane, link.side) {
            (Peer::Zone, Lane::Data, Side::Opened) => {
                self.authority_is_new();
                self.isolation.nobody_is_given_up();
                self.authority.on_up();
            }
            (Peer::Node(node), Lane::Data, Side::Opened) => {
                self.peers.on_up(node);
                self.isolation.look_again();
                for shard in self.partners.shards(node) {
                    self.with(shard, |replica, cx, fx| replica.on_link_up(cx, node, fx));
                }
            }
            (Peer::Host(_), _, Side::Accepted) => self.replicas.values_mut().for_each(|r| r.on_client_up(link)),
            _ => {}
        }
    }

    fn touch_partners(&mut self, node: NodeId) {
        let shards = self.partners.shards(node);
        self.touched.extend(shards);
    }

    fn on_message(&mut self, from: Link, message: Message, data: Option<base::Payload>, out: &mut Outbox) {
        if from == Link::to(Peer::Zone) {
            self.authority.retries.heard();
        }
        match message {
            Message::Hail(m) => self.on_hail(from, &m),
            Message::Collect(_) => self.on_collect(from, out),
            _ if !self.obeys(from) => {}
            Message::Directory(m) => self.on_directory(m, out),
            Message::Configure(m) => {
                self.heard_at(m.revision);
                m.configs.iter().for_each(|config| self.on_config(config));
                self.told_all_at(m.revision);
            }
            Message::GivenUp(m) if from == Link::to(Peer::Zone) => self.isolation.given_up(m.nodes),
            Message::Release(m) => self.on_release(&m),
            Message::PointOrder(m) if from == Link::to(Peer::Zone) => self.on_point_order(from, m),
            Message::Proposed(m) => self.on_proposed(m),
            Message::Unheard(m) if from == Link::to(Peer::Zone) => self.on_unheard(&m),
            Message::Locate(m) => self.on_locate(from, &m),
            message => {
                let Some(shard) = shard_of(&message) else { return };
                if let Message::Write(m) = &message {
                    self.copying.latency.began(from, shard, m.io, self.now);
                }
                match &message {
                    Message::Sync(m) => self.on_config_of_peer(&m.config),
                    Message::Learn(m) => self.on_config_of_peer(&m.config),
                    _ => {}
                }
                if self.replicas.contains_key(&shard) {
                    self.with(shard, |replica, cx, fx| replica.on_message(cx, from, message, data, fx));
                } else {
                    self.on_stranger(from, shard, &message);
                }
            }
        }
    }

    /// It is taken for a member, and is none, or its disk has lost all it had: the shard must go on without it.
    fn has_nothing_of(&mut self, shard: ShardId, epoch: Epoch, primary: Link) {
        self.fx.frames.push((primary, Message::from(wire::Incomplete { shard, epoch }).frame()));
    }

    /// About a shard that this node has no replica of.
    fn on_stranger(&mut self, from: Link, shard: ShardId, message: &Message) {
        let io = match message {
            Message::Write(m) => m.io,
            Message::Read(m) => m.io,
            Message::Trim(m) => m.io,
            Message::Map(m) => m.io,
            Message::Sync(m) => return self.has_nothing_of(shard, m.config.epoch, from),
            Message::Fetch(m) => return self.has_nothing_of(shard, m.epoch, from),
            Message::Adopt(m) => return self.has_nothing_of(shard, m.epoch, from),
            Message::Mend(m) => {
                let answer = Message::from(wire::Mended { shard, number: m.number });
                return self.fx.frames.push((from, answer.frame()));
            }
            _ => return,
        };
        let answer = Message::from(wire::Refused { shard, io, why: Refusal::Unknown });
        self.fx.frames.push((from, answer.frame()));
    }

    fn on_config(&mut self, config: &Configuration) {
        let Some(me) = self.me else { return };
        if self.replicas.contains_key(&config.shard) {
            return self.with(config.shard, |replica, cx, fx| replica.on_config(cx, config, fx));
        }
        if config.deleted {
            return self.authority.released(config.shard, me);
        }
        let learns = config.learner.is_some_and(|l| l.member == me);
        let born = config.newborn && config.is_member(me);
        if !learns && !born {
            return;
        }
        let (cx, fx) = context(&self.peers, &self.policy, &self.store, self.now, &mut self.fx);
        let replica = if born { Replica::newborn(me, config, &cx, fx) } else { Replica::reserved(me, config, &cx, fx) };
        self.replicas.insert(config.shard, replica.mutated(self.policy.replica.mutation));
        self.touched.insert(config.shard);
        self.fx.changed.push(config.shard);
    }

    /// A peer says that this node is to have a replica. It may be the first to say so, and it may be the last, after a cut of its link: what the authority has taken back
    /// since, it would not take back again.
    fn on_config_of_peer(&mut self, config: &Configuration) {
        let over = self.is_over(config) && !self.policy.replica.mutation.is(Mutant::TakenBackObeyed);
        if !self.replicas.contains_key(&config.shard) && !over {
            self.on_config(config);
        }
    }

    fn on_release(&mut self, m: &wire::Release) {
        let mut obeyed = false;
        if self.replicas.contains_key(&m.shard) {
            self.with(m.shard, |replica, _, fx| obeyed = replica.on_release(m.member, m.epoch, fx));
        } else if self.me == Some(m.member) {
            self.authority.released(m.shard, m.member);
        }
        if obeyed {
            self.touched.insert(m.shard);
        }
    }

    fn on_locate(&mut self, from: Link, m: &wire::Locate) {
        let config = self.replicas.get(&m.shard).map(|r| r.config().clone());
        let answer = Message::from(wire::Located { shard: m.shard, config });
        self.fx.frames.push((from, answer.frame()));
        if m.waiting_ms > 0 {
            self.with(m.shard, |replica, _, _| replica.on_complaint(m.epoch));
        }
    }

    // ---- 2 to 4: the parts, until they are quiet. -----------------------------------------------------------------

    fn with(&mut self, shard: ShardId, work: impl FnOnce(&mut Replica, &Context<'_>, &mut Effects)) {
        let Some(replica) = self.replicas.get_mut(&shard) else { return };
        let (cx, fx) = context(&self.peers, &self.policy, &self.store, self.now, &mut self.fx);
        work(replica, &cx, fx);
        self.touched.insert(shard);
    }

    /// As [`Self::with`], and it may copy.
    fn with_leave(&mut self, shard: ShardId) {
        let Some(replica) = self.replicas.get_mut(&shard) else { return };
        let (cx, fx) = context(&self.peers, &self.policy, &self.store, self.now, &mut self.fx);
        replica.copy_on(&Context { may_copy: true, ..cx }, fx);
        self.touched.insert(shard);
    }

    fn tick(&mut self, shard: ShardId) {
        self.with(shard, |replica, cx, fx| replica.tick(cx, fx));
    }

    fn due(&mut self) {
        while let Some(&(at, shard)) = self.timers.first()
            && at <= self.now
        {
            self.timers.pop_first();
            self.wakes.remove(&shard);
            self.tick(shard);
        }
    }

    fn work(&mut self, out: &mut Outbox) {
        loop {
            self.fx.log.drain(..).for_each(|request| self.store.request(request));
            self.store.step(self.now, &mut self.ops, &mut self.events);
            for op in self.ops.drain(..) {
                self.slowness.asked(self.now, &op);
                out.disk(op);
            }
            if self.me.is_none() {
                self.open(out);
            }
            if self.events.is_empty() && self.fx.log.is_empty() {
                return;
            }
            for event in core::mem::take(&mut self.events) {
                let shard = match &event {
                    StoreEvent::Durable { shard, .. }
                    | StoreEvent::Blocks { shard, .. }
                    | StoreEvent::Window { shard, .. }
                    | StoreEvent::Extents { shard, .. }
                    | StoreEvent::Measured { shard, .. }
                    | StoreEvent::Changes { shard, .. }
                    | StoreEvent::NoPoint { shard, .. }
                    | StoreEvent::Matching { shard, .. }
                    | StoreEvent::Corrupt { shard, .. } => *shard,
                };
                self.with(shard, |replica, cx, fx| replica.on_store(cx, event, fx));
            }
        }
    }

    /// The store has been read: the node takes part from now on.
    fn open(&mut self, out: &mut Outbox) {
        if *self.store.phase() != Phase::Ready {
            return;
        }
        let me = Member { node: self.setup.node, store: self.store.uuid() };
        self.me = Some(me);
        for found in self.store.recovered() {
            let shard = found.shard;
            if shard == ShardId::NODE {
                self.memory.recovered(&found.register);
                if found.suspect {
                    self.doubt_memory();
                }
                continue;
            }
            let replica = Replica::recovered(me, found, self.now, &mut self.fx);
            self.replicas.insert(shard, replica.mutated(self.policy.replica.mutation));
            self.touched.insert(shard);
            self.fx.changed.push(shard);
        }
        out.net(NetOp::Watch { peer: Peer::Zone, wanted: true });
        for event in core::mem::take(&mut self.early) {
            self.on_net(event, out);
        }
    }

    fn end_turn(&mut self) {
        for shard in core::mem::take(&mut self.touched) {
            let Some(replica) = self.replicas.get_mut(&shard) else { continue };
            let (cx, fx) = context(&self.peers, &self.policy, &self.store, self.now, &mut self.fx);
            replica.end_turn(&cx, fx);
            let wake = replica.wake();
            let before = match wake {
                Some(at) => self.wakes.insert(shard, at),
                None => self.wakes.remove(&shard),
            };
            if before != wake {
                before.map(|at| self.timers.remove(&(at, shard)));
                wake.map(|at| self.timers.insert((at, shard)));
            }
            self.take_stock(shard);
        }
    }

    fn settle(&mut self) {
        self.awaiting_lease.extend(self.fx.awaiting_lease.drain(..));
        for shard in core::mem::take(&mut self.fx.dropped) {
            if self.replicas.remove(&shard).is_some() {
                let me = self.me.expect("a node without a store has no replicas");
                self.authority.released(shard, me);
                self.authority.retries.forget(shard);
                self.partners.forget(shard);
                if !self.policy.replica.mutation.is(Mutant::DroppedStillCopies) {
                    self.copying.forget(shard);
                }
                self.take_stock(shard);
                if let Some(at) = self.wakes.remove(&shard) {
                    self.timers.remove(&(at, shard));
                }
            }
        }
    }
}

impl Machine for Node {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        self.now = now;
        self.started = true;
        self.take(inbox, out);
        self.due();
        self.work(out);
        // Confirmations form once, after all that became durable in this turn; what they ask of the store goes with it.
        self.let_copy();
        while !self.touched.is_empty() || !self.fx.log.is_empty() {
            self.end_turn();
            self.work(out);
            self.let_copy();
        }
        self.settle();
        self.look_for_isolation();
        self.tell_authority();
        self.repartner(out);
        if self.authority.reports_at(now) {
            out.net(NetOp::Count);
        }
        self.follow_answers();
        self.fx.frames.drain(..).for_each(|(to, frame)| out.send(to, frame));
        self.fx.closes.drain(..).for_each(|link| out.net(NetOp::Close { link }));
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(Time::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let store = self.store.deadline();
        let timer = Time::sooner(timer, self.copying.deadline());
        let isolation = self.isolation.deadline().map(|at| at + Duration::from_nanos(1));
        Time::sooner(Time::sooner(timer, store), Time::sooner(isolation, self.authority.deadline()))
    }
}

fn context<'a>(
    peers: &'a Peers,
    policy: &'a Policy,
    store: &Store,
    now: Time,
    fx: &'a mut Effects,
) -> (Context<'a>, &'a mut Effects) {
    (Context { now, peers, policy: &policy.replica, room: store.space().room_bytes, may_copy: false }, fx)
}

/// Which shard a message between host and member, or between members, is about.
fn shard_of(message: &Message) -> Option<ShardId> {
    Some(match message {
        Message::Write(m) => m.shard,
        Message::Read(m) => m.shard,
        Message::Trim(m) => m.shard,
        Message::Map(m) => m.shard,
        Message::Replicate(m) => m.shard,
        Message::Replicated(m) => m.shard,
        Message::Committed(m) => m.shard,
        Message::Deposed(m) => m.shard,
        Message::Sync(m) => m.config.shard,
        Message::End(m) => m.shard,
        Message::Incomplete(m) => m.shard,
        Message::Fetch(m) => m.shard,
        Message::Windowed(m) => m.shard,
        Message::WindowEnd(m) => m.shard,
        Message::Adopt(m) => m.shard,
        Message::Synced(m) => m.shard,
        Message::Learn(m) => m.config.shard,
        Message::Learning(m) => m.shard,
        Message::Extent(m) => m.shard,
        Message::Copied(m) => m.shard,
        Message::Finish(m) => m.shard,
        Message::Learned(m) => m.shard,
        Message::Mend(m) => m.shard,
        Message::Mended(m) => m.shard,
        _ => return None,
    })
}
