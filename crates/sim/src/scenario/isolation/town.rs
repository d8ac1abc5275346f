//! A region of several zones in one invented world: each zone an authority and its nodes, as real as those of any seed, and before them one process of the region.

use super::Plan;
use super::edge::Edge;
use crate::disk::{Disk, Speed};
use crate::meta::Meta;
use crate::world::{Blind, Pid, World};
use base::io::net::{Addresses, Event, Frame, Link, Op, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::time::Duration;
use base::{ClusterId, Incarnation, NodeId, Rng, StoreUuid, Time, VolumeId};
use node::Node;
use region::{Mechanism, Policy, Region, ZoneNumber};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use store::{Blank, Geometry, Identity, Store};
use wire::{Address, NodeEntry};
use zone::Zone;

/// Blocks of each volume, which is one shard.
pub(super) const VOLUME_BLOCKS: u32 = 8;
/// What the wall clock says at the beginning: 2011-04-21.
pub(super) const STARTED_MS: u64 = 1_303_344_000_000;
const DISK_BYTES: u64 = 256 << 20;

/// Any process.
pub(super) enum Actor {
    Node(Box<Node>),
    Authority(Box<Authority>),
    Edge(Box<Edge>),
}

impl Machine for Actor {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        match self {
            Self::Node(machine) => machine.step(now, inbox, out),
            Self::Authority(machine) => machine.step(now, inbox, out),
            Self::Edge(machine) => machine.step(now, inbox, out),
        }
    }
    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Node(machine) => machine.deadline(),
            Self::Authority(machine) => machine.deadline(),
            Self::Edge(machine) => machine.deadline(),
        }
    }
}

/// An authority whose answers to the region can be late. It lives and hears all the same: nothing but an answer tells that it is slow.
pub(super) struct Authority {
    zone: Zone,
    /// How late, while it is.
    pub(super) late_by: Option<Duration>,
    late: VecDeque<(Time, Link, Frame)>,
    out: Outbox,
}

impl Authority {
    /// Volumes that it has made durable.
    fn volumes(&self) -> BTreeSet<VolumeId> {
        self.zone.configurations().filter(|config| !config.deleted).map(|config| config.shard.volume).collect()
    }
}

impl Machine for Authority {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        for input in inbox.iter() {
            // What was to be said on a link that is gone is said on none.
            if let Input::Net(Event::Down { link, .. } | Event::Up { link }) = input {
                self.late.retain(|(_, to, _)| to != link);
            }
        }
        self.zone.step(now, inbox, &mut self.out);
        for output in self.out.drain() {
            match (output, self.late_by) {
                (Output::Net(Op::Send { to, frame }), Some(by)) if matches!(to.peer, Peer::Region(_)) => {
                    self.late.push_back((now + by, to, frame));
                }
                (Output::Net(op), _) => out.net(op),
                (Output::Disk(op), _) => out.disk(op),
                (Output::Meta(op), _) => out.meta(op),
            }
        }
        let over = self.late_by.is_none();
        while let Some((_, to, frame)) = self.late.pop_front_if(|(at, ..)| over || *at <= now) {
            out.send(to, frame);
        }
    }

    fn deadline(&self) -> Option<Time> {
        Time::sooner(self.zone.deadline(), self.late.front().map(|(at, ..)| *at))
    }
}

struct Place {
    authority: Pid,
    nodes: Vec<(Pid, NodeEntry)>,
    cluster: ClusterId,
    at: Addresses,
}

/// All of it.
pub(super) struct Town {
    pub(super) world: World<Actor, Blind>,
    pub(super) edge: Pid,
    places: Vec<Place>,
    starts: u64,
    rng: Rng,
}

/// As whom the region knows the authority of a zone: it stands for that in its process only, and the authority hears itself called [`Peer::Zone`].
fn authority(zone: u16) -> Peer {
    Peer::Node(NodeId(1_000_000 + u64::from(zone)))
}

fn address(zone: u16, net: u8, number: u64) -> Addresses {
    let at = |net: u8| ([10, zone as u8 * 8 + net, 0, number as u8], 7400).into();
    Addresses { primary: at(net), replication: (net > 0).then(|| at(net + 1)) }
}

