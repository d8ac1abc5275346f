//! Draining a node: all that it has is made anew elsewhere before it leaves, so that no shard ever has a copy less for it.
//!
//! ```text
//! whole, a member on a node that is drained -another learns-> a member more than wanted -serving-> the drained one leaves, a holder -> released
//! ```
//!
//! The copies are made within the same bounds as all others. That a node is drained is recorded with it, so it goes on after a restart of either. A node that
//! holds nothing any more can be stopped for good and forgotten.

use crate::nodes::Node;
use crate::placement::{Beside, Candidate, choose};
use crate::records::Key;
use crate::ties::Near;
use crate::{Effect, Zone};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::size::Size;
use base::{Configuration, Member, NodeId, ShardId};
use wire::{Drain, ErrorCode, NodeOrder, NodeReply};

impl Zone {
    /// Whether all that a node has is to be somewhere else.
    pub(crate) fn is_draining(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.record.draining)
    }

    /// Members of a configuration that are to leave it when there are others.
    pub(crate) fn leaving(&self, c: &Configuration) -> usize {
        c.members.iter().filter(|m| self.is_draining(m.node)).count()
    }

    /// Whether there are as many members as wanted, without those that are to leave.
    pub(crate) fn is_settled(&self, c: &Configuration) -> bool {
        c.members.len() - self.leaving(c) >= usize::from(c.target_copies)
    }

    /// Lets a member go that is one more than wanted, once all the others are there and the shard serves with them. Whether it did.
    pub(crate) fn shed(&mut self, id: ShardId) -> bool {
        let shard = &self.shards[&id];
        let c = shard.config();
        if c.members.len() <= usize::from(c.target_copies) || !shard.serves() {
            return false;
        }
        // One on a node that is drained; or, when that was taken back, one that leads nothing.
        let drained = c.members.iter().find(|m| self.is_draining(m.node));
        let Some(going) = drained.or(c.members.iter().rfind(|m| m.node != c.primary)).copied() else { return false };
        let rest: Vec<Member> = c.members.iter().copied().filter(|m| *m != going).collect();
        if !rest.iter().all(|m| self.is_alive(Some(*m)) && !self.is_suspect(id, *m)) {
            return false;
        }
        let primary = if going.node == c.primary { self.least_leading(&rest) } else { c.primary };
        self.counters.drained += u64::from(drained.is_some());
        self.reconfigure(id, primary, rest, None);
        true
    }

    /// How far a node has come that is drained.
    pub(crate) fn drain_of(&self, node: &Node) -> Option<Drain> {
        let account = self.ledger.of(node.record.member());
        let replicas = account.map_or(0, |a| a.shards.len() as u32);
        node.record.draining.then(|| Drain { replicas, bytes: self.ledger.taken(node.record.member()) })
    }

    pub(crate) fn alter_node(&mut self, ticket: u64, id: NodeId, order: NodeOrder) {
        let draining = match (self.nodes.get(&id), order) {
            // It was forgotten by this very question, before its answer was lost.
            (None, NodeOrder::Remove) => return self.answer_after(ticket, Effect::Altered { ticket, node: id }),
            (None, _) => return self.fail(ticket, ErrorCode::NotFound, format!("there is no {id} in this zone")),
            (Some(_), NodeOrder::Remove) => return self.remove_node(ticket, id),
            (Some(node), NodeOrder::Drain) if !node.record.draining => match self.room_without(id) {
                Ok(()) => true,
                Err(text) => return self.fail(ticket, ErrorCode::NoRoom, text),
            },
            (Some(_), NodeOrder::Drain) => true,
            (Some(_), NodeOrder::Undrain) => false,
        };
        let node = self.nodes.get_mut(&id).expect("it was found above");
        if node.record.draining != draining {
            node.record.draining = draining;
            let member = node.record.member();
            self.truth.touch(Key::Node(id));
            self.wake_all_of(member);
            self.wake_starving();
        }
        self.answer_after(ticket, Effect::Altered { ticket, node: id });
    }

    /// Forgets a node that is stopped and holds nothing.
    fn remove_node(&mut self, ticket: u64, id: NodeId) {
        let node = &self.nodes[&id];
        let member = node.record.member();
        let holds = self.ledger.of(member).map_or(0, |a| a.shards.len());
        let text = if holds > 0 {
            let bytes = Size(self.ledger.taken(member));
            Some(format!("{id} still holds {holds} replicas of {bytes}; drain it first: `seawall node drain {id}`"))
        } else if node.registered {
            Some(format!("{id} holds nothing and its process runs; stop that one first, or it would come back at once"))
        } else {
            None
        };
        if let Some(text) = text {
            return self.fail(ticket, ErrorCode::InUse, text);
        }
        self.nodes.remove(&id);
        self.given_up.remove(&id);
        self.counters.removed += 1;
        self.truth.touch(Key::Node(id));
        self.after(Effect::Directory);
        self.answer_after(ticket, Effect::Altered { ticket, node: id });
    }

    /// What came of it is durable.
    pub(crate) fn altered(&mut self, ticket: u64, node: NodeId) {
        if self.nodes.contains_key(&node) {
            self.describe_nodes(ticket, Some(node));
        } else {
            self.answer(ticket, NodeReply { nodes: Vec::new() });
        }
    }

    /// Whether every replica of a node finds a place elsewhere; if not, why, with the numbers.
    fn room_without(&mut self, id: NodeId) -> Result<(), String> {
        let member = self.nodes[&id].record.member();
        // What is drawn among one is no draw.
        let mut placing = self.placing.clone();
        let mut elsewhere: Vec<Candidate<'_>> = self.candidates();
        elsewhere.retain(|c| c.member.node != id);
        let free = |all: &[Candidate<'_>]| {
            let each: Vec<String> =
                all.iter().take(8).map(|c| format!("{} {}", c.member.node, Size(c.free()))).collect();
            if each.is_empty() { "none".into() } else { each.join(", ") }
        };
        let (before, needed) = (free(&elsewhere), self.ledger.of(member).map_or(0, |a| a.reserved));
        let mut shards: Vec<(u64, ShardId)> = Vec::new();
        for shard in self.ledger.shards_of(member) {
            let record = &self.shards[&shard].record;
            if record.config.is_member(member) && !record.config.deleted {
                shards.push((self.ledger.bytes_of(record), shard));
            }
        }
        // The largest first: what is left over for them is least.
        shards.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, shard) in shards {
            let c = &self.shards[&shard].record.config;
            // A copy more than wanted, as one that a drain made which was taken back, is the place.
            let staying = c.members.iter().filter(|m| m.node != id && !self.is_draining(m.node)).count();
            if staying >= usize::from(c.target_copies) {
                continue;
            }
            let taken: Vec<NodeId> = c.members.iter().chain(&c.holders).map(|m| m.node).collect();
            let mut free_of_it: Vec<Candidate<'_>> =
                elsewhere.iter().filter(|c| !taken.contains(&c.member.node)).cloned().collect();
            // The emptiest; that it is drawn among others when it comes to it changes little.
            free_of_it.sort_by_key(|c| core::cmp::Reverse(c.free()));
            free_of_it.truncate(1);
            let near = &mut Near::new(self.ledger.ties(), self.policy.partners);
            let beside = Beside { racks: Vec::new(), nodes: Vec::new(), near };
            let Ok(chosen) = choose(&mut placing, &mut free_of_it, 1, bytes, beside) else {
                return Err(format!(
                    "{id} cannot be drained: {} of replicas need a place on nodes that have no copy of the same shard, and there is none for {} of {shard}; \
                     free elsewhere: {before}; add nodes or delete volumes",
                    Size(needed),
                    Size(bytes)
                ));
            };
            for candidate in elsewhere.iter_mut().filter(|c| chosen.contains(&c.member)) {
                candidate.taken += bytes;
            }
        }
        Ok(())
    }
}
