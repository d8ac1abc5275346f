//! What control messages talk about: nodes, volumes, their states, and refusals with their codes.

use alloc::string::String;
use alloc::vec::Vec;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::net::Addresses;
use base::{
    Configuration, Epoch, Generation, HostId, Incarnation, NodeId, Sequence, ShardId, StoreUuid, VolumeId, choice,
    record,
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
        /// Blocks the learner has been sent, of those it will be.
        pub learned_blocks: u32,
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
        /// The generation in force.
        pub generation: Generation,
        /// What it may do at most.
        pub throttle: Throttle,
        /// What its host last said of I/O that waits for that; nothing, when none has waited since it was attached.
        pub throttled: Option<ThrottledVolume>,
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
    }
}
