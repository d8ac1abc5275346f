//! What this node knows of the others' liveness: one value per node, shared by all its replicas.
//!
//! It refuses to know why a peer is silent. It says only what rules 3 and 4 of the protocol ask: is it gone, and when did it last
//! confirm that it had told us everything it promised.

use alloc::collections::BTreeMap;
use base::io::net::{Down, Network};
use base::time::Duration;
use base::{NodeId, Time};

/// A read is answered only while each member has confirmed the primary within this time (rule 3).
pub const LEASE: Duration = Duration::from_secs(2);
/// The first primary of a generation waits so long when an older one cannot confirm the fence: the lease and 10 % of drift (rule 9).
pub const FENCE_WAIT: Duration = Duration::from_millis(2200);
/// Without a link for so long, a peer is as good as silent though it is heard beside: nothing can be asked of it (rule 4).
const UNLINKED_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Default)]
struct Peer {
    up: bool,
    /// It was up once.
    met: bool,
    refused: bool,
    /// Unheard on the primary network, or its links could not be opened for want of an answer.
    silent: bool,
    /// Whether it is heard on the replication network; none while it never was.
    aside: Option<bool>,
    /// While there is no link: when the first keepalive beside it was sent that was answered.
    beside_since: Option<Time>,
    /// That was too long ago.
    unlinked: bool,
    /// When the newest answered keepalive was sent.
    confirmed: Option<Time>,
}

