//! Which blocks of one shard changed since certain moments, so that who was away since then is brought these and no others.
//!
//! ```text
//!   oldest mark         newer mark          newest mark
//!   [changed] --------> [changed] --------> [changes now]
//!        what changed since a mark is what it and all newer ones noted
//! ```
//!
//! Only the newest mark takes notes: a bit for each block that the index gets, loses, or is told not to have. Nothing is kept of what was there before, so a
//! mark costs no space on the disk, and of memory what changes: some 30 bytes for each chunk of which a block did.
//!
//! *Why also what was not there before.* A replica that is being filled lacks blocks which others have. When such a block is trimmed, nothing changes in its
//! own index; but who was away still has it, and must be told.
//!
//! A shard without marks pays for one empty list.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::Sequence;
use base::log::Mark;
use base::map::Map;
use core::iter::Peekable;

/// What was noted while a mark was the newest.
#[derive(Debug, Default)]
struct Notes {
    /// Blocks of each chunk, a bit each.
    bits: BTreeMap<u32, u128>,
    /// Of those, what the next checkpoint must say.
    changed: Map<u32, u128>,
    /// It was made since the last checkpoint was begun, which knew at most another of this name.
    fresh: bool,
}

/// All of a shard's, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    row: Vec<Mark>,
    /// One for each.
    notes: Vec<Notes>,
}

/// A mark as a checkpoint lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) mark: Mark,
    pub(crate) fresh: bool,
}

impl Notes {
    fn note(&mut self, number: u32, bits: u128) {
        *self.bits.entry(number).or_insert(0) |= bits;
        *self.changed.entry(number).or_insert(0) |= bits;
    }
}

impl Marks {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// All of them.
    pub(crate) fn row(&self) -> &[Mark] {
        &self.row
    }

    /// Adds one, as [`Mark::add_to`] says. What was noted under the one that is given up for it goes to the one before that.
    pub(crate) fn make(&mut self, mark: Mark) {
        let newest = self.row.last().copied();
        if let Some(at) = mark.add_to(&mut self.row) {
            let Notes { bits, .. } = self.notes.remove(at);
            bits.into_iter().for_each(|(number, bits)| self.notes[at - 1].note(number, bits));
        }
        if self.row.last() != newest.as_ref() {
            self.notes.push(Notes { fresh: true, ..Notes::default() });
        }
    }

    /// Forgets all.
    pub(crate) fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// These blocks of a chunk change.
    pub(crate) fn note(&mut self, number: u32, bits: u128) {
        if let Some(newest) = self.notes.last_mut() {
            newest.note(number, bits);
        }
    }

    /// Where the mark of this sequence stands in the row.
    pub(crate) fn find(&self, since: Sequence) -> Option<usize> {
        self.row.iter().position(|mark| mark.since == since)
    }

    /// What changed since the mark at this place of the row, from this chunk on.
    pub(crate) fn since(&self, at: usize, chunk: u32) -> impl Iterator<Item = (u32, u128)> {
        let notes = self.notes[at..].iter();
        Union { rest: notes.map(|notes| notes.bits.range(chunk..).map(|(n, bits)| (*n, *bits)).peekable()).collect() }
    }

    /// The first chunk of which something was noted and that is not below this one.
    pub(crate) fn next_chunk(&self, chunk: u32) -> Option<u32> {
        self.notes.iter().filter_map(|notes| Some(*notes.bits.range(chunk..).next()?.0)).min()
    }

    /// As a checkpoint lists them.
    pub(crate) fn listed(&self) -> impl ExactSizeIterator<Item = Listed> {
        self.row.iter().zip(&self.notes).map(|(&mark, notes)| Listed { mark, fresh: notes.fresh })
    }

    /// What was noted under each since the last call: by its sequence, and chunks in order, with a bit for each block.
    pub(crate) fn take_changed(&mut self) -> Vec<(Sequence, Vec<(u32, u128)>)> {
        let take = |(mark, notes): (&Mark, &mut Notes)| {
            let mut changed: Vec<(u32, u128)> = core::mem::take(&mut notes.changed).into_iter().collect();
            changed.sort_unstable_by_key(|(number, _)| *number);
            notes.fresh = false;
            (mark.since, changed)
        };
        self.row.iter().zip(&mut self.notes).map(take).collect()
    }

    /// What was noted of a chunk under each, if something was.
    pub(crate) fn of_chunk(&self, number: u32) -> impl Iterator<Item = (Sequence, u128)> {
        let noted = self.row.iter().zip(&self.notes);
        noted.filter_map(move |(mark, notes)| Some((mark.since, *notes.bits.get(&number)?)))
    }

