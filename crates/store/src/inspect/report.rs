//! What an inspection found, as plain data. Places are bytes of the disk here: that is what other tools take.

use crate::geometry::{Geometry, byte_of};
use crate::refusal::OpenRefusal;
use crate::shards::Shard;
use crate::superblock::Copy;
use crate::walk::Damage;
use alloc::vec::Vec;
use base::log::{Register, Stamp};
use base::{ClusterId, NodeId, PointId, Sequence, ShardId, StoreUuid};

/// One of the two superblocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockSeen {
    /// It can be believed.
    Whole(SuperblockFields),
    /// All zeroes, as on a blank disk.
    Zeroes,
    /// Of this later version of the format.
    Newer(u32),
    /// Its checksum is wrong, or it could not be read.
    Damaged,
}

/// What a whole superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperblockFields {
    /// The store.
    pub uuid: StoreUuid,
    /// Whose disk it is.
    pub node: NodeId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Its shape.
    pub geometry: Geometry,
    /// Of two the greater holds.
    pub generation: u64,
    /// Openings of the disk so far.
    pub run: u64,
    /// The number of the run's first batch.
    pub run_first: u64,
    /// The batch after which its checkpoint was made; 0 when there is none.
    pub checkpoint_batch: u64,
    /// The byte at which each copy of the checkpoint's root begins; zeroes when there is none.
    pub root_at: [u64; 2],
}

/// A piece of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceSeen {
    /// Its serial number.
    pub serial: u64,
    /// The byte at which each copy begins.
    pub at: [u64; 2],
    /// Blocks of a copy.
    pub blocks: u32,
    /// Which copies are not whole.
    pub bad: [bool; 2],
}

/// The last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointSeen {
    /// It says how everything was after this batch.
    pub batch: u64,
    /// How many of its pieces, after the root, are its base.
    pub base_pieces: u32,
    /// The root, then the others in the order in which they apply; no others when the root is lost.
    pub pieces: Vec<PieceSeen>,
}

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentUse {
    /// Nothing in it is named.
    Free,
    /// Batches, with blocks that are named, or the end of the log.
    Log,
    /// Pieces of the checkpoint.
    Checkpoint,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSeen {
    /// Used for what.
    pub used: SegmentUse,
    /// Its blocks that an index or a window names.
    pub live_blocks: u32,
    /// The first batch of its last use for the log; 0 when no header stands at its start.
    pub first_batch: u64,
}

/// A batch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSeen {
    /// Its number.
    pub batch: u64,
    /// The byte of the disk where it begins.
    pub at: u64,
    /// Its segment.
    pub segment: u32,
    /// The opening of the disk that wrote it.
    pub run: u64,
    /// Its entries.
    pub entries: u32,
    /// Blocks of it, its header included.
    pub blocks: u32,
}

/// Why the chain of the log ends where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEnd {
    /// It was not followed: what says where it begins is damaged, or there is no store.
    NotFollowed,
    /// Nothing follows.
    End,
    /// What follows was never durable: so many headers of a torn tail, which an opening would cut.
    TornTail {
        /// Headers that stand behind the end.
        headers: u32,
    },
    /// The next batch had been durable, and is damaged or could not be read.
    Broken,
}

/// What was taken from headers by themselves, because what should lead to them is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Salvage {
    /// Batches that were used and that no chain led to.
    pub batches: u64,
    /// Batches that had been durable and are lost, as (first, last); those that the checkpoint covered are not looked for.
    pub lost: Vec<(u64, u64)>,
    /// Blocks that could not be read while headers were looked for.
    pub unreadable_blocks: u64,
    /// Any shard may lack writes; otherwise only those that say so.
    pub all_suspect: bool,
}

