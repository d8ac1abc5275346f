//! Whether it is this node that is cut off, when it has lost touch with many others at once (correlated loss: what began the disruption of 2011 was nodes that
//! each took all the others for failed).
//!
//! ```text
//! in touch -more than 30 % of its peers, and two at least, fell silent on both networks within 5 s-> isolated
//! isolated -enough of them are heard, or the authority has given enough of them up-> in touch
//! ```
//!
//! A node that takes itself to be isolated says so to the authority and goes on as before: what it wishes for needs the authority anyway. It is the authority that
//! makes nothing anew because of it. Those that it lost it keeps calling, also when they are no members beside it any more, so that it learns when they are back.
//!
//! It refuses to know why they are silent. An address that refuses is an answer, and so no loss of this kind.

use crate::Node;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::time::Duration;
use base::{NodeId, Time};
use replica::Peers;
use wire::Touch;

/// So many of a hundred peers may be lost at once before it is rather this node that is. R4.
const LOST_PERCENT_MAX: usize = 30;
/// One alone that is lost says nothing of anybody else.
const LOST_MIN: usize = 2;
/// What is lost within this time is lost at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What a node makes of its losses.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// Peers that are out of touch, since when. Those of longer ago stay while they are peers, or while this node is isolated.
    lost: BTreeMap<NodeId, Time>,
    /// By the authority, on this life of the link to it.
    given_up: BTreeSet<NodeId>,
    /// All with which it shares something.
    peers: BTreeSet<NodeId>,
    since: Option<Time>,
    times: u64,
    stale: bool,
}

impl Isolation {
    /// Something was heard of a peer, or is not any more.
    pub(crate) fn look_again(&mut self) {
        self.stale = true;
    }

    /// The authority says which nodes have failed.
    pub(crate) fn given_up(&mut self, nodes: Vec<NodeId>) {
        self.given_up = nodes.into_iter().collect();
        self.stale = true;
    }

    /// The authority is not the one that said so.
    pub(crate) fn nobody_is_given_up(&mut self) {
        self.given_up.clear();
        self.stale = true;
    }

    /// These are the nodes that there are.
    pub(crate) fn there_are(&mut self, nodes: &[NodeId]) {
        self.lost.retain(|node, _| nodes.contains(node));
        self.stale = true;
    }

    /// Those it has to call though it shares nothing with them.
    pub(crate) fn lost(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.lost.keys().copied()
    }

    /// When what it knows of losses may change by time alone.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let strange = self.lost.iter().filter(|(node, _)| self.since.is_none() && !self.peers.contains(node));
        strange.map(|(_, at)| *at + AT_ONCE).min()
    }

    /// Looks at all peers. Whether it has become isolated by that, or is not any more.
    fn look(&mut self, now: Time, peers: &Peers, shared: impl Iterator<Item = NodeId>) -> bool {
        self.peers = shared.collect();
        let known: Vec<NodeId> = self.peers.iter().chain(self.lost.keys()).copied().collect();
        for node in known {
            if peers.is_out_of_touch(node) {
                self.lost.entry(node).or_insert(now);
            } else {
                self.lost.remove(&node);
            }
        }
        let lost = self.lost.iter().filter(|(node, _)| !self.given_up.contains(*node));
        let at_once = lost.filter(|(_, at)| self.since.is_some() || now.since(**at) <= AT_ONCE).count();
        let all = self.peers.iter().chain(self.lost.keys()).collect::<BTreeSet<_>>();
        let counted = all.into_iter().filter(|node| !self.given_up.contains(*node)).count();
        let isolated = at_once >= LOST_MIN && at_once * 100 > counted * LOST_PERCENT_MAX;
        let changed = isolated != self.since.is_some();
        if changed {
            self.since = isolated.then_some(now);
            self.times += u64::from(isolated);
        }
        if !isolated {
            let peers = &self.peers;
            self.lost.retain(|node, at| peers.contains(node) || now.since(*at) <= AT_ONCE);
        }
        changed
    }

    /// As it is told.
    pub(crate) fn touch(&self, now: Time) -> Touch {
        Touch {
            peers: self.peers.len() as u32,
            lost: self.lost.keys().filter(|node| !self.given_up.contains(*node)).count() as u32,
            isolated_ms: self.since.map(|at| now.since(at).as_millis() as u64),
            times: self.times,
        }
    }
}

impl Node {
    /// Takes note of losses. That it is isolated now, or is not any more, the authority hears before anything that this node wishes for because of it.
    pub(crate) fn look_for_isolation(&mut self) {
        let due = self.isolation.deadline().is_some_and(|at| at < self.now);
        if !core::mem::take(&mut self.isolation.stale) && !due {
            return;
        }
        let before = self.isolation.lost.len();
        if self.isolation.look(self.now, &self.peers, self.partners.nodes()) {
            self.authority.hurry();
        }
        if self.isolation.lost.len() != before {
            self.partners.look_at_whom_to_watch();
        }
    }

