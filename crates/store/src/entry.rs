//! One entry of a batch: its bytes, and the change it makes to a shard. The same change is applied when it is appended and
//! when it is replayed.
//!
//! ```text
//! byte 0     1       3           11
//!      | tag | shard | committed | by tag ...
//!
//!  1 Data      epoch u64 | sequence u64 | block u32 | count u32 | checksum u32 of each block     payload: count blocks
//!  2 Trim      epoch u64 | sequence u64 | block u32 | count u32
//!  3 Copy      block u32 | count u32 | checksum u32 of each block                                payload: count blocks
//!  4 Erase     block u32 | count u32
//!  5 Cut       above u64
//!  6 Restart   committed u64 | keeps marks u8
//!  7 Register  length u32 | bytes
//!  8 Drop
//!  9 Move      frozen by u64 | block u32 | count u32 | place u32 each moves from | checksum u32 of each   payload: count blocks
//! 10 Freeze    epoch u64 | sequence u64 | point u64
//! 11 Thaw      epoch u64 | sequence u64 | point u64
//! 12 Mark      since u64 | epoch u64
//! 13 Unmark
//! ```
//!
//! `shard` is a place in the header's table of shards; `committed` is the sequence up to which the shard was committed when
//! the entry was appended, and is applied before it. The payloads of a batch lie in the order of its entries.

use alloc::boxed::Box;
use base::codec::{Field, Malformed, Reader, Writer};
use base::log::{Mark, PointChange, Record, Register, Stamp};
use base::{Epoch, PointId, Sequence, ShardId, checksum};
use core::ops::Deref;

/// Bytes of a Data entry without its checksums: the longest of those that have a fixed length.
pub(crate) const DATA_BYTES: usize = PREFIX_BYTES + 16 + 8;
const PREFIX_BYTES: usize = 1 + 2 + 8;

/// The checksums of a row of blocks. One block, the most frequent row, needs no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Crcs {
    One([u32; 1]),
    Many(Box<[u32]>),
}

impl Crcs {
    /// Of these blocks of a shard.
    pub(crate) fn of(shard: ShardId, block: u32, bytes: &[u8]) -> Self {
        bytes.chunks_exact(base::BLOCK_BYTES).zip(block..).map(|(bytes, b)| checksum::block(shard, b, bytes)).collect()
    }
}

impl FromIterator<u32> for Crcs {
    fn from_iter<I: IntoIterator<Item = u32>>(crcs: I) -> Self {
        let mut crcs = crcs.into_iter();
        let Some(first) = crcs.next() else { return Self::Many(Box::default()) };
        match crcs.next() {
            None => Self::One([first]),
            Some(second) => Self::Many([first, second].into_iter().chain(crcs).collect()),
        }
    }
}

impl Deref for Crcs {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

/// What an entry does to its shard. A place is that of the first block of its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Data {
        stamp: Stamp,
        block: u32,
        place: u32,
        crcs: Crcs,
    },
    Trim {
        stamp: Stamp,
        block: u32,
        count: u32,
    },
    Point {
        stamp: Stamp,
        change: PointChange,
    },
    Copy {
        block: u32,
        place: u32,
        crcs: Crcs,
    },
    Erase {
        block: u32,
        count: u32,
    },
    Cut {
        above: Sequence,
    },
    Restart {
        committed: Sequence,
        keeps_marks: bool,
    },
    Mark(Mark),
    Unmark,
    Register(Box<Register>),
    Drop,
    /// Each block for which the index, the window or a frozen point names a place of `froms`, with this checksum, lies from now on in its new place.
    Move {
        /// The sequence that froze the point that names the first of them, if it is one that does; otherwise zero. For who must make sense of a move without
        /// what came before it.
        frozen_by: Sequence,
        block: u32,
        place: u32,
        froms: Box<[u32]>,
        crcs: Crcs,
    },
}

/// Bytes of a Move entry, and blocks of its payload.
pub(crate) fn measure_move(blocks: u32) -> (usize, u32) {
    (PREFIX_BYTES + 8 + 8 + 8 * blocks as usize, blocks)
}

