//! What happened, as one number and, when asked for, as lines.
//!
//! Every delivered event goes into the number, so two runs of one seed that differ anywhere differ in it. Lines cost time and
//! memory; a run that failed is run again with them.

use crate::clock::Moment;
use std::collections::VecDeque;
use std::fmt::Arguments;

/// The running hash and the last lines.
pub struct Trace {
    hash: u64,
    events: u64,
    lines: VecDeque<String>,
    keep: usize,
    /// What happened to the world, rather than what was said in it.
    told: Vec<String>,
}

impl Trace {
    /// Keeps the last `keep` lines; none costs nothing.
    pub fn new(keep: usize) -> Self {
        Self { hash: 0x5ea_3a11, events: 0, lines: VecDeque::new(), keep, told: Vec::new() }
    }

    /// One event: when, what, and whatever tells it from others.
    pub fn event(&mut self, at: Moment, what: u64, detail: u64) {
        self.events += 1;
        for word in [at.0, what, detail] {
            self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
            self.hash ^= self.hash >> 32;
        }
    }

    /// Whether lines are kept: ask before making one that is costly.
    pub fn keeps_lines(&self) -> bool {
        self.keep > 0
    }

    /// One line, for people.
    pub fn line(&mut self, at: Moment, text: Arguments<'_>) {
        if self.keep == 0 {
            return;
        }
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{at:?} {text}"));
    }

    /// One line of what happened to the world: a fault, a process that starts or ends, an epoch.
    pub fn tell(&mut self, at: Moment, text: Arguments<'_>) {
        if self.keep > 0 {
            self.line(at, text);
            self.told.push(format!("{at:?} {text}"));
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines kept, oldest first; and those of what happened to the world.
    pub fn into_lines(self) -> (Vec<String>, Vec<String>) {
        (self.lines.into(), self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_change_the_hash_and_lines_are_bounded() {
        let run = |events: &[(u64, u64)]| {
            let mut trace = Trace::new(2);
            for (at, what) in events {
                trace.event(Moment(*at), *what, 0);
                trace.line(Moment(*at), format_args!("{what}"));
            }
            trace.tell(Moment(9), format_args!("told"));
            (trace.hash(), trace.into_lines())
        };
        let (a, lines) = run(&[(1, 2), (3, 4), (5, 6)]);
        assert_eq!(
            lines,
            (vec!["0.000000s 6".to_owned(), "0.000000s told".to_owned()], vec!["0.000000s told".to_owned()])
        );
        assert_eq!(a, run(&[(1, 2), (3, 4), (5, 6)]).0);
        assert_ne!(a, run(&[(1, 2), (5, 6), (3, 4)]).0);
        assert_ne!(a, run(&[(1, 2), (3, 4)]).0);
    }
}
