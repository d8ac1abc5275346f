//! What each replica's disk is promised and what it keeps, counted as shards change. One place counts, so that placement, quarantine and what
//! people are told cannot disagree (I10).
//!
//! It knows records of shards only: neither capacity nor health of nodes.

use crate::records::ShardRecord;
use crate::ties::Ties;
use alloc::collections::{BTreeMap, BTreeSet};
use base::{Member, NodeId, ShardId, VolumeId};

/// One disk's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Bytes promised to members and learners.
    pub reserved: u64,
    /// Bytes kept by holders and by replicas that have not been dropped yet.
    pub held: u64,
    /// Replicas that are members.
    pub replicas: u32,
    /// Of those, primaries.
    pub primaries: u32,
    /// Every shard that names the disk.
    pub shards: BTreeSet<ShardId>,
}

/// All accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    accounts: BTreeMap<Member, Account>,
    /// Replicas being learned, by the node that learns.
    learning_in: BTreeMap<NodeId, u32>,
    /// Learners, by the node that fills them.
    learning_out: BTreeMap<NodeId, u32>,
    /// Which nodes share shards.
    ties: Ties,
    /// Volumes with a frozen point: all that they have may be written anew while the point keeps what was there.
    frozen: BTreeSet<VolumeId>,
}

impl Ledger {
    /// The account of a disk; none when no shard names it.
    pub(crate) fn of(&self, member: Member) -> Option<&Account> {
        self.accounts.get(&member)
    }

    /// Every shard that names the disk.
    pub(crate) fn shards_of(&self, member: Member) -> alloc::vec::Vec<ShardId> {
        self.of(member).map(|a| a.shards.iter().copied().collect()).unwrap_or_default()
    }

    /// Bytes promised to and kept by a disk.
    pub(crate) fn taken(&self, member: Member) -> u64 {
        self.of(member).map_or(0, |a| a.reserved.saturating_add(a.held))
    }

    /// Which nodes share shards with which, as members or learners.
    pub(crate) fn ties(&self) -> &Ties {
        &self.ties
    }

    /// How many replicas a node learns now.
    pub(crate) fn learning_in(&self, node: NodeId) -> u32 {
        self.learning_in.get(&node).copied().unwrap_or(0)
    }

    /// How many learners a node fills now.
    pub(crate) fn learning_out(&self, node: NodeId) -> u32 {
        self.learning_out.get(&node).copied().unwrap_or(0)
    }

    /// For how many bytes one that is written counts in a volume.
    pub(crate) fn times(&self, volume: VolumeId) -> u64 {
        if self.frozen.contains(&volume) { 2 } else { 1 }
    }

    /// Bytes that one replica of a shard may come to hold.
    pub(crate) fn bytes_of(&self, record: &ShardRecord) -> u64 {
        record.bytes() * self.times(record.config.shard.volume)
    }

    /// Whether a volume has a frozen point, from now on; all its shards are given, in any order.
    pub(crate) fn freeze<'a>(
        &mut self,
        volume: VolumeId,
        frozen: bool,
        shards: impl Iterator<Item = &'a ShardRecord> + Clone,
    ) {
        shards.clone().for_each(|record| self.remove(record));
        if frozen {
            self.frozen.insert(volume);
        } else {
            self.frozen.remove(&volume);
        }
        shards.for_each(|record| self.add(record));
    }

    /// Counts a record in.
    pub(crate) fn add(&mut self, record: &ShardRecord) {
        self.count(record, true);
    }

    /// Counts a record out.
    pub(crate) fn remove(&mut self, record: &ShardRecord) {
        self.count(record, false);
    }

    fn count(&mut self, record: &ShardRecord, add: bool) {
        let (c, bytes) = (&record.config, self.bytes_of(record));
        let (id, learner) = (c.shard, c.learner.map(|l| l.member));
        // A deleted shard has nothing but what its nodes have not dropped yet.
        let (members, primary) = if c.deleted { (&[][..], None) } else { (&c.members[..], Some(c.primary)) };
        for &member in members.iter().chain(&learner) {
            let account = self.account(member, id, add);
            step(&mut account.reserved, bytes, add);
            if Some(member) != learner {
                step32(&mut account.replicas, add);
                if primary == Some(member.node) {
                    step32(&mut account.primaries, add);
                }
            }
            self.settle(member);
        }
        let sharing: alloc::vec::Vec<NodeId> = members.iter().chain(&learner).map(|m| m.node).collect();
        self.ties.count(&sharing, add);
        for &member in c.holders.iter().chain(&record.releasing) {
            step(&mut self.account(member, id, add).held, bytes, add);
            self.settle(member);
        }
        if let Some(learner) = learner {
            let sides = [(&mut self.learning_in, learner.node), (&mut self.learning_out, c.primary)];
            for (map, node) in sides {
                let count = map.entry(node).or_default();
                step32(count, add);
                if *count == 0 {
                    map.remove(&node);
                }
            }
        }
    }

    fn account(&mut self, member: Member, shard: ShardId, add: bool) -> &mut Account {
        let account = self.accounts.entry(member).or_default();
        if add {
            account.shards.insert(shard);
        } else {
            account.shards.remove(&shard);
        }
        account
    }

    /// An account that nobody names any more is forgotten.
    fn settle(&mut self, member: Member) {
        if self.accounts.get(&member).is_some_and(|a| *a == Account::default()) {
            self.accounts.remove(&member);
        }
    }
}

fn step(value: &mut u64, by: u64, add: bool) {
    let next = if add { value.checked_add(by) } else { value.checked_sub(by) };
    *value = next.expect("an account does not add up");
}

fn step32(value: &mut u32, add: bool) {
    let next = if add { value.checked_add(1) } else { value.checked_sub(1) };
    *value = next.expect("a count does not add up");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::newborn;
    use base::{StoreUuid, VolumeId};

    fn member(node: u64) -> Member {
        Member { node: NodeId(node), store: StoreUuid(u128::from(node)) }
    }

    #[test]
    fn what_is_counted_in_can_be_counted_out_again() {
        let id = ShardId { volume: VolumeId(1), index: 0 };
        let mut record =
            newborn(id, base::Layout { blocks: 10, shard_blocks: 10 }, alloc::vec![member(1), member(2)], NodeId(1), 2);
        record.config.holders.push(member(3));
        record.begin(member(4), base::Revision(9));
        record.releasing.push(member(5));
        let mut ledger = Ledger::default();
        ledger.add(&record);
        assert_eq!(ledger.taken(member(1)), 40960);
        assert_eq!((ledger.of(member(3)).unwrap().held, ledger.of(member(4)).unwrap().reserved), (40960, 40960));
        assert_eq!((ledger.of(member(1)).unwrap().primaries, ledger.of(member(2)).unwrap().primaries), (1, 0));
        assert_eq!((ledger.learning_in(NodeId(4)), ledger.learning_out(NodeId(1))), (1, 1));
        // What has a frozen point counts twice, on every disk.
        let once = ledger.clone();
        ledger.freeze(VolumeId(1), true, core::iter::once(&record));
        assert_eq!((ledger.taken(member(1)), ledger.of(member(3)).unwrap().held), (81920, 81920));
        assert_eq!(ledger.of(member(1)).unwrap().replicas, 1);
        ledger.freeze(VolumeId(1), false, core::iter::once(&record));
        assert_eq!(ledger, once);
        ledger.remove(&record);
        assert_eq!(ledger, Ledger::default());
    }
}
