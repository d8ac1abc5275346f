//! Which nodes share shards with which, and with how many each may.
//!
//! Two nodes that share a shard watch each other and lend each other leases, whether or not anything is written. Were each shard placed by itself, a node of
//! some hundred replicas would come to share one with nearly every other, and a zone at rest would talk as its nodes squared. So a node takes new
//! partners until it has enough of them, and shards beyond that go where some of the same nodes have shards together already (copysets: Cidon et al., USENIX
//! ATC 2013). It also means that fewer combinations of nodes exist whose loss loses a shard.
//!
//! It refuses to know what the shards are, and never stands in the way: where no such node has room, any may be taken.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::NodeId;

/// How many shards each two nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    by: BTreeMap<NodeId, BTreeMap<NodeId, u32>>,
}

impl Ties {
    /// These share one shard more, or less.
    pub(crate) fn count(&mut self, nodes: &[NodeId], add: bool) {
        for (at, one) in nodes.iter().enumerate() {
            for other in nodes[at + 1..].iter().filter(|other| *other != one) {
                self.step(*one, *other, add);
                self.step(*other, *one, add);
            }
        }
    }

    fn step(&mut self, one: NodeId, other: NodeId, add: bool) {
        let others = self.by.entry(one).or_default();
        let count = others.entry(other).or_default();
        *count =
            if add { *count + 1 } else { count.checked_sub(1).expect("a tie is counted out that was not counted in") };
        if *count == 0 {
            others.remove(&other);
        }
        if self.by.get(&one).is_some_and(BTreeMap::is_empty) {
            self.by.remove(&one);
        }
    }

    fn has(&self, one: NodeId, other: NodeId) -> bool {
        self.by.get(&one).is_some_and(|others| others.contains_key(&other))
    }

    /// With how many others a node shares something.
    pub(crate) fn of(&self, node: NodeId) -> usize {
        self.by.get(&node).map_or(0, BTreeMap::len)
    }
}

/// Ties, and those that are about to be, while places are chosen.
pub(crate) struct Near<'a> {
    ties: &'a Ties,
    fresh: BTreeMap<NodeId, BTreeSet<NodeId>>,
    wanted: usize,
}

impl<'a> Near<'a> {
    /// A node may be tied to `wanted` others.
    pub(crate) fn new(ties: &'a Ties, wanted: usize) -> Self {
        Self { ties, fresh: BTreeMap::new(), wanted }
    }

    /// Which of a pool, by their places in it, a shard may go to that lies on `nodes` and goes to `more` in all; none when that does not matter.
    pub(crate) fn among(
        &self,
        nodes: &[NodeId],
        more: usize,
        pool: impl Iterator<Item = NodeId> + Clone,
    ) -> Option<Vec<usize>> {
        let chosen = |fits: &dyn Fn(NodeId) -> bool| -> Option<Vec<usize>> {
            let kept: Vec<usize> = pool.clone().enumerate().filter(|(_, node)| fits(*node)).map(|(at, _)| at).collect();
            (!kept.is_empty()).then_some(kept)
        };
        if nodes.is_empty() {
            return None;
        }
        if nodes.iter().all(|node| self.has_room(*node, more)) {
            // All may have new partners; so must whom they get, or be one already.
            let tied = self.tied_to_all(nodes);
            let open = |node| self.has_room(node, nodes.len() + more - 1) || tied.binary_search(&node).is_ok();
            return if pool.clone().all(open) { None } else { chosen(&open) };
        }
        let tied = self.tied_to_all(nodes);
        chosen(&|node| tied.binary_search(&node).is_ok())
    }

    /// Whether a shard that lies on `nodes` rather waits for one that shares shards with all of them already than takes somebody new: they share with enough,
    /// and those that could take it have no turn, which is what is said of each.
    pub(crate) fn waits(&self, nodes: &[NodeId], pool: impl Iterator<Item = (NodeId, bool)>) -> bool {
        if nodes.iter().all(|node| self.has_room(*node, 1)) {
            return false;
        }
        let all = self.tied_to_all(nodes);
        let mut tied = pool.filter(|(node, _)| all.binary_search(node).is_ok()).peekable();
        tied.peek().is_some() && tied.all(|(_, free)| !free)
    }

