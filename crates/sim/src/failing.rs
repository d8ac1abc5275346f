//! Disks that fail: what the harness does when one does, and which disk may be lost at all.
//!
//! A node whose disk failed it ends, as its daemon does, and its supervisor starts it again. A disk is lost, and replaced by a blank one, only when every shard that was
//! on it has another member, whose disk was not lost since: what is on no disk any more no system can keep.

use crate::cluster::Actor;
use crate::disk::Failing;
use crate::faults::Class;
use crate::report::Failure;
use crate::run::{MS, Run, Task, Verdict};
use crate::shape::log_uniform;
use crate::world::Pid;
use base::io::net::Peer;
use base::time::Duration;
use base::{Configuration, Member};
use std::collections::BTreeSet;

/// Disks that are no more, and what failed.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    /// Members whose disk was replaced.
    lost: BTreeSet<Member>,
    /// Until which moment a read may be refused because the only disk with the block fails.
    pub(crate) reads_fail_until: crate::clock::Moment,
}

/// How much longer than a disk fails a read may be refused for it.
const AFTERMATH: Duration = Duration::from_secs(8);

impl Run {
    /// One disk at a time fails reads: of two at once a block may be on no other.
    pub(crate) fn fail_disk(&mut self, pid: Pid, failing: Failing, how_long: Duration) {
        let nodes = self.cluster.nodes.clone();
        let other = nodes.into_iter().filter(|n| *n != pid).any(|n| self.disk_of(n).fails_reads());
        let reads = if self.shape.reads_fail && !self.shape.stands(Class::Rot) { failing.reads } else { 0 };
        let failing = Failing { reads, ..failing };
        if failing.reads > 0 && other {
            return;
        }
        if failing.reads > 0 {
            self.disks.reads_fail_until = self.cluster.world.now() + how_long + AFTERMATH;
        }
        self.disk_of(pid).set_failing(failing);
        self.after(how_long, Task::MendDisk(pid));
    }

    pub(crate) fn disk_of(&mut self, node: Pid) -> &mut crate::disk::Disk {
        self.cluster.world.disk(node).expect("a node has a disk")
    }

    /// A node says that its disk failed it: it ends, and is started again.
    pub(crate) fn gave_up(&mut self, pid: Pid) -> Verdict {
        let peer = self.cluster.world.peer(pid);
        let phase = match self.cluster.world.machine(pid) {
            Some(Actor::Node(node)) => format!("{:?}", node.failure()),
            _ => return Ok(()),
        };
        if !self.disk_of(pid).is_to_blame() {
            return Err(Failure::of(format!(
                "the store of {peer} gave up, though its disk did nothing wrong: {phase}"
            )));
        }
        *self.counts.entry("disk-failed-node").or_default() += 1;
        let now = self.cluster.world.now();
        self.cluster.world.trace.tell(now, format_args!("{peer} ends, its disk failed: {phase}"));
        let lies = self.disk_of(pid).is_liar();
        self.cluster.world.kill(pid, false);
        let away = log_uniform(&mut self.rng, MS(50), MS(3_000));
        self.after(away, if lies { Task::ReplaceDisk(pid) } else { Task::Start(pid) });
        Ok(())
    }

    pub(crate) fn lose_disk(&mut self, pid: Pid, away: Duration) {
        if self.cluster.exists(pid) {
            self.cluster.world.kill(pid, true);
            self.after(away, Task::ReplaceDisk(pid));
        }
    }

    /// Starts a node that is not there, with a blank disk if nobody needs the old one.
    pub(crate) fn replace_disk(&mut self, pid: Pid) {
        if self.cluster.exists(pid) {
            return;
        }
        let Peer::Node(node) = self.cluster.world.peer(pid) else { panic!("{pid:?} is no node") };
        let (now, needless) = (self.cluster.world.now(), self.needless(node));
        let what = if needless.is_some() { "another disk" } else { "its old disk, which is needed" };
        self.cluster.world.trace.tell(now, format_args!("{node} comes with {what}"));
        match needless {
            Some(gone) => {
                *self.counts.entry("replaced-disks").or_default() += 1;
                self.disks.lost.extend(gone);
                self.cluster.replace_disk(pid);
                self.cluster.world.observer.promises.forget(node);
            }
            None => *self.counts.entry("kept-disks").or_default() += 1,
        }
        self.cluster.start(pid);
    }

    /// What a node was to its shards, if each can do without it; none if one cannot, or nobody knows.
    fn needless(&self, node: base::NodeId) -> Option<BTreeSet<Member>> {
        let Some(Actor::Zone(zone)) = self.cluster.world.machine(self.cluster.zone) else { return None };
        if *zone.phase() != zone::Phase::Ready {
            return None;
        }
        let epochs = &self.cluster.world.observer.epochs;
        let heard = epochs.shards().filter_map(|shard| epochs.newest(shard));
        let mut gone = BTreeSet::new();
        for config in heard.chain(zone.configurations()).chain(zone.intended()) {
            if !self.can_do_without(config, node) {
                return None;
            }
            gone.extend(carriers(config).filter(|m| m.node == node));
        }
        Some(gone)
    }

    fn can_do_without(&self, config: &Configuration, node: base::NodeId) -> bool {
        let stays = |m: &Member| m.node != node && !self.disks.lost.contains(m);
        config.deleted || carriers(config).all(|m| m.node != node) || carriers(config).any(stays)
    }
}

/// Who has all that was ever acknowledged: members, and below the least number of copies, where nothing is, those before.
fn carriers(config: &Configuration) -> impl Iterator<Item = &Member> {
    config.members.iter().chain(&config.anchors)
}
