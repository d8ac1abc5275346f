//! One zone of real machines in an invented world: its computers, and how each of their processes is born.

use crate::disk::{Disk, Speed};
use crate::front::Front;
use crate::inspect::{Replica, inspect};
use crate::listener::Listener;
use crate::meta::Meta;
use crate::nbd::Manner;
use crate::operator::Operator;
use crate::shape::Shape;
use crate::world::{Pid, State, World};
use base::io::net::{Addresses, Peer};
use base::io::{Inbox, Machine, Outbox};
use base::mutant::Mutation;
use base::time::Duration;
use base::{ClusterId, HostId, Incarnation, NodeId, Rng, ShardId, StoreUuid, Time};
use host::Host;
use node::Node;
use std::collections::BTreeMap;
use store::{Blank, Geometry, Identity, Store};
use wire::{Address, NodeEntry};
use zone::Zone;

/// Any process of the zone.
pub enum Actor {
    /// Stores.
    Node(Box<Node>),
    /// Decides.
    Zone(Box<Zone>),
    /// Attaches.
    Host(Box<Front>),
    /// Asks.
    Operator(Operator),
}

impl Machine for Actor {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        match self {
            Self::Node(machine) => machine.step(now, inbox, out),
            Self::Zone(machine) => machine.step(now, inbox, out),
            Self::Host(machine) => machine.step(now, inbox, out),
            Self::Operator(machine) => machine.step(now, inbox, out),
        }
    }
    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Node(machine) => machine.deadline(),
            Self::Zone(machine) => machine.deadline(),
            Self::Host(machine) => machine.deadline(),
            Self::Operator(machine) => machine.deadline(),
        }
    }
}

/// What a computer is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    Node { entry: NodeEntry, rack: String },
    Zone,
    Host(HostId),
    Operator,
}

struct Computer {
    pid: Pid,
    job: Job,
    starts: u64,
}

/// A zone: nodes, authority, hosts and an operator.
pub struct Cluster {
    /// Where they live.
    pub world: World<Actor, Listener>,
    computers: Vec<Computer>,
    /// The nodes' processes.
    pub nodes: Vec<Pid>,
    /// The authority's.
    pub zone: Pid,
    /// The hosts'.
    pub hosts: Vec<Pid>,
    /// The operator's.
    pub operator: Pid,
    /// Another one's, who does not wait for answers.
    pub hasty: Pid,
    id: ClusterId,
    zone_at: Addresses,
    zone_policy: zone::Policy,
    store_policy: store::Policy,
    node_policy: node::Policy,
    host_policy: host::Policy,
    nbd: Option<Manner>,
    geometry: Geometry,
    rng: Rng,
}

fn address(net: u8, number: u64, port: u16) -> std::net::SocketAddr {
    ([10, net, (number >> 8) as u8, number as u8], port).into()
}

