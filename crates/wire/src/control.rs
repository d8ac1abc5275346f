//! What control messages talk about: nodes, volumes, their states, and refusals with their codes.

use crate::points::VolumePoint;
use alloc::string::String;
use alloc::vec::Vec;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::net::{Addresses, Class, ClassBytes, Network, Traffic};
use base::log::Standing;
use base::{
    ClusterId, Configuration, Epoch, Generation, HostId, Incarnation, MetaUuid, NodeId, Revision, Sequence, ShardId,
    StoreUuid, VolumeId, choice, record,
};
use core::net::SocketAddr;

/// A socket address as a field: its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Field for Address {
    fn put(&self, w: &mut Writer) {
        alloc::string::ToString::to_string(&self.0).put(w);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        String::take(r)?.parse().map(Self).map_err(|_| Malformed { what: "socket address" })
    }
}

record! {
    /// Where a node listens.
    pub struct NodeEntry {
        /// Which node.
        pub node: NodeId,
        /// On the primary network.
        pub primary: Address,
        /// On the replication network.
        pub replication: Address,
    }
}

impl NodeEntry {
    /// As the network takes them.
    pub fn addresses(&self) -> Addresses {
        Addresses { primary: self.primary.0, replication: Some(self.replication.0) }
    }
}

record! {
    /// Who a node is.
    pub struct NodeInfo {
        /// Its id and addresses.
        pub entry: NodeEntry,
        /// Its disk.
        pub store: StoreUuid,
        /// Which run of it.
        pub incarnation: Incarnation,
        /// Its failure domain.
        pub rack: String,
        /// Its space.
        pub space: Space,
    }
}

record! {
    /// How far an authority's metadata had come when somebody was told something from them.
    #[derive(Copy, Default)]
    pub struct Seen {
        /// Which start of an authority on its metadata, counted; 0 is that nothing was ever told.
        pub start: u64,
        /// That start's own name: another start of the same number is another history.
        pub meta: MetaUuid,
        /// How far they had come.
        pub revision: Revision,
    }
}

impl Seen {
    /// Whether an authority that is at `now`, on metadata that were at revision `after` when it started, has this in its past. If not, its metadata are older than
    /// this, or others.
    pub fn is_past_of(&self, now: &Self, after: Revision) -> bool {
        match now.start {
            _ if self.start == 0 => true,
            start if start == self.start => now.meta == self.meta && now.revision >= self.revision,
            start => start > self.start && after >= self.revision,
        }
    }
}

record! {
    /// A replica, with all that its node knows of its shard.
    pub struct KnownReplica {
        /// No older epoch is obeyed.
        pub promised: Epoch,
        /// What it has.
        pub standing: Standing,
        /// The last sequence it has.
        pub end: Sequence,
        /// The newest configuration.
        pub config: Configuration,
    }
}

record! {
    /// A node that has been told more than the metadata of an authority know.
    #[derive(Copy)]
    pub struct Ahead {
        /// Which.
        pub node: NodeId,
        /// What it was told.
        pub seen: Seen,
    }
}

record! {
    /// A zone, for people.
    pub struct ZoneState {
        /// Which.
        pub cluster: ClusterId,
        /// How far its metadata are.
        pub at: Seen,
        /// Nodes it knows, and how many of them are up.
        pub nodes: u32,
        /// Of those, up.
        pub nodes_up: u32,
        /// Volumes that are not deleted.
        pub volumes: u32,
        /// Of their shards, those that have all copies and serve.
        pub shards_whole: u32,
        /// Their shards.
        pub shards: u32,
        /// Those whose missing copies are not made anew yet, because their nodes lost touch together with others and may come back.
        pub shards_put_off: u32,
        /// A node that knows more than the metadata do: they are not the newest, nothing is changed any more, and they must be rebuilt.
        pub behind: Option<Ahead>,
        /// Nodes that are slow, the first [`SLOW_NAMED_MAX`].
        pub slow: Vec<SlowNode>,
        /// What it did since its process began.
        pub counters: ZoneCounters,
    }
}

