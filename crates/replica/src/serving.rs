//! The primary: gives each write the next sequence, appends it and replicates it in the same turn, acknowledges it when all members
//! have it durable (rule 1), and answers reads of committed data (rule 3).

use crate::mending::Waiter;
use crate::pending::{Pending, change_of_blocks, change_of_point, replicate};
use crate::points::{Holding, Kept};
use crate::teaching::Teaching;
use crate::{Context, Effects, LEASE, Replica, Role, WINDOW_BYTES, WINDOW_WRITES};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use base::io::net::{Link, Peer};
use base::log::{Changes, PointChange, ReadFault, Request, Stamp, WindowEntry};
use base::map::Map;
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{Configuration, HostId, IO_BLOCKS_MAX, MAP_BLOCKS_MAX, NodeId, Payload, Sequence, Time};
use wire::{End, Message, Refusal, Replicated, ShardCondition};

/// Reads of one shard at once that wait or are at the store. More than its host asks for; those that it asked for on a connection that broke count until they have ended.
pub(crate) const READS_MAX: usize = 1024;

/// What the primary knows of another member.
#[derive(Debug, Clone)]
struct Backup {
    /// Durable there up to here.
    through: Sequence,
    /// Bytes its store can append.
    room: u64,
    /// Its link has a new life, and it has not yet stated its end there: until it does, only what it confirmed before counts. A word that it
    /// promised more may have been lost with the old life; its answer to our Sync tells.
    unmet: Option<Time>,
}

/// What a host reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The bytes of blocks.
    Blocks,
    /// Which of them are written.
    Map,
}

/// A host's read.
#[derive(Debug, Clone)]
pub(crate) struct ReadOp {
    pub(crate) link: Link,
    pub(crate) io: u64,
    wanted: Wanted,
    block: u32,
    count: u32,
}

/// The state of a serving primary.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    /// Fewer members than min_copies: nothing is appended, committed or answered, but a learner is filled (rule 11).
    pub(crate) suspended: bool,
    pub(crate) pending: VecDeque<Pending>,
    pending_bytes: usize,
    others: BTreeMap<NodeId, Backup>,
    /// When the members were asked to take the window that they since have: as good as a keepalive answer.
    synced_at: Time,
    /// The commit that backups were last told of, and when to tell them if no write does.
    told: Sequence,
    tell_at: Option<Time>,
    /// Reads that overlap a write under way, until it is committed.
    behind: VecDeque<(Sequence, ReadOp)>,
    /// Reads at the store.
    reading: Map<u64, ReadOp>,
    /// Reads that came back after a member's confirmation had run out.
    unleased: VecDeque<ReadOp>,
    /// What is kept back while a volume is frozen.
    pub(crate) holding: Holding,
    pub(crate) teaching: Option<Box<Teaching>>,
    /// Since when, and when last, a store had no room for a write.
    short: Option<(Time, Time)>,
    /// A member that turned out not to have what it had confirmed.
    pub(crate) unfit: Option<NodeId>,
}

impl Serving {
    pub(crate) fn new(pending: VecDeque<Pending>, others: Vec<(NodeId, u64)>, end: Sequence, synced_at: Time) -> Self {
        Self {
            suspended: false,
            pending_bytes: pending.iter().map(Pending::bytes).sum(),
            pending,
            others: others.into_iter().map(|(n, room)| (n, Backup { through: end, room, unmet: None })).collect(),
            synced_at,
            told: Sequence(0),
            tell_at: None,
            behind: VecDeque::new(),
            reading: Map::default(),
            unleased: VecDeque::new(),
            holding: Holding::default(),
            teaching: None,
            short: None,
            unfit: None,
        }
    }

    /// Bytes of writes that are not committed.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Reads that were taken and not answered, but for those that wait for rot to be mended.
    pub(crate) fn reads(&self) -> usize {
        self.behind.len() + self.reading.len() + self.unleased.len()
    }

