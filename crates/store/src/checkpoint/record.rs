//! What pieces hold: the state of shards, all of it (a base) or what changed since the last checkpoint (a delta).
//!
//! ```text
//! tag     fields                                                                        says of the shard named last
//!  1 Shard    volume u64 | index u32                                                    the following is of this shard
//!  2 Gone     -                                                                         it was dropped: forget what is known
//!  3 State    committed u64 | epoch u64 | sequence u64 | register, if there is one | points | marks   its window is empty before what follows
//!  4 Data     epoch u64 | sequence u64 | block u32 | count u32 | place u32, checksum u32 each   in its window
//!  5 Trim     epoch u64 | sequence u64 | block u32 | count u32                          in its window
//!  6 Run      chunk u32 | epoch u64 | sequence u64 | first u8 | place u32 | checksums   all of a chunk
//!  7 Cells    chunk u32 | epoch u64 | sequence u64 | cleared u128 | written u128 | place u32, checksum u32 each
//!  8 Cell     chunk u32 | epoch u64 | sequence u64 | block u8 | place u32 | checksum u32
//!  9 Empty    chunk u32                                                                 nothing of a chunk is written
//! 10 Freeze   epoch u64 | sequence u64 | point u64                                      in its window
//! 11 Thaw     epoch u64 | sequence u64 | point u64                                      in its window
//! 12 Kept     frozen by u64 | chunk u32 | absent u128 | written u128 | place u32, checksum u32 each   what a frozen point keeps
//! 13 KeptCell frozen by u64 | chunk u32 | block u8 | place u32 | checksum u32
//! 14 Noted    since u64 | chunk u32 | blocks u128                                       changed since a mark
//! 15 NotedOne since u64 | chunk u32 | block u8
//! ```
//!
//! A State lists the frozen points, the oldest first, dropped ones that are not dissolved yet included. One that was known before by the same stamp goes on keeping
//! what it kept; every other begins empty. Kept without any block says that it keeps nothing of the chunk any more. It lists the marks too, the oldest first: one that
//! was known before goes on with what was noted since it, unless it was made anew; to that Noted adds.
//!
//! The state of a delta holds at one moment. A base is written while the store works: each of its records holds at another moment, and all
//! that changed after the base was begun is said again by the deltas behind it.

use crate::chunk::{Cell, Chunk, bits_of};
use crate::entry::Crcs;
use crate::frozen::{Kept, Listed, ROW_MAX};
use crate::geometry::Geometry;
use crate::marks;
use crate::shards::{Shard, Shards};
use crate::window::{Body, Entry, Places};
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::codec::{Field as _, Malformed, Reader, Writer};
use base::log::{MARKS_MAX, Mark, PointChange, Register, Stamp};
use base::{CHUNK_BLOCKS, PointId, Sequence, ShardId};

/// More than the bytes of the longest record: a write of the most blocks that one may have, in a window, or a state with the most points.
pub(crate) const RECORD_BYTES_MAX: usize = 64 + 8192 + 25 * ROW_MAX + 17 * MARKS_MAX + 8 * base::IO_BLOCKS_MAX as usize;

/// Cuts records into bodies of pieces.
#[derive(Debug)]
pub(crate) struct Cutter {
    body_bytes_max: usize,
    bodies: Vec<Vec<u8>>,
    /// Whose records the body being filled ends with.
    shard: Option<ShardId>,
}

impl Cutter {
    pub(crate) fn new(body_bytes_max: usize) -> Self {
        Self { body_bytes_max, bodies: Vec::new(), shard: None }
    }

    /// Bodies filled and being filled.
    pub(crate) fn bodies(&self) -> usize {
        self.bodies.len()
    }

    /// All bodies; or all but the one that is being filled.
    pub(crate) fn take(&mut self, keep_last: bool) -> Vec<Vec<u8>> {
        let keep = usize::from(keep_last).min(self.bodies.len());
        let at = self.bodies.len() - keep;
        let last = self.bodies.split_off(at);
        core::mem::replace(&mut self.bodies, last)
    }

    fn put(&mut self, shard: ShardId, record: impl FnOnce(&mut Writer)) {
        let mut w = Writer::default();
        record(&mut w);
        let record = w.finish();
        // A body names its shards itself, so that each piece can be understood alone.
        let fits = |body: &Vec<u8>| body.len() + 13 + record.len() <= self.body_bytes_max;
        if !self.bodies.last().is_some_and(fits) {
            self.bodies.push(Vec::new());
            self.shard = None;
        }
        let body = self.bodies.last_mut().expect("pushed above");
        if self.shard != Some(shard) {
            let mut w = Writer::default();
            w.u8(1);
            shard.put(&mut w);
            body.extend_from_slice(&w.finish());
            self.shard = Some(shard);
        }
        body.extend_from_slice(&record);
    }

