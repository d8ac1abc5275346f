//! The network: ordered links between named peers, carrying frames.
//!
//! A link is opened by one side; requests go one way and their answers come back on it. So a peer pair can have up to one
//! link per lane and opener. Within one life of a link frames arrive whole, once, and in order; when it goes [`Event::Down`] what was in
//! flight may or may not have arrived. A new life of the same link replaces the old: frames of the old never arrive after
//! its `Up`.
//!
//! Connecting, the hello, the proof of the zone's key and keepalives live below this page. Sending to a peer whose link is not up opens it;
//! frames wait, bounded, until it is up. If it cannot be opened they are dropped and `Down` says why.
//!
//! Which network a link rides is no machine's business: the primary one, or, between two nodes that watch each other, the replication network
//! while the primary one does not carry. To change is a new life of the link.

use crate::{HostId, NodeId, Payload, Time, ZoneNumber};
use bytes::Bytes;
use core::fmt;
use core::net::SocketAddr;

/// Who is at the other end. Proven by its zone's key before any frame passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A storage node.
    Node(NodeId),
    /// The authority of the zone.
    Zone,
    /// An attaching host.
    Host(HostId),
    /// Somebody with a command line; the number is drawn at random by each command.
    Operator(u64),
    /// A process of the region, which asks for many at once.
    Region(u64),
    /// The authority of one of several zones, as a process knows it that is of none of them and speaks to all. It stands for the zone's number, cluster
    /// and key inside that process only: the authority itself is, and hears itself called, [`Self::Zone`].
    Authority(ZoneNumber),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => id.fmt(f),
            Self::Zone => f.write_str("zone"),
            Self::Host(id) => id.fmt(f),
            Self::Operator(n) => write!(f, "operator-{n:x}"),
            Self::Region(n) => write!(f, "region-{n}"),
            Self::Authority(zone) => zone.fmt(f),
        }
    }
}

/// What a link is for. Lanes never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Client I/O, replication, elections, control.
    Data,
    /// Copying to learners.
    Bulk,
}

/// Which side opened a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// This machine did: it asks here.
    Opened,
    /// The peer did: it is answered here.
    Accepted,
}

/// One link, as one end names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The other end.
    pub peer: Peer,
    /// What it is for.
    pub lane: Lane,
    /// Who opened it.
    pub side: Side,
}

impl Link {
    /// The link on which this machine asks `peer` things.
    pub fn to(peer: Peer) -> Self {
        Self { peer, lane: Lane::Data, side: Side::Opened }
    }
    /// The link on which this machine sends copies to `peer`.
    pub fn bulk(peer: Peer) -> Self {
        Self { peer, lane: Lane::Bulk, side: Side::Opened }
    }
    /// The link on which `peer` asks this machine things.
    pub fn from(peer: Peer) -> Self {
        Self { peer, lane: Lane::Data, side: Side::Accepted }
    }
}

/// The two networks that every node is on (R7, R8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// All traffic.
    Primary,
    /// The replication network: keepalives always; links between nodes while the primary network does not carry them, within a cap; never
    /// client I/O and never the zone's traffic.
    Replication,
}

impl Network {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replication];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Replication,
            Self::Replication => Self::Primary,
        }
    }
}

/// What a frame is for, as far as the networks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Between a guest's host and a node.
    Client,
    /// Writes and blocks from member to member.
    Replication,
    /// Copies to learners.
    Bulk,
    /// Elections, the words around copying, and everything to and from the zone.
    Control,
    /// Keepalives.
    Keepalive,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Client, Self::Replication, Self::Bulk, Self::Control, Self::Keepalive];
}

/// Bytes by network and class, headers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassBytes {
    by: [[u64; Class::ALL.len()]; Network::ALL.len()],
}

impl ClassBytes {
    /// Counts some.
    pub fn add(&mut self, network: Network, class: Class, bytes: u64) {
        self.by[network as usize][class as usize] += bytes;
    }
    /// Of one class on one network.
    pub fn get(&self, network: Network, class: Class) -> u64 {
        self.by[network as usize][class as usize]
    }
}

