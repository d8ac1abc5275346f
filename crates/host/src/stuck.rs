//! What waits, since when, and when the authority is told (R70): each second while I/O of a shard has waited for a second, and
//! once more, with zero, after it has ended. Volumes of which requests wait at their gates are noted apart and told with it, at
//! most as often.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::time::Duration;
use base::{Epoch, NodeId, ShardId, Time, VolumeId};
use wire::StuckShard;

/// A shard whose I/O waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub shard: ShardId,
    /// The epoch the host believes in.
    pub epoch: Epoch,
    /// Whom it waits for: the primary of that epoch.
    pub primary: NodeId,
    /// When its oldest waiting message was first ready to be sent.
    pub since: Time,
}

/// The book of what waits.
#[derive(Debug, Default)]
pub(crate) struct Book {
    stuck: BTreeMap<ShardId, Stuck>,
    ended: BTreeSet<(ShardId, Epoch)>,
    slowed: BTreeSet<VolumeId>,
    report_at: Option<Time>,
}

impl Book {
    /// I/O of the shard has waited too long. True when that is new.
    pub(crate) fn waits(&mut self, stuck: Stuck, now: Time) -> bool {
        self.report_at.get_or_insert(now);
        self.stuck.insert(stuck.shard, stuck).is_none()
    }

    /// It does not wait any more. How it had been, if it was in the book.
    pub(crate) fn ends(&mut self, shard: ShardId) -> Option<Stuck> {
        let stuck = self.stuck.remove(&shard)?;
        self.ended.insert((shard, stuck.epoch));
        Some(stuck)
    }

    /// Requests of the volume wait at its gate. Nothing is wrong, so it is told with the next report and hastens none.
    pub(crate) fn slows(&mut self, volume: VolumeId, now: Time, every: Duration) {
        self.slowed.insert(volume);
        self.report_at.get_or_insert(now + every);
    }

    /// The volumes of which requests have waited at their gates since this was last asked.
    pub(crate) fn take_slowed(&mut self) -> BTreeSet<VolumeId> {
        core::mem::take(&mut self.slowed)
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