/// A frozen point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointSeen {
    /// Its name.
    pub id: PointId,
    /// The stamp of the entry that froze it.
    pub stamp: Stamp,
    /// Blocks that only it keeps: not those that are as they were when it was frozen, nor those that a newer point keeps.
    pub held_blocks: u64,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSeen {
    /// Which.
    pub shard: ShardId,
    /// Its replica's own metadata; none if it never began, or its register is lost.
    pub register: Option<Register>,
    /// Committed up to here.
    pub committed: Sequence,
    /// The stamp of its last entry.
    pub end: Stamp,
    /// Entries that are not known to be committed.
    pub window_entries: u32,
    /// Committed blocks that are written.
    pub blocks: u64,
    /// Chunks of which a block is written.
    pub chunks: u32,
    /// Its frozen points, the oldest first.
    pub points: Vec<PointSeen>,
    /// Something that named it is lost: writes may be missing, blocks may be older than they should be, or be there though they were trimmed.
    pub suspect: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The superblocks, in the order of the disk.
    pub superblocks: [SuperblockSeen; 2],
    /// The shape that was gone by: a superblock's, or the one that was offered when both are damaged.
    pub geometry: Geometry,
    /// The checkpoint; none when there never was one, or nothing says where it lies.
    pub checkpoint: Option<CheckpointSeen>,
    /// All segments, in the order of the disk.
    pub segments: Vec<SegmentSeen>,
    /// The batches behind the checkpoint, in their order.
    pub batches: Vec<BatchSeen>,
    /// Where the chain ends.
    pub end: LogEnd,
    /// Why an opening would refuse the disk, whoever opens it.
    pub refusal: Option<OpenRefusal>,
    /// The first batch that had been durable and is lost; an opening makes the shards that were in it suspect.
    pub damage: Option<Damage>,
    /// What was done about either.
    pub salvage: Option<Salvage>,
    /// The shards, in order.
    pub shards: Vec<ShardSeen>,
}

/// What an extraction gives, from the first block to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    /// These blocks, as they were written.
    Data {
        /// The first of them.
        block: u32,
        /// Their bytes.
        data: base::Payload,
    },
    /// A block that is written and cannot be had.
    Bad {
        /// Which.
        block: u32,
        /// The byte of the disk where it should lie.
        at: u64,
        /// What the disk said; none if it gave bytes and they are not the block's.
        fault: Option<base::io::disk::Fault>,
    },
}

/// As it is shown.
pub(super) fn superblock(copy: Copy) -> SuperblockSeen {
    match copy {
        Copy::Zeroes => SuperblockSeen::Zeroes,
        Copy::Newer(version) => SuperblockSeen::Newer(version),
        Copy::Damaged => SuperblockSeen::Damaged,
        Copy::Whole(s) => SuperblockSeen::Whole(SuperblockFields {
            uuid: s.uuid,
            node: s.node,
            cluster: s.cluster,
            geometry: s.geometry,
            generation: s.generation,
            run: s.run,
            run_first: s.run_first,
            checkpoint_batch: s.root.batch,
            root_at: s.root.piece.places.map(byte_of),
        }),
    }
}

/// As it is shown.
pub(super) fn shard(id: ShardId, shard: &Shard, suspect: bool) -> ShardSeen {
    let (mut blocks, mut chunks) = (0, 0);
    let after = |chunk: &u32| shard.index.next_chunk(chunk + 1);
    for number in core::iter::successors(shard.index.next_chunk(0), after) {
        blocks += shard.index.chunk(number).map_or(0, |chunk| u64::from(chunk.present().count_ones()));
        chunks += 1;
    }
    ShardSeen {
        shard: id,
        register: shard.register.as_deref().cloned(),
        committed: shard.committed,
        end: shard.end(),
        window_entries: shard.window.above(Sequence(0)).count() as u32,
        blocks,
        chunks,
        points: shard
            .index
            .points
            .iter()
            .map(|p| PointSeen { id: p.id, stamp: p.stamp, held_blocks: p.held() })
            .collect(),
        suspect,
    }
}
