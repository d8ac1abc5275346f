//! What is left of a checkpoint, and what headers say of the time before it, put together. Neither is enough: a lost piece takes blocks with it or
//! leaves them as an older piece had them, and headers of what the cleaner has moved away since, or of what was only ever said once, are gone.
//!
//! Which of two places of a block is the newer one, the batches say that they belong to. A place whose header is gone was given up: what is named at the end has
//! a header that nothing was written over.

use crate::chunk::Cell;
use crate::shards::{Shard, Shards};
use base::log::Register;
use base::{CHUNK_BLOCKS, Sequence};

/// Adds to what the pieces say what only headers say, or say of a later time. `batch_of` is the batch that a place belongs to.
pub(super) fn merge(pieced: &mut Shards, told: &Shards, batch_of: &impl Fn(u32) -> Option<u64>) {
    for id in told.ids() {
        let Some(told) = told.get(id) else { continue };
        let shard = pieced.restore(id);
        blocks(shard, told, batch_of);
        shard.index.points.merge(&told.index.points, batch_of);
        if (told.committed, told.end()) > (shard.committed, shard.end()) {
            (shard.committed, shard.last) = (told.committed, told.last);
            while shard.window.pop_above(Sequence(0)).is_some() {}
            for entry in told.window.above(Sequence(0)) {
                shard.window.insert(entry.clone());
            }
        }
        let age = |r: &Register| (r.promised, r.adopted, r.config.revision);
        if told.register.as_deref().map(age) > shard.register.as_deref().map(age) {
            shard.register.clone_from(&told.register);
        }
    }
}

fn blocks(shard: &mut Shard, told: &Shard, batch_of: &impl Fn(u32) -> Option<u64>) {
    let after = |chunk: &u32| told.index.next_chunk(chunk + 1);
    for number in core::iter::successors(told.index.next_chunk(0), after) {
        let version = told.index.version(number).max(shard.index.version(number));
        let first = number * CHUNK_BLOCKS;
        told.index.each(first, CHUNK_BLOCKS, &mut |block, cell| {
            let Some(Cell { place, crc }) = cell else { return };
            let mut old = None;
            shard.index.each(block, 1, &mut |_, cell| old = cell);
            if old.is_none_or(|old| batch_of(old.place) < batch_of(place)) {
                // What a point keeps is told of by itself.
                shard.index.relocate(block, place, &[crc], version, &mut |_, _| ());
            }
        });
    }
}
