//! I10, and nothing leaks: what is taken is taken by something that somebody names.
//!
//! - While it runs, a store counts as named what its indexes, windows and frozen points name, block by block, and has nothing of a shard that its node has no replica of.
//! - When all is calm, the authority's accounts are the sum of what it shows of volumes, no account goes beyond what its disk may be promised, and nothing is kept that no
//!   volume needs any more; and each node's own account is the same sum.
//! - When the power is cut, each disk holds replicas of the shards that name it, and of no other.

use super::epochs::Epochs;
use base::{BLOCK_BYTES, Configuration, NodeId, ShardId};
use std::collections::BTreeMap;
use store::Store;
use wire::{NodeState, VolumeState};

/// Judges a store at work. `has` says of which shards its node has a replica, but for one whose disk lies: what its log has lost may have been all that tells of a replica.
pub fn store(node: NodeId, store: &Store, has: impl Fn(ShardId) -> bool) -> Result<(), String> {
    store.audit().map_err(|miscount| format!("space: the store of {node} leaks: {miscount}"))?;
    let stray = store.shards().into_iter().find(|shard| *shard != ShardId::NODE && !has(*shard));
    stray.map_or(Ok(()), |shard| {
        Err(format!("space: the store of {node} has something of {shard}, and the node has no replica"))
    })
}

/// What a disk should be promised, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Account {
    reserved: u64,
    /// As the node counts it, which does not know which volumes have frozen points.
    once: u64,
    replicas: u32,
    primaries: u32,
}

/// What should be, by the disk's node and store.
fn accounts(volumes: &[VolumeState]) -> BTreeMap<(NodeId, base::StoreUuid), Account> {
    let mut accounts: BTreeMap<_, Account> = BTreeMap::new();
    for volume in volumes {
        let times = if volume.points.is_empty() { 1 } else { 2 };
        for c in volume.shards.iter().map(|shard| &shard.config).filter(|c| !c.deleted) {
            let bytes = u64::from(c.blocks) * BLOCK_BYTES as u64;
            for (member, learns) in
                c.members.iter().map(|m| (*m, false)).chain(c.learner.iter().map(|learner| (learner.member, true)))
            {
                let account = accounts.entry((member.node, member.store)).or_default();
                account.reserved += bytes * times;
                account.once += bytes;
                account.replicas += u32::from(!learns);
                account.primaries += u32::from(!learns && member.node == c.primary);
            }
        }
    }
    accounts
}

/// The first account that does not add up yet; none when all do.
pub fn unsettled(volumes: &[VolumeState], nodes: &[NodeState]) -> Option<String> {
    let accounts = accounts(volumes);
    for node in nodes {
        let (id, space) = (node.info.entry.node, &node.info.space);
        let right = accounts.get(&(id, node.info.store)).copied().unwrap_or_default();
        let said = (node.reserved, node.replicas, node.primaries);
        if said != (right.reserved, right.replicas, right.primaries) {
            return Some(format!(
                "space: {id} has (bytes, replicas, primaries) {said:?} in its account, and its shards come to {right:?}"
            ));
        }
        if node.held > 0 {
            return Some(format!("space: {id} keeps {} bytes that no volume needs", node.held));
        }
        if node.reserved > space.capacity {
            return Some(format!("space: {id} is promised {} bytes and has {}", node.reserved, space.capacity));
        }
        if space.reserved != right.once {
            return Some(format!(
                "space: {id} has replicas of {} bytes, and its shards come to {right:?}",
                space.reserved
            ));
        }
    }
    None
}

/// Judges what a dead node's disk holds. Somebody may have been put out of a shard at the very end: then it is named as a holder, or is just being let go.
pub fn at_rest<'a>(
    node: NodeId,
    held: impl Iterator<Item = &'a ShardId>,
    epochs: &Epochs,
    let_go: impl Fn(&Configuration) -> bool,
) -> Result<(), String> {
    for shard in held {
        let config = epochs.newest(*shard);
        let named = |c: &Configuration| {
            let learns = c.learner.is_some_and(|learner| learner.member.node == node);
            c.member_on(node).is_some() || c.holders.iter().any(|m| m.node == node) || learns || let_go(c)
        };
        if !config.is_some_and(named) {
            return Err(format!(
                "space: the disk of {node} still holds a replica of {shard}, which names it nowhere: {config:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::convergence::tests::{node, volume};
    use super::super::epochs::tests::config;
    use super::*;
    use wire::VolumeCondition;

    #[test]
    fn an_account_that_is_not_the_sum_of_its_shards_is_named() {
        let volumes = [volume(config(3, 1, &[1, 2]), VolumeCondition::Ok)];
        let bytes = u64::from(volumes[0].shards[0].config.blocks) * BLOCK_BYTES as u64;
        let good = |id: u64| {
            let mut state = node(id);
            (state.reserved, state.replicas, state.primaries) = (bytes, 1, u32::from(id == 1));
            (state.info.space.reserved, state.info.space.capacity) = (bytes, 10 * bytes);
            state
        };
        assert!(bytes > 0);
        assert_eq!(unsettled(&volumes, &[good(1), good(2), node(3)]), None);
        let wrong = |change: &dyn Fn(&mut NodeState)| {
            let mut state = good(2);
            change(&mut state);
            unsettled(&volumes, &[good(1), state]).expect("it is wrong")
        };
        assert!(wrong(&|n| n.reserved += 1).contains("node-2 has (bytes"));
        assert!(wrong(&|n| n.replicas = 0).contains("come to"));
        assert!(wrong(&|n| n.primaries = 1).contains("come to"));
        assert!(wrong(&|n| n.held = 4096).contains("keeps 4096 bytes"));
        assert!(wrong(&|n| n.info.space.capacity = bytes - 1).contains("is promised"));
        assert!(wrong(&|n| n.info.space.reserved = 2 * bytes).contains("has replicas of"));
        assert!(unsettled(&volumes, &[good(3)]).is_some(), "a disk that no shard names is promised nothing");
    }

    #[test]
    fn a_replica_that_nobody_names_is_found_on_a_disk() {
        let mut epochs = Epochs::default();
        let holders = vec![super::super::epochs::tests::member(4)];
        epochs.heard(&Configuration { holders, ..config(1, 1, &[1, 2]) }).unwrap();
        let shard = config(1, 1, &[1, 2]).shard;
        let judge = |node, shards: &[ShardId], let_go: bool| at_rest(NodeId(node), shards.iter(), &epochs, |_| let_go);
        assert_eq!((judge(2, &[shard], false), judge(4, &[shard], false)), (Ok(()), Ok(())));
        assert!(judge(3, &[shard], false).unwrap_err().contains("still holds"));
        assert_eq!((judge(3, &[shard], true), judge(3, &[], false)), (Ok(()), Ok(())));
        let other = ShardId { volume: base::VolumeId(77), index: 0 };
        assert!(judge(2, &[other], true).is_err());
    }
}
