//! A new primary makes its members equal before it serves (rule 4): it has promised durably; it asks every member for its end, adopts the
//! greatest (adopted epoch, sequence), and gives everybody that window. It serves when all have it. Nothing is copied
//! beyond the window, and no space is needed.

use crate::mending::Waiter;
use crate::pending::{Pending, replicate, taken_over};
use crate::serving::Serving;
use crate::{After, Context, Effects, FENCE_WAIT, Replica, Role};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::io::net::{Link, Peer};
use base::log::{ReadFault, Record, Request, WindowEntry};
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{Configuration, Epoch, NodeId, Payload, Sequence, Time};
use wire::{Cause, End, Incomplete, Synced, WindowEnd, Windowed};

/// What a member said that it has.
#[derive(Debug, Clone, Copy)]
struct Claim {
    adopted: Epoch,
    end: Sequence,
    committed: Sequence,
    committed_in: Epoch,
    room: u64,
}

#[derive(Debug, Clone)]
enum Phase {
    /// The own promise is on its way to the disk.
    Promising,
    /// Waiting for the members' ends.
    Asking,
    /// Waiting for the window of the member that has the greatest end.
    Fetching { from: NodeId, entries: Vec<WindowEntry> },
    /// Waiting for the own window to be read.
    Loading { ticket: u64 },
    /// Waiting for everybody to have the window.
    Adopting { synced: BTreeSet<NodeId>, own: bool, asked: Time },
    /// A primary of an older generation may still answer reads until then (rule 9).
    Fenced { until: Time, asked: Time },
}

/// An election under way.
#[derive(Debug, Clone)]
pub(crate) struct Election {
    others: Vec<NodeId>,
    since: Time,
    phase: Phase,
    claims: BTreeMap<NodeId, Claim>,
    /// What all of them have committed, at most; and in this epoch or an earlier one.
    committed: Sequence,
    committed_in: Epoch,
    end: Sequence,
    window: Vec<WindowEntry>,
    /// Members whose link got a new life after they had synced.
    remet: BTreeSet<NodeId>,
    /// A member that cannot take part as it is.
    pub(crate) unfit: Option<NodeId>,
}

impl Election {
    pub(crate) fn new(now: Time, config: &Configuration, me: NodeId) -> Self {
        Self {
            others: config.members.iter().map(|m| m.node).filter(|n| *n != me).collect(),
            since: now,
            phase: Phase::Promising,
            claims: BTreeMap::new(),
            committed: Sequence(0),
            committed_in: Epoch(0),
            end: Sequence(0),
            window: Vec::new(),
            remet: BTreeSet::new(),
            unfit: None,
        }
    }

    /// How far it is, in a word.
    pub(crate) fn called(&self) -> &'static str {
        match self.phase {
            Phase::Promising => "Electing: promising",
            Phase::Asking => "Electing: asking",
            Phase::Fetching { .. } => "Electing: fetching",
            Phase::Loading { .. } => "Electing: loading",
            Phase::Adopting { .. } => "Electing: adopting",
            Phase::Fenced { .. } => "Electing: fenced",
        }
    }

    /// Whose answer is awaited.
    pub(crate) fn awaited(&self) -> Vec<NodeId> {
        let missing = |n: &&NodeId| match &self.phase {
            Phase::Asking => !self.claims.contains_key(n),
            Phase::Fetching { from, .. } => *from == **n,
            Phase::Adopting { synced, .. } => !synced.contains(n),
            Phase::Promising | Phase::Loading { .. } | Phase::Fenced { .. } => false,
        };
        self.others.iter().filter(missing).copied().collect()
    }
}

impl Replica {
    fn election(&mut self) -> Option<&mut Election> {
        match &mut self.role {
            Role::Electing(e) => Some(e),
            _ => None,
        }
    }

    /// Our promise is durable: ask the others for theirs.
    pub(crate) fn ask(&mut self, fx: &mut Effects) {
        let config = self.register.config.clone();
        let shard = self.shard;
        let Some(e) = self.election() else { return };
        e.phase = Phase::Asking;
        for node in e.others.clone() {
            fx.tell(node, wire::Sync { shard, config: config.clone() });
        }
        self.choose(fx);
    }

