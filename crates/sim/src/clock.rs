//! Time in the invented world: one true time, which only the world knows, and one clock per process that goes a little wrong.
//!
//! Promises that two clocks drift apart by less than 10 % (replication.md rule 9 allows for that much) and that a
//! deadline on a clock has exactly one true moment. Knows nothing of what the time is used for.

use base::Time;
use base::time::Duration;
use std::fmt;
use std::ops::Add;

/// True time, in nanoseconds since the world began. No machine ever sees one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// The largest error of a clock's rate, in millionths: 1.047 / 0.953 is just below 1.1.
pub const DRIFT_PPM_MAX: u64 = 47_000;

const MILLION: u64 = 1_000_000;

/// The monotonic clock of one process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    born: Moment,
    offset: u64,
    rate_ppm: u64,
}

impl Clock {
    /// Shows `offset` nanoseconds at `born` and goes `rate_ppm` millionths as fast as true time.
    pub fn new(born: Moment, offset: u64, rate_ppm: u64) -> Self {
        assert!(rate_ppm.abs_diff(1_000_000) <= DRIFT_PPM_MAX, "a clock may not be {rate_ppm} ppm fast");
        Self { born, offset, rate_ppm }
    }

    /// A clock that was never set and goes wrong by some seeded amount.
    pub fn draw(born: Moment, rng: &mut base::Rng) -> Self {
        let rate = rng.within(1_000_000 - DRIFT_PPM_MAX, 1_000_000 + DRIFT_PPM_MAX);
        Self::new(born, rng.below(1 << 50), rate)
    }

    /// What it shows at a moment.
    pub fn read(&self, at: Moment) -> Time {
        let true_ns = at.0.saturating_sub(self.born.0);
        // In parts, each of which fits: the world reads its clocks all the time.
        let (millions, rest) = (true_ns / MILLION, true_ns % MILLION);
        let ran = millions.saturating_mul(self.rate_ppm).saturating_add(rest * self.rate_ppm / MILLION);
        Time(self.offset.saturating_add(ran))
    }

    /// The first moment at which it shows `time` or later; the end of time when that never comes.
    pub fn when(&self, time: Time) -> Moment {
        let ran = time.0.saturating_sub(self.offset);
        let (whole, rest) = (ran / self.rate_ppm, ran % self.rate_ppm);
        let true_ns = whole.saturating_mul(MILLION).saturating_add((rest * MILLION).div_ceil(self.rate_ppm));
        Moment(self.born.0.saturating_add(true_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_its_moment_and_not_before() {
        let mut rng = base::Rng::new(1);
        for _ in 0..1000 {
            let clock = Clock::draw(Moment(rng.below(1 << 40)), &mut rng);
            let time = clock.read(clock.born) + Duration::from_nanos(rng.within(1, 1 << 45));
            let moment = clock.when(time);
            assert!(clock.read(moment) >= time);
            assert!(clock.read(Moment(moment.0 - 1)) < time);
        }
    }

    #[test]
    fn two_clocks_never_drift_apart_by_a_tenth() {
        let (slow, fast) = (1_000_000 - DRIFT_PPM_MAX, 1_000_000 + DRIFT_PPM_MAX);
        assert!(fast * 10 < slow * 11, "rule 9 waits 2.2 s for reads of 2 s");
    }
}
