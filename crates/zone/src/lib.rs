//! The authority of one cluster: who holds each shard, who leads it, who may write to it, and where copies are placed.
//!
//! [`Zone`] is one deterministic machine. Everybody connects to it (nodes, hosts, operators), and it answers and pushes on those links; it opens
//! none itself. It promises:
//!
//! - nothing is told to anybody before it is durable in the metadata store (`base::truth`);
//! - one configuration per epoch, and a primary only from the last configuration that had enough copies (I1, I4; `records.rs` asserts both);
//! - a replica is released only when its shard is whole without it (R13; `mirror.rs`);
//! - a volume that is accepted has its room, on every disk that carries it (I10; `ledger.rs`, `placement.rs`);
//! - a volume is frozen as of one moment or not at all (`points.rs`);
//! - a node that failed takes nothing new before each of its own replicas is settled (R21; `nodes.rs`).
//!
//! It refuses to know: the data path, the bytes of volumes, what lies in a store, and the time of day.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod asks;
mod attach;
mod behind;
mod describe;
mod drain;
mod elections;
mod fills;
mod ledger;
mod mirror;
mod nodes;
mod placement;
mod points;
mod policy;
mod rebuild;
mod records;
mod recovery;
mod resize;
mod shards;
mod slow;
mod survey;
mod ties;
mod touch;
mod volumes;

pub use policy::{Policy, REPORT_EVERY};
pub use rebuild::{LeftOut, Rebuild, Rebuilt};
pub use records::Refused;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use asks::{Ask, Stage};
use attach::Host;
use base::backoff::Backoff;
use base::io::net::{Event, Lane, Link, Op, Peer, Side};
use base::io::{Inbox, Input, Machine, Outbox};
use base::truth::{News, Truth};
use base::{ClusterId, Configuration, HostId, MetaUuid, NodeId, PointId, RequestId, Rng, ShardId, Time, VolumeId};
use ledger::Ledger;
use nodes::{Joining, Node};
use points::Points;
use records::{ClusterRecord, Key, RequestRecord, VolumeRecord};
use shards::Shard;
use wire::{Ahead, Message, ZoneCounters};

/// What the authority is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading its truth; what arrives meanwhile waits.
    Loading,
    /// At work.
    Ready,
    /// It does nothing, and tells operators why.
    Refused(Refused),
}

/// What is done once what it stands on is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// Answer a node's proposals.
    Proposed(u64),
    /// Answer with the volume.
    Show { ticket: u64, volume: VolumeId },
    /// Wait until the host has the volume open, then answer.
    Opening { ticket: u64, volume: VolumeId },
    /// Wait until the primaries know of the new epoch, then answer.
    Fencing { ticket: u64, volume: VolumeId },
    /// Tell a volume's host what it may do at most, then answer with the volume.
    Throttled { ticket: u64, volume: VolumeId, throttle: wire::Throttle },
    /// Wait until the host that has a volume takes it to be so large, then answer with it.
    Resized { ticket: u64, volume: VolumeId, size: u64 },
    /// Tell a host what is attached to it.
    Greet { host: HostId, volume: VolumeId },
    /// Tell a host what is not attached to it any more.
    Dismiss { host: HostId, volume: VolumeId, generation: base::Generation },
    /// Tell everybody where the nodes listen.
    Directory,
    /// What a node held was compared with what is recorded.
    Compared(NodeId),
    /// A node has failed: its peers may be told.
    GaveUp(NodeId),
    /// Have the primaries of a volume hold, to freeze it.
    Freeze { volume: VolumeId, point: PointId },
    /// Answer whoever asked for a point: it is made.
    Frozen { volume: VolumeId, point: PointId },
    /// Have a point dropped everywhere; whoever waits for it is told why.
    Drop { volume: VolumeId, point: PointId, why: alloc::string::String },
    /// Answer with the node.
    Altered { ticket: u64, node: NodeId },
}

