//! How long the disk takes, as the store feels it: from the step in which a write or a flush is asked for to the step in which it has ended.
//!
//! What is told is of the last second, four quarters of it that have ended. A write is counted by the 64 KiB, so that a node which writes larger
//! batches than others, because it is filled or cleans up, does not look slower than they are. Reads are not counted: only a primary has
//! them, so there would be nobody to compare it with. What a disk does not end at all is told apart, by its age.
//!
//! Each node only measures. Whether it is slow depends on the others, and the authority decides it.

use crate::histogram::Histogram;
use alloc::collections::BTreeMap;
use base::Time;
use base::io::disk::{Op, OpId};
use base::time::Duration;
use wire::DiskReport;

/// A quarter of what is told.
pub(crate) const QUARTER: Duration = Duration::from_millis(250);
/// Quarters that are told.
const TOLD: usize = 4;
/// Bytes that count as one operation.
const UNIT: u64 = 64 << 10;
/// Operations below which nothing is said to have changed.
const ENOUGH: u32 = 10;
/// What is below this has not changed, whatever it was: nobody feels it.
const FELT_US: u32 = 1000;
/// So many times more or less than what was told last is a change.
const CHANGE: u32 = 3;
/// So long after a change, each quarter is told.
const CHANGING: Duration = Duration::from_millis(2000);

/// What is measured of one disk.
#[derive(Debug)]
pub(crate) struct Slowness {
    /// Writes and flushes under way: since when, and of how many bytes each is.
    under_way: BTreeMap<OpId, (Time, u64)>,
    /// The quarter under way, and those before it, the newest first.
    quarters: [Histogram; TOLD + 1],
    /// When the one under way began.
    began: Time,
    /// When the one began that was under way at the last look for news.
    looked: Time,
    /// What was told last when it was not changing.
    told: DiskReport,
    changing_until: Time,
}

impl Slowness {
    pub(crate) fn new() -> Self {
        Self {
            under_way: BTreeMap::new(),
            quarters: core::array::from_fn(|_| Histogram::new()),
            began: Time::ZERO,
            looked: Time::ZERO,
            told: DiskReport::default(),
            changing_until: Time::ZERO,
        }
    }

    /// An operation goes to the disk.
    pub(crate) fn asked(&mut self, now: Time, op: &Op) {
        if let Op::Write { .. } | Op::Flush { .. } = op {
            self.under_way.insert(op.id(), (now, op.extent().1));
        }
    }

    /// An operation has ended, well or not.
    pub(crate) fn ended(&mut self, now: Time, id: OpId) {
        self.roll(now);
        if let Some((asked, bytes)) = self.under_way.remove(&id) {
            let us = now.since(asked).as_micros() as u64;
            self.quarters[0].add(us.saturating_mul(UNIT) / bytes.max(UNIT));
        }
    }

    /// Begins the quarter that `now` is in.
    fn roll(&mut self, now: Time) {
        let passed = now.since(self.began).as_nanos() / QUARTER.as_nanos();
        for _ in 0..passed.min(TOLD as u128 + 1) {
            self.quarters.rotate_right(1);
            self.quarters[0].clear();
        }
        self.began += QUARTER * u32::try_from(passed).unwrap_or(u32::MAX);
    }

    /// The last second, and what is under way.
    fn report(&mut self, now: Time) -> DiskReport {
        self.roll(now);
        let mut second = Histogram::new();
        self.quarters[1..].iter().for_each(|quarter| second.merge(quarter));
        let oldest = self.under_way.values().map(|(asked, _)| *asked).min();
        DiskReport {
            count: second.count(),
            median_us: second.percentile(50),
            p99_us: second.percentile(99),
            oldest_us: oldest.map_or(0, |asked| u32::try_from(now.since(asked).as_micros()).unwrap_or(u32::MAX)),
        }
    }

    /// Whether a quarter has ended that the authority should hear of before the second is over.
    pub(crate) fn is_news(&mut self, now: Time) -> bool {
        self.roll(now);
        if core::mem::replace(&mut self.looked, self.began) == self.began {
            return false;
        }
        let seen = self.report(now);
        let (told, differs) = (self.told, |a: u32, b: u32| a.max(b) >= FELT_US && a / CHANGE >= b.max(1));
        let apart = |a, b| differs(a, b) || differs(b, a);
        let comparable = seen.count.min(told.count) >= ENOUGH;
        let changed = apart(seen.median_us, told.median_us) || apart(seen.p99_us, told.p99_us);
        if comparable && changed && self.changing_until <= now {
            self.changing_until = now + CHANGING;
        }
        now < self.changing_until
    }