record! {
    /// What an authority did since its process began.
    #[derive(Copy, Default)]
    pub struct ZoneCounters {
        /// Registrations of processes that were one too many.
        pub overtaken: u64,
        /// Nodes that came with another disk.
        pub disks_lost: u64,
        /// Replicas that were on those.
        pub replicas_lost: u64,
        /// Replicas moved off nodes that are drained.
        pub drained: u64,
        /// Nodes removed.
        pub removed: u64,
        /// Replicas put out of their shards because their nodes were slow.
        pub slow_put_out: u64,
        /// Replicas on nodes that were slow which stayed, because too few copies, another node in trouble or the budget forbade it.
        pub slow_kept: u64,
        /// Times that a node took itself to be isolated.
        pub isolated: u64,
        /// Batches of wishes that were not looked at, because nothing in them showed that their node hears.
        pub unheard: u64,
    }
}

record! {
    /// Space of a store, in bytes.
    #[derive(Copy, Default)]
    pub struct Space {
        /// What it can hold in blocks of volumes.
        pub capacity: u64,
        /// What is promised to replicas.
        pub reserved: u64,
        /// Live blocks.
        pub used: u64,
        /// What can still be appended.
        pub room: u64,
        /// Bytes appended to the log since the process began, headers and what the cleaner moved included.
        pub log: u64,
        /// Of those, blocks that the cleaner moved.
        pub moved: u64,
        /// Bytes of checkpoints written since then.
        pub checkpoints: u64,
    }
}

/// Lost blocks that a node names; the others it only counts.
pub const LOST_NAMED_MAX: usize = 16;

record! {
    /// A block of which no good copy was found.
    #[derive(Copy)]
    pub struct LostBlock {
        /// Of which shard.
        pub shard: ShardId,
        /// Which.
        pub block: u32,
        /// It is a frozen point that lacks it: the volume has other data there by now.
        pub frozen: bool,
    }
}

record! {
    /// What rot a node found on its disk since its process began.
    #[derive(Default)]
    pub struct RotReport {
        /// Blocks whose bytes did not match their checksums, or that the disk failed to read.
        pub found: u64,
        /// Of those, mended with the bytes of another member.
        pub mended: u64,
        /// Blocks that no member had a good copy of, as things are.
        pub lost: u64,
        /// The first of them, at most [`LOST_NAMED_MAX`].
        pub named: Vec<LostBlock>,
        /// Headers of the log, pieces of checkpoints and superblocks that were rotten and were written again or replaced.
        pub rewritten: u64,
        /// Reads that the disk failed.
        pub reads_failed: u64,
        /// Segments looked at in the scrub's pass under way.
        pub scrubbed_segments: u32,
        /// Milliseconds since its last pass ended; none since the process began.
        pub scrubbed_ms: Option<u64>,
    }
}

record! {
    /// Bytes of each class on one network, in one direction.
    #[derive(Copy, Default)]
    pub struct ClassReport {
        /// Between hosts and nodes.
        pub client: u64,
        /// From member to member.
        pub replication: u64,
        /// Copies to learners.
        pub bulk: u64,
        /// Elections, the words around copying, and everything to and from the zone.
        pub control: u64,
        /// Keepalives.
        pub keepalive: u64,
    }
}

record! {
    /// What went over one network since the process of a node began.
    #[derive(Copy, Default)]
    pub struct NetworkReport {
        /// Bytes sent.
        pub sent: ClassReport,
        /// Bytes received.
        pub received: ClassReport,
        /// Keepalives sent.
        pub pings: u64,
        /// Keepalives answered.
        pub pongs: u64,
    }
}

record! {
    /// A node's networks and connections.
    #[derive(Copy, Default)]
    pub struct TrafficReport {
        /// The primary network.
        pub primary: NetworkReport,
        /// The replication network.
        pub replication: NetworkReport,
        /// Frames that came on the replication network and had no business there.
        pub misrouted: u64,
        /// Peers whose links ride the replication network, because the primary one does not carry them.
        pub aside: u64,
        /// Connections being opened.
        pub opening: u64,
        /// Connections being closed.
        pub closing: u64,
        /// Connections waiting to be opened or closed.
        pub queued: u64,
    }
}

