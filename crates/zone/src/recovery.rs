//! Leading a shard on without a proposal: when its primary is gone and nobody asks, when a member will not come back, and when members that can
//! carry it on return while too few are left (rule 11).
//!
//! Nodes are expected to propose by themselves, and faster; what is here is for the cases in which nobody is left to do so.

use crate::Zone;
use alloc::vec::Vec;
use base::log::Standing;
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{Configuration, Member, NodeId, ShardId, Time};

/// A primary that says nothing of its epoch for so many times `elect_after` does not know that it is one.
const UNREPORTED: u32 = 3;

impl Zone {
    /// Gives the shard a new configuration, if it needs one that nobody else will ask for.
    pub(crate) fn lead(&mut self, id: ShardId) {
        let c = self.shards[&id].config().clone();
        let led = self.led_since(id, &c);
        if c.has_min_copies() && led.is_ok() {
            self.count_out_failed(id, &c);
            return;
        }
        let usable = self.usable(&c);
        let wait_until = match led {
            Err(gone_at) => gone_at.max(self.shards[&id].epoch_at) + self.policy.elect_after,
            Ok(()) => Time::ZERO,
        };
        let at = wait_until.max(self.shards[&id].elections.at);
        let enough = usable.len() >= usize::from(c.min_copies);
        // Fewer than enough lead nowhere, unless the others are known not to come.
        let rest_failed = c.members.iter().all(|m| usable.contains(m) || self.has_failed(*m));
        let gains = led.is_err() || usable.iter().any(|m| !c.is_member(*m));
        if usable.is_empty() || !gains || !(enough || rest_failed || !c.has_min_copies()) {
            return;
        }
        // The same members again serve no more than before. But a primary that was restarted leads its epoch no more, so it fills no learner either, and where
        // the others' disks are lost nobody else will come back.
        let same = usable.len() == c.members.len() && usable.iter().all(|m| c.is_member(*m));
        let left_waiting = self.policy.mutation.is(Mutant::LastLeftWaiting);
        if left_waiting && same && !c.has_min_copies() && self.is_alive(c.member_on(c.primary)) {
            return;
        }
        if at > self.now {
            self.wake(id, at);
            return;
        }
        let Some(primary) = self.choose_primary(id, &c, &usable) else { return };
        let shard = self.shards.get_mut(&id).expect("it was found above");
        shard.elections.tried(self.now, &mut self.timing);
        Sometimes::AuthorityElects.happens();
        self.reconfigure(id, primary, usable, None);
    }

    /// Whether the shard has a primary that is there and knows it; if not, since when.
    fn led_since(&mut self, id: ShardId, c: &Configuration) -> Result<(), Time> {
        let shard = &self.shards[&id];
        let epoch_at = shard.epoch_at;
        let reported = shard.report.is_some();
        let member = c.member_on(c.primary);
        let Some(node) = self.nodes.get(&c.primary) else { return Err(Time::ZERO) };
        if !self.is_alive(member) {
            let lost = member.is_some_and(|m| self.is_lost(m));
            return Err(match (lost, node.linked) {
                (true, _) => node.restarted_at,
                (false, true) => node.heard,
                (false, false) => node.down_at,
            });
        }
        if reported {
            return Ok(());
        }
        if node.restarted_at > epoch_at {
            return Err(node.restarted_at);
        }
        // It is there and silent about the shard: it says all it leads after it registers, so after a while it does not lead it.
        let unreported = epoch_at.max(node.registered_at) + self.policy.elect_after * (UNREPORTED - 1);
        if self.now < unreported {
            self.wake(id, unreported);
            return Ok(());
        }
        Sometimes::PrimaryIsUnaware.happens();
        Err(unreported)
    }

    /// The replicas that are there and can be members of the next configuration.
    fn usable(&self, c: &Configuration) -> Vec<Member> {
        let returning = c.anchors.iter().filter(|m| c.member_on(m.node).is_none() && self.comes_back_whole(c, **m));
        let here = c.members.iter().chain(returning).copied().filter(|m| self.is_alive(Some(*m)));
        // Members come first; of those who return, no more than there is room for in the number of copies.
        here.take(usize::from(c.target_copies).max(c.members.len())).collect()
    }

    /// Whether a replica outside a configuration below `min_copies` can simply be a member again. Such a one must never be taught: learning begins
    /// by giving up what it has, and what it has is what may carry the shard on.
    pub(crate) fn comes_back_whole(&self, c: &Configuration, member: Member) -> bool {
        !c.has_min_copies() && c.anchors.contains(&member) && (c.newborn || !self.is_partial(c.shard, member))
    }

    /// Whether a replica said, when its node registered, that its log was damaged (rule 12).
    pub(crate) fn is_suspect(&self, id: ShardId, member: Member) -> bool {
        let held = self.nodes.get(&member.node).and_then(|n| n.held.get(&id));
        held.is_some_and(|h| h.standing == Standing::Suspect)
    }

    /// Whether a replica said, when its node registered, that it has only a part.
    fn is_partial(&self, id: ShardId, member: Member) -> bool {
        if self.policy.mutation.is(Mutant::PartialElected) {
            return false;
        }
        let held = self.nodes.get(&member.node).and_then(|n| n.held.get(&id));
        held.is_some_and(|h| matches!(h.standing, Standing::Reserved | Standing::Learning { .. } | Standing::Suspect))
    }

    /// Who of `usable` is to lead: as before if it can, but not again and again when that does not work.
    fn choose_primary(&mut self, id: ShardId, c: &Configuration, usable: &[Member]) -> Option<NodeId> {
        let whole = |m: &&Member| c.anchors.contains(m) && (c.newborn || !self.is_partial(id, **m));
        let fit: Vec<NodeId> = usable.iter().filter(whole).map(|m| m.node).collect();
        let first_try = self.shards[&id].elections.tries == 0;
        if first_try && fit.contains(&c.primary) {
            return Some(c.primary);
        }
        self.placing.pick(&fit).copied()
    }

    /// Drops members that will not come back, when the primary did not ask for it. Only then can a new copy be made.
    fn count_out_failed(&mut self, id: ShardId, c: &Configuration) {
        let rest: Vec<Member> =
            c.members.iter().copied().filter(|m| m.node == c.primary || !self.has_failed(*m)).collect();
        if rest.len() < c.members.len() {
            Sometimes::AuthorityCountsOut.happens();
            self.reconfigure(id, c.primary, rest, None);
        }
    }
}
