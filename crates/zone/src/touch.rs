//! Many that lost touch at once: what the zone makes of nodes that say they are isolated, and of those that it does not hear itself (correlated loss, R4, R5).
//!
//! That nodes do not hear each other says nothing of their disks. While one takes itself to be isolated, or many are not heard here, a copy on a node that is
//! merely out of touch is not made anew elsewhere: it comes back with the network and needs only what it missed. It is made anew when the node has failed, which is not being heard here
//! for `failed_after`; and in any case when somebody has been isolated for `isolation_max`, so that one bad cable does not hold a zone up for ever.
//!
//! It refuses to hold up elections: they make no copies.

use crate::Zone;
use crate::mirror::is_whole;
use alloc::vec::Vec;
use base::{Configuration, NodeId, Time};
use wire::{NodeCondition, Touch};

/// So many of a hundred nodes may be silent at once, and one at least, before it is taken for something common to them.
const SILENT_PERCENT_MAX: usize = 30;
/// One alone that is silent says nothing of anybody else.
const SILENT_MIN: usize = 2;

impl Zone {
    /// What a node says of its touch with others.
    pub(crate) fn touch_reported(&mut self, id: NodeId, touch: Touch) {
        let node = self.nodes.get_mut(&id).expect("it is registered");
        let before = core::mem::replace(&mut node.touch, touch);
        if before.isolated_ms.is_some() != touch.isolated_ms.is_some() {
            self.counters.isolated += u64::from(touch.isolated_ms.is_some());
            self.check_node(id);
        }
    }

    /// Until when, at most, it may be that many nodes are cut off rather than gone.
    fn out_of_touch_until(&self) -> Option<Time> {
        let isolated = self.nodes.values().filter(|n| n.condition == NodeCondition::Isolated);
        let isolated = isolated.map(|n| n.since + self.policy.isolation_max).filter(|until| *until > self.now).max();
        let there_are = self.nodes.values().filter(|n| n.condition != NodeCondition::Failed).count();
        let silent = self.nodes.values().filter(|n| n.condition == NodeCondition::Suspect).count();
        let many = silent >= SILENT_MIN && silent * 100 > there_are * SILENT_PERCENT_MAX;
        isolated.max(many.then_some(self.now + self.policy.failed_after))
    }

    /// Whether a copy of it is on a node that has not failed and is no member any more.
    pub(crate) fn has_lost(&self, c: &Configuration) -> bool {
        c.holders.iter().any(|m| !self.has_failed(*m) && !self.is_draining(m.node))
    }

    /// Until when, at most, the missing copies of a shard are not made anew because those that are lost may come back.
    pub(crate) fn lost_may_come_back_until(&self, c: &Configuration) -> Option<Time> {
        if is_whole(c) || !self.has_lost(c) { None } else { self.out_of_touch_until() }
    }

    /// Whether the copies of a shard wait for that, and for nothing else that this zone knows of.
    pub(crate) fn is_put_off(&self, c: &Configuration) -> bool {
        c.learner.is_none() && self.lost_may_come_back_until(c).is_some()
    }

    /// That a node failed, or has not any more, is durable.
    pub(crate) fn gave_up(&mut self, id: NodeId) {
        let failed = self.nodes.get(&id).is_some_and(|n| n.condition == NodeCondition::Failed);
        let changed = if failed { self.given_up.insert(id) } else { self.given_up.remove(&id) };
        if changed {
            let here: Vec<NodeId> = self.nodes.iter().filter(|(_, n)| n.registered).map(|(id, _)| *id).collect();
            self.given_up_to.extend(here);
        }
    }

    /// A node that has just come is told who has failed, if anybody has.
    pub(crate) fn tell_given_up(&mut self, id: NodeId) {
        if !self.given_up.is_empty() {
            self.given_up_to.insert(id);
        }
    }
}
