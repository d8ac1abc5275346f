//! What the zone's authority decides about one shard: who holds it, who leads, who may write.

use crate::id::{Epoch, Generation, HostId, NodeId, Revision, ShardId, StoreUuid};
use crate::record;
use alloc::vec::Vec;

record! {
    /// One formatting of one node's disk. A node that comes back with another disk is another member.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct Member {
        /// The node.
        pub node: NodeId,
        /// Its store.
        pub store: StoreUuid,
    }
}

record! {
    /// A replica that is being filled so that it can be admitted.
    #[derive(Copy)]
    pub struct Learner {
        /// Who learns.
        pub member: Member,
        /// Which attempt this is: the record's revision when it began. What belongs to another plan does not count.
        pub plan: u64,
    }
}

record! {
    /// The configuration of a shard, as the authority recorded it. One per epoch (I1); a change of learner or holders
    /// alone keeps the epoch and takes a new revision.
    pub struct Configuration {
        /// Of which shard.
        pub shard: ShardId,
        /// Fencing.
        pub epoch: Epoch,
        /// Of the authority's record. Of two configurations of one epoch the greater revision holds.
        pub revision: Revision,
        /// Blocks of 4 KiB in the shard.
        pub blocks: u32,
        /// The one that sequences writes and answers reads. Always one of `members`.
        pub primary: NodeId,
        /// Every acknowledged write is on each of them.
        pub members: Vec<Member>,
        /// Members of the last configuration that had `min_copies`: only these can carry the shard on (I4).
        pub anchors: Vec<Member>,
        /// Who is being filled.
        pub learner: Option<Learner>,
        /// Who left the configuration and keeps its data until released (R13).
        pub holders: Vec<Member>,
        /// Copies wanted.
        pub target_copies: u8,
        /// Copies below which nothing is acknowledged.
        pub min_copies: u8,
        /// The attachment that may write.
        pub generation: Generation,
        /// The host that holds it; none while detached.
        pub client: Option<HostId>,
        /// Primaries of earlier generations that may still be answering reads until they confirm this epoch.
        pub fence: Vec<NodeId>,
        /// Whether no configuration of this shard has ever served: its members create their replicas empty.
        pub newborn: bool,
        /// Whether the volume is deleted: whoever holds a replica drops it.
        pub deleted: bool,
    }
}

impl Configuration {
    /// Whether `member` must have every acknowledged write.
    pub fn is_member(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// The member on `node`, if there is one.
    pub fn member_on(&self, node: NodeId) -> Option<Member> {
        self.members.iter().copied().find(|m| m.node == node)
    }

    /// Whether writes may be acknowledged.
    pub fn has_min_copies(&self) -> bool {
        self.members.len() >= usize::from(self.min_copies)
    }

    /// Whether this one replaces `other`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.revision) > (other.epoch, other.revision)
    }
}
