//! What the node tells the authority, and what it is told: registration, reports, wishes, releases.
//!
//! Per node, never per shard: one report a second, sooner only when something changed; one batch of wishes outstanding.

use crate::Node;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Link, Op, Peer};
use base::time::Duration;
use base::{BLOCK_BYTES, Member, ShardId, Time};
use replica::Context;
use wire::{
    Directory, LOST_NAMED_MAX, LostBlock, Message, NodeInfo, Proposal, ProposalOutcome, Proposed, RotReport, Space,
};

/// Replicas named in one Register, and wishes in one Propose.
const PER_MESSAGE: usize = 1000;

/// The node's side of its link to the authority.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    up: bool,
    registered: bool,
    /// Wishes, and whether they are in the batch that is out.
    wishes: BTreeMap<ShardId, Proposal>,
    batch: u64,
    out: Option<BTreeSet<ShardId>>,
    /// Shards whose state must be told.
    changed: BTreeSet<ShardId>,
    released: VecDeque<(ShardId, Member)>,
    reported: Option<Time>,
    next_report: Option<Time>,
}

impl Authority {
    pub(crate) fn on_up(&mut self) {
        let (wishes, released) = (core::mem::take(&mut self.wishes), core::mem::take(&mut self.released));
        *self = Self { up: true, wishes, released, batch: self.batch, ..Self::default() };
    }

    /// What was in flight may or may not have been heard: it is said again.
    pub(crate) fn on_down(&mut self) {
        self.up = false;
        self.out = None;
        self.next_report = None;
    }

    pub(crate) fn released(&mut self, shard: ShardId, member: Member) {
        self.released.push_back((shard, member));
    }

    /// Whether a report leaves in the step of `now`.
    pub(crate) fn reports_at(&self, now: Time) -> bool {
        self.reported == Some(now)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.next_report
    }

    fn wish(&mut self, shard: ShardId, proposal: Option<Proposal>) {
        // One that is out cannot be taken back; its outcome comes and is believed.
        match proposal {
            Some(proposal) => {
                self.wishes.insert(shard, proposal);
                if let Some(out) = &mut self.out {
                    out.remove(&shard);
                }
            }
            None => {
                self.wishes.remove(&shard);
            }
        }
    }
}

impl Node {
    pub(crate) fn on_directory(&mut self, directory: Directory, out: &mut Outbox) {
        self.memory.directory = directory.nodes.iter().map(|e| e.node).collect();
        for entry in directory.nodes.iter().filter(|e| e.node != self.setup.node) {
            out.net(Op::Know { peer: Peer::Node(entry.node), at: entry.addresses() });
        }
    }

