//! The metadata of a zone made anew from what its nodes know, when they were lost, rotted, or were put back from an old copy.
//!
//! [`Rebuild`] stands where the authority stood: nodes find it at the authority's address, say who they are and are asked for all they know. It tells nobody anything
//! and decides nothing while it listens. When every node of the zone was heard, or was written off by an operator, [`Rebuild::plan`] makes records of it:
//!
//! - of each shard the greatest configuration, in a new epoch far above, led and held by the same members, so that whatever the lost metadata may still have decided and
//!   told to somebody is overtaken;
//! - a volume only when each of its shards is known, and known for certain. Where nodes that were written off could know a later configuration, in which more was written than
//!   the others have, the volume is left out and named: a missing volume can be looked for, a wrong byte cannot.
//!
//! What no node tells is not guessed: requests (the same one would make another volume), frozen points, drains, and shards of which no node has a replica.

use crate::records::{Attachment, ClusterRecord, Health, Key, NodeRecord, ShardRecord, Start, VolumeRecord, encode};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::io::net::{Event, Lane, Link, Peer, Side};
use base::io::{Inbox, Input, Machine, Outbox};
use base::{
    BLOCK_BYTES, ClusterId, Configuration, Epoch, Generation, Incarnation, Member, MetaUuid, NodeId, Revision, ShardId,
    Time, VolumeId,
};
use bytes::Bytes;
use core::fmt;
use wire::{Collect, KnownReplica, Message, NodeInfo, Seen, Throttle, VolumeInfo};

/// So far above the greatest epoch and generation that is known are the new ones: what the lost metadata decided and no node was told is in between.
const GAP: u64 = 1 << 16;

/// What one node said.
struct Heard {
    info: NodeInfo,
    seen: Seen,
    known: BTreeMap<ShardId, KnownReplica>,
    /// It has said all.
    done: bool,
}

/// Listens to the nodes of a zone.
pub struct Rebuild {
    cluster: ClusterId,
    /// Nodes that an operator, or another node, named.
    expected: BTreeSet<NodeId>,
    /// Nodes that an operator wrote off.
    without: BTreeSet<NodeId>,
    heard: BTreeMap<NodeId, Heard>,
    outgoing: Vec<Peer>,
}

/// Why a volume was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// Nobody has these shards of it.
    Missing {
        /// Which.
        shards: Vec<u32>,
    },
    /// Nodes that were not heard could know a later configuration of a shard, in which more was written than the others have.
    Uncertain {
        /// Which shard.
        shard: ShardId,
        /// Its members that were not heard.
        unheard: Vec<Member>,
    },
    /// It was being deleted: a member has dropped its replica, or was told so.
    Deleted {
        /// Who.
        node: NodeId,
    },
    /// Its shards do not add up to a volume.
    Unfit {
        /// Which shard.
        shard: ShardId,
    },
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { shards } => {
                write!(
                    f,
                    "no node that was heard has its shards {shards:?}; bring back the nodes that had them and rebuild again"
                )
            }
            Self::Uncertain { shard, unheard } => {
                let names: Vec<String> = unheard.iter().map(|m| format!("{} (disk {})", m.node, m.store)).collect();
                write!(
                    f,
                    "of {shard}, {} was not heard and could hold more than the others; bring it back and rebuild again",
                    names.join(" and ")
                )
            }
            Self::Deleted { node } => write!(f, "it was being deleted: {node} has dropped its copy"),
            Self::Unfit { shard } => write!(f, "{shard} does not have the size that the volume's others say"),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// All records, by key.
    pub pairs: Vec<(String, Bytes)>,
    /// They are all of this revision, above all that any node was told.
    pub revision: Revision,
    /// The volumes that are whole.
    pub volumes: Vec<VolumeInfo>,
    /// Those that are not among them, and why.
    pub left_out: Vec<(VolumeId, LeftOut)>,
    /// The nodes.
    pub nodes: Vec<NodeId>,
}

impl Rebuild {
    /// For a cluster whose nodes an operator named; `without` those that he wrote off.
    pub fn new(cluster: ClusterId, expected: BTreeSet<NodeId>, without: BTreeSet<NodeId>) -> Self {
        Self { cluster, expected, without, heard: BTreeMap::new(), outgoing: Vec::new() }
    }

    /// The nodes that are still to be heard: those named by anybody, and not written off.
    pub fn missing(&self) -> BTreeSet<NodeId> {
        let mut named = self.expected.clone();
        for replica in self.heard.values().flat_map(|h| h.known.values()) {
            let c = &replica.config;
            let members = c.members.iter().chain(&c.anchors).chain(&c.holders).map(|m| m.node);
            named.extend(members.chain(c.learner.map(|l| l.member.node)));
        }
        named.extend(self.heard.keys());
        named.retain(|id| !self.without.contains(id) && !self.heard.get(id).is_some_and(|h| h.done));
        named
    }

