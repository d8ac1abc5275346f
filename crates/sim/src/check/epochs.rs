//! I1: one configuration per epoch. I4: a new primary was a complete member of the last configuration that had its minimum of copies.
//!
//! It hears every configuration that any machine tells another. Of one epoch only what the contract allows may change: revision, learner,
//! holders, fence, newborn; and below its minimum of copies its anchors may become fewer, when one turns out to have nothing. Successors are judged where both were heard of.

use base::{Configuration, Epoch, Generation, HostId, Member, NodeId, ShardId};
use std::collections::BTreeMap;

/// What an epoch fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fixed {
    primary: NodeId,
    members: Vec<Member>,
    generation: Generation,
    client: Option<HostId>,
    min_copies: u8,
    deleted: bool,
    blocks: u32,
}

/// The configurations heard of.
#[derive(Default)]
pub struct Epochs {
    shards: BTreeMap<ShardId, BTreeMap<Epoch, Configuration>>,
}

fn sorted(members: &[Member]) -> Vec<Member> {
    let mut members = members.to_vec();
    members.sort();
    members
}

/// Whether the anchors of an epoch may have become these.
fn carries_on(older: &Configuration, newer: &Configuration) -> bool {
    let fewer = newer.anchors.iter().all(|m| older.anchors.contains(m)) && !newer.anchors.is_empty();
    sorted(&older.anchors) == sorted(&newer.anchors) || (fewer && !older.has_min_copies())
}

fn fixed(config: &Configuration) -> Fixed {
    Fixed {
        primary: config.primary,
        members: sorted(&config.members),
        generation: config.generation,
        client: config.client,
        min_copies: config.min_copies,
        deleted: config.deleted,
        blocks: config.blocks,
    }
}

impl Epochs {
    /// Some machine told another of this.
    /// Whether of a new epoch.
    pub fn heard(&mut self, config: &Configuration) -> Result<bool, String> {
        let known = self.shards.entry(config.shard).or_default();
        if let Some(same) = known.get(&config.epoch) {
            let (older, newer) = if config.revision > same.revision { (same, config) } else { (config, same) };
            if fixed(same) != fixed(config) || !carries_on(older, newer) {
                return Err(format!("I1: two configurations of one epoch: {same:?} and {config:?}"));
            }
            if config.revision > same.revision {
                known.insert(config.epoch, config.clone());
            }
            return Ok(false);
        }
        let primary =
            config.member_on(config.primary).ok_or_else(|| format!("the primary is no member: {config:?}"))?;
        if config.has_min_copies() && !config.deleted && sorted(&config.members) != sorted(&config.anchors) {
            return Err(format!("I4: a configuration with its minimum of copies must be its own anchor: {config:?}"));
        }
        let before = known.range(..config.epoch).next_back().filter(|(epoch, _)| epoch.next() == config.epoch);
        if let Some((_, before)) = before {
            if !before.anchors.contains(&primary) {
                return Err(format!("I4: the primary was no complete member before: {before:?} then {config:?}"));
            }
            if config.generation < before.generation {
                return Err(format!("I9: a generation went back: {before:?} then {config:?}"));
            }
            let admitted = |m: &Member| before.learner.as_ref().is_some_and(|learner| learner.member == *m);
            let known_before = |m: &Member| before.members.contains(m) || before.anchors.contains(m) || admitted(m);
            if let Some(stranger) = config.members.iter().find(|m| !known_before(m)) {
                return Err(format!("I4: {stranger:?} never learned: {before:?} then {config:?}"));
            }
        }
        known.insert(config.epoch, config.clone());
        Ok(true)
    }

    /// The configuration of an epoch, if it was heard of.
    pub fn of(&self, shard: ShardId, epoch: Epoch) -> Option<&Configuration> {
        self.shards.get(&shard)?.get(&epoch)
    }

    /// The newest epoch up to this one in which a single member had the shard.
    pub fn lone(&self, shard: ShardId, epoch: Epoch) -> Option<Epoch> {
        let known = self.shards.get(&shard)?.range(..=epoch);
        known.rev().find(|(_, config)| config.members.len() == 1).map(|(epoch, _)| *epoch)
    }

    /// Whether a node was ever the only member.
    pub fn was_left_to(&self, shard: ShardId, node: NodeId) -> bool {
        let known = self.shards.get(&shard).into_iter().flat_map(BTreeMap::values);
        known.into_iter().any(|config| config.members.iter().all(|member| member.node == node))
    }

    /// The newest heard of.
    pub fn newest(&self, shard: ShardId) -> Option<&Configuration> {
        self.shards.get(&shard)?.values().next_back()
    }

