//! Slow members: a node whose disk takes several times as long as the others' is put out of its shards, since each write waits for all members.
//!
//! ```text
//! like the others -p99 and median far above the fleet's for slow_after-> slow -within the budget-> put out of its shards, a holder
//! slow -slow_probation has passed, and it shows nothing bad-> like the others -slow again-> slow, for twice as long
//! ```
//!
//! A disk that is slow is so in the median too; one operation in a hundred that takes long is a hiccup, of the disk or of whoever runs the process, and says
//! little. So both must be far above. What is called the fleet is the middle one of all nodes that had enough to do of late.
//!
//! Nobody is put out below `min_copies`, nor while some other node is in trouble, nor when there are too few to compare with, nor beyond the budget.
//! A copy of a node that is slow is as a lost one: it is kept, its node comes back by delta when it is not slow any more, and nobody takes its place before
//! `remirror_after`. All of this is found out again by each start of the authority; nothing of it is durable but the configurations.

use crate::Zone;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use base::time::Duration;
use base::{Member, NodeId, ShardId, Time, VolumeId};
use wire::{DiskReport, NodeCondition, SlowNode};

/// Writes and flushes in a second, below which nothing is concluded from them.
const ENOUGH: u32 = 10;
/// Nodes that must have had enough to do, the one in question among them.
const FLEET_MIN: usize = 3;
/// For so long what a busy node said counts as the fleet's, also when it has little to do now: it may wait for the one that is slow.
const LATELY: Duration = Duration::from_secs(10);
/// An operation that has been under way for so many times `slow_after` is as bad as a slow disk.
const STUCK: u32 = 2;
/// A node that was not slow for so many times the longest probation begins with the first one again.
const FORGIVEN: u32 = 2;

/// What is known of one node's disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    /// As it last said.
    pub report: DiskReport,
    /// The last that told of enough operations, and when.
    busy: Option<(Time, DiskReport)>,
    /// Since when all that it says is bad.
    bad_since: Option<Time>,
    /// It is slow.
    pub slow: Option<Slow>,
    /// How often it was, and when it last ceased to be.
    relapses: u32,
    ceased_at: Time,
}

/// A node that is slow.
#[derive(Debug, Clone)]
pub(crate) struct Slow {
    since: Time,
    /// Not before.
    until: Time,
    /// What it said when it was found slow, and what the fleet's was.
    seen: DiskReport,
    fleet: DiskReport,
    /// Replicas that were put out, and those that stay because something forbids it.
    put_out: BTreeSet<ShardId>,
    kept: BTreeSet<ShardId>,
}

/// What was put out of late because of one node.
#[derive(Debug, Clone)]
pub(crate) struct Spent {
    at: Time,
    volumes: BTreeSet<VolumeId>,
}

impl Pace {
    /// A new run of the node: what its process measured is over. Whether its disk is slow is not, unless it is another disk.
    pub(crate) fn restarted(&mut self, same_disk: bool) {
        (self.report, self.busy, self.bad_since) = (DiskReport::default(), None, None);
        if !same_disk {
            *self = Self::default();
        }
    }
}

impl Slow {
    /// For people.
    fn told(&self, node: NodeId, now: Time) -> SlowNode {
        SlowNode {
            node,
            for_ms: now.since(self.since).as_millis() as u64,
            left_ms: self.until.since(now).as_millis() as u64,
            seen: self.seen,
            fleet: self.fleet,
            put_out: self.put_out.len() as u32,
            kept: self.kept.len() as u32,
        }
    }
}