    /// Makes them those that a checkpoint lists. One that was known before keeps its notes, unless it was made anew.
    pub(crate) fn restore(&mut self, list: Vec<Listed>) {
        let old = core::mem::take(self);
        let mut known: BTreeMap<Sequence, Notes> = old.row.iter().map(|mark| mark.since).zip(old.notes).collect();
        for Listed { mark, fresh } in list {
            self.row.push(mark);
            self.notes.push(known.remove(&mark.since).filter(|_| !fresh).unwrap_or_default());
        }
    }

    /// Adds what a checkpoint says was noted under a mark. A base that was written while marks came and went may tell of one that it did not list; the deltas
    /// behind it say all of that one again, or that it is gone.
    pub(crate) fn restore_noted(&mut self, since: Sequence, number: u32, bits: u128) {
        if let Some(at) = self.find(since) {
            *self.notes[at].bits.entry(number).or_insert(0) |= bits;
        }
    }

    /// All was restored, and none of it is news.
    pub(crate) fn restored(&mut self) {
        self.notes.iter_mut().for_each(|notes| (notes.changed, notes.fresh) = (Map::default(), false));
    }
}

/// Rows of chunks with bits, each in order, as one.
struct Union<I: Iterator> {
    rest: Vec<Peekable<I>>,
}

impl<I: Iterator<Item = (u32, u128)>> Iterator for Union<I> {
    type Item = (u32, u128);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.iter_mut().filter_map(|row| Some(row.peek()?.0)).min()?;
        let here = self.rest.iter_mut().filter_map(|row| row.next_if(|(number, _)| *number == first));
        Some((first, here.fold(0, |all, (_, bits)| all | bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use base::log::MARKS_MAX;
    use base::{CHUNK_BLOCKS, Epoch, Rng};

    fn mark(n: u64) -> Mark {
        Mark { since: Sequence(n), epoch: Epoch(n) }
    }

    fn blocks(marks: &Marks, at: usize, chunk: u32) -> Vec<u32> {
        let of = |(number, bits): (u32, u128)| crate::chunk::bits_of(bits).map(move |b| number * CHUNK_BLOCKS + b);
        marks.since(at, chunk).flat_map(of).collect()
    }

    #[test]
    fn what_changed_since_a_mark_is_what_sets_of_blocks_say() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut marks = Marks::default();
            let mut model: Vec<(u64, BTreeSet<u32>)> = vec![];
            let mut sequence = 0;
            for _ in 0..400 {
                match rng.below(12) {
                    0 => {
                        sequence += rng.below(3);
                        marks.make(mark(sequence));
                        if model.last().is_none_or(|newest| newest.0 < sequence) {
                            if model.len() == MARKS_MAX {
                                let given_up = model.remove(1).1;
                                model[0].1.extend(given_up);
                            }
                            model.push((sequence, BTreeSet::new()));
                        }
                    }
                    1 if rng.chance(1, 20) => {
                        marks.forget_all();
                        model.clear();
                    }
                    _ => {
                        let block = rng.below(5 * u64::from(CHUNK_BLOCKS)) as u32;
                        marks.note(block / CHUNK_BLOCKS, 1 << (block % CHUNK_BLOCKS));
                        model.last_mut().into_iter().for_each(|newest| _ = newest.1.insert(block));
                    }
                }
                assert!(marks.row().iter().map(|mark| mark.since.0).eq(model.iter().map(|(since, _)| *since)));
                let Some(at) = rng.pick(&model).map(|(since, _)| marks.find(Sequence(*since)).expect("it stands"))
                else {
                    continue;
                };
                let chunk = rng.below(6) as u32;
                let all: BTreeSet<u32> = model[at..].iter().flat_map(|(_, blocks)| blocks).copied().collect();
                assert!(blocks(&marks, at, chunk).iter().eq(all.range(chunk * CHUNK_BLOCKS..)), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_mark_that_was_made_again_begins_anew_for_who_reads_a_checkpoint() {
        let mut marks = Marks::default();
        marks.make(mark(3));
        marks.note(1, 0b1);
        let mut read = Marks::default();
        let tell = |marks: &mut Marks, read: &mut Marks| {
            read.restore(marks.listed().collect());
            for (since, changed) in marks.take_changed() {
                changed.into_iter().for_each(|(number, bits)| read.restore_noted(since, number, bits));
            }
        };
        tell(&mut marks, &mut read);
        marks.note(1, 0b10);
        tell(&mut marks, &mut read);
        assert_eq!(read.of_chunk(1).collect::<Vec<_>>(), [(Sequence(3), 0b11)]);
        marks.forget_all();
        marks.make(mark(3));
        marks.note(1, 0b100);
        tell(&mut marks, &mut read);
        assert_eq!(read.of_chunk(1).collect::<Vec<_>>(), [(Sequence(3), 0b100)]);
        read.restore_noted(Sequence(4), 1, 1);
        assert_eq!((read.row().len(), read.next_chunk(0), read.next_chunk(2)), (1, Some(1), None));
    }
}
