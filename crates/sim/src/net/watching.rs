//! Whom one process watches, and who of them is due next. A process watches many and is asked after each of its turns when it wants the next one, so this
//! is known without looking at all of them.
//!
//! Of each watched peer and network one entry waits in a heap, at its deadline or before: what is heard of a peer moves its deadline back and leaves
//! the entry where it is, until it comes to the top.

use base::Time;
use base::io::net::{Network, Peer};
use base::map::Map;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use wire::keepalive::Keepalive;

struct Watched {
    keepalive: Keepalive,
    /// Where its entry is; another one of it, if there is one, means nothing.
    queued: Time,
}

/// Of none is the entry so late: it has none.
const NOWHERE: Time = Time(u64::MAX);

/// The keepalives of one process.
#[derive(Default)]
pub struct Watching {
    by: Map<Peer, [Option<Watched>; 2]>,
    due: BinaryHeap<Reverse<(Time, Peer, Network)>>,
}

impl Watching {
    /// Whether the peer is watched on the network.
    pub fn has(&self, peer: Peer, network: Network) -> bool {
        self.get(peer, network).is_some()
    }

    /// Its keepalive on a network.
    pub fn get(&self, peer: Peer, network: Network) -> Option<&Keepalive> {
        self.by.get(&peer)?[network as usize].as_ref().map(|watched| &watched.keepalive)
    }

    /// All of them, in any order.
    pub fn keys(&self) -> impl Iterator<Item = (Peer, Network)> + '_ {
        let of = |(peer, both): (&Peer, &[Option<Watched>; 2])| {
            let peer = *peer;
            Network::ALL.map(|network| both[network as usize].is_some().then_some((peer, network)))
        };
        self.by.iter().flat_map(of).flatten()
    }

    /// Begins to watch.
    pub fn begin(&mut self, peer: Peer, network: Network, keepalive: Keepalive) {
        self.by.entry(peer).or_default()[network as usize] = Some(Watched { keepalive, queued: NOWHERE });
        self.change(peer, network, |_| ());
    }

    /// Watches no more.
    pub fn end(&mut self, peer: Peer, network: Network) {
        let Some(both) = self.by.get_mut(&peer) else { return };
        both[network as usize] = None;
        if both.iter().all(Option::is_none) {
            self.by.remove(&peer);
        }
    }

    /// Tells a keepalive something.
    pub fn change<R>(&mut self, peer: Peer, network: Network, tell: impl FnOnce(&mut Keepalive) -> R) -> Option<R> {
        let watched = self.by.get_mut(&peer)?[network as usize].as_mut()?;
        let came = tell(&mut watched.keepalive);
        let deadline = watched.keepalive.deadline();
        if deadline < watched.queued {
            watched.queued = deadline;
            self.due.push(Reverse((deadline, peer, network)));
        }
        Some(came)
    }

    /// When the next is due.
    pub fn deadline(&mut self) -> Option<Time> {
        loop {
            let Reverse((at, peer, network)) = *self.due.peek()?;
            let watched = self.by.get_mut(&peer).and_then(|both| both[network as usize].as_mut());
            let watched = watched.filter(|watched| watched.queued == at);
            let Some(watched) = watched else {
                self.due.pop();
                continue;
            };
            let deadline = watched.keepalive.deadline();
            if deadline <= at {
                return Some(at);
            }
            watched.queued = deadline;
            *self.due.peek_mut()? = Reverse((deadline, peer, network));
        }
    }

    /// Those of whom something is due, and idle ones that are pinged with one of them. Each must be asked what, on both networks.
    pub fn take_due(&mut self, now: Time) -> BTreeSet<Peer> {
        let mut peers = BTreeSet::new();
        self.take(now, &mut peers);
        let primary = |peer: &Peer| self.get(*peer, Network::Primary).is_some_and(|k| k.takes_along(now));
        if peers.iter().any(primary) {
            let others: Vec<Peer> = self.by.keys().filter(|peer| !peers.contains(peer)).copied().collect();
            for peer in others {
                self.change(peer, Network::Primary, |keepalive| keepalive.come_along(now));
            }
            self.take(now, &mut peers);
        }
        peers
    }

    fn take(&mut self, now: Time, peers: &mut BTreeSet<Peer>) {
        while self.deadline().is_some_and(|at| at <= now) {
            let Some(Reverse((_, peer, network))) = self.due.pop() else { break };
            if let Some(watched) = self.by.get_mut(&peer).and_then(|both| both[network as usize].as_mut()) {
                watched.queued = NOWHERE;
            }
            peers.insert(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::io::net::Side;
    use base::time::Duration;
    use base::{NodeId, Rng};
    use wire::keepalive::Act;

    #[test]
    fn the_next_that_is_due_is_the_soonest_of_all_whatever_is_heard_and_sent() {
        let mut rng = Rng::new(1);
        let (mut watching, mut now) = (Watching::default(), Time(1));
        let mut pings = 0;
        for _ in 0..20_000 {
            let (peer, network) = (Peer::Node(NodeId(rng.below(6))), Network::ALL[rng.below(2) as usize]);
            match rng.below(20) {
                0 => watching.begin(peer, network, Keepalive::new(now)),
                1 => watching.end(peer, network),
                2 => drop(watching.change(peer, network, |k| k.on_sent(now))),
                3 => drop(watching.change(peer, network, |k| k.on_up(now))),
                4 => drop(watching.change(peer, network, |k| k.on_other_pings(now))),
                5..12 => drop(watching.change(peer, network, |k| k.on_bytes(Side::Opened, now))),
                _ => now += Duration::from_millis(rng.below(20)),
            }
            let all: Vec<(Peer, Network)> = watching.keys().collect();
            let of = |(peer, network): &(Peer, Network)| watching.get(*peer, *network).unwrap().deadline();
            let soonest = all.iter().map(of).min();
            let mut who: BTreeSet<Peer> = all.iter().filter(|key| of(key) <= now).map(|key| key.0).collect();
            let primary = |peer: &Peer| watching.get(*peer, Network::Primary).cloned();
            if who.iter().filter_map(primary).any(|k| k.takes_along(now)) {
                who.extend(all.iter().map(|key| key.0).filter(|peer| {
                    primary(peer).is_some_and(|mut k| {
                        k.come_along(now);
                        k.deadline() <= now
                    })
                }));
            }
            assert_eq!(watching.deadline(), soonest);
            assert_eq!(watching.take_due(now), who);
            for peer in who {
                for network in Network::ALL {
                    while let Some(act) = watching.change(peer, network, |k| k.due(now)).flatten() {
                        pings += u32::from(matches!(act, Act::Ping(_)));
                    }
                }
            }
            assert!(watching.due.len() < 200, "entries that mean nothing are dropped");
        }
        assert!(pings > 1000, "{pings}");
    }
}
