//! What a seed makes of a world before anything happens: how many nodes, hosts and volumes, how they are used, and which faults there will be.
//!
//! Each seed takes its own part of what could be, so that rare combinations come up (swarm testing: Groce et al., ISSTA 2012).

use crate::faults::Class;
use crate::nbd::Manner;
use base::Rng;
use base::time::Duration;

/// A volume and how its client uses it.
#[derive(Debug, Clone)]
pub struct VolumeShape {
    /// Blocks of 4 KiB.
    pub blocks: u32,
    /// Copies asked for.
    pub copies: u8,
    /// Bytes of a grain: a block, or the 512 bytes that a guest may write.
    pub grain_bytes: usize,
    /// Operations in flight at most.
    pub depth: usize,
    /// Least and most microseconds between operations.
    pub pause_us: (u64, u64),
    /// Grains that take half of the operations.
    pub hot: u64,
    /// The most grains that one operation takes.
    pub run_max: u64,
    /// Of a hundred operations, how many are writes, and how many trims.
    pub writes: u64,
    /// See `writes`.
    pub trims: u64,
}

impl VolumeShape {
    /// Grains in it.
    pub fn grains(&self) -> u64 {
        u64::from(self.blocks) * base::BLOCK_BYTES as u64 / self.grain_bytes as u64
    }
}

/// A world.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Storage nodes.
    pub nodes: u64,
    /// Failure domains they are spread over.
    pub racks: u64,
    /// When the last node starts for the first time, if not with the others: room that is added while things go wrong.
    pub last_joins_after: Option<Duration>,
    /// Hosts.
    pub hosts: u64,
    /// Volumes.
    pub volumes: Vec<VolumeShape>,
    /// Copies below which nothing is acknowledged.
    pub min_copies: u8,
    /// Other nodes that a node shares shards with, about.
    pub partners: usize,
    /// Blocks in a shard.
    pub shard_blocks: u32,
    /// Bytes of a segment of a store.
    pub segment_bytes: u64,
    /// Writes of a shard that may be under way at once.
    pub window_writes: usize,
    /// Whether blocks may rot; disks may be lost where they do not.
    pub rots: bool,
    /// Whether disks may fail reads. One that does when a node starts may cost that its copies, so disks are not lost beside it, nor has a shard a single copy.
    pub reads_fail: bool,
    /// Whether one node's disk lies about what is durable.
    pub has_liar: bool,
    /// Bytes of each disk.
    pub capacity_bytes: u64,
    /// Within which time each store is scrubbed; never, if zero.
    pub scrub_period: Duration,
    /// Bytes that a node sends to learners in each second.
    pub copy_per_s: u64,
    /// Messages that a host has at one primary at once.
    pub shard_ios_max: u32,
    /// Segments of log between two checkpoints.
    pub checkpoint_every_segments: u32,
    /// Bytes of payload that a store gathers while it writes.
    pub gathered_bytes: u32,
    /// How many times slower than a good network its network is.
    pub network_slower: u64,
    /// Microseconds that a connection may be slower than another, at most.
    pub uneven_us: u64,
    /// How many times slower than a good disk each disk is, at most.
    pub disks_slower: u64,
    /// Least and most between two faults.
    pub fault_gap: (Duration, Duration),
    /// The classes of faults that this world knows, by their place in the table of `faults`.
    pub classes: Vec<usize>,
    /// Between two moves of a volume to another attachment; never, if none.
    pub move_every: Option<Duration>,
    /// Whether at the end every volume is read while each node in turn is dead.
    pub read_in_turn: bool,
    /// How clients speak NBD; they ask hosts without, if none.
    pub nbd: Option<Manner>,
}

