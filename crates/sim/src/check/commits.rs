//! I3, as far as it can be heard: a primary never says that a write is committed before every other member of its epoch has said that
//! it has it durably, in that epoch.
//!
//! What all members of an earlier epoch had confirmed in it is committed too, whether or not its primary lived to say so.

use super::epochs::Epochs;
use base::{Epoch, NodeId, Sequence, ShardId};
use std::collections::BTreeMap;
use wire::Message;

/// Who confirmed what in an epoch.
type Words = BTreeMap<NodeId, Sequence>;

/// What is committed, and who confirmed what in which epoch.
#[derive(Default)]
pub struct Commits {
    committed: BTreeMap<ShardId, Sequence>,
    /// The newest epoch in which somebody called something committed.
    said_in: BTreeMap<ShardId, Epoch>,
    confirmed: BTreeMap<(ShardId, Epoch), Words>,
}

impl Commits {
    /// A node sent this.
    pub fn sent(&mut self, node: NodeId, message: &Message, epochs: &Epochs) -> Result<(), String> {
        match message {
            Message::Replicated(m) => self.confirm(m.shard, node, m.epoch, m.through, epochs),
            Message::Synced(m) => self.confirm(m.shard, node, m.epoch, m.end, epochs),
            Message::Replicate(m) => return self.commit(node, m.shard, m.epoch, m.committed, epochs),
            Message::Committed(m) => return self.commit(node, m.shard, m.epoch, m.through, epochs),
            _ => {}
        }
        Ok(())
    }

    fn confirm(&mut self, shard: ShardId, node: NodeId, epoch: Epoch, through: Sequence, epochs: &Epochs) {
        let words = self.confirmed.entry((shard, epoch)).or_default();
        let word = words.entry(node).or_default();
        *word = through.max(*word);
        let Some(config) = epochs.of(shard, epoch) else { return };
        // The primary's own store is not heard of; a backup's word is the later one nearly always.
        let others = config.members.iter().filter(|member| member.node != config.primary);
        let by_all = others.map(|member| words.get(&member.node).copied().unwrap_or_default()).min();
        let committed = self.committed.entry(shard).or_default();
        *committed = by_all.unwrap_or_default().max(*committed);
    }

    fn commit(
        &mut self,
        node: NodeId,
        shard: ShardId,
        epoch: Epoch,
        through: Sequence,
        epochs: &Epochs,
    ) -> Result<(), String> {
        let known = self.committed.entry(shard).or_default();
        let said_in = self.said_in.entry(shard).or_default();
        // Who is the only member commits without anybody's word, and what it did so late in its epoch is heard of in the next one only.
        if epochs.lone(shard, epoch).is_some_and(|lone| *said_in <= lone) {
            *known = through.max(*known);
        }
        let committed = *known;
        if through <= committed {
            *said_in = epoch.max(*said_in);
            return Ok(());
        }
        let words = self.confirmed.get(&(shard, epoch));
        Err(format!(
            "I3: {node} calls {shard} committed through {through} in epoch {epoch}; all members of an epoch confirmed {committed} at most, in this one: {words:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::tests::config;
    use super::*;
    use wire::{Committed, Replicated, Synced};

    #[test]
    fn a_commit_without_every_members_word_is_caught() {
        let (mut commits, mut epochs, shard) = (Commits::default(), Epochs::default(), ShardId::default());
        epochs.heard(&config(1, 1, &[1, 2, 3])).unwrap();
        let replicated = |epoch, through| {
            Message::from(Replicated { shard, epoch: Epoch(epoch), through: Sequence(through), room: 0 })
        };
        let committed =
            |epoch, through| Message::from(Committed { shard, epoch: Epoch(epoch), through: Sequence(through) });
        commits.sent(NodeId(2), &replicated(1, 5), &epochs).unwrap();
        assert!(commits.sent(NodeId(1), &committed(1, 5), &epochs).unwrap_err().starts_with("I3"));
        commits.sent(NodeId(3), &replicated(1, 4), &epochs).unwrap();
        commits.sent(NodeId(1), &committed(1, 4), &epochs).unwrap();
        assert!(commits.sent(NodeId(1), &committed(1, 5), &epochs).is_err());
        epochs.heard(&config(2, 2, &[2, 3])).unwrap();
        commits.sent(NodeId(2), &committed(2, 4), &epochs).expect("all members of an earlier epoch confirmed that");
        assert!(commits.sent(NodeId(2), &committed(2, 5), &epochs).is_err(), "a word of epoch 1 does not count in 2");
        let synced = Message::from(Synced { shard, epoch: Epoch(2), end: Sequence(5), room: 0 });
        commits.sent(NodeId(3), &synced, &epochs).unwrap();
        commits.sent(NodeId(2), &committed(2, 5), &epochs).unwrap();
        let learner = config(2, 2, &[2, 3]).members.last().map(|m| base::Learner { member: *m, plan: 1 });
        epochs.heard(&base::Configuration { learner, ..config(3, 2, &[2]) }).unwrap();
        commits.sent(NodeId(2), &committed(3, 7), &epochs).expect("who is alone commits alone");
        epochs.heard(&config(4, 2, &[2, 3])).unwrap();
        commits.sent(NodeId(2), &committed(4, 8), &epochs).expect("what it had committed is heard of later");
        assert!(commits.sent(NodeId(2), &committed(4, 9), &epochs).is_err());
    }
}
