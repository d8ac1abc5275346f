//! The entries of one shard that are in the log and not yet committed, in the order of their sequences.

use crate::entry::Crcs;
use alloc::collections::VecDeque;
use base::Sequence;
use base::log::Stamp;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) block: u32,
    pub(crate) body: Body,
}

/// What it does when it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Data { place: u32, crcs: Crcs },
    Trim { count: u32 },
}

/// Entries by sequence, each sequence once.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
}

impl Window {
    /// Adds an entry and gives back the one whose sequence, and so whose place, it takes.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let sequence = entry.stamp.sequence;
        if self.entries.back().is_none_or(|last| last.stamp.sequence < sequence) {
            self.entries.push_back(entry);
            return None;
        }
        match self.entries.binary_search_by_key(&sequence, |e| e.stamp.sequence) {
            Ok(at) => Some(core::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                self.entries.insert(at, entry);
                None
            }
        }
    }

    /// Takes the first, if its sequence is not above this one.
    pub(crate) fn pop_through(&mut self, through: Sequence) -> Option<Entry> {
        self.entries.front().is_some_and(|first| first.stamp.sequence <= through).then(|| self.entries.pop_front())?
    }

    /// Takes the last, if its sequence is above this one.
    pub(crate) fn pop_above(&mut self, above: Sequence) -> Option<Entry> {
        self.entries.back().is_some_and(|last| last.stamp.sequence > above).then(|| self.entries.pop_back())?
    }

    /// The stamp of the last.
    pub(crate) fn end(&self) -> Option<Stamp> {
        self.entries.back().map(|last| last.stamp)
    }

    /// Those above a sequence, in order.
    pub(crate) fn above(&self, above: Sequence) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|e| e.stamp.sequence <= above);
        self.entries.range(from..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use base::Epoch;

    fn entry(epoch: u64, sequence: u64) -> Entry {
        let stamp = Stamp { epoch: Epoch(epoch), sequence: Sequence(sequence) };
        Entry { stamp, block: 0, body: Body::Trim { count: 1 } }
    }

    fn sequences(window: &Window, above: u64) -> Vec<(u64, u64)> {
        window.above(Sequence(above)).map(|e| (e.stamp.epoch.0, e.stamp.sequence.0)).collect()
    }

    #[test]
    fn a_later_entry_of_the_same_sequence_takes_the_place_of_the_earlier() {
        let mut window = Window::default();
        for sequence in [2, 3, 5] {
            assert_eq!(window.insert(entry(1, sequence)), None);
        }
        assert_eq!(window.insert(entry(2, 3)), Some(entry(1, 3)));
        assert_eq!(window.insert(entry(2, 4)), None);
        assert_eq!(sequences(&window, 0), [(1, 2), (2, 3), (2, 4), (1, 5)]);
        assert_eq!(sequences(&window, 3), [(2, 4), (1, 5)]);
        assert_eq!(window.end(), Some(entry(1, 5).stamp));
    }

    #[test]
    fn entries_leave_at_either_end() {
        let mut window = Window::default();
        (1..=5).for_each(|sequence| assert_eq!(window.insert(entry(1, sequence)), None));
        assert_eq!(window.pop_through(Sequence(1)), Some(entry(1, 1)));
        assert_eq!(window.pop_through(Sequence(1)), None);
        assert_eq!(window.pop_above(Sequence(4)), Some(entry(1, 5)));
        assert_eq!(window.pop_above(Sequence(4)), None);
        assert_eq!(sequences(&window, 0), [(1, 2), (1, 3), (1, 4)]);
    }
}
