//! What one run of a process knows below `base::io`: who is where, which links are open, who is watched.
//!
//! State only. `traffic` moves it; the machine above sees `Up`, `Down`, `Heard`, `Silent` and frames.

use super::conn::ConnId;
use super::watching::Watching;
use base::Time;
use base::backoff::Backoff;
use base::io::net::{Addresses, Frame, Lane, Network, Peer, Traffic};
use base::map::Map;
use base::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::keepalive::Keepalive;
use wire::share::Pacer;

/// Without an answer to a call for so long, it is given up.
pub const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// Frames that wait for a link at most; the oldest connection that cannot take more is reset.
pub const WAITING_MAX: usize = 4096;

/// A link or a keepalive connection, by the end that opened it or was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A link, on whichever network it rides.
    Link {
        /// The other end.
        peer: Peer,
        /// What for.
        lane: Lane,
    },
    /// Keepalives alone.
    Probe {
        /// The other end.
        peer: Peer,
        /// Over which network.
        network: Network,
    },
}

impl Key {
    /// Of a connection.
    pub fn of(peer: Peer, lane: Option<Lane>, network: Network) -> Self {
        match lane {
            Some(lane) => Self::Link { peer, lane },
            None => Self::Probe { peer, network },
        }
    }

    /// The link on which a peer is asked things.
    pub fn to(peer: Peer) -> Self {
        Self::Link { peer, lane: Lane::Data }
    }

    /// The other end.
    pub fn peer(self) -> Peer {
        let (Self::Link { peer, .. } | Self::Probe { peer, .. }) = self;
        peer
    }

    /// The lane of a link.
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Link { lane, .. } => Some(lane),
            Self::Probe { .. } => None,
        }
    }
}

/// Where an opened link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not wanted now.
    Idle,
    /// Called, not answered.
    Calling {
        /// On which connection.
        conn: ConnId,
        /// When it is given up.
        until: Time,
    },
    /// Open.
    Up {
        /// On which connection.
        conn: ConnId,
    },
    /// To be called again.
    Waiting {
        /// When.
        until: Time,
    },
}

/// A link that this process opens.
pub struct Opened {
    phase: Phase,
    /// Sent while it was not up.
    pub waiting: VecDeque<Frame>,
    /// Between calls of a watched peer.
    pub backoff: Backoff,
    /// When any byte last came on it.
    pub heard: Time,
    /// A keepalive was sent on it since.
    pub pinged: bool,
}

impl Opened {
    /// Not open.
    pub fn new() -> Self {
        Self {
            phase: Phase::Idle,
            waiting: VecDeque::new(),
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(1)),
            heard: Time::ZERO,
            pinged: false,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its connection, called or open.
    pub fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Calling { conn, .. } | Phase::Up { conn } => Some(conn),
            Phase::Idle | Phase::Waiting { .. } => None,
        }
    }
}

impl Default for Opened {
    fn default() -> Self {
        Self::new()
    }
}

/// All of one run of a process.
#[derive(Default)]
pub struct Endpoint {
    /// Where peers are.
    pub known: BTreeMap<Peer, Addresses>,
    /// Links it opens.
    pub opened: Map<Key, Opened>,
    /// Of these, those that are being called or wait to be.
    restless: BTreeSet<Key>,
    /// Links it was called on.
    pub accepted: Map<Key, ConnId>,
    /// Connections that it answered a hello on and that are not proven yet, in the order in which it did.
    pub greeted: Map<Key, Vec<ConnId>>,
    /// Who is watched, on each network.
    pub watched: Watching,
    /// Peers whose links ride the replication network.
    pub aside: BTreeSet<Peer>,
    /// Holds back what that network does not take.
    pub pacer: Pacer<ConnId>,
    /// When it lets go of something.
    pub pace_at: Option<Time>,
    /// What went over the networks.
    pub traffic: Traffic,
    /// Pings to be answered when the turn's frames are sent.
    pub pongs: Vec<(ConnId, Time)>,
}

impl Endpoint {
    /// Whether the peer is watched.
    pub fn watches(&self, peer: Peer) -> bool {
        self.watched.has(peer, Network::Primary)
    }

    /// Which network the links to a peer ride.
    pub fn rides(&self, peer: Peer) -> Network {
        if self.aside.contains(&peer) { Network::Replication } else { Network::Primary }
    }

    /// Whether the peer is watched and heard on a network.
    pub fn is_heard(&self, peer: Peer, network: Network) -> bool {
        self.watched.get(peer, network).is_some_and(Keepalive::is_heard)
    }

    /// Whether a link or a keepalive connection is kept open without anything to be sent.
    pub fn keeps(&self, key: Key) -> bool {
        match key {
            Key::Link { peer, lane } => lane == Lane::Data && self.watches(peer),
            Key::Probe { peer, network: Network::Primary } => self.watches(peer) && self.aside.contains(&peer),
            Key::Probe { peer, network } => self.watched.has(peer, network),
        }
    }

    /// A link stands elsewhere now.
    pub fn set_phase(&mut self, key: Key, phase: Phase) -> &mut Opened {
        match phase {
            Phase::Calling { .. } | Phase::Waiting { .. } => drop(self.restless.insert(key)),
            // Only a pinged connection is given up for silence, and pings come often enough to look at it then.
            Phase::Idle | Phase::Up { .. } => drop(self.restless.remove(&key)),
        }
        let opened = self.opened.entry(key).or_default();
        opened.phase = phase;
        opened
    }

    /// Where a link stands; it is known from now on.
    pub fn phase(&mut self, key: Key) -> Phase {
        self.opened.entry(key).or_default().phase
    }

    /// All that it opens to a peer, in order.
    pub fn keys_of(&self, peer: Peer) -> Vec<Key> {
        let links = [Lane::Data, Lane::Bulk].map(|lane| Key::Link { peer, lane });
        let probes = Network::ALL.map(|network| Key::Probe { peer, network });
        links.into_iter().chain(probes).filter(|key| self.opened.contains_key(key)).collect()
    }

    /// Forgets a link.
    pub fn remove_opened(&mut self, key: Key) -> Option<Opened> {
        self.restless.remove(&key);
        self.opened.remove(&key)
    }

    /// The links that time alone may move.
    pub fn restless(&self) -> impl Iterator<Item = (Key, Phase)> + '_ {
        self.restless.iter().map(|key| (*key, self.opened[key].phase))
    }

    /// When something here is due.
    pub fn deadline(&mut self) -> Option<Time> {
        let keepalives = self.watched.deadline();
        let links = self.restless().filter_map(|(_, phase)| match phase {
            Phase::Calling { until, .. } | Phase::Waiting { until } => Some(until),
            Phase::Idle | Phase::Up { .. } => None,
        });
        links.chain(keepalives).chain(self.pace_at).min()
    }
}
