//! How far the authority's metadata were of which this node was told most, kept durably: an authority whose metadata are older (they were put back from a backup, or
//! are new and empty) would decide again what was decided, and is not obeyed (I1).
//!
//! It lies in the store as the register of a shard that does not exist ([`ShardId::NODE`]), so that it is in one order with the replicas' registers: it is
//! durable before what allowed it is. Only what the authority itself said counts. A configuration that came from another member may be a later start's, of which this
//! node was not told yet.

use crate::Node;
use alloc::boxed::Box;
use base::io::Outbox;
use base::io::net::{Link, Op, Peer};
use base::log::{Record, Register, Request, Standing};
use base::mutant::Mutant;
use base::{Configuration, Epoch, Generation, Layout, Member, MetaUuid, NodeId, Revision, ShardId, StoreUuid};
use wire::{Hail, Known, KnownReplica, Message, Seen};

/// Replicas in one Known: each brings its configuration.
const KNOWN_PER_MESSAGE: usize = 256;

/// An authority that this node does not obey, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distrust {
    /// What this node was told before.
    pub seen: Seen,
    /// Where the authority says it is.
    pub now: Seen,
}

/// What the node remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    seen: Seen,
    ticket: u64,
    /// Up to there the authority has told all that concerns this node, on this life of its link; none before it has compared what is here with what it knows.
    told: Option<Revision>,
    /// The nodes that the authority last named.
    pub(crate) directory: alloc::vec::Vec<NodeId>,
    pub(crate) distrust: Option<Distrust>,
}

impl Memory {
    /// As the store found it.
    pub(crate) fn recovered(&mut self, register: &Register) {
        let meta = register.config.members.first().map_or(MetaUuid(0), |m| MetaUuid(m.store.0));
        self.seen = Seen { start: register.promised.0, meta, revision: register.config.revision };
    }

    fn register(&self, node: NodeId, standing: Standing) -> Register {
        let Seen { start, meta, revision } = self.seen;
        let epoch = Epoch(start);
        let config = Configuration {
            shard: ShardId::NODE,
            epoch,
            revision,
            blocks: 0,
            layout: Layout::default(),
            primary: node,
            members: alloc::vec![Member { node, store: StoreUuid(meta.0) }],
            anchors: alloc::vec::Vec::new(),
            learner: None,
            holders: alloc::vec::Vec::new(),
            target_copies: 0,
            min_copies: 0,
            generation: Generation(0),
            client: None,
            fence: alloc::vec::Vec::new(),
            newborn: false,
            deleted: false,
        };
        Register { promised: epoch, adopted: Epoch(0), standing, config }
    }
}

impl Node {
    /// The authority that this node does not obey, while there is one.
    pub fn distrust(&self) -> Option<&Distrust> {
        self.memory.distrust.as_ref()
    }

    /// How far the metadata were of which this node was told most.
    pub fn seen(&self) -> Seen {
        self.memory.seen
    }

    /// What may be obeyed on this life of the link is found out anew.
    pub(crate) fn authority_is_new(&mut self) {
        self.memory.distrust = None;
        if !self.policy.replica.mutation.is(Mutant::TakenBackObeyed) {
            self.memory.told = None;
        }
    }

    pub(crate) fn on_hail(&mut self, from: Link, m: &Hail) {
        if from != Link::to(Peer::Zone) {
            return;
        }
        let seen = self.seen();
        if !seen.is_past_of(&m.now, m.after) {
            self.memory.distrust = Some(Distrust { seen, now: m.now });
            return;
        }
        if m.now != seen {
            self.memory.seen = m.now;
            self.write_down();
        }
    }

    /// Whether what the authority says is obeyed.
    pub(crate) fn obeys(&self, from: Link) -> bool {
        self.memory.distrust.is_none() || from.peer != Peer::Zone
    }

    /// The authority spoke at this revision.
    pub(crate) fn heard_at(&mut self, revision: Revision) {
        if revision > self.memory.seen.revision {
            self.memory.seen.revision = revision;
            self.write_down();
        }
    }

    /// The authority has told all that concerns this node at this revision.
    pub(crate) fn told_all_at(&mut self, revision: Revision) {
        self.memory.told = self.memory.told.max(Some(revision));
    }

    /// Whether the authority has told this node of a configuration already, or of what followed it, or will before long. What a node is not known to hold when it says what it
    /// holds, nobody asks it for again: so nothing is begun between that and the answer.
    pub(crate) fn is_over(&self, config: &Configuration) -> bool {
        self.memory.told.is_none_or(|told| config.revision <= told)
    }

    fn write_down(&mut self) {
        self.write_down_as(Standing::Complete);
    }

    /// A part of the log in which this node's memory may have been is lost: what it was told last may be. That it knows so is written down, or the store would never make
    /// a checkpoint again, and hang when its log has gone round. All other nodes remember it, and what they hold is not decided again.
    pub(crate) fn doubt_memory(&mut self) {
        if !self.policy.replica.mutation.is(Mutant::DoubtUntold) {
            self.write_down_as(Standing::Suspect);
        }
    }

    fn write_down_as(&mut self, standing: Standing) {
        self.memory.ticket += 1;
        let record = Record::Register(Box::new(self.memory.register(self.setup.node, standing)));
        self.fx.log.push(Request::Append { shard: ShardId::NODE, ticket: self.memory.ticket, record });
    }

    /// Somebody rebuilds the metadata: he is told all that this node knows, whoever he is. It changes nothing here.
    pub(crate) fn on_collect(&mut self, from: Link, out: &mut Outbox) {
        if from != Link::to(Peer::Zone) {
            return out.net(Op::Close { link: from });
        }
        let known = self.replicas.values().filter(|r| !r.is_gone()).map(|r| {
            let held = r.held();
            KnownReplica { promised: held.promised, standing: held.standing, end: held.end, config: r.config().clone() }
        });
        let known: alloc::vec::Vec<KnownReplica> = known.collect();
        let parts = known.len().div_ceil(KNOWN_PER_MESSAGE).max(1);
        for part in 0..parts {
            let replicas = known.iter().skip(part * KNOWN_PER_MESSAGE).take(KNOWN_PER_MESSAGE).cloned().collect();
            let answer = Known { replicas, nodes: self.memory.directory.clone(), last: part + 1 == parts };
            self.fx.frames.push((from, Message::from(answer).frame()));
        }
    }
}
