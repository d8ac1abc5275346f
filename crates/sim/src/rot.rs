//! Rot on purpose: bytes of blocks that are durable change on one member's disk. It knows more than any machine, so that a good copy of each block
//! remains: never two members' of one block at once, and never a block that recovery could still take for torn off at the end of the log.
//!
//! A page that cannot be read may make a node that starts again doubt all that it has, when the block in it is long gone. So while one node has such pages no other
//! node's blocks rot.

use crate::cluster::Cluster;
use crate::world::Pid;
use base::io::net::Peer;
use base::log::Standing;
use base::{NodeId, Rng, ShardId};
use std::collections::BTreeMap;

/// Batches after which the log proves of one that it was durable: 64 may be in flight.
const PROVEN_AFTER: u64 = 65;

/// A block as one node has it.
#[derive(Debug, Clone, Copy)]
struct Spot {
    node: NodeId,
    shard: ShardId,
    block: u32,
    /// The byte of the disk where it lies.
    at: u64,
    /// The last durable batch when it was seen there.
    batch: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Rotting {
    /// Blocks seen, to be flipped when the log proves them durable.
    candidates: Vec<Spot>,
    /// By block: where it may still be rotten.
    rotten: BTreeMap<(ShardId, u32), Spot>,
}

impl Rotting {
    /// Flips bytes of the blocks that were chosen before and are ripe, and chooses others. Says how many it flipped.
    pub fn strike(&mut self, cluster: &mut Cluster, rng: &mut Rng) -> u64 {
        let mut flipped = 0;
        for spot in std::mem::take(&mut self.candidates) {
            match look(cluster, &spot) {
                Some(batch) if batch >= spot.batch + PROVEN_AFTER => {
                    flipped += u64::from(self.flip(cluster, spot, rng))
                }
                Some(_) => self.candidates.push(spot),
                None => {}
            }
        }
        for _ in 0..16 {
            if self.candidates.len() < 64 {
                self.candidates.extend(choose(cluster, rng));
            }
        }
        flipped
    }

    fn flip(&mut self, cluster: &mut Cluster, spot: Spot, rng: &mut Rng) -> bool {
        let block = (spot.shard, spot.block);
        if self.rotten.get(&block).is_some_and(|old| may_be_there(cluster, old)) {
            return false;
        }
        let pid = pid_of(cluster, spot.node);
        let others: Vec<Pid> = cluster.nodes.iter().copied().filter(|other| *other != pid).collect();
        if others.into_iter().any(|other| cluster.world.disk(other).expect("a node has a disk").has_unreadable()) {
            return false;
        }
        let elsewhere = self.rotten.values().any(|old| old.node != spot.node && may_be_there(cluster, old));
        let rotted = cluster.world.disk(pid).expect("a node has a disk").rot_as(spot.at, rng, !elsewhere);
        if rotted {
            self.rotten.insert(block, spot);
        }
        rotted
    }
}

fn pid_of(cluster: &Cluster, node: NodeId) -> Pid {
    cluster.pid_of(Peer::Node(node)).expect("every node has a process")
}

/// The last durable batch of a node, if its copy of the block lies where it was seen.
fn look(cluster: &Cluster, spot: &Spot) -> Option<u64> {
    let store = cluster.node(pid_of(cluster, spot.node))?.store();
    (store.byte_of(spot.shard, spot.block) == Some(spot.at)).then(|| store.durable_batch())
}

/// Whether the node has a block where it was made rotten, as far as can be seen: one that is dead may.
fn may_be_there(cluster: &Cluster, spot: &Spot) -> bool {
    match cluster.node(pid_of(cluster, spot.node)) {
        Some(node) if node.is_ready() => look(cluster, spot).is_some(),
        _ => true,
    }
}

/// Some block of some member that is whole.
fn choose(cluster: &Cluster, rng: &mut Rng) -> Option<Spot> {
    let epochs = &cluster.world.observer.epochs;
    let shards: Vec<ShardId> = epochs.shards().collect();
    let config = epochs.newest(*rng.pick(&shards)?)?;
    let (shard, block) = (config.shard, rng.below(u64::from(config.blocks)) as u32);
    let node = rng.pick(&config.members)?.node;
    let machine = cluster.node(pid_of(cluster, node))?;
    let (_, replica) = machine.replicas().find(|(id, _)| **id == shard)?;
    let whole = config.members.len() > 1 && replica.held().standing == Standing::Complete;
    let at = machine.store().byte_of(shard, block).filter(|_| whole)?;
    Some(Spot { node, shard, block, at, batch: machine.store().durable_batch() })
}