    /// Whether, and since when, this node takes itself to be isolated.
    pub fn touch(&self) -> Touch {
        self.isolation.touch(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::io::net::{Down, Network};

    struct World {
        peers: Peers,
        isolation: Isolation,
        now: Time,
        shared: Vec<u64>,
    }

    impl World {
        /// In touch with so many.
        fn of(peers: u64) -> Self {
            let mut world = Self {
                peers: Peers::default(),
                isolation: Isolation::default(),
                now: Time(1),
                shared: (1..=peers).collect(),
            };
            (1..=peers).for_each(|n| world.peers.on_up(NodeId(n)));
            world.look();
            world
        }

        fn look(&mut self) -> bool {
            let changed = self.isolation.look(self.now, &self.peers, self.shared.iter().map(|n| NodeId(*n)));
            assert_eq!(self.isolation.touch(self.now).isolated_ms.is_some(), self.isolation.since.is_some());
            changed
        }

        fn silent(&mut self, n: u64) -> bool {
            self.peers.on_silent(NodeId(n), Network::Primary);
            self.look()
        }

        fn lose(&mut self, n: u64) {
            self.silent(n);
        }

        fn heard(&mut self, n: u64) -> bool {
            self.peers.on_heard(NodeId(n), Network::Primary, true, self.now);
            self.look()
        }

        fn pass(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
            self.look();
        }

        fn is_isolated(&self) -> bool {
            self.isolation.since.is_some()
        }
    }

    #[test]
    fn who_loses_both_of_two_is_isolated_and_who_loses_one_of_three_is_not() {
        let mut w = World::of(2);
        assert!(!w.silent(1) && !w.is_isolated());
        assert!(w.silent(2) && w.is_isolated());
        w.pass(700);
        let touch = w.isolation.touch(w.now);
        assert_eq!((touch.peers, touch.lost, touch.isolated_ms, touch.times), (2, 2, Some(700), 1));
        let mut w = World::of(3);
        assert!(!w.silent(1) && !w.is_isolated());
    }

    #[test]
    fn of_many_it_takes_more_than_thirty_in_a_hundred() {
        let mut w = World::of(10);
        (1..=3).for_each(|n| assert!(!w.silent(n)));
        assert!(w.silent(4) && w.is_isolated());
    }

    #[test]
    fn losses_that_are_far_apart_are_no_isolation_and_those_within_five_seconds_are() {
        let mut w = World::of(3);
        w.silent(1);
        w.pass(5001);
        assert!(!w.silent(2) && !w.is_isolated());
        w.pass(5000);
        assert!(w.silent(3) && w.is_isolated(), "two within five seconds");
    }

    #[test]
    fn a_peer_that_is_heard_on_one_network_or_refuses_is_not_lost() {
        let mut w = World::of(2);
        w.peers.on_heard(NodeId(1), Network::Replication, false, Time(1));
        w.silent(1);
        assert!(!w.silent(2) && w.isolation.touch(w.now).lost == 1);
        w.peers.on_silent(NodeId(1), Network::Replication);
        assert!(w.look() && w.is_isolated());
        w.peers.on_down(NodeId(1), Down::Refused);
        assert!(w.look() && !w.is_isolated(), "the network to it is there");
    }

    #[test]
    fn who_has_not_been_met_cannot_be_lost() {
        let mut w = World::of(0);
        w.shared = vec![1, 2];
        w.peers.on_down(NodeId(1), Down::Silent);
        w.peers.on_down(NodeId(2), Down::Silent);
        assert!(!w.look() && w.isolation.touch(w.now).lost == 0);
    }

    #[test]
    fn it_ends_when_enough_are_heard_again_also_if_they_are_peers_no_more() {
        let mut w = World::of(4);
        (1..=4).for_each(|n| w.lose(n));
        // They were left out of all that they shared: they are still called.
        w.shared.clear();
        w.pass(60_000);
        assert!(w.is_isolated() && w.isolation.lost().count() == 4);
        assert!(!w.heard(1) && !w.heard(2) && w.is_isolated());
        assert!(w.heard(3) && !w.is_isolated(), "one is none");
        w.pass(5001);
        assert_eq!(w.isolation.lost().count(), 0, "and then no longer than needed");
        w.shared = (1..=4).collect();
        (1..=4).for_each(|n| w.lose(n));
        assert_eq!(w.isolation.touch(w.now).times, 2);
    }

    #[test]
    fn a_lost_peer_is_called_for_five_seconds_though_it_is_a_peer_no_more() {
        let mut w = World::of(5);
        w.silent(1);
        w.shared.retain(|n| *n != 1);
        w.look();
        assert_eq!(w.isolation.deadline(), Some(Time(1) + AT_ONCE));
        w.pass(3000);
        assert!(w.silent(2), "two of five within five seconds");
        assert!(w.is_isolated() && w.isolation.deadline().is_none());
    }

    #[test]
    fn it_ends_when_the_authority_gives_the_lost_up_or_knows_them_no_more() {
        let mut w = World::of(3);
        (1..=2).for_each(|n| w.lose(n));
        w.isolation.given_up(vec![NodeId(1)]);
        assert!(w.look() && !w.is_isolated());
        w.pass(60_000);
        w.isolation.nobody_is_given_up();
        assert!(!w.look(), "what was lost long ago is no new loss");
        let mut w = World::of(3);
        (1..=2).for_each(|n| w.lose(n));
        w.shared = vec![3];
        w.isolation.there_are(&[NodeId(2), NodeId(3)]);
        assert!(w.look() && !w.is_isolated());
    }
}
