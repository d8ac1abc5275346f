//! What an operator may choose about a zone. Plain values, each with its unit and default; nothing here decides anything.

use base::mutant::Mutation;
use base::time::Duration;

/// How often a node reports; a node that is well is never silent for longer than this and a round trip.
pub const REPORT_EVERY: Duration = Duration::from_millis(1000);

/// The choices of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Copies of a volume whose creator names none. 3.
    pub target_copies: u8,
    /// Copies below which nothing is acknowledged; a volume of fewer copies needs all of them. 2.
    pub min_copies: u8,
    /// The most copies a volume may ask for. 5.
    pub copies_max: u8,
    /// Blocks of 4 KiB in each shard of a volume but its last. 128 GiB.
    pub shard_blocks: u32,
    /// With so many other nodes a node shares shards, about, however many it has; or with all, if there are no more. Each pair that shares one is watched. 16.
    pub partners: usize,
    /// Bytes of the largest volume. 64 TiB.
    pub volume_bytes_max: u64,
    /// A lost copy is not replaced by a new one for so long, so that it can come back and catch up. 15 minutes.
    pub remirror_after: Duration,
    /// A node whose link is down, or whose report is overdue, for so long is suspect. 500 ms.
    pub suspect_after: Duration,
    /// A node not heard for so long has failed; a learner without progress for so long is given up. 1 minute.
    pub failed_after: Duration,
    /// That a node lost touch with many others at once keeps copies of what these have from being made anew for no longer than this, if they do not fail
    /// before. 1 hour; the daemon makes it 60 times `failed_after`.
    pub isolation_max: Duration,
    /// How long a lone accuser of a primary that still reports waits for a second one. 500 ms.
    pub accusation_window: Duration,
    /// A shard whose primary is gone and for which nobody proposes is led on by the authority after so long. 2 s.
    pub elect_after: Duration,
    /// Bytes promised per thousand bytes of capacity. 1000.
    pub overcommit_permille: u32,
    /// How long an attach waits for the host to have the volume open. 30 s.
    pub attach_timeout: Duration,
    /// How long a command of a region waits for a host, which it asks again: a host that does nothing must not look like a zone that does not answer. 2 s.
    pub command_timeout: Duration,
    /// A host whose process began again is not believed that nobody uses a volume for so long: clients connect again. 10 s.
    pub host_settles: Duration,
    /// How long a detach waits for the primaries to say that they know of it; by then no old primary answers reads. 3 s.
    pub detach_timeout: Duration,
    /// Frozen points that a volume has at most, those included that are being dropped; no more than a shard may have. 16.
    pub points_max: usize,
    /// A volume that is not frozen within so long is not frozen. 1 s.
    pub freeze_timeout: Duration,
    /// What a primary does not say that it dropped, it is told again after so long. 1 s.
    pub thaw_again: Duration,
    /// A node is slow whose disk's median is above so many times the fleet's, 5,
    pub slow_times: u32,
    /// whose p99 is above so many times the fleet's, 3,
    pub slow_p99_times: u32,
    /// and above this, since below it nobody feels anything: 2 ms,
    pub slow_floor: Duration,
    /// for so long. 1 s.
    pub slow_after: Duration,
    /// At most one slow node is put out of its shards in each such time, or as many as `slow_permille` allows. 1 minute. Never while a node is suspect, in
    /// quarantine, or failed and missed by its shards, which is all that a zone knows of storms yet; nor below `min_copies`; nor when fewer than three nodes
    /// are busy enough to be compared.
    pub slow_every: Duration,
    /// Further slow nodes may be put out in that time as long as no more than so many of a thousand volumes are concerned in all. 10.
    pub slow_permille: u32,
    /// So long a node is taken for slow at least: it is given nothing, and does not come back. Twice as long each time it is slow again. 1 minute.
    pub slow_probation: Duration,
    /// But at most so long. 1 hour.
    pub slow_probation_max: Duration,
    /// Replicas that one node learns at a time. 2.
    pub learn_in_max: u32,
    /// Learners that one node fills at a time. 2.
    pub learn_out_max: u32,
    /// The first wait before something that did not work is tried again. 500 ms.
    pub retry_base: Duration,
    /// The longest such wait. 30 s.
    pub retry_cap: Duration,
    /// What is wrong with it, in tests of the checkers.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            target_copies: 3,
            min_copies: 2,
            copies_max: 5,
            shard_blocks: 128 << 18,
            partners: 16,
            volume_bytes_max: 64 << 40,
            remirror_after: Duration::from_secs(15 * 60),
            suspect_after: Duration::from_millis(500),
            failed_after: Duration::from_secs(60),
            isolation_max: Duration::from_secs(3600),
            accusation_window: Duration::from_millis(500),
            elect_after: Duration::from_secs(2),
            overcommit_permille: 1000,
            attach_timeout: Duration::from_secs(30),
            command_timeout: Duration::from_secs(2),
            host_settles: Duration::from_secs(10),
            detach_timeout: Duration::from_secs(3),
            points_max: 16,
            freeze_timeout: Duration::from_secs(1),
            thaw_again: Duration::from_secs(1),
            slow_times: 5,
            slow_p99_times: 3,
            slow_floor: Duration::from_millis(2),
            slow_after: Duration::from_secs(1),
            slow_every: Duration::from_secs(60),
            slow_permille: 10,
            slow_probation: Duration::from_secs(60),
            slow_probation_max: Duration::from_secs(3600),
            learn_in_max: 2,
            learn_out_max: 2,
            retry_base: Duration::from_millis(500),
            retry_cap: Duration::from_secs(30),
            mutation: Mutation::NONE,
        }
    }
}

impl Policy {
    /// For a region on one computer, where minutes are too long to watch: seconds instead.
    pub fn dev() -> Self {
        Self {
            remirror_after: Duration::from_secs(10),
            failed_after: Duration::from_secs(5),
            isolation_max: Duration::from_secs(60),
            ..Self::default()
        }
    }

    /// Bytes that may be promised on a disk of `capacity` bytes.
    pub(crate) fn promised_of(&self, capacity: u64) -> u64 {
        let limit = u128::from(capacity) * u128::from(self.overcommit_permille) / 1000;
        u64::try_from(limit).unwrap_or(u64::MAX)
    }

    /// A node that said nothing for so long is not counted on.
    pub(crate) fn heard_within(&self) -> Duration {
        REPORT_EVERY + self.suspect_after
    }
}
