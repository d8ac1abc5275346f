//! I2 and R18: at most one primary serves in an epoch, and it is the one that the configuration names. A restarted process never serves under
//! an epoch in which an earlier run of it did.

use super::epochs::Epochs;
use base::{Epoch, NodeId, ShardId};
use std::collections::BTreeMap;

/// Who answered clients.
#[derive(Default)]
pub struct Serving {
    by: BTreeMap<(ShardId, Epoch), (NodeId, u32)>,
}

impl Serving {
    /// A run of a node told a client that something was done.
    pub fn done(
        &mut self,
        node: NodeId,
        run: u32,
        shard: ShardId,
        epoch: Epoch,
        epochs: &Epochs,
    ) -> Result<(), String> {
        let first = *self.by.entry((shard, epoch)).or_insert((node, run));
        if first.0 != node {
            return Err(format!("R18: {} and {node} both served {shard} in epoch {epoch}", first.0));
        }
        if first.1 != run {
            return Err(format!("I2: {node} served {shard} in epoch {epoch} again after a restart"));
        }
        match epochs.of(shard, epoch) {
            Some(config) if config.primary != node => {
                Err(format!("R18: {node} served {shard} in epoch {epoch}, whose primary is {}", config.primary))
            }
            Some(config) if !config.has_min_copies() => {
                Err(format!("rule 11: {node} served {shard} in epoch {epoch} below its minimum of copies"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::tests::config;
    use super::*;

    #[test]
    fn a_second_server_a_wrong_one_and_a_restarted_one_are_caught() {
        let (mut serving, mut epochs, shard) = (Serving::default(), Epochs::default(), ShardId::default());
        epochs.heard(&config(1, 1, &[1, 2])).unwrap();
        let mut done = |node, run, epoch| serving.done(NodeId(node), run, shard, Epoch(epoch), &epochs);
        assert_eq!((done(1, 1, 1), done(1, 1, 1)), (Ok(()), Ok(())));
        assert!(done(2, 1, 1).unwrap_err().contains("both served"));
        assert!(done(1, 2, 1).unwrap_err().contains("after a restart"));
        assert_eq!(done(2, 1, 2), Ok(()), "its configuration was not heard of yet");
        epochs.heard(&config(3, 2, &[1, 2])).unwrap();
        assert!(serving.done(NodeId(1), 2, shard, Epoch(3), &epochs).unwrap_err().contains("whose primary is node-2"));
    }
}