    /// Those of a pool that share shards with all of these.
    pub(crate) fn tied_among(&self, nodes: &[NodeId], pool: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let all = self.tied_to_all(nodes);
        pool.filter(|node| all.binary_search(node).is_ok()).collect()
    }

    /// These share a shard from now on.
    pub(crate) fn join(&mut self, nodes: &[NodeId]) {
        for one in nodes {
            for other in nodes.iter().filter(|other| *other != one && !self.ties.has(*one, **other)) {
                self.fresh.entry(*one).or_default().insert(*other);
            }
        }
    }

    fn has_room(&self, node: NodeId, more: usize) -> bool {
        self.ties.of(node) + self.fresh.get(&node).map_or(0, BTreeSet::len) + more <= self.wanted
    }

    fn is_tied(&self, one: NodeId, other: NodeId) -> bool {
        self.ties.has(one, other) || self.fresh.get(&one).is_some_and(|others| others.contains(&other))
    }

    /// Those that share something with each of these, in order. They are few, where nodes may be many.
    fn tied_to_all(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let Some((first, others)) = nodes.split_first() else { return Vec::new() };
        let old = self.ties.by.get(first).into_iter().flat_map(BTreeMap::keys);
        let fresh = self.fresh.get(first).into_iter().flatten();
        let mut tied: Vec<NodeId> =
            old.chain(fresh).copied().filter(|node| others.iter().all(|other| self.is_tied(*other, *node))).collect();
        tied.sort_unstable();
        tied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_can_be_counted_out_again() {
        let mut ties = Ties::default();
        let (three, two) = ([1, 2, 3].map(NodeId), [2, 3].map(NodeId));
        ties.count(&three, true);
        ties.count(&two, true);
        assert_eq!((ties.of(NodeId(1)), ties.of(NodeId(2))), (2, 2));
        ties.count(&three, false);
        assert_eq!((ties.of(NodeId(1)), ties.of(NodeId(2)), ties.has(NodeId(3), NodeId(2))), (0, 1, true));
        ties.count(&two, false);
        assert_eq!(ties, Ties::default());
    }

    #[test]
    fn partners_are_new_while_there_may_be_more_and_then_the_same() {
        let mut ties = Ties::default();
        ties.count(&[1, 2, 3].map(NodeId), true);
        let all = [1, 2, 3, 4, 5].map(NodeId);
        let among = |near: &Near<'_>, nodes: &[u64], more| {
            let nodes: Vec<NodeId> = nodes.iter().map(|n| NodeId(*n)).collect();
            near.among(&nodes, more, all.iter().copied().filter(|n| !nodes.contains(n)))
        };
        let near = Near::new(&ties, 4);
        assert_eq!((among(&near, &[], 3), among(&near, &[1], 2)), (None, None));
        // Of two it is tied to, a third node knows neither.
        let near = Near::new(&ties, 2);
        assert_eq!(among(&near, &[1], 2), Some(alloc::vec![0, 1]));
        assert_eq!(among(&near, &[1, 2], 1), Some(alloc::vec![0]));
        // Nobody is tied to all of these: anybody may be.
        assert_eq!(among(&near, &[1, 4], 1), None);
        let busy = |near: &Near<'_>, free: [bool; 2]| {
            near.waits(&[1, 2].map(NodeId), [3, 4].map(NodeId).into_iter().zip(free))
        };
        assert!(busy(&near, [false, true]), "it waits for the third");
        assert!(!busy(&near, [true, false]) && !busy(&Near::new(&ties, 3), [false, true]));
        let mut near = Near::new(&ties, 2);
        near.join(&[1, 4].map(NodeId));
        assert!(near.is_tied(NodeId(4), NodeId(1)) && !near.is_tied(NodeId(4), NodeId(2)));
    }
}