    pub(crate) fn on_proposed(&mut self, m: Proposed) {
        let Some(sent) = self.authority.out.take_if(|_| m.batch == self.authority.batch) else { return };
        for outcome in &m.outcomes {
            let shard = match outcome {
                ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } => config.shard,
                ProposalOutcome::NotBelieved { shard }
                | ProposalOutcome::Unsafe { shard }
                | ProposalOutcome::UnknownShard { shard } => *shard,
            };
            // A newer wish of the same shard stays and goes out next.
            if sent.contains(&shard) {
                self.authority.wishes.remove(&shard);
                self.with(shard, |replica, cx, fx| replica.on_outcome(cx, outcome, fx));
            } else {
                let config = match outcome {
                    ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } => config,
                    _ => continue,
                };
                self.with(shard, |replica, cx, fx| replica.on_config(cx, config, fx));
            }
        }
    }

    /// At the end of a step: everything the authority should hear by now.
    pub(crate) fn tell_authority(&mut self) {
        for (shard, wish) in core::mem::take(&mut self.fx.wishes) {
            self.authority.wish(shard, wish);
        }
        let changed = core::mem::take(&mut self.fx.changed);
        self.partners.look_again_at(changed.iter().copied());
        self.authority.changed.extend(changed);
        if !self.authority.up || self.me.is_none() {
            return;
        }
        if !self.authority.registered {
            self.register();
        }
        if self.memory.distrust.is_some() {
            // Nothing is asked of it. What is wished for is kept for the one that follows it.
            self.authority.next_report = None;
            return;
        }
        self.propose();
        for (shard, member) in core::mem::take(&mut self.authority.released) {
            self.tell(wire::Released { shard, member });
        }
        self.report();
    }

    fn tell(&mut self, message: impl Into<Message>) {
        self.fx.frames.push((Link::to(Peer::Zone), message.into().frame()));
    }

    fn register(&mut self) {
        self.authority.registered = true;
        let me = self.me.expect("the store is open");
        let setup = &self.setup;
        let node = NodeInfo {
            entry: setup.entry.clone(),
            store: me.store,
            incarnation: setup.incarnation,
            rack: setup.rack.clone(),
            space: self.space(),
        };
        let seen = self.seen();
        let held: Vec<_> = self.replicas.values().filter(|r| !r.is_gone()).map(|r| r.held()).collect();
        let parts = held.len().div_ceil(PER_MESSAGE).max(1);
        for part in 0..parts {
            let held = held.iter().skip(part * PER_MESSAGE).take(PER_MESSAGE).cloned().collect();
            self.tell(wire::Register { node: node.clone(), seen, held, last: part + 1 == parts });
        }
        self.authority.changed.extend(self.replicas.keys().copied());
    }

    fn propose(&mut self) {
        if self.authority.out.is_some() || self.authority.wishes.is_empty() {
            return;
        }
        let proposals: Vec<Proposal> = self.authority.wishes.values().take(PER_MESSAGE).cloned().collect();
        self.authority.out = Some(proposals.iter().map(|p| p.shard).collect());
        self.authority.batch += 1;
        let batch = self.authority.batch;
        self.tell(wire::Propose { batch, proposals });
    }

    fn report(&mut self) {
        let now = self.now;
        let news = self.slowness.is_news(now) || !self.authority.changed.is_empty();
        let gap = if news { self.policy.report_gap } else { self.policy.report_every };
        let due = self.authority.reported.map_or(now, |at| at + gap);
        if now < due {
            self.authority.next_report = Some(due);
            return;
        }
        let changed: Vec<ShardId> =
            core::mem::take(&mut self.authority.changed).into_iter().chain(self.busy()).collect();
        let cx = Context { now, peers: &self.peers, policy: &self.policy.replica, room: self.store.space().room_bytes };
        let shards = changed.iter().filter_map(|s| self.replicas.get(s)?.report(&cx)).collect();
        let suspects = self.partners.nodes().filter(|n| self.peers.is_gone(*n)).collect();
        let space = self.space();
        let (rot, taught, traffic) = (self.rot(), self.fx.taught, (&self.traffic).into());
        let disk = self.slowness.tell(now);
        self.tell(wire::Report { space, suspects, shards, rot, taught, traffic, disk });
        self.authority.reported = Some(now);
        self.authority.next_report = Some(now + self.policy.report_every.max(Duration::from_millis(1)));
    }

    /// Primaries whose state moves without an event worth a report of its own: those that teach a learner.
    fn busy(&self) -> Vec<ShardId> {
        self.replicas.iter().filter(|(_, r)| r.is_teaching()).map(|(s, _)| *s).collect()
    }

    fn rot(&self) -> RotReport {
        let lost = self.replicas.iter().flat_map(|(&shard, r)| r.lost().map(move |block| LostBlock { shard, block }));
        let scrubbed = self.store.scrubbed();
        RotReport {
            found: self.fx.rot_found,
            mended: self.fx.rot_mended,
            lost: self.replicas.values().map(|r| r.lost().len() as u64).sum(),
            named: lost.take(LOST_NAMED_MAX).collect(),
            rewritten: scrubbed.rewritten,
            reads_failed: self.store.reads_failed(),
            scrubbed_segments: scrubbed.segments,
            scrubbed_ms: scrubbed.finished.map(|at| self.now.since(at).as_millis() as u64),
        }
    }

    fn space(&self) -> Space {
        let space = self.store.space();
        let reserved = self.replicas.values().map(|r| u64::from(r.config().blocks) * BLOCK_BYTES as u64).sum();
        let activity = self.store.activity();
        Space {
            capacity: space.capacity_bytes,
            reserved,
            used: space.used_bytes,
            room: space.room_bytes,
            log: activity.log_bytes,
            moved: activity.moved_bytes,
            checkpoints: activity.checkpoint_bytes,
        }
    }
}