impl From<&Traffic> for TrafficReport {
    fn from(t: &Traffic) -> Self {
        let classes = |bytes: &ClassBytes, network| ClassReport {
            client: bytes.get(network, Class::Client),
            replication: bytes.get(network, Class::Replication),
            bulk: bytes.get(network, Class::Bulk),
            control: bytes.get(network, Class::Control),
            keepalive: bytes.get(network, Class::Keepalive),
        };
        let [primary, replication] = Network::ALL.map(|network| NetworkReport {
            sent: classes(&t.sent, network),
            received: classes(&t.received, network),
            pings: t.pings[network as usize],
            pongs: t.pongs[network as usize],
        });
        let Traffic { misrouted, aside, opening, closing, queued, .. } = *t;
        Self { primary, replication, misrouted, aside, opening, closing, queued }
    }
}

choice! {
    /// What a primary says of its shard.
    #[derive(Copy)]
    pub enum ShardCondition: "shard condition" {
        /// Serving reads and writes.
        1 = Serving,
        /// Making its members equal before it serves.
        2 = Electing,
        /// Waiting for the authority to answer a proposal.
        3 = AwaitingAuthority,
        /// Waiting for a member, because fewer than min_copies are there.
        4 = AwaitingMember,
    }
}

record! {
    /// One shard, as its primary sees it.
    pub struct ShardReport {
        /// Which.
        pub shard: ShardId,
        /// In which epoch.
        pub epoch: Epoch,
        /// How it is.
        pub condition: ShardCondition,
        /// What is committed.
        pub committed: Sequence,
        /// Blocks that the learner has, of those it is to be sent.
        pub learned_blocks: u32,
        /// How it is filled, if it is.
        pub filling: Option<Filling>,
    }
}

record! {
    /// How a learner is being filled.
    #[derive(Copy)]
    pub struct Filling {
        /// Only with what changed while it was away.
        pub by_delta: bool,
        /// Blocks that it was to be sent when this attempt began.
        pub planned: u32,
        /// For how long it has been sent some, in milliseconds.
        pub for_ms: u64,
    }
}

record! {
    /// What a node has sent to learners since its process began.
    #[derive(Copy, Default)]
    pub struct Taught {
        /// Learners that were made whole by what had changed while they were away.
        pub by_delta: u64,
        /// Blocks sent to such, whether or not they were made whole in the end.
        pub delta_blocks: u64,
        /// All bytes of the messages with these.
        pub delta_bytes: u64,
        /// Learners that were made whole by all that there is.
        pub in_full: u64,
        /// Blocks sent to such.
        pub full_blocks: u64,
        /// All bytes of the messages with these.
        pub full_bytes: u64,
        /// Times that copying was halved, because clients were served more slowly for it.
        pub halved: u64,
    }
}

record! {
    /// How long the disk of a node takes for a write or a flush, as its store feels it, in the last second. A write counts by the 64 KiB.
    #[derive(Copy, Default)]
    pub struct DiskReport {
        /// Writes and flushes that ended.
        pub count: u32,
        /// What half of them took at most, in microseconds.
        pub median_us: u32,
        /// What all but one in a hundred took at most, in microseconds.
        pub p99_us: u32,
        /// The age of the oldest that has not ended, in microseconds; 0 when there is none.
        pub oldest_us: u32,
    }
}

/// Slow nodes that are named with a zone.
pub const SLOW_NAMED_MAX: usize = 16;

record! {
    /// A node whose disk is much slower than the others'.
    #[derive(Copy)]
    pub struct SlowNode {
        /// Which.
        pub node: NodeId,
        /// For how long it has been taken for slow, in milliseconds.
        pub for_ms: u64,
        /// For how long it will be at least, in milliseconds.
        pub left_ms: u64,
        /// What it said of its disk when it was found slow.
        pub seen: DiskReport,
        /// What the middle one of all nodes with enough to do had said.
        pub fleet: DiskReport,
        /// Replicas put out of their shards for it.
        pub put_out: u32,
        /// Replicas that are still members, because something forbids to put them out.
        pub kept: u32,
    }
}

