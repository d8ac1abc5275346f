//! How long to wait before trying again.

use crate::rng::Rng;
use crate::time::Duration;

/// Decorrelated jitter (storm.md): sleep = min(cap, uniform(base, 3 x previous)). R34 and R52 are why nothing here retries without it.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    previous: Duration,
}

impl Backoff {
    /// Starts at `base`, never waits longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, previous: base }
    }

    /// The next wait.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let low = self.base.as_nanos() as u64;
        let high = (self.previous.as_nanos() as u64).saturating_mul(3).max(low);
        self.previous = Duration::from_nanos(rng.within(low, high)).min(self.cap);
        self.previous
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.previous = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_fall_below_the_base() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(60));
        let mut backoff = Backoff::new(base, cap);
        let mut rng = Rng::new(1);
        let waits: alloc::vec::Vec<_> = (0..200).map(|_| backoff.next(&mut rng)).collect();
        assert!(waits.iter().all(|w| (base..=cap).contains(w)));
        assert!(waits.contains(&cap));
        backoff.reset();
        assert!(backoff.next(&mut rng) <= base * 3);
    }
}