    /// The link to a member was opened anew: whatever was on the old one may be lost.
    pub(crate) fn ask_again(&mut self, node: NodeId, fx: &mut Effects) {
        let config = self.register.config.clone();
        let (shard, epoch) = (self.shard, config.epoch);
        let Some(e) = self.election() else { return };
        if !e.awaited().contains(&node) {
            if matches!(e.phase, Phase::Adopting { .. } | Phase::Fenced { .. }) {
                Sometimes::ElectionMeetsAgain.happens();
                e.remet.insert(node);
            }
            return;
        }
        match &mut e.phase {
            Phase::Asking => fx.tell(node, wire::Sync { shard, config }),
            Phase::Fetching { entries, .. } => {
                Sometimes::ElectionFetchesAgain.happens();
                entries.clear();
                let above = e.committed;
                fx.tell(node, wire::Fetch { shard, epoch, above });
            }
            Phase::Adopting { .. } => e.send_window(shard, epoch, node, fx),
            Phase::Promising | Phase::Loading { .. } | Phase::Fenced { .. } => {}
        }
    }

    /// A member states its end, to its new primary or, after a reconnect, to one that serves.
    pub(crate) fn on_end(&mut self, cx: &Context<'_>, from: Link, m: &End, fx: &mut Effects) {
        let Peer::Node(node) = from.peer else { return };
        if m.epoch != self.register.promised {
            return;
        }
        if let Role::Serving(_) = self.role {
            return self.on_end_again(cx, node, m, fx);
        }
        let Some(e) = self.election() else { return };
        if matches!(e.phase, Phase::Asking) && e.others.contains(&node) {
            let &End { adopted, end, committed, committed_in, room, .. } = m;
            e.claims.insert(node, Claim { adopted, end, committed, committed_in, room });
            self.choose(fx);
        }
    }

    /// A member is not whole: the shard must go on without it.
    pub(crate) fn on_incomplete(&mut self, cx: &Context<'_>, from: Link, m: &Incomplete, fx: &mut Effects) {
        let Peer::Node(node) = from.peer else { return };
        if m.epoch != self.register.promised {
            return;
        }
        match &mut self.role {
            Role::Electing(e) if e.others.contains(&node) => {
                Sometimes::ElectionFindsIncomplete.happens();
                e.unfit = Some(node);
            }
            Role::Serving(s) => s.unfit = s.unfit.or(Some(node)),
            _ => return,
        }
        self.reconsider(cx, fx);
    }

    /// All ends known? Then the greatest is everybody's.
    fn choose(&mut self, fx: &mut Effects) {
        let (adopted, end, room) = (self.register.adopted, self.end, u64::MAX);
        let own = Claim { adopted, end, committed: self.committed, committed_in: self.committed_in, room };
        let (me, shard, epoch) = (self.me.node, self.shard, self.register.promised);
        let has_min_copies = self.may_adopt();
        let Some(e) = self.election() else { return };
        if e.claims.len() < e.others.len() {
            return;
        }
        let all = || e.claims.iter().map(|(n, c)| (*n, *c)).chain([(me, own)]);
        let committed = all().map(|(_, c)| c.committed).max().expect("at least this one");
        // Whoever has less than is committed lost what it had confirmed: its disk is not to be trusted with a vote.
        if let Some((short, _)) = all().find(|(_, c)| c.end < committed) {
            Sometimes::ElectionFindsShort.happens();
            e.unfit = Some(short);
            return;
        }
        // Of equals the primary's own is taken, which saves the fetch.
        let (best, claim) = all().max_by_key(|(n, c)| (c.adopted, c.end, *n == me)).expect("at least this one");
        // Whoever says the earliest knows best.
        let told = all().filter(|(_, c)| c.committed == committed).map(|(_, c)| c.committed_in);
        (e.committed_in, e.committed, e.end) = (told.min().expect("at least one"), committed, claim.end);
        if !has_min_copies {
            // Too few to adopt anything: whose end is greatest is for the epoch that has enough.
            e.end = own.end;
            self.load_window(fx);
        } else if best == me {
            self.load_window(fx);
        } else {
            Sometimes::ElectionFetches.happens();
            e.phase = Phase::Fetching { from: best, entries: Vec::new() };
            fx.tell(best, wire::Fetch { shard, epoch, above: committed });
        }
    }

    fn load_window(&mut self, fx: &mut Effects) {
        let Some(e) = self.election() else { return };
        let (above, epoch) = (e.committed, e.committed_in);
        self.commit(above, epoch, fx);
        self.read_own_window(fx);
    }