impl Shape {
    /// As the seed has it, with some of `classes` classes of faults.
    pub fn draw(rng: &mut Rng, classes: usize) -> Self {
        let nodes = rng.within(3, 6);
        let shard_blocks = *rng.pick(&[8, 16, 64]).expect("not empty");
        let volumes = (0..rng.within(1, 3)).map(|_| Self::volume(rng, shard_blocks)).collect();
        let gap_ms = 200 << rng.below(6);
        let mut chosen: Vec<usize> = (0..classes).collect();
        rng.shuffle(&mut chosen);
        // A third of the worlds know everything, the others a few classes, so that one does not hide another.
        if !rng.chance(1, 3) {
            chosen.truncate(rng.within(1, 6) as usize);
        }
        // Half of the worlds have disks so small that they are cleaned again and again.
        let (segment_mib, capacity_mib) = *rng.pick(&[(2, 512), (2, 512), (1, 40), (1, 64)]).expect("not empty");
        let min_copies = rng.split("min copies").within(1, 2) as u8;
        Self {
            nodes,
            racks: rng.within(nodes.min(3), nodes),
            last_joins_after: (nodes > 3 && rng.split("joins").chance(1, 4))
                .then(|| Duration::from_millis(rng.split("joins after").within(1_000, 50_000))),
            hosts: rng.within(1, 3),
            min_copies,
            window_writes: *rng.split("window").pick(&[1024, 2, 5]).expect("not empty"),
            rots: rng.split("rots").chance(3, 4),
            reads_fail: min_copies > 1 && rng.split("reads fail").chance(1, 2),
            has_liar: min_copies > 1 && rng.split("liar").chance(1, 8),
            partners: *rng.split("partners").pick(&[2, 3, 16]).expect("not empty"),
            volumes,
            shard_blocks,
            segment_bytes: segment_mib << 20,
            capacity_bytes: capacity_mib << 20,
            scrub_period: Duration::from_secs(*rng.pick(&[0, 10, 60]).expect("not empty")),
            copy_per_s: *rng.split("copying").pick(&[1 << 20, 4 << 20, 375 << 20]).expect("not empty"),
            shard_ios_max: *rng.split("at a primary").pick(&[1, 4, 256]).expect("not empty"),
            checkpoint_every_segments: rng.within(1, 4) as u32,
            gathered_bytes: *rng.split("gathered").pick(&[0, 32 << 10]).expect("not empty"),
            network_slower: 1 << rng.below(6),
            uneven_us: if rng.chance(1, 2) { 1 << rng.below(14) } else { 0 },
            disks_slower: 1 << rng.below(6),
            fault_gap: (Duration::from_millis(gap_ms / 4), Duration::from_millis(gap_ms * 4)),
            classes: chosen,
            move_every: rng.chance(1, 3).then(|| Duration::from_millis(rng.within(2_000, 15_000))),
            read_in_turn: rng.chance(1, 4),
            nbd: Manner::draw(&mut rng.split("nbd")),
        }
    }

    /// Whether faults of a class can be stood beside the others: of no block two copies may be lost at once, and what rots on the only member is.
    pub fn stands(&self, class: Class) -> bool {
        let rots = self.rots && self.min_copies > 1;
        match class {
            Class::Rot => rots && !self.has_liar,
            Class::LoseDisk => !rots && !self.has_liar && !self.reads_fail,
            Class::FailDisk => !self.has_liar,
            _ => true,
        }
    }

    fn volume(rng: &mut Rng, shard_blocks: u32) -> VolumeShape {
        let blocks = shard_blocks * rng.within(1, 3) as u32 - rng.below(u64::from(shard_blocks / 2)) as u32;
        let grain_bytes = if rng.chance(1, 4) { 512 } else { base::BLOCK_BYTES };
        let pause = 4_000 << rng.below(6);
        VolumeShape {
            blocks,
            copies: if rng.chance(1, 5) { 2 } else { 3 },
            grain_bytes,
            depth: rng.within(1, 12) as usize,
            pause_us: (pause / 4, pause * 2),
            hot: rng.within(1, 6),
            run_max: 12,
            writes: rng.within(30, 80),
            trims: if rng.chance(1, 2) { rng.within(1, 12) } else { 0 },
        }
    }
}

/// A duration between two, each order of magnitude as likely as the next.
pub fn log_uniform(rng: &mut Rng, low: Duration, high: Duration) -> Duration {
    let (low, high) = (low.as_nanos() as u64, high.as_nanos() as u64);
    let doublings = (high / low.max(1)).max(1).ilog2();
    let from = low << rng.below(u64::from(doublings) + 1);
    Duration::from_nanos(rng.within(from, (from * 2).min(high.max(from))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_a_world_that_can_exist_and_seeds_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let shape = Shape::draw(&mut Rng::new(seed), 10);
            assert!(shape.nodes >= 3 && shape.racks >= 3 && !shape.volumes.is_empty() && !shape.classes.is_empty());
            assert!(shape.volumes.iter().all(|v| v.blocks > 0 && v.grains() < crate::history::GRAINS_MAX));
            seen.insert(format!("{shape:?}"));
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn durations_lie_between_their_bounds() {
        let (low, high) = (Duration::from_millis(1), Duration::from_secs(20));
        let mut rng = Rng::new(1);
        let drawn: Vec<_> = (0..1000).map(|_| log_uniform(&mut rng, low, high)).collect();
        assert!(drawn.iter().all(|d| (low..=high).contains(d)));
        assert!(drawn.iter().filter(|d| **d < Duration::from_millis(50)).count() > 200);
        assert!(drawn.iter().filter(|d| **d > Duration::from_secs(5)).count() > 50);
    }
}
