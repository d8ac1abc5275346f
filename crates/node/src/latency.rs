//! How long clients' writes take on this node, of a few at a time: its 99th percentile, against what that was while nothing was copied.
//!
//! Integers only: a histogram of four steps to each doubling, so a percentile is at most a quarter too great.

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
const STEPS: usize = 256;
/// The baseline moves by this part of the difference in each window.
const BASELINE_PART: i64 = 8;

struct Followed {
    link: Link,
    shard: ShardId,
    io: u64,
    since: Time,
}

/// What is known of it.
pub(crate) struct Latency {
    followed: Vec<Followed>,
    counts: [u32; STEPS],
    samples: u32,
    began: Time,
    /// Something was copied in this window.
    copied: bool,
    /// In microseconds, of windows without.
    baseline: Option<u64>,
    slowed: bool,
}

impl core::fmt::Debug for Latency {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} samples, baseline {:?} us, slowed {}", self.samples, self.baseline, self.slowed)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            followed: Vec::new(),
            counts: [0; STEPS],
            samples: 0,
            began: Time::ZERO,
            copied: false,
            baseline: None,
            slowed: false,
        }
    }
}

/// The step of so many microseconds.
fn step(us: u64) -> usize {
    match us {
        0..4 => us as usize,
        _ => (us.ilog2() as usize * 4 + (us >> (us.ilog2() - 2)) as usize % 4).min(STEPS - 1),
    }
}

/// The most microseconds that are counted in a step.
fn most(step: usize) -> u64 {
    match step {
        0..4 => step as u64,
        _ => ((5 + step as u64 % 4) << (step / 4 - 2)) - 1,
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
        self.counts[step(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))] += 1;
        self.samples += 1;
    }

    /// Something was sent to a learner.
    pub(crate) fn copied(&mut self) {
        self.copied = true;
    }

    /// Whether clients are served more slowly because of copying.
    pub(crate) fn is_slowed(&self) -> bool {
        self.slowed
    }

    fn p99(&self) -> u64 {
        let above = self.samples / 100;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate().rev() {
            seen += count;
            if seen > above {
                return most(place);
            }
        }
        0
    }

    /// Ends the window if it is time. Whether clients have begun to be served more slowly by that.
    pub(crate) fn look(&mut self, now: Time) -> bool {
        let (age, before) = (now.since(self.began), self.slowed);
        let enough = self.samples >= SAMPLES_MIN;
        if age < WINDOW || (!enough && age < WINDOW_MAX) {
            return false;
        }
        self.slowed = false;
        if enough {
            let p99 = self.p99();
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
        (self.counts, self.samples, self.began, self.copied) = ([0; STEPS], 0, now, false);
        self.slowed && !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_is_counted_in_it_and_is_a_quarter_wide_at_most() {
        for us in (0..5000).chain([1 << 20, (1 << 40) + 12345, u64::MAX / 8]) {
            let most = most(step(us));
            assert!(most >= us && most <= us + us / 4, "{us} is counted as {most}");
            assert!(step(us) <= step(us + 1));
        }
    }

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
    fn the_slowest_of_a_hundred_is_not_the_percentile_and_the_second_slowest_is() {
        let mut l = Latency::default();
        (0..98).for_each(|_| l.took(Duration::from_micros(100)));
        l.took(Duration::from_micros(5000));
        l.took(Duration::from_millis(900));
        assert_eq!(l.p99(), most(step(5000)));
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
        assert_eq!((l.samples, l.counts[step(4000)], l.followed.len()), (1, 1, FOLLOWED_MAX - 2));
        l.began(link, shard, 200, at(20_000));
        assert_eq!(l.followed.len(), 1, "the others were never answered");
    }
}