    fn read_own_window(&mut self, fx: &mut Effects) -> Option<u64> {
        let (shard, ticket) = (self.shard, self.next_read());
        let e = self.election()?;
        e.phase = Phase::Loading { ticket };
        fx.log.push(Request::ReadWindow { shard, ticket, above: e.committed });
        Some(ticket)
    }

    /// What was rotten of it is mended.
    pub(crate) fn load_window_again(&mut self, fx: &mut Effects) -> Option<u64> {
        if matches!(self.election()?.phase, Phase::Loading { .. }) { self.read_own_window(fx) } else { None }
    }

    /// What we cannot read we do not have: somebody else must lead.
    pub(crate) fn own_window_unreadable(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let me = self.me.node;
        if let Some(e) = self.election() {
            Sometimes::ElectionCannotRead.happens();
            e.unfit = Some(me);
            self.reconsider(cx, fx);
        }
    }

    pub(crate) fn on_windowed(&mut self, from: Link, m: &Windowed, data: Option<Payload>) {
        let promised = self.register.promised;
        let Some(Election { phase: Phase::Fetching { from: node, entries }, .. }) = self.election() else { return };
        let Some(entry) = taken_over(m, data) else { return };
        if from.peer == Peer::Node(*node) && m.epoch == promised && entries.len() < crate::WINDOW_WRITES {
            entries.push(entry);
        }
    }

    pub(crate) fn on_window_end(&mut self, cx: &Context<'_>, from: Link, m: &WindowEnd, fx: &mut Effects) {
        let promised = self.register.promised;
        let Some(e) = self.election() else { return };
        let Phase::Fetching { from: node, entries } = &mut e.phase else { return };
        if from.peer != Peer::Node(*node) || m.epoch != promised {
            return;
        }
        let (node, entries) = (*node, core::mem::take(entries));
        if !is_row(&entries, e.committed, e.end) {
            // It does not have what it claimed.
            Sometimes::ElectionFindsShort.happens();
            e.unfit = Some(node);
            return self.reconsider(cx, fx);
        }
        let (committed, epoch, end) = (e.committed, e.committed_in, e.end);
        self.commit(committed, epoch, fx);
        for entry in &entries {
            self.append_entry(entry.clone(), fx);
        }
        self.end = end;
        self.arrivals.retain(|(_, sequence)| *sequence <= end);
        self.durable_end = self.durable_end.min(end);
        if !self.mutation.is(Mutant::OwnTailKept) {
            self.append(Record::Cut { above: end }, fx);
        }
        self.adopt(cx, entries, fx);
    }

    /// A window was read from the store: for a new primary that asked us, or for ourselves.
    pub(crate) fn on_window(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        entries: Result<Vec<WindowEntry>, ReadFault>,
        fx: &mut Effects,
    ) {
        let Some(entries) = self.send_window(cx, ticket, entries, fx) else { return };
        let Some(e) = self.election() else { return };
        if !matches!(e.phase, Phase::Loading { ticket: t } if t == ticket) {
            return;
        }
        match entries {
            Ok(entries) if is_row(&entries, e.committed, e.end) => self.adopt(cx, entries, fx),
            Err(ReadFault { rotten }) => self.mend(cx, ticket, rotten, Waiter::OwnWindow, fx),
            Ok(_) => self.own_window_unreadable(cx, fx),
        }
    }

    fn adopt(&mut self, cx: &Context<'_>, window: Vec<WindowEntry>, fx: &mut Effects) {
        let (shard, epoch) = (self.shard, self.register.promised);
        if !self.may_adopt() {
            return self.suspend(cx, window, fx);
        }
        let Some(e) = self.election() else { return };
        e.window = window;
        e.phase = Phase::Adopting { synced: BTreeSet::new(), own: false, asked: cx.now };
        for node in e.others.clone() {
            e.send_window(shard, epoch, node, fx);
        }
        self.mark(fx);
        self.register.adopted = epoch;
        self.write_register(fx);
        self.then(After::SelfAdopted { epoch });
    }

    /// Rule 11: it appends, commits and adopts nothing, keeps its window, and may fill a learner. The authority brings a member back, or
    /// admits the learner, in a new epoch.
    fn suspend(&mut self, cx: &Context<'_>, window: Vec<WindowEntry>, fx: &mut Effects) {
        Sometimes::ElectionSuspends.happens();
        let end = self.end;
        let pending = window.into_iter().map(Pending::from_window).collect();
        let mut serving = Serving::new(pending, Vec::new(), end, cx.now);
        serving.suspended = true;
        self.role = Role::Serving(Box::new(serving));
        fx.changed.push(self.shard);
        self.teach_as_configured(cx, fx);
    }