    /// All shards heard of.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.keys().copied()
    }

    /// Epochs beyond the first of each shard.
    pub fn elections(&self) -> u64 {
        self.shards.values().map(|epochs| epochs.keys().next_back().map_or(0, |epoch| epoch.0.saturating_sub(1))).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base::{Revision, StoreUuid};

    pub(crate) fn member(n: u64) -> Member {
        Member { node: NodeId(n), store: StoreUuid(u128::from(n)) }
    }

    pub(crate) fn config(epoch: u64, primary: u64, members: &[u64]) -> Configuration {
        let members: Vec<Member> = members.iter().map(|n| member(*n)).collect();
        Configuration {
            shard: ShardId::default(),
            epoch: Epoch(epoch),
            revision: Revision(epoch),
            blocks: 8,
            layout: base::Layout::default(),
            primary: NodeId(primary),
            anchors: members.clone(),
            members,
            learner: None,
            holders: vec![],
            target_copies: 3,
            min_copies: 2,
            generation: Generation(1),
            client: None,
            fence: vec![],
            newborn: false,
            deleted: false,
        }
    }

    #[test]
    fn two_configurations_of_one_epoch_are_caught() {
        let mut epochs = Epochs::default();
        assert!(epochs.heard(&config(1, 1, &[1, 2, 3])).is_ok());
        let holders = Configuration { holders: vec![member(4)], revision: Revision(9), ..config(1, 1, &[1, 2, 3]) };
        assert!(epochs.heard(&holders).is_ok(), "holders may change within an epoch");
        assert!(epochs.heard(&config(1, 2, &[1, 2, 3])).unwrap_err().starts_with("I1"));
        assert!(epochs.heard(&config(1, 1, &[1, 2])).unwrap_err().starts_with("I1"));
        assert!(epochs.heard(&config(2, 2, &[1, 2])).is_ok());
        assert_eq!((epochs.elections(), epochs.newest(ShardId::default()).unwrap().epoch), (1, Epoch(2)));
        assert!(!epochs.was_left_to(ShardId::default(), NodeId(2)));
        epochs.heard(&config(3, 2, &[2])).unwrap();
        assert!(
            epochs.was_left_to(ShardId::default(), NodeId(2)) && !epochs.was_left_to(ShardId::default(), NodeId(1))
        );
    }

    #[test]
    fn anchors_become_fewer_below_the_least_number_of_copies_and_nothing_else_of_them_changes() {
        let below = |revision: u64, anchors: &[u64]| {
            let anchors = anchors.iter().map(|n| member(*n)).collect();
            Configuration { anchors, revision: Revision(revision), ..config(2, 1, &[1]) }
        };
        let judge = |first: Configuration, second: Configuration| {
            let mut epochs = Epochs::default();
            epochs.heard(&first).unwrap();
            epochs.heard(&second).map(|_| ())
        };
        assert_eq!(judge(below(2, &[1, 2]), below(3, &[1])), Ok(()));
        assert_eq!(judge(below(3, &[1]), below(2, &[1, 2])), Ok(()), "heard in another order");
        assert!(judge(below(2, &[1]), below(3, &[1, 2])).unwrap_err().starts_with("I1"), "nobody becomes one again");
        assert!(judge(below(2, &[1, 2]), below(3, &[])).unwrap_err().starts_with("I1"));
        let whole = |revision: u64, anchors: &[u64]| Configuration { min_copies: 1, ..below(revision, anchors) };
        assert!(judge(whole(2, &[1]), whole(3, &[])).is_err());
    }

    #[test]
    fn a_primary_that_was_no_member_and_a_member_that_never_learned_are_caught() {
        let mut epochs = Epochs::default();
        epochs.heard(&config(1, 1, &[1, 2, 3])).unwrap();
        assert!(epochs.heard(&config(2, 4, &[4, 2])).unwrap_err().starts_with("I4"));
        assert!(epochs.heard(&config(2, 2, &[2, 4])).unwrap_err().starts_with("I4"));
        assert!(epochs.heard(&config(2, 5, &[1, 2])).is_err(), "a primary must be a member");
        let below = Configuration { anchors: vec![member(1), member(2), member(3)], ..config(2, 2, &[2]) };
        epochs.heard(&below).unwrap();
        epochs.heard(&config(3, 3, &[3, 1])).expect("any anchor carries the shard on");
        let learner = Some(base::Learner { member: member(7), plan: 1 });
        epochs.heard(&Configuration { learner, ..config(4, 3, &[3, 1]) }).unwrap();
        epochs.heard(&config(5, 3, &[3, 1, 7])).expect("a learner is admitted");
        assert!(epochs.heard(&Configuration { generation: Generation(0), ..config(6, 3, &[3]) }).is_err());
    }
}