/// All peers that this node has heard of.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    fn entry(&mut self, node: NodeId) -> &mut Peer {
        self.peers.entry(node).or_default()
    }

    /// The link on which this node asks `node` is open.
    pub fn on_up(&mut self, node: NodeId) {
        let peer = self.entry(node);
        (peer.up, peer.met, peer.refused, peer.silent) = (true, true, false, false);
        (peer.beside_since, peer.unlinked) = (None, false);
    }

    /// It is not, and this is why.
    pub fn on_down(&mut self, node: NodeId, why: Down) {
        let peer = self.entry(node);
        peer.up = false;
        // A lone reset says nothing yet: the reconnect under way will tell (rule 4). Nor does it that an address is still to be told.
        match why {
            Down::Refused | Down::Rejected | Down::Twin => peer.refused = true,
            Down::Silent => peer.silent = true,
            Down::Reset | Down::Unknown => {}
        }
    }

    /// A keepalive sent at `asked` was answered.
    pub fn on_heard(&mut self, node: NodeId, network: Network, ordered: bool, asked: Time) {
        let peer = self.entry(node);
        match network {
            Network::Primary => peer.silent = false,
            Network::Replication => peer.aside = Some(true),
        }
        if !peer.up {
            let since = *peer.beside_since.get_or_insert(asked);
            peer.unlinked |= asked.since(since) >= UNLINKED_AFTER;
        }
        // Either network proves that the process lives; that it told us everything is proven by the ordered link only, whichever it rides.
        if ordered {
            peer.confirmed = peer.confirmed.max(Some(asked));
        }
    }

    /// No answer for 250 ms.
    pub fn on_silent(&mut self, node: NodeId, network: Network) {
        match network {
            Network::Primary => self.entry(node).silent = true,
            Network::Replication => self.entry(node).aside = Some(false),
        }
    }

    /// Whether its address refuses connections: its process is dead, whether or not anything waits for it.
    pub fn is_dead(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.refused && !p.up)
    }

    /// Whether it is gone for somebody whose I/O waits: dead, or without a byte for 250 ms on every network on which it was ever heard; or silent on the
    /// primary network and without a link for as long, however well it is heard beside.
    pub fn is_gone(&self, node: NodeId) -> bool {
        let silent = |p: &Peer| p.silent && (p.aside != Some(true) || p.unlinked);
        self.peers.get(&node).is_some_and(|p| (p.refused && !p.up) || silent(p))
    }

    /// Whether it is gone for a client: for whoever is on the primary network only, and cannot reach it there, it does not help that members hear it beside.
    pub fn is_gone_for_clients(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.silent || (p.refused && !p.up))
    }

    /// Whether this node was in touch with it and hears nothing of it any more on either network. An address that refuses is an answer: its
    /// process is dead, and the network to it is there.
    pub fn is_out_of_touch(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.met && !p.refused && p.silent && p.aside != Some(true))
    }

    /// Whether the link to it is open.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.up)
    }

    /// Whether the link to it was ever open since this process began.
    pub fn is_met(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|p| p.met)
    }

    /// When the newest keepalive that it answered was sent.
    pub fn confirmed(&self, node: NodeId) -> Option<Time> {
        self.peers.get(&node).and_then(|p| p.confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_reset_is_not_an_absence_and_a_refusal_is() {
        let mut peers = Peers::default();
        let n = NodeId(1);
        peers.on_up(n);
        peers.on_down(n, Down::Reset);
        assert!(!peers.is_gone(n) && !peers.is_up(n));
        peers.on_down(n, Down::Refused);
        assert!(peers.is_dead(n) && peers.is_gone(n));
        peers.on_up(n);
        assert!(!peers.is_gone(n));
    }

    #[test]
    fn who_cannot_be_called_because_nobody_told_where_is_not_dead() {
        let mut peers = Peers::default();
        let n = NodeId(1);
        peers.on_down(n, Down::Unknown);
        assert!(!peers.is_dead(n) && !peers.is_gone(n) && !peers.is_up(n) && !peers.is_met(n));
        peers.on_down(n, Down::Refused);
        assert!(peers.is_dead(n) && !peers.is_met(n));
        peers.on_up(n);
        peers.on_down(n, Down::Refused);
        assert!(peers.is_dead(n) && peers.is_met(n));
    }

    #[test]
    fn only_the_ordered_link_confirms_whichever_network_it_rides() {
        let mut peers = Peers::default();
        let n = NodeId(1);
        peers.on_heard(n, Network::Replication, false, Time(5));
        peers.on_heard(n, Network::Primary, false, Time(6));
        assert!(peers.confirmed(n).is_none());
        peers.on_heard(n, Network::Primary, true, Time(7));
        assert_eq!(peers.confirmed(n), Some(Time(7)));
        peers.on_heard(n, Network::Replication, true, Time(9));
        peers.on_heard(n, Network::Primary, true, Time(8));
        assert_eq!(peers.confirmed(n), Some(Time(9)));
    }

    #[test]
    fn a_peer_that_is_heard_beside_is_gone_when_it_has_no_link_for_as_long_as_a_silence_lasts() {
        let (mut peers, n) = (Peers::default(), NodeId(1));
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        peers.on_up(n);
        peers.on_silent(n, Network::Primary);
        // With a link it may be heard beside it for ever.
        [0, 900].into_iter().for_each(|ms| peers.on_heard(n, Network::Replication, false, at(ms)));
        assert!(!peers.is_gone(n));
        for ms in [1000, 1100, 1249] {
            // Each attempt fails anew, and does not begin the time anew.
            peers.on_down(n, Down::Reset);
            peers.on_heard(n, Network::Replication, false, at(ms));
            assert!(!peers.is_gone(n), "after {ms} ms");
        }
        peers.on_heard(n, Network::Replication, false, at(1250));
        assert!(peers.is_gone(n) && !peers.is_dead(n));
        // Heard on the primary network it is a matter of a moment until there is a link.
        peers.on_heard(n, Network::Primary, false, at(1260));
        assert!(!peers.is_gone(n));
        peers.on_silent(n, Network::Primary);
        assert!(peers.is_gone(n));
        peers.on_up(n);
        peers.on_silent(n, Network::Primary);
        assert!(!peers.is_gone(n), "it has a link");
        peers.on_down(n, Down::Silent);
        peers.on_heard(n, Network::Replication, false, at(1300));
        assert!(!peers.is_gone(n), "a new absence has its own time");
    }

    #[test]
    fn a_peer_that_is_heard_on_either_network_is_not_gone() {
        let mut peers = Peers::default();
        let n = NodeId(1);
        // On one network only, as far as anybody knows.
        peers.on_heard(n, Network::Primary, true, Time(1));
        peers.on_silent(n, Network::Primary);
        assert!(peers.is_gone(n));
        peers.on_heard(n, Network::Replication, false, Time(2));
        assert!(!peers.is_gone(n));
        peers.on_silent(n, Network::Replication);
        assert!(peers.is_gone(n));
        peers.on_heard(n, Network::Primary, true, Time(3));
        assert!(!peers.is_gone(n));
        // A link that could not be opened says nothing while the peer is heard beside it; its address that refuses says all.
        peers.on_heard(n, Network::Replication, false, Time(4));
        peers.on_down(n, Down::Silent);
        assert!(!peers.is_gone(n));
        peers.on_down(n, Down::Refused);
        assert!(peers.is_gone(n));
    }
}