    /// Whether any I/O waits for somebody else.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.suspended && (!self.pending.is_empty() || !self.unleased.is_empty())
    }

    /// This primary is not it any more: whoever waits is told where to go.
    pub(crate) fn refuse_all(&mut self, config: &Configuration, fx: &mut Effects) {
        // A write that is done but was not said to be is sent again, as one that was under way.
        self.holding.give_up().for_each(|(link, io)| fx.redirect(link, io, config));
        for (link, io) in self.pending.drain(..).filter_map(|p| p.client) {
            fx.redirect(link, io, config);
        }
        let mut reading: Vec<_> = core::mem::take(&mut self.reading).into_iter().collect();
        reading.sort_unstable_by_key(|(ticket, _)| *ticket);
        let reads = reading.into_iter().map(|(_, r)| r).chain(self.behind.drain(..).map(|(_, r)| r));
        for read in reads.chain(self.unleased.drain(..)) {
            fx.redirect(read.link, read.io, config);
        }
    }

    /// The moment until which every member's confirmation holds.
    fn leased_until(&self, cx: &Context<'_>) -> Time {
        let confirmed =
            |(n, b): (&NodeId, &Backup)| b.unmet.or(cx.peers.confirmed(*n)).unwrap_or_default().max(self.synced_at);
        self.others.iter().map(confirmed).min().map_or(Time(u64::MAX), |asked| asked + LEASE)
    }
}

impl Replica {
    fn serving(&mut self) -> Option<&mut Serving> {
        match &mut self.role {
            Role::Serving(s) => Some(s),
            _ => None,
        }
    }

    /// Client I/O of the epoch in force, at its primary.
    pub(crate) fn serve(
        &mut self,
        cx: &Context<'_>,
        from: Link,
        message: Message,
        data: Option<Payload>,
        fx: &mut Effects,
    ) {
        let (io, generation, block, count) = match &message {
            Message::Write(m) => (m.io, m.generation, m.block, data.as_ref().map_or(0, |d| d.blocks())),
            Message::Read(m) => (m.io, m.generation, m.block, m.count),
            Message::Trim(m) => (m.io, m.generation, m.block, m.count),
            Message::Map(m) => (m.io, m.generation, m.block, m.count),
            _ => unreachable!("only client I/O comes here"),
        };
        let config = &self.register.config;
        let client: Option<HostId> = config.client;
        if generation != config.generation || client.is_none_or(|h| from.peer != Peer::Host(h)) {
            return fx.refuse(from, self.shard, io, Refusal::Fenced);
        }
        let aligned = data.as_ref().is_none_or(|d| d.len() == count as usize * base::BLOCK_BYTES);
        let most = match message {
            // A trim carries no bytes, so it may be as large as the shard.
            Message::Trim(_) => u32::MAX,
            Message::Map(_) => MAP_BLOCKS_MAX,
            _ => IO_BLOCKS_MAX,
        };
        let inside = block.checked_add(count).is_some_and(|end| end <= config.blocks);
        if count == 0 || count > most || !aligned || !inside {
            return fx.refuse(from, self.shard, io, Refusal::Invalid);
        }
        if self.serving().is_some_and(|s| s.holding.is_full(s.pending.len())) {
            return fx.refuse(from, self.shard, io, Refusal::Busy);
        }
        if matches!(message, Message::Read(_) | Message::Map(_)) && self.reads_under_way() >= READS_MAX {
            return fx.refuse(from, self.shard, io, Refusal::Busy);
        }
        match message {
            Message::Read(_) => self.read(ReadOp { link: from, io, wanted: Wanted::Blocks, block, count }, fx),
            Message::Map(_) => self.read(ReadOp { link: from, io, wanted: Wanted::Map, block, count }, fx),
            _ => self.write(cx, (from, io), block, count, data, fx),
        }
    }

    /// Reads that were taken and not answered.
    fn reads_under_way(&self) -> usize {
        let Role::Serving(s) = &self.role else { return 0 };
        s.reads() + self.mending.waiting()
    }

