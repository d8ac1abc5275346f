//! Who names a place of the disk: the index, the window or a frozen point of a shard. Each place is named by one of them at most.

use crate::chunk::Cell;
use crate::shards::Shards;
use crate::window::Entry;
use alloc::vec::Vec;
use base::{CHUNK_BLOCKS, Sequence, ShardId};

/// A block that an index, a window or a frozen point names: where it lies, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) shard: ShardId,
    pub(crate) block: u32,
    pub(crate) place: u32,
    pub(crate) crc: u32,
}

impl Shards {
    /// Whether an index, a window or a frozen point names exactly that.
    pub(crate) fn names(&self, named: &Named) -> bool {
        let &Named { shard, block, place, crc } = named;
        self.get(shard).is_some_and(|s| s.matching(block, crc).any(|cell| cell.place == place))
    }

    /// The sequence that froze the point that names exactly that, if it is one that does; otherwise zero.
    pub(crate) fn frozen_by(&self, named: &Named) -> Sequence {
        let &Named { shard, block, place, crc } = named;
        let cell = Cell { place, crc };
        let holder = |s: &crate::shards::Shard| s.index.points.holder(block / CHUNK_BLOCKS, block % CHUNK_BLOCKS, cell);
        self.get(shard).and_then(holder).unwrap_or(Sequence(0))
    }

    /// Every block that an index, a window or a frozen point names within these places. Looks at all there is: for when there is no other way.
    pub(crate) fn named_within(&self, place: u32, count: u32) -> Vec<Named> {
        let mut all = Vec::new();
        for shard in self.ids() {
            let Some(s) = self.get(shard) else { continue };
            let within = |cell: Cell| (place..place + count).contains(&cell.place);
            s.index.each_cell(&mut |block, cell| {
                if within(cell) {
                    all.push(Named { shard, block, place: cell.place, crc: cell.crc });
                }
            });
            let cells = s.window.above(Sequence(0)).flat_map(Entry::cells).filter(|(_, cell)| within(*cell));
            all.extend(cells.map(|(block, cell)| Named { shard, block, place: cell.place, crc: cell.crc }));
        }
        all
    }
}