/// Bytes of the entry that a record becomes, and blocks of its payload.
pub(crate) fn measure(record: &Record) -> (usize, u32) {
    match record {
        Record::Data { data, .. } => (DATA_BYTES + 4 * data.blocks() as usize, data.blocks()),
        Record::Copy { data, .. } => (PREFIX_BYTES + 8 + 4 * data.blocks() as usize, data.blocks()),
        Record::Mend { data, .. } => measure_move(data.blocks()),
        Record::Trim { .. } | Record::Point { .. } => (DATA_BYTES, 0),
        Record::Erase { .. } => (PREFIX_BYTES + 8, 0),
        Record::Cut { .. } => (PREFIX_BYTES + 8, 0),
        Record::Restart { .. } => (PREFIX_BYTES + 8 + 1, 0),
        Record::Mark(_) => (PREFIX_BYTES + 16, 0),
        Record::Register(register) => (PREFIX_BYTES + 4 + register.encode().len(), 0),
        Record::Unmark | Record::Drop => (PREFIX_BYTES, 0),
    }
}

impl Change {
    /// What a record does when its payload lies at `place`.
    pub(crate) fn of(shard: ShardId, record: &Record, place: u32) -> Self {
        match record {
            Record::Data { stamp, block, data } => {
                Self::Data { stamp: *stamp, block: *block, place, crcs: Crcs::of(shard, *block, data) }
            }
            Record::Trim { stamp, block, count } => Self::Trim { stamp: *stamp, block: *block, count: *count },
            Record::Point { stamp, change } => Self::Point { stamp: *stamp, change: *change },
            Record::Copy { block, data } => Self::Copy { block: *block, place, crcs: Crcs::of(shard, *block, data) },
            Record::Erase { block, count } => Self::Erase { block: *block, count: *count },
            Record::Cut { above } => Self::Cut { above: *above },
            &Record::Restart { committed, keeps_marks } => Self::Restart { committed, keeps_marks },
            Record::Mark(mark) => Self::Mark(*mark),
            Record::Unmark => Self::Unmark,
            Record::Register(register) => Self::Register(register.clone()),
            Record::Drop => Self::Drop,
            Record::Mend { block, place: from, data } => {
                let (froms, crcs) = (Box::new([*from]), Crcs::of(shard, *block, data));
                Self::Move { frozen_by: Sequence(0), block: *block, place, froms, crcs }
            }
        }
    }

    /// The first block and the checksums of its payload.
    pub(crate) fn payload(&self) -> Option<(u32, &[u32])> {
        match self {
            Self::Data { block, crcs, .. } | Self::Copy { block, crcs, .. } | Self::Move { block, crcs, .. } => {
                Some((*block, crcs))
            }
            _ => None,
        }
    }

    /// The first block, the place, and the checksums of its payload.
    pub(crate) fn placed(&self) -> Option<(u32, u32, &[u32])> {
        match self {
            Self::Data { block, place, crcs, .. }
            | Self::Copy { block, place, crcs }
            | Self::Move { block, place, crcs, .. } => Some((*block, *place, crcs)),
            _ => None,
        }
    }

    /// Appends the entry's bytes; exactly as many as [`measure`] said.
    pub(crate) fn put(&self, w: &mut Writer, shard: u16, committed: Sequence) {
        let mut begin = |tag: u8| {
            w.u8(tag);
            w.u16(shard);
            committed.put(w);
        };
        match self {
            Self::Data { stamp, block, crcs, .. } => {
                begin(1);
                stamp.put(w);
                put_crcs(w, *block, crcs);
            }
            Self::Trim { stamp, block, count } => {
                begin(2);
                stamp.put(w);
                w.u32(*block);
                w.u32(*count);
            }
            Self::Point { stamp, change } => {
                let (tag, PointId(id)) = match change {
                    PointChange::Freeze { id } => (10, *id),
                    PointChange::Thaw { id } => (11, *id),
                };
                begin(tag);
                stamp.put(w);
                w.u64(id);
            }
            Self::Copy { block, crcs, .. } => {
                begin(3);
                put_crcs(w, *block, crcs);
            }
            Self::Erase { block, count } => {
                begin(4);
                w.u32(*block);
                w.u32(*count);
            }
            Self::Cut { above } => {
                begin(5);
                above.put(w);
            }
            Self::Restart { committed, keeps_marks } => {
                begin(6);
                committed.put(w);
                keeps_marks.put(w);
            }
            Self::Mark(mark) => {
                begin(12);
                mark.put(w);
            }
            Self::Unmark => begin(13),
            Self::Register(register) => {
                begin(7);
                let bytes = register.encode();
                w.u32(bytes.len() as u32);
                w.raw(&bytes);
            }
            Self::Drop => begin(8),
            Self::Move { frozen_by, block, froms, crcs, .. } => {
                begin(9);
                frozen_by.put(w);
                w.u32(*block);
                w.u32(crcs.len() as u32);
                froms.iter().chain(crcs.iter()).for_each(|&v| w.u32(v));
            }
        }
    }

