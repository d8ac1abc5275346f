//! What the node tells the authority, and what it is told: registration, reports, wishes, releases.
//!
//! Per node, never per shard: one report a second, sooner only when something changed; one batch of wishes outstanding. What is asked again is asked as `retries.rs` allows.

use crate::Node;
use crate::retries::Retries;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Link, Op, Peer};
use base::log::Rot;
use base::time::Duration;
use base::{Member, Rng, ShardId, Time};
use replica::Context;
use wire::{
    Directory, Echo, LOST_NAMED_MAX, LostBlock, Message, NodeInfo, Proposal, ProposalOutcome, Proposed, RotReport,
    Space, Unheard,
};

/// Replicas named in one Register, and wishes in one Propose.
const PER_MESSAGE: usize = 1000;

/// The node's side of its link to the authority.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) retries: Retries,
    link: Life,
    /// Wishes, and whether they are in the batch that is out.
    wishes: BTreeMap<ShardId, Proposal>,
    batch: u64,
    released: VecDeque<(ShardId, Member)>,
}

/// What is of one life of the link.
#[derive(Debug, Default)]
struct Life {
    up: bool,
    registered: bool,
    /// Of the wishes that are out, those that are still wished for; and all, as they were asked.
    out: Option<BTreeSet<ShardId>>,
    asked: BTreeMap<ShardId, Proposal>,
    /// What the authority told last to be said back; and whether the batch that is out is to be said again with it.
    echo: Option<Echo>,
    again: bool,
    /// There are wishes that were not looked at, or when to look at those that were.
    fresh: bool,
    next_try: Option<Time>,
    /// Shards whose state must be told.
    changed: BTreeSet<ShardId>,
    reported: Option<Time>,
    next_report: Option<Time>,
    /// What is to be reported does not wait for the next report.
    hurry: bool,
}

impl Authority {
    pub(crate) fn new(rng: Rng) -> Self {
        let (wishes, released) = (BTreeMap::new(), VecDeque::new());
        Self { retries: Retries::new(rng), link: Life::default(), wishes, batch: 0, released }
    }

    pub(crate) fn on_up(&mut self) {
        self.retries.begin_anew();
        self.link = Life { up: true, fresh: true, ..Life::default() };
    }

    /// What was in flight may or may not have been heard: it is said again.
    pub(crate) fn on_down(&mut self) {
        self.link = Life { changed: core::mem::take(&mut self.link.changed), ..Life::default() };
    }

    pub(crate) fn released(&mut self, shard: ShardId, member: Member) {
        self.released.push_back((shard, member));
    }

    /// Whether a report leaves in the step of `now`.
    pub(crate) fn reports_at(&self, now: Time) -> bool {
        self.link.reported == Some(now)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        Time::sooner(self.link.next_report, self.link.next_try)
    }

    /// The next report leaves at once, and before anything that is wished for.
    pub(crate) fn hurry(&mut self) {
        self.link.hurry = true;
    }

