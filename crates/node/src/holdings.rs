//! What all replicas of a node come to, kept as they change: it is told every second, and a node of many replicas that looked at all of
//! them for it would do little else while it idles.

use crate::Node;
use alloc::collections::{BTreeMap, BTreeSet};
use base::{BLOCK_BYTES, ShardId};
use replica::Replica;

/// What one replica adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// Bytes that it may come to hold.
    reserved: u64,
    /// Blocks of it that are rotten and could be had from nobody.
    lost: u64,
    /// Whether it fills a learner.
    teaches: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    shares: BTreeMap<ShardId, Share>,
    /// Bytes that they may come to hold.
    pub(crate) reserved: u64,
    /// Blocks that could be had from nobody.
    pub(crate) lost: u64,
    /// Those that have such blocks.
    pub(crate) damaged: BTreeSet<ShardId>,
    /// Those that fill a learner.
    pub(crate) teaching: BTreeSet<ShardId>,
}

impl Holdings {
    /// As a replica is now; none when there is none any more.
    fn set(&mut self, shard: ShardId, share: Option<Share>) {
        let before = match share {
            Some(share) => self.shares.insert(shard, share),
            None => self.shares.remove(&shard),
        };
        if before == share {
            return;
        }
        let of = |share: Option<Share>| share.map_or((0, 0), |share| (share.reserved, share.lost));
        let ((reserved, lost), (less, found)) = (of(share), of(before));
        self.reserved = self.reserved - less + reserved;
        self.lost = self.lost - found + lost;
        keep(&mut self.damaged, shard, lost > 0);
        keep(&mut self.teaching, shard, share.is_some_and(|share| share.teaches));
    }
}

fn keep(set: &mut BTreeSet<ShardId>, shard: ShardId, wanted: bool) {
    if wanted {
        set.insert(shard);
    } else {
        set.remove(&shard);
    }
}

fn share_of(replica: &Replica) -> Share {
    Share {
        reserved: u64::from(replica.config().blocks) * BLOCK_BYTES as u64,
        lost: replica.lost().len() as u64,
        teaches: replica.is_teaching(),
    }
}

impl Node {
    /// A replica may have changed in this turn, or be gone.
    pub(crate) fn take_stock(&mut self, shard: ShardId) {
        self.holdings.set(shard, self.replicas.get(&shard).map(share_of));
    }

    /// Whether what is kept is what looking at all replicas would give; for tests.
    pub fn holdings_are_right(&self) -> bool {
        let all: BTreeMap<ShardId, Share> = self.replicas.iter().map(|(shard, r)| (*shard, share_of(r))).collect();
        let of = |wanted: fn(&Share) -> bool| all.iter().filter(|(_, s)| wanted(s)).map(|(id, _)| *id).collect();
        let (damaged, teaching): (BTreeSet<ShardId>, BTreeSet<ShardId>) = (of(|s| s.lost > 0), of(|s| s.teaches));
        let Holdings { shares, reserved, lost, damaged: hurt, teaching: teachers } = &self.holdings;
        (shares, *reserved, *lost) == (&all, all.values().map(|s| s.reserved).sum(), all.values().map(|s| s.lost).sum())
            && (hurt, teachers) == (&damaged, &teaching)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replicas_come_to_follows_each_of_them_and_goes_with_it() {
        let shard = |index| ShardId { volume: base::VolumeId(1), index };
        let share = |reserved, lost, teaches| Some(Share { reserved, lost, teaches });
        let sums = |h: &Holdings| (h.reserved, h.lost, h.damaged.len(), h.teaching.len());
        let mut holdings = Holdings::default();
        holdings.set(shard(1), share(10, 0, true));
        holdings.set(shard(2), share(5, 3, false));
        assert_eq!(sums(&holdings), (15, 3, 1, 1));
        holdings.set(shard(2), share(5, 3, false));
        holdings.set(shard(1), share(20, 1, false));
        assert_eq!(sums(&holdings), (25, 4, 2, 0));
        holdings.set(shard(2), share(5, 0, true));
        assert_eq!((sums(&holdings), holdings.damaged.first()), ((25, 1, 1, 1), Some(&shard(1))));
        [1, 2, 3].into_iter().for_each(|index| holdings.set(shard(index), None));
        assert_eq!(sums(&holdings), (0, 0, 0, 0));
        assert!(holdings.shares.is_empty());
    }
}
