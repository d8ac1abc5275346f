//! What can be said of two revisions that were measured in turn: medians, the ratio, and whether it is more than chance.
//!
//! A machine is faster in one minute than in the next, so values of different rounds are never compared: each round has a ratio of its own, of
//! two runs that were neighbours, and what is told is the median of those ratios and how far they spread. A difference is *beyond the
//! spread* when every single round shows it in the same direction. If two revisions were equal, each round would point either way like a coin
//! that is thrown, and `n` rounds would all agree by chance once in `2^(n-1)` times; below [`ROUNDS_MIN`] that is too often to say anything.

/// Rounds below which nothing is said: five agree by chance once in 16 times.
pub(super) const ROUNDS_MIN: usize = 5;

/// Which of the two revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that is compared with.
    Old,
    /// The tree as it is.
    New,
}

/// Who is measured when: neither is always first, and each follows itself as often as the other.
pub(super) fn order(rounds: usize) -> impl Iterator<Item = (usize, Side)> {
    (0..rounds).flat_map(|round| {
        let both = if round % 2 == 0 { [Side::Old, Side::New] } else { [Side::New, Side::Old] };
        both.map(|side| (round, side))
    })
}

/// What the rounds say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are not enough of them.
    TooFew,
    /// Some say so and some the opposite.
    Within,
    /// In every round the new one had more.
    More,
    /// In every round it had less.
    Less,
}

/// One figure of one row, compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// The median of the old revision's rounds.
    pub(super) old: f64,
    /// The median of the new one's.
    pub(super) new: f64,
    /// The median of the rounds' ratios, new to old.
    pub(super) ratio: f64,
    /// The least of them.
    pub(super) least: f64,
    /// The greatest of them.
    pub(super) greatest: f64,
    /// What follows.
    pub(super) verdict: Verdict,
}

/// The middle one, or between the two in the middle. None of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// Compares one figure: a pair for each round, old and new. None when there is no ratio, because a figure is missing or is zero.
pub(super) fn compare(rounds: &[(f64, f64)]) -> Option<Compared> {
    if rounds.iter().any(|(old, new)| !(*old > 0.0 && *new > 0.0)) {
        return None;
    }
    let (old, new): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    let ratios: Vec<f64> = rounds.iter().map(|(old, new)| new / old).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    let verdict = match () {
        () if rounds.len() < ROUNDS_MIN => Verdict::TooFew,
        () if least > 1.0 => Verdict::More,
        () if greatest < 1.0 => Verdict::Less,
        () => Verdict::Within,
    };
    Some(Compared { old: median(&old)?, new: median(&new)?, ratio: median(&ratios)?, least, greatest, verdict })
}

/// How often two equal revisions would seem different, as one in so many.
pub(super) fn by_chance(rounds: usize) -> u64 {
    1 << rounds.saturating_sub(1).min(62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_an_outlier_does_not_move_it() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 1e9]), Some(3.0));
    }

    #[test]
    fn rounds_are_interleaved_and_neither_is_always_first() {
        use Side::{New, Old};
        let all: Vec<_> = order(3).collect();
        assert_eq!(all, [(0, Old), (0, New), (1, New), (1, Old), (2, Old), (2, New)]);
    }

    #[test]
    fn a_machine_that_slows_down_is_no_difference_and_hides_none() {
        // The new one is a tenth faster in each round, while the machine loses half of its speed.
        let rounds = [1000.0, 900.0, 700.0, 600.0, 500.0].map(|speed| (speed, speed * 1.1));
        let told = compare(&rounds).unwrap();
        assert_eq!((told.old, told.verdict), (700.0, Verdict::More));
        assert!((told.ratio - 1.1).abs() < 1e-9 && (told.new - 770.0).abs() < 1e-9, "{told:?}");
        // All of that slowing down between the two of a round, one way and the other.
        let rounds = [(1000.0, 900.0), (700.0, 900.0), (700.0, 600.0), (500.0, 600.0), (500.0, 490.0)];
        assert_eq!(compare(&rounds).unwrap().verdict, Verdict::Within);
    }

    #[test]
    fn one_round_that_disagrees_is_enough_and_the_spread_says_how_much() {
        let mut rounds = vec![(100.0, 80.0), (100.0, 85.0), (100.0, 90.0), (100.0, 70.0), (100.0, 75.0)];
        let told = compare(&rounds).unwrap();
        assert_eq!((told.least, told.ratio, told.greatest, told.verdict), (0.7, 0.8, 0.9, Verdict::Less));
        rounds.push((100.0, 101.0));
        let told = compare(&rounds).unwrap();
        assert_eq!((told.greatest, told.verdict), (1.01, Verdict::Within));
        rounds[5] = (100.0, 100.0);
        assert_eq!(compare(&rounds).unwrap().verdict, Verdict::Within, "a tie agrees with nobody");
    }

    #[test]
    fn too_few_rounds_say_nothing_and_what_cannot_be_divided_is_no_ratio() {
        let rounds = [(100.0, 200.0); ROUNDS_MIN];
        assert_eq!(compare(&rounds).unwrap().verdict, Verdict::More);
        assert_eq!(compare(&rounds[1..]).unwrap().verdict, Verdict::TooFew);
        for bad in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0)] {
            assert_eq!(compare(&[(1.0, 1.0), bad]), None);
        }
        assert_eq!(compare(&[]), None);
        assert_eq!((by_chance(5), by_chance(7)), (16, 64));
    }
}
