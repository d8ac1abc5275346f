//! When the authority is asked for another configuration, and for which (rule 4).
//!
//! A wish follows from the state alone and is computed anew after each turn. A configuration below `min_copies` is not wished for because
//! somebody is gone (waiting costs the same and can end without the authority), only to be rid of a member that is incomplete.

use crate::{Context, Effects, Replica, Role};
use alloc::vec::Vec;
use base::log::Standing;
use base::{Member, NodeId, Time};
use wire::{Cause, Proposal, ProposalOutcome, ShardCondition};

/// What was last wished for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    outstanding: Option<Proposal>,
    not_before: Option<Time>,
}

impl Wish {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }
}

impl Replica {
    /// What the authority made of our wish.
    pub fn on_outcome(&mut self, cx: &Context<'_>, outcome: &ProposalOutcome, fx: &mut Effects) {
        // None when its configuration was told before the answer was: then the wish is of an epoch that is over, and holds nothing back.
        let asked = self.wish.outstanding.take();
        let told = matches!(outcome, ProposalOutcome::Granted { .. } | ProposalOutcome::Superseded { .. });
        match outcome {
            ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } => {
                self.on_config(cx, config, fx)
            }
            ProposalOutcome::NotBelieved { .. }
            | ProposalOutcome::Unsafe { .. }
            | ProposalOutcome::UnknownShard { .. } => {}
        }
        let over = told && asked.is_none_or(|p| p.epoch < self.register.promised);
        if !self.gone && !over {
            // Nothing came of it: whatever still needs another configuration asks again, not at once.
            self.wish.not_before = Some(cx.now + cx.policy.wish_retry);
            self.wake_at(cx.now + cx.policy.wish_retry);
        }
    }

    /// Compares what should be wished for with what was.
    pub(crate) fn reconsider(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if let Some(at) = self.wish.not_before.filter(|at| cx.now < *at) {
            return self.wake_at(at);
        }
        let wished = self.wanted(cx);
        if wished != self.wish.outstanding {
            self.wish.outstanding.clone_from(&wished);
            fx.wishes.push((self.shard, wished));
            fx.changed.push(self.shard);
        }
    }

    fn wanted(&mut self, cx: &Context<'_>) -> Option<Proposal> {
        let config = &self.register.config;
        let counts = config.is_member(self.me) && self.register.standing == Standing::Complete;
        if !counts || config.deleted {
            return None;
        }
        if let Some(until) = self.others_may_start_until(cx)
            && config.members.iter().any(|m| m.node != self.me.node && !cx.peers.is_met(m.node))
        {
            self.wake_at(until);
        }
        match &self.role {
            Role::Serving(_) => self.wanted_by_primary(cx),
            Role::Electing(_) => self.wanted_by_candidate(cx),
            Role::Follower(f) => {
                let complained = f.complained;
                self.wanted_by_follower(cx, complained)
            }
            Role::Learner(_) => None,
        }
    }

    fn wanted_by_primary(&self, cx: &Context<'_>) -> Option<Proposal> {
        let Role::Serving(s) = &self.role else { return None };
        let waits = s.has_waiting() || self.has_reads_waiting_for_mends();
        let lost = |n: NodeId| s.unfit == Some(n) || self.is_peer_dead(cx, n) || (waits && self.is_peer_gone(cx, n));
        let admit = s.teaching.as_ref().and_then(|t| t.admissible());
        let mut members = self.without(lost);
        let missing = self.register.config.members.iter().map(|m| m.node).find(|n| lost(*n));
        let cause = match (admit, missing) {
            (Some(learner), _) => {
                members.push(learner.member);
                Cause::Learned
            }
            (None, Some(node)) if s.unfit == Some(node) => Cause::MemberIncomplete { node },
            (None, Some(node)) => Cause::MemberLost { node },
            (None, None) => return None,
        };
        self.proposal(self.me.node, members, admit.map(|l| l.plan), cause)
    }

    fn wanted_by_candidate(&self, cx: &Context<'_>) -> Option<Proposal> {
        let Role::Electing(e) = &self.role else { return None };
        let awaited = e.awaited();
        let unfit = self.election_unfit();
        if let Some((node, cause)) = unfit
            && node == self.me.node
        {
            // We cannot lead: whoever else is there must.
            let members = self.without(|n| n == node || self.is_peer_gone(cx, n));
            let primary = members.first()?.node;
            return self.proposal(primary, members, None, cause);
        }
        let lost = |n: NodeId| unfit.is_some_and(|(u, _)| u == n) || (awaited.contains(&n) && self.is_peer_gone(cx, n));
        let missing = self.register.config.members.iter().map(|m| m.node).find(|n| lost(*n))?;
        let cause = unfit.map_or(Cause::MemberLost { node: missing }, |(_, cause)| cause);
        self.proposal(self.me.node, self.without(lost), None, cause)
    }

    fn wanted_by_follower(&mut self, cx: &Context<'_>, complained: bool) -> Option<Proposal> {
        let config = &self.register.config;
        let (primary, me) = (config.primary, self.me.node);
        let others: Vec<NodeId> = config.members.iter().map(|m| m.node).filter(|n| *n != me).collect();
        let cause = match self.restarted {
            Some(_) if primary == me => Cause::Restarted,
            _ if self.is_peer_dead(cx, primary) => Cause::PrimaryLost,
            _ if complained && self.is_gone_for_clients(cx, primary) => Cause::PrimaryLost,
            _ => return None,
        };
        // After a restart of several nodes at once, a wish names everybody who is back within a second.
        if let Some(since) = self.restarted {
            let until = since + cx.policy.regroup_after;
            if cx.now < until && !others.iter().all(|n| cx.peers.is_up(*n)) {
                self.wake_at(until);
                return None;
            }
        }
        let restarted = self.restarted.is_some();
        let lost = |n: NodeId| {
            let unseen = restarted && !cx.peers.is_up(n);
            n != me && (unseen || self.is_peer_gone(cx, n) || (n == primary && cause == Cause::PrimaryLost))
        };
        self.proposal(me, self.without(lost), None, cause)
    }

    /// This process began just now, and perhaps others of its zone with it: one whose address refuses may be about to listen. To leave such a
    /// node out would cost it a whole new copy of what it has.
    fn others_may_start_until(&self, cx: &Context<'_>) -> Option<Time> {
        self.began.map(|began| began + cx.policy.regroup_after).filter(|until| cx.now < *until)
    }

    fn may_yet_start(&self, cx: &Context<'_>, node: NodeId) -> bool {
        !cx.peers.is_met(node) && self.others_may_start_until(cx).is_some()
    }

    fn is_peer_dead(&self, cx: &Context<'_>, node: NodeId) -> bool {
        cx.peers.is_dead(node) && !self.may_yet_start(cx, node)
    }

    fn is_peer_gone(&self, cx: &Context<'_>, node: NodeId) -> bool {
        cx.peers.is_gone(node) && !self.may_yet_start(cx, node)
    }

    fn is_gone_for_clients(&self, cx: &Context<'_>, node: NodeId) -> bool {
        cx.peers.is_gone_for_clients(node) && !self.may_yet_start(cx, node)
    }

    fn without(&self, lost: impl Fn(NodeId) -> bool) -> Vec<Member> {
        self.register.config.members.iter().copied().filter(|m| !lost(m.node)).collect()
    }

    fn proposal(&self, primary: NodeId, members: Vec<Member>, admit: Option<u64>, cause: Cause) -> Option<Proposal> {
        let config = &self.register.config;
        // Whoever is incomplete will stay so until it has learned: waiting for it would last for ever.
        let enough = members.len() >= usize::from(config.min_copies) || matches!(cause, Cause::MemberIncomplete { .. });
        enough.then_some(Proposal { shard: self.shard, epoch: config.epoch, primary, members, admit, cause })
    }

    /// Of a primary whose I/O waits: for whom?
    pub(crate) fn waiting_condition(&self, cx: &Context<'_>, otherwise: ShardCondition) -> ShardCondition {
        let config = &self.register.config;
        let there = config.members.iter().filter(|m| m.node == self.me.node || !cx.peers.is_gone(m.node)).count();
        if there < usize::from(config.min_copies) {
            ShardCondition::AwaitingMember
        } else if self.wish.is_outstanding() {
            ShardCondition::AwaitingAuthority
        } else {
            otherwise
        }
    }
}