    /// Takes an entry off: its shard's place in the table, what was committed, and the change. `place` is where its payload
    /// begins, and moves on behind it.
    pub(crate) fn take(r: &mut Reader<'_>, place: &mut u32) -> Result<(u16, Sequence, Self), Malformed> {
        let (tag, shard, committed) = (r.u8()?, r.u16()?, Sequence::take(r)?);
        let change = match tag {
            1 => {
                let stamp = Stamp { epoch: Epoch::take(r)?, sequence: Sequence::take(r)? };
                let (block, at, crcs) = take_crcs(r, place)?;
                Self::Data { stamp, block, place: at, crcs }
            }
            2 => {
                let stamp = Stamp::take(r)?;
                let (block, count) = take_range(r)?;
                Self::Trim { stamp, block, count }
            }
            3 => {
                let (block, at, crcs) = take_crcs(r, place)?;
                Self::Copy { block, place: at, crcs }
            }
            4 => {
                let (block, count) = take_range(r)?;
                Self::Erase { block, count }
            }
            5 => Self::Cut { above: Sequence::take(r)? },
            6 => Self::Restart { committed: Sequence::take(r)?, keeps_marks: bool::take(r)? },
            7 => {
                let len = r.u32()? as usize;
                Self::Register(Box::new(Register::from_bytes(r.raw(len)?)?))
            }
            8 => Self::Drop,
            9 => {
                let frozen_by = Sequence::take(r)?;
                let (block, count) = take_range(r)?;
                let froms = take_row(r, count)?;
                let (at, crcs) = take_payload(r, place, count)?;
                Self::Move { frozen_by, block, place: at, froms, crcs }
            }
            10 | 11 => {
                let (stamp, id) = (Stamp::take(r)?, PointId::take(r)?);
                let change = if tag == 10 { PointChange::Freeze { id } } else { PointChange::Thaw { id } };
                Self::Point { stamp, change }
            }
            12 => Self::Mark(Mark::take(r)?),
            13 => Self::Unmark,
            _ => return Err(Malformed { what: "log entry: a tag that nobody gave" }),
        };
        Ok((shard, committed, change))
    }
}

fn put_crcs(w: &mut Writer, block: u32, crcs: &[u32]) {
    w.u32(block);
    w.u32(crcs.len() as u32);
    crcs.iter().for_each(|&crc| w.u32(crc));
}

fn take_range(r: &mut Reader<'_>) -> Result<(u32, u32), Malformed> {
    let (block, count) = (r.u32()?, r.u32()?);
    if count == 0 || block.checked_add(count).is_none() {
        return Err(Malformed { what: "log entry: blocks that a shard cannot have" });
    }
    Ok((block, count))
}

fn take_crcs(r: &mut Reader<'_>, place: &mut u32) -> Result<(u32, u32, Crcs), Malformed> {
    let (block, count) = take_range(r)?;
    let (at, crcs) = take_payload(r, place, count)?;
    Ok((block, at, crcs))
}

/// The checksums of `count` blocks of payload, and where they lie.
fn take_payload(r: &mut Reader<'_>, place: &mut u32, count: u32) -> Result<(u32, Crcs), Malformed> {
    let crcs = take_row(r, count)?;
    let at = *place;
    *place = at.checked_add(count).ok_or(Malformed { what: "log entry: a payload beyond the disk" })?;
    Ok((at, crcs))
}