/// Events kept while the truth is read. What comes beyond closes its link: the peer comes again.
const EARLY_MAX: usize = 1 << 16;
/// Keys in one write of the metadata store, about; decisions that could wait do, when so many are gathered.
const BATCH_KEYS: usize = 4096;
/// Configurations in one message: far below the largest head.
const CONFIGS_PER_MESSAGE: usize = 256;

/// The authority of one cluster.
pub struct Zone {
    cluster: ClusterId,
    /// The name of this start, and those before it.
    meta: MetaUuid,
    history: ClusterRecord,
    /// A node that knows more than the metadata do; from then on nothing is decided.
    behind: Option<Ahead>,
    counters: ZoneCounters,
    policy: Policy,
    phase: Phase,
    now: Time,
    truth: Truth<Key, Effect>,
    ledger: Ledger,
    nodes: BTreeMap<NodeId, Node>,
    joining: BTreeMap<NodeId, Joining>,
    hosts: BTreeMap<HostId, Host>,
    volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// What of it is durable, and so what anybody may know, while a change of it is being written.
    throttles: BTreeMap<VolumeId, wire::Throttle>,
    /// What was put out of late because it was slow.
    slow_spent: BTreeMap<NodeId, slow::Spent>,
    shards: BTreeMap<ShardId, Shard>,
    points: Points,
    requests: BTreeMap<RequestId, RequestRecord>,
    asks: BTreeMap<u64, Ask>,
    next_ticket: u64,
    early: VecDeque<Event>,
    /// Questions to be dealt with anew, after the truth was read again.
    again: Vec<u64>,
    /// When each shard wants to be looked at.
    due: BTreeSet<(Time, ShardId)>,
    /// Shards that found no place for a learner; woken when that may have changed.
    starving: BTreeSet<ShardId>,
    /// Shards that wait until a node has a turn to learn or to teach. Many do after a great loss, so each is woken only for a turn that it may take.
    queues: BTreeMap<NodeId, BTreeSet<ShardId>>,
    /// When each node's condition may change by time alone.
    checks: BTreeSet<(Time, NodeId)>,
    /// Quarantined nodes of whose shards one changed.
    settling: BTreeSet<NodeId>,
    pushes: BTreeMap<Peer, BTreeSet<ShardId>>,
    directory_to: BTreeSet<Peer>,
    /// Nodes of which it is durable that they failed, and who is to be told which these are.
    given_up: BTreeSet<NodeId>,
    given_up_to: BTreeSet<NodeId>,
    outgoing: Vec<(Peer, Message)>,
    hails: Vec<(Peer, wire::Hail)>,
    closing: BTreeSet<Link>,
    placing: Rng,
    naming: Rng,
    timing: Rng,
}

