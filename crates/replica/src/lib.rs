//! The replication protocol of one shard, both ends: epochs, fencing, elections, the write path, learning.
//!
//! A [`Replica`] is one node's copy of one shard. It takes messages, answers of the store and news of its peers, and puts what
//! it wants done into [`Effects`]. It refuses to know how bytes lie on a disk (it speaks `base::log`), how frames travel, and why the authority decides
//! as it does. The rules are those of ARCHITECTURE.md, numbered there; in the literature PacificA (MSR-TR-2008-25) and Vertical
//! Paxos II (MSR-TR-2009-63).
//!
//! ```text
//!                    newer configuration: promise, durably, then
//!        +-----------------------+-------------------------+--------------------+
//!        | primary               | member                  | learner            | neither
//!        v                       v                         v                    v
//!    Electing --all synced--> Serving                  Follower  <--Adopt--  Learner      Follower that only holds
//! ```
//!
//! One file per role: [`follower`](Role::Follower) obeys, [`election`](Role::Electing) makes members equal, [`serving`](Role::Serving) sequences writes and answers reads
//! and teaches a learner, [`learner`](Role::Learner) is filled; `marks` says by how little. `wishes` decides when the authority is asked for another configuration, `mending` what becomes of
//! rot, `suspect` what a replica may do whose log was damaged.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod client;
mod durable;
mod effects;
mod election;
mod explore;
mod fills;
mod follower;
mod learner;
mod marks;
mod mending;
mod mutant;
mod peers;
mod pending;
mod points;
mod policy;
mod serving;
mod suspect;
mod teaching;
mod wishes;

pub use effects::Effects;
pub use peers::{FENCE_WAIT, LEASE, Peers};
pub use policy::Policy;
pub use teaching::{CopyWish, EXTENT_BYTES};

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::net::{Link, Peer};
use base::log::{Event, Mark, Record, Recovered, Register, Standing};
use base::mutant::{Mutant, Mutation};
use base::{Configuration, Epoch, Member, NodeId, Payload, Sequence, ShardId, Time};
use durable::After;
use wire::{Held, Message, ShardCondition, ShardReport};

/// Writes that may be sequenced and not yet committed, in one shard, at most.
pub const WINDOW_WRITES: usize = 1024;
/// Their bytes.
pub const WINDOW_BYTES: usize = 64 << 20;

/// What a replica may look at during a call.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of this step.
    pub now: Time,
    /// The others.
    pub peers: &'a Peers,
    /// The knobs.
    pub policy: &'a Policy,
    /// Bytes that the store of this node can still append.
    pub room: u64,
    /// Whether a primary may read on for its learner now. If not, it is said in [`Effects::awaiting_copy`] who would, and its turn will come ([`Replica::copy_on`]).
    pub may_copy: bool,
}

/// What a replica is doing.
#[derive(Debug, Clone)]
enum Role {
    /// Obeys the primary of its epoch, or only holds its data.
    Follower(follower::Follower),
    /// Primary of a new epoch, making the members equal.
    Electing(Box<election::Election>),
    /// Primary; suspended while it has too few members.
    Serving(Box<serving::Serving>),
    /// Being filled.
    Learner(Box<learner::Learner>),
}

/// One node's copy of one shard.
#[derive(Debug, Clone)]
pub struct Replica {
    me: Member,
    shard: ShardId,
    register: Register,
    /// Everything up to here is in the index.
    committed: Sequence,
    /// In this epoch, or in an earlier one, as far as is known here.
    committed_in: Epoch,
    /// Since when the store notes which blocks change.
    marks: Vec<Mark>,
    /// The last entry appended, durable or not.
    end: Sequence,
    /// The last entry that is durable.
    durable_end: Sequence,
    /// Appends asked for, and those durable.
    ticket: u64,
    durable: u64,
    /// Entries appended and not durable: (ticket, sequence).
    arrivals: VecDeque<(u64, Sequence)>,
    after: VecDeque<(u64, After)>,
    reads: u64,
    role: Role,
    /// Client I/O that came before this replica could know whether it may do it.
    parked: VecDeque<(Link, Message, Option<Payload>)>,
    /// Set until a new epoch begins after a restart: a restarted process never serves under an old epoch.
    restarted: Option<Time>,
    /// When it was found on the disk; none of one that was made by this process.
    began: Option<Time>,
    wish: wishes::Wish,
    mending: mending::Mending,
    wake: Option<Time>,
    /// What its condition as a primary was when last looked at.
    condition: Option<ShardCondition>,
    gone: bool,
    mutation: Mutation,
}

impl Replica {
    /// A new, empty replica of a shard that never served: whole, since nothing was ever written.
    pub fn newborn(me: Member, config: &Configuration, cx: &Context<'_>, fx: &mut Effects) -> Self {
        assert!(config.newborn && config.is_member(me));
        let mut replica = Self::blank(me, config, Standing::Complete);
        replica.restarted = None;
        replica.on_config(cx, config, fx);
        replica
    }