fn take_row<T: FromIterator<u32>>(r: &mut Reader<'_>, count: u32) -> Result<T, Malformed> {
    let bytes = r.raw(count as usize * 4)?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use base::log::Standing;
    use base::{BLOCK_BYTES, Configuration, Generation, NodeId, Payload, Revision, VolumeId};

    fn shard() -> ShardId {
        ShardId { volume: VolumeId(1), index: 2 }
    }

    fn records() -> Vec<Record> {
        let stamp = Stamp { epoch: Epoch(3), sequence: Sequence(4) };
        let config = Configuration {
            shard: shard(),
            epoch: Epoch(1),
            revision: Revision(2),
            blocks: 64,
            layout: base::Layout::default(),
            primary: NodeId(1),
            members: vec![],
            anchors: vec![],
            learner: None,
            holders: vec![],
            target_copies: 3,
            min_copies: 2,
            generation: Generation(0),
            client: None,
            fence: vec![],
            newborn: true,
            deleted: false,
        };
        let register = Register { promised: Epoch(1), adopted: Epoch(1), standing: Standing::Complete, config };
        vec![
            Record::Data { stamp, block: 5, data: Payload::from(vec![1; 3 * BLOCK_BYTES]) },
            Record::Data { stamp, block: 5, data: Payload::zero_block() },
            Record::Trim { stamp, block: 6, count: 7 },
            Record::Point { stamp, change: PointChange::Freeze { id: PointId(8) } },
            Record::Point { stamp, change: PointChange::Thaw { id: PointId(9) } },
            Record::Copy { block: 8, data: Payload::from(vec![2; 2 * BLOCK_BYTES]) },
            Record::Erase { block: 9, count: 10 },
            Record::Cut { above: Sequence(11) },
            Record::Restart { committed: Sequence(12), keeps_marks: true },
            Record::Mark(Mark { since: Sequence(12), epoch: Epoch(3) }),
            Record::Unmark,
            Record::Register(Box::new(register)),
            Record::Drop,
            Record::Mend { block: 13, place: 14, data: Payload::zero_block() },
        ]
    }

    #[test]
    fn each_entry_is_as_long_as_measured_and_reads_as_it_was_written() {
        let mut place = 100;
        for record in records() {
            let change = Change::of(shard(), &record, place);
            let mut w = Writer::default();
            change.put(&mut w, 9, Sequence(77));
            let bytes = w.finish();
            let (length, blocks) = measure(&record);
            assert_eq!(bytes.len(), length, "{record:?}");
            let before = place;
            let mut r = Reader::new(&bytes);
            assert_eq!(Change::take(&mut r, &mut place), Ok((9, Sequence(77), change)));
            assert_eq!((r.left(), place - before), (0, blocks));
            for cut in 0..bytes.len() {
                assert!(Change::take(&mut Reader::new(&bytes[..cut]), &mut 0).is_err(), "{record:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn entries_that_nobody_can_have_written_are_malformed() {
        for tag in [0, 14, 255] {
            let mut bytes = vec![tag];
            bytes.extend([0; 64]);
            assert!(Change::take(&mut Reader::new(&bytes), &mut 0).is_err(), "tag {tag}");
        }
        let erase = |block: u32, count: u32| {
            let mut w = Writer::default();
            Change::Erase { block, count }.put(&mut w, 0, Sequence(0));
            Change::take(&mut Reader::new(&w.finish()), &mut 0).is_ok()
        };
        assert!(erase(u32::MAX - 1, 1));
        assert!(!erase(u32::MAX, 1) && !erase(0, 0));
        let at_the_end = |change: Change| {
            let mut w = Writer::default();
            change.put(&mut w, 0, Sequence(0));
            Change::take(&mut Reader::new(&w.finish()), &mut { u32::MAX }).is_ok()
        };
        assert!(!at_the_end(Change::Copy { block: 0, place: 0, crcs: Crcs::One([1]) }));
        assert!(!at_the_end(Change::Move {
            frozen_by: Sequence(0),
            block: 0,
            place: 0,
            froms: [7].into(),
            crcs: Crcs::One([1])
        }));
    }

    #[test]
    fn a_move_of_many_blocks_is_as_long_as_measured_and_reads_as_it_was_written() {
        let (froms, crcs) = ([9, 0, 11].into(), Crcs::Many([1, 2, 3].into()));
        let change = Change::Move { frozen_by: Sequence(4), block: 3, place: 50, froms, crcs };
        assert_eq!(change.payload(), Some((3, &[1, 2, 3][..])));
        let mut w = Writer::default();
        change.put(&mut w, 1, Sequence(2));
        let bytes = w.finish();
        assert_eq!((bytes.len(), 3), measure_move(3));
        let mut place = 50;
        assert_eq!(Change::take(&mut Reader::new(&bytes), &mut place), Ok((1, Sequence(2), change)));
        assert_eq!(place, 53);
        for cut in 0..bytes.len() {
            assert!(Change::take(&mut Reader::new(&bytes[..cut]), &mut 0).is_err(), "cut at {cut}");
        }
    }
}
