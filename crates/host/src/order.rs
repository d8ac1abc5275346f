//! The order of writes in one volume: which may be outstanding together, and what a flush waits for.
//!
//! It promises that two overlapping writes are never outstanding at once and that overlapping ones go in the order they came.
//! It refuses to know what a write is beyond its number and its range of blocks.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

/// Numbers come in increasing order: a greater number was submitted later.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Every write that is outstanding or waiting, with its blocks. At most as many as a volume may have requests, so looking
    /// through all of them costs less than keeping a tree of intervals.
    writes: BTreeMap<u64, Range<u64>>,
    /// Who waits for whom. Each waiter stands under the latest of those it must wait for and looks again when that one ends, so
    /// the lists together are no longer than the number of writes.
    waiters: BTreeMap<u64, Vec<u64>>,
    flushes: VecDeque<u64>,
}

impl Order {
    /// A write came. True when it may go at once; otherwise [`Self::leave`] says when.
    pub(crate) fn enter(&mut self, number: u64, blocks: Range<u64>) -> bool {
        let blocker = self.blocker(number, &blocks);
        let replaced = self.writes.insert(number, blocks);
        assert!(replaced.is_none(), "write {number} entered twice");
        if let Some(blocker) = blocker {
            self.waiters.entry(blocker).or_default().push(number);
        }
        blocker.is_none()
    }

    /// A write that was going has ended; those that may go because of it are added to `ready`.
    pub(crate) fn leave(&mut self, number: u64, ready: &mut Vec<u64>) {
        let left = self.writes.remove(&number);
        assert!(left.is_some(), "write {number} left without having entered");
        for waiter in self.waiters.remove(&number).unwrap_or_default() {
            let blocks = self.writes.get(&waiter).expect("who waits has not left").clone();
            match self.blocker(waiter, &blocks) {
                Some(blocker) => self.waiters.entry(blocker).or_default().push(waiter),
                None => ready.push(waiter),
            }
        }
    }

    /// A flush came. [`Self::flushed`] says when all before it has ended.
    pub(crate) fn flush(&mut self, number: u64) {
        self.flushes.push_back(number);
    }

    /// The next flush that has nothing before it any more.
    pub(crate) fn flushed(&mut self) -> Option<u64> {
        let flush = *self.flushes.front()?;
        let oldest = self.writes.keys().next();
        if oldest.is_some_and(|write| *write < flush) {
            return None;
        }
        self.flushes.pop_front()
    }

    /// The latest write before `number` that overlaps it, outstanding or waiting itself.
    fn blocker(&self, number: u64, blocks: &Range<u64>) -> Option<u64> {
        let overlaps = |other: &Range<u64>| other.start < blocks.end && blocks.start < other.end;
        self.writes.range(..number).rev().find(|(_, other)| overlaps(other)).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;

    #[test]
    fn overlapping_writes_go_one_after_the_other_in_order() {
        let mut order = Order::default();
        let mut ready = Vec::new();
        assert!(order.enter(1, 0..4));
        assert!(!order.enter(2, 3..8));
        assert!(!order.enter(3, 7..9));
        assert!(order.enter(4, 9..10));
        order.leave(4, &mut ready);
        assert!(ready.is_empty());
        order.leave(1, &mut ready);
        assert_eq!(ready, [2]);
        order.leave(2, &mut ready);
        assert_eq!(ready, [2, 3]);
    }

    #[test]
    fn a_flush_waits_for_what_was_before_it_and_for_nothing_else() {
        let mut order = Order::default();
        order.enter(1, 0..1);
        order.flush(2);
        order.enter(3, 5..6);
        assert_eq!(order.flushed(), None);
        order.leave(1, &mut Vec::new());
        assert_eq!((order.flushed(), order.flushed()), (Some(2), None));
    }

    #[test]
    fn at_random_no_two_that_go_overlap_and_all_go_in_the_end() {
        let mut rng = Rng::new(42);
        let mut order = Order::default();
        let mut going: BTreeMap<u64, Range<u64>> = BTreeMap::new();
        let mut known: BTreeMap<u64, Range<u64>> = BTreeMap::new();
        let mut ended = 0;
        for number in 0..5_000 {
            let start = rng.below(60);
            let blocks = start..start + 1 + rng.below(8);
            known.insert(number, blocks.clone());
            if order.enter(number, blocks.clone()) {
                going.insert(number, blocks);
            }
            while going.len() > 8 || (number == 4_999 && !going.is_empty()) {
                let pick = *going.keys().nth(rng.below(going.len() as u64) as usize).unwrap();
                going.remove(&pick);
                ended += 1;
                let mut ready = Vec::new();
                order.leave(pick, &mut ready);
                ready.into_iter().for_each(|r| assert!(going.insert(r, known[&r].clone()).is_none()));
            }
            let mut ranges: Vec<_> = going.values().cloned().collect();
            ranges.sort_by_key(|r| r.start);
            assert!(ranges.windows(2).all(|w| w[0].end <= w[1].start), "{ranges:?}");
        }
        assert_eq!(ended, 5_000);
        assert!(order.waiters.is_empty() && order.writes.is_empty());
    }
}
