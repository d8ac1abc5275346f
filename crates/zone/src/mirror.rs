//! Making a shard whole again, and only then letting go of what is kept (rules 5 and 6, R6, R11, R13).
//!
//! ```text
//! short -a holder is back-> it learns (by delta) -admitted-> whole -serving-> holders are released
//! short -nobody came back for remirror_after, or one copy is left-> a new node learns
//! ```
//!
//! Where many lost touch with each other at once nobody new learns before the lost have failed (`touch.rs`).
//!
//! At most one learner a shard, and a bounded number a node, in and out. Nothing is released while the shard is short.

use crate::Zone;
use crate::placement::{Beside, Candidate, choose};
use crate::records::Key;
use crate::ties::Near;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::time::Duration;
use base::{Configuration, Member, NodeId, ShardId};
use wire::{NodeCondition, Release};

/// A release that is not confirmed is sent again after so long.
const RELEASE_AGAIN: Duration = Duration::from_secs(5);
/// A shard for which all are busy waits for a turn of so many of them.
const QUEUES_MAX: usize = 8;
/// After so many attempts in vain with who is there already, somebody new may learn instead.
const TRIES_BEFORE_NEW: u32 = 3;
/// Each attempt that stood still makes the wait before the next longer by `failed_after`, up to so many times.
const STALLS_COUNTED: u32 = 5;

/// Whether there are as many members as wanted, wherever they are.
pub(crate) fn is_whole(c: &Configuration) -> bool {
    c.members.len() >= usize::from(c.target_copies)
}

impl Zone {
    /// Does the next thing for the copies of a shard.
    pub(crate) fn mirror(&mut self, id: ShardId) {
        let c = self.shards[&id].config();
        let (whole, learns) = (self.is_settled(c), c.learner.is_some());
        match (whole, learns) {
            (_, true) => self.supervise(id),
            (false, false) => {
                if self.policy.mutation.is(Mutant::ReleasedTooSoon) {
                    self.release_holders(id);
                    self.send_releases(id);
                }
                self.fill(id);
            }
            (true, false) => {
                if self.shed(id) {
                    return;
                }
                self.release_holders(id);
                self.send_releases(id);
            }
        }
    }

    /// Gives a learner up that does not come on, or is not needed any more.
    fn supervise(&mut self, id: ShardId) {
        let shard = &self.shards[&id];
        let c = shard.config();
        let Some(learner) = c.learner else { return };
        let stalled_at = shard.progress_at.max(shard.epoch_at) + self.policy.failed_after;
        let led = self.is_alive(c.member_on(c.primary));
        let surplus = self.is_settled(c);
        // Nobody will fill it, and it must not keep others waiting for its turn.
        let orphan = c.member_on(c.primary).is_none_or(|m| self.has_failed(m));
        let stalled = led && self.is_alive(Some(learner.member)) && stalled_at <= self.now;
        let slow = self.is_slow(learner.member.node) && c.has_min_copies();
        if surplus || orphan || self.has_failed(learner.member) || stalled || slow {
            self.change(id, |r| r.give_up_learner());
            let (now, patience) = (self.now, self.policy.failed_after);
            let shard = self.shards.get_mut(&id).expect("it was found above");
            shard.learners.tried(now, &mut self.timing);
            if stalled {
                // Everybody was there and nothing came of it: soon again nothing would.
                Sometimes::LearnerStalls.happens();
                let longer = now + patience * shard.learners.tries.min(STALLS_COUNTED);
                shard.learners.at = shard.learners.at.max(longer);
            }
        } else if led && stalled_at > self.now {
            self.wake(id, stalled_at);
        }
    }