    /// What goes into a report.
    pub(crate) fn tell(&mut self, now: Time) -> DiskReport {
        self.told = self.report(now);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::Payload;

    const MS: u64 = 1_000_000;

    fn write(id: u64, bytes: usize) -> Op {
        let parts = vec![Payload::from(vec![0; bytes])];
        Op::Write { id: OpId(id), at: 0, parts, durable: true }
    }

    /// From `from` to `to`, in milliseconds: one write after the other that takes `us`. Which reports were news, in milliseconds.
    fn write_on(s: &mut Slowness, from: u64, to: u64, us: u64) -> vec::Vec<u64> {
        let mut news = vec![];
        let mut now = Time(from * MS);
        while now < Time(to * MS) {
            s.asked(now, &write(1, 4096));
            now += Duration::from_micros(us);
            s.ended(now, OpId(1));
            if s.is_news(now) {
                s.tell(now);
                news.push(now.0 / MS);
            }
        }
        news
    }

    #[test]
    fn median_and_p99_of_the_last_second_are_told_and_older_ones_forgotten() {
        let mut s = Slowness::new();
        write_on(&mut s, 0, 2000, 1000);
        let told = s.tell(Time(2000 * MS));
        assert!((990..=1001).contains(&told.count), "{told:?}");
        assert!((1000..1125).contains(&told.median_us) && told.p99_us == told.median_us && told.oldest_us == 0);
        // Two in a hundred take long.
        for n in 0..100 {
            let at = Time((2000 + n * 2) * MS);
            s.asked(at, &write(n, 4096));
            s.ended(at + Duration::from_micros(if n < 2 { 100_000 } else { 500 }), OpId(n));
        }
        let told = s.tell(Time(3000 * MS));
        assert!((500..563).contains(&told.median_us) && (100_000..112_500).contains(&told.p99_us), "{told:?}");
        assert_eq!(s.tell(Time(60_000 * MS)), DiskReport::default());
    }

    #[test]
    fn what_does_not_end_is_told_by_its_age_and_reads_do_not_count() {
        let mut s = Slowness::new();
        s.asked(Time(0), &Op::Read { id: OpId(1), at: 0, len: 4096 });
        s.asked(Time(500 * MS), &Op::Flush { id: OpId(2) });
        s.asked(Time(900 * MS), &Op::Flush { id: OpId(3) });
        assert_eq!(s.tell(Time(2500 * MS)), DiskReport { oldest_us: 2_000_000, ..DiskReport::default() });
        s.ended(Time(2500 * MS), OpId(1));
        s.ended(Time(2500 * MS), OpId(2));
        assert_eq!(
            s.tell(Time(2900 * MS)),
            DiskReport { count: 1, median_us: 2_097_151, p99_us: 2_097_151, oldest_us: 2_000_000 }
        );
    }

    #[test]
    fn a_large_write_counts_by_the_64_kib() {
        let mut s = Slowness::new();
        s.asked(Time(0), &write(1, 640 << 10));
        s.ended(Time(10 * MS), OpId(1));
        let told = s.tell(Time(1000 * MS));
        assert!((1000..1125).contains(&told.median_us), "{told:?}");
    }

    #[test]
    fn a_marked_change_is_told_each_quarter_and_the_usual_each_second() {
        let mut s = Slowness::new();
        write_on(&mut s, 0, 1000, 1000);
        s.tell(Time(1000 * MS));
        assert!(write_on(&mut s, 1000, 5000, 1200).is_empty(), "that is no change");
        // Ten times slower: at once as soon as one in a hundred shows it, and for two seconds each quarter.
        let news = write_on(&mut s, 5000, 12_000, 12_000);
        assert!(news[0] <= 5270 && news.len() >= 8, "{news:?}");
        assert!(news.windows(2).all(|two| two[1] - two[0] <= 270) && *news.last().unwrap() < 8500, "{news:?}");
    }
}
