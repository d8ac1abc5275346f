//! What the authority keeps in the metadata store, and its bytes: a version byte, then the fields in order.
//!
//! ```text
//! cluster                       whose metadata this is
//! node/<node>                   one node: addresses, disk, rack, whether it failed
//! volume/<volume>               one volume: size, copies, attachment; stays as a tombstone when deleted
//! shard/<volume hex>/<index>    one shard: its configuration and what the authority must remember beside it
//! request/<uuid>                which volume a request made
//! ```
//!
//! This file knows bytes and names of keys. Which changes are allowed is said elsewhere.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::codec::Field;
use base::io::net::Addresses;
use base::{
    ClusterId, Configuration, Epoch, Generation, HostId, Incarnation, Layout, Learner, Member, MetaUuid, NodeId,
    PointId, RequestId, Revision, ShardId, StoreUuid, VolumeId, choice, record,
};
use bytes::Bytes;
use core::fmt;
use wire::{NodeEntry, PointCondition, Seen, Throttle, VolumeInfo, VolumePoint};

/// The version of every record's bytes.
pub const VERSION: u8 = 1;

/// No volume of any policy has more blocks (4 PiB).
pub(crate) const VOLUME_BLOCKS_MAX: u64 = 1 << 40;

/// A key of the metadata store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Cluster,
    Node(NodeId),
    Volume(VolumeId),
    Shard(ShardId),
    Request(RequestId),
}

impl base::truth::Key for Key {
    const PREFIXES: &'static [&'static str] = &["cluster", "node/", "volume/", "shard/", "request/"];

    fn owner() -> Self {
        Self::Cluster
    }

    fn text(&self) -> String {
        (*self).text()
    }
}

impl Key {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Cluster => "cluster".into(),
            Self::Node(node) => format!("node/{node}"),
            Self::Volume(volume) => format!("volume/{volume}"),
            Self::Shard(shard) => format!("shard/{:016x}/{}", shard.volume.0, shard.index),
            Self::Request(request) => format!("request/{request}"),
        }
    }

    /// The key that has this text; none when the authority wrote no such key.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let key = match text.split_once('/') {
            None if text == "cluster" => Self::Cluster,
            Some(("node", id)) => Self::Node(id.parse().ok()?),
            Some(("volume", id)) => Self::Volume(id.parse().ok()?),
            Some(("request", id)) => Self::Request(id.parse().ok()?),
            Some(("shard", place)) => {
                let (volume, index) = place.split_once('/')?;
                let volume = VolumeId(u64::from_str_radix(volume, 16).ok()?);
                Self::Shard(ShardId { volume, index: index.parse().ok()? })
            }
            _ => return None,
        };
        // One text per key: what would be written differently is not ours.
        (key.text() == text).then_some(key)
    }
}

/// Why an authority does not start on the metadata it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The metadata is of another cluster.
    OtherCluster {
        /// The cluster named in the metadata.
        recorded: ClusterId,
        /// The cluster this authority was started for.
        expected: ClusterId,
    },
    /// There are records, and none says of which cluster.
    NoCluster {
        /// How many records there are.
        records: usize,
    },
    /// A key that this build does not know.
    StrangeKey {
        /// Which.
        key: String,
    },
    /// A record of a version that this build does not know.
    Version {
        /// Where.
        key: String,
        /// Its version.
        version: u8,
    },
    /// A record whose bytes do not describe what its key says.
    Malformed {
        /// Where.
        key: String,
        /// What was being read.
        what: &'static str,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { recorded, expected } => write!(
                f,
                "the metadata belongs to cluster {recorded}, and this authority was started for {expected}; \
                 start it with the metadata of its own cluster"
            ),
            Self::NoCluster { records } => write!(
                f,
                "the metadata has {records} records and none says of which cluster; have them rebuilt from the nodes with `seawall zone rebuild`"
            ),
            Self::StrangeKey { key } => {
                write!(f, "the metadata has a key {key:?} that this build does not know; use the build that wrote it")
            }
            Self::Version { key, version } => write!(
                f,
                "the record {key:?} has version {version}, and this build reads {VERSION}; use the build that wrote it"
            ),
            Self::Malformed { key, what } => {
                write!(
                    f,
                    "the record {key:?} is damaged (malformed {what}); have the metadata rebuilt from the nodes with `seawall zone rebuild`"
                )
            }
        }
    }
}

pub(crate) fn encode<T: Field>(value: &T) -> Bytes {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bytes.extend_from_slice(&value.to_bytes());
    Bytes::from(bytes)
}