    /// Chooses who learns next.
    fn fill(&mut self, id: ShardId) {
        let c = self.shards[&id].config().clone();
        if !self.shards[&id].record.releasing.is_empty() {
            // What was to go is needed after all. If it has gone already, its node will say so.
            Sometimes::ReleaseIsTakenBack.happens();
            self.change(id, |r| {
                let back = core::mem::take(&mut r.releasing);
                r.config.holders.extend(back);
            });
            return;
        }
        // Only a primary can fill a learner; when there is one again, this is looked at again.
        if !self.is_alive(c.member_on(c.primary)) {
            return;
        }
        let not_before = self.shards[&id].learners.at;
        if not_before > self.now {
            self.wake(id, not_before);
            return;
        }
        let uncounted = self.policy.mutation.is(Mutant::LearnersUncounted);
        if self.ledger.learning_out(c.primary) >= self.policy.learn_out_max && !uncounted {
            self.queue(id, [c.primary]);
            return;
        }
        let returned: Vec<Member> = c.holders.iter().copied().filter(|m| self.can_rejoin(&c, *m)).collect();
        let tries = self.shards[&id].learners.tries;
        let lost_at_once = self.lost_may_come_back_until(&c);
        if !returned.is_empty() && (lost_at_once.is_some() || tries % (TRIES_BEFORE_NEW + 1) < TRIES_BEFORE_NEW) {
            let free = returned.iter().find(|m| self.ledger.learning_in(m.node) < self.policy.learn_in_max);
            match free {
                Some(member) => self.begin_learning(id, *member),
                None => self.queue(id, returned.iter().map(|m| m.node)),
            }
            return;
        }
        let at_risk = c.members.len() == 1;
        let short_since = self.shards[&id].short_since.unwrap_or(self.now);
        // Nobody comes back from a node that is drained.
        let new_at = match at_risk || is_whole(&c) {
            // Whoever lost its other member may have lost many: it says so within this time.
            true if self.has_lost(&c) => short_since + self.policy.suspect_after,
            true => self.now,
            false => short_since + self.policy.remirror_after,
        };
        if new_at > self.now && returned.is_empty() {
            self.wake(id, new_at);
            return;
        }
        if let Some(until) = lost_at_once {
            // The previous replicas first. It is looked at again when they fail or are heard, when nobody is isolated any more, or when it was long enough.
            self.starving.insert(id);
            self.wake(id, until);
            return;
        }
        self.place_learner(id, &c, returned.first().copied());
    }

    /// Whether a holder is back, and may learn to be a member beside the others.
    fn can_rejoin(&self, c: &Configuration, member: Member) -> bool {
        // Who is slow would make all writes wait again.
        let unwanted = (self.is_draining(member.node) || self.is_slow(member.node)) && c.has_min_copies();
        self.is_alive(Some(member))
            && c.member_on(member.node).is_none()
            && !self.comes_back_whole(c, member)
            && !unwanted
    }

    /// Finds room for a new copy on a node that has none, or falls back on who is there.
    fn place_learner(&mut self, id: ShardId, c: &Configuration, otherwise: Option<Member>) {
        let bytes = self.ledger.bytes_of(&self.shards[&id].record);
        let mut placing = self.placing.clone();
        let mut candidates = self.fast_candidates(1);
        let taken: Vec<NodeId> = c.members.iter().chain(&c.holders).map(|m| m.node).collect();
        candidates.retain(|m| !self.comes_back_whole(c, m.member) && !taken.contains(&m.member.node));
        let is_free = |node: NodeId| self.ledger.learning_in(node) < self.policy.learn_in_max;
        let nodes: Vec<NodeId> = c.members.iter().map(|m| m.node).collect();
        // What a node lost comes back in several places at once, so it may have some partners more than it had.
        let near = &mut Near::new(self.ledger.ties(), self.policy.partners + self.policy.partners / 2);
        let with_room = || candidates.iter().filter(|m| m.free() >= bytes).map(|m| m.member.node);
        let busy = || with_room().filter(|node| !is_free(*node));
        // Who has lost all others waits for nobody.
        let may_wait = c.has_min_copies() && c.members.len() > 1;
        if may_wait && near.waits(&nodes, with_room().map(|node| (node, is_free(node)))) {
            let waited_for = near.tied_among(&nodes, busy());
            return self.queue(id, waited_for);
        }
        let mut busy: Vec<NodeId> = busy().take(QUEUES_MAX).collect();
        candidates.retain(|m| is_free(m.member.node));
        let racks: Vec<&str> =
            c.members.iter().filter_map(|m| Some(self.nodes.get(&m.node)?.record.rack.as_str())).collect();
        let found = choose(&mut placing, &mut candidates, 1, bytes, Beside { racks, nodes, near });
        // Whoever is there waits for a turn too.
        let uncounted = self.policy.mutation.is(Mutant::FallbackUncounted);
        busy.extend(otherwise.map(|m| m.node).filter(|node| !is_free(*node)));
        let otherwise = otherwise.filter(|m| is_free(m.node) || uncounted);
        self.placing = placing;
        if let Some(member) = found.ok().and_then(|m| m.first().copied()).or(otherwise) {
            self.begin_learning(id, member);
            return;
        }
        // Nobody searches: it is looked at again when room or a turn comes free, and in any case after a while.
        self.starving.insert(id);
        self.queue(id, busy);
        let shard = self.shards.get_mut(&id).expect("it was found above");
        let at = shard.learners.later(self.now, &mut self.timing);
        self.wake(id, at);
    }