record! {
    /// I/O that waits at a host.
    pub struct StuckShard {
        /// For which shard.
        pub shard: ShardId,
        /// In which epoch the host believes.
        pub epoch: Epoch,
        /// For how long the oldest has waited, in milliseconds; 0 when nothing waits any more.
        pub waiting_ms: u64,
    }
}

record! {
    /// What a volume may do at most. 0 is no limit. What counts as how much is said in `host::gate`, where it is held.
    #[derive(Copy, Default)]
    pub struct Throttle {
        /// I/Os in each second.
        pub iops: u64,
        /// Bytes read and written in each second.
        pub bytes_per_s: u64,
    }
}

record! {
    /// I/O that waits at a host because its volume may do no more: by design, and so never called stuck.
    #[derive(Copy)]
    pub struct ThrottledVolume {
        /// Of which volume.
        pub volume: VolumeId,
        /// Requests that wait now.
        pub waiting: u32,
        /// For how long the oldest of them has, in milliseconds.
        pub waiting_ms: u64,
        /// Requests that have waited and passed, since the volume was attached.
        pub delayed: u64,
    }
}

record! {
    /// What a host must know of a volume.
    pub struct VolumeInfo {
        /// Which.
        pub volume: VolumeId,
        /// Bytes.
        pub size: u64,
        /// Blocks in each shard but the last.
        pub shard_blocks: u32,
    }
}

choice! {
    /// How a volume is.
    pub enum VolumeCondition: "volume condition" {
        /// All copies there, serving.
        1 = Ok,
        /// Fewer copies than wanted, serving.
        2 = Degraded,
        /// I/O waits: a primary is being made.
        3 = StuckElecting,
        /// I/O waits for the authority.
        4 = StuckAwaitingAuthority,
        /// I/O waits for a member to come back.
        5 = StuckAwaitingMember,
        /// One copy.
        6 = AtRisk,
        /// Being made: not served yet.
        7 = Creating,
        /// Deleted; its replicas are being dropped.
        8 = Deleting,
    }
}

record! {
    /// A shard of a volume, for people.
    pub struct ShardState {
        /// Its configuration.
        pub config: Configuration,
        /// What its primary last said, if it said anything in this epoch.
        pub report: Option<ShardReport>,
        /// How it is.
        pub condition: VolumeCondition,
        /// For how long it has been so, in milliseconds.
        pub for_ms: u64,
        /// Members whose logs were found damaged: they count for nothing until they were filled anew.
        pub suspect: Vec<NodeId>,
        /// Members whose disks are gone: their nodes came back with others.
        pub lost: Vec<NodeId>,
    }
}

record! {
    /// What a node says of its touch with the nodes that it shares shards with, since its process began.
    #[derive(Copy, Default)]
    pub struct Touch {
        /// Such nodes.
        pub peers: u32,
        /// Of those, lost: neither heard on any network nor known to be dead, and not given up by the authority.
        pub lost: u32,
        /// For how long it has taken itself to be isolated, in milliseconds; none when it does not.
        pub isolated_ms: Option<u64>,
        /// How often it has.
        pub times: u64,
    }
}

record! {
    /// A volume, for people.
    pub struct VolumeState {
        /// What it is.
        pub info: VolumeInfo,
        /// How it is: the worst of its shards.
        pub condition: VolumeCondition,
        /// Wanted copies.
        pub copies: u8,
        /// Where it is attached, and in which generation.
        pub attached: Option<HostId>,
        /// Whether nothing may be written to it there.
        pub read_only: bool,
        /// The generation in force.
        pub generation: Generation,
        /// What it may do at most.
        pub throttle: Throttle,
        /// What its host last said of I/O that waits for that; nothing, when none has waited since it was attached.
        pub throttled: Option<ThrottledVolume>,
        /// Its frozen points, in the order in which they were asked for.
        pub points: Vec<VolumePoint>,
        /// Its shards.
        pub shards: Vec<ShardState>,
    }
}