    fn wish(&mut self, shard: ShardId, proposal: Option<Proposal>) {
        // One that is out cannot be taken back; its outcome comes and is believed.
        match proposal {
            Some(proposal) => {
                self.wishes.insert(shard, proposal);
                self.link.fresh = true;
                if let Some(out) = &mut self.link.out {
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
        self.isolation.there_are(&self.memory.directory);
        for entry in directory.nodes.iter().filter(|e| e.node != self.setup.node) {
            out.net(Op::Know { peer: Peer::Node(entry.node), at: entry.addresses() });
        }
    }

    pub(crate) fn on_proposed(&mut self, m: Proposed) {
        let Some(sent) = self.authority.link.out.take_if(|_| m.batch == self.authority.batch) else { return };
        let asked = core::mem::take(&mut self.authority.link.asked);
        self.authority.link.fresh = true;
        for outcome in &m.outcomes {
            let shard = match outcome {
                ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } => config.shard,
                ProposalOutcome::NotBelieved { shard }
                | ProposalOutcome::Unsafe { shard }
                | ProposalOutcome::UnknownShard { shard } => *shard,
            };
            if let Some(proposal) = asked.get(&shard) {
                self.take_note(proposal, outcome);
            }
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

    /// The authority looked at nothing of a batch, before it is shown that this node hears.
    pub(crate) fn on_unheard(&mut self, m: &Unheard) {
        let Authority { link, batch, .. } = &mut self.authority;
        link.echo = Some(m.echo);
        link.again |= link.out.is_some() && m.batch == *batch;
    }

    /// Whether something came of a wish, so that the same is not wished for again at once if nothing did.
    fn take_note(&mut self, p: &Proposal, outcome: &ProposalOutcome) {
        match outcome {
            ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } if config.epoch > p.epoch => {
                self.authority.retries.granted(p.shard);
            }
            _ => self.authority.retries.in_vain(self.now, p),
        }
    }

    /// At the end of a step: everything the authority should hear by now.
    pub(crate) fn tell_authority(&mut self) {
        for (shard, wish) in core::mem::take(&mut self.fx.wishes) {
            self.authority.wish(shard, wish);
        }
        let changed = core::mem::take(&mut self.fx.changed);
        self.partners.look_again_at(changed.iter().copied());
        self.authority.link.changed.extend(changed);
        if !self.authority.link.up || self.me.is_none() {
            return;
        }
        if !self.authority.link.registered {
            if let Err(at) = self.authority.retries.register(self.now) {
                self.authority.link.next_try = Some(at);
                return;
            }
            self.register();
        }
        if self.memory.distrust.is_some() {
            // Nothing is asked of it. What is wished for is kept for the one that follows it.
            (self.authority.link.next_report, self.authority.link.next_try) = (None, None);
            return;
        }
        if self.authority.link.hurry {
            self.report();
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
        self.authority.link.registered = true;
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
        self.authority.link.changed.extend(self.replicas.keys().copied());
    }

    fn propose(&mut self) {
        self.propose_again();
        let (now, link) = (self.now, &mut self.authority.link);
        let due = core::mem::take(&mut link.fresh) || link.next_try.is_some_and(|at| at <= now);
        if link.out.is_some() || !due {
            return;
        }
        let wishes = self.authority.wishes.values();
        let (proposals, later) = self.authority.retries.choose(now, wishes, PER_MESSAGE);
        let link = &mut self.authority.link;
        link.next_try = later;
        if proposals.is_empty() {
            return;
        }
        // When the answer comes all are looked at again.
        link.next_try = None;
        link.out = Some(proposals.iter().map(|p| p.shard).collect());
        link.asked = proposals.iter().map(|p| (p.shard, p.clone())).collect();
        self.authority.batch += 1;
        self.tell_wishes(proposals);
    }

    fn tell_wishes(&mut self, proposals: Vec<Proposal>) {
        let Authority { batch, link: Life { echo, .. }, .. } = self.authority;
        self.tell(wire::Propose { batch, echo, proposals });
    }

    /// The batch that is out leaves once more, now that it can be shown that this node hears. It is the same question, so it is no retry.
    fn propose_again(&mut self) {
        let Authority { link, wishes, .. } = &mut self.authority;
        if !core::mem::take(&mut link.again) {
            return;
        }
        // Nothing was decided, so what is not wished for any more is not asked: a node that hears again may have no cause left.
        let Some(out) = &mut link.out else { return };
        out.retain(|shard| wishes.contains_key(shard));
        link.asked.retain(|shard, _| out.contains(shard));
        let proposals: Vec<Proposal> = link.asked.values().cloned().collect();
        if proposals.is_empty() {
            (link.out, link.fresh) = (None, true);
            return;
        }
        self.tell_wishes(proposals);
    }

    fn report(&mut self) {
        let now = self.now;
        let news = self.slowness.is_news(now) || !self.authority.link.changed.is_empty();
        let gap = if news { self.policy.report_gap } else { self.policy.report_every };
        let due = self.authority.link.reported.map_or(now, |at| at + gap);
        let hurry = core::mem::take(&mut self.authority.link.hurry);
        if now < due && !hurry {
            self.authority.link.next_report = Some(due);
            return;
        }
        // Those that teach a learner move without an event worth a report of its own.
        let changed: Vec<ShardId> = core::mem::take(&mut self.authority.link.changed)
            .into_iter()
            .chain(self.holdings.teaching.iter().copied())
            .collect();
        let cx = Context {
            now,
            peers: &self.peers,
            policy: &self.policy.replica,
            room: self.store.space().room_bytes,
            may_copy: false,
        };
        let shards = changed.iter().filter_map(|s| self.replicas.get(s)?.report(&cx)).collect();
        let suspects = self.partners.nodes().filter(|n| self.peers.is_gone(*n)).collect();
        let (space, touch) = (self.space(), self.touch());
        let (rot, taught, traffic) = (self.rot(), self.fx.taught, (&self.traffic).into());
        let disk = self.slowness.tell(now);
        self.tell(wire::Report { space, suspects, touch, shards, rot, taught, traffic, disk });
        self.authority.link.reported = Some(now);
        self.authority.link.next_report = Some(now + self.policy.report_every.max(Duration::from_millis(1)));
    }

    fn rot(&self) -> RotReport {
        let damaged = self.holdings.damaged.iter().filter_map(|shard| self.replicas.get_key_value(shard));
        let lost = damaged.flat_map(|(&shard, r)| {
            let frozen = move |rot: &Rot| self.store.is_frozen(shard, rot.block, rot.place);
            r.lost().map(move |rot| LostBlock { shard, block: rot.block, frozen: frozen(rot) })
        });
        // What volumes lack comes first.
        let (frozen, mut named): (Vec<_>, Vec<_>) = lost.partition(|lost| lost.frozen);
        named.extend(frozen);
        named.truncate(LOST_NAMED_MAX);
        let scrubbed = self.store.scrubbed();
        RotReport {
            found: self.fx.rot_found,
            mended: self.fx.rot_mended,
            lost: self.holdings.lost,
            named,
            rewritten: scrubbed.rewritten,
            reads_failed: self.store.reads_failed(),
            scrubbed_segments: scrubbed.segments,
            scrubbed_ms: scrubbed.finished.map(|at| self.now.since(at).as_millis() as u64),
        }
    }

    fn space(&self) -> Space {
        let space = self.store.space();
        let activity = self.store.activity();
        Space {
            capacity: space.capacity_bytes,
            reserved: self.holdings.reserved,
            used: space.used_bytes,
            room: space.room_bytes,
            log: activity.log_bytes,
            moved: activity.moved_bytes,
            checkpoints: activity.checkpoint_bytes,
        }
    }
}
