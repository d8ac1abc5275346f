//! What will happen, in order. Events of one moment happen in an order drawn from the seed, so that no run leans on an accident of the code.

use crate::clock::Moment;
use base::Rng;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

struct Entry<E> {
    at: Moment,
    tie: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    // The greatest of a BinaryHeap comes out first: the earliest must be the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.tie).cmp(&(self.at, self.tie))
    }
}

/// The events to come.
pub struct Heap<E> {
    entries: BinaryHeap<Entry<E>>,
    ties: Rng,
    count: u64,
}

impl<E> Heap<E> {
    /// Empty; ties are broken by `ties`.
    pub fn new(ties: Rng) -> Self {
        Self { entries: BinaryHeap::new(), ties, count: 0 }
    }

    /// Lets `event` happen at a moment.
    pub fn push(&mut self, at: Moment, event: E) {
        self.count += 1;
        // The low bits count, so that two ties are never equal and the order is total.
        let tie = self.ties.u64() << 32 | self.count & 0xffff_ffff;
        self.entries.push(Entry { at, tie, event });
    }

    /// How many were given to it so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When the next happens.
    pub fn next_at(&self) -> Option<Moment> {
        self.entries.peek().map(|entry| entry.at)
    }

    /// The next, and when it happens.
    pub fn pop(&mut self) -> Option<(Moment, E)> {
        self.entries.pop().map(|entry| (entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64) -> Vec<u32> {
        let mut heap = Heap::new(Rng::new(seed));
        for (at, event) in [(5, 0), (1, 1), (5, 2), (5, 3), (2, 4), (5, 5)] {
            heap.push(Moment(at), event);
        }
        assert_eq!(heap.next_at(), Some(Moment(1)));
        std::iter::from_fn(|| heap.pop().map(|(_, event)| event)).collect()
    }

    #[test]
    fn events_come_in_order_of_time_and_ties_in_the_order_of_the_seed() {
        assert_eq!(order(1), order(1));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let events = order(seed);
            assert_eq!(events[..2], [1, 4]);
            seen.insert(events);
        }
        assert!(seen.len() > 10, "ties are drawn, not fixed");
    }
}