impl Cluster {
    /// All computers, with nothing running yet.
    pub fn new(rng: &Rng, shape: &Shape, keep_lines: usize) -> Self {
        let mut world = World::new(&rng.split("world"), Listener::default(), keep_lines);
        world.observer.copies.per_s = shape.copy_per_s;
        (world.net.weather.slower, world.net.weather.uneven_us) = (shape.network_slower, shape.uneven_us);
        let mut computers = Vec::new();
        let mut add = |world: &mut World<_, _>, peer, at, job| {
            let pid = world.add(peer, at, true);
            computers.push(Computer { pid, job, starts: 0 });
            pid
        };
        let zone_at = Addresses { primary: address(0, 1, 7400), replication: None };
        let zone = add(&mut world, Peer::Zone, Some(zone_at), Job::Zone);
        world.give_meta(zone, Meta::new(rng.split("meta")));
        let mut nodes = Vec::new();
        for n in 1..=shape.nodes {
            let (primary, replication) = (Address(address(1, n, 7401)), Address(address(2, n, 7402)));
            let entry = NodeEntry { node: NodeId(n), primary, replication };
            let at = entry.addresses();
            let job = Job::Node { entry, rack: format!("r{}", n % shape.racks) };
            let pid = add(&mut world, Peer::Node(NodeId(n)), Some(at), job);
            let disk_rng = rng.split(&format!("disk {n}"));
            let slower = disk_rng.split("speed").within(1, shape.disks_slower);
            world.give_disk(pid, Disk::new(shape.capacity_bytes, Speed::default().slower(slower), disk_rng));
            nodes.push(pid);
        }
        let host = |n: u64| HostId(0x1000 + n);
        let hosts = (0..shape.hosts).map(|n| add(&mut world, Peer::Host(host(n)), None, Job::Host(host(n)))).collect();
        let operator = add(&mut world, Peer::Operator(7), None, Job::Operator);
        let hasty = add(&mut world, Peer::Operator(8), None, Job::Operator);
        let store_policy = store::Policy {
            scrub_period: shape.scrub_period,
            checkpoint_every_segments: shape.checkpoint_every_segments,
            gathered_bytes_min: shape.gathered_bytes,
            ..store::Policy::default()
        };
        let geometry = Geometry {
            capacity_bytes: shape.capacity_bytes,
            segment_bytes: shape.segment_bytes,
            ..Geometry::tiny(shape.capacity_bytes)
        };
        Self {
            world,
            computers,
            nodes,
            zone,
            hosts,
            operator,
            hasty,
            id: ClusterId(rng.split("cluster").u128()),
            zone_at,
            zone_policy: zone_policy(shape),
            store_policy,
            node_policy: node_policy(shape),
            host_policy: host_policy(shape),
            nbd: shape.nbd,
            geometry,
            rng: rng.split("processes"),
        }
    }

    /// Makes all its machines wrong, before any of them starts.
    pub fn mutate(&mut self, mutation: Mutation) {
        self.store_policy.mutation = mutation;
        self.node_policy.replica.mutation = mutation;
        self.zone_policy.mutation = mutation;
        self.host_policy.mutation = mutation;
        self.world.net.mutation = mutation;
        if let Some(nbd) = &mut self.nbd {
            nbd.server.mutation = mutation;
        }
    }

    /// The rack of a node.
    pub fn rack_of(&self, pid: Pid) -> Option<&str> {
        match &self.computers[pid.0 as usize].job {
            Job::Node { rack, .. } => Some(rack),
            _ => None,
        }
    }

    /// Under which terms its authority works.
    pub fn zone_policy(&self) -> &zone::Policy {
        &self.zone_policy
    }

    /// Which host a process is.
    pub fn host_id(&self, pid: Pid) -> HostId {
        match self.computers[pid.0 as usize].job {
            Job::Host(id) => id,
            _ => panic!("{pid:?} is no host"),
        }
    }

    /// Starts whatever this computer runs, as the next run of it.
    pub fn start(&mut self, pid: Pid) {
        let computer = &mut self.computers[pid.0 as usize];
        assert_eq!(computer.pid, pid);
        computer.starts += 1;
        let starts = computer.starts;
        let mut rng = self.rng.split(&format!("{} {starts}", pid.0));
        let incarnation = Incarnation(starts);
        let actor = match &computer.job {
            Job::Zone => Actor::Zone(Box::new(Zone::new(self.id, self.zone_policy.clone(), rng))),
            Job::Operator => Actor::Operator(Operator::default()),
            Job::Host(id) => {
                let setup = host::Setup { host: *id, incarnation, socket: format!("{id}.sock") };
                let host = Host::new(setup, self.host_policy.clone(), rng);
                Actor::Host(Box::new(Front::new(host, self.nbd.map(|nbd| nbd.server()))))
            }
            Job::Node { entry, rack } => {
                let identity = Identity { node: entry.node, cluster: self.id };
                let blank = Blank::Format { uuid: StoreUuid(rng.u128()) };
                let store = Store::new(identity, self.geometry, blank, self.store_policy);
                let (entry, rack) = (entry.clone(), rack.clone());
                let setup = node::Setup { node: entry.node, cluster: self.id, incarnation, entry, rack };
                Actor::Node(Box::new(Node::new(setup, store, self.node_policy.clone(), rng)))
            }
        };
        if let Some(disk) = self.world.disk(pid) {
            disk.is_opened();
        }
        self.world.start(pid, actor, &[(Peer::Zone, self.zone_at)]);
    }

