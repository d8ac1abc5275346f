//! What waits, since when, and when the authority is told (R70): each second while I/O of a shard has waited for a second, and
//! once more, with zero, after it has ended.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::time::Duration;
use base::{Epoch, ShardId, Time};
use wire::StuckShard;

/// A shard whose I/O waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub shard: ShardId,
    /// The epoch the host believes in.
    pub epoch: Epoch,
    /// When its oldest waiting message was first ready to be sent.
    pub since: Time,
}

/// The book of what waits.
#[derive(Debug, Default)]
pub(crate) struct Book {
    stuck: BTreeMap<ShardId, Stuck>,
    ended: BTreeSet<(ShardId, Epoch)>,
    report_at: Option<Time>,
}

impl Book {
    /// I/O of the shard has waited too long.
    pub(crate) fn waits(&mut self, stuck: Stuck, now: Time) {
        self.stuck.insert(stuck.shard, stuck);
        self.report_at.get_or_insert(now);
    }

    /// It does not wait any more.
    pub(crate) fn ends(&mut self, shard: ShardId) {
        if let Some(stuck) = self.stuck.remove(&shard) {
            self.ended.insert((shard, stuck.epoch));
        }
    }

    /// Shards that waited when last looked at, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Stuck> + '_ {
        self.stuck.values().copied()
    }

    /// What is to be reported now, if it is time to.
    pub(crate) fn report(&mut self, now: Time, every: Duration) -> Option<Vec<StuckShard>> {
        if self.report_at.is_none_or(|at| at > now) {
            return None;
        }
        let waiting = self.stuck.values().map(|s| StuckShard {
            shard: s.shard,
            epoch: s.epoch,
            waiting_ms: u64::try_from(now.since(s.since).as_millis()).unwrap_or(u64::MAX).max(1),
        });
        let ended = self.ended.iter().map(|&(shard, epoch)| StuckShard { shard, epoch, waiting_ms: 0 });
        let report = waiting.chain(ended.filter(|e| !self.stuck.contains_key(&e.shard))).collect();
        self.ended.clear();
        self.report_at = (!self.stuck.is_empty()).then_some(now + every);
        Some(report)
    }

    /// When a report is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.report_at
    }
}
