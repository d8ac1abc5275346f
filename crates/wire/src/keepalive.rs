//! When a watched peer is heard, and when it is silent. One value per watched peer and network, used below `base::io` by the
//! runtime and by the simulator, so that both mean the same by the words.
//!
//! A ping carries the sender's clock and is echoed. Idle peers are pinged every 500 ms; peers that were sent something since the last ping
//! every 100 ms. Idle peers are pinged together: whoever pings one of them pings all whose turn is within 250 ms, so that a process with many idle peers wakes twice a
//! second for all of them and not for each. A ping unanswered for 250 ms, with no other byte since, makes the peer silent. Any byte counts for so long, since a ping may stand behind much; but after
//! 500 ms only one on what this side opened does. A peer that is deaf goes on sending what its own connections hold and never answers.
//!
//! From the two of one peer follows which network its links ride: they leave one that is silent when the other has answered what was asked no earlier,
//! so that a process that has stopped is not taken for a network that is cut; and they return to the primary one when it has carried
//! keepalives without a gap for three seconds.

use base::Time;
use base::io::net::Side;
use base::time::Duration;

/// Between pings to a peer that nothing is sent to.
pub const IDLE_EVERY: Duration = Duration::from_millis(500);
/// An idle peer whose ping is no further off is pinged with another one.
const TOGETHER_WITHIN: Duration = Duration::from_millis(250);
/// Between pings to a peer with traffic.
pub const BUSY_EVERY: Duration = Duration::from_millis(100);
/// Without an answer for so long, a peer is silent.
pub const SILENT_AFTER: Duration = Duration::from_millis(250);
/// Without an answer on what this side opened for so long, a peer is silent whatever else comes from it.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
/// A connection to a silent peer on which nothing came for so long though it was pinged is given up. TCP sends again what was lost later and later each time, so after
/// a cut of some seconds it would keep the place of a new connection for as long as the cut had lasted.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// So is one to a peer that is heard beside it: there the ping may stand behind much that is on its way.
const DEAF_AFTER: Duration = Duration::from_secs(10);
/// Heard for so long without a silence, a network is steady: links go back to it.
pub const STEADY_AFTER: Duration = Duration::from_secs(3);

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
    /// The first ping since the last byte.
    unheard_since: Option<Time>,
    /// The first ping since the last byte on what this side opened.
    unanswered_since: Option<Time>,
    last_heard: Time,
    /// Since when it has been heard without a silence.
    heard_since: Option<Time>,
    busy: bool,
    silent: bool,
}

impl Keepalive {
    /// Begins to watch at `now`; the first ping is due at once.
    pub fn new(now: Time) -> Self {
        Self {
            next_ping: now,
            unheard_since: None,
            unanswered_since: None,
            last_heard: now,
            heard_since: None,
            busy: false,
            silent: false,
        }
    }

    /// Something was sent to the peer: ping it soon.
    pub fn on_sent(&mut self, now: Time) {
        if !self.busy {
            self.busy = true;
            self.next_ping = self.next_ping.min(now + BUSY_EVERY);
        }
    }

    /// Bytes came from the peer, on a connection that was opened by `side`.
    pub fn on_bytes(&mut self, side: Side, now: Time) {
        self.unheard_since = None;
        if side == Side::Opened {
            self.unanswered_since = None;
        }
        if self.silent_at().is_none_or(|at| now < at) {
            self.last_heard = now;
            self.heard_since.get_or_insert(now);
            self.silent = false;
        }
    }

    /// The link was opened anew: pings that were on the old one will not be answered, and a silence that lasts is said again.
    pub fn on_up(&mut self, now: Time) {
        (self.unheard_since, self.unanswered_since) = (None, None);
        self.next_ping = now;
        self.silent = false;
    }

    /// Pings with the other network, so that both say at the same time what they say.
    pub fn on_other_pings(&mut self, now: Time) {
        self.next_ping = now;
    }

    /// Whether it is due as that of an idle peer: others come along then.
    pub fn takes_along(&self, now: Time) -> bool {
        !self.busy && now >= self.next_ping
    }

    /// Pings with that of another idle peer, if its own turn is near.
    pub fn come_along(&mut self, now: Time) {
        if !self.busy && self.next_ping <= now + TOGETHER_WITHIN {
            self.next_ping = self.next_ping.min(now);
        }
    }

    /// What is due. Call again until it returns nothing, whenever [`Self::deadline`] has passed.
    pub fn due(&mut self, now: Time) -> Option<Act> {
        if !self.silent && self.silent_at().is_some_and(|at| now >= at) {
            self.silent = true;
            self.heard_since = None;
            return Some(Act::Silent(self.last_heard));
        }
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + if self.busy { BUSY_EVERY } else { IDLE_EVERY };
        self.busy = false;
        self.unheard_since.get_or_insert(now);
        self.unanswered_since.get_or_insert(now);
        Some(Act::Ping(now))
    }

    /// When to ask again.
    pub fn deadline(&self) -> Time {
        match self.silent_at() {
            Some(at) if !self.silent => self.next_ping.min(at),
            _ => self.next_ping,
        }
    }

    /// When it is silent, if nothing comes.
    fn silent_at(&self) -> Option<Time> {
        let unheard = self.unheard_since.map(|since| since + SILENT_AFTER);
        Time::sooner(unheard, self.unanswered_since.map(|since| since + ANSWERED_WITHIN))
    }

    /// For how long a connection may be deaf to pings before it is given up.
    pub fn patience(&self) -> Duration {
        if self.silent { GIVEN_UP_AFTER } else { DEAF_AFTER }
    }

