//! A line is what one connection is for: a link of `base::io`, or keepalives on a network that no link rides.
//!
//! The lines that this side opens have a state that outlives their connections: what waits, and when to try again.

use super::conn::ConnId;
use base::Time;
use base::backoff::Backoff;
use base::io::net::{Down, Frame, Lane, Link, Network, Peer, Side};
use base::time::Duration;
use std::collections::VecDeque;
use std::fmt;

/// First wait before a line is tried again.
const RETRY_BASE: Duration = Duration::from_millis(20);
/// Longest. Half of the second within which what waited for the authority goes on once it is back.
const RETRY_CAP: Duration = Duration::from_millis(500);
/// Longest wait of a line that is tried only because somebody sends on it: who asks has a back-off of its own.
const ASKED_CAP: Duration = Duration::from_millis(200);
/// A line that was up for so long and breaks is opened again at once; one that did not last waits.
const LASTED: Duration = Duration::from_secs(1);
/// Frames that wait for a line at most.
const WAITING_FRAMES_MAX: usize = 4096;
/// Bytes that wait for a line at most.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// A link, on whichever network it rides.
    Link(Link),
    /// Keepalives alone.
    Probe {
        /// With whom.
        peer: Peer,
        /// Over which network.
        network: Network,
        /// Who opened it.
        side: Side,
    },
}

impl Line {
    /// The keepalives that this side sends to `peer` over `network` beside any link.
    pub fn probe(peer: Peer, network: Network) -> Self {
        Self::Probe { peer, network, side: Side::Opened }
    }

    /// The other end.
    pub fn peer(self) -> Peer {
        match self {
            Self::Link(link) => link.peer,
            Self::Probe { peer, .. } => peer,
        }
    }

    /// Who opened it.
    pub fn side(self) -> Side {
        match self {
            Self::Link(link) => link.side,
            Self::Probe { side, .. } => side,
        }
    }

    /// The lane of a link.
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Link(link) => Some(link.lane),
            Self::Probe { .. } => None,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (arrow, peer) = (if self.side() == Side::Opened { "to" } else { "from" }, self.peer());
        match self {
            Self::Link(link) => write!(f, "link {arrow} {peer} ({:?})", link.lane),
            Self::Probe { network: Network::Primary, .. } => write!(f, "keepalive {arrow} {peer} (primary network)"),
            Self::Probe { .. } => write!(f, "keepalive {arrow} {peer} (replication network)"),
        }
    }
}

/// A line that this side opens.
pub struct Opened {
    /// The connection that is it, or is to be it.
    pub conn: Option<ConnId>,
    /// Since when it is up.
    pub up_since: Option<Time>,
    /// Whether it is kept open.
    pub wanted: bool,
    /// Not tried before.
    pub not_before: Time,
    backoff: Backoff,
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    /// What was last logged of it, while it is down.
    logged: Option<Down>,
}

/// What came of a failure.
pub struct Failed {
    /// Whether it is worth a line in the log: the same failure again is not.
    pub news: bool,
    /// Whether it is to be tried again.
    pub retry: bool,
    /// Whether it had been up for long enough to be opened again at once.
    pub lasted: bool,
}

impl Opened {
    /// Never tried.
    pub fn new() -> Self {
        Self {
            conn: None,
            up_since: None,
            wanted: false,
            not_before: Time::ZERO,
            backoff: Backoff::new(RETRY_BASE, RETRY_CAP),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            logged: None,
        }
    }

    /// Lets a frame wait. False when there are too many: then all that waited are dropped.
    #[must_use]
    pub fn wait(&mut self, frame: Frame) -> bool {
        self.waiting_bytes += frame.head.len() + base::payload::len(&frame.data);
        self.waiting.push_back(frame);
        let fits = self.waiting.len() <= WAITING_FRAMES_MAX && self.waiting_bytes <= WAITING_BYTES_MAX;
        if !fits {
            self.drop_waiting();
        }
        fits
    }

    fn drop_waiting(&mut self) {
        self.waiting_bytes = 0;
        self.waiting.clear();
    }

    /// Whether it should be open.
    pub fn needed(&self) -> bool {
        self.wanted || !self.waiting.is_empty()
    }

