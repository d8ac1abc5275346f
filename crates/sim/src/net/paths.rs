//! Which network the links to a peer ride, and the keepalives by which that is decided. By the same rules as the runtime's.

use super::conn::Packet;
use super::endpoint::{Key, Opened, Phase};
use super::traffic::link_of;
use crate::world::{Observer, Pid, World};
use base::Time;
use base::io::net::{Down, Event as NetEvent, Lane, Network, Peer, Side};
use base::io::{Input, Machine};
use wire::keepalive::{Act, Keepalive};

fn links(peer: Peer) -> [Key; 2] {
    [Lane::Data, Lane::Bulk].map(|lane| Key::Link { peer, lane })
}

impl<M: Machine, O: Observer> World<M, O> {
    /// Pings both networks of a peer in one turn, and says who has fallen silent.
    pub(super) fn ping_who_is_due(&mut self, pid: Pid, local: Time) {
        for peer in self.process(pid).endpoint.watched.take_due(local) {
            for network in Network::ALL {
                let next =
                    |world: &mut Self| world.process(pid).endpoint.watched.change(peer, network, |k| k.due(local))?;
                while let Some(act) = next(self) {
                    match act {
                        Act::Ping(stamp) => self.ping(pid, (peer, network), stamp, local),
                        Act::Silent(since) => {
                            let silent = NetEvent::Silent { peer, network, since };
                            self.process(pid).inbox.push_back(Input::Net(silent));
                        }
                    }
                }
            }
            self.reconsider(pid, peer, local);
        }
    }

    fn ping(&mut self, pid: Pid, (peer, network): (Peer, Network), stamp: Time, local: Time) {
        if network == Network::Primary {
            self.process(pid).endpoint.watched.change(peer, network.other(), |other| other.on_other_pings(local));
        }
        let watched = self.process(pid).endpoint.watched.get(peer, network);
        let Some(patience) = watched.map(Keepalive::patience) else { return };
        for key in [Key::to(peer), Key::Probe { peer, network }] {
            let opened = self.process(pid).endpoint.opened.get(&key);
            let Some((Phase::Up { conn }, pinged, heard)) = opened.map(|o| (o.phase(), o.pinged, o.heard)) else {
                continue;
            };
            if self.net.conns.get(&conn).is_none_or(|conn| conn.network != network) {
                continue;
            }
            if pinged && local.since(heard) > patience {
                self.hang_up(pid, key, Down::Silent, local);
                continue;
            }
            self.process(pid).endpoint.traffic.pings[network as usize] += 1;
            if !self.ping_promptly(pid, conn, (key, network), stamp) {
                self.process(pid).endpoint.opened.entry(key).or_default().pinged = true;
                self.transmit(pid, conn, Packet::Ping(stamp), 48);
            }
        }
    }

    /// A keepalive was answered.
    pub(super) fn heard(&mut self, pid: Pid, key: Key, network: Network, asked: Time, local: Time) {
        let (peer, p) = (key.peer(), self.process(pid));
        if p.endpoint.watched.has(peer, network) {
            p.endpoint.traffic.pongs[network as usize] += 1;
            let ordered = key.lane().is_some();
            p.inbox.push_back(Input::Net(NetEvent::Heard { peer, network, ordered, asked }));
            self.reconsider(pid, peer, local);
        }
    }

    /// Looks whether the links to a watched peer should ride the other network.
    fn reconsider(&mut self, pid: Pid, peer: Peer, local: Time) {
        let endpoint = &self.process(pid).endpoint;
        let rides = endpoint.rides(peer);
        let keepalives = [rides, rides.other()].map(|network| endpoint.watched.get(peer, network));
        let [Some(here), Some(there)] = keepalives else { return };
        let back = rides == Network::Replication && there.is_steady(local);
        if back || here.yields_to(there, local) {
            return self.shift(pid, peer, rides.other(), local);
        }
        let opening = |opened: &Opened| matches!(opened.phase(), Phase::Calling { .. });
        let nowhere = rides == Network::Replication && here.is_silent();
        if nowhere && endpoint.opened.get(&Key::to(peer)).is_some_and(opening) {
            // Nobody is heard anywhere: what is being opened there is as good as lost.
            self.hang_up(pid, Key::to(peer), Down::Silent, local);
        }
    }

    /// The links to a peer ride `network` from now on.
    pub(super) fn shift(&mut self, pid: Pid, peer: Peer, network: Network, local: Time) {
        if self.process(pid).endpoint.rides(peer) != network {
            self.ride(pid, peer, network, local);
            links(peer).into_iter().for_each(|key| self.redial(pid, key, local));
        }
    }

    fn ride(&mut self, pid: Pid, peer: Peer, network: Network, local: Time) {
        let probe = Key::Probe { peer, network: Network::Primary };
        let endpoint = &mut self.process(pid).endpoint;
        match network {
            Network::Replication => {
                endpoint.aside.insert(peer);
                if endpoint.phase(probe) == Phase::Idle {
                    self.call(pid, probe, local);
                }
            }
            Network::Primary => {
                endpoint.aside.remove(&peer);
                self.drop_probe(pid, probe);
            }
        }
    }

    pub(super) fn drop_probe(&mut self, pid: Pid, key: Key) {
        if let Some(conn) = self.process(pid).endpoint.remove_opened(key).and_then(|opened| opened.conn()) {
            self.close(conn, pid);
        }
    }

    /// Closes a link and opens it over the network that it rides now, if it is needed.
    fn redial(&mut self, pid: Pid, key: Key, local: Time) {
        let endpoint = &mut self.process(pid).endpoint;
        let Some(opened) = endpoint.opened.get(&key) else { return };
        let (conn, was_up) = (opened.conn(), matches!(opened.phase(), Phase::Up { .. }));
        let opened = endpoint.set_phase(key, Phase::Idle);
        opened.backoff.reset();
        let waits = !opened.waiting.is_empty();
        if let Some(conn) = conn {
            self.close(conn, pid);
        }
        let p = self.process(pid);
        if let (true, Some(link)) = (was_up, link_of(key, Side::Opened)) {
            p.inbox.push_back(Input::Net(NetEvent::Down { link, why: Down::Reset }));
        }
        if waits || p.endpoint.keeps(key) {
            self.call(pid, key, local);
        }
    }

    /// A link could not be opened or broke. Whether it is tried over the other network at once, and nobody need know of this failure.
    pub(super) fn detours(&mut self, pid: Pid, key: Key, (why, was_up): (Down, bool), local: Time) -> bool {
        let Key::Link { peer, .. } = key else { return false };
        let endpoint = &self.process(pid).endpoint;
        let absent = matches!(why, Down::Refused | Down::Silent);
        let [primary, other] = Network::ALL.map(|network| endpoint.is_heard(peer, network));
        match endpoint.rides(peer) {
            Network::Primary if absent && !was_up && other => {
                self.ride(pid, peer, Network::Replication, local);
                for lane in links(peer).into_iter().filter(|lane| *lane != key) {
                    let phase = self.process(pid).endpoint.opened.get(&lane).map(Opened::phase);
                    if matches!(phase, Some(Phase::Up { .. })) {
                        self.redial(pid, lane, local);
                    }
                }
                self.redial(pid, key, local);
                true
            }
            Network::Primary => false,
            Network::Replication => {
                if why == Down::Refused || primary || !other {
                    self.ride(pid, peer, Network::Primary, local);
                }
                false
            }
        }
    }
}
