//! I3, as far as it can be heard: a primary never says that a write is committed before every other member of its epoch has said that
//! it has it durably, in that epoch.
//!
//! What an earlier epoch had already called committed needs no new confirmation.

use super::epochs::Epochs;
use base::{Epoch, NodeId, Sequence, ShardId};
use std::collections::BTreeMap;
use wire::Message;

/// What was called committed, and who confirmed what.
#[derive(Default)]
pub struct Commits {
    committed: BTreeMap<ShardId, Sequence>,
    confirmed: BTreeMap<(ShardId, NodeId), (Epoch, Sequence)>,
}

impl Commits {
    /// A node sent this.
    pub fn sent(&mut self, node: NodeId, message: &Message, epochs: &Epochs) -> Result<(), String> {
        match message {
            Message::Replicated(m) => self.confirm(m.shard, node, m.epoch, m.through),
            Message::Synced(m) => self.confirm(m.shard, node, m.epoch, m.end),
            Message::Replicate(m) => return self.commit(node, m.shard, m.epoch, m.committed, epochs),
            Message::Committed(m) => return self.commit(node, m.shard, m.epoch, m.through, epochs),
            _ => {}
        }
        Ok(())
    }

    fn confirm(&mut self, shard: ShardId, node: NodeId, epoch: Epoch, through: Sequence) {
        let entry = self.confirmed.entry((shard, node)).or_default();
        if epoch > entry.0 || (epoch == entry.0 && through > entry.1) {
            *entry = (epoch, through);
        }
    }

    fn commit(
        &mut self,
        node: NodeId,
        shard: ShardId,
        epoch: Epoch,
        through: Sequence,
        epochs: &Epochs,
    ) -> Result<(), String> {
        let before = self.committed.entry(shard).or_default();
        if through <= *before {
            return Ok(());
        }
        let Some(config) = epochs.of(shard, epoch) else { return Ok(()) };
        for member in config.members.iter().filter(|member| member.node != node) {
            let (confirmed_in, confirmed) = self.confirmed.get(&(shard, member.node)).copied().unwrap_or_default();
            // A member that has gone on to a later epoch confirmed here first, or its confirmation is not known any more.
            if confirmed_in < epoch || (confirmed_in == epoch && confirmed < through) {
                return Err(format!(
                    "I3: {node} calls {shard} committed through {through} in epoch {epoch}, of which {} confirmed {confirmed} in epoch {confirmed_in}",
                    member.node
                ));
            }
        }
        *before = through;
        Ok(())
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
        commits.sent(NodeId(2), &committed(2, 4), &epochs).expect("an earlier epoch called that committed");
        assert!(commits.sent(NodeId(2), &committed(2, 5), &epochs).is_err(), "a word of epoch 1 does not count in 2");
        let synced = Message::from(Synced { shard, epoch: Epoch(2), end: Sequence(5), room: 0 });
        commits.sent(NodeId(3), &synced, &epochs).unwrap();
        commits.sent(NodeId(2), &committed(2, 5), &epochs).unwrap();
    }
}