pub(crate) fn decode<T: Field>(key: &str, bytes: &[u8]) -> Result<T, Refused> {
    match bytes.split_first() {
        None => Err(Refused::Malformed { key: key.into(), what: "record: it is empty" }),
        Some((&VERSION, rest)) => T::from_bytes(rest).map_err(|e| Refused::Malformed { key: key.into(), what: e.what }),
        Some((&version, _)) => Err(Refused::Version { key: key.into(), version }),
    }
}

choice! {
    /// What the authority remembers of a node's health, through its own restarts.
    #[derive(Copy)]
    pub enum Health : "health of a node" {
        /// Nothing bad.
        0 = Sound,
        /// Given up, and not heard since.
        1 = Failed,
        /// Given up once, heard again, and not settled yet (R21).
        2 = Quarantined,
    }
}

/// Starts of the authority that its metadata remember. Who was told something by an earlier one is believed to be of the same history.
const STARTS_MAX: usize = 64;

record! {
    /// One start of an authority on its metadata.
    #[derive(Copy)]
    pub struct Start {
        /// Counted.
        pub number: u64,
        /// Its own name.
        pub meta: MetaUuid,
        /// How far the metadata had come: whoever was told more by an earlier start was told it by metadata that went on without these.
        pub after: Revision,
    }
}

record! {
    /// Whose metadata these are, and who worked on them.
    pub struct ClusterRecord {
        /// The cluster.
        pub cluster: ClusterId,
        /// The last starts, in order.
        pub starts: Vec<Start>,
    }
}

impl ClusterRecord {
    /// Remembers one more start.
    pub(crate) fn begin(&mut self, meta: MetaUuid, after: Revision) {
        let number = self.starts.last().map_or(1, |last| last.number + 1);
        self.starts.push(Start { number, meta, after });
        if self.starts.len() > STARTS_MAX {
            self.starts.remove(0);
        }
    }

    /// The start that is under way; none before the first.
    pub(crate) fn last(&self) -> Option<Start> {
        self.starts.last().copied()
    }

    /// Whether what somebody was told is in the past of these metadata, which are at `at` now.
    pub(crate) fn has_in_its_past(&self, seen: &Seen, at: Revision) -> bool {
        let Some(last) = self.last() else { return seen.start == 0 };
        if !seen.is_past_of(&Seen { start: last.number, meta: last.meta, revision: at }, last.after) {
            return false;
        }
        let told_by = self.starts.iter().position(|s| s.number == seen.start);
        told_by.is_none_or(|i| {
            let ended_at = self.starts.get(i + 1).map_or(at, |next| next.after);
            self.starts[i].meta == seen.meta && seen.revision <= ended_at
        })
    }
}

record! {
    /// A node.
    pub struct NodeRecord {
        /// Its id and addresses.
        pub entry: NodeEntry,
        /// Its disk.
        pub store: StoreUuid,
        /// Its last known run.
        pub incarnation: Incarnation,
        /// Its failure domain.
        pub rack: String,
        /// Bytes its disk can hold.
        pub capacity: u64,
        /// Whether it failed.
        pub health: Health,
        /// Whether all that it has is to be somewhere else.
        pub draining: bool,
    }
}

impl NodeRecord {
    /// Its replicas are members under this name.
    pub(crate) fn member(&self) -> Member {
        Member { node: self.entry.node, store: self.store }
    }

    /// Whether the two listen at the same places.
    pub(crate) fn same_entry(&self, other: &NodeEntry) -> bool {
        let of = |e: &NodeEntry| -> Addresses { e.addresses() };
        of(&self.entry) == of(other)
    }
}

record! {
    /// Where a volume is attached.
    #[derive(Copy)]
    pub struct Attachment {
        /// To which host.
        pub host: HostId,
        /// For which run of it the generation was given.
        pub incarnation: Incarnation,
        /// Whether nothing may be written to it.
        pub read_only: bool,
    }
}

record! {
    /// A frozen point of a volume.
    #[derive(Copy)]
    pub struct PointRecord {
        /// Which.
        pub point: PointId,
        /// What asked for it.
        pub request: RequestId,
        /// How far it has come.
        pub condition: PointCondition,
    }
}

