//! The entries of one shard that are in the log and not yet committed, in the order of their sequences.

use crate::chunk::Cell;
use crate::entry::Crcs;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::Sequence;
use base::log::{PointChange, Stamp};

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
    Data { places: Places, crcs: Crcs },
    Trim { count: u32 },
    Point(PointChange),
}

/// Where the blocks of an entry lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Places {
    /// One behind the other from here on, as they were written.
    Run(u32),
    /// Each by itself: some of them were moved.
    Each(Box<[u32]>),
}

impl Places {
    /// In the shorter form. There is at least one.
    pub(crate) fn of(places: Vec<u32>) -> Self {
        let first = places[0];
        let in_a_run = (first..).zip(&places).all(|(expected, &place)| expected == place);
        if in_a_run { Self::Run(first) } else { Self::Each(places.into()) }
    }

    /// Where the block `i` of the entry lies.
    fn get(&self, i: u32) -> u32 {
        match self {
            Self::Run(first) => first + i,
            Self::Each(places) => places[i as usize],
        }
    }

    fn set(&mut self, i: u32, count: u32, place: u32) {
        let mut places: Box<[u32]> = (0..count).map(|i| self.get(i)).collect();
        places[i as usize] = place;
        *self = Self::Each(places);
    }

    /// Shows the runs of an entry of `count` blocks in order: the first block of each, its place, and how many lie one behind the other.
    pub(crate) fn each_run(&self, count: u32, run: &mut impl FnMut(u32, u32, u32)) {
        let mut from = 0;
        while from < count {
            let place = self.get(from);
            let len = (1..count - from).take_while(|&i| self.get(from + i) == place + i).count() as u32 + 1;
            run(from, place, len);
            from += len;
        }
    }
}

impl Entry {
    /// Its blocks, where each lies, and its checksum; none of what is no write.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, Cell)> + '_ {
        let count = if let Body::Data { crcs, .. } = &self.body { crcs.len() as u32 } else { 0 };
        (self.block..self.block + count).filter_map(|block| Some((block, self.cell(block)?)))
    }

    /// Where a block of the shard lies and its checksum, if this entry brings it.
    pub(crate) fn cell(&self, block: u32) -> Option<Cell> {
        let Body::Data { places, crcs } = &self.body else { return None };
        let i = block.checked_sub(self.block)?;
        crcs.get(i as usize).map(|&crc| Cell { place: places.get(i), crc })
    }
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

    /// The block that lies so lies at `place` from now on. False if no entry has it.
    pub(crate) fn relocate(&mut self, block: u32, from: Cell, place: u32) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|e| e.cell(block) == Some(from)) else { return false };
        let i = block - entry.block;
        if let Body::Data { places, crcs } = &mut entry.body {
            places.set(i, crcs.len() as u32, place);
        }
        true
    }

    /// Where the copies of a block lie that have this checksum, the newest first.
    pub(crate) fn matching(&self, block: u32, crc: u32) -> impl Iterator<Item = Cell> + '_ {
        self.entries.iter().rev().filter_map(move |e| e.cell(block)).filter(move |cell| cell.crc == crc)
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
    use alloc::vec;
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
    fn a_block_of_an_entry_is_moved_by_itself() {
        let mut window = Window::default();
        for (sequence, place) in [(1, 100), (2, 200)] {
            let body = Body::Data { places: Places::Run(place), crcs: Crcs::Many([7, 8, 9].into()) };
            window.insert(Entry { block: 5, body, ..entry(1, sequence) });
        }
        let at = |window: &Window| window.matching(6, 8).map(|cell| cell.place).collect::<Vec<_>>();
        assert_eq!(at(&window), [201, 101]);
        for (block, place, crc) in [(6, 101, 9), (6, 100, 8), (4, 99, 8), (8, 103, 8)] {
            assert!(!window.relocate(block, Cell { place, crc }, 300), "no entry has it");
        }
        assert!(window.relocate(6, Cell { place: 101, crc: 8 }, 300));
        assert_eq!(at(&window), [201, 300]);
        let mut runs = vec![];
        for entry in window.above(Sequence(0)) {
            let Body::Data { places, .. } = &entry.body else { panic!("not a trim") };
            places.each_run(3, &mut |first, place, count| runs.push((first, place, count)));
        }
        assert_eq!(runs, [(0, 100, 1), (1, 300, 1), (2, 102, 1), (0, 200, 3)]);
        assert!(window.relocate(6, Cell { place: 300, crc: 8 }, 101));
        let Some(Entry { body: Body::Data { places, .. }, .. }) = window.pop_through(Sequence(1)) else { panic!() };
        let mut runs = vec![];
        places.each_run(3, &mut |first, place, count| runs.push((first, place, count)));
        assert_eq!(runs, [(0, 100, 3)]);
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
