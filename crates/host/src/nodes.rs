//! The nodes as this host sees them: where they are, whether the link to each is up, and which shards each leads.
//!
//! A node that leads a shard of an attached volume is watched, so that the network reconnects by itself and tells of silence.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Addresses, Down, Op, Peer};
use base::{NodeId, ShardId, Time};

/// How the link to a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not open, as far as is known, and not failed either.
    Opening,
    /// Open.
    Up,
    /// It broke, or could not be opened.
    Down(Down),
}

#[derive(Debug)]
struct Node {
    at: Option<Addresses>,
    link: Link,
    silent: bool,
    since: Time,
    leads: BTreeSet<ShardId>,
    watched: bool,
}

/// All nodes ever heard of.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
}

impl Nodes {
    fn entry(&mut self, node: NodeId) -> &mut Node {
        self.nodes.entry(node).or_insert_with(|| Node {
            at: None,
            link: Link::Opening,
            silent: false,
            since: Time::ZERO,
            leads: BTreeSet::new(),
            watched: false,
        })
    }

    /// The directory says where a node is.
    pub(crate) fn know(&mut self, node: NodeId, at: Addresses, out: &mut Outbox) {
        let entry = self.entry(node);
        if entry.at != Some(at) {
            entry.at = Some(at);
            out.net(Op::Know { peer: Peer::Node(node), at });
        }
        entry.watch(node, out);
    }

    /// Whether its address is known.
    pub(crate) fn is_known(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.at.is_some())
    }

    /// From now on `node` leads `shard`.
    pub(crate) fn lead(&mut self, node: NodeId, shard: ShardId, out: &mut Outbox) {
        let entry = self.entry(node);
        entry.leads.insert(shard);
        entry.watch(node, out);
    }

    /// It does not any more.
    pub(crate) fn unlead(&mut self, node: NodeId, shard: ShardId, out: &mut Outbox) {
        let entry = self.entry(node);
        entry.leads.remove(&shard);
        entry.watch(node, out);
    }

    /// The shards it leads, in order.
    pub(crate) fn led_by(&self, node: NodeId) -> Vec<ShardId> {
        self.nodes.get(&node).map(|n| n.leads.iter().copied().collect()).unwrap_or_default()
    }

    /// The link to a node changed.
    pub(crate) fn on_link(&mut self, node: NodeId, link: Link, now: Time) {
        let entry = self.entry(node);
        // One failed attempt after another is one absence.
        if !(matches!(entry.link, Link::Down(_)) && matches!(link, Link::Down(_))) {
            entry.since = now;
        }
        (entry.link, entry.silent) = (link, false);
    }

    /// A keepalive is unanswered.
    pub(crate) fn on_silent(&mut self, node: NodeId) {
        self.entry(node).silent = true;
    }

    /// Something came from it.
    pub(crate) fn on_heard(&mut self, node: NodeId) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.silent = false;
        }
    }

    /// How its link is, and since when it is up or not.
    pub(crate) fn link(&self, node: NodeId) -> (Link, Time) {
        self.nodes.get(&node).map_or((Link::Opening, Time::ZERO), |n| (n.link, n.since))
    }

    /// Whether frames to it go out, and nothing says that it does not read them.
    pub(crate) fn is_well(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.link == Link::Up && !n.silent)
    }
}

impl Node {
    fn watch(&mut self, node: NodeId, out: &mut Outbox) {
        let wanted = self.at.is_some() && !self.leads.is_empty();
        if wanted != self.watched {
            self.watched = wanted;
            // What was known of a link that nobody watched may be long past: the network will say how it is now.
            if wanted && self.link != Link::Up {
                self.link = Link::Opening;
            }
            out.net(Op::Watch { peer: Peer::Node(node), wanted });
        }
    }
}
