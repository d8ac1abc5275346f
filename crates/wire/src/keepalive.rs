//! When a watched peer is heard, and when it is silent. One value per watched peer and network, used below `base::io` by the
//! runtime and by the simulator, so that both mean the same by the words.
//!
//! A ping carries the sender's clock and is echoed. Idle peers are pinged every 500 ms; peers that were sent something since the last ping
//! every 100 ms. A ping unanswered for 250 ms, with no other byte since, makes the peer silent.

use base::Time;
use base::time::Duration;

/// Between pings to a peer that nothing is sent to.
pub const IDLE_EVERY: Duration = Duration::from_millis(500);
/// Between pings to a peer with traffic.
pub const BUSY_EVERY: Duration = Duration::from_millis(100);
/// Without an answer for so long, a peer is silent.
pub const SILENT_AFTER: Duration = Duration::from_millis(250);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send a ping with this stamp.
    Ping(Time),
    /// Say `Silent`, last heard then.
    Silent(Time),
}

/// The state of one watched peer on one network.
#[derive(Debug, Clone)]
pub struct Keepalive {
    next_ping: Time,
    unanswered_since: Option<Time>,
    last_heard: Time,
    busy: bool,
    silent: bool,
}

impl Keepalive {
    /// Begins to watch at `now`; the first ping is due at once.
    pub fn new(now: Time) -> Self {
        Self { next_ping: now, unanswered_since: None, last_heard: now, busy: false, silent: false }
    }

    /// Something was sent to the peer: ping it soon.
    pub fn on_sent(&mut self, now: Time) {
        if !self.busy {
            self.busy = true;
            self.next_ping = self.next_ping.min(now + BUSY_EVERY);
        }
    }

    /// Any byte came from the peer.
    pub fn on_bytes(&mut self, now: Time) {
        self.last_heard = now;
        self.unanswered_since = None;
        self.silent = false;
    }

    /// The link was opened anew: pings that were on the old one will not be answered.
    pub fn on_up(&mut self, now: Time) {
        self.unanswered_since = None;
        self.next_ping = now;
    }

    /// What is due. Call again until it returns nothing, whenever [`Self::deadline`] has passed.
    pub fn due(&mut self, now: Time) -> Option<Act> {
        if !self.silent && self.unanswered_since.is_some_and(|since| now >= since + SILENT_AFTER) {
            self.silent = true;
            return Some(Act::Silent(self.last_heard));
        }
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + if self.busy { BUSY_EVERY } else { IDLE_EVERY };
        self.busy = false;
        self.unanswered_since.get_or_insert(now);
        Some(Act::Ping(now))
    }

    /// When to ask again.
    pub fn deadline(&self) -> Time {
        match self.unanswered_since {
            Some(since) if !self.silent => self.next_ping.min(since + SILENT_AFTER),
            _ => self.next_ping,
        }
    }

    /// Whether the peer is silent now.
    pub fn is_silent(&self) -> bool {
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn an_idle_peer_is_pinged_twice_a_second_and_a_busy_one_ten_times() {
        let mut k = Keepalive::new(at(0));
        assert_eq!((k.due(at(0)), k.due(at(0))), (Some(Act::Ping(at(0))), None));
        k.on_bytes(at(1));
        assert_eq!(k.deadline(), at(500));
        k.on_sent(at(10));
        assert_eq!(k.deadline(), at(110));
        assert_eq!(k.due(at(110)), Some(Act::Ping(at(110))));
    }

    #[test]
    fn a_peer_that_does_not_answer_is_silent_after_250_ms_once() {
        let mut k = Keepalive::new(at(0));
        k.due(at(0));
        assert_eq!(k.due(at(249)), None);
        assert_eq!(k.due(at(250)), Some(Act::Silent(at(0))));
        assert_eq!(k.due(at(300)), None);
        assert_eq!(k.due(at(500)), Some(Act::Ping(at(500))));
        assert_eq!(k.due(at(900)), None);
        k.on_bytes(at(901));
        assert!(!k.is_silent());
    }

    #[test]
    fn any_byte_counts_as_an_answer() {
        let mut k = Keepalive::new(at(0));
        k.due(at(0));
        k.on_bytes(at(200));
        assert_eq!(k.due(at(260)), None);
    }
}
