//! What of a world a failure needs: a failing seed is run again and again with less of it, for as long as it fails in the same way (delta debugging; Zeller and
//! Hildebrandt, TSE 2002).
//!
//! Each fault and each move has a number and chance of its own, so that what is left out changes nothing about the others. The world goes another way all the same, so a
//! failure that needs an exact moment may go with whatever is left out; it is kept then.

use crate::report::{Failure, Options, Report, run_seed};
use std::collections::BTreeSet;
use std::fmt;

/// What is left out of a world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Less {
    /// From this fault or move on there are no more.
    pub before: Option<u64>,
    /// Of those before it, these do not happen.
    pub without: BTreeSet<u64>,
    /// Volumes, by their place, that nobody uses.
    pub idle: BTreeSet<u8>,
    /// So many nodes.
    pub nodes: Option<u64>,
}

impl Less {
    /// Whether a fault or a move does not happen.
    pub fn leaves_out(&self, number: u64) -> bool {
        self.before.is_some_and(|before| number >= before) || self.without.contains(&number)
    }
}

/// A failure and what it needs.
pub struct Shrunk {
    /// What it does not need.
    pub less: Less,
    /// How it fails then.
    pub failure: Failure,
    /// Faults and moves that are left, of so many.
    pub left: (u64, u64),
    /// How often it was run.
    pub runs: u32,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { less, left: (left, all), runs, .. } = self;
        write!(f, "it needs {left} of {all} faults and moves")?;
        if let Some(nodes) = less.nodes {
            write!(f, ", {nodes} nodes")?;
        }
        if !less.idle.is_empty() {
            write!(f, ", and nobody to use the volumes {:?}", less.idle)?;
        }
        write!(f, " (found by {runs} runs)")
    }
}

/// Runs at most.
const RUNS_MAX: u32 = 200;

struct Shrinking<'a> {
    seed: u64,
    options: &'a Options,
    kind: String,
    less: Less,
    failure: Failure,
    runs: u32,
}

/// In which way it failed: the first words, without those that name somebody or a moment.
fn kind_of(failure: &Failure) -> String {
    let names = |word: &&str| word.contains(|c: char| c.is_ascii_digit()) && !word.starts_with(['I', 'R']);
    let line = failure.text.lines().next().unwrap_or_default();
    line.split_whitespace().filter(|word| !names(word)).take(WORDS).collect::<Vec<_>>().join(" ")
}

/// Words that tell one way to fail from another.
const WORDS: usize = 8;

impl Shrinking<'_> {
    /// Goes on with less if that fails in the same way.
    fn try_with(&mut self, less: Less) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let report = run_seed(self.seed, &Options { less: less.clone(), ..self.options.clone() });
        match report.failure.filter(|failure| kind_of(failure) == self.kind) {
            Some(failure) => {
                (self.less, self.failure) = (less, failure);
                true
            }
            None => false,
        }
    }

    /// The fewest faults from the front with which it fails, as far as halving finds them.
    fn cut_the_end(&mut self, all: u64) {
        let (mut holds, mut fails) = (0, all);
        while holds < fails {
            let middle = holds + (fails - holds) / 2;
            if self.try_with(Less { before: Some(middle), ..self.less.clone() }) {
                fails = middle;
            } else {
                holds = middle + 1;
            }
        }
    }

    /// Leaves out half of those that are left, then quarters, down to one by one.
    fn thin_out(&mut self, all: u64) {
        let left = |less: &Less| (0..all).filter(|n| !less.leaves_out(*n)).collect::<Vec<_>>();
        let mut size = left(&self.less).len().div_ceil(2);
        while size > 0 {
            for part in left(&self.less).chunks(size) {
                let without = self.less.without.iter().copied().chain(part.iter().copied()).collect();
                self.try_with(Less { without, ..self.less.clone() });
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
}

/// What the failure of `report` needs.
pub fn shrink(report: &Report, options: &Options) -> Option<Shrunk> {
    let failure = report.failure.clone()?;
    let all = report.disturbances;
    let (kind, less) = (kind_of(&failure), options.less.clone());
    let mut shrinking = Shrinking { seed: report.seed, options, kind, less, failure, runs: 0 };
    for nodes in 3..report.nodes {
        if shrinking.try_with(Less { nodes: Some(nodes), ..shrinking.less.clone() }) {
            break;
        }
    }
    shrinking.cut_the_end(all);
    shrinking.thin_out(all);
    for volume in 0..report.volumes {
        let mut idle = shrinking.less.idle.clone();
        idle.insert(volume);
        shrinking.try_with(Less { idle, ..shrinking.less.clone() });
    }
    let Shrinking { less, failure, runs, .. } = shrinking;
    let left = (0..all).filter(|number| !less.leaves_out(*number)).count() as u64;
    Some(Shrunk { less, failure, left: (left, all), runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_what_was_named_and_all_from_a_number_on() {
        let less = Less { before: Some(5), without: [1, 3].into(), ..Less::default() };
        assert_eq!((0..8).filter(|n| !less.leaves_out(*n)).collect::<Vec<_>>(), [0, 2, 4]);
        assert!(!Less::default().leaves_out(1000));
    }

    #[test]
    fn a_way_to_fail_is_told_from_another_whatever_its_time() {
        let kind = |text: &str| kind_of(&Failure::of(text.to_owned()));
        assert_eq!(kind("28.022710s I3: node-1 calls it committed"), "I3: calls it committed");
        assert_eq!(kind("I3: node-2 calls it committed"), kind("28.022710s I3: node-1 calls it committed"));
        assert_eq!(kind("I8, vol-00000000000000001/2 block 8: were there"), kind("I8, vol-3/1 block 9: were there"));
        let stuck = "convergence: 60s after the last fault, vol-00000000000000001 is StuckElecting\n  more of it";
        assert_eq!(kind(stuck), "convergence: after the last fault, is StuckElecting");
        assert_ne!(kind(stuck), kind("convergence: 60s after the last fault, node-2 is Quarantined"));
    }

    #[test]
    fn a_failure_is_reduced_to_what_it_needs() {
        // A disk that lies loses something when the power goes, and needs little more for it.
        let options = Options { lying_disks: true, ..Options::default() };
        let failed = (0..40).map(|seed| run_seed(seed, &options)).find(|report| report.failure.is_some());
        let failed = failed.expect("some seed shows that disks lie");
        let shrunk = shrink(&failed, &options).expect("it failed");
        // How little depends on the seed that is the first to fail.
        assert!(shrunk.left.0 * 3 <= shrunk.left.1, "{shrunk}");
        let again = run_seed(failed.seed, &Options { less: shrunk.less.clone(), ..options });
        assert_eq!(again.failure.map(|f| f.text), Some(shrunk.failure.text.clone()));
    }
}
