//! How many times were how long: counted in microseconds, without floats, by who measures the disk and who measures what clients wait.

use alloc::boxed::Box;

/// Powers of two of microseconds that are told apart: up to 268 s.
const OCTAVES: usize = 26;
/// Parts of each, of one width: an answer is at most an eighth too great.
const PARTS: usize = 8;

/// How many operations took how long.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Box<[u32; OCTAVES * PARTS]>,
    count: u32,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; OCTAVES * PARTS]), count: 0 }
    }

    /// The bucket of so many microseconds.
    fn bucket(us: u64) -> usize {
        let parts = PARTS as u64;
        if us < parts {
            return us as usize;
        }
        // The highest bit says which octave, the three behind it which part.
        let octave = us.ilog2() as usize - 2;
        let part = (us >> (octave - 1)) as usize - PARTS;
        (octave * PARTS + part).min(OCTAVES * PARTS - 1)
    }

    /// The greatest that falls into a bucket.
    fn greatest(bucket: usize) -> u64 {
        let (octave, part) = (bucket / PARTS, bucket % PARTS);
        if octave == 0 { part as u64 } else { (((PARTS + part + 1) as u64) << (octave - 1)) - 1 }
    }

    pub(crate) fn add(&mut self, us: u64) {
        self.counts[Self::bucket(us)] += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(mine, more)| *mine += more);
        self.count += other.count;
    }

    pub(crate) fn clear(&mut self) {
        if self.count == 0 {
            return;
        }
        self.counts.fill(0);
        self.count = 0;
    }

    /// What all but so many hundredths took at most, in microseconds.
    pub(crate) fn percentile(&self, percent: u32) -> u32 {
        let rank = (u64::from(self.count) * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return u32::try_from(Self::greatest(bucket)).unwrap_or(u32::MAX);
            }
        }
        0
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_a_bucket_whose_greatest_is_at_most_an_eighth_above() {
        let mut last = 0;
        for us in (0..5000).chain((13..28).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let bucket = Histogram::bucket(us);
            let greatest = Histogram::greatest(bucket);
            assert!(greatest >= us && greatest <= us + us / 8, "{us} is told as {greatest}");
            assert!(bucket >= last, "{us}: the longer, the later");
            last = bucket;
        }
        assert_eq!(Histogram::bucket(u64::MAX), OCTAVES * PARTS - 1);
    }

    #[test]
    fn the_slowest_of_a_hundred_is_not_the_percentile_and_the_second_slowest_is() {
        let mut h = Histogram::new();
        (0..98).for_each(|_| h.add(100));
        h.add(5000);
        h.add(900_000);
        assert!((5000..=5625).contains(&h.percentile(99)) && (900_000..).contains(&h.percentile(100)));
        h.clear();
        assert_eq!((h.count(), h.percentile(99)), (0, 0));
    }
}
