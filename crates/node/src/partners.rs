//! Which nodes this one must be in touch with, and for which shards: links are watched per pair of nodes, never per shard.

use crate::Node;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Op, Peer};
use base::{NodeId, ShardId};

/// The shards shared with each other node.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    by_node: BTreeMap<NodeId, BTreeSet<ShardId>>,
    by_shard: BTreeMap<ShardId, BTreeSet<NodeId>>,
    watched: BTreeSet<NodeId>,
    stale: BTreeSet<ShardId>,
    others_changed: bool,
}

impl Partners {
    /// Shared with `node`.
    pub(crate) fn shards(&self, node: NodeId) -> Vec<ShardId> {
        self.by_node.get(&node).map(|s| s.iter().copied().collect()).unwrap_or_default()
    }

    pub(crate) fn forget(&mut self, shard: ShardId) {
        self.set(shard, BTreeSet::new());
    }

    fn set(&mut self, shard: ShardId, nodes: BTreeSet<NodeId>) {
        let before = self.by_shard.remove(&shard).unwrap_or_default();
        for node in before.difference(&nodes) {
            if let Some(shards) = self.by_node.get_mut(node) {
                shards.remove(&shard);
            }
        }
        for node in nodes.difference(&before) {
            self.by_node.entry(*node).or_default().insert(shard);
        }
        self.by_node.retain(|_, shards| !shards.is_empty());
        if !nodes.is_empty() {
            self.by_shard.insert(shard, nodes);
        }
    }

    /// How many shards there are that others have too.
    pub(crate) fn shared(&self) -> usize {
        self.by_shard.len()
    }

    pub(crate) fn look_again_at(&mut self, shards: impl Iterator<Item = ShardId>) {
        self.stale.extend(shards);
    }

    /// Others than partners may have to be watched, or not any more.
    pub(crate) fn look_at_whom_to_watch(&mut self) {
        self.others_changed = true;
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.by_node.keys().copied()
    }
}

impl Node {
    /// Watches who has become a partner, or is missed, and stops watching who is neither any more.
    pub(crate) fn repartner(&mut self, out: &mut Outbox) {
        let others_changed = core::mem::take(&mut self.partners.others_changed);
        if self.partners.stale.is_empty() && !others_changed {
            return;
        }
        for shard in core::mem::take(&mut self.partners.stale) {
            let nodes = self.replicas.get(&shard).map(|r| r.partners().collect()).unwrap_or_default();
            self.partners.set(shard, nodes);
            self.isolation.look_again();
        }
        let wanted: BTreeSet<NodeId> = self.partners.nodes().chain(self.isolation.lost()).collect();
        for node in self.partners.watched.difference(&wanted) {
            out.net(Op::Watch { peer: Peer::Node(*node), wanted: false });
        }
        for node in wanted.difference(&self.partners.watched) {
            out.net(Op::Watch { peer: Peer::Node(*node), wanted: true });
        }
        self.partners.watched = wanted;
    }
}
