//! What may differ between nodes, and between two runs of one.

use crate::WINDOW_WRITES;
use base::mutant::Mutation;
use base::time::Duration;

/// Knobs of the protocol on this node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Writes that may be sequenced and not yet committed, in one shard; at most [`WINDOW_WRITES`], the default.
    pub window_writes: usize,
    /// Bytes a store must be able to append beyond the window before a write is sequenced. Default 1 MiB.
    pub room_slack_bytes: u64,
    /// For how long a store may lack the room for a write before the client is told that it is full: what was overwritten and is not committed yet, or not
    /// cleaned yet, comes back by itself, and until then the client waits. Default 5 s.
    pub full_after: Duration,
    /// After a restart, how long other members that were not met since are waited for before a configuration without them is wished for: they may
    /// be starting too. Default 1 s.
    pub regroup_after: Duration,
    /// Before a wish that was not granted is repeated. Default 250 ms.
    pub wish_retry: Duration,
    /// Before backups are told of a commit that no write carried along. Default 100 ms.
    pub commit_tell_after: Duration,
    /// How long a primary keeps its answers back while a volume is frozen. Default 100 ms.
    pub hold_max: Duration,
    /// Extents on their way to a learner at once. Default 8 (each at most 512 KiB).
    pub extents_in_flight: usize,
    /// How long a member that was asked for a block may take before the next one is asked. Default 1 s.
    pub mend_answer_within: Duration,
    /// After a block could not be had from anybody, before all are asked again. Default 5 s.
    pub mend_retry: Duration,
    /// What is wrong with it, in tests of the checkers.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_writes: WINDOW_WRITES,
            room_slack_bytes: 1 << 20,
            full_after: Duration::from_secs(5),
            regroup_after: Duration::from_secs(1),
            wish_retry: Duration::from_millis(250),
            commit_tell_after: Duration::from_millis(100),
            hold_max: Duration::from_millis(100),
            extents_in_flight: 8,
            mend_answer_within: Duration::from_secs(1),
            mend_retry: Duration::from_secs(5),
            mutation: Mutation::NONE,
        }
    }
}
