//! What the tests of frozen points begin with.

use super::{GIB, World};
use base::*;
use wire::*;
use zone::Policy;

/// Blocks of a GiB, and of each shard here.
pub const EACH: u32 = (GIB / BLOCK_BYTES as u64) as u32;

/// So many nodes and a volume of three shards.
pub fn sharded(nodes: u64) -> (World, VolumeId) {
    let mut w = World::with(nodes, Policy { shard_blocks: EACH, ..Policy::dev() }, 1);
    let volume = w.volume(3, 3);
    w.pass_ms(100);
    (w, volume)
}

pub fn freeze(volume: VolumeId, request: u128) -> FreezeVolume {
    FreezeVolume { volume, request: RequestId(request) }
}

pub fn shard(volume: VolumeId, index: u32) -> ShardId {
    ShardId { volume, index }
}

/// A point that is made.
pub fn made(w: &mut World, volume: VolumeId, request: u128) -> PointId {
    let answer = w.told(freeze(volume, request));
    let Message::VolumeReply(m) = &answer else { panic!("{answer:?}") };
    let point = m.volumes[0].points.iter().find(|p| p.request == RequestId(request)).expect("it is not shown");
    assert_eq!(point.condition, PointCondition::Made);
    point.point
}

/// Why a wish is refused, which has changed nothing.
pub fn refused(w: &mut World, message: impl Into<Message>) -> (ErrorCode, String) {
    let writes = w.meta.writes;
    let refusal = World::refusal(&w.told(message));
    assert_eq!(writes, w.meta.writes, "what is refused has changed nothing");
    refusal
}
