//! The clocks and the entropy of this computer. The only place that reads them.

use crate::os;
use base::Time;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, on a clock that never goes back and goes on while the computer is suspended: a lease that was slept through is over.
pub fn monotonic() -> Time {
    os::boot_time()
}

/// Sixty-four random bits from the operating system: a seed for [`base::Rng`].
pub fn entropy_u64() -> u64 {
    u64::from_le_bytes(entropy())
}

/// A hundred and twenty-eight random bits, for ids.
pub fn entropy_u128() -> u128 {
    u128::from_le_bytes(entropy())
}

/// Random bytes, good enough for secrets.
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    os::entropy(&mut bytes);
    bytes
}

/// The wall clock, for people only: nothing is decided by it. Prints as `2026-11-23T07:00:00.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
}

impl Wall {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.unix_ms / 1000, self.unix_ms % 1000);
        let (year, month, day) = civil(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Days since 1970 as a date of the Gregorian calendar. The year is counted from March, so that the leap day is its last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let text = |seconds: u64| Wall { unix_ms: seconds * 1000 + 7 }.to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(1_303_368_420), "2011-04-21T06:47:00.007Z");
        assert_eq!(text(1_798_761_599), "2026-12-31T23:59:59.007Z");
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back_and_entropy_differs() {
        let (a, b) = (monotonic(), monotonic());
        assert!(a <= b && a > Time::ZERO);
        assert_ne!(entropy_u64(), entropy_u64());
        assert_ne!(entropy_u128(), entropy_u128());
    }
}
