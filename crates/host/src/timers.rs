//! When which shard wants to be looked at. One time per shard, the soonest first.

use alloc::collections::BTreeSet;
use base::{ShardId, Time};

/// The shards that want a step, by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, ShardId)>,
}

impl Timers {
    /// Replaces a shard's time, which was `from`.
    pub(crate) fn set(&mut self, shard: ShardId, from: Option<Time>, to: Option<Time>) {
        if from == to {
            return;
        }
        if let Some(at) = from {
            let was_there = self.due.remove(&(at, shard));
            assert!(was_there, "the timer of {shard} was not where the shard believed it");
        }
        if let Some(at) = to {
            self.due.insert((at, shard));
        }
    }

    /// A shard whose time has come, if there is one. It stays until it is set anew.
    pub(crate) fn due(&self, now: Time) -> Option<ShardId> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, shard)| *shard)
    }

    /// The soonest.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }
}
