//! A stage for stories: a host, and a script that plays the authority and the nodes by reading and writing wire messages.
#![allow(dead_code)] // Each test file uses its own part of the stage.

use base::io::net::{Down, Event, Link, Network, Op as NetOp, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::time::Duration;
use base::*;
use host::{Host, Op, Policy, Reply, Request, Setup};
use wire::{Address, Attached, Directory, Done, Message, NodeEntry, Refused, Throttle, VolumeInfo};

pub const VOLUME: VolumeId = VolumeId(7);
pub const BLOCK: u64 = BLOCK_BYTES as u64;

pub fn shard(index: u32) -> ShardId {
    ShardId { volume: VOLUME, index }
}

pub fn member(node: u64) -> Member {
    Member { node: NodeId(node), store: StoreUuid(u128::from(node)) }
}

/// A configuration of the volume's shard with members 1, 2 and 3.
pub fn config(index: u32, epoch: u64, primary: u64) -> Configuration {
    Configuration {
        shard: shard(index),
        epoch: Epoch(epoch),
        revision: Revision(epoch * 10),
        blocks: 1024,
        layout: base::Layout::default(),
        primary: NodeId(primary),
        members: vec![member(1), member(2), member(3)],
        anchors: vec![],
        learner: None,
        holders: vec![],
        target_copies: 3,
        min_copies: 2,
        generation: Generation(4),
        client: Some(HostId(1)),
        fence: vec![],
        newborn: false,
        deleted: false,
    }
}

/// What the host sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub to: Peer,
    pub message: Message,
    pub data: Vec<Payload>,
}

impl Sent {
    pub fn bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|p| p.to_vec()).collect()
    }

    /// The number of an I/O.
    pub fn io(&self) -> u64 {
        match &self.message {
            Message::Write(m) => m.io,
            Message::Read(m) => m.io,
            Message::Trim(m) => m.io,
            Message::Map(m) => m.io,
            other => panic!("{} has no io", other.name()),
        }
    }

    pub fn epoch(&self) -> u64 {
        match &self.message {
            Message::Write(m) => m.epoch.0,
            Message::Read(m) => m.epoch.0,
            Message::Trim(m) => m.epoch.0,
            Message::Map(m) => m.epoch.0,
            other => panic!("{} has no epoch here", other.name()),
        }
    }

    pub fn is_io(&self) -> bool {
        matches!(self.message, Message::Write(_) | Message::Read(_) | Message::Trim(_) | Message::Map(_))
    }
}

pub struct Stage {
    pub host: Host,
    pub now: Time,
    pub asked: Vec<NetOp>,
    inbox: Inbox,
    out: Outbox,
    next_tag: u64,
}

impl Stage {
    /// A host that has registered with the authority and knows nodes 1 to 3.
    pub fn new() -> Self {
        Self::with(Policy::default())
    }

    pub fn with(policy: Policy) -> Self {
        let mut stage = Self::alone(policy);
        stage.meet();
        stage
    }

    /// A host that has not met the authority yet.
    pub fn unheard() -> Self {
        Self::alone(Policy::default())
    }

    fn alone(policy: Policy) -> Self {
        let setup = Setup { host: HostId(1), incarnation: Incarnation(1), socket: "seawall.sock".into() };
        let mut stage = Self {
            host: Host::new(setup, policy, Rng::new(1)),
            now: Time::ZERO + Duration::from_secs(1),
            asked: vec![],
            inbox: Inbox::new(),
            out: Outbox::default(),
            next_tag: 1,
        };
        assert!(stage.step().is_empty());
        stage
    }

    /// The authority is there, and says who the nodes are.
    pub fn meet(&mut self) {
        self.up(Peer::Zone);
        let sent = self.step();
        assert!(matches!(&sent[0].message, Message::HostRegister(m) if m.socket == "seawall.sock"));
        let entry = |n: u64| {
            let at = |port: u64| Address(format!("127.0.0.1:{}", port + n).parse().unwrap());
            NodeEntry { node: NodeId(n), primary: at(7000), replication: at(8000) }
        };
        self.zone_says(Directory { nodes: (1..=3).map(entry).collect() });
        self.step();
    }

    /// With a volume of one shard of 1,024 blocks, led by node 1 in epoch 5, and a link to it.
    pub fn attached() -> Self {
        Self::attached_with(Policy::default())
    }

    pub fn attached_with(policy: Policy) -> Self {
        let mut stage = Self::with(policy);
        stage.attach(1024, 1024, vec![config(0, 5, 1)]);
        stage.step();
        stage.up(Peer::Node(NodeId(1)));
        stage.step();
        stage
    }

