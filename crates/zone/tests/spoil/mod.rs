//! An authority that starts on metadata of which anything may have become anything else: shared by the seeded run of the tests and by
//! fuzz/fuzz_targets/metadata.rs.

use crate::world::World;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What the metadata store of a small zone holds: nodes, a volume with a host, a deleted one, a request.
pub fn metadata() -> BTreeMap<String, (Bytes, u64)> {
    let mut world = World::new(4);
    let host = world.add_host(1);
    world.run();
    let volume = world.volume(1, 3);
    world.attach(volume, host);
    let deleted = world.volume(1, 2);
    world.told(wire::DeleteVolume { volume: deleted });
    world.meta.pairs
}

/// Starts an authority on `pairs` after `bytes` have changed them, four at a time: which record, where, into what, and how. It works or says what it refuses.
/// Whether it works.
pub fn start_on(mut pairs: BTreeMap<String, (Bytes, u64)>, bytes: &[u8]) -> bool {
    for change in bytes.chunks_exact(4) {
        let Some(key) = pairs.keys().nth(usize::from(change[0]) % pairs.len().max(1)).cloned() else { break };
        let (value, _) = pairs.get_mut(&key).expect("it was just there");
        let mut text = value.to_vec();
        let at = usize::from(change[1]) % text.len().max(1);
        match change[3] % 6 {
            0 => text.truncate(at),
            1 => text.insert(at, change[2]),
            2 => drop(pairs.remove(&key)),
            _ if !text.is_empty() => text[at] = change[2],
            _ => {}
        }
        if let Some((value, _)) = pairs.get_mut(&key) {
            *value = Bytes::from(text);
        }
    }
    let mut world = World::new(0);
    world.meta.pairs = pairs;
    world.restart_zone();
    let works = *world.zone.phase() == zone::Phase::Ready;
    if works {
        // What it took for the truth it must be able to live with.
        world.told(wire::DescribeVolumes { volume: None });
        world.told(wire::DescribeNodes { node: None });
        world.pass(base::time::Duration::from_secs(3));
    }
    works
}