    /// Forget the shard.
    pub(crate) fn gone(&mut self, shard: ShardId) {
        self.put(shard, |w| w.u8(2));
    }

    /// All of a shard but its index.
    pub(crate) fn state(&mut self, id: ShardId, shard: &Shard) {
        self.put(id, |w| {
            w.u8(3);
            shard.committed.put(w);
            shard.last.put(w);
            shard.register.is_some().put(w);
            if let Some(register) = &shard.register {
                let bytes = register.encode();
                w.u32(bytes.len() as u32);
                w.raw(&bytes);
            }
            w.u32(shard.index.points.len() as u32);
            for Listed { id, stamp, dropped } in shard.index.points.listed() {
                id.put(w);
                stamp.put(w);
                dropped.put(w);
            }
            w.u32(shard.index.marks.listed().len() as u32);
            for marks::Listed { mark, fresh } in shard.index.marks.listed() {
                mark.put(w);
                fresh.put(w);
            }
        });
        for entry in shard.window.above(Sequence(0)) {
            self.put(id, |w| match &entry.body {
                Body::Data { crcs, .. } => {
                    w.u8(4);
                    entry.stamp.put(w);
                    w.u32(entry.block);
                    w.u32(crcs.len() as u32);
                    entry.cells().for_each(|(_, cell)| put_cell(w, cell));
                }
                Body::Trim { count } => {
                    w.u8(5);
                    entry.stamp.put(w);
                    w.u32(entry.block);
                    w.u32(*count);
                }
                Body::Point(change) => {
                    let (tag, id) = match change {
                        PointChange::Freeze { id } => (10, id),
                        PointChange::Thaw { id } => (11, id),
                    };
                    w.u8(tag);
                    entry.stamp.put(w);
                    id.put(w);
                }
            });
        }
    }

    /// What is to be said of the blocks that a point keeps of a chunk and that have a bit.
    pub(crate) fn kept(&mut self, id: ShardId, (frozen_by, number): (Sequence, u32), kept: Option<&Kept>, bits: u128) {
        let Some(kept) = kept else {
            return self.put(id, |w| {
                w.u8(12);
                frozen_by.put(w);
                w.u32(number);
                w.u128(0);
                w.u128(0);
            });
        };
        let (bits, cells) = (bits & kept.covered(), kept.cells());
        let written = bits & cells.present();
        let cell = |block: u32| cells.get(block).expect("it is written");
        let single = bits.count_ones() == 1 && written == bits;
        self.put(id, |w| {
            w.u8(if single { 13 } else { 12 });
            frozen_by.put(w);
            w.u32(number);
            if single {
                w.u8(bits.trailing_zeros() as u8);
            } else {
                w.u128(bits & !written);
                w.u128(written);
            }
            bits_of(written).for_each(|block| put_cell(w, cell(block)));
        });
    }

    /// These blocks of a chunk changed since a mark.
    pub(crate) fn noted(&mut self, id: ShardId, since: Sequence, number: u32, bits: u128) {
        let single = bits.count_ones() == 1;
        self.put(id, |w| {
            w.u8(if single { 15 } else { 14 });
            since.put(w);
            w.u32(number);
            if single {
                w.u8(bits.trailing_zeros() as u8);
            } else {
                w.u128(bits);
            }
        });
    }

    /// What is to be said of the blocks of a chunk that have a bit.
    pub(crate) fn chunk(&mut self, id: ShardId, number: u32, chunk: Option<&Chunk>, bits: u128) {
        let Some(chunk) = chunk else {
            return self.put(id, |w| {
                w.u8(9);
                w.u32(number);
            });
        };
        let present = chunk.present();
        let begin = |w: &mut Writer, tag: u8| {
            w.u8(tag);
            w.u32(number);
            chunk.version().put(w);
        };
        if let Some((first, place, crcs)) = chunk.run()
            && present & !bits == 0
        {
            return self.put(id, |w| {
                begin(w, 6);
                w.u8(first as u8);
                w.u32(place);
                put_crcs(w, crcs);
            });
        }
        let cell = |block: u32| chunk.get(block).expect("it is written");
        if bits.count_ones() == 1 && present & bits == bits {
            let block = bits.trailing_zeros();
            return self.put(id, |w| {
                begin(w, 8);
                w.u8(block as u8);
                put_cell(w, cell(block));
            });
        }
        self.put(id, |w| {
            begin(w, 7);
            w.u128(bits & !present);
            w.u128(bits & present);
            bits_of(bits & present).for_each(|b| put_cell(w, cell(b)));
        });
    }
}

fn put_cell(w: &mut Writer, cell: Cell) {
    w.u32(cell.place);
    w.u32(cell.crc);
}

