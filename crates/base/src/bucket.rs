//! Token buckets: every limit of the house is a token.

use crate::time::{Duration, Time};

/// Fills at a rate up to a burst. Integers only: it counts in billionths of a token, so that no rate rounds to nothing.
#[derive(Debug, Clone)]
pub struct Bucket {
    tokens_per_s: u64,
    burst: u64,
    nano_tokens: u128,
    filled_at: Time,
}

const NANO: u128 = 1_000_000_000;

impl Bucket {
    /// Full at `now`.
    pub fn new(tokens_per_s: u64, burst: u64, now: Time) -> Self {
        Self { tokens_per_s, burst, nano_tokens: u128::from(burst) * NANO, filled_at: now }
    }

    fn fill(&mut self, now: Time) {
        let elapsed = u128::from(now.0.saturating_sub(self.filled_at.0));
        self.filled_at = self.filled_at.max(now);
        let full = u128::from(self.burst) * NANO;
        self.nano_tokens = full.min(self.nano_tokens + elapsed * u128::from(self.tokens_per_s));
    }

    /// Takes `tokens` if they are there.
    pub fn take(&mut self, tokens: u64, now: Time) -> bool {
        self.fill(now);
        let wanted = u128::from(tokens) * NANO;
        let enough = self.nano_tokens >= wanted;
        if enough {
            self.nano_tokens -= wanted;
        }
        enough
    }

    /// Takes as many of `tokens` as are there: how many.
    pub fn take_up_to(&mut self, tokens: u64, now: Time) -> u64 {
        self.fill(now);
        let whole = u64::try_from(self.nano_tokens / NANO).unwrap_or(u64::MAX).min(tokens);
        self.nano_tokens -= u128::from(whole) * NANO;
        whole
    }

    /// When `tokens` will be there, if nobody else takes any; never, when that is more than the burst or nothing flows.
    pub fn ready_at(&mut self, tokens: u64, now: Time) -> Option<Time> {
        self.fill(now);
        let missing = (u128::from(tokens) * NANO).saturating_sub(self.nano_tokens);
        if missing == 0 {
            return Some(now);
        }
        if tokens > self.burst || self.tokens_per_s == 0 {
            return None;
        }
        let wait = missing.div_ceil(u128::from(self.tokens_per_s));
        Some(now + Duration::from_nanos(u64::try_from(wait).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_never_exceed_burst_plus_rate() {
        let mut b = Bucket::new(10, 5, Time::ZERO);
        assert_eq!((0..9).filter(|_| b.take(1, Time::ZERO)).count(), 5);
        assert_eq!(b.ready_at(1, Time::ZERO), Some(Time::ZERO + Duration::from_millis(100)));
        let later = Time::ZERO + Duration::from_millis(250);
        assert_eq!((0..9).filter(|_| b.take(1, later)).count(), 2);
        assert_eq!(b.ready_at(6, later), None);
        assert_eq!((0..99).filter(|_| b.take(1, later + Duration::from_secs(3600))).count(), 5);
    }

    #[test]
    fn what_is_taken_in_parts_adds_up_to_burst_plus_rate() {
        let mut b = Bucket::new(10, 5, Time::ZERO);
        assert_eq!((b.take_up_to(3, Time::ZERO), b.take_up_to(9, Time::ZERO), b.take_up_to(9, Time::ZERO)), (3, 2, 0));
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let taken: u64 = (1..=40).map(|n| b.take_up_to(9, at(n * 25))).sum();
        assert_eq!(taken, 10, "ten a second, whatever the steps");
    }
}