    fn write(
        &mut self,
        cx: &Context<'_>,
        client: (Link, u64),
        block: u32,
        count: u32,
        data: Option<Payload>,
        fx: &mut Effects,
    ) {
        let shard = self.shard;
        let (link, io) = client;
        let Some(s) = self.serving() else { return };
        let bytes = data.as_ref().map_or(0, |d| d.len());
        if s.pending.len() >= cx.policy.window_writes || s.pending_bytes + bytes > WINDOW_BYTES {
            Sometimes::WriteFindsWindowFull.happens();
            return fx.refuse(link, shard, io, Refusal::Busy);
        }
        // Space is refused before sequencing, so that a backup never has to. A batch may need as much again for its header.
        let room = s.others.values().map(|b| b.room).fold(cx.room, u64::min);
        let wanted = 2 * (s.pending_bytes + bytes) as u64 + cx.policy.room_slack_bytes;
        if room < wanted {
            let (since, _) =
                s.short.filter(|(_, last)| cx.now.since(*last) < cx.policy.full_after).unwrap_or((cx.now, cx.now));
            s.short = Some((since, cx.now));
            // What is committed frees room, and who is told of it says how much there is now.
            s.tell_at.get_or_insert(cx.now + cx.policy.commit_tell_after);
            let waits = cx.now.since(since) < cx.policy.full_after;
            if waits {
                Sometimes::WriteFindsRoomShort.happens()
            } else {
                Sometimes::WriteIsRefusedForRoom.happens()
            }
            let why = if waits { Refusal::Busy } else { Refusal::Full { room } };
            return fx.refuse(link, shard, io, why);
        }
        s.short = None;
        if data.is_none() && self.mutation.is(Mutant::TrimNotDone) {
            return fx.answer(link, wire::Done { shard, epoch: self.register.promised, io });
        }
        let entry = change_of_blocks(self.next_stamp(), block, count, data);
        self.sequence(entry, Some(client), fx);
    }

    /// Sequences a freeze or a thaw at the primary of the epoch in force, and gives the sequence: when that is committed, every member has done it. None
    /// where this is not the primary, or the window is full. Whether there is room for another point the store must have been asked before.
    pub fn change_point(&mut self, change: PointChange, fx: &mut Effects) -> Option<Sequence> {
        let s = self.serving().filter(|s| !s.suspended && s.pending.len() < WINDOW_WRITES)?;
        // Who is being filled would not have the point, and be asked for it when it is a member.
        if matches!(change, PointChange::Freeze { .. }) && s.teaching.is_some() {
            return None;
        }
        let stamp = self.next_stamp();
        self.sequence(change_of_point(stamp, change), None, fx);
        Some(stamp.sequence)
    }

    fn next_stamp(&self) -> Stamp {
        Stamp { epoch: self.register.promised, sequence: self.end.next() }
    }

    /// An entry has its place in the order: everybody appends it.
    fn sequence(&mut self, entry: WindowEntry, client: Option<(Link, u64)>, fx: &mut Effects) {
        let (shard, epoch, committed) = (self.shard, self.register.promised, self.committed);
        let s = self.serving().expect("only a primary sequences, and it asked whether it is one");
        let pending = Pending { entry: entry.clone(), client };
        s.pending_bytes += pending.bytes();
        s.told = committed;
        s.tell_at = None;
        let learner = s.teaching.as_ref().map(|t| t.node());
        for node in s.others.keys().copied().chain(learner) {
            let (message, parts) = replicate(shard, epoch, committed, &entry);
            fx.answer_with(Link::to(Peer::Node(node)), message, parts);
        }
        s.pending.push_back(pending);
        self.append_entry(entry, fx);
    }

    pub(crate) fn read(&mut self, read: ReadOp, fx: &mut Effects) {
        let ReadOp { link, io, wanted, block, count } = read;
        let (shard, epoch, hasty) = (self.shard, self.register.promised, self.mutation.is(Mutant::UncommittedRead));
        let Some(s) = self.serving() else { return };
        let Some(Kept::Read(read)) = s.holding.keep(Kept::Read(read)) else { return };
        // A read of a block with a write under way waits for it: it must not show what may yet be lost.
        match s.pending.iter().rev().find(|p| p.overlaps(block, count)) {
            Some(p) if hasty && wanted == Wanted::Blocks => {
                let parts = p.entry.data.iter().cloned().collect();
                fx.answer_with(link, wire::Done { shard, epoch, io }, parts);
            }
            Some(p) => {
                Sometimes::ReadWaitsForWrite.happens();
                s.behind.push_back((p.sequence(), read));
            }
            None => {
                self.read_now(read, fx);
            }
        }
    }

    pub(crate) fn read_now(&mut self, read: ReadOp, fx: &mut Effects) -> Option<u64> {
        let (shard, ticket) = (self.shard, self.next_read());
        let s = self.serving()?;
        let ReadOp { block, count, .. } = read;
        fx.log.push(match read.wanted {
            Wanted::Blocks => Request::Read { shard, ticket, block, count },
            // Between nothing and now differs what is written. Stretches that do not touch are half as many as blocks at most.
            Wanted::Map => Request::ReadChanges { shard, ticket, from: None, to: None, block, count, most: count },
        });
        s.reading.insert(ticket, read);
        Some(ticket)
    }