record! {
    /// A volume.
    pub struct VolumeRecord {
        /// What it is.
        pub info: VolumeInfo,
        /// Copies wanted.
        pub copies: u8,
        /// How many shards it has.
        pub shards: u32,
        /// The last generation given.
        pub generation: Generation,
        /// Where it is attached.
        pub attached: Option<Attachment>,
        /// The host it was last detached from, so that one that was away can be told.
        pub left: Option<HostId>,
        /// What it may do at most.
        pub throttle: Throttle,
        /// Its frozen points; each stays here until every shard has dropped it.
        pub points: Vec<PointRecord>,
        /// The number of the last point; the next is greater, so that none is ever taken for another.
        pub last_point: u64,
        /// Whether it is deleted; the record stays, so that whoever still holds a replica learns of it.
        pub deleted: bool,
    }
}

impl VolumeRecord {
    /// One of its points.
    pub(crate) fn point(&self, id: PointId) -> Option<&PointRecord> {
        self.points.iter().find(|p| p.point == id)
    }

    /// The point that is being made; there is one at most.
    pub(crate) fn making(&self) -> Option<PointId> {
        self.points.iter().find(|p| p.condition == PointCondition::Making).map(|p| p.point)
    }

    /// Its points, for people.
    pub(crate) fn shown(&self) -> Vec<VolumePoint> {
        let show = |p: &PointRecord| VolumePoint { point: p.point, request: p.request, condition: p.condition };
        self.points.iter().map(show).collect()
    }
}

record! {
    /// What a request made.
    pub struct RequestRecord {
        /// The volume.
        pub volume: VolumeId,
        /// As asked: its bytes.
        pub size: u64,
        /// As asked: its copies, 0 for the zone's own number.
        pub copies: u8,
        /// As asked: what it may do at most.
        pub throttle: Throttle,
    }
}

record! {
    /// A shard: its configuration, and what the authority must remember beside it.
    pub struct ShardRecord {
        /// What is pushed. Its revision is that of the key, so the one in these bytes means nothing.
        pub config: Configuration,
        /// The last plan given to a learner; the next is greater.
        pub plan: u64,
        /// Replicas that may go, or are gone: each stays here until its node has said that it dropped it.
        pub releasing: Vec<Member>,
        /// Primaries while the last generation that had a client was in force: what the next generation must fence.
        pub served_by: Vec<NodeId>,
    }
}

