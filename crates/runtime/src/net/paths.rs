//! Which network the links to a peer ride.
//!
//! The primary one, as a rule. Between two nodes of which this one watches the other, the replication network takes them over when keepalives say that
//! the primary one is silent and the other is not, or when the peer's primary address refuses or cannot be reached while it is heard beside it. Meanwhile
//! the primary network is pinged on a connection of its own, and when it has been steady for a while the links go back. Each change is a
//! new life of the link; what it costs is what a reset costs.

use super::Net;
use super::line::Line;
use crate::turn::Turn;
use base::Time;
use base::io::Input;
use base::io::net::{Down, Event, Link, Network, Peer, Side, Traffic};
use wire::keepalive::{Act, Keepalive};

fn links(peer: Peer) -> [Line; 2] {
    [Link::to(peer), Link::bulk(peer)].map(Line::Link)
}

impl Net {
    fn rides(&self, peer: Peer) -> Network {
        if self.aside.contains(&peer) { Network::Replication } else { Network::Primary }
    }

    /// Over which network a line of this side is to be opened.
    pub(super) fn network_of(&self, line: Line) -> Network {
        match line {
            Line::Link(link) => self.rides(link.peer),
            Line::Probe { network, .. } => network,
        }
    }

    fn is_heard(&self, peer: Peer, network: Network) -> bool {
        self.watched.get(&(peer, network)).is_some_and(Keepalive::is_heard)
    }

    /// Does what is due for a watched peer: both networks are pinged in the same turn, so that they can be compared.
    pub(super) fn keep_alive(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        for network in Network::ALL {
            while let Some(act) = self.watched.get_mut(&(peer, network)).and_then(|k| k.due(turn.now)) {
                match act {
                    Act::Ping(stamp) => {
                        self.ping(peer, network, stamp, turn);
                        if let (Network::Primary, Some(other)) =
                            (network, self.watched.get_mut(&(peer, network.other())))
                        {
                            other.on_other_pings(turn.now);
                        }
                    }
                    Act::Silent(since) => {
                        turn.inbox.push_back(Input::Net(Event::Silent { peer, network, since }));
                        let text = format_args!("{peer} is silent on the {network:?} network");
                        turn.log.say(&(peer, network), turn.now, text);
                    }
                }
            }
        }
        self.reconsider(peer, turn);
    }

    /// A line of this side is up. What comes of a new link is said as if nothing had been said before.
    pub(super) fn fresh_keepalives(&mut self, line: Line, now: Time) {
        let networks = match line {
            Line::Link(link) if link == Link::to(link.peer) => &Network::ALL[..],
            Line::Link(_) => &[],
            Line::Probe { network: Network::Primary, .. } => &Network::ALL[..1],
            Line::Probe { network: Network::Replication, .. } => &Network::ALL[1..],
        };
        for network in networks {
            if let Some(keepalive) = self.watched.get_mut(&(line.peer(), *network)) {
                keepalive.on_up(now);
            }
        }
    }

    /// Looks whether the links to a watched peer should ride the other network.
    pub(super) fn reconsider(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        let rides = self.rides(peer);
        let keepalives = [rides, rides.other()].map(|network| self.watched.get(&(peer, network)));
        let [Some(here), Some(there)] = keepalives else { return };
        let back = rides == Network::Replication && there.is_steady(turn.now);
        if back || here.yields_to(there, turn.now) {
            return self.shift(peer, rides.other(), turn);
        }
        if rides == Network::Replication && here.is_silent() {
            // Nobody is heard anywhere: what is being opened there is as good as lost.
            let state = self.opened.get(&Line::Link(Link::to(peer)));
            let opening = state.filter(|state| state.up_since.is_none()).and_then(|state| state.conn);
            if let Some(id) = opening {
                self.lost(id, Down::Silent, turn);
            }
        }
    }

    /// The links to a peer ride `network` from now on.
    pub(super) fn shift(&mut self, peer: Peer, network: Network, turn: &mut Turn<'_>) {
        if self.rides(peer) == network {
            return;
        }
        turn.log.say(
            &("rides", peer),
            turn.now,
            format_args!("links to {peer} ride the {network:?} network from now on"),
        );
        self.ride(peer, network, turn);
        links(peer).into_iter().for_each(|line| self.moved(line, turn));
    }

    /// Notes which network is ridden; while it is not the primary one, that one is pinged beside it.
    fn ride(&mut self, peer: Peer, network: Network, turn: &mut Turn<'_>) {
        match network {
            Network::Replication => {
                self.aside.insert(peer);
                self.watch_line(Line::probe(peer, Network::Primary), turn);
            }
            Network::Primary => {
                self.aside.remove(&peer);
                self.drop_probe(peer, Network::Primary, turn);
            }
        }
    }

    /// A link could not be opened or broke. Whether it is tried over the other network at once, and nobody need know of this failure.
    pub(super) fn detours(&mut self, line: Line, why: Down, turn: &mut Turn<'_>) -> bool {
        let Line::Link(Link { peer, side: Side::Opened, .. }) = line else { return false };
        let state = self.opened.get_mut(&line).expect("a line that this side opens");
        let was_up = state.up_since.is_some();
        let absent = matches!(why, Down::Refused | Down::Silent);
        match self.rides(peer) {
            Network::Primary if absent && !was_up && self.is_heard(peer, Network::Replication) => {
                self.ride(peer, Network::Replication, turn);
                for other in links(peer).into_iter().filter(|other| *other != line) {
                    if self.opened.get(&other).is_some_and(|state| state.up_since.is_some()) {
                        self.moved(other, turn);
                    }
                }
                self.moved(line, turn);
                true
            }
            Network::Primary => false,
            Network::Replication => {
                let better = self.is_heard(peer, Network::Replication) && !self.is_heard(peer, Network::Primary);
                if why == Down::Refused || !better {
                    self.ride(peer, Network::Primary, turn);
                }
                false
            }
        }
    }

    /// Says what went over the networks, and how the connections are.
    pub(super) fn count(&mut self, turn: &mut Turn<'_>) {
        let ((opening, to_open), (closing, to_close)) = (self.opening.counts(), self.conns.leaving());
        let [opening, closing, queued] = [opening, closing, to_open + to_close].map(|count| count as u64);
        let traffic = Traffic { aside: self.aside.len() as u64, opening, closing, queued, ..self.traffic };
        turn.inbox.push_back(Input::Net(Event::Counted(Box::new(traffic))));
    }
}
