//! Metadata that are not the newest: what was decided after them is known to nodes, and to decide anything again could contradict it (I1). So an
//! authority that learns of it changes nothing any more, not even who is up, and says that its metadata must be rebuilt from the nodes. Volumes go on
//! without it as long as their members live (rule 10).
//!
//! A node says how far the metadata were of which it was told most when it registers, before anything else is made of what it says.

use crate::Zone;
use crate::asks::Ask;
use alloc::format;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::{NodeId, Revision};
use wire::{
    Ahead, ErrorCode, Hail, Message, NodeCondition, SLOW_NAMED_MAX, Seen, VolumeCondition, ZoneCounters, ZoneReply,
    ZoneState,
};

impl Zone {
    /// A node that knows more than the metadata do.
    pub fn behind(&self) -> Option<&Ahead> {
        self.behind.as_ref()
    }

    /// How far the metadata are.
    pub fn at(&self) -> Seen {
        let last = self.history.last();
        let (start, meta) = last.map_or((0, self.meta), |last| (last.number, last.meta));
        Seen { start, meta, revision: self.truth.at() }
    }

    /// A node registers. Whether these metadata have in their past what it was told.
    pub(crate) fn is_past(&mut self, node: NodeId, seen: Seen) -> bool {
        let (now, after) = (self.at(), self.history.last().map_or(Revision(0), |last| last.after));
        self.hails.push((Peer::Node(node), Hail { now, after }));
        if self.history.has_in_its_past(&seen, self.truth.at()) {
            return true;
        }
        let of = |seen: &Seen| (seen.start, seen.revision);
        if self.behind.is_none_or(|known| of(&known.seen) < of(&seen)) {
            self.behind = Some(Ahead { node, seen });
        }
        let asked: Vec<u64> = self.asks.keys().copied().collect();
        for ticket in asked {
            self.refuse_if_behind(ticket);
        }
        false
    }

    /// Refuses a question that would change something, when nothing may be. Whether it did.
    pub(crate) fn refuse_if_behind(&mut self, ticket: u64) -> bool {
        let (Some(Ahead { node, seen }), Some(ask)) = (self.behind, self.asks.get(&ticket)) else { return false };
        let Ask { peer: Peer::Operator(_) | Peer::Region(_), message, .. } = ask else {
            // A node asks again, and another.
            self.asks.remove(&ticket);
            return true;
        };
        if matches!(message, Message::DescribeVolumes(_) | Message::DescribeNodes(_) | Message::DescribeZone(_)) {
            return false;
        }
        let at = self.at();
        let text = format!(
            "the zone's metadata are at start {} and revision {}, and {node} was told more: start {}, revision {}; they are an old copy, or new, so nothing \
             is changed: stop the zone and have them rebuilt from the nodes with `seawall zone rebuild`",
            at.start, at.revision, seen.start, seen.revision
        );
        self.fail(ticket, ErrorCode::Outdated, text);
        true
    }

    /// What it did since it began.
    pub fn counters(&self) -> &ZoneCounters {
        &self.counters
    }

    pub(crate) fn describe_zone(&mut self, ticket: u64) {
        let shards: Vec<_> = self.shards.values().filter(|s| !s.config().deleted).collect();
        let zone = ZoneState {
            cluster: self.cluster,
            at: self.at(),
            nodes: self.nodes.len() as u32,
            nodes_up: self.nodes.values().filter(|n| n.condition == NodeCondition::Up).count() as u32,
            volumes: self.volumes.values().filter(|v| !v.deleted).count() as u32,
            shards_whole: shards.iter().filter(|s| s.condition == VolumeCondition::Ok).count() as u32,
            shards: shards.len() as u32,
            shards_put_off: shards.iter().filter(|s| self.is_put_off(s.config())).count() as u32,
            behind: self.behind,
            counters: self.counters,
            slow: self.slow_nodes().take(SLOW_NAMED_MAX).collect(),
        };
        self.answer(ticket, ZoneReply { zone });
    }
}