    /// The nodes that have said all.
    pub fn heard(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.heard.iter().filter(|(_, h)| h.done).map(|(id, _)| *id)
    }

    fn event(&mut self, event: Event) {
        match event {
            // What it said before its link broke still holds: without an authority nothing new is decided.
            Event::Frame { from, frame } if from.side == Side::Accepted && from.lane == Lane::Data => {
                match (from.peer, Message::decode(&frame)) {
                    // A node that was written off has no say, even if it comes.
                    (Peer::Node(id), Ok(Message::Register(m)))
                        if m.node.entry.node == id && m.last && !self.without.contains(&id) =>
                    {
                        let heard = Heard { info: m.node, seen: m.seen, known: BTreeMap::new(), done: false };
                        self.heard.insert(id, heard);
                        self.outgoing.push(from.peer);
                    }
                    (Peer::Node(id), Ok(Message::Known(m))) => {
                        let Some(heard) = self.heard.get_mut(&id) else { return };
                        heard.known.extend(m.replicas.into_iter().map(|r| (r.config.shard, r)));
                        heard.done |= m.last;
                        self.expected.extend(m.nodes);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The records, from all that was heard. `meta` is the name of the history that begins with them.
    pub fn plan(&self, meta: MetaUuid) -> Rebuilt {
        let (start, revision) = self.beyond();
        let starts = alloc::vec![Start { number: start, meta, after: revision }];
        let cluster = ClusterRecord { cluster: self.cluster, starts };
        let mut pairs = alloc::vec![(Key::Cluster.text(), encode(&cluster))];
        for heard in self.heard.values().filter(|h| h.done) {
            let record = node_record(&heard.info);
            pairs.push((Key::Node(record.entry.node).text(), encode(&record)));
        }
        let mut volumes = Vec::new();
        let mut left_out = Vec::new();
        for (id, shards) in self.greatest() {
            match self.volume(id, &shards) {
                Ok((record, shards)) => {
                    volumes.push(record.info.clone());
                    pairs.push((Key::Volume(id).text(), encode(&record)));
                    pairs.extend(shards.iter().map(|s| (Key::Shard(s.config.shard).text(), encode(s))));
                }
                Err(why) => left_out.push((id, why)),
            }
        }
        Rebuilt { pairs, revision: revision.next(), volumes, left_out, nodes: self.heard().collect() }
    }

    /// A start of the authority above every one that anybody was told of, and the greatest revision of all.
    fn beyond(&self) -> (u64, Revision) {
        let start = self.heard.values().map(|h| h.seen.start).max().unwrap_or(0);
        let told = self.heard.values().map(|h| h.seen.revision);
        let known = self.heard.values().flat_map(|h| h.known.values()).map(|r| r.config.revision);
        (start + 1, Revision(told.chain(known).max().unwrap_or_default().0 + GAP))
    }

    /// The greatest configuration of each shard, by volume.
    fn greatest(&self) -> BTreeMap<VolumeId, BTreeMap<u32, &Configuration>> {
        let mut volumes: BTreeMap<VolumeId, BTreeMap<u32, &Configuration>> = BTreeMap::new();
        for replica in self.heard.values().filter(|h| h.done).flat_map(|h| h.known.values()) {
            let c = &replica.config;
            let shard = volumes.entry(c.shard.volume).or_default().entry(c.shard.index).or_insert(c);
            if c.is_newer_than(shard) {
                *shard = c;
            }
        }
        volumes
    }

    /// Whether the disk of a replica was heard; if so, whether it has the shard.
    fn has(&self, member: Member, shard: ShardId) -> Option<bool> {
        let heard = self.heard.get(&member.node).filter(|h| h.done && h.info.store == member.store)?;
        Some(heard.known.contains_key(&shard))
    }

    /// A volume's records, if all of it is known for certain.
    fn volume(
        &self,
        id: VolumeId,
        shards: &BTreeMap<u32, &Configuration>,
    ) -> Result<(VolumeRecord, Vec<ShardRecord>), LeftOut> {
        shards.values().try_for_each(|c| self.is_certain(c))?;
        let newest = shards.values().max_by_key(|c| c.revision).expect("a volume has a shard");
        // It may have grown, and not all have been told yet: a volume never becomes smaller.
        let layout = shards.values().map(|c| c.layout).max_by_key(|l| l.blocks).expect("a volume has a shard");
        let missing: Vec<u32> = (0..layout.shards() as u32).filter(|i| !shards.contains_key(i)).collect();
        if !missing.is_empty() || layout.shards() == 0 {
            return Err(LeftOut::Missing { shards: missing });
        }
        // Who was not told of it is as large as it was.
        let fits = |c: &Configuration| c.blocks > 0 && c.blocks == c.layout.blocks_of(c.shard.index);
        let unfit = shards.values().find(|c| !fits(c) || c.layout.shard_blocks != layout.shard_blocks);
        if let Some(c) = unfit {
            return Err(LeftOut::Unfit { shard: c.shard });
        }
        let generation = shards.values().map(|c| c.generation).max().expect("a volume has a shard");
        let latest = || shards.values().filter(|c| c.generation == generation);
        // A detachment that has reached one shard was decided for all.
        let client = if latest().all(|c| c.client.is_some()) { latest().find_map(|c| c.client) } else { None };
        let next = if generation == Generation(0) { generation } else { Generation(generation.0 + GAP) };
        let records: Vec<ShardRecord> = shards
            .values()
            .map(|c| {
                let blocks = layout.blocks_of(c.shard.index);
                self.shard(c, Configuration { layout, blocks, generation: next, client, ..(*c).clone() })
            })
            .collect();
        let info =
            VolumeInfo { volume: id, size: layout.blocks * BLOCK_BYTES as u64, shard_blocks: layout.shard_blocks };
        let record = VolumeRecord {
            info,
            copies: newest.target_copies,
            shards: records.len() as u32,
            generation: next,
            // For no run that there is: the host is given a new generation when it comes, and its old one is fenced. Nor does any configuration say that a
            // volume is attached read only: whoever wants that has to say so again.
            attached: client.map(|host| Attachment { host, incarnation: Incarnation(0), read_only: false }),
            // No configuration says what a volume may do; whoever throttled it has to say so again.
            throttle: Throttle::default(),
            left: if client.is_none() { latest().find_map(|c| c.client) } else { None },
            // Stores may hold some of which no node tells. Each took a revision, so no new one is named like any of them.
            points: Vec::new(),
            last_point: self.beyond().1.0,
            deleted: false,
        };
        Ok((record, records))
    }

    /// Whether no later configuration of a shard can be in force than the greatest that is known.
    ///
    /// The next after it would be led by one of its anchors, and would have at least `min_copies` members before anything was written in it; those that were heard
    /// do not know of it, so all of its members would be among those that were not.
    fn is_certain(&self, c: &Configuration) -> Result<(), LeftOut> {
        if c.deleted {
            return Err(LeftOut::Deleted { node: c.primary });
        }
        let unheard: Vec<Member> = c.anchors.iter().copied().filter(|m| self.has(*m, c.shard).is_none()).collect();
        let gone: BTreeSet<NodeId> = unheard.iter().map(|m| m.node).chain(self.without.iter().copied()).collect();
        if !unheard.is_empty() && gone.len() >= usize::from(c.min_copies) {
            return Err(LeftOut::Uncertain { shard: c.shard, unheard });
        }
        // A member drops what it has only when the volume is deleted. One that never served may not have been made everywhere.
        let dropped = c.members.iter().find(|m| self.has(**m, c.shard) == Some(false));
        match dropped {
            Some(member) if !c.newborn => Err(LeftOut::Deleted { node: member.node }),
            _ => Ok(()),
        }
    }

    /// The record of a shard, which goes on in a new epoch with the same members.
    fn shard(&self, known: &Configuration, mut next: Configuration) -> ShardRecord {
        next.epoch = Epoch(known.epoch.0 + GAP);
        // Whoever is without a replica now is without what was written.
        next.newborn = false;
        let learner = next.learner.take().map(|l| l.member);
        let others = self.heard.iter().filter(|(_, h)| h.done && h.known.contains_key(&known.shard));
        let others = others.map(|(id, h)| Member { node: *id, store: h.info.store });
        let keeps: BTreeSet<Member> = known.holders.iter().copied().chain(learner).chain(others).collect();
        let kept = |m: &Member| !next.members.contains(m) && !self.without.contains(&m.node);
        next.holders = keeps.into_iter().filter(kept).collect();
        if !next.fence.contains(&known.primary) {
            next.fence.push(known.primary);
        }
        ShardRecord { served_by: alloc::vec![known.primary], config: next, plan: 0, releasing: Vec::new() }
    }
}

fn node_record(info: &NodeInfo) -> NodeRecord {
    NodeRecord {
        entry: info.entry.clone(),
        store: info.store,
        incarnation: info.incarnation,
        rack: info.rack.clone(),
        capacity: info.space.capacity,
        health: Health::Sound,
        draining: false,
    }
}

impl Machine for Rebuild {
    fn step(&mut self, _: Time, inbox: &mut Inbox, out: &mut Outbox) {
        for input in inbox.drain(..) {
            if let Input::Net(event) = input {
                self.event(event);
            }
        }
        for peer in self.outgoing.drain(..) {
            out.send(Link::from(peer), Message::from(Collect {}).frame());
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