    pub(crate) fn on_blocks(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        parts: Result<Vec<Payload>, ReadFault>,
        fx: &mut Effects,
    ) {
        let (shard, epoch) = (self.shard, self.register.promised);
        let Some(read) = self.leased(cx, ticket, fx) else { return };
        match parts {
            Ok(parts) => fx.answer_with(read.link, wire::Done { shard, epoch, io: read.io }, parts),
            Err(ReadFault { rotten }) => self.mend(cx, ticket, rotten, Waiter::Read(read), fx),
        }
    }

    /// Which blocks are written, of those that a host asked about.
    pub(crate) fn on_changes(&mut self, cx: &Context<'_>, ticket: u64, changes: &Changes, fx: &mut Effects) {
        let (shard, epoch) = (self.shard, self.register.promised);
        let Some(read) = self.leased(cx, ticket, fx) else { return };
        let mut bits = vec![0u8; read.count.div_ceil(8) as usize];
        for bit in changes.stretches.iter().flat_map(|&(first, count)| first - read.block..first - read.block + count) {
            bits[bit as usize / 8] |= 1 << (bit % 8);
        }
        fx.answer_with(read.link, wire::Done { shard, epoch, io: read.io }, vec![Payload::from(bits)]);
    }

    /// The read that the store has answered, if every member's confirmation holds; if not, it waits to be asked again.
    fn leased(&mut self, cx: &Context<'_>, ticket: u64, fx: &mut Effects) -> Option<ReadOp> {
        let (shard, lease_ignored) = (self.shard, self.mutation.is(Mutant::LeaseIgnored));
        let s = self.serving()?;
        let read = s.reading.remove(&ticket)?;
        let Some(Kept::Read(read)) = s.holding.keep(Kept::Read(read)) else { return None };
        if cx.now <= s.leased_until(cx) || lease_ignored {
            return Some(read);
        }
        Sometimes::ReadWaitsForLease.happens();
        s.unleased.push_back(read);
        fx.awaiting_lease.push(shard);
        None
    }

    /// A member or the learner has more durable.
    pub(crate) fn on_replicated(&mut self, cx: &Context<'_>, from: Link, m: &Replicated, fx: &mut Effects) {
        let Peer::Node(node) = from.peer else { return };
        if m.epoch != self.register.promised {
            return;
        }
        let end = self.end;
        let Some(s) = self.serving() else { return };
        if m.through > end {
            return;
        }
        if let Some(backup) = s.others.get_mut(&node) {
            if m.through < backup.through {
                // It lost what it had confirmed.
                Sometimes::MemberHasLost.happens();
                s.unfit = Some(node);
                return;
            }
            (backup.through, backup.room) = (m.through, m.room);
        } else if let Some(teaching) = s.teaching.as_mut().filter(|t| t.node() == node) {
            teaching.on_through(m.through);
        }
        self.advance(cx, fx);
    }

    /// Commits what every member has durable, and the learner too while its admission may be in flight (I3).
    pub(crate) fn advance(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let (shard, epoch, own) = (self.shard, self.register.promised, self.durable_end);
        let alone = self.mutation.is(Mutant::AcknowledgedAlone);
        let learner_free = self.mutation.is(Mutant::AcknowledgedWithoutLearner);
        let late = self.mutation.is(Mutant::BoundTooLate);
        let Some(s) = self.serving() else { return };
        if s.suspended {
            return self.teach(cx, fx);
        }
        let teaching = s.teaching.as_ref().filter(|t| !late || t.admissible().is_some());
        let admitting = teaching.and_then(|t| t.binding_through()).filter(|_| !learner_free);
        let others = s.others.values().map(|b| b.through).filter(|_| !alone);
        let through = others.chain(admitting).fold(own, Sequence::min);
        while let Some(done) = s.pending.pop_front_if(|p| p.sequence() <= through) {
            s.pending_bytes -= done.bytes();
            if let Some((link, io)) = done.client
                && s.holding.keep(Kept::Done(link, io)).is_some()
            {
                fx.answer(link, wire::Done { shard, epoch, io });
            }
        }
        self.commit(through, epoch, fx);
        self.answer_orders(fx);
        self.release_reads(fx);
        self.teach(cx, fx);
    }