    pub fn attach(&mut self, blocks: u64, shard_blocks: u32, configs: Vec<Configuration>) {
        let volume = VolumeInfo { volume: VOLUME, size: blocks * BLOCK, shard_blocks };
        self.zone_says(Attached {
            volume,
            generation: Generation(4),
            read_only: false,
            throttle: Throttle::default(),
            configs,
        });
    }

    fn event(&mut self, event: Event) {
        self.inbox.push_back(Input::Net(event));
    }

    pub fn up(&mut self, peer: Peer) {
        self.event(Event::Up { link: Link::to(peer) });
    }

    pub fn down(&mut self, peer: Peer, why: Down) {
        self.event(Event::Down { link: Link::to(peer), why });
    }

    pub fn silent(&mut self, node: u64) {
        let since = self.now;
        self.event(Event::Silent { peer: Peer::Node(NodeId(node)), network: Network::Primary, since });
    }

    pub fn heard(&mut self, node: u64) {
        let asked = self.now;
        self.event(Event::Heard { peer: Peer::Node(NodeId(node)), network: Network::Primary, ordered: true, asked });
    }

    pub fn says(&mut self, peer: Peer, message: impl Into<Message>, data: Vec<Payload>) {
        self.event(Event::Frame { from: Link::to(peer), frame: message.into().frame_with(data) });
    }

    pub fn zone_says(&mut self, message: impl Into<Message>) {
        self.says(Peer::Zone, message, vec![]);
    }

    pub fn raw(&mut self, event: Event) {
        self.event(event);
    }

    /// The node it went to says that it is done, in the epoch it was sent under.
    pub fn done(&mut self, sent: &Sent, data: Vec<u8>) {
        let data = if data.is_empty() { vec![] } else { vec![Payload::from(data)] };
        self.says(sent.to, Done { shard: shard_of(sent), epoch: Epoch(sent.epoch()), io: sent.io() }, data);
    }

    pub fn refused(&mut self, sent: &Sent, why: wire::Refusal) {
        self.says(sent.to, Refused { shard: shard_of(sent), io: sent.io(), why }, vec![]);
    }

    /// Hands the host a request and returns its tag.
    pub fn submit(&mut self, op: Op) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.host.submit(Request { volume: VOLUME, tag, op }).expect("the host has room");
        tag
    }

    /// One step; what it sent.
    pub fn step(&mut self) -> Vec<Sent> {
        self.host.step(self.now, &mut self.inbox, &mut self.out);
        assert!(self.inbox.is_empty());
        let mut sent = vec![];
        for output in self.out.drain() {
            match output {
                Output::Net(NetOp::Send { to, frame }) => {
                    assert_eq!(to, Link::to(to.peer));
                    sent.push(Sent { to: to.peer, message: Message::decode(&frame).unwrap(), data: frame.data });
                }
                Output::Net(op) => self.asked.push(op),
                other => panic!("{other:?}"),
            }
        }
        sent
    }

    /// The I/O among what one step sent.
    pub fn ios(&mut self) -> Vec<Sent> {
        self.step().into_iter().filter(Sent::is_io).collect()
    }

    /// Lets time pass, stepping when the host wants to be; what it sent, with when.
    pub fn pass(&mut self, time: Duration) -> Vec<(Time, Sent)> {
        let end = self.now + time;
        let mut sent = vec![];
        while let Some(at) = self.host.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            sent.extend(self.step().into_iter().map(|s| (self.now, s)));
        }
        self.now = end;
        sent
    }

    pub fn replies(&mut self) -> Vec<Reply> {
        self.host.replies().collect()
    }

    /// The only reply there is.
    pub fn reply(&mut self) -> Reply {
        let replies = self.replies();
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.into_iter().next().unwrap()
    }
}

pub fn shard_of(sent: &Sent) -> ShardId {
    match &sent.message {
        Message::Write(m) => m.shard,
        Message::Read(m) => m.shard,
        Message::Trim(m) => m.shard,
        Message::Map(m) => m.shard,
        Message::Locate(m) => m.shard,
        other => panic!("{} has no shard here", other.name()),
    }
}

pub fn ok(tag: u64) -> Reply {
    Reply { tag, result: Ok(vec![]) }
}

pub fn write(block: u64, blocks: u64, fill: u8) -> Op {
    Op::Write { offset: block * BLOCK, data: Payload::from(vec![fill; (blocks * BLOCK) as usize]) }
}
