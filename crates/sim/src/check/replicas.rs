//! Replica equality at rest (I6, I3): when nothing is under way and the power is cut, the disk of every member holds, in every block, exactly what
//! clients last read there.

use crate::history::Stamp;
use crate::inspect::Replica;
use base::{BLOCK_BYTES, Configuration, NodeId};
use std::collections::BTreeMap;

/// Judges one shard: `expected` has what clients read, by grain from the shard's first block on; grains that nobody read are not judged.
pub fn check(
    config: &Configuration,
    replicas: &BTreeMap<NodeId, &Replica>,
    expected: &BTreeMap<u64, u64>,
    volume: u8,
    first_grain: u64,
    grain_bytes: usize,
) -> Result<(), String> {
    for member in &config.members {
        let shard = config.shard;
        let Some(replica) = replicas.get(&member.node) else {
            return Err(format!("I6: {} is a member of {shard} and has nothing of it", member.node));
        };
        for (block, bytes) in (0u64..).zip(&replica.blocks) {
            for (i, bytes) in (0u64..).zip(bytes.chunks_exact(grain_bytes)) {
                let grain = first_grain + block * (BLOCK_BYTES / grain_bytes) as u64 + i;
                let Some(expected) = expected.get(&grain) else { continue };
                let found = Stamp::read(bytes, volume, grain);
                if found.ok().map(|stamp| stamp.0) != Some(*expected) {
                    return Err(format!(
                        "I6: {shard} block {block} grain {grain}: clients read {:?}, the disk of {} has {found:?}; epoch {} members {:?}",
                        Stamp(*expected),
                        member.node,
                        config.epoch,
                        config.members
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::epochs::tests::config;
    use super::*;
    use base::log::{Register, Standing};
    use base::{Epoch, Payload};

    fn replica(ops: &[u64]) -> Replica {
        let config = config(1, 1, &[1, 2]);
        let register = Register { promised: Epoch(1), adopted: Epoch(1), standing: Standing::Complete, config };
        let block = |(grain, op): (u64, &u64)| {
            let mut bytes = Vec::new();
            Stamp::fill(&mut bytes, *op, 0, grain..grain + 1, BLOCK_BYTES);
            Payload::from(bytes)
        };
        Replica { register, blocks: (0..).zip(ops).map(block).collect() }
    }

    #[test]
    fn a_backup_with_an_old_block_and_one_with_nothing_are_caught() {
        let config = config(1, 1, &[1, 2]);
        let expected: BTreeMap<u64, u64> = [(0, Stamp::new(5, 0, 0).0), (1, Stamp::new(6, 0, 1).0)].into();
        let (good, stale) = (replica(&[5, 6]), replica(&[5, 4]));
        let judge = |second: Option<&Replica>| {
            let mut replicas: BTreeMap<NodeId, &Replica> = [(NodeId(1), &good)].into();
            second.map(|replica| replicas.insert(NodeId(2), replica));
            check(&config, &replicas, &expected, 0, 0, BLOCK_BYTES)
        };
        assert_eq!(judge(Some(&good)), Ok(()));
        assert!(judge(Some(&stale)).unwrap_err().contains("the disk of node-2 has"));
        assert!(judge(None).unwrap_err().contains("has nothing"));
    }
}
