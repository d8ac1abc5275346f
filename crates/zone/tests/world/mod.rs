//! A world of one authority: its metadata store, and nodes, hosts and operators that speak to it by the wire's messages. Time moves only by
//! [`World::pass`]. Everything that the authority says is checked on its way out.
#![allow(dead_code, unused_imports)] // Each test binary uses its own part of this.

pub mod frozen;
mod hearing;
mod meta;

pub use meta::{Fault, Meta};

use base::io::net::{self, Down, Event, Link, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::log::Standing;
use base::mutant::Mutation;
use base::time::Duration;
use base::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use wire::*;
use zone::{Phase, Policy, Zone};

pub const GIB: u64 = 1 << 30;

/// A node that obeys.
#[derive(Clone)]
pub struct Node {
    pub member: Member,
    pub incarnation: u64,
    pub rack: String,
    pub capacity: u64,
    /// Its link is up.
    pub up: bool,
    /// It answers by itself: reports what it leads as serving, drops what may go.
    pub willing: bool,
    /// It is stopped: its link is up and nothing comes from it.
    pub frozen: bool,
    pub configs: BTreeMap<ShardId, Configuration>,
    pub replicas: BTreeSet<ShardId>,
    pub outcomes: Vec<ProposalOutcome>,
    pub directory: Vec<NodeId>,
    pub batch: u64,
    /// The batch of wishes that is out.
    pub asked: Option<Vec<Proposal>>,
    /// What the authority told it to say back.
    pub echo: Option<Echo>,
    /// How many configurations each message had in which it was told of its shards.
    pub told: Vec<usize>,
    /// It hears nothing, and is heard.
    pub deaf: bool,
    /// What it says of its replicas.
    pub standing: Standing,
    /// Those that were damaged, and have not been filled since: it says that they are suspect.
    pub partial: BTreeSet<ShardId>,
    /// What it leads: whoever starts again, or lost its link, leads nothing of an older epoch any more.
    pub leads: BTreeMap<ShardId, Epoch>,
    /// It was told what concerns it, be that nothing, since it registered.
    pub is_told: bool,
    /// What it was told most.
    pub seen: Seen,
    /// What it says of its touch with others.
    pub touch: Touch,
    /// Which nodes it was last told have failed.
    pub given_up: Vec<NodeId>,
    /// It found that the authority it is connected to was told less.
    pub refuses: bool,
    /// What it says of its disk.
    pub disk: DiskReport,
    /// What it holds for, and which points its shards have.
    pub holds: BTreeMap<ShardId, PointId>,
    pub points: BTreeSet<(ShardId, PointId)>,
    /// It does not answer this step.
    pub mute: Option<PointStep>,
    /// It refuses this step, and why.
    pub declines: Option<(PointStep, PointRefusal)>,
    /// What it was ordered, in order.
    pub orders: Vec<PointOrder>,
}

#[derive(Clone, Default)]
pub struct Host {
    pub incarnation: u64,
    pub up: bool,
    pub willing: bool,
    pub attached: BTreeMap<VolumeId, Generation>,
    pub read_only: BTreeMap<VolumeId, bool>,
    pub throttles: BTreeMap<VolumeId, Throttle>,
    pub sizes: BTreeMap<VolumeId, u64>,
    pub configs: BTreeMap<ShardId, Configuration>,
    pub detached: Vec<(VolumeId, Generation)>,
}

pub struct World {
    pub zone: Zone,
    pub policy: Policy,
    pub now: Time,
    pub meta: Meta,
    pub inbox: Inbox,
    pub nodes: BTreeMap<NodeId, Node>,
    pub hosts: BTreeMap<HostId, Host>,
    /// What operators were answered, by their number.
    pub answers: BTreeMap<u64, Vec<Message>>,
    /// What a process of the region was answered, by its ticket.
    pub outcomes: BTreeMap<u64, Message>,
    pub released: Vec<(ShardId, Member)>,
    pub closed: Vec<Link>,
    /// Who was told that a later run of it has registered, and which.
    pub overtaken: Vec<(Peer, Incarnation)>,
    next_operator: u64,
    report_at: Time,
    /// Nodes whose links are closed on them open them again.
    pub comes_again: bool,
    /// I1: what was ever said of an epoch.
    said: BTreeMap<(ShardId, Epoch), Configuration>,
    /// Rule 9: who led each shard since it was attached, as far as anybody was told.
    served: BTreeMap<ShardId, (Generation, BTreeSet<NodeId>)>,
    /// Who learned each shard when anybody was told of it last.
    learns: BTreeMap<ShardId, Member>,
    seed: u64,
}

pub const CLUSTER: ClusterId = ClusterId(0xc1);

pub fn node_id(n: u64) -> NodeId {
    NodeId(n)
}

fn entry(node: NodeId) -> NodeEntry {
    let at = |port: u64| Address(format!("127.0.0.1:{}", port + node.0).parse().unwrap());
    NodeEntry { node, primary: at(7000), replication: at(8000) }
}

thread_local! {
    /// What is wrong with authorities that begin from now on: nothing, unless it is asked which story shows what.
    pub static MUTATION: Cell<Mutation> = const { Cell::new(Mutation::NONE) };
}

impl World {
    /// Nodes 1 to `nodes`, each in a rack of its own, of 100 GiB each; all up and registered.
    pub fn new(nodes: u64) -> Self {
        Self::with(nodes, Policy::default(), 1)
    }

    pub fn with(nodes: u64, mut policy: Policy, seed: u64) -> Self {
        if policy.mutation == Mutation::NONE {
            policy.mutation = MUTATION.get();
        }
        let mut world = Self {
            zone: Zone::new(CLUSTER, policy.clone(), Rng::new(seed)),
            policy,
            now: Time(1_000_000_000),
            meta: Meta::default(),
            inbox: Inbox::new(),
            nodes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            answers: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            released: Vec::new(),
            closed: Vec::new(),
            overtaken: Vec::new(),
            next_operator: 1,
            report_at: Time(2_000_000_000),
            comes_again: false,
            said: BTreeMap::new(),
            served: BTreeMap::new(),
            learns: BTreeMap::new(),
            seed,
        };
        for n in 1..=nodes {
            world.add_node(n, &format!("r{n}"), 100 * GIB);
        }
        world.run();
        world
    }

    pub fn add_node(&mut self, n: u64, rack: &str, capacity: u64) {
        let node = NodeId(n);
        let fresh = Node {
            member: Member { node, store: StoreUuid(1000 + u128::from(n)) },
            incarnation: 1,
            rack: rack.into(),
            capacity,
            up: false,
            willing: true,
            frozen: false,
            configs: BTreeMap::new(),
            replicas: BTreeSet::new(),
            outcomes: Vec::new(),
            directory: Vec::new(),
            batch: 0,
            asked: None,
            echo: None,
            told: vec![],
            deaf: false,
            standing: Standing::Complete,
            partial: BTreeSet::new(),
            leads: BTreeMap::new(),
            is_told: false,
            seen: Seen::default(),
            touch: Touch::default(),
            given_up: Vec::new(),
            refuses: false,
            disk: DiskReport::default(),
            holds: BTreeMap::new(),
            points: BTreeSet::new(),
            mute: None,
            declines: None,
            orders: Vec::new(),
        };
        self.nodes.insert(node, fresh);
        self.connect(node);
    }

    pub fn add_host(&mut self, id: u64) -> HostId {
        let host = HostId(id);
        self.hosts.insert(host, Host { incarnation: 1, willing: true, ..Host::default() });
        self.connect_host(host);
        self.run();
        host
    }

    // ---- What people and machines do. ------------------------------------------------------------------------------

    pub fn event(&mut self, event: Event) {
        self.inbox.push_back(Input::Net(event));
    }

    pub fn say(&mut self, peer: Peer, message: impl Into<Message>) {
        self.event(Event::Frame { from: Link::from(peer), frame: message.into().frame() });
    }

    pub fn up(&mut self, peer: Peer) {
        self.event(Event::Up { link: Link::from(peer) });
    }

    pub fn down(&mut self, peer: Peer) {
        self.event(Event::Down { link: Link::from(peer), why: Down::Reset });
    }

    /// Who a node is, and what it holds.
    pub fn register(&self, id: NodeId) -> Register {
        let node = &self.nodes[&id];
        let held = |shard: &ShardId| {
            let config = node.configs.get(shard);
            let (epoch, revision) = config.map_or((Epoch(0), Revision(0)), |c| (c.epoch, c.revision));
            let standing = if node.partial.contains(shard) { Standing::Suspect } else { node.standing };
            Held { shard: *shard, promised: epoch, epoch, revision, standing, end: Sequence(0) }
        };
        let space = Space { capacity: node.capacity, room: node.capacity, ..Space::default() };
        let info = NodeInfo {
            entry: entry(id),
            store: node.member.store,
            incarnation: Incarnation(node.incarnation),
            rack: node.rack.clone(),
            space,
        };
        Register { node: info, seen: node.seen, held: node.replicas.iter().map(held).collect(), last: true }
    }

    pub fn connect(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        (node.up, node.frozen, node.refuses) = (true, false, false);
        (node.asked, node.echo, node.is_told) = (None, None, false);
        node.leads.clear();
        let register = self.register(id);
        self.up(Peer::Node(id));
        self.say(Peer::Node(id), register);
    }

    /// Its process dies.
    pub fn kill(&mut self, n: u64) {
        self.nodes.get_mut(&NodeId(n)).unwrap().up = false;
        self.down(Peer::Node(NodeId(n)));
        self.run();
    }

    /// Its process starts again, on the same disk.
    pub fn restart(&mut self, n: u64) {
        let node = self.nodes.get_mut(&NodeId(n)).unwrap();
        (node.incarnation, node.touch) = (node.incarnation + 1, Touch::default());
        self.connect(NodeId(n));
        self.run();
    }

    /// Its process starts again, on an empty disk.
    pub fn restart_with_new_disk(&mut self, n: u64) {
        let node = self.nodes.get_mut(&NodeId(n)).unwrap();
        node.member.store.0 += 100_000;
        node.replicas.clear();
        node.configs.clear();
        node.partial.clear();
        self.restart(n);
    }

    /// The authority dies and another starts on what is in the metadata store. Everybody connects to it again.
    pub fn restart_zone(&mut self) {
        self.seed += 1;
        self.zone = Zone::new(CLUSTER, self.policy.clone(), Rng::new(self.seed));
        self.inbox.clear();
        self.meta.waiting.clear();
        let nodes: Vec<NodeId> = self.nodes.values().filter(|n| n.up).map(|n| n.member.node).collect();
        nodes.into_iter().for_each(|id| self.connect(id));
        let hosts: Vec<HostId> = self.hosts.iter().filter(|(_, h)| h.up).map(|(id, _)| *id).collect();
        hosts.into_iter().for_each(|id| self.connect_host(id));
        self.run();
    }

    pub fn connect_host(&mut self, id: HostId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.up = true;
        let incarnation = Incarnation(host.incarnation);
        self.up(Peer::Host(id));
        self.say(Peer::Host(id), HostRegister { host: id, incarnation, socket: format!("socket-{}", id.0) });
    }

    pub fn report(&mut self, n: u64, shards: Vec<ShardReport>) {
        let Node { capacity, touch, disk, .. } = self.nodes[&NodeId(n)];
        let space = Space { capacity, room: capacity, ..Space::default() };
        self.say(
            Peer::Node(NodeId(n)),
            Report {
                space,
                suspects: Vec::new(),
                touch,
                shards,
                rot: RotReport::default(),
                taught: Default::default(),
                traffic: Default::default(),
                disk,
            },
        );
    }

    /// An operator asks; his number.
    pub fn ask(&mut self, message: impl Into<Message>) -> u64 {
        let operator = self.next_operator;
        self.next_operator += 1;
        self.up(Peer::Operator(operator));
        self.say(Peer::Operator(operator), message);
        self.run();
        operator
    }

    /// An operator asks and is answered in the same turn.
    pub fn told(&mut self, message: impl Into<Message>) -> Message {
        let operator = self.ask(message);
        self.answer(operator).expect("the operator was not answered")
    }

    pub fn answer(&self, operator: u64) -> Option<Message> {
        let answers = self.answers.get(&operator)?;
        assert_eq!(answers.len(), 1, "answered twice: {answers:?}");
        answers.first().cloned()
    }

    /// A volume that serves.
    pub fn volume(&mut self, gib: u64, copies: u8) -> VolumeId {
        let request = RequestId(u128::from(self.next_operator) + 500);
        let answer = self.told(CreateVolume { request, size: gib * GIB, copies, throttle: Throttle::default() });
        let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
        self.run();
        m.volumes[0].info.volume
    }

    pub fn attach(&mut self, volume: VolumeId, host: HostId) -> Generation {
        let answer = self.told(AttachVolume { volume, host: Some(host), read_only: false });
        let Message::AttachReply(m) = answer else { panic!("{answer:?}") };
        m.generation
    }

    /// A node's wish; the outcome, if it was answered at once.
    pub fn propose(&mut self, n: u64, proposal: Proposal) -> Option<ProposalOutcome> {
        let node = self.nodes.get_mut(&NodeId(n)).unwrap();
        node.batch += 1;
        node.outcomes.clear();
        assert!(node.asked.replace(vec![proposal]).is_none(), "one batch at a time");
        self.say_wishes(NodeId(n));
        self.run();
        self.nodes[&NodeId(n)].outcomes.first().cloned()
    }

    /// Its batch leaves, for the first time or once more, with what it was told to say back.
    fn say_wishes(&mut self, id: NodeId) {
        let Node { batch, echo, ref asked, .. } = self.nodes[&id];
        let proposals = asked.clone().expect("it wished for something");
        self.say(Peer::Node(id), Propose { batch, echo, proposals });
    }

    // ---- What is. --------------------------------------------------------------------------------------------------

    pub fn config(&self, shard: ShardId) -> Configuration {
        self.zone.configurations().find(|c| c.shard == shard).expect("no such shard").clone()
    }

    pub fn first(&self, volume: VolumeId) -> Configuration {
        self.config(ShardId { volume, index: 0 })
    }

    pub fn state(&mut self, volume: VolumeId) -> VolumeState {
        let answer = self.told(DescribeVolumes { volume: Some(volume) });
        let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
        m.volumes[0].clone()
    }

    pub fn node_states(&mut self) -> Vec<NodeState> {
        let answer = self.told(DescribeNodes { node: None });
        let Message::NodeReply(m) = answer else { panic!("{answer:?}") };
        m.nodes
    }

    pub fn node_state(&mut self, n: u64) -> NodeState {
        self.node_states().into_iter().find(|s| s.info.entry.node == NodeId(n)).expect("no such node")
    }

    /// A backup of the shard, by number: 0 is the first that is not primary.
    pub fn backup(&self, c: &Configuration, which: usize) -> u64 {
        c.members.iter().filter(|m| m.node != c.primary).nth(which).unwrap().node.0
    }

    /// The fail-over that a backup would wish for: itself for the primary, without the old one.
    pub fn fail_over(&self, c: &Configuration, to: u64) -> Proposal {
        let members = c.members.iter().copied().filter(|m| m.node != c.primary).collect();
        let (shard, epoch) = (c.shard, c.epoch);
        Proposal { shard, epoch, primary: NodeId(to), members, admit: None, cause: Cause::PrimaryLost }
    }

    /// The admission that a primary would wish for.
    pub fn admission(&self, c: &Configuration) -> Proposal {
        let learner = c.learner.expect("nobody learns");
        let members = c.members.iter().copied().chain([learner.member]).collect();
        let (shard, epoch, primary) = (c.shard, c.epoch, c.primary);
        Proposal { shard, epoch, primary, members, admit: Some(learner.plan), cause: Cause::Learned }
    }

    // ---- How it goes on. -------------------------------------------------------------------------------------------

    /// Until nobody has anything to say.
    pub fn run(&mut self) {
        for _ in 0..1000 {
            let mut out = Outbox::default();
            self.zone.step(self.now, &mut self.inbox, &mut out);
            assert!(self.inbox.is_empty(), "a step leaves the inbox empty");
            for op in out.drain().collect::<Vec<_>>() {
                match op {
                    Output::Meta(op) => self.meta.act(op),
                    Output::Net(op) => self.net(op),
                    Output::Disk(_) => panic!("the authority has no disk"),
                }
            }
            if !self.meta.stopped {
                let done = core::mem::take(&mut self.meta.waiting);
                self.inbox.extend(done.into_iter().map(Input::Meta));
            }
            if self.inbox.is_empty() {
                return;
            }
        }
        panic!("the authority and its world never come to rest");
    }

    /// Lets time pass, turn by turn; nodes that are up report each second.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        loop {
            let due = self.zone.deadline().unwrap_or(until).max(self.now + Duration::from_nanos(1));
            let next = due.min(self.report_at).min(until);
            self.now = next;
            if next == self.report_at {
                self.report_at = next + zone::REPORT_EVERY;
                let ids: Vec<u64> =
                    self.nodes.values().filter(|n| n.up && !n.frozen).map(|n| n.member.node.0).collect();
                ids.into_iter().for_each(|n| self.report(n, Vec::new()));
            }
            self.run();
            turns += 1;
            assert!(
                turns < 200_000,
                "the authority spins: its deadline is {:?} at {:?}",
                self.zone.deadline(),
                self.now
            );
            if self.now >= until {
                return;
            }
        }
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    fn net(&mut self, op: net::Op) {
        match op {
            net::Op::Send { to, frame } => {
                assert_eq!(to.side, net::Side::Accepted, "the authority opens no link");
                assert!(frame.head.len() <= wire::frame::HEAD_BYTES_MAX);
                let message = Message::decode(&frame).unwrap();
                match to.peer {
                    Peer::Node(id) => self.node_hears(id, message),
                    Peer::Host(id) => self.host_hears(id, message),
                    Peer::Operator(n) => self.answers.entry(n).or_default().push(message),
                    Peer::Region(_) => {
                        let Message::Outcome(m) = message else { panic!("{message:?}") };
                        let outcome = Message::from_parts(m.kind, m.fields).unwrap();
                        assert!(self.outcomes.insert(m.ticket, outcome).is_none(), "answered twice: {}", m.ticket);
                    }
                    Peer::Zone | Peer::Authority(_) => panic!("the authority talks to itself"),
                }
            }
            net::Op::Close { link } => {
                self.closed.push(link);
                self.down(link.peer);
                // A node that is what it says comes again; a left-over process does not.
                if let Peer::Node(id) = link.peer {
                    let node = self.nodes.get_mut(&id).unwrap();
                    node.up = false;
                    if self.comes_again {
                        self.connect(id);
                    }
                }
            }
            net::Op::Know { .. } | net::Op::Watch { .. } | net::Op::Count => panic!("the authority looks for nobody"),
        }
    }

    pub fn refusal(answer: &Message) -> (ErrorCode, String) {
        let Message::Failed(m) = answer else { panic!("not refused: {answer:?}") };
        (m.code, m.text.clone())
    }

    pub fn ready(&self) -> bool {
        *self.zone.phase() == Phase::Ready
    }
}