fn put_crcs(w: &mut Writer, crcs: &[u32]) {
    w.u32(crcs.len() as u32);
    crcs.iter().for_each(|&crc| w.u32(crc));
}

/// Makes shards what a body says. Blocks that it names are not counted yet: later bodies may name others in their stead.
pub(crate) fn apply(shards: &mut Shards, geometry: &Geometry, body: &[u8]) -> Result<(), Malformed> {
    let mut r = Reader::new(body);
    let mut shard = None;
    while r.left() > 0 {
        let tag = r.u8()?;
        if tag == 1 {
            shard = Some(ShardId::take(&mut r)?);
            continue;
        }
        let id = shard.ok_or(Malformed { what: "record of a checkpoint: of no shard" })?;
        if tag == 2 {
            shards.restore_gone(id);
        } else {
            record(&mut r, tag, shards.restore(id), geometry)?;
        }
    }
    Ok(())
}

fn record(r: &mut Reader<'_>, tag: u8, shard: &mut Shard, geometry: &Geometry) -> Result<(), Malformed> {
    match tag {
        3 => {
            (shard.committed, shard.last) = (Sequence::take(r)?, Stamp::take(r)?);
            shard.register = None;
            if bool::take(r)? {
                let len = r.u32()? as usize;
                shard.register = Some(Box::new(Register::from_bytes(r.raw(len)?)?));
            }
            while shard.window.pop_above(Sequence(0)).is_some() {}
            let points = r.u32()?;
            if points as usize > ROW_MAX {
                return Err(Malformed { what: "record of a checkpoint: more frozen points than a shard may have" });
            }
            let points = (0..points).map(|_| {
                let (id, stamp) = (PointId::take(r)?, Stamp::take(r)?);
                Ok(Listed { id, stamp, dropped: bool::take(r)? })
            });
            shard.index.points.restore(points.collect::<Result<_, Malformed>>()?);
            shard.index.marks.restore(take_marks(r)?);
        }
        4 => {
            let (stamp, block, count) = (Stamp::take(r)?, r.u32()?, r.u32()?);
            if count == 0 || count as usize > r.left() / 8 || block.checked_add(count).is_none() {
                return Err(Malformed { what: "record of a checkpoint: a write of impossible length" });
            }
            let cells = (0..count).map(|_| take_cell(r, geometry)).collect::<Result<Vec<Cell>, _>>()?;
            let places = Places::of(cells.iter().map(|cell| cell.place).collect());
            let crcs = cells.iter().map(|cell| cell.crc).collect();
            shard.window.insert(Entry { stamp, block, body: Body::Data { places, crcs } });
        }
        5 => {
            let (stamp, block, count) = (Stamp::take(r)?, r.u32()?, r.u32()?);
            shard.window.insert(Entry { stamp, block, body: Body::Trim { count } });
        }
        6 => {
            let (number, version, first, place) = (r.u32()?, Stamp::take(r)?, r.u8()?, r.u32()?);
            let crcs = take_crcs(r, place, geometry)?;
            if usize::from(first) + crcs.len() > CHUNK_BLOCKS as usize {
                return Err(Malformed { what: "record of a checkpoint: a run beyond its chunk" });
            }
            let cells = crcs.iter().zip(0..).map(|(&crc, i)| (u32::from(first) + i, Cell { place: place + i, crc }));
            shard.index.restore(number, version, u128::MAX, cells);
        }
        7 => {
            let (number, version, cleared, written) = (r.u32()?, Stamp::take(r)?, r.u128()?, r.u128()?);
            let cells = take_cells(r, written, geometry)?;
            shard.index.restore(number, version, cleared, cells);
        }
        8 => {
            let (number, version, block) = (r.u32()?, Stamp::take(r)?, take_block(r)?);
            shard.index.restore(number, version, 0, [(block, take_cell(r, geometry)?)]);
        }
        9 => shard.index.restore(r.u32()?, Stamp::default(), u128::MAX, []),
        10 | 11 => {
            let (stamp, id) = (Stamp::take(r)?, PointId::take(r)?);
            let change = if tag == 10 { PointChange::Freeze { id } } else { PointChange::Thaw { id } };
            shard.window.insert(Entry { stamp, block: 0, body: Body::Point(change) });
        }
        12 => {
            let (frozen_by, number, absent, written) = (Sequence::take(r)?, r.u32()?, r.u128()?, r.u128()?);
            let cells = take_cells(r, written, geometry)?;
            shard.index.points.restore_kept(frozen_by, number, absent, &cells);
        }
        13 => {
            let (frozen_by, number, block) = (Sequence::take(r)?, r.u32()?, take_block(r)?);
            shard.index.points.restore_kept(frozen_by, number, 0, &[(block, take_cell(r, geometry)?)]);
        }
        14 => {
            let (since, number, bits) = (Sequence::take(r)?, r.u32()?, r.u128()?);
            shard.index.marks.restore_noted(since, number, bits);
        }
        15 => {
            let (since, number, block) = (Sequence::take(r)?, r.u32()?, take_block(r)?);
            shard.index.marks.restore_noted(since, number, 1 << block);
        }
        _ => return Err(Malformed { what: "record of a checkpoint: a tag that nobody gave" }),
    }
    Ok(())
}