impl Zone {
    /// Whether a node is taken for slow: it is given nothing more.
    pub(crate) fn is_slow(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.pace.slow.is_some())
    }

    /// The nodes that are taken for slow, in order.
    pub fn slow_nodes(&self) -> impl Iterator<Item = SlowNode> {
        self.nodes.iter().filter_map(|(id, n)| Some(n.pace.slow.as_ref()?.told(*id, self.now)))
    }

    /// What people are told of one.
    pub(crate) fn slow_node(&self, id: NodeId) -> Option<SlowNode> {
        self.nodes.get(&id)?.pace.slow.as_ref().map(|slow| slow.told(id, self.now))
    }

    /// A node says how its disk does.
    pub(crate) fn disk_report(&mut self, id: NodeId, report: DiskReport) {
        let now = self.now;
        let pace = &mut self.nodes.get_mut(&id).expect("it registered").pace;
        pace.report = report;
        if report.count >= ENOUGH {
            pace.busy = Some((now, report));
        }
        if !self.may_be_bad(&report) {
            // Most are not: all others are looked at only for those that are.
            self.nodes.get_mut(&id).expect("it registered").pace.bad_since = None;
            return;
        }
        let Some(fleet) = self.fleet(id) else { return };
        let bad = self.is_bad(&report, &fleet);
        let after = self.policy.slow_after;
        let pace = &mut self.nodes.get_mut(&id).expect("it registered").pace;
        if !bad {
            pace.bad_since = None;
            return;
        }
        let since = *pace.bad_since.get_or_insert(now);
        if now.since(since) >= after || pace.slow.is_some() {
            self.is_found_slow(id, report, fleet);
        }
    }

    /// The middle node's figures, of all that had enough to do of late, without others that are slow; of two in the middle the lower ones.
    fn fleet(&self, of: NodeId) -> Option<DiskReport> {
        let counts = |n: &&crate::nodes::Node| n.registered && (n.pace.slow.is_none() || n.record.entry.node == of);
        let busy = self.nodes.values().filter(counts).filter_map(|n| n.pace.busy);
        let busy: Vec<DiskReport> = busy.filter(|(at, _)| self.now.since(*at) <= LATELY).map(|(_, r)| r).collect();
        if busy.len() < FLEET_MIN {
            return None;
        }
        let middle = |figure: fn(&DiskReport) -> u32| {
            let mut all: Vec<u32> = busy.iter().map(figure).collect();
            all.sort_unstable();
            all[(all.len() - 1) / 2]
        };
        Some(DiskReport {
            count: middle(|r| r.count),
            median_us: middle(|r| r.median_us),
            p99_us: middle(|r| r.p99_us),
            oldest_us: middle(|r| r.oldest_us),
        })
    }

    /// Whether there is a fleet that this disk would be slow in: enough of its operations take long enough to be felt, or it holds one for too long.
    fn may_be_bad(&self, report: &DiskReport) -> bool {
        self.is_felt(report) || self.is_stuck(report)
    }

    fn is_felt(&self, report: &DiskReport) -> bool {
        report.count >= ENOUGH && report.p99_us > self.policy.slow_floor.as_micros() as u32
    }

    fn is_stuck(&self, report: &DiskReport) -> bool {
        report.oldest_us >= (self.policy.slow_after * STUCK).as_micros() as u32
    }

    /// Whether what was said of a disk is far above what is said of the fleet's.
    fn is_bad(&self, report: &DiskReport, fleet: &DiskReport) -> bool {
        let policy = &self.policy;
        let far = |mine: u32, theirs: u32, times: u32| u64::from(mine) > u64::from(theirs) * u64::from(times);
        let slow = self.is_felt(report)
            && far(report.p99_us, fleet.p99_us, policy.slow_p99_times)
            && far(report.median_us, fleet.median_us, policy.slow_times);
        let stuck = self.is_stuck(report) && far(report.oldest_us, fleet.p99_us, policy.slow_times);
        slow || stuck
    }

    fn is_found_slow(&mut self, id: NodeId, seen: DiskReport, fleet: DiskReport) {
        let (now, first, longest) = (self.now, self.policy.slow_probation, self.policy.slow_probation_max);
        let node = self.nodes.get_mut(&id).expect("it reported");
        let (member, pace) = (node.record.member(), &mut node.pace);
        if let Some(slow) = &mut pace.slow {
            // It is shown to be so still.
            slow.until = slow.until.max(now + first);
        } else {
            if now.since(pace.ceased_at) > longest * FORGIVEN {
                pace.relapses = 0;
            }
            let probation = (first.min(longest) * 2u32.saturating_pow(pace.relapses.min(16))).min(longest);
            pace.relapses = pace.relapses.saturating_add(1);
            let (put_out, kept) = (BTreeSet::new(), BTreeSet::new());
            let until = now + probation;
            pace.slow = Some(Slow { since: now, until, seen, fleet, put_out, kept });
            // Copies that it is being given stop.
            self.wake_all_of(member);
        }
        self.put_slow_out(id, member);
    }

    /// Takes a slow node out of every shard that has enough copies without it, if the budget has that.
    fn put_slow_out(&mut self, id: NodeId, member: Member) {
        let mut going: Vec<(ShardId, Vec<Member>)> = Vec::new();
        let mut staying: Vec<ShardId> = Vec::new();
        for shard in self.ledger.shards_of(member) {
            let c = self.shards[&shard].config();
            if c.deleted || !c.is_member(member) {
                continue;
            }
            let others = c.members.iter().copied().filter(|m| *m != member);
            let rest: Vec<Member> = others.filter(|m| self.is_alive(Some(*m)) && !self.is_suspect(shard, *m)).collect();
            // Somebody else that is missing or damaged is dealt with first.
            let whole = rest.len() + 1 == c.members.len() && !self.shards[&shard].behind;
            match whole && c.has_min_copies() && rest.len() >= usize::from(c.min_copies) {
                true => going.push((shard, rest)),
                false => staying.push(shard),
            }
        }
        if !going.is_empty() && !self.may_put_out(id, going.iter().map(|(shard, _)| shard.volume).collect()) {
            staying.extend(going.drain(..).map(|(shard, _)| shard));
        }
        for (shard, rest) in &going {
            let c = self.shards[shard].config();
            let primary = if c.primary == id { self.least_leading(rest) } else { c.primary };
            self.reconfigure(*shard, primary, rest.clone(), None);
        }
        let slow = self.nodes.get_mut(&id).and_then(|n| n.pace.slow.as_mut()).expect("it was found slow");
        let before = (slow.put_out.len(), slow.kept.len());
        for (shard, _) in going {
            slow.kept.remove(&shard);
            slow.put_out.insert(shard);
            self.counters.slow_put_out += 1;
        }
        for shard in staying {
            self.counters.slow_kept += u64::from(slow.kept.insert(shard));
        }
        if (slow.put_out.len(), slow.kept.len()) != before {
            self.wake_starving();
        }
    }

    /// Whether one more node may be put out of its shards of these volumes now; if so it is counted.
    fn may_put_out(&mut self, id: NodeId, volumes: BTreeSet<VolumeId>) -> bool {
        if self.nodes.keys().any(|other| self.is_in_trouble(*other)) {
            return false;
        }
        let (now, every) = (self.now, self.policy.slow_every);
        self.slow_spent.retain(|_, spent| now.since(spent.at) < every);
        let alone = self.slow_spent.keys().all(|other| *other == id);
        let mut touched = volumes.clone();
        touched.extend(self.slow_spent.values().flat_map(|spent| spent.volumes.iter().copied()));
        let all = self.volumes.values().filter(|v| !v.deleted).count() as u64;
        if !alone && touched.len() as u64 * 1000 > all * u64::from(self.policy.slow_permille) {
            return false;
        }
        let spent = self.slow_spent.entry(id).or_insert(Spent { at: now, volumes: BTreeSet::new() });
        spent.volumes.extend(volumes);
        true
    }

    /// Whether a node is missed by its shards, or is not settled yet. One that failed long ago, and whose shards are whole without it, is neither.
    fn is_in_trouble(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        match node.condition {
            NodeCondition::Up => false,
            NodeCondition::Failed => self.ledger.shards_of(node.record.member()).iter().any(|shard| {
                let c = self.shards[shard].config();
                !c.deleted && c.members.len() < usize::from(c.target_copies)
            }),
            _ => true,
        }
    }

    /// What time alone makes of a slow node.
    pub(crate) fn check_slow(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(until) = node.pace.slow.as_ref().map(|slow| slow.until) else { return };
        if now < until {
            return self.check_at(id, until);
        }
        (node.pace.slow, node.pace.bad_since, node.pace.ceased_at) = (None, None, now);
        let member = node.record.member();
        self.wake_all_of(member);
        self.wake_starving();
    }
}
