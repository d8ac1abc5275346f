//! What a store must hold, written down the simplest way: a map of blocks and a map of window entries for each shard.

use super::Bench;
use base::log::{MARKS_MAX, Mark, PointChange, Record, Recovered, Register, Request, Stamp};
use base::{BLOCK_BYTES, Epoch, PointId, Sequence, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a block, by a number that names them.
pub fn pattern(tag: u64) -> Vec<u8> {
    tag.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(BLOCK_BYTES / 8)
}

/// Blocks of one read of all that a store holds.
const READ_BLOCKS: usize = 25;

/// The number that names a block's bytes.
pub fn tag_of(block: &[u8]) -> u64 {
    assert!(block[8..] == block[..block.len() - 8], "a block that nobody wrote");
    let first = u64::from_le_bytes(block[..8].try_into().unwrap());
    first.wrapping_mul(0xf1de_83e1_9937_733d)
}

/// A window entry: stamp, first block, and what it does.
type Entry = (Stamp, u32, What);

/// The tags of what is written, how much is trimmed, or what becomes of a frozen point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Write(Vec<u64>),
    Trim(u32),
    Point(PointChange),
}

/// A frozen point: its name, the stamp of its entry, and the tag of each block.
pub type Point = (PointId, Stamp, BTreeMap<u32, u64>);

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    pub register: Option<Register>,
    pub committed: Sequence,
    pub last: Stamp,
    pub window: BTreeMap<Sequence, Entry>,
    pub blocks: BTreeMap<u32, u64>,
    /// The oldest first.
    pub points: Vec<Point>,
    /// The oldest first, each with the blocks that changed while it was the newest; of those that were read back, since it.
    pub marks: Vec<(Mark, BTreeSet<u32>)>,
}

/// All shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub shards: BTreeMap<ShardId, Shard>,
}

impl Shard {
    pub fn end(&self) -> Stamp {
        self.window.values().next_back().map_or(self.last, |entry| entry.0)
    }

    pub fn commit(&mut self, through: Sequence) {
        let through = through.min(self.end().sequence);
        if through <= self.committed {
            return;
        }
        let rest = self.window.split_off(&through.next());
        for (_, (stamp, block, what)) in std::mem::replace(&mut self.window, rest) {
            match what {
                What::Write(tags) => self.put(block, tags),
                What::Trim(count) => self.clear(block, count),
                What::Point(PointChange::Freeze { id }) if self.points.iter().all(|point| point.0 != id) => {
                    self.points.push((id, stamp, self.blocks.clone()));
                }
                What::Point(PointChange::Freeze { .. }) => {}
                What::Point(PointChange::Thaw { id }) => self.points.retain(|point| point.0 != id),
            }
            self.last = stamp;
        }
        self.committed = through;
    }

    fn put(&mut self, block: u32, tags: Vec<u64>) {
        self.note(block, tags.len() as u32);
        self.blocks.extend((block..).zip(tags));
    }

    fn clear(&mut self, block: u32, count: u32) {
        self.note(block, count);
        self.blocks.retain(|b, _| !(block..block + count).contains(b));
    }

    fn note(&mut self, block: u32, count: u32) {
        self.marks.last_mut().into_iter().for_each(|newest| newest.1.extend(block..block + count));
    }

    fn mark(&mut self, mark: Mark) {
        if self.marks.last().is_none_or(|newest| newest.0.since < mark.since) {
            if self.marks.len() == MARKS_MAX {
                let given_up = self.marks.remove(1).1;
                self.marks[0].1.extend(given_up);
            }
            self.marks.push((mark, BTreeSet::new()));
        }
    }

    /// Each mark with all that changed since it, which is all that can be read back.
    fn changes(&self) -> Vec<(Mark, BTreeSet<u32>)> {
        let since = |at: usize| self.marks[at..].iter().flat_map(|(_, blocks)| blocks).copied().collect();
        self.marks.iter().enumerate().map(|(at, (mark, _))| (*mark, since(at))).collect()
    }

