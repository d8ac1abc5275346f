//! How full is what others can fill in the authority: questions that wait, and what it remembers of shards, nodes and hosts.

use crate::asks::ASKS_MAX;
use crate::nodes::HELD_MAX;
use crate::{EARLY_MAX, Zone};
use base::bounded::Fill;

impl Zone {
    /// Says of each what it holds and what it may hold.
    pub fn fills(&self, tell: &mut dyn FnMut(Fill)) {
        let (shards, nodes, volumes) = (self.shards.len(), self.nodes.len(), self.volumes.len());
        for (what, now, most) in [
            ("questions", self.asks.len(), ASKS_MAX),
            ("events before the truth is read", self.early.len(), EARLY_MAX),
            ("shards to be looked at", self.due.len(), shards),
            ("shards without a place", self.starving.len(), shards),
            ("nodes that shards wait for", self.queues.len(), nodes),
            ("nodes to be looked at", self.checks.len(), nodes),
            ("nodes that were given up", self.given_up.len(), nodes),
            ("nodes that were slow", self.slow_spent.len(), nodes),
            ("throttles", self.throttles.len(), volumes),
        ] {
            tell(Fill { what, now, most });
        }
        for queue in self.queues.values() {
            tell(Fill { what: "shards that wait for a turn of a node", now: queue.len(), most: shards });
        }
        for node in self.nodes.values() {
            tell(Fill { what: "replicas that a node says it holds", now: node.held.len(), most: HELD_MAX });
        }
        for host in self.hosts.values() {
            for (what, now) in [
                ("volumes that a host has open", host.open.len()),
                ("volumes of which a host said a size", host.sizes.len()),
                ("volumes that a host holds back", host.throttled.len()),
            ] {
                tell(Fill { what, now, most: volumes });
            }
        }
    }
}
