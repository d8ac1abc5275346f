//! What a world begins with, and how much may happen in it.

use super::choices::Choice;
use base::mutant::Mutation;

/// Nodes that a world has room for.
pub const NODES_MAX: usize = 4;

/// One world.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Nodes, from 1.
    pub nodes: usize,
    /// The first so many are members in epoch 1, led by node 1.
    pub members: usize,
    /// What has happened already, each when all was quiet.
    pub before: &'static [Choice],
    /// Blocks of the shard, which writes fill in turn.
    pub blocks: u32,
    /// Copies wanted, and copies below which nothing is acknowledged.
    pub target: u8,
    pub min: u8,
    /// The last epoch that the authority gives.
    pub epochs: u64,
    /// Writes of the host that has the volume first, and its reads.
    pub writes: u8,
    pub reads: u8,
    /// Those of the host that takes it.
    pub second_writes: u8,
    pub second_reads: u8,
    /// Processes that are killed.
    pub crashes: u8,
    /// Links that break.
    pub breaks: u8,
    /// Learners that the authority names.
    pub learners: u8,
    /// Recoveries that find their log damaged.
    pub damages: u8,
    /// Releases that the authority decides.
    pub releases: u8,
    /// Forced attachments by another host.
    pub attaches: u8,
    /// How often more time passes than any lease lasts.
    pub times: u8,
    /// Disks take as long as they like; otherwise what is appended is durable at once.
    pub slow_disks: bool,
    /// What a host sent may arrive late; otherwise at once.
    pub slow_hosts: bool,
    /// Frames of an older life of a link may arrive in a newer, which no network here does.
    pub late: bool,
    /// The authority lets anybody lead who has a replica.
    pub lawless: bool,
    pub mutation: Mutation,
}

impl Setup {
    /// The smallest: two nodes, one write, two epochs.
    pub const PAIR: Self = Self {
        nodes: 2,
        members: 2,
        before: &[],
        blocks: 1,
        target: 2,
        min: 2,
        epochs: 2,
        writes: 1,
        reads: 1,
        second_writes: 0,
        second_reads: 0,
        crashes: 0,
        breaks: 0,
        learners: 0,
        damages: 0,
        releases: 0,
        attaches: 0,
        times: 0,
        slow_disks: true,
        slow_hosts: false,
        late: false,
        lawless: false,
        mutation: Mutation::NONE,
    };
}