    /// A new, empty replica that will be filled.
    pub fn reserved(me: Member, config: &Configuration, cx: &Context<'_>, fx: &mut Effects) -> Self {
        let mut replica = Self::blank(me, config, Standing::Reserved);
        replica.on_config(cx, config, fx);
        replica
    }

    fn blank(me: Member, config: &Configuration, standing: Standing) -> Self {
        let nothing = Configuration { epoch: Epoch(0), revision: base::Revision(0), ..config.clone() };
        let register = Register { promised: Epoch(0), adopted: Epoch(0), standing, config: nothing };
        Self::with(me, config.shard, register, Sequence(0), Sequence(0))
    }

    /// As the store found it after a restart. One that is suspect marks itself, durably: the next restart will find nothing wrong (rule 12).
    pub fn recovered(me: Member, found: Recovered, now: Time, fx: &mut Effects) -> Self {
        let mut replica = Self::with(me, found.shard, found.register, found.committed, found.end.sequence);
        replica.marks = found.marks;
        (replica.restarted, replica.began) = (Some(now), Some(now));
        replica.wake = Some(now);
        if found.suspect {
            replica.become_suspect(fx);
        }
        replica
    }

    fn with(me: Member, shard: ShardId, register: Register, committed: Sequence, end: Sequence) -> Self {
        Self {
            me,
            shard,
            // Nothing is committed in an epoch that was not adopted.
            committed_in: register.adopted,
            register,
            committed,
            marks: Vec::new(),
            end,
            durable_end: end,
            ticket: 0,
            durable: 0,
            arrivals: VecDeque::new(),
            after: VecDeque::new(),
            reads: 0,
            role: Role::Follower(follower::Follower::default()),
            parked: VecDeque::new(),
            restarted: None,
            began: None,
            wish: wishes::Wish::default(),
            mending: mending::Mending::default(),
            wake: None,
            condition: None,
            gone: false,
            mutation: Mutation::default(),
        }
    }

    /// The newest configuration it knows.
    pub fn config(&self) -> &Configuration {
        &self.register.config
    }

    /// Whether it is primary and serves.
    pub fn is_serving(&self) -> bool {
        matches!(&self.role, Role::Serving(s) if !s.suspended)
    }

    /// Whether it leads too few members to do anything but teach (rule 11).
    fn is_suspended(&self) -> bool {
        matches!(&self.role, Role::Serving(s) if s.suspended)
    }

    /// Whether it is filling a learner.
    pub fn is_teaching(&self) -> bool {
        matches!(&self.role, Role::Serving(s) if s.teaching.is_some())
    }

    /// Whether it was dropped and only waits for the store to say so.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// When it wants [`Self::tick`].
    pub fn wake(&self) -> Option<Time> {
        self.wake
    }

    /// What the authority is told after a restart of either.
    pub fn held(&self) -> Held {
        Held {
            shard: self.shard,
            promised: self.register.promised,
            epoch: self.register.config.epoch,
            revision: self.register.config.revision,
            standing: self.register.standing,
            end: self.end,
        }
    }

    /// What the authority is told by a primary; nothing by the others.
    pub fn report(&self, cx: &Context<'_>) -> Option<ShardReport> {
        let condition = self.condition(cx)?;
        let teaching = if let Role::Serving(s) = &self.role { s.teaching.as_deref() } else { None };
        let learned_blocks = teaching.map_or(0, |t| t.learned_blocks());
        let filling = teaching.and_then(|t| t.filling(cx.now));
        let (shard, epoch, committed) = (self.shard, self.register.promised, self.committed);
        Some(ShardReport { shard, epoch, condition, committed, learned_blocks, filling })
    }

    fn condition(&self, cx: &Context<'_>) -> Option<ShardCondition> {
        match &self.role {
            Role::Serving(s) => Some(self.serving_condition(cx, s)),
            Role::Electing(_) => Some(self.waiting_condition(cx, ShardCondition::Electing)),
            Role::Follower(_) | Role::Learner(_) => None,
        }
    }