    pub(crate) fn on_self_adopted(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if let Some(Election { phase: Phase::Adopting { own, .. }, .. }) = self.election() {
            *own = true;
            self.all_synced(cx, fx);
        }
    }

    pub(crate) fn on_synced(&mut self, cx: &Context<'_>, from: Link, m: &Synced, fx: &mut Effects) {
        let Peer::Node(node) = from.peer else { return };
        if m.epoch != self.register.promised {
            return;
        }
        let Some(e) = self.election() else { return };
        let Phase::Adopting { synced, .. } = &mut e.phase else { return };
        if e.others.contains(&node) {
            synced.insert(node);
            if let Some(claim) = e.claims.get_mut(&node) {
                claim.room = m.room;
            }
            self.all_synced(cx, fx);
        }
    }

    fn all_synced(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let (me, fence) = (self.me.node, self.register.config.fence.clone());
        let early = self.mutation.is(Mutant::ServedBeforeSync);
        let unfenced = self.mutation.is(Mutant::FenceIgnored);
        let Some(e) = self.election() else { return };
        let Phase::Adopting { synced, own: true, asked } = &e.phase else { return };
        if synced.len() < e.others.len() && !early {
            return;
        }
        let asked = *asked;
        // A member that answered has promised this epoch, which confirms the fence; so have we.
        let unconfirmed = !unfenced && fence.iter().any(|n| *n != me && !e.others.contains(n));
        let until = e.since + FENCE_WAIT;
        if unconfirmed && cx.now < until {
            Sometimes::ElectionIsFenced.happens();
            e.phase = Phase::Fenced { until, asked };
            self.wake_at(until);
        } else {
            self.begin_serving(cx, asked, fx);
        }
    }

    pub(crate) fn tick_election(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let Some(e) = self.election() else { return };
        if let Phase::Fenced { until, asked } = e.phase {
            if cx.now >= until {
                self.begin_serving(cx, asked, fx);
            } else {
                self.wake_at(until);
            }
        }
    }

    fn begin_serving(&mut self, cx: &Context<'_>, asked: Time, fx: &mut Effects) {
        let config = &self.register.config;
        assert!(config.primary == self.me.node && self.may_adopt());
        assert_eq!(self.register.adopted, self.register.promised, "{}: serving before adoption", self.shard);
        let Some(e) = self.election() else { return };
        let pending = core::mem::take(&mut e.window).into_iter().map(Pending::from_window).collect();
        let others = e.claims.iter().map(|(n, c)| (*n, c.room)).collect();
        let (end, remet) = (e.end, core::mem::take(&mut e.remet));
        assert!(
            self.durable_end == end && self.end == end,
            "{}: serving with a window that is not durable",
            self.shard
        );
        self.role = Role::Serving(Box::new(Serving::new(pending, others, end, asked)));
        fx.changed.push(self.shard);
        remet.into_iter().for_each(|node| self.meet_again(cx, node, fx));
        self.advance(cx, fx);
        self.teach_as_configured(cx, fx);
        self.unpark(cx, fx);
    }

    /// Whether there are members enough for anything to be adopted and committed (rule 11).
    fn may_adopt(&self) -> bool {
        self.register.config.has_min_copies() || self.mutation.is(Mutant::CommittedBelowMinCopies)
    }

    /// What the authority may be told as the cause of the wait.
    pub(crate) fn election_unfit(&self) -> Option<(NodeId, Cause)> {
        let Role::Electing(e) = &self.role else { return None };
        e.unfit.map(|node| (node, Cause::MemberIncomplete { node }))
    }
}

impl Election {
    fn send_window(&self, shard: base::ShardId, epoch: Epoch, node: NodeId, fx: &mut Effects) {
        let &Self { committed, committed_in, end, .. } = self;
        fx.tell(node, wire::Adopt { shard, epoch, committed, committed_in, end });
        for entry in &self.window {
            let (message, data) = replicate(shard, epoch, committed, entry);
            fx.answer_with(Link::to(Peer::Node(node)), message, data);
        }
    }
}

/// Whether the entries are all from above `committed` to `end`, each once and in order.
fn is_row(entries: &[WindowEntry], committed: Sequence, end: Sequence) -> bool {
    let mut last = committed;
    entries.iter().all(|e| core::mem::replace(&mut last, e.stamp.sequence).next() == e.stamp.sequence) && last == end
}
