//! What one run of a process knows below `base::io`: who is where, which links are open, who is watched.
//!
//! State only. `traffic` moves it; the machine above sees `Up`, `Down`, `Heard`, `Silent` and frames.

use super::conn::ConnId;
use base::Time;
use base::backoff::Backoff;
use base::io::net::{Addresses, Frame, Lane, Network, Peer};
use base::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use wire::keepalive::Keepalive;

/// Without an answer to a call for so long, it is given up.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection on which nothing came for so long, though it was pinged, is given up.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Frames that wait for a link at most; the oldest connection that cannot take more is reset.
pub const WAITING_MAX: usize = 4096;

/// A link or a keepalive connection, by the end that opened it or was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The other end.
    pub peer: Peer,
    /// What for.
    pub lane: Lane,
    /// Over which network; only keepalives go over the replication network.
    pub network: Network,
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
    /// Where it stands.
    pub phase: Phase,
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
    pub opened: BTreeMap<Key, Opened>,
    /// Links it was called on.
    pub accepted: BTreeMap<Key, ConnId>,
    /// Who is watched, on each network.
    pub watched: BTreeMap<(Peer, Network), Keepalive>,
    /// Pings to be answered when the turn's frames are sent.
    pub pongs: Vec<(ConnId, Time)>,
}

impl Endpoint {
    /// Whether the peer is watched.
    pub fn watches(&self, peer: Peer) -> bool {
        self.watched.contains_key(&(peer, Network::Primary))
    }

    /// When something here is due.
    pub fn deadline(&self) -> Option<Time> {
        let keepalives = self.watched.values().map(Keepalive::deadline);
        let links = self.opened.values().filter_map(|link| match link.phase {
            Phase::Calling { until, .. } | Phase::Waiting { until } => Some(until),
            // Only a pinged connection is given up for silence, and pings come often enough to look at it then.
            Phase::Idle | Phase::Up { .. } => None,
        });
        keepalives.chain(links).min()
    }
}