impl Zone {
    /// An authority for the cluster whose metadata it will be given. It reads them with its first step.
    ///
    /// A policy under which no volume could be made is a broken invariant: whoever reads policies from people checks them first.
    pub fn new(cluster: ClusterId, policy: Policy, rng: Rng) -> Self {
        assert!(policy.min_copies > 0 && policy.target_copies >= policy.min_copies, "copies of a policy: {policy:?}");
        assert!(policy.shard_blocks > 0 && policy.copies_max >= policy.target_copies, "sizes of a policy: {policy:?}");
        let backoff = Backoff::new(policy.retry_base / 10, policy.retry_cap / 10);
        Self {
            cluster,
            meta: MetaUuid(rng.split("meta").u128()),
            history: ClusterRecord { cluster, starts: Vec::new() },
            behind: None,
            counters: ZoneCounters::default(),
            phase: Phase::Loading,
            now: Time::ZERO,
            truth: Truth::new(backoff, rng.split("truth"), policy.mutation),
            ledger: Ledger::default(),
            nodes: BTreeMap::new(),
            joining: BTreeMap::new(),
            hosts: BTreeMap::new(),
            volumes: BTreeMap::new(),
            throttles: BTreeMap::new(),
            slow_spent: BTreeMap::new(),
            shards: BTreeMap::new(),
            points: Points::default(),
            requests: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_ticket: 1,
            early: VecDeque::new(),
            again: Vec::new(),
            due: BTreeSet::new(),
            starving: BTreeSet::new(),
            queues: BTreeMap::new(),
            checks: BTreeSet::new(),
            settling: BTreeSet::new(),
            pushes: BTreeMap::new(),
            directory_to: BTreeSet::new(),
            given_up: BTreeSet::new(),
            given_up_to: BTreeSet::new(),
            outgoing: Vec::new(),
            hails: Vec::new(),
            closing: BTreeSet::new(),
            placing: rng.split("placing"),
            naming: rng.split("naming"),
            timing: rng.split("timing"),
            policy,
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The configurations in force, in order: what is durable, and so what anybody may have been told.
    pub fn configurations(&self) -> impl Iterator<Item = &Configuration> {
        self.shards.values().filter_map(|shard| shard.durable.as_ref())
    }

    /// The configurations as they are to be, in order: some are not durable yet, and nobody has been told of those.
    pub fn intended(&self) -> impl Iterator<Item = &Configuration> {
        self.shards.values().map(|shard| &shard.record.config)
    }

    /// The nodes that it knows, in order, as people see them.
    pub fn conditions(&self) -> impl Iterator<Item = (NodeId, &wire::NodeCondition)> {
        self.nodes.iter().map(|(id, node)| (*id, &node.condition))
    }

    fn event(&mut self, event: Event) {
        let link = match &event {
            Event::Frame { from, .. } => *from,
            Event::Up { link } | Event::Down { link, .. } => *link,
            // The authority watches nobody; liveness is the bytes of the links it accepted.
            Event::Heard { .. } | Event::Silent { .. } | Event::Counted(_) => return,
        };
        if link.side != Side::Accepted || link.lane != Lane::Data {
            return;
        }
        match event {
            // A new life of the link replaces the old, with or without a word about its end.
            Event::Up { .. } => {
                self.link_ended(link.peer);
                if let Peer::Node(node) = link.peer {
                    self.node_up(node);
                }
            }
            Event::Down { .. } => self.link_ended(link.peer),
            Event::Frame { frame, .. } => match Message::decode(&frame) {
                Ok(message) => self.message(link, message),
                Err(_) => self.close(link),
            },
            Event::Heard { .. } | Event::Silent { .. } | Event::Counted(_) => {}
        }
    }

    fn message(&mut self, link: Link, message: Message) {
        let understood = match link.peer {
            // Nothing that nodes and hosts say can change metadata that are not to be changed.
            Peer::Node(_) | Peer::Host(_) if self.behind.is_some() && !matches!(message, Message::Register(_)) => true,
            Peer::Node(node) => self.node_message(node, message),
            Peer::Host(host) => self.host_message(host, message),
            Peer::Operator(_) => self.operator_message(link.peer, message),
            Peer::Region(_) => match message {
                Message::Command(command) => self.command(link.peer, command),
                _ => false,
            },
            Peer::Zone => false,
        };
        // Somebody who says what is not his to say is not talked to.
        if !understood {
            self.close(link);
        }
    }

    fn operator_message(&mut self, peer: Peer, message: Message) -> bool {
        let known = asks::is_question(&message);
        if known {
            self.ask(peer, None, message);
        }
        known
    }

    /// Closes a link, as if it had gone by itself.
    fn close(&mut self, link: Link) {
        self.closing.insert(link);
        self.link_ended(link.peer);
    }

    /// What was asked on this life of the link is not answered on the next.
    fn link_ended(&mut self, peer: Peer) {
        self.asks.retain(|_, ask| ask.peer != peer);
        self.outgoing.retain(|(to, _)| *to != peer);
        self.hails.retain(|(to, _)| *to != peer);
        self.pushes.remove(&peer);
        self.directory_to.remove(&peer);
        match peer {
            Peer::Node(node) => {
                self.given_up_to.remove(&node);
                self.node_down(node);
            }
            Peer::Host(host) => self.host_down(host),
            Peer::Operator(_) | Peer::Region(_) | Peer::Zone => {}
        }
    }

    fn send(&mut self, peer: Peer, message: impl Into<Message>) {
        self.outgoing.push((peer, message.into()));
    }

    /// Does `effect` when all that was decided so far is durable: at once, when it is.
    fn after(&mut self, effect: Effect) {
        if let Some(effect) = self.truth.after(effect) {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Proposed(ticket) => self.answer_proposals(ticket),
            Effect::Show { ticket, volume } => self.show_volume(ticket, volume),
            Effect::Opening { ticket, volume } => self.await_open(ticket, volume),
            Effect::Fencing { ticket, volume } => self.await_fence(ticket, volume),
            Effect::Throttled { ticket, volume, throttle } => self.throttled(ticket, volume, throttle),
            Effect::Resized { ticket, volume, size } => self.await_grown(ticket, volume, size),
            Effect::Freeze { volume, point } => self.hold(volume, point),
            Effect::Frozen { volume, point } => self.frozen(volume, point),
            Effect::Drop { volume, point, why } => self.drop_point(volume, point, &why),
            Effect::Greet { host, volume } => self.greet(host, volume),
            Effect::Dismiss { host, volume, generation } => {
                self.send(Peer::Host(host), wire::Detached { volume, generation });
            }
            Effect::Directory => self.directory_to_all(),
            Effect::Compared(node) => self.compared(node),
            Effect::GaveUp(node) => self.gave_up(node),
            Effect::Altered { ticket, node } => self.altered(ticket, node),
        }
    }

    fn news(&mut self, news: News<Key, Effect>) {
        match news {
            News::Nothing => {}
            News::Lost => {
                self.phase = Phase::Loading;
                self.let_go();
                self.truth.reload(self.now);
                self.asks.values_mut().for_each(|ask| ask.stage = Stage::Fresh);
            }
            News::Loaded(pairs) => match self.load(pairs) {
                Ok(()) => self.begin(),
                Err(why) => self.phase = Phase::Refused(why),
            },
            News::Durable { keys, revision, effects } => {
                if self.phase == Phase::Loading && keys.contains(&Key::Cluster) {
                    self.begin();
                }
                let shards = keys.iter().filter_map(|k| if let Key::Shard(id) = k { Some(*id) } else { None });
                shards.for_each(|id| self.shard_is_durable(id, revision));
                self.points.are_durable();
                effects.into_iter().for_each(|effect| self.effect(effect));
            }
        }
    }

    /// From now on there is a truth to act on. Everybody who is already here is told all he must know, since what he was to be told may have been
    /// forgotten with the last truth.
    fn begin(&mut self) {
        if self.history.last().is_none_or(|last| last.meta != self.meta) {
            // Before anything else, so that nothing is ever told by a start that these metadata do not remember. New metadata become this cluster's by it.
            self.history.begin(self.meta, self.truth.at());
            self.truth.touch(Key::Cluster);
            return;
        }
        self.phase = Phase::Ready;
        self.nodes_again();
        self.hosts_again();
        self.points_again();
        self.again = self.asks.keys().copied().collect();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Meta(done) => {
                let news = self.truth.done(self.now, done);
                self.news(news);
            }
            Input::Net(event) => match &self.phase {
                Phase::Ready => self.event(event),
                Phase::Loading if self.early.len() < EARLY_MAX => self.early.push_back(event),
                Phase::Loading => {
                    if let Event::Frame { from, .. } = event {
                        self.closing.insert(from);
                    }
                }
                Phase::Refused(why) => {
                    let text = alloc::format!("the zone's authority does not serve: {why}");
                    let failed = wire::Failed { code: wire::ErrorCode::Unavailable, text };
                    if let Event::Frame { from, frame } = event {
                        match (from.peer, Message::decode(&frame)) {
                            (Peer::Operator(_), _) => self.send(from.peer, failed),
                            (Peer::Region(_), Ok(Message::Command(command))) => {
                                let tag = Some((command.ticket, self.now));
                                self.send(from.peer, asks::answer_to(tag, failed.into()));
                            }
                            _ => {}
                        }
                    }
                }
            },
            // An authority has no disk, so nothing of the kind can be an answer.
            Input::Disk(_) => {}
        }
        while self.phase == Phase::Ready
            && let Some(event) = self.early.pop_front()
        {
            self.event(event);
        }
        // Only now, when it is known who is there.
        for ticket in core::mem::take(&mut self.again) {
            self.handle(ticket);
        }
    }

    fn flush(&mut self, out: &mut Outbox) {
        if self.behind.is_some() {
            self.directory_to.clear();
            self.given_up_to.clear();
            self.pushes.clear();
        }
        for link in core::mem::take(&mut self.closing) {
            out.net(Op::Close { link });
        }
        // First of all, so that a node knows whom it hears.
        for (peer, hail) in self.hails.drain(..) {
            out.send(Link::from(peer), Message::from(hail).frame());
        }
        for peer in core::mem::take(&mut self.directory_to) {
            let nodes = self.nodes.values().map(|node| node.record.entry.clone()).collect();
            out.send(Link::from(peer), Message::from(wire::Directory { nodes }).frame());
        }
        for node in core::mem::take(&mut self.given_up_to) {
            let nodes = self.given_up.iter().copied().collect();
            out.send(Link::from(Peer::Node(node)), Message::from(wire::GivenUp { nodes }).frame());
        }
        for (peer, ids) in core::mem::take(&mut self.pushes) {
            let configs: Vec<Configuration> =
                ids.iter().filter_map(|id| self.shards.get(id)?.durable.clone()).collect();
            let mut parts: Vec<&[Configuration]> = configs.chunks(CONFIGS_PER_MESSAGE).collect();
            if ids.is_empty() {
                parts.push(&[]);
            }
            for part in parts {
                let (cluster, revision) = (self.cluster, self.truth.at());
                let message = Message::from(wire::Configure { cluster, revision, configs: part.to_vec() });
                out.send(Link::from(peer), message.frame());
            }
        }
        // Last, so that a release finds its node knowing the configuration that it stands on.
        for (peer, message) in self.outgoing.drain(..) {
            out.send(Link::from(peer), message.frame());
        }
    }
}

impl Machine for Zone {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        self.now = self.now.max(now);
        inbox.drain(..).for_each(|input| self.take(input));
        if self.phase == Phase::Ready {
            self.check_nodes();
            self.settle_nodes();
            self.check_asks();
            self.tend_due();
            self.check_points();
        }
        for op in self.truth.reads(self.now) {
            out.meta(op);
        }
        let value = |key: &Key| match *key {
            Key::Cluster => Some(records::encode(&self.history)),
            // Only nodes are ever forgotten.
            Key::Node(id) => self.nodes.get(&id).map(|node| records::encode(&node.record)),
            Key::Volume(id) => Some(records::encode(&self.volumes[&id])),
            Key::Shard(id) => Some(records::encode(&self.shards[&id].record)),
            Key::Request(id) => Some(records::encode(&self.requests[&id])),
        };
        // What was decided on metadata that turned out to be old is not written.
        if self.behind.is_none()
            && let Some(op) = self.truth.write(value)
        {
            self.remember_written();
            out.meta(op);
        }
        self.flush(out);
    }

    fn deadline(&self) -> Option<Time> {
        let mut sooner = self.truth.deadline();
        if self.phase == Phase::Ready {
            sooner = Time::sooner(sooner, self.checks.first().map(|(at, _)| *at));
            sooner = Time::sooner(sooner, self.asks_deadline());
            // When a full batch waits for the store, its answer is what brings the next step.
            if self.behind.is_none() && self.truth.waiting() < BATCH_KEYS {
                sooner = Time::sooner(sooner, self.due.first().map(|(at, _)| *at));
            }
            if self.behind.is_none() {
                sooner = Time::sooner(sooner, self.points.deadline());
            }
        }
        sooner
    }
}
