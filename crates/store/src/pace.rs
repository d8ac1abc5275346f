//! How much the cleaner may add to a batch, so that those who write and read feel it little: the less, the longer the disk takes for them.
//!
//! As LEDBAT (RFC 6817) does for traffic that is to yield: the shortest time that an operation took of late is what the disk needs when nothing is in
//! its way, the shortest of the last few says what is in its way now, and the budget moves towards where the difference is as long as the disk needs
//! anyway. So it needs no figure of the disk, be it one of spindles or of flash. Space comes first: see the least that the cleaner asks for.

use crate::append::MOVED_BLOCKS_MAX;
use base::time::Duration;

/// Blocks that may always be added: fewer would not be worth a header.
const BLOCKS_MIN: u32 = 8;
/// The budget is counted in parts of a block, so that it can move slowly.
const PARTS: u64 = 64;
/// What a disk may take longer than it needs, at the least: below this nobody feels it.
const TARGET_MIN: u64 = 500_000;
/// Operations in each of the spans whose shortest times are remembered.
const SPAN: u32 = 1024;
/// How many such spans; together they are what is called of late.
const SPANS: usize = 8;
/// The last few operations.
const LAST: usize = 4;

/// What is remembered of one kind of operations, in nanoseconds.
#[derive(Debug)]
struct Track {
    shortest: [u64; SPANS],
    last: [u64; LAST],
    seen: u32,
}

impl Track {
    fn new() -> Self {
        Self { shortest: [u64::MAX; SPANS], last: [u64::MAX; LAST], seen: 0 }
    }

    /// How much longer than needed the disk takes now, in parts of what it may.
    fn took(&mut self, nanos: u64) -> u64 {
        self.last[self.seen as usize % LAST] = nanos;
        if self.seen.is_multiple_of(SPAN) {
            self.shortest.rotate_right(1);
            self.shortest[0] = u64::MAX;
        }
        self.shortest[0] = self.shortest[0].min(nanos);
        self.seen = self.seen.wrapping_add(1);
        let least = |of: &[u64]| of.iter().copied().min().unwrap_or(nanos);
        let needed = least(&self.shortest);
        (least(&self.last) - needed).saturating_mul(PARTS) / needed.max(TARGET_MIN)
    }
}

/// The budget of one store.
#[derive(Debug)]
pub(crate) struct Pace {
    writes: Track,
    reads: Track,
    /// Blocks for each batch, times [`PARTS`].
    budget: u64,
}

impl Pace {
    /// Nothing seen yet: all that may be.
    pub(crate) fn new() -> Self {
        Self { writes: Track::new(), reads: Track::new(), budget: u64::from(MOVED_BLOCKS_MAX) * PARTS }
    }

    /// A batch that somebody waits for took so long.
    pub(crate) fn wrote(&mut self, took: Duration) {
        let over = self.writes.took(took.as_nanos() as u64);
        self.adapt(over);
    }

    /// A read that somebody waits for took so long.
    pub(crate) fn read(&mut self, took: Duration) {
        let over = self.reads.took(took.as_nanos() as u64);
        self.adapt(over);
    }

    /// Blocks that may be added to a batch.
    pub(crate) fn blocks(&self) -> u32 {
        (self.budget / PARTS) as u32
    }

    /// Up by as much as a block while the disk is faster than it may be, down by as much as a sixteenth of all.
    fn adapt(&mut self, over: u64) {
        self.budget = if over <= PARTS {
            self.budget + PARTS - over
        } else {
            self.budget - self.budget / 16 * (over - PARTS).min(PARTS) / PARTS
        };
        self.budget = self.budget.clamp(u64::from(BLOCKS_MIN) * PARTS, u64::from(MOVED_BLOCKS_MAX) * PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn the_budget_falls_while_the_disk_is_slower_than_it_may_be_and_comes_back() {
        for needed in [200, 10_000] {
            let mut pace = Pace::new();
            (0..100).for_each(|_| pace.wrote(micros(needed)));
            assert_eq!(pace.blocks(), MOVED_BLOCKS_MAX);
            let may = needed + needed.max(TARGET_MIN / 1000);
            (0..100).for_each(|_| pace.wrote(micros(may - 1)));
            assert_eq!(pace.blocks(), MOVED_BLOCKS_MAX, "it may take so long");
            (0..100).for_each(|_| pace.wrote(micros(3 * may)));
            assert_eq!(pace.blocks(), BLOCKS_MIN);
            (0..200).for_each(|_| pace.wrote(micros(needed)));
            assert_eq!(pace.blocks(), MOVED_BLOCKS_MAX);
        }
    }

    #[test]
    fn one_slow_operation_among_fast_ones_changes_nothing_and_reads_count_as_well() {
        let mut pace = Pace::new();
        (0..400).for_each(|i| pace.wrote(micros(if i % LAST == 0 { 90_000 } else { 300 })));
        assert_eq!(pace.blocks(), MOVED_BLOCKS_MAX);
        pace.read(micros(100));
        (0..400).for_each(|_| pace.read(micros(20_000)));
        assert_eq!(pace.blocks(), BLOCKS_MIN);
    }

    #[test]
    fn a_disk_that_became_slower_for_good_is_taken_as_it_is() {
        let mut pace = Pace::new();
        (0..100).for_each(|_| pace.wrote(micros(100)));
        (0..SPAN * (SPANS as u32 - 1)).for_each(|_| pace.wrote(micros(5_000)));
        assert_eq!(pace.blocks(), BLOCKS_MIN);
        (0..SPAN * 2).for_each(|_| pace.wrote(micros(5_000)));
        assert_eq!(pace.blocks(), MOVED_BLOCKS_MAX);
    }
}