impl Town {
    /// All processes run, of a region that works without this mechanism.
    pub(super) fn new(rng: &Rng, plan: &Plan, without: Option<Mechanism>) -> Self {
        let mut world = World::new(&rng.split("world"), Blind, 0);
        world.net.prompt = true;
        let edge = world.add(Peer::Region(1), None, true);
        world.give_meta(edge, Meta::new(rng.split("region's meta")));
        let mut places = Vec::new();
        for zone in 0..plan.zones {
            let at = address(zone, 0, 1);
            let authority = world.add(Peer::Zone, Some(at), false);
            world.give_meta(authority, Meta::new(rng.split(&format!("meta of {zone}"))));
            let mut nodes = Vec::new();
            for n in 1..=plan.nodes {
                let (at, id) = (address(zone, 1, n), NodeId(u64::from(zone) * 100 + n));
                let replication = Address(at.replication.expect("a node is on both networks"));
                let entry = NodeEntry { node: id, primary: Address(at.primary), replication };
                let pid = world.add(Peer::Node(id), Some(at), false);
                world.give_disk(pid, Disk::new(DISK_BYTES, Speed::default(), rng.split(&format!("disk of {id}"))));
                nodes.push((pid, entry));
            }
            let cluster = ClusterId(rng.split(&format!("cluster {zone}")).u128());
            places.push(Place { authority, nodes, cluster, at });
        }
        let mut town = Self { world, edge, places, starts: 0, rng: rng.split("processes") };
        (0..plan.zones).for_each(|zone| town.start_zone(zone));
        town.start_edge(plan, without);
        town
    }

    fn start_edge(&mut self, plan: &Plan, without: Option<Mechanism>) {
        let zones: BTreeMap<ZoneNumber, Peer> = (0..plan.zones).map(|n| (ZoneNumber(n), authority(n))).collect();
        let knows: Vec<(Peer, Addresses)> =
            (0..).zip(&self.places).map(|(zone, place)| (authority(zone), place.at)).collect();
        let started_ms = STARTED_MS;
        let setup = region::Setup { region: ClusterId(1), name: "isolated".into(), zones, started_ms };
        let policy = Policy { without, ..Policy::for_edge(plan.edge_max, usize::from(plan.zones)) };
        let region = Region::new(setup, policy, self.rng.split("region"));
        let edge = Edge::new(region, plan.edge_max, plan.cost);
        self.world.start(self.edge, Actor::Edge(Box::new(edge)), &knows);
    }

    /// Starts all processes of a zone.
    pub(super) fn start_zone(&mut self, zone: u16) {
        self.starts += 1;
        let place = &self.places[usize::from(zone)];
        let mut rng = self.rng.split(&format!("zone {zone}, start {}", self.starts));
        let policy = zone::Policy { shard_blocks: VOLUME_BLOCKS, ..zone::Policy::default() };
        let machine = Zone::new(place.cluster, policy, rng.split("authority"));
        let actor = Authority { zone: machine, late_by: None, late: VecDeque::new(), out: Outbox::default() };
        self.world.start(place.authority, Actor::Authority(Box::new(actor)), &[]);
        for (pid, entry) in &place.nodes {
            let identity = Identity { node: entry.node, cluster: place.cluster };
            let geometry = Geometry { segment_bytes: 1 << 20, ..Geometry::tiny(DISK_BYTES) };
            let blank = Blank::Format { uuid: StoreUuid(rng.u128()) };
            let store = Store::new(identity, geometry, blank, store::Policy::default());
            let setup = node::Setup {
                node: entry.node,
                cluster: place.cluster,
                incarnation: Incarnation(self.starts),
                entry: entry.clone(),
                rack: entry.node.to_string(),
            };
            let node = Node::new(setup, store, node::Policy::default(), rng.split(&entry.node.to_string()));
            if let Some(disk) = self.world.disk(*pid) {
                disk.is_opened();
            }
            self.world.start(*pid, Actor::Node(Box::new(node)), &[(Peer::Zone, place.at)]);
        }
    }

    /// Everything of a zone loses power.
    pub(super) fn end_zone(&mut self, zone: u16) {
        let place = &self.places[usize::from(zone)];
        for pid in place.nodes.iter().map(|(pid, _)| *pid).chain([place.authority]) {
            self.world.kill(pid, true);
        }
    }

    /// The answers of a zone's authority are late by so much, or not any more.
    pub(super) fn make_late(&mut self, zone: u16, by: Option<Duration>) {
        let pid = self.places[usize::from(zone)].authority;
        if let Some(Actor::Authority(authority)) = self.world.machine_mut(pid) {
            authority.late_by = by;
        }
        self.world.poke(pid);
    }

    /// The region's process.
    pub(super) fn edge(&mut self) -> &mut Edge {
        match self.world.machine_mut(self.edge) {
            Some(Actor::Edge(edge)) => edge,
            _ => unreachable!("it never ends"),
        }
    }

    /// What the authority of a zone has made durable.
    pub(super) fn volumes(&self, zone: u16) -> BTreeSet<VolumeId> {
        match self.world.machine(self.places[usize::from(zone)].authority) {
            Some(Actor::Authority(authority)) => authority.volumes(),
            _ => BTreeSet::new(),
        }
    }

    /// Whether all nodes of all zones are known to their authorities.
    pub(super) fn is_up(&self) -> bool {
        self.places.iter().all(|place| match self.world.machine(place.authority) {
            Some(Actor::Authority(authority)) => authority.zone.conditions().count() == place.nodes.len(),
            _ => false,
        })
    }
}