    /// Gives a node that does not run a blank disk in place of its own.
    pub fn replace_disk(&mut self, pid: Pid) {
        assert!(!self.exists(pid), "a disk is replaced when its node is dead");
        let rng = self.rng.split(&format!("disk of {} after {} starts", pid.0, self.computers[pid.0 as usize].starts));
        self.world.give_disk(pid, Disk::new(self.geometry.capacity_bytes, Speed::default(), rng));
    }

    /// What the disk of a dead node holds.
    pub fn inspect(&mut self, pid: Pid) -> Result<BTreeMap<ShardId, Replica>, String> {
        assert!(!self.exists(pid), "a disk is inspected when its node is dead");
        let Job::Node { entry, .. } = &self.computers[pid.0 as usize].job else { panic!("{pid:?} is no node") };
        let (identity, geometry) = (Identity { node: entry.node, cluster: self.id }, self.geometry);
        inspect(self.world.disk(pid).expect("a node has a disk"), identity, geometry)
    }

    /// The process of a peer.
    pub fn pid_of(&self, peer: Peer) -> Option<Pid> {
        self.computers.iter().map(|c| c.pid).find(|pid| self.world.peer(*pid) == peer)
    }

    /// All processes but the operators'.
    pub fn servants(&self) -> Vec<Pid> {
        self.computers.iter().filter(|c| c.job != Job::Operator).map(|c| c.pid).collect()
    }

    /// Whether it runs and is not frozen.
    pub fn is_running(&self, pid: Pid) -> bool {
        self.world.state(pid) == State::Running
    }

    /// Whether it exists.
    pub fn exists(&self, pid: Pid) -> bool {
        matches!(self.world.state(pid), State::Running | State::Frozen)
    }

    /// A host's machine, while it exists.
    pub fn host(&mut self, pid: Pid) -> Option<&mut Host> {
        match self.world.machine_mut(pid)? {
            Actor::Host(front) => Some(&mut front.host),
            _ => panic!("{pid:?} is no host"),
        }
    }

    /// A node's machine, while it exists.
    pub fn node(&self, pid: Pid) -> Option<&Node> {
        match self.world.machine(pid)? {
            Actor::Node(node) => Some(node),
            _ => panic!("{pid:?} is no node"),
        }
    }

    /// What the authority did since it last started; nothing, when it does not exist.
    pub fn zone_counters(&self) -> wire::ZoneCounters {
        match self.world.machine(self.zone) {
            Some(Actor::Zone(zone)) => *zone.counters(),
            None => wire::ZoneCounters::default(),
            Some(_) => panic!("{:?} is no authority", self.zone),
        }
    }

    /// An operator, who never dies.
    pub fn operator(&mut self, pid: Pid) -> &mut Operator {
        match self.world.machine_mut(pid) {
            Some(Actor::Operator(operator)) => operator,
            _ => panic!("{pid:?} is no operator"),
        }
    }
}

fn node_policy(shape: &Shape) -> node::Policy {
    let mut policy = node::Policy { copy_per_s: shape.copy_per_s, ..node::Policy::default() };
    policy.replica.window_writes = shape.window_writes;
    policy
}

fn host_policy(shape: &Shape) -> host::Policy {
    let usual = host::Policy::default();
    host::Policy {
        requests_max: shape.nbd.map_or(usual.requests_max, |nbd| nbd.requests_max),
        shard_ios_max: shape.shard_ios_max,
        ..usual
    }
}

/// Seconds where production has minutes: a run is short.
fn zone_policy(shape: &Shape) -> zone::Policy {
    let usual = zone::Policy::default();
    zone::Policy {
        shard_blocks: shape.shard_blocks,
        min_copies: shape.min_copies,
        partners: shape.partners,
        // In a world of unlike disks a node is slow that is so by much more than by its disk.
        slow_times: usual.slow_times * shape.disks_slower as u32,
        slow_every: Duration::from_secs(5),
        slow_probation: Duration::from_secs(3),
        slow_probation_max: Duration::from_secs(10),
        remirror_after: Duration::from_secs(4),
        failed_after: Duration::from_secs(3),
        isolation_max: Duration::from_secs(12),
        attach_timeout: Duration::from_secs(5),
        retry_cap: Duration::from_secs(2),
        ..usual
    }
}