/// What went over the networks since the process began, and how its connections are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Handed to the network.
    pub sent: ClassBytes,
    /// Come from it.
    pub received: ClassBytes,
    /// Frames that came on the replication network and have no business there; each cost its connection.
    pub misrouted: u64,
    /// Keepalives that were sent.
    pub pings: [u64; Network::ALL.len()],
    /// Keepalives that were answered.
    pub pongs: [u64; Network::ALL.len()],
    /// Peers whose links ride the replication network now.
    pub aside: u64,
    /// Connections that are being opened now, the hello included.
    pub opening: u64,
    /// Connections that are being closed now.
    pub closing: u64,
    /// Connections that wait to be opened or closed.
    pub queued: u64,
}

/// Where a peer listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// On the primary network.
    pub primary: SocketAddr,
    /// On the replication network; only nodes have one.
    pub replication: Option<SocketAddr>,
}

/// One message: its kind, its fields (see `wire`) and the blocks it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which message.
    pub kind: u16,
    /// Its fields.
    pub head: Bytes,
    /// Its blocks. A received frame has at most one part.
    pub data: alloc::vec::Vec<Payload>,
}

/// What a machine asks of the network.
#[derive(Debug, Clone)]
pub enum Op {
    /// Send a frame. On an `Opened` link to a known peer this opens the link when it is not up; on an `Accepted` link that is gone the
    /// frame is dropped.
    Send {
        /// On which link.
        to: Link,
        /// What.
        frame: Frame,
    },
    /// From now on `peer` is found there. A changed address closes what was open to the old.
    Know {
        /// Who.
        peer: Peer,
        /// Where.
        at: Addresses,
    },
    /// Keep `Link::to(peer)` open with keepalives on both networks, so that [`Event::Heard`] and [`Event::Silent`] come. Reconnects by itself,
    /// with back-off, for as long as it is wanted.
    Watch {
        /// Who.
        peer: Peer,
        /// Begin or stop.
        wanted: bool,
    },
    /// Close a link, dropping what waits on it.
    Close {
        /// Which.
        link: Link,
    },
    /// Say what went over the networks so far: [`Event::Counted`].
    Count,
}

/// Why a link is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// The address refuses connections: nobody is there.
    Refused,
    /// Nobody has told where the peer is, or what to say to it: nothing was tried, and nothing is known of it. It is tried when an address is told.
    Unknown,
    /// The connection broke. The peer may be well; a reconnect tells.
    Reset,
    /// No byte, keepalives included, for as long as it takes to give up on a connection.
    Silent,
    /// The peer is there and will not talk to us: wrong key, cluster or version. Its reason is in the log.
    Rejected,
    /// The peer is there and talks to another run of this identity, which is alive: two processes have one name, and this one came second.
    Twin,
}

/// What the network tells a machine.
#[derive(Debug, Clone)]
pub enum Event {
    /// A frame came.
    Frame {
        /// On which link; answers go back on it.
        from: Link,
        /// What.
        frame: Frame,
    },
    /// The link is open, newly or again.
    Up {
        /// Which.
        link: Link,
    },
    /// The link is gone, or could not be opened.
    Down {
        /// Which.
        link: Link,
        /// Why.
        why: Down,
    },
    /// A watched peer answered a keepalive.
    Heard {
        /// Who.
        peer: Peer,
        /// Over which network.
        network: Network,
        /// Whether it answered on `Link::to(peer)` itself, behind every frame that it sent there before. If not, it proves that the peer lives
        /// and no more.
        ordered: bool,
        /// When the keepalive it answers was sent, on this machine's clock: whatever the peer had promised by then it had already told.
        asked: Time,
    },
    /// A keepalive to a watched peer has been unanswered for 250 ms on one network, and no other byte came from it there since. Said once until
    /// it is heard there again, or until `Link::to(peer)` comes up.
    Silent {
        /// Who.
        peer: Peer,
        /// Over which network.
        network: Network,
        /// When the peer was last heard.
        since: Time,
    },
    /// What went over the networks so far, as asked by [`Op::Count`].
    Counted(alloc::boxed::Box<Traffic>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_network_and_class() {
        let mut bytes = ClassBytes::default();
        for (at, network) in (1..).zip(Network::ALL) {
            Class::ALL.into_iter().for_each(|class| bytes.add(network, class, at * 10 + class as u64));
        }
        assert_eq!(bytes.get(Network::Replication, Class::Client), 20);
        assert_eq!(bytes.get(Network::Primary, Class::Keepalive), 14);
        assert_eq!(Network::ALL.map(Network::other), [Network::Replication, Network::Primary]);
    }
}