fn take_marks(r: &mut Reader<'_>) -> Result<Vec<marks::Listed>, Malformed> {
    let count = r.u32()?;
    if count as usize > MARKS_MAX {
        return Err(Malformed { what: "record of a checkpoint: more marks than a shard may have" });
    }
    (0..count).map(|_| Ok(marks::Listed { mark: Mark::take(r)?, fresh: bool::take(r)? })).collect()
}

fn take_block(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    let block = u32::from(r.u8()?);
    if block < CHUNK_BLOCKS {
        Ok(block)
    } else {
        Err(Malformed { what: "record of a checkpoint: a block beyond its chunk" })
    }
}

/// A cell for each bit.
fn take_cells(r: &mut Reader<'_>, bits: u128, geometry: &Geometry) -> Result<Vec<(u32, Cell)>, Malformed> {
    bits_of(bits).map(|block| Ok((block, take_cell(r, geometry)?))).collect()
}

fn take_cell(r: &mut Reader<'_>, geometry: &Geometry) -> Result<Cell, Malformed> {
    let cell = Cell { place: r.u32()?, crc: r.u32()? };
    if geometry.holds(cell.place, 1) { Ok(cell) } else { Err(BEYOND) }
}

const BEYOND: Malformed = Malformed { what: "record of a checkpoint: a block beyond the disk" };

fn take_crcs(r: &mut Reader<'_>, place: u32, geometry: &Geometry) -> Result<Crcs, Malformed> {
    let len = r.u32()?;
    if len == 0 || len as usize > r.left() / 4 || !geometry.holds(place, len) {
        return Err(BEYOND);
    }
    (0..len).map(|_| r.u32()).collect::<Result<Vec<u32>, _>>().map(|crcs| crcs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::tests::{SHARD, stamp};

    /// Whether a body is understood that says this of a shard.
    fn understood(record: impl FnOnce(&mut Writer)) -> bool {
        let geometry = Geometry::tiny(1 << 20);
        let mut w = Writer::default();
        w.u8(1);
        SHARD.put(&mut w);
        record(&mut w);
        apply(&mut Shards::new(geometry), &geometry, &w.finish()).is_ok()
    }

    #[test]
    fn points_and_marks_that_cannot_be_are_malformed() {
        let state = |points: u32, dropped: u8, marks: u32| {
            understood(|w| {
                w.u8(3);
                Sequence(9).put(w);
                stamp(1, 9).put(w);
                w.u8(0);
                w.u32(points);
                (0..points.min(200)).for_each(|n| {
                    PointId(1).put(w);
                    stamp(1, u64::from(n)).put(w);
                    w.u8(dropped);
                });
                w.u32(marks);
                (0..marks.min(20)).for_each(|n| {
                    Mark { since: Sequence(n.into()), epoch: base::Epoch(1) }.put(w);
                    w.u8(dropped);
                });
            })
        };
        assert!(state(0, 0, 0) && state(2, 1, 3) && state(ROW_MAX as u32, 0, MARKS_MAX as u32));
        assert!(!state(ROW_MAX as u32 + 1, 0, 0) && !state(u32::MAX, 0, 0) && !state(1, 2, 0));
        assert!(!state(0, 0, MARKS_MAX as u32 + 1) && !state(0, 0, u32::MAX) && !state(0, 2, 1));
        let noted = |block: u8| {
            understood(|w| {
                w.u8(15);
                Sequence(9).put(w);
                w.u32(0);
                w.u8(block);
            })
        };
        assert!(noted(127) && !noted(128));
        let kept_cell = |block: u8, place: u32| {
            understood(|w| {
                w.u8(13);
                Sequence(9).put(w);
                w.u32(0);
                w.u8(block);
                put_cell(w, Cell { place, crc: 7 });
            })
        };
        let place = Geometry::tiny(1 << 20).place(0, 1);
        assert!(kept_cell(127, place) && !kept_cell(128, place) && !kept_cell(0, 1));
        let kept = |cells: u32| {
            understood(|w| {
                w.u8(12);
                Sequence(9).put(w);
                w.u32(0);
                w.u128(0);
                w.u128(0b11);
                (0..cells).for_each(|_| put_cell(w, Cell { place, crc: 7 }));
            })
        };
        assert!(kept(2) && !kept(1));
    }
}
