//! The readable blocks of one shard, the window on top of the index: what a primary would answer if all of the window were committed. Or as they were at a frozen
//! point, which has no window.

use super::read::Reading;
use super::report::Extracted;
use crate::buffer::Need;
use crate::chunk::Cell;
use crate::geometry::{Geometry, byte_of};
use crate::shards::Shard;
use crate::window::{Body, Entry};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::disk::{Fault, Op};
use base::{BLOCK_BYTES, CHUNK_BLOCKS, Payload, PointId, Sequence, ShardId, checksum};

/// Blocks that lie one behind the other, in the shard and on the disk, within a chunk.
#[derive(Debug)]
struct Run {
    block: u32,
    place: u32,
    crcs: Vec<u32>,
}

/// The entries that lie on top of what is extracted.
fn window(shard: &Shard, point: Option<PointId>) -> impl Iterator<Item = &Entry> {
    shard.window.above(Sequence(0)).filter(move |_| point.is_none())
}

/// An extraction.
#[derive(Debug)]
pub(super) struct Extraction {
    pub(super) shard: ShardId,
    point: Option<PointId>,
    geometry: Geometry,
    /// Chunks that are still to be looked at; none when all were.
    next: Option<u32>,
    /// Chunks that the window writes.
    window_chunks: BTreeSet<u32>,
    runs: VecDeque<Run>,
    pub(super) out: Vec<Extracted>,
}

impl Extraction {
    pub(super) fn new(id: ShardId, shard: &Shard, point: Option<PointId>, geometry: Geometry) -> Self {
        let cells = window(shard, point).flat_map(Entry::cells);
        let window_chunks = cells.map(|(block, _)| block / CHUNK_BLOCKS).collect();
        Self { shard: id, point, geometry, next: Some(0), window_chunks, runs: VecDeque::new(), out: Vec::new() }
    }

    /// Goes on; true when there is no more.
    pub(super) fn step(&mut self, shard: &Shard, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        loop {
            while let Some(run) = self.runs.front() {
                let need = Need { place: run.place, blocks: run.crcs.len() as u32 };
                let holds = self.geometry.holds(need.place, need.blocks);
                let read = if holds { reading.get(need, ops) } else { Some(Err(Fault::Short)) };
                let Some(read) = read else { return false };
                self.check(read);
            }
            let Some(from) = self.next else { return true };
            let in_window = self.window_chunks.range(from..).next().copied();
            let named = shard.index.next_named((0, shard.index.now()), from);
            let chunk = named.into_iter().chain(in_window).min();
            self.next = chunk.and_then(|chunk| chunk.checked_add(1));
            if let Some(chunk) = chunk {
                self.plan(shard, chunk);
            }
        }
    }

    /// What is to be read of a chunk.
    fn plan(&mut self, shard: &Shard, chunk: u32) {
        let first = chunk * CHUNK_BLOCKS;
        let mut cells: [Option<Cell>; CHUNK_BLOCKS as usize] = [None; CHUNK_BLOCKS as usize];
        let at = self.point.and_then(|point| shard.index.at(point)).unwrap_or(shard.index.now());
        shard.index.each_at(at, first, CHUNK_BLOCKS, &mut |block, cell| cells[(block - first) as usize] = cell);
        for entry in window(shard, self.point) {
            let count = match &entry.body {
                Body::Data { crcs, .. } => crcs.len() as u32,
                Body::Trim { count } => *count,
                Body::Point(_) => 0,
            };
            let end = entry.block.saturating_add(count).saturating_sub(first).min(CHUNK_BLOCKS);
            for i in entry.block.saturating_sub(first)..end {
                cells[i as usize] = entry.cell(first + i);
            }
        }
        for (i, cell) in (0..).zip(cells) {
            let Some(Cell { place, crc }) = cell else { continue };
            match self.runs.back_mut() {
                Some(run)
                    if (run.block + run.crcs.len() as u32, run.place + run.crcs.len() as u32) == (first + i, place) =>
                {
                    run.crcs.push(crc);
                }
                _ => self.runs.push_back(Run { block: first + i, place, crcs: [crc].into() }),
            }
        }
    }

    /// The run at hand was read: what is right of it goes out, what is wrong is named. Where a read of many failed, each is tried by itself.
    fn check(&mut self, read: Result<Payload, Fault>) {
        let run = self.runs.pop_front().expect("it was read");
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(fault) if run.crcs.len() == 1 => {
                self.out.push(Extracted::Bad { block: run.block, at: byte_of(run.place), fault: Some(fault) });
                return;
            }
            Err(_) => {
                let each = (0..run.crcs.len() as u32).zip(run.crcs).rev();
                each.for_each(|(i, crc)| {
                    self.runs.push_front(Run { block: run.block + i, place: run.place + i, crcs: [crc].into() });
                });
                return;
            }
        };
        let mut from = 0;
        for (i, &crc) in run.crcs.iter().enumerate() {
            let (block, at) = (run.block + i as u32, byte_of(run.place + i as u32));
            if checksum::block(self.shard, block, &bytes[i * BLOCK_BYTES..][..BLOCK_BYTES]) == crc {
                continue;
            }
            self.give(run.block, from, i, &bytes);
            self.out.push(Extracted::Bad { block, at, fault: None });
            from = i + 1;
        }
        self.give(run.block, from, run.crcs.len(), &bytes);
    }

    fn give(&mut self, first: u32, from: usize, to: usize, bytes: &Payload) {
        if from < to {
            let data = bytes.slice(from * BLOCK_BYTES, (to - from) * BLOCK_BYTES);
            self.out.push(Extracted::Data { block: first + from as u32, data });
        }
    }
}
