//! Proposals of nodes: what is granted, what is too late, who is believed (rules 4 and 11, I1, I4, R18).
//!
//! A proposal is granted only against the epoch in force, only with members that have every acknowledged write, and only with a primary from the last
//! configuration that had `min_copies`; and to nobody who cannot hear that it was. A lone accuser of a primary that still reports is not believed: a second member or the waiting
//! client must complain too, or the accuser itself is put out.

use crate::asks::{Judged, Stage};
use crate::{Effect, Zone};
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::time::Duration;
use base::{Configuration, Epoch, Member, NodeId, ShardId, Time};
use wire::{Cause, Echo, Locate, Located, Message, Proposal, ProposalOutcome, Propose, Proposed, Unheard};

/// What a node says back may be so old: as long as the silence after which somebody is gone (rule 4). So who finds all others silent because it hears
/// nobody any more has nothing to say back that still counts.
const ECHO_WITHIN: Duration = Duration::from_millis(250);

impl Zone {
    pub(crate) fn propose(&mut self, ticket: u64, m: &Propose) {
        if !self.is_mine_and_fresh(m.echo) {
            Sometimes::ProposalIsUnheard.happens();
            self.counters.unheard += 1;
            let echo = Echo { start: self.meta, at: self.now.0 };
            return self.answer(ticket, Unheard { batch: m.batch, echo });
        }
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Judging(alloc::vec![Judged::Open; m.proposals.len()]);
            self.judge_again(ticket);
        }
    }

    /// Whether whoever says this back heard it from this authority just now. Nothing is remembered of what was told to whom.
    fn is_mine_and_fresh(&self, echo: Option<Echo>) -> bool {
        echo.is_some_and(|echo| {
            let at = Time(echo.at);
            echo.start == self.meta && at <= self.now && self.now.since(at) <= ECHO_WITHIN
        })
    }

    /// Judges what is still open of a batch, and answers it when nothing is.
    pub(crate) fn judge_again(&mut self, ticket: u64) {
        let Some(ask) = self.asks.get_mut(&ticket) else { return };
        let (Peer::Node(from), Message::Propose(m)) = (ask.peer, &ask.message) else { return };
        let Stage::Judging(states) = &mut ask.stage else { return };
        let (m, mut states) = (m.clone(), core::mem::take(states));
        for (proposal, state) in m.proposals.iter().zip(&mut states) {
            if matches!(state, Judged::Open | Judged::Alone(_)) {
                *state = self.judge(from, proposal, state.clone());
            }
        }
        let waits = states.iter().any(|s| matches!(s, Judged::Alone(_)));
        self.asks.get_mut(&ticket).expect("it was found above").stage = Stage::Judging(states);
        if !waits && self.policy.mutation.is(Mutant::ToldBeforeDurable) {
            self.answer_proposals(ticket);
        } else if !waits {
            self.after(Effect::Proposed(ticket));
        }
    }

    fn judge(&mut self, from: NodeId, p: &Proposal, state: Judged) -> Judged {
        let Some(shard) = self.shards.get_mut(&p.shard) else {
            return Judged::Said(Box::new(ProposalOutcome::UnknownShard { shard: p.shard }));
        };
        let not_safe = Judged::Said(Box::new(ProposalOutcome::Unsafe { shard: p.shard }));
        if p.epoch > shard.config().epoch {
            // Epochs are told only when they are durable, so the metadata are older than what was told: nothing is decided on them.
            Sometimes::ProposalIsAhead.happens();
            shard.behind = true;
        }
        if shard.behind {
            return not_safe;
        }
        let c = &self.shards[&p.shard].record.config;
        let proposer = Member { node: from, store: self.nodes[&from].record.store };
        let concerned = c.is_member(proposer) || c.anchors.contains(&proposer);
        let stale_plan = p.admit.is_some() && p.admit != c.learner.map(|l| l.plan);
        // A learner that is not needed any more is about to be given up.
        let wanted = usize::from(c.target_copies) + self.leaving(c);
        let surplus = p.members.len() > wanted.max(c.members.len());
        let old = p.epoch < c.epoch && !self.policy.mutation.is(Mutant::StaleEpochGranted);
        if old || c.deleted || !concerned || stale_plan || surplus {
            Sometimes::ProposalIsStale.happens();
            return Judged::Decided;
        }
        let accuses = p.cause == Cause::PrimaryLost;
        let admitted = c.learner.filter(|l| p.admit == Some(l.plan)).map(|l| l.member.node);
        if accuses == (from == c.primary) || (accuses && p.primary == c.primary) || !self.can_carry(c, p) {
            Sometimes::ProposalIsUnsafe.happens();
            return not_safe;
        }
        if accuses && !self.is_believed(from, p.shard, p.epoch) {
            return match state {
                Judged::Alone(until) if until <= self.now => self.put_out(from, p.shard),
                Judged::Alone(until) => Judged::Alone(until),
                _ => {
                    Sometimes::AccuserIsAlone.happens();
                    Judged::Alone(self.now + self.policy.accusation_window)
                }
            };
        }
        let incomplete = if let Cause::MemberIncomplete { node } = p.cause { Some(node) } else { None };
        self.reconfigure(p.shard, p.primary, p.members.clone(), incomplete);
        if let Some(node) = admitted.and_then(|node| self.nodes.get_mut(&node)) {
            node.vouched = self.now;
        }
        Judged::Decided
    }

    /// Whether the members named can carry the shard on from its configuration.
    fn can_carry(&self, c: &Configuration, p: &Proposal) -> bool {
        let learner = c.learner.filter(|l| p.admit == Some(l.plan)).map(|l| l.member);
        let below = !c.has_min_copies();
        let knows = |m: &Member| c.is_member(*m) || learner == Some(*m) || (below && c.anchors.contains(m));
        let mut nodes: Vec<NodeId> = p.members.iter().map(|m| m.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let primary = p.members.iter().find(|m| m.node == p.primary);
        let outcast = matches!(p.cause, Cause::MemberLost { node } | Cause::MemberIncomplete { node }
            if p.members.iter().any(|m| m.node == node));
        nodes.len() == p.members.len()
            && p.members.iter().all(|m| knows(m) && !self.is_lost(*m))
            && primary.is_some_and(|m| c.anchors.contains(m))
            && !outcast
    }

    /// Whether the primary is to be taken for gone, now that `from` says so.
    fn is_believed(&mut self, from: NodeId, id: ShardId, epoch: Epoch) -> bool {
        self.accuse(Peer::Node(from), id, epoch);
        let shard = &self.shards[&id];
        let c = shard.config();
        let restarted = self.nodes.get(&c.primary).is_some_and(|n| n.restarted_at > shard.epoch_at);
        let second = shard.accusers.iter().any(|(peer, of, at)| {
            *peer != Peer::Node(from) && *of == epoch && self.now.since(*at) <= self.policy.accusation_window * 2
        });
        restarted || second || !self.is_alive(c.member_on(c.primary))
    }

    /// Takes note of an accusation, by a member or by the client.
    fn accuse(&mut self, by: Peer, id: ShardId, epoch: Epoch) {
        let now = self.now;
        let Some(shard) = self.shards.get_mut(&id) else { return };
        shard.accusers.retain(|(peer, ..)| *peer != by);
        shard.accusers.push((by, epoch, now));
    }

    /// A primary that still reports was accused by one alone: it is the accuser that is in the way, and it leaves, unless too few would remain.
    fn put_out(&mut self, accuser: NodeId, id: ShardId) -> Judged {
        let shard = self.shards.get_mut(&id).expect("an accused shard exists");
        shard.accusers.retain(|(peer, ..)| *peer != Peer::Node(accuser));
        let c = shard.record.config.clone();
        let rest: Vec<Member> = c.members.iter().copied().filter(|m| m.node != accuser).collect();
        if rest.len() < c.members.len() && rest.len() >= usize::from(c.min_copies) {
            // It would accuse again at once if it were admitted at once.
            Sometimes::AccuserIsPutOut.happens();
            shard.learners.tried(self.now, &mut self.timing);
            self.reconfigure(id, c.primary, rest, None);
        }
        Judged::Said(Box::new(ProposalOutcome::NotBelieved { shard: id }))
    }

    /// The next epoch of a shard. Who left because its disk is gone or what it has is not whole, carries nothing on.
    pub(crate) fn reconfigure(
        &mut self,
        id: ShardId,
        primary: NodeId,
        members: Vec<Member>,
        incomplete: Option<NodeId>,
    ) {
        let old = &self.shards[&id].config().members;
        let lost: Vec<Member> = old.iter().copied().filter(|m| self.is_lost(*m)).collect();
        let learner = self.shards[&id].config().learner.map(|l| l.member);
        let returned = self.policy.mutation.is(Mutant::ReturnedIsWhole);
        let filled = |m: &&Member| !old.contains(m) && (Some(**m) == learner || returned);
        let admitted = members.iter().find(filled).map(|m| m.node);
        let mutation = self.policy.mutation;
        self.change(id, |r| {
            let before = (r.config.epoch, r.served_by.clone());
            r.reconfigure(primary, members);
            if mutation.is(Mutant::EpochNotRaised) {
                r.config.epoch = before.0;
            }
            if mutation.is(Mutant::ServedByForgotten) {
                r.served_by = before.1;
            }
            if mutation.is(Mutant::AnchorsForgotten) {
                r.config.anchors = r.config.members.clone();
            }
            r.config.holders.retain(|m| !lost.contains(m));
            if !r.config.has_min_copies() {
                r.config.anchors.retain(|m| Some(m.node) != incomplete);
            }
        });
        let held = admitted.and_then(|node| self.nodes.get_mut(&node)?.held.get_mut(&id));
        if let Some(held) = held {
            // It was filled: what it said of this replica when it registered was true then.
            held.standing = base::log::Standing::Complete;
        }
    }

    /// Answers a batch, when what was granted is durable. A wish that is in force is granted, whoever made it so: a proposal may come twice.
    pub(crate) fn answer_proposals(&mut self, ticket: u64) {
        let Some(ask) = self.asks.get(&ticket) else { return };
        let (Message::Propose(m), Stage::Judging(states)) = (&ask.message, &ask.stage) else { return };
        let early = self.policy.mutation.is(Mutant::ToldBeforeDurable);
        let outcome = |p: &Proposal, state: &Judged| match state {
            Judged::Said(outcome) => (**outcome).clone(),
            Judged::Open | Judged::Alone(_) => unreachable!("a batch is answered when all of it is judged"),
            Judged::Decided => {
                let told =
                    |s: &crate::shards::Shard| if early { Some(s.record.config.clone()) } else { s.durable.clone() };
                let Some(config) = self.shards.get(&p.shard).and_then(told) else {
                    return ProposalOutcome::UnknownShard { shard: p.shard };
                };
                let same = config.members.len() == p.members.len() && p.members.iter().all(|m| config.is_member(*m));
                if config.epoch > p.epoch && config.primary == p.primary && same && !config.deleted {
                    ProposalOutcome::Granted { config }
                } else {
                    ProposalOutcome::Superseded { config }
                }
            }
        };
        let outcomes = m.proposals.iter().zip(states).map(|(p, s)| outcome(p, s)).collect();
        let answer = Proposed { batch: m.batch, outcomes };
        self.answer(ticket, answer);
    }

    /// Somebody asks for a configuration; a client whose I/O waits complains by it.
    pub(crate) fn locate(&mut self, peer: Peer, m: &Locate) {
        if m.waiting_ms > 0 {
            self.complain(peer, m.shard, m.epoch);
        }
        let config = self.shards.get(&m.shard).and_then(|s| s.durable.clone());
        self.send(peer, Located { shard: m.shard, config });
    }

    /// I/O of `peer` waits in this epoch. Counts only from the client, about what is in force.
    pub(crate) fn complain(&mut self, peer: Peer, id: ShardId, epoch: Epoch) {
        let Some(config) = self.shards.get(&id).and_then(|s| s.durable.as_ref()) else { return };
        if config.epoch == epoch && config.client.map(Peer::Host) == Some(peer) {
            self.accuse(peer, id, epoch);
        }
    }
}