    /// What differs between any two states is listed as such.
    fn check_changes(&self, bench: &mut Bench, shard: ShardId) {
        let mut states: Vec<(Option<u64>, &BTreeMap<u32, u64>)> =
            self.points.iter().map(|point| (Some(point.0.0), &point.2)).collect();
        states.push((None, &self.blocks));
        for (i, (from, a)) in states.iter().enumerate() {
            for (to, b) in &states[i + 1..] {
                let listed = bench.changed_blocks(shard, (*from, *to));
                if let Some(to) = to {
                    assert_eq!(bench.changed_blocks(shard, (Some(*to), *from)), listed, "either way round");
                }
                let differs = |block: &&u32| a.get(block) != b.get(block);
                assert!(a.keys().chain(b.keys()).filter(differs).all(|block| listed.contains(block)));
            }
        }
    }

    fn enter(&mut self, entry: Entry) {
        if entry.0.sequence > self.committed {
            self.window.insert(entry.0.sequence, entry);
        }
    }

    /// Blocks that it names: each version of a block once, whichever states have it. (Every write in these tests has tags of its own.)
    fn live(&self) -> usize {
        let states = self.points.iter().map(|point| &point.2).chain([&self.blocks]);
        let versions: BTreeSet<(u32, u64)> = states.flatten().map(|(&block, &tag)| (block, tag)).collect();
        let written = |(_, _, what): &Entry| if let What::Write(tags) = what { tags.len() } else { 0 };
        versions.len() + self.window.values().map(written).sum::<usize>()
    }
}

impl Model {
    pub fn request(&mut self, request: &Request) {
        match request {
            Request::Append { shard, record: Record::Drop, .. } => {
                self.shards.remove(shard);
            }
            Request::Append { shard, record, .. } => self.append(*shard, record),
            Request::Commit { shard, through } => {
                if let Some(s) = self.shards.get_mut(shard) {
                    s.commit(*through);
                }
            }
            _ => panic!("a model takes no reads"),
        }
    }

    fn append(&mut self, shard: ShardId, record: &Record) {
        let tags = |data: &[u8]| data.chunks(BLOCK_BYTES).map(tag_of).collect::<Vec<u64>>();
        let s = self.shards.entry(shard).or_default();
        match record {
            Record::Data { stamp, block, data } => s.enter((*stamp, *block, What::Write(tags(data)))),
            Record::Trim { stamp, block, count } => s.enter((*stamp, *block, What::Trim(*count))),
            Record::Point { stamp, change } => s.enter((*stamp, 0, What::Point(*change))),
            Record::Copy { block, data } => s.put(*block, tags(data)),
            Record::Erase { block, count } => s.clear(*block, *count),
            Record::Cut { above } => s.window.retain(|sequence, _| sequence <= above),
            Record::Restart { committed, keeps_marks } => {
                s.window.clear();
                s.points.clear();
                s.marks.retain(|_| *keeps_marks);
                s.committed = *committed;
                s.last = Stamp { epoch: Epoch(0), sequence: *committed };
            }
            Record::Mark(mark) => s.mark(*mark),
            Record::Unmark => s.marks.clear(),
            Record::Register(register) => s.register = Some(Register::clone(register)),
            Record::Mend { .. } => {}
            Record::Drop => unreachable!(),
        }
    }

    pub fn live_blocks(&self) -> u64 {
        self.shards.values().map(Shard::live).sum::<usize>() as u64
    }