    fn release_reads(&mut self, fx: &mut Effects) {
        let (committed, early) = (self.committed, self.mutation.is(Mutant::ReleasedTooEarly));
        while let Some(s) = self.serving()
            && let Some(at) = s.behind.iter().position(|(until, _)| *until <= committed)
        {
            let (_, read) = s.behind.remove(at).expect("just found");
            match read.wanted {
                // Another write of the same block may have come meanwhile.
                Wanted::Blocks if !early => self.read(read, fx),
                // Of so many blocks one may be written at any time. What was under way when it came is committed, and what came later may come after it.
                Wanted::Blocks | Wanted::Map => _ = self.read_now(read, fx),
            }
        }
    }

    /// At the end of a turn: if no write will carry the commit along, a message must, but not at once.
    pub(crate) fn tell_commits(&mut self, cx: &Context<'_>) {
        let committed = self.committed;
        let Some(s) = self.serving() else { return };
        if s.told < committed && s.pending.is_empty() && s.tell_at.is_none() {
            s.tell_at = Some(cx.now + cx.policy.commit_tell_after);
        }
        if let Some(at) = Time::sooner(s.tell_at, s.holding.until()) {
            self.wake_at(at);
        }
    }

    pub(crate) fn tick_serving(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        self.let_go_in_time(cx, fx);
        let (shard, epoch, through) = (self.shard, self.register.promised, self.committed);
        let Some(s) = self.serving() else { return };
        if s.tell_at.take_if(|at| *at <= cx.now).is_some() {
            s.told = through;
            let learner = s.teaching.as_ref().map(|t| t.node());
            for node in s.others.keys().copied().chain(learner) {
                fx.tell(node, wire::Committed { shard, epoch, through });
            }
        }
        // A block that a learner needs could not be had; somebody may have it now.
        if s.teaching.is_some() {
            self.teach(cx, fx);
        }
        let Some(s) = self.serving() else { return };
        // Reads wait only while the lease is out; a keepalive answer brings us here.
        if !s.unleased.is_empty() {
            if cx.now <= s.leased_until(cx) {
                for read in core::mem::take(&mut s.unleased) {
                    self.read_now(read, fx);
                }
            } else {
                fx.awaiting_lease.push(shard);
            }
        }
    }

    /// A member is back on a new connection: it states its end first, then gets what it lacks.
    pub(crate) fn meet_again(&mut self, cx: &Context<'_>, node: NodeId, fx: &mut Effects) {
        let config = self.register.config.clone();
        let (shard, leased) = (self.shard, self.mutation.is(Mutant::LeaseOutlivesLink));
        let Some(s) = self.serving() else { return };
        let synced_at = s.synced_at;
        if let Some(backup) = s.others.get_mut(&node) {
            backup.unmet = backup.unmet.or(cx.peers.confirmed(node)).or(Some(synced_at)).filter(|_| !leased);
            fx.tell(node, wire::Sync { shard, config });
        }
        if s.teaching.as_ref().is_some_and(|t| t.node() == node) {
            self.teaching_restarts(fx);
        }
    }

    pub(crate) fn on_end_again(&mut self, cx: &Context<'_>, node: NodeId, m: &End, fx: &mut Effects) {
        let (shard, epoch, committed) = (self.shard, self.register.promised, self.committed);
        let not_sent = self.mutation.is(Mutant::LackNotSent);
        let Some(s) = self.serving() else { return };
        if s.suspended {
            return;
        }
        let Some(backup) = s.others.get_mut(&node) else { return };
        if m.end < backup.through || m.adopted != epoch {
            Sometimes::MemberHasLost.happens();
            s.unfit = Some(node);
            return self.reconsider(cx, fx);
        }
        for p in s.pending.iter().filter(|p| p.sequence() > m.end && !not_sent) {
            Sometimes::MemberLacksWrites.happens();
            let (message, data) = replicate(shard, epoch, committed, &p.entry);
            fx.answer_with(Link::to(Peer::Node(node)), message, data);
        }
        (backup.through, backup.room, backup.unmet) = (m.end, m.room, None);
        if !s.unleased.is_empty() {
            fx.awaiting_lease.push(shard);
        }
        self.advance(cx, fx);
    }

    pub(crate) fn serving_condition(&self, cx: &Context<'_>, s: &Serving) -> ShardCondition {
        if s.suspended {
            return ShardCondition::AwaitingMember;
        }
        let waits = s.has_waiting() || self.has_reads_waiting_for_mends();
        let waits_for_member = waits && s.others.keys().any(|n| cx.peers.is_gone(*n));
        if waits_for_member { self.waiting_condition(cx, ShardCondition::Electing) } else { ShardCondition::Serving }
    }
}
