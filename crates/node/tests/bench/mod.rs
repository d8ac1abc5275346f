//! One node over a real store on a disk in memory, with the test as authority, host and peers.
#![allow(dead_code, unused_imports)] // Each test binary uses its own part of this.

pub use base::io::disk::{Done, Op as DiskOp};
pub use base::io::net::{Down, Event, Frame, Link, Network, Op as NetOp, Peer};
pub use base::io::{Inbox, Input, Machine, Outbox, Output};
pub use base::log::Standing;
pub use base::mutant::Mutation;
pub use base::{
    BLOCK_BYTES, ClusterId, Configuration, Epoch, Generation, HostId, Incarnation, Member, NodeId, Payload,
};
pub use base::{Revision, Rng, Sequence, ShardId, StoreUuid, Time, VolumeId};
pub use node::{Node, Policy, Setup};
pub use std::cell::Cell;
pub use std::time::Duration;
pub use store::{Blank, Geometry, Identity, Store};
pub use wire::{Address, Message, NodeEntry, Refusal};

pub const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };
pub const HOST: HostId = HostId(9);
pub const CLUSTER: ClusterId = ClusterId(3);
pub const CAPACITY: u64 = 4 << 20;

pub struct Bench {
    pub node: Node,
    pub disk: Vec<u8>,
    pub now: Time,
    pub sent: Vec<(Link, Message, Option<Payload>)>,
    pub ops: Vec<NetOp>,
}

pub fn member() -> Member {
    Member { node: NodeId(1), store: StoreUuid(77) }
}

pub fn setup(incarnation: u64) -> Setup {
    let at = |port| Address(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    Setup {
        node: NodeId(1),
        cluster: CLUSTER,
        incarnation: Incarnation(incarnation),
        entry: NodeEntry { node: NodeId(1), primary: at(1), replication: at(2) },
        rack: "r1".into(),
    }
}

pub fn alone(epoch: u64) -> Configuration {
    Configuration {
        shard: SHARD,
        epoch: Epoch(epoch),
        revision: Revision(epoch),
        blocks: 64,
        layout: base::Layout::default(),
        primary: NodeId(1),
        members: vec![member()],
        anchors: vec![member()],
        learner: None,
        holders: vec![],
        target_copies: 1,
        min_copies: 1,
        generation: Generation(1),
        client: Some(HOST),
        fence: vec![],
        newborn: epoch == 1,
        deleted: false,
    }
}

thread_local! {
    /// What is wrong with nodes that begin from now on: nothing, unless it is asked which story shows what.
    pub static MUTATION: Cell<Mutation> = const { Cell::new(Mutation::NONE) };
}

impl Bench {
    pub fn over(disk: Vec<u8>, incarnation: u64) -> Self {
        Self::with(disk, incarnation, Policy::default())
    }

    pub fn with(disk: Vec<u8>, incarnation: u64, policy: Policy) -> Self {
        let identity = Identity { node: NodeId(1), cluster: CLUSTER };
        let blank = Blank::Format { uuid: StoreUuid(77) };
        let store = Store::new(identity, Geometry::tiny(disk.len() as u64), blank, store::Policy::default());
        let mutation = MUTATION.get();
        let replicas = replica::Policy { room_slack_bytes: 0, mutation, ..replica::Policy::default() };
        let policy = Policy { replica: replicas, ..policy };
        let node = Node::new(setup(incarnation), store, policy, Rng::new(1));
        let mut bench = Self { node, disk, now: Time(1), sent: vec![], ops: vec![] };
        bench.give(vec![]);
        bench
    }

    /// Ready, and in touch with the authority.
    pub fn new() -> Self {
        let mut bench = Self::over(vec![0; CAPACITY as usize], 1);
        assert!(bench.node.is_ready());
        bench.up(Link::to(Peer::Zone));
        bench
    }

    pub fn up(&mut self, link: Link) {
        self.give(vec![Input::Net(Event::Up { link })]);
    }

    pub fn give(&mut self, inputs: Vec<Input>) {
        let mut inbox: Inbox = inputs.into();
        let mut out = Outbox::default();
        loop {
            self.node.step(self.now, &mut inbox, &mut out);
            assert!(inbox.is_empty() && self.node.holdings_are_right());
            for op in std::mem::take(&mut out).drain() {
                match op {
                    Output::Disk(op) => inbox.push_back(Input::Disk(self.obey(op))),
                    Output::Net(NetOp::Send { to, mut frame }) => {
                        let message = Message::decode(&frame).unwrap();
                        let joined: Vec<u8> = frame.data.drain(..).flat_map(|p| p.to_vec()).collect();
                        self.sent.push((to, message, (!joined.is_empty()).then(|| joined.into())));
                    }
                    Output::Net(op) => self.ops.push(op),
                    Output::Meta(_) => panic!("a node has no metadata store"),
                }
            }
            if inbox.is_empty() {
                return;
            }
        }
    }

    pub fn obey(&mut self, op: DiskOp) -> Done {
        let (id, bytes) = match op {
            DiskOp::Read { id, at, len } => (id, self.disk[at as usize..at as usize + len as usize].to_vec()),
            DiskOp::Write { id, at, parts, .. } => {
                let mut at = at as usize;
                for part in parts {
                    self.disk[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                }
                (id, vec![])
            }
            DiskOp::Zero { id, at, len } => {
                self.disk[at as usize..(at + len) as usize].fill(0);
                (id, vec![])
            }
            DiskOp::Flush { id } => (id, vec![]),
        };
        Done { id, result: Ok(bytes.into()) }
    }

    pub fn tell(&mut self, from: Link, message: impl Into<Message>, data: Vec<Payload>) {
        let frame = message.into().frame_with(data);
        self.give(vec![Input::Net(Event::Frame { from, frame })]);
    }

    pub fn zone(&mut self, message: impl Into<Message>) {
        self.tell(Link::to(Peer::Zone), message, vec![]);
    }

    pub fn configure(&mut self, config: Configuration) {
        self.zone(wire::Configure { cluster: CLUSTER, revision: config.revision, configs: vec![config] });
    }

    pub fn write(&mut self, epoch: u64, block: u32, byte: u8) {
        let m = wire::Write { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io: 1, block };
        self.tell(Link::from(Peer::Host(HOST)), m, vec![vec![byte; BLOCK_BYTES].into()]);
    }

    pub fn ask_read(&mut self, epoch: u64, block: u32) {
        let m = wire::Read { shard: SHARD, epoch: Epoch(epoch), generation: Generation(1), io: 2, block, count: 1 };
        self.tell(Link::from(Peer::Host(HOST)), m, vec![]);
    }

    pub fn read(&mut self, epoch: u64, block: u32) -> Option<u8> {
        self.ask_read(epoch, block);
        match self.sent.pop() {
            Some((_, Message::Done(d), Some(data))) if d.io == 2 => Some(data[0]),
            _ => None,
        }
    }

    pub fn last(&self) -> &Message {
        &self.sent.last().unwrap().1
    }

    pub fn count(&self, name: &str) -> usize {
        self.sent.iter().filter(|(_, m, _)| m.name() == name).count()
    }
}