impl ShardRecord {
    /// Bytes of one replica.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.config.blocks) * base::BLOCK_BYTES as u64
    }

    /// Everybody who is named anywhere in it.
    pub(crate) fn named(&self) -> impl Iterator<Item = Member> + '_ {
        let c = &self.config;
        let learner = c.learner.iter().map(|l| l.member);
        c.members.iter().chain(&c.holders).chain(&self.releasing).copied().chain(learner)
    }

    /// Whether `member` is named anywhere in it.
    pub(crate) fn names(&self, member: Member) -> bool {
        self.named().any(|m| m == member)
    }

    /// A learner for a new attempt. The plan is the record's revision where that is new, as everyone expects, and in any case
    /// a number that no earlier attempt had.
    pub(crate) fn begin(&mut self, member: Member, revision: Revision) {
        self.plan = revision.0.max(self.plan + 1);
        self.config.holders.retain(|h| *h != member);
        self.config.learner = Some(Learner { member, plan: self.plan });
    }

    /// Gives the learner up. What it has so far is kept: the next attempt may go on from it.
    pub(crate) fn give_up_learner(&mut self) {
        let learner = self.config.learner.take();
        self.config.holders.extend(learner.map(|l| l.member));
    }

    /// The next epoch, led by `primary`, with `members`. Who leaves becomes a holder (R13).
    pub(crate) fn reconfigure(&mut self, primary: NodeId, members: Vec<Member>) {
        let c = &mut self.config;
        c.epoch = c.epoch.next();
        c.primary = primary;
        let left = c.members.iter().filter(|m| !members.contains(m));
        c.holders.extend(left);
        c.holders.retain(|h| !members.contains(h));
        if c.learner.is_some_and(|l| members.contains(&l.member)) {
            c.learner = None;
        }
        c.members = members;
        if c.has_min_copies() {
            c.anchors = c.members.clone();
        }
        if c.client.is_some() && !self.served_by.contains(&primary) {
            self.served_by.push(primary);
        }
    }

    /// A new generation, for `client`, in the next epoch. Whoever may still be answering the generation before is to be fenced (rule 9).
    pub(crate) fn attach(&mut self, generation: Generation, client: HostId) {
        let c = &mut self.config;
        c.epoch = c.epoch.next();
        c.generation = generation;
        c.client = Some(client);
        for node in core::mem::replace(&mut self.served_by, alloc::vec![c.primary]) {
            if !c.fence.contains(&node) {
                c.fence.push(node);
            }
        }
    }

    /// Nobody may write, from the next epoch on. What `served_by` remembers is fenced by the next attachment.
    pub(crate) fn detach(&mut self) {
        self.config.epoch = self.config.epoch.next();
        self.config.client = None;
    }

    /// The volume is laid out anew. A shard that grows by it does so in the next epoch, so that each of its members knows before anything is written there;
    /// the others only remember it.
    pub(crate) fn lay_out(&mut self, layout: Layout) {
        let c = &mut self.config;
        let blocks = layout.blocks_of(c.shard.index);
        if blocks != c.blocks {
            c.epoch = c.epoch.next();
            c.blocks = blocks;
        }
        c.layout = layout;
    }

    /// Deleted, in the next epoch. All who may hold something are to drop it.
    pub(crate) fn delete(&mut self) {
        let c = &mut self.config;
        c.epoch = c.epoch.next();
        c.deleted = true;
        let holders = core::mem::take(&mut c.holders);
        let learner = c.learner.take().map(|l| l.member);
        for member in c.members.iter().copied().chain(holders).chain(learner) {
            if !self.releasing.contains(&member) {
                self.releasing.push(member);
            }
        }
    }

    /// Asserts what must hold of any change from `self` to `next`, in release too: a machine that breaks one of these must stop before
    /// it tells anybody (I1, I4).
    pub(crate) fn allows(&self, next: &Self) {
        let (old, new) = (&self.config, &next.config);
        let id = old.shard;
        assert!(new.shard == id, "{id}: another shard's record");
        // Whoever writes or copies in an epoch knows its size before: so a size changes with the epoch, and what is in use is never cut off.
        let grows = new.blocks > old.blocks && new.epoch > old.epoch;
        assert!(new.blocks == old.blocks || grows, "{id}: {} to {} blocks", old.blocks, new.blocks);
        assert!(new.layout.blocks >= old.layout.blocks, "{id}: a volume of {} blocks", new.layout.blocks);
        assert!(new.epoch >= old.epoch && new.epoch.0 - old.epoch.0 <= 1, "{id}: epoch {} to {}", old.epoch, new.epoch);
        assert!(!old.deleted || new.deleted, "{id}: deleted and back");
        if new.epoch == old.epoch {
            let same = new.primary == old.primary && new.members == old.members && new.deleted == old.deleted;
            let same = same && new.generation == old.generation && new.client == old.client;
            assert!(same, "{id}: two configurations of epoch {}", new.epoch);
        } else if !new.deleted {
            let led = new.member_on(new.primary).is_some_and(|m| old.anchors.contains(&m));
            assert!(led, "{id}: {} was no complete member of the last configuration that had min_copies", new.primary);
        }
        next.holds_together();
    }

    /// Asserts what must hold of any record.
    pub(crate) fn holds_together(&self) {
        assert_eq!(self.flaw(), None, "{}: of {:?}", self.config.shard, self.config);
    }

    /// What does not hold that must hold of any record.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let c = &self.config;
        if c.member_on(c.primary).is_none() {
            return Some("members: the primary is none of them");
        }
        if c.layout.blocks > VOLUME_BLOCKS_MAX || u64::from(c.blocks) > c.layout.blocks {
            return Some("layout: no volume is so large, or so small");
        }
        if c.has_min_copies() && c.anchors != c.members {
            return Some("anchors: they lag behind the members");
        }
        let mut named: Vec<Member> = c.holders.clone();
        if !c.deleted {
            named.extend(&c.members);
            named.extend(&self.releasing);
        }
        named.extend(c.learner.map(|l| l.member));
        let count = named.len();
        named.sort_unstable();
        named.dedup();
        if count != named.len() {
            return Some("members: a replica has two roles");
        }
        let mut nodes: Vec<NodeId> = c.members.iter().map(|m| m.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        (nodes.len() != c.members.len()).then_some("members: two of them are on one node")
    }
}

/// The first configuration of a shard.
pub(crate) fn newborn(shard: ShardId, layout: Layout, members: Vec<Member>, primary: NodeId, min: u8) -> ShardRecord {
    let config = Configuration {
        shard,
        epoch: Epoch(1),
        revision: Revision(0),
        blocks: layout.blocks_of(shard.index),
        layout,
        primary,
        anchors: members.clone(),
        target_copies: members.len() as u8,
        min_copies: min,
        members,
        learner: None,
        holders: Vec::new(),
        generation: Generation(0),
        client: None,
        fence: Vec::new(),
        newborn: true,
        deleted: false,
    };
    ShardRecord { config, plan: 0, releasing: Vec::new(), served_by: Vec::new() }
}