    /// The nodes that it must be in touch with.
    pub fn partners(&self) -> impl Iterator<Item = NodeId> + '_ {
        let config = &self.register.config;
        let involved = config.is_member(self.me) && !config.deleted;
        let learner = config.learner.filter(|_| config.primary == self.me.node).map(|l| l.member.node);
        let members = config.members.iter().map(|m| m.node).filter(move |_| involved);
        members.chain(learner).filter(|n| *n != self.me.node)
    }

    // ---- What comes in. -----------------------------------------------------------------------------------------

    /// A message for this shard.
    pub fn on_message(
        &mut self,
        cx: &Context<'_>,
        from: Link,
        message: Message,
        data: Option<Payload>,
        fx: &mut Effects,
    ) {
        if self.gone || (self.is_suspect() && !suspect::hears(&message)) {
            return;
        }
        match message {
            Message::Write(_) | Message::Read(_) | Message::Trim(_) | Message::Map(_) => {
                self.on_client(cx, from, message, data, fx);
            }
            Message::Sync(m) => self.on_sync(cx, from, m.config, fx),
            Message::Deposed(m) => self.on_config(cx, &m.config, fx),
            Message::Replicate(m) => self.on_replicate(from, &m, data, fx),
            Message::Committed(m) => self.on_committed(m.epoch, m.through, fx),
            Message::Adopt(m) => self.on_adopt(cx, from, &m, fx),
            Message::Fetch(m) => self.on_fetch(from, &m, fx),
            Message::Learn(m) => self.on_learn(cx, from, &m, fx),
            Message::Extent(m) => self.on_extent(from, &m, data, fx),
            Message::Finish(m) => self.on_finish(from, &m, fx),
            Message::Mend(m) => self.on_mend(from, &m, fx),
            Message::Mended(m) => self.on_mended(cx, from, &m, data, fx),
            Message::Replicated(m) => self.on_replicated(cx, from, &m, fx),
            Message::End(m) => self.on_end(cx, from, &m, fx),
            Message::Incomplete(m) => self.on_incomplete(cx, from, &m, fx),
            Message::Windowed(m) => self.on_windowed(from, &m, data),
            Message::WindowEnd(m) => self.on_window_end(cx, from, &m, fx),
            Message::Synced(m) => self.on_synced(cx, from, &m, fx),
            Message::Learning(m) => self.on_learning(cx, from, &m, fx),
            Message::Copied(m) => self.on_copied(cx, from, &m, fx),
            Message::Learned(m) => self.on_learned(cx, from, &m, fx),
            // Everything else is for the node, the host or the authority.
            _ => {}
        }
    }

    /// An answer of the store.
    pub fn on_store(&mut self, cx: &Context<'_>, event: Event, fx: &mut Effects) {
        match event {
            Event::Durable { ticket, .. } => self.on_durable(cx, ticket, fx),
            Event::Blocks { ticket, parts, .. } => {
                self.on_blocks(cx, ticket, parts, fx);
                self.mending.ended(ticket);
            }
            Event::Window { ticket, entries, .. } => {
                self.on_window(cx, ticket, entries, fx);
                self.mending.ended(ticket);
            }
            Event::Extents { ticket, extents, next, .. } => {
                self.on_extents(cx, ticket, extents, next, fx);
                self.mending.ended(ticket);
            }
            Event::Measured { ticket, blocks, .. } => self.on_measured(ticket, blocks),
            Event::Matching { .. } | Event::Corrupt { .. } if self.gone => {}
            Event::Matching { ticket, data, rotten, .. } => self.on_matching(cx, ticket, data, &rotten, fx),
            Event::Corrupt { rot, .. } => self.on_corrupt(cx, rot, fx),
            Event::Changes { ticket, changes, .. } => self.on_changes(cx, ticket, &changes, fx),
            // No replica reads through a point yet.
            Event::NoPoint { .. } => {}
        }
    }

    /// A configuration, from whoever has one. Older ones and those already known change nothing.
    pub fn on_config(&mut self, cx: &Context<'_>, config: &Configuration, fx: &mut Effects) {
        if self.gone || !config.is_newer_than(&self.register.config) {
            return;
        }
        assert_eq!(config.shard, self.shard);
        fx.changed.push(self.shard);
        if config.deleted {
            return self.drop_all(config, fx);
        }
        if config.epoch > self.register.promised {
            return self.promise(cx, config.clone(), fx);
        }
        // Same epoch: who leads, who must have every write and how many blocks there are cannot have changed (I1).
        let known = &self.register.config;
        let same_members = config.primary == known.primary && config.members == known.members;
        assert!(
            known.epoch == Epoch(0) || config.epoch < known.epoch || (same_members && config.blocks == known.blocks),
            "two configurations of {} in {:?}: {:?} and {:?} (I1)",
            self.shard,
            config.epoch,
            known,
            config
        );
        self.register.config = config.clone();
        self.write_register(fx);
        self.unmark_if_nobody_is_away(fx);
        self.teach_as_configured(cx, fx);
    }

    /// The shard's data may go: obeyed only when it is not in the newest configuration and no later epoch was promised (rule 6).
    pub fn on_release(&mut self, member: Member, epoch: Epoch, fx: &mut Effects) -> bool {
        let config = &self.register.config;
        let mine = member == self.me;
        let outside = !config.is_member(self.me) && config.learner.is_none_or(|l| l.member != self.me);
        let may_go = (mine && outside) || self.mutation.is(Mutant::ReleasedByEpochAlone);
        if !may_go || self.register.promised > epoch {
            return false;
        }
        self.drop_replica(fx);
        true
    }

    fn drop_all(&mut self, config: &Configuration, fx: &mut Effects) {
        self.step_down(config, fx);
        self.drop_replica(fx);
    }

    fn drop_replica(&mut self, fx: &mut Effects) {
        self.append(Record::Drop, fx);
        self.gone = true;
        self.wake = None;
        fx.wishes.push((self.shard, None));
    }

    /// Time has passed, or a peer changed.
    pub fn tick(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if self.gone {
            return;
        }
        self.wake = None;
        match &self.role {
            Role::Electing(_) => self.tick_election(cx, fx),
            Role::Serving(_) => self.tick_serving(cx, fx),
            _ => {}
        }
        self.tick_mending(cx, fx);
    }

    /// The link on which this node asks `node` is open, newly or again.
    pub fn on_link_up(&mut self, cx: &Context<'_>, node: NodeId, fx: &mut Effects) {
        match &self.role {
            Role::Electing(_) => self.ask_again(node, fx),
            Role::Serving(_) => self.meet_again(cx, node, fx),
            _ => {}
        }
        if self.is_mending() {
            self.mend_with(cx, node, fx);
        }
    }

    /// A host has a new connection: what came on its old one and is not sequenced yet is dropped (rule 8). It will be sent again, and
    /// the older copy must not be done after something newer.
    pub fn on_client_up(&mut self, link: Link) {
        self.parked.retain(|(from, ..)| *from != link);
    }

    /// The bulk link to `node` broke.
    pub fn on_bulk_down(&mut self, node: NodeId, fx: &mut Effects) {
        self.teaching_broke(node, fx);
    }

    /// After all that a turn brought: cumulative answers, and what to wish for.
    pub fn end_turn(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if self.gone {
            return;
        }
        match &self.role {
            Role::Follower(_) | Role::Learner(_) => self.confirm(cx, fx),
            Role::Serving(_) => {
                self.unbind_if_gone(cx, fx);
                self.tell_commits(cx);
            }
            Role::Electing(_) => {}
        }
        if self.is_mending() {
            self.tick_mending(cx, fx);
        }
        self.reconsider(cx, fx);
        let condition = self.condition(cx);
        if condition != self.condition {
            self.condition = condition;
            fx.changed.push(self.shard);
        }
    }

    // ---- What all roles share. --------------------------------------------------------------------------------

    fn next_read(&mut self) -> u64 {
        self.reads += 1;
        self.reads
    }

    fn wake_at(&mut self, at: Time) {
        self.wake = Time::sooner(self.wake, Some(at));
    }

    /// Obeys a new epoch: durably, before anything is answered in it (I2).
    fn promise(&mut self, cx: &Context<'_>, config: Configuration, fx: &mut Effects) {
        let (old, epoch) = (self.register.promised, config.epoch);
        assert!(epoch > old, "{}: a promise of {epoch:?} after {old:?} (I2)", self.shard);
        self.step_down(&config, fx);
        let deposed = self.register.config.primary;
        if old > Epoch(0) && deposed != self.me.node && !self.mutation.is(Mutant::DeposedUntold) {
            // Before any later keepalive answer on its link: it must not take our silence for consent (rule 3).
            let note = wire::Deposed { shard: self.shard, epoch: old, config: config.clone() };
            fx.answer(Link::from(Peer::Node(deposed)), note);
        }
        self.register.promised = epoch;
        if matches!(self.register.standing, Standing::Learned { .. }) && config.is_member(self.me) {
            self.register.standing = Standing::Complete;
        }
        let leads = config.primary == self.me.node && config.is_member(self.me);
        self.register.config = config;
        self.wish.clear();
        fx.wishes.push((self.shard, None));
        self.write_register(fx);
        self.restarted = None;
        if leads && self.register.standing == Standing::Complete {
            self.role = Role::Electing(Box::new(election::Election::new(cx.now, &self.register.config, self.me.node)));
            self.then(After::Ask { epoch });
        } else {
            self.role = Role::Follower(follower::Follower::default());
        }
        self.unpark(cx, fx);
        if self.mutation.is(Mutant::HolderForgets) && !self.register.config.is_member(self.me) {
            self.drop_replica(fx);
        }
    }

    /// Stops leading or learning. Whoever waits for an answer is told where to go.
    fn step_down(&mut self, config: &Configuration, fx: &mut Effects) {
        if let Role::Serving(serving) = &mut self.role {
            serving.refuse_all(config, fx);
        }
        self.nobody_waits(config, fx);
        self.role = Role::Follower(follower::Follower::default());
    }
}
