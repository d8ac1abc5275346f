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
    /// What volume a shard is a part of. With it the shards of a volume say what the volume was, should the authority's metadata be lost.
    #[derive(Copy, Default)]
    pub struct Layout {
        /// Blocks of the whole volume.
        pub blocks: u64,
        /// Blocks in each of its shards but the last.
        pub shard_blocks: u32,
    }
}

impl Layout {
    /// How many shards the volume has.
    pub fn shards(&self) -> u64 {
        self.blocks.div_ceil(u64::from(self.shard_blocks.max(1)))
    }

    /// Blocks of one of its shards; 0 where it has none.
    pub fn blocks_of(&self, index: u32) -> u32 {
        let before = u64::from(index) * u64::from(self.shard_blocks);
        self.blocks.saturating_sub(before).min(u64::from(self.shard_blocks)) as u32
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
        /// What volume it is a part of.
        pub layout: Layout,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_says_how_many_shards_there_are_and_how_large_each_is() {
        let layout = Layout { blocks: 25, shard_blocks: 10 };
        assert_eq!(layout.shards(), 3);
        assert_eq!([0, 1, 2, 3].map(|i| layout.blocks_of(i)), [10, 10, 5, 0]);
        assert_eq!(Layout { blocks: 20, shard_blocks: 10 }.shards(), 2);
        assert_eq!((Layout::default().shards(), Layout::default().blocks_of(0)), (0, 0));
    }
}