    /// It is up: what waited is to be sent now, in order.
    pub fn up(&mut self, now: Time) -> VecDeque<Frame> {
        self.up_since = Some(now);
        self.logged = None;
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Its connection is gone. What waited is dropped.
    pub fn failed(&mut self, why: Down, now: Time, rng: &mut base::Rng) -> Failed {
        self.conn = None;
        let up_since = self.up_since.take();
        self.drop_waiting();
        let lasted = up_since.is_some_and(|since| now.since(since) >= LASTED);
        if lasted {
            self.backoff.reset();
            self.not_before = now;
        } else {
            let cap = if self.wanted { RETRY_CAP } else { ASKED_CAP };
            self.not_before = now + self.backoff.next(rng).min(cap);
        }
        let news = up_since.is_some() || self.logged != Some(why);
        self.logged = Some(why);
        Failed { news, retry: self.wanted, lasted }
    }

    /// Whether nobody answered when it was last tried.
    pub fn is_hopeless(&self) -> bool {
        self.logged == Some(Down::Silent)
    }

    /// There is reason to think that it can be opened now: no more wait.
    pub fn hopeful(&mut self, now: Time) {
        self.logged = self.logged.filter(|why| *why != Down::Silent);
        self.backoff.reset();
        self.not_before = now;
    }

    /// It is to be opened somewhere else. Returns whether it was up.
    pub fn afresh(&mut self, now: Time) -> bool {
        self.conn = None;
        self.hopeful(now);
        self.up_since.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{NodeId, Rng};
    use bytes::Bytes;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn frame(bytes: usize) -> Frame {
        Frame { kind: 0x10, head: Bytes::new(), data: vec![vec![0; bytes].into()] }
    }

    #[test]
    fn a_lone_reset_is_tried_again_at_once_and_a_line_that_never_lasts_waits_longer_and_longer() {
        let (mut line, mut rng) = (Opened::new(), Rng::new(1));
        line.wanted = true;
        assert!(line.up(at(0)).is_empty());
        assert!(line.failed(Down::Reset, at(2000), &mut rng).retry);
        assert_eq!(line.not_before, at(2000));
        let mut longest = Duration::ZERO;
        for n in 0..50 {
            line.up(at(3000 + n));
            let failed = line.failed(Down::Reset, at(3000 + n), &mut rng);
            assert!(failed.news && failed.retry);
            let wait = line.not_before.since(at(3000 + n));
            assert!((RETRY_BASE..=RETRY_CAP).contains(&wait));
            longest = longest.max(wait);
        }
        assert_eq!(longest, RETRY_CAP);
        assert!(
            longest * 2 <= Duration::from_secs(1),
            "who waits for the authority goes on within a second of its return"
        );
    }

    #[test]
    fn a_line_that_is_only_asked_for_waits_less_and_hope_ends_the_wait() {
        let (mut line, mut rng) = (Opened::new(), Rng::new(1));
        let mut latest = at(0);
        for _ in 0..50 {
            assert!(!line.failed(Down::Refused, at(0), &mut rng).retry);
            latest = latest.max(line.not_before);
        }
        assert_eq!(latest, at(200));
        line.hopeful(at(100));
        assert_eq!(line.not_before, at(100));
    }

    #[test]
    fn the_same_failure_is_logged_once_until_another_comes_or_it_was_up() {
        let (mut line, mut rng) = (Opened::new(), Rng::new(1));
        let mut fail = |line: &mut Opened, why| line.failed(why, at(0), &mut rng).news;
        assert!(fail(&mut line, Down::Refused));
        assert!(!fail(&mut line, Down::Refused));
        assert!(fail(&mut line, Down::Silent));
        line.up(at(0));
        assert!(fail(&mut line, Down::Silent));
    }

    #[test]
    fn what_waits_is_bounded_in_frames_and_in_bytes() {
        let mut line = Opened::new();
        for _ in 0..WAITING_FRAMES_MAX {
            assert!(line.wait(frame(1)));
        }
        assert!(!line.wait(frame(1)));
        assert!(!line.needed());
        for _ in 0..64 {
            assert!(line.wait(frame(1 << 20)));
        }
        assert!(!line.wait(frame(1)));
        assert!(line.wait(frame(1)) && line.up(at(0)).len() == 1);
    }

    #[test]
    fn lines_are_told_apart_by_peer_network_and_side() {
        let peer = Peer::Node(NodeId(1));
        let line = Line::probe(peer, Network::Replication);
        assert_eq!((line.peer(), line.side(), line.lane()), (peer, Side::Opened, None));
        assert_eq!(line.to_string(), "keepalive to node-1 (replication network)");
        assert_eq!(Line::probe(peer, Network::Primary).to_string(), "keepalive to node-1 (primary network)");
        assert_eq!(Line::Link(Link::from(peer)).to_string(), "link from node-1 (Data)");
        assert_eq!(Line::Link(Link::bulk(peer)).lane(), Some(Lane::Bulk));
    }
}
