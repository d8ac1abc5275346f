//! Which scenarios there are, and the world of each.

use crate::shape::{Shape, VolumeShape};
use base::time::Duration;

/// The names of all, in the order in which people are told them.
pub const NAMES: [&str; 6] = ["small", "quiet-100", "rack-100", "quiet-1000", "rack-1000", "quiet-1000-minute"];

/// A world and what happens in it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Storage nodes.
    pub nodes: u64,
    /// Racks that they are spread over.
    pub racks: u64,
    /// Volumes that nobody uses.
    pub idle_volumes: u64,
    /// Shards of each of them.
    pub shards_each: u32,
    /// Volumes that are used, each by a host of its own.
    pub used_volumes: u64,
    /// Shards of each of these.
    pub used_shards: u32,
    /// Microseconds between the operations of each: least and most.
    pub pause_us: (u64, u64),
    /// How long nothing happens but that.
    pub quiet: Duration,
    /// Whether a rack loses power after that, for good at first, and is back when all is whole without it.
    pub rack_is_lost: bool,
}

impl Plan {
    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        let hour = Duration::from_secs(3600);
        Some(match name {
            "small" => Self { used_shards: 3, pause_us: (9_000, 11_000), ..Self::of(3, 3, 1, 1, hour) }.used_by(1),
            "quiet-100" => Self::of(100, 20, 10, 1000, hour),
            "rack-100" => Self::of(100, 20, 10, 1000, Duration::from_secs(10)).losing_a_rack(),
            "quiet-1000" => Self::of(1000, 20, 100, 1000, hour),
            "quiet-1000-minute" => Self::of(1000, 20, 100, 1000, Duration::from_secs(60)),
            "rack-1000" => Self::of(1000, 20, 100, 1000, Duration::from_secs(10)).losing_a_rack(),
            _ => return None,
        })
    }

    /// So many nodes in so many racks, with volumes that lie idle and four that are used a little.
    pub fn of(nodes: u64, racks: u64, idle_volumes: u64, shards_each: u32, quiet: Duration) -> Self {
        Self {
            nodes,
            racks,
            idle_volumes,
            shards_each,
            used_volumes: 4,
            used_shards: 10,
            pause_us: (500_000, 1_500_000),
            quiet,
            rack_is_lost: false,
        }
    }

    fn used_by(self, used_volumes: u64) -> Self {
        Self { used_volumes, ..self }
    }

    /// The same, and a rack is lost.
    #[must_use]
    pub fn losing_a_rack(self) -> Self {
        Self { rack_is_lost: true, ..self }
    }

    /// Shards of all its volumes.
    pub fn shards(&self) -> u64 {
        self.idle_volumes * u64::from(self.shards_each) + self.used_volumes * u64::from(self.used_shards)
    }

    /// Its world. Disks are as large as what is placed on them asks for, three times: the memory of an empty one is nothing.
    pub(super) fn shape(&self) -> Shape {
        let shard_blocks = 8;
        let volume = VolumeShape {
            blocks: self.used_shards * shard_blocks,
            copies: 3,
            grain_bytes: base::BLOCK_BYTES,
            depth: 4,
            pause_us: self.pause_us,
            hot: 4,
            run_max: 1,
            writes: 50,
            trims: 2,
        };
        let replicas_each = self.shards() * 3 / self.nodes + 1;
        let needed = replicas_each * u64::from(shard_blocks) * base::BLOCK_BYTES as u64 * 3;
        Shape {
            nodes: self.nodes,
            racks: self.racks,
            last_joins_after: None,
            hosts: self.used_volumes,
            volumes: (0..self.used_volumes).map(|_| volume.clone()).collect(),
            min_copies: 2,
            partners: zone::Policy::default().partners,
            shard_blocks,
            segment_bytes: 1 << 20,
            window_writes: node::Policy::default().replica.window_writes,
            rots: false,
            reads_fail: false,
            has_liar: false,
            capacity_bytes: (needed + (32 << 20)).next_multiple_of(1 << 20),
            scrub_period: store::Policy::default().scrub_period,
            copy_per_s: node::Policy::default().copy_per_s,
            shard_ios_max: host::Policy::default().shard_ios_max,
            checkpoint_every_segments: store::Policy::default().checkpoint_every_segments,
            gathered_bytes: store::Policy::default().gathered_bytes_min,
            network_slower: 1,
            uneven_us: 0,
            disks_slower: 1,
            fault_gap: (Duration::from_secs(1), Duration::from_secs(1)),
            classes: Vec::new(),
            move_every: None,
            read_in_turn: false,
            nbd: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_plan_and_the_large_ones_are_as_large_as_they_say() {
        for name in NAMES {
            assert!(Plan::named(name).is_some(), "{name}");
        }
        assert!(Plan::named("large").is_none());
        let large = Plan::named("quiet-1000").unwrap();
        assert!(large.nodes == 1000 && large.shards() >= 100_000 && large.quiet == Duration::from_secs(3600));
    }
}
