//! How long clients' writes take on this node, of a few at a time: its 99th percentile, against what that was while nothing was copied.

use crate::histogram::Histogram;
use alloc::vec::Vec;
use base::io::net::Link;
use base::time::Duration;
use base::{ShardId, Time};

/// A window ends after so long, if it has so many writes.
const WINDOW: Duration = Duration::from_secs(1);
const SAMPLES_MIN: u32 = 20;
/// With fewer in so long, nobody is there to be served more slowly.
const WINDOW_MAX: Duration = Duration::from_secs(10);
/// Writes that are followed at a time.
const FOLLOWED_MAX: usize = 8;
/// The baseline moves by this part of the difference in each window.
const BASELINE_PART: i64 = 8;

#[derive(Debug)]
struct Followed {
    link: Link,
    shard: ShardId,
    io: u64,
    since: Time,
}

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Latency {
    followed: Vec<Followed>,
    samples: Histogram,
    began: Time,
    /// Something was copied in this window.
    copied: bool,
    /// In microseconds, of windows without.
    baseline: Option<u64>,
    slowed: bool,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            followed: Vec::new(),
            samples: Histogram::new(),
            began: Time::ZERO,
            copied: false,
            baseline: None,
            slowed: false,
        }
    }
}

impl Latency {
    /// A client's write has come.
    pub(crate) fn began(&mut self, link: Link, shard: ShardId, io: u64, now: Time) {
        // Those that are not answered are not followed for ever.
        self.followed.retain(|f| now.since(f.since) < WINDOW_MAX);
        if self.followed.len() < FOLLOWED_MAX {
            self.followed.push(Followed { link, shard, io, since: now });
        }
    }

    pub(crate) fn follows(&self) -> bool {
        !self.followed.is_empty()
    }

    /// It was answered; well, or not. Whether clients have begun to be served more slowly, as this shows.
    pub(crate) fn ended(&mut self, link: Link, shard: ShardId, io: u64, well: bool, now: Time) -> bool {
        if let Some(at) = self.followed.iter().position(|f| (f.link, f.shard, f.io) == (link, shard, io)) {
            let took = now.since(self.followed.swap_remove(at).since);
            if well {
                self.took(took);
            }
            return self.look(now);
        }
        false
    }

    fn took(&mut self, time: Duration) {
        self.samples.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Something was sent to a learner.
    pub(crate) fn copied(&mut self) {
        self.copied = true;
    }

    /// Whether clients are served more slowly because of copying.
    pub(crate) fn is_slowed(&self) -> bool {
        self.slowed
    }

    /// Ends the window if it is time. Whether clients have begun to be served more slowly by that.
    pub(crate) fn look(&mut self, now: Time) -> bool {
        let (age, before) = (now.since(self.began), self.slowed);
        let enough = self.samples.count() >= SAMPLES_MIN;
        if age < WINDOW || (!enough && age < WINDOW_MAX) {
            return false;
        }
        self.slowed = false;
        if enough {
            let p99 = u64::from(self.samples.percentile(99));
            match self.baseline {
                Some(baseline) if self.copied => self.slowed = p99 > baseline * 2,
                None if self.copied => {}
                None => self.baseline = Some(p99),
                Some(baseline) => {
                    let moved = (p99 as i64 - baseline as i64) / BASELINE_PART;
                    self.baseline = Some(baseline.saturating_add_signed(moved));
                }
            }
        }
        self.samples.clear();
        (self.began, self.copied) = (now, false);
        self.slowed && !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which a hundred writes take so long each. Whether they are slowed after it.
    fn second(l: &mut Latency, now: &mut Time, us: u64, copied: bool) -> bool {
        (0..100).for_each(|_| l.took(Duration::from_micros(us)));
        if copied {
            l.copied();
        }
        *now += WINDOW;
        l.look(*now);
        l.is_slowed()
    }

    #[test]
    fn clients_are_slowed_when_writes_take_twice_as_long_while_something_is_copied_and_not_otherwise() {
        let (mut l, mut now) = (Latency::default(), Time::ZERO);
        assert!(!second(&mut l, &mut now, 9000, true), "nothing is known yet");
        (0..20).for_each(|_| assert!(!second(&mut l, &mut now, 1000, false)));
        assert!(!second(&mut l, &mut now, 1700, true));
        assert!(second(&mut l, &mut now, 3000, true));
        assert!(!second(&mut l, &mut now, 1000, true), "and back");
        // Slower without copying is what the disk is: the baseline follows it.
        (0..40).for_each(|_| assert!(!second(&mut l, &mut now, 3000, false)));
        assert!(!second(&mut l, &mut now, 3000, true));
        assert!(second(&mut l, &mut now, 9000, true));
        // Nobody writes any more, so nobody is slowed.
        l.look(now + WINDOW);
        assert!(l.is_slowed());
        l.look(now + WINDOW_MAX);
        assert!(!l.is_slowed());
    }

    #[test]
    fn a_write_is_followed_from_its_coming_to_its_answer_and_a_few_at_a_time() {
        use base::HostId;
        use base::io::net::Peer;
        let (mut l, link) = (Latency::default(), Link::from(Peer::Host(HostId(1))));
        let (shard, at) = (ShardId::default(), |ms| Time::ZERO + Duration::from_millis(ms));
        (0..100).for_each(|io| l.began(link, shard, io, at(1)));
        assert_eq!(l.followed.len(), FOLLOWED_MAX);
        l.ended(link, shard, 3, true, at(5));
        l.ended(link, shard, 4, false, at(5));
        l.ended(link, shard, 50, true, at(5));
        assert_eq!((l.samples.count(), l.followed.len()), (1, FOLLOWED_MAX - 2));
        assert!((4000..=4500).contains(&l.samples.percentile(99)));
        l.began(link, shard, 200, at(20_000));
        assert_eq!(l.followed.len(), 1, "the others were never answered");
    }
}
