//! I7, R13: nothing is deleted without a release. A node drops what it has of a shard only after the authority has told it so, and the authority only tells one whom nothing
//! names any more, of a shard that is whole without it; or the shard is deleted. A release is obeyed by who is not named in what it knows, and has not spoken under a later epoch.
//!
//! What a node has is looked at after each of its turns, and over its restarts: what it had spoken of it had on its disk.

use super::epochs::Epochs;
use super::promises::Promises;
use base::{Configuration, Epoch, Member, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use wire::{Release, Released};

/// What a node had when it was last looked at.
#[derive(Debug)]
struct Had {
    member: Member,
    run: u32,
    shards: BTreeSet<ShardId>,
}

/// Who was let go, and who has what.
#[derive(Debug, Default)]
pub struct Releases {
    released: BTreeMap<(ShardId, Member), Epoch>,
    deleted: BTreeSet<ShardId>,
    had: BTreeMap<NodeId, Had>,
}

impl Releases {
    /// The authority tells a node that it may drop a replica.
    pub fn released(&mut self, m: &Release, epochs: &Epochs) -> Result<(), String> {
        let epoch = self.released.entry((m.shard, m.member)).or_default();
        *epoch = m.epoch.max(*epoch);
        let Some(c) = epochs.of(m.shard, m.epoch) else { return Ok(()) };
        let learns = c.learner.is_some_and(|learner| learner.member == m.member);
        let named = c.is_member(m.member) || c.anchors.contains(&m.member) || learns;
        let short = c.members.len() < usize::from(c.target_copies);
        if named || short {
            let why = if named { "is named in" } else { "is one too few without" };
            return Err(format!("R13: {} is released from {}, and {why} {c:?}", m.member.node, m.shard));
        }
        Ok(())
    }

    /// Whether a node was told in this epoch that it may drop its replica.
    pub fn is_let_go(&self, node: NodeId, c: &Configuration) -> bool {
        self.released.iter().any(|((shard, member), epoch)| (*shard, member.node, *epoch) == (c.shard, node, c.epoch))
    }

    /// Some machine told another of this.
    pub fn heard(&mut self, config: &Configuration) {
        if config.deleted {
            self.deleted.insert(config.shard);
        }
    }

    /// A node says that it has nothing of a shard.
    pub fn has_gone(&self, m: &Released) -> Result<(), String> {
        let known = self.deleted.contains(&m.shard) || self.released.contains_key(&(m.shard, m.member));
        if known {
            Ok(())
        } else {
            Err(format!("R13: {} says that it dropped {}, and nobody told it to", m.member.node, m.shard))
        }
    }

    /// A node is dropping what it has, and knew this configuration when it decided to.
    pub fn drops(&self, member: Member, c: &Configuration) -> Result<(), String> {
        let learns = c.learner.is_some_and(|learner| learner.member == member);
        if !(c.is_member(member) || learns) || c.deleted || self.deleted.contains(&c.shard) {
            return Ok(());
        }
        Err(format!("R13: {} drops {}, and is named in what it knows of it: {c:?}", member.node, c.shard))
    }

    /// A run of a node found its log damaged: what it had before may be lost with that.
    pub fn is_damaged(&mut self, member: Member, run: u32) {
        self.had.remove(&member.node).filter(|had| had.run == run).map(|had| self.had.insert(member.node, had));
    }

    /// What a run of a node has, after a turn of it.
    pub fn has(&mut self, member: Member, run: u32, shards: &[ShardId], promises: &Promises) -> Result<(), String> {
        let node = member.node;
        let before = self.had.remove(&node);
        if let Some(had) = before.as_ref().filter(|had| (had.member, had.run) == (member, run))
            && had.shards.iter().eq(shards)
        {
            self.had.extend(before.map(|had| (node, had)));
            return Ok(());
        }
        let shards: BTreeSet<ShardId> = shards.iter().copied().collect();
        // Another disk is another node's.
        let gone = before.iter().filter(|had| had.member == member);
        let gone = gone.flat_map(|had| had.shards.difference(&shards).map(|shard| (*shard, had.run)));
        for (shard, was_in) in gone {
            let spoke = promises.highest(node, shard);
            match self.released.get(&(shard, member)) {
                _ if self.deleted.contains(&shard) => {}
                // Of what it never spoke nothing need have reached the disk that it lost with its last run.
                _ if was_in != run && spoke.is_none() => {}
                None => return Err(format!("R13: {node} dropped {shard}, and nobody told it to")),
                Some(epoch) if spoke.is_some_and(|spoke| spoke > *epoch) => {
                    return Err(format!(
                        "R13: {node} dropped {shard} by a release of epoch {epoch}, and spoke under {spoke:?} since"
                    ));
                }
                Some(_) => {}
            }
        }
        self.had.insert(node, Had { member, run, shards });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::tests::{config, member};
    use super::*;
    use wire::{Message, Replicated};

    const S: ShardId = ShardId { volume: base::VolumeId(1), index: 0 };

    fn spoke(epoch: u64) -> Promises {
        let mut promises = Promises::default();
        let replicated = Replicated { shard: S, epoch: Epoch(epoch), through: base::Sequence(1), room: 0 };
        promises.sent(NodeId(4), &Message::from(replicated)).unwrap();
        promises
    }

    #[test]
    fn what_goes_without_a_release_is_caught_in_a_run_and_over_a_restart() {
        let has = |releases: &mut Releases, run, shards: &[ShardId], promises: &Promises| {
            releases.has(member(4), run, shards, promises)
        };
        let silent = Promises::default();
        for (run, promises, caught) in
            [(1, &silent, true), (1, &spoke(3), true), (2, &spoke(3), true), (2, &silent, false)]
        {
            let mut releases = Releases::default();
            assert_eq!(has(&mut releases, 1, &[S], promises), Ok(()));
            assert_eq!(has(&mut releases, 1, &[S], promises), Ok(()));
            assert_eq!(has(&mut releases, run, &[], promises).is_err(), caught, "{run}");
        }
        for (epoch, caught) in [(5, false), (4, false), (3, true)] {
            let mut releases = Releases::default();
            assert_eq!(has(&mut releases, 1, &[S], &spoke(4)), Ok(()));
            let release = Release { shard: S, member: member(4), epoch: Epoch(epoch) };
            assert_eq!(releases.released(&release, &Epochs::default()), Ok(()), "nobody heard of that epoch");
            assert_eq!(has(&mut releases, 1, &[], &spoke(4)).is_err(), caught, "{epoch}");
        }
        let mut releases = Releases::default();
        assert_eq!(has(&mut releases, 1, &[S], &spoke(4)), Ok(()));
        releases.is_damaged(member(4), 1);
        assert!(has(&mut releases, 1, &[], &spoke(4)).is_err(), "what is gone in a run is gone with no damage");
        assert_eq!(has(&mut releases, 1, &[S], &spoke(4)), Ok(()));
        releases.is_damaged(member(4), 2);
        assert_eq!(has(&mut releases, 2, &[], &spoke(4)), Ok(()));
        let mut releases = Releases::default();
        assert_eq!(has(&mut releases, 1, &[S], &spoke(4)), Ok(()));
        releases.heard(&Configuration { shard: S, deleted: true, ..config(9, 1, &[1, 2]) });
        assert_eq!(has(&mut releases, 1, &[], &spoke(4)), Ok(()));
        assert_eq!(releases.has(Member { store: base::StoreUuid(99), ..member(4) }, 2, &[], &silent), Ok(()));
    }

    #[test]
    fn who_drops_what_it_knows_itself_to_be_needed_for_is_caught() {
        let mut releases = Releases::default();
        let learner = Some(base::Learner { member: member(7), plan: 1 });
        let config = Configuration { shard: S, learner, ..config(5, 1, &[1, 2]) };
        assert_eq!(releases.drops(member(4), &config), Ok(()));
        assert!(releases.drops(member(2), &config).is_err() && releases.drops(member(7), &config).is_err());
        releases.heard(&Configuration { deleted: true, ..config.clone() });
        assert_eq!(releases.drops(member(2), &config), Ok(()), "it is deleted");
    }

    #[test]
    fn a_release_of_a_member_or_of_a_shard_that_is_short_is_caught() {
        let mut epochs = Epochs::default();
        let shard = config(7, 1, &[1, 2, 3]).shard;
        epochs.heard(&config(7, 1, &[1, 2, 3])).unwrap();
        epochs.heard(&config(8, 1, &[1, 2])).unwrap();
        let release = |node, epoch| {
            Releases::default().released(&Release { shard, member: member(node), epoch: Epoch(epoch) }, &epochs)
        };
        assert_eq!(release(4, 7), Ok(()));
        assert!(release(3, 7).unwrap_err().contains("is named in"));
        assert!(release(4, 8).unwrap_err().contains("one too few"));
        let mut releases = Releases::default();
        let gone = Released { shard, member: member(4) };
        assert!(releases.has_gone(&gone).is_err());
        releases.released(&Release { shard, member: member(4), epoch: Epoch(7) }, &epochs).unwrap();
        assert_eq!(releases.has_gone(&gone), Ok(()));
    }
}