    /// Whether the peer is silent now.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether the peer was heard since it was last silent.
    pub fn is_heard(&self) -> bool {
        self.heard_since.is_some() && !self.silent
    }

    /// Whether it has been heard for long enough to trust the network again.
    pub fn is_steady(&self, now: Time) -> bool {
        self.is_heard() && self.heard_since.is_some_and(|since| now.since(since) >= STEADY_AFTER)
    }

    /// Whether what rides this one's network should ride the other's: this one is silent, and what was asked there since was answered. A process
    /// that had stopped answers on both, on one a little sooner: that moves nothing.
    pub fn yields_to(&self, other: &Self, now: Time) -> bool {
        let lasts = other.heard_since.is_some_and(|since| now.since(since) >= BUSY_EVERY);
        self.silent && !other.silent && lasts && self.unanswered_since.is_some_and(|since| other.last_heard > since)
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
        k.on_bytes(Side::Opened, at(1));
        assert_eq!(k.deadline(), at(500));
        k.on_sent(at(10));
        assert_eq!(k.deadline(), at(110));
        assert_eq!(k.due(at(110)), Some(Act::Ping(at(110))));
    }

    #[test]
    fn idle_peers_are_pinged_together_and_busy_ones_for_themselves() {
        let pinged = |at_ms| {
            let mut k = Keepalive::new(at(at_ms));
            k.due(at(at_ms));
            k.on_bytes(Side::Opened, at(at_ms));
            k
        };
        let (mut first, mut near, mut far, mut busy) = (pinged(0), pinged(250), pinged(251), pinged(100));
        busy.on_sent(at(460));
        assert!(!first.takes_along(at(499)) && first.takes_along(at(500)) && !near.takes_along(at(500)));
        for k in [&mut near, &mut far, &mut busy] {
            k.come_along(at(500));
        }
        assert_eq!([&near, &far, &busy].map(Keepalive::deadline), [at(500), at(751), at(560)]);
        assert!(near.takes_along(at(500)) && !busy.takes_along(at(560)));
        // One that is due already stays so.
        first.come_along(at(600));
        assert_eq!(first.deadline(), at(500));
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
        k.on_bytes(Side::Opened, at(901));
        assert!(!k.is_silent());
    }

    #[test]
    fn any_byte_counts_as_an_answer_for_half_a_second_and_then_only_an_answer_does() {
        for side in [Side::Opened, Side::Accepted] {
            let mut k = Keepalive::new(at(0));
            k.due(at(0));
            k.on_bytes(side, at(200));
            assert_eq!((k.due(at(260)), k.is_heard()), (None, true));
            // It goes on sending.
            for ms in (300..500).step_by(50) {
                k.on_bytes(side, at(ms));
                assert_eq!(k.due(at(ms)), None);
            }
            let due = k.due(at(500));
            if side == Side::Opened {
                assert_eq!(due, Some(Act::Ping(at(500))));
                continue;
            }
            assert_eq!((due, k.is_heard()), (Some(Act::Silent(at(450))), false));
            // More of the same changes nothing, and an answer does.
            k.on_bytes(Side::Accepted, at(550));
            assert!(k.is_silent() && !k.is_heard());
            k.on_bytes(Side::Opened, at(560));
            assert!(!k.is_silent() && k.is_heard());
        }
    }

    #[test]
    fn a_silent_network_yields_to_one_that_has_answered_since_and_a_stopped_process_changes_nothing() {
        let (mut primary, mut other) = (Keepalive::new(at(0)), Keepalive::new(at(0)));
        for k in [&mut primary, &mut other] {
            k.due(at(0));
            k.on_bytes(Side::Opened, at(1));
        }
        primary.on_sent(at(1));
        primary.due(at(101));
        other.on_other_pings(at(101));
        assert_eq!(other.due(at(101)), Some(Act::Ping(at(101))));
        // Nobody answers: neither network is better.
        assert!(matches!(primary.due(at(351)), Some(Act::Silent(_))));
        assert!(!primary.yields_to(&other, at(351)));
        // One answers, what was asked no earlier.
        let mut heard = other.clone();
        heard.on_bytes(Side::Opened, at(352));
        assert!(primary.yields_to(&heard, at(352)) && !heard.yields_to(&primary, at(352)));
        assert!(heard.is_heard() && !primary.is_heard());
        // Both were silent, and one is heard first: it has to last.
        assert!(matches!(other.due(at(351)), Some(Act::Silent(_))));
        other.on_bytes(Side::Opened, at(900));
        assert!(!primary.yields_to(&other, at(900)) && primary.yields_to(&other, at(1000)));
    }

    #[test]
    fn a_network_is_steady_after_three_seconds_without_a_silence() {
        let mut k = Keepalive::new(at(0));
        for ms in (0..=3000).step_by(500) {
            k.due(at(ms));
            k.on_bytes(Side::Opened, at(ms + 1));
        }
        assert!(!k.is_steady(at(3000)) && k.is_steady(at(3001)));
        k.due(at(3500));
        assert!(matches!(k.due(at(3750)), Some(Act::Silent(_))));
        k.on_bytes(Side::Opened, at(3800));
        assert!(k.is_heard() && !k.is_steady(at(6799)) && k.is_steady(at(6800)));
    }

    #[test]
    fn a_silence_that_lasts_is_said_again_when_the_link_comes_up() {
        let mut k = Keepalive::new(at(0));
        k.due(at(0));
        assert!(k.due(at(250)).is_some() && k.due(at(300)).is_none());
        k.on_up(at(400));
        assert_eq!(k.due(at(400)), Some(Act::Ping(at(400))));
        assert_eq!(k.due(at(650)), Some(Act::Silent(at(0))));
    }
}