    fn begin_learning(&mut self, id: ShardId, member: Member) {
        let revision = self.truth.revision(&Key::Shard(id));
        self.change(id, |r| r.begin(member, revision));
        if self.policy.mutation.is(Mutant::AdmittedUnlearned) {
            let c = self.shards[&id].config();
            let (primary, members) = (c.primary, c.members.iter().copied().chain([member]).collect());
            self.reconfigure(id, primary, members, None);
        }
        self.starving.remove(&id);
    }

    /// Every disk that may take a new copy, in order: its node is up, not in quarantine (R21), and not drained.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        let up = self.nodes.values().filter(|n| n.condition == NodeCondition::Up);
        let up = up.filter(|n| n.is_heard(self.now, self.policy.heard_within()) && !n.record.draining);
        up.map(|n| {
            let limit = self.policy.promised_of(n.space.capacity);
            let member = n.record.member();
            Candidate { member, rack: &n.record.rack, limit, taken: self.ledger.taken(member) }
        })
        .collect()
    }

    /// Those of them that are not slow, unless these are fewer than needed.
    pub(crate) fn fast_candidates(&self, needed: usize) -> Vec<Candidate<'_>> {
        let mut all = self.candidates();
        if all.iter().filter(|c| !self.is_slow(c.member.node)).count() >= needed {
            all.retain(|c| !self.is_slow(c.member.node));
        }
        all
    }

    /// The shard is whole and serves: its holders may go, each only from a node that is up and out of quarantine. Recorded first, sent when durable.
    fn release_holders(&mut self, id: ShardId) {
        let shard = &self.shards[&id];
        if !shard.serves() {
            return;
        }
        let may_go = |m: &Member| {
            self.nodes.get(&m.node).is_some_and(|n| n.condition == NodeCondition::Up && n.record.store == m.store)
        };
        let going: Vec<Member> = shard.config().holders.iter().copied().filter(may_go).collect();
        if !going.is_empty() {
            self.change(id, |r| {
                r.config.holders.retain(|m| !going.contains(m));
                r.releasing.extend(going);
            });
        }
    }

    /// Tells those that may go, until they have said that they are gone. What is durable is what is sent.
    pub(crate) fn send_releases(&mut self, id: ShardId) {
        let shard = &self.shards[&id];
        if self.truth.is_pending(&Key::Shard(id)) || shard.record.releasing.is_empty() {
            return;
        }
        if let Some(again_at) = shard.released_at.map(|at| at + RELEASE_AGAIN)
            && again_at > self.now
        {
            self.wake(id, again_at);
            return;
        }
        let Some(c) = &shard.durable else { return };
        let (epoch, deleted) = (c.epoch, c.deleted);
        let here: Vec<Member> = shard.record.releasing.iter().copied().filter(|m| self.is_alive(Some(*m))).collect();
        for member in &here {
            let node = Peer::Node(member.node);
            if deleted {
                // A recorded deletion is a release by itself.
                self.push(node, id);
            } else if self.nodes[&member.node].condition == NodeCondition::Up
                && (is_whole(self.shards[&id].config()) || self.policy.mutation.is(Mutant::ReleasedTooSoon))
            {
                self.send(node, Release { shard: id, member: *member, epoch });
            }
        }
        if !here.is_empty() {
            let now = self.now;
            self.shards.get_mut(&id).expect("it was found above").released_at = Some(now);
            self.wake(id, now + RELEASE_AGAIN);
        }
    }
}