    /// Reads everything that a store holds of these shards.
    pub fn read_from(bench: &mut Bench, shards: &[ShardId], blocks: u32, recovered: &[Recovered]) -> Self {
        let mut model = Self::default();
        for &shard in shards {
            let Some(r) = recovered.iter().find(|r| r.shard == shard) else {
                assert!(bench.read(shard, 0, blocks).unwrap().iter().all(|&byte| byte == 0), "{shard} is not known");
                assert!(bench.window(shard, 0).unwrap().is_empty(), "{shard} is not known");
                continue;
            };
            let mut s = Shard { register: Some(r.register.clone()), committed: r.committed, ..Shard::default() };
            for entry in bench.window(shard, r.committed.0).unwrap() {
                let tags = |data: &[u8]| data.chunks(BLOCK_BYTES).map(tag_of).collect::<Vec<u64>>();
                let what = match (&entry.data, entry.point) {
                    (Some(data), None) => What::Write(tags(data)),
                    (None, None) => What::Trim(entry.count),
                    (None, Some(change)) => What::Point(change),
                    (Some(_), Some(_)) => panic!("a change of a point brings no blocks"),
                };
                let replaced = s.window.insert(entry.stamp.sequence, (entry.stamp, entry.block, what));
                assert!(replaced.is_none(), "a sequence came twice");
            }
            s.last = s.window.values().next().map_or(r.end, |_| Stamp::default());
            assert_eq!(r.end, s.end());
            for extent in bench.extents_all(shard) {
                let Some(data) = &extent.data else { continue };
                s.blocks.extend((extent.block..).zip(data.chunks(BLOCK_BYTES).map(tag_of)));
            }
            // In parts, so that the memory of one is good for the next.
            for first in (0..blocks).step_by(READ_BLOCKS) {
                let read = bench.read(shard, first, (blocks - first).min(READ_BLOCKS as u32)).unwrap();
                for (block, bytes) in (first..).zip(read.chunks(BLOCK_BYTES)) {
                    let same = match s.blocks.get(&block) {
                        Some(&tag) => tag_of(bytes) == tag,
                        None => bytes == [0; BLOCK_BYTES],
                    };
                    assert!(same, "{shard} block {block}: a read and an extent differ");
                }
            }
            for &(point, stamp) in &r.points {
                let read = bench.read_point(shard, point.0, 0, blocks).unwrap().unwrap();
                let written = bench.changed_blocks(shard, (None, Some(point.0)));
                let tag = |block: u32| tag_of(&read[block as usize * BLOCK_BYTES..][..BLOCK_BYTES]);
                let held = written.iter().filter(|block| **block < blocks).map(|&block| (block, tag(block)));
                let held: BTreeMap<u32, u64> = held.collect();
                for (block, bytes) in (0..).zip(read.chunks(BLOCK_BYTES)) {
                    let zeroes = bytes.iter().all(|&byte| byte == 0);
                    assert!(
                        zeroes != held.contains_key(&block),
                        "{shard} {point} block {block}: zeroes that are listed"
                    );
                }
                s.points.push((point, stamp, held));
            }
            for &mark in &r.marks {
                s.marks.push((mark, bench.changed_since(shard, mark.since)));
            }
            s.check_changes(bench, shard);
            model.shards.insert(shard, s);
        }
        model
    }

    /// This, if it is what was found apart from commits that nobody carried into the log: those it takes from what was found, which
    /// must have committed no less than is known here for sure and no more than was asked for. (The stamp of the last committed
    /// entry cannot be read back while there is a window, so it is taken from here.)
    pub fn as_found(&self, found: &Self, asked: &BTreeMap<ShardId, Sequence>) -> Option<Self> {
        if !self.shards.keys().eq(found.shards.keys()) {
            return None;
        }
        let mut model = self.clone();
        for (shard, mine) in &mut model.shards {
            let theirs = &found.shards[shard];
            let most = mine.committed.max(asked.get(shard).copied().unwrap_or_default());
            if !(mine.committed..=most).contains(&theirs.committed) {
                return None;
            }
            mine.commit(theirs.committed);
            let last = if theirs.window.is_empty() { theirs.last } else { mine.last };
            if mine.changes() != theirs.marks {
                return None;
            }
            let marks = mine.marks.clone();
            if *mine != (Shard { last, marks, ..theirs.clone() }) {
                return None;
            }
        }
        Some(model)
    }
}