choice! {
    /// How a node is.
    pub enum NodeCondition: "node condition" {
        /// Heard.
        1 = Up,
        /// Not heard, and not yet given up.
        2 = Suspect,
        /// Given up.
        3 = Failed,
        /// It failed and came back; it takes no new replica until each of its own is settled (R21).
        4 = Quarantined,
        /// Heard, but it lost touch with many others at once, so that it may be this one that is cut off. It takes nothing new and lets nothing go.
        5 = Isolated,
    }
}

choice! {
    /// What an operator wants of a node.
    #[derive(Copy)]
    pub enum NodeOrder: "order to a node" {
        /// All that it has is to be somewhere else.
        1 = Drain,
        /// Not any more.
        2 = Undrain,
        /// It is to be forgotten.
        3 = Remove,
    }
}

record! {
    /// How far a node that is drained has come. It is drained when both are 0.
    #[derive(Copy)]
    pub struct Drain {
        /// Replicas that are still on it.
        pub replicas: u32,
        /// Their bytes.
        pub bytes: u64,
    }
}

record! {
    /// A node, for people.
    pub struct NodeState {
        /// Who it is.
        pub info: NodeInfo,
        /// How it is.
        pub condition: NodeCondition,
        /// For how long it has been so, in milliseconds.
        pub for_ms: u64,
        /// Bytes promised on it by the authority.
        pub reserved: u64,
        /// Bytes kept on it by holders.
        pub held: u64,
        /// Replicas that are members.
        pub replicas: u32,
        /// Of those, primaries.
        pub primaries: u32,
        /// The rot that it says it found.
        pub rot: RotReport,
        /// What it says of its networks.
        pub traffic: TrafficReport,
        /// What it says it has sent to learners.
        pub taught: Taught,
        /// What it says of its touch with others.
        pub touch: Touch,
        /// Whether it is being drained, or is, and how far.
        pub drain: Option<Drain>,
        /// How its disk does, as it last said.
        pub disk: DiskReport,
        /// That it is slow, if it is.
        pub slow: Option<SlowNode>,
    }
}

choice! {
    /// The code of a refusal that people meet; each has a page in docs/errors/.
    #[derive(Copy)]
    pub enum ErrorCode: "error code" {
        /// No such volume, node or host.
        1 = NotFound,
        /// It is in use.
        2 = InUse,
        /// There is no room; the text has the numbers.
        3 = NoRoom,
        /// The request itself is wrong.
        4 = Invalid,
        /// It cannot be done now; try again.
        5 = Unavailable,
        /// It did not end in time; whether it was done is unknown.
        6 = TimedOut,
        /// The authority's metadata are older than what its nodes know: nothing is changed before they are rebuilt.
        25 = Outdated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_in_the_past_only_of_the_same_history() {
        let seen = |start, meta, revision| Seen { start, meta: MetaUuid(meta), revision: Revision(revision) };
        let me = seen(3, 30, 100);
        for (now, after, past) in [
            // The same start, further or not as far.
            (seen(3, 30, 100), 50, true),
            (seen(3, 30, 99), 50, false),
            // Another start of the same number.
            (seen(3, 31, 500), 50, false),
            // A later one, of metadata that had all of it or had not.
            (seen(4, 40, 101), 100, true),
            (seen(4, 40, 500), 99, false),
            (seen(9, 90, 500), 400, true),
            // An earlier one.
            (seen(2, 20, 500), 400, false),
            (seen(1, 10, 1), 0, false),
        ] {
            assert_eq!(me.is_past_of(&now, Revision(after)), past, "{now:?} after {after}");
        }
        assert!(Seen::default().is_past_of(&seen(1, 10, 1), Revision(0)), "who was told nothing believes anybody");
    }
}
