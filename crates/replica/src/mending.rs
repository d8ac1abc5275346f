//! Rot: blocks whose bytes on this node's disk do not match their checksums, or that it does not read. They are asked of the other members, one after the other, and put in
//! place of the rotten ones; what met them waits and is read again.
//!
//! ```text
//! a read, a window, extents, the scrub --Corrupt--> wanted --Mend--> a member --Mended--> appended, read again
//!                                                    ^  ^ has none, is late |
//!                                                    |  +-------------------+--no member left--> is it still named here? --no--> read again
//!                                                    |                                               |yes
//!                                                    +-- a member did not answer: a second later ----+-- all have none --> lost: refused by name
//! ```
//!
//! *Who does not answer may have it.* So a block is lost only when every member said that it has none; until then whoever wants it waits, as a write
//! would, and a member that stays away is left out by a new configuration.
//!
//! *Why the last question goes to the own store.* A block that is overwritten while it is being asked for is soon nowhere to be had, and no loss.
//!
//! *Why any member may be asked, and of any epoch.* A block is asked for by its checksum, and only bytes that match it are believed. Whoever has such a block has the
//! one that was written, whatever he promised since; and the store puts it in place only where it still names the rotten one, so a
//! mend never brings back what was overwritten.
//!
//! *Echoes.* A read that began before a mend was in place still shows the rot. It is read again, and not counted or asked for once more.

use crate::serving::{READS_MAX, ReadOp};
use crate::{Context, Effects, Replica};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::bounded::Fill;
use base::io::net::{Link, Peer};
use base::log::{Record, Request, Rot};
use base::sometimes::Sometimes;
use base::{BLOCK_BYTES, Configuration, Epoch, IO_BLOCKS_MAX, NodeId, Payload, Sequence, Time, checksum};
use wire::{Mend, Mended, Refusal};

/// Blocks of one shard that are asked for at once. A client's read that would go beyond waits for its turn; what the scrub finds beyond, it finds again.
const WANTED_MAX: usize = IO_BLOCKS_MAX as usize;
/// Questions of peers that are at the store; beyond, a peer is told to ask another.
const ANSWERING_MAX: usize = 1024;
/// Blocks remembered as lost.
const LOST_MAX: usize = 1024;
/// Of those, asked for again at once.
const RETRIED_MAX: usize = 64;
/// How often one read may meet rot: a window of 64 MiB shows 256 blocks a time, so it needs 64 passes at most. Beyond it, the disk rots what is written to it.
const PASSES_MAX: u32 = 100;
/// Blocks that are remembered as mended a moment ago.
const MENDED_MAX: usize = 4 * WANTED_MAX;

/// Who waits for blocks to be mended.
#[derive(Debug, Clone)]
pub(crate) enum Waiter {
    /// A host's read.
    Read(ReadOp),
    /// Extents for a learner, of one attempt.
    Extents { attempt: u64 },
    /// The own window, in an election.
    OwnWindow,
    /// The window, for the primary of an epoch.
    Window { to: Link, epoch: Epoch, above: Sequence },
}

#[derive(Debug, Clone)]
struct Waiting {
    waiter: Waiter,
    rotten: BTreeSet<Rot>,
    passes: u32,
}

/// How far a member was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It is to answer until then.
    Out(Time),
    /// It did not, and may yet.
    Late,
    /// It has none.
    No,
}

#[derive(Debug, Clone, Default)]
struct Want {
    /// Each member that was asked, with the number of the question.
    asked: BTreeMap<NodeId, (u64, Asked)>,
    /// All were asked; the own store is, by this ticket, whether it still names it.
    checking: Option<u64>,
    /// When those who did not answer are asked again.
    again_at: Option<Time>,
}

impl Want {
    fn is_out(&self) -> bool {
        self.asked.values().any(|(_, asked)| matches!(asked, Asked::Out(_)))
    }

    fn due(&self) -> Option<Time> {
        let out =
            self.asked.values().find_map(|(_, asked)| if let Asked::Out(until) = asked { Some(*until) } else { None });
        Time::sooner(out, self.again_at)
    }
}

/// What became of a block that was wanted.
enum Outcome {
    Mended(Payload),
    /// It was overwritten or trimmed meanwhile.
    Gone,
    Lost,
}

/// All that one replica knows of rot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mending {
    wanted: BTreeMap<Rot, Want>,
    waiting: Vec<Waiting>,
    /// Reads that were begun again, by ticket: how often.
    passes: BTreeMap<u64, u32>,
    /// Blocks that were mended, and until when who shows them rotten read them before that.
    mended: BTreeMap<Rot, Time>,
    /// Blocks of which no member had a good copy.
    lost: BTreeSet<Rot>,
    /// When all are asked again for some of them, and which was the last.
    retry: Option<(Time, Rot)>,
    /// Questions of peers at the store, by ticket.
    answering: BTreeMap<u64, (Link, u64)>,
}

impl Mending {
    /// A read ended: how often it was begun again.
    pub(crate) fn ended(&mut self, ticket: u64) {
        self.passes.remove(&ticket);
    }

    fn is_echo(&self, cx: &Context<'_>, rot: &Rot) -> bool {
        self.mended.get(rot).is_some_and(|until| cx.now < *until)
    }

    fn remember(&mut self, cx: &Context<'_>, rot: Rot) {
        if self.mended.len() >= MENDED_MAX {
            self.mended.retain(|_, until| cx.now < *until);
        }
        if self.mended.len() < MENDED_MAX {
            self.mended.insert(rot, cx.now + cx.policy.mend_answer_within);
        }
    }

    /// Who waits for blocks.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How full each part is.
    pub(crate) fn fills(&self, tell: &mut dyn FnMut(Fill)) {
        // Each of the four who may wait is heard out though it shows more than are asked for at once, and some that were lost are asked for again beside them.
        tell(Fill { what: "blocks asked of members", now: self.wanted.len(), most: 5 * WANTED_MAX + LOST_MAX });
        tell(Fill { what: "waiting for blocks", now: self.waiting.len(), most: READS_MAX + 3 });
        tell(Fill { what: "blocks that were mended", now: self.mended.len(), most: MENDED_MAX });
        tell(Fill { what: "blocks that are lost", now: self.lost.len(), most: LOST_MAX });
        tell(Fill { what: "questions of peers", now: self.answering.len(), most: ANSWERING_MAX });
    }

    /// These blocks were written anew: what they held is nobody's any more.
    pub(crate) fn overwritten(&mut self, block: u32, count: u32) {
        if !self.lost.is_empty() {
            self.lost.retain(|rot| !(block..block + count).contains(&rot.block));
        }
    }
}

impl Replica {
    /// The blocks that no member had a good copy of.
    pub fn lost(&self) -> impl ExactSizeIterator<Item = &Rot> {
        self.mending.lost.iter()
    }

    /// A read met rot. Its waiter goes on when all of it is mended, and is refused when some of it cannot be.
    pub(crate) fn mend(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        mut rotten: Vec<Rot>,
        waiter: Waiter,
        fx: &mut Effects,
    ) {
        let passes = self.mending.passes.get(&ticket).copied().unwrap_or(0);
        let first = rotten.first().expect("a read is not corrupt without a block that is").block;
        if passes >= PASSES_MAX {
            return self.give_up(cx, waiter, first, fx);
        }
        if passes == 0 {
            // What was begun again came after the mend: if that shows the same, it is rotten once more.
            rotten.retain(|rot| !self.mending.is_echo(cx, rot));
            if rotten.is_empty() {
                return self.read_again(waiter, 1, fx);
            }
        }
        let wanted = self.mending.wanted.len();
        match waiter {
            Waiter::Read(read) if wanted > 0 && wanted + rotten.len() > WANTED_MAX => {
                return fx.refuse(read.link, self.shard, read.io, Refusal::Busy);
            }
            waiter => {
                // Of all but hosts' reads there is one at a time, and a later one is of another attempt or epoch.
                let same = |w: &Waiting| core::mem::discriminant(&w.waiter) == core::mem::discriminant(&waiter);
                if !matches!(waiter, Waiter::Read(_)) {
                    self.mending.waiting.retain(|w| !same(w));
                }
                let rotten = rotten.iter().copied().collect();
                self.mending.waiting.push(Waiting { waiter, rotten, passes });
            }
        }
        for rot in rotten {
            self.want(cx, rot, fx);
        }
    }

    /// Rot that was found though nobody waits for the block. Only who is in touch with members can ask them.
    pub(crate) fn on_corrupt(&mut self, cx: &Context<'_>, rot: Rot, fx: &mut Effects) {
        let known = self.mending.lost.contains(&rot) || self.mending.is_echo(cx, &rot);
        if !known && self.mending.wanted.len() < WANTED_MAX && self.register.config.is_member(self.me) {
            self.want(cx, rot, fx);
        }
    }

    fn want(&mut self, cx: &Context<'_>, rot: Rot, fx: &mut Effects) {
        if self.mending.wanted.contains_key(&rot) {
            return;
        }
        fx.rot_found += u64::from(!self.mending.lost.contains(&rot));
        self.mending.wanted.insert(rot, Want::default());
        self.ask_for(cx, rot, fx);
    }

    /// The members to be asked, the primary first: it has every block that counts. And those that could carry the shard on though they
    /// are none now (rule 11), which this node may not be in touch with.
    fn mend_peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let config = &self.register.config;
        let others = config.members.iter().map(|m| m.node).filter(|n| *n != config.primary);
        let anchors = config.anchors.iter().map(|m| m.node).filter(|n| config.member_on(*n).is_none());
        core::iter::once(config.primary).chain(others).chain(anchors).filter(|n| *n != self.me.node)
    }

    /// Asks the next member that was not asked yet.
    fn ask_for(&mut self, cx: &Context<'_>, rot: Rot, fx: &mut Effects) {
        let number = self.next_read();
        let Some(want) = self.mending.wanted.get(&rot) else { return };
        if want.is_out() || want.checking.is_some() {
            return;
        }
        let reachable = |n: NodeId| {
            let member = self.register.config.member_on(n).is_some();
            !cx.peers.is_gone(n) && (member || cx.peers.is_up(n))
        };
        let next = self.mend_peers().find(|n| !want.asked.contains_key(n) && reachable(*n));
        let want = self.mending.wanted.get_mut(&rot).expect("just found");
        let (shard, block, crc) = (self.shard, rot.block, rot.crc);
        let Some(node) = next else {
            want.checking = Some(number);
            return fx.log.push(Request::ReadMatching { shard, ticket: number, block, crc });
        };
        let until = cx.now + cx.policy.mend_answer_within;
        want.asked.insert(node, (number, Asked::Out(until)));
        fx.tell(node, Mend { shard, number, block, crc });
        self.wake_at(until);
    }

    /// Somebody answers: believed only if it is what was asked for.
    pub(crate) fn on_mended(
        &mut self,
        cx: &Context<'_>,
        from: Link,
        m: &Mended,
        data: Option<Payload>,
        fx: &mut Effects,
    ) {
        let Peer::Node(node) = from.peer else { return };
        let asked = |want: &Want| want.asked.get(&node).is_some_and(|(number, _)| *number == m.number);
        let Some((&rot, want)) = self.mending.wanted.iter_mut().find(|(_, want)| asked(want)) else { return };
        let right =
            |data: &Payload| data.len() == BLOCK_BYTES && checksum::block(self.shard, rot.block, data) == rot.crc;
        match data.filter(right) {
            Some(data) => self.settle_rot(cx, rot, Outcome::Mended(data), fx),
            None => {
                want.asked.insert(node, (m.number, Asked::No));
                self.ask_for(cx, rot, fx);
            }
        }
    }

    /// Nobody gave it, and the own store still names it: lost, or to be asked for again of those who did not answer.
    fn nobody_gave(&mut self, cx: &Context<'_>, rot: Rot, fx: &mut Effects) {
        let want = &self.mending.wanted[&rot];
        if self.mend_peers().all(|n| matches!(want.asked.get(&n), Some((_, Asked::No)))) {
            return self.settle_rot(cx, rot, Outcome::Lost, fx);
        }
        let at = cx.now + cx.policy.mend_answer_within;
        let want = self.mending.wanted.get_mut(&rot).expect("just found");
        (want.checking, want.again_at) = (None, Some(at));
        self.wake_at(at);
    }

    /// A block is mended, or nobody has it. Whoever waits for it goes on.
    fn settle_rot(&mut self, cx: &Context<'_>, rot: Rot, outcome: Outcome, fx: &mut Effects) {
        self.mending.wanted.remove(&rot);
        let lost = matches!(outcome, Outcome::Lost);
        match outcome {
            Outcome::Mended(data) => {
                Sometimes::MendsFromMember.happens();
                self.append(Record::Mend { block: rot.block, place: rot.place, data }, fx);
                self.mending.lost.remove(&rot);
                self.mending.remember(cx, rot);
                fx.rot_mended += 1;
            }
            Outcome::Gone => {
                Sometimes::MendFindsGone.happens();
                self.mending.lost.remove(&rot);
            }
            Outcome::Lost => {
                Sometimes::MendFindsLost.happens();
                if self.mending.lost.len() < LOST_MAX {
                    self.mending.lost.insert(rot);
                }
                let (at, _) = *self.mending.retry.get_or_insert((cx.now + cx.policy.mend_retry, rot));
                self.wake_at(at);
            }
        }
        for mut waiting in core::mem::take(&mut self.mending.waiting) {
            let waits = waiting.rotten.remove(&rot);
            if waits && lost {
                self.give_up(cx, waiting.waiter, rot.block, fx);
            } else if waits && waiting.rotten.is_empty() {
                self.read_again(waiting.waiter, waiting.passes + 1, fx);
            } else {
                self.mending.waiting.push(waiting);
            }
        }
    }

    /// The store orders it behind the mends.
    fn read_again(&mut self, waiter: Waiter, passes: u32, fx: &mut Effects) {
        let ticket = match waiter {
            Waiter::Read(read) => self.read_now(read, fx),
            Waiter::Extents { attempt } => self.read_extents_again(attempt, fx),
            Waiter::OwnWindow => self.load_window_again(fx),
            Waiter::Window { to, epoch, above } => self.read_window_for(to, epoch, above, fx),
        };
        self.mending.passes.extend(ticket.map(|ticket| (ticket, passes)));
    }

    fn give_up(&mut self, cx: &Context<'_>, waiter: Waiter, block: u32, fx: &mut Effects) {
        match waiter {
            Waiter::Read(read) => fx.refuse(read.link, self.shard, read.io, Refusal::Unreadable { block }),
            Waiter::Extents { attempt } => self.extents_unreadable(cx, attempt),
            Waiter::OwnWindow => self.own_window_unreadable(cx, fx),
            Waiter::Window { to, epoch, .. } => fx.answer(to, wire::Incomplete { shard: self.shard, epoch }),
        }
    }

    /// Another epoch begins, or a role ends: hosts are told where to go; everybody else begins anew by himself.
    pub(crate) fn nobody_waits(&mut self, config: &Configuration, fx: &mut Effects) {
        for waiting in core::mem::take(&mut self.mending.waiting) {
            if let Waiter::Read(read) = waiting.waiter {
                fx.redirect(read.link, read.io, config);
            }
        }
        if !config.is_member(self.me) {
            // It is in touch with nobody, and nobody reads from it.
            self.mending.wanted.clear();
        }
        // Others may be members now.
        self.mending.wanted.values_mut().for_each(|want| want.again_at = want.again_at.map(|_| Time::ZERO));
    }

    /// Time has passed or a peer changed: who does not answer is not waited for.
    pub(crate) fn tick_mending(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let mut go_on = Vec::new();
        for (rot, want) in &mut self.mending.wanted {
            for (node, (_, asked)) in &mut want.asked {
                if let Asked::Out(until) = *asked
                    && (until <= cx.now || cx.peers.is_gone(*node))
                {
                    Sometimes::MendWaitsInVain.happens();
                    *asked = Asked::Late;
                    go_on.push(*rot);
                }
            }
            if want.again_at.take_if(|at| *at <= cx.now).is_some() {
                want.asked.retain(|_, (_, asked)| *asked == Asked::No);
                go_on.push(*rot);
            }
        }
        go_on.into_iter().for_each(|rot| self.ask_for(cx, rot, fx));
        if let Some((_, last)) = self.mending.retry.take_if(|(at, _)| *at <= cx.now) {
            self.retry_lost(cx, last, fx);
        }
        let due = self.mending.wanted.values().filter_map(Want::due);
        if let Some(at) = due.chain(self.mending.retry.map(|(at, _)| at)).min() {
            self.wake_at(at);
        }
    }

    /// Somebody may be back who has them; or they are nobody's any more.
    fn retry_lost(&mut self, cx: &Context<'_>, last: Rot, fx: &mut Effects) {
        let lost = &self.mending.lost;
        let round = lost.iter().filter(|rot| **rot > last).chain(lost.iter().filter(|rot| **rot <= last));
        let some: Vec<Rot> = round.take(RETRIED_MAX).copied().collect();
        if let Some(&last) = some.last() {
            self.mending.retry = Some((cx.now + cx.policy.mend_retry, last));
        }
        some.into_iter().for_each(|rot| self.want(cx, rot, fx));
    }

    /// A member has this block rotten.
    pub(crate) fn on_mend(&mut self, from: Link, m: &Mend, fx: &mut Effects) {
        if self.mending.answering.len() >= ANSWERING_MAX {
            return fx.answer(from, Mended { shard: self.shard, number: m.number });
        }
        let ticket = self.next_read();
        self.mending.answering.insert(ticket, (from, m.number));
        fx.log.push(Request::ReadMatching { shard: self.shard, ticket, block: m.block, crc: m.crc });
    }

    /// The store was asked for a block: by a member, or by ourselves after all of them.
    pub(crate) fn on_matching(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        data: Option<Payload>,
        rotten: &[Rot],
        fx: &mut Effects,
    ) {
        if let Some((to, number)) = self.mending.answering.remove(&ticket) {
            fx.answer_with(to, Mended { shard: self.shard, number }, data.into_iter().collect());
            // It is rotten here too, which nobody had seen yet.
            return rotten.iter().for_each(|rot| self.on_corrupt(cx, *rot, fx));
        }
        let mut wanted = self.mending.wanted.iter();
        let Some((&rot, _)) = wanted.find(|(_, want)| want.checking == Some(ticket)) else { return };
        match data {
            Some(data) => self.settle_rot(cx, rot, Outcome::Mended(data), fx),
            None if rotten.contains(&rot) => self.nobody_gave(cx, rot, fx),
            None => self.settle_rot(cx, rot, Outcome::Gone, fx),
        }
    }

    /// The link to a member is open again: what it was asked on the old one may be lost, and it may have what others did not.
    pub(crate) fn mend_with(&mut self, cx: &Context<'_>, node: NodeId, fx: &mut Effects) {
        for want in self.mending.wanted.values_mut() {
            if want.asked.get(&node).is_none_or(|(_, asked)| *asked != Asked::No) {
                want.asked.remove(&node);
                want.again_at = want.again_at.map(|_| cx.now);
            }
        }
        self.tick_mending(cx, fx);
        let wanted: Vec<Rot> = self.mending.wanted.keys().copied().collect();
        wanted.into_iter().for_each(|rot| self.ask_for(cx, rot, fx));
    }

    /// Whether it wants blocks.
    pub(crate) fn is_mending(&self) -> bool {
        !self.mending.wanted.is_empty()
    }

    /// Whether a host's read waits for a block.
    pub(crate) fn has_reads_waiting_for_mends(&self) -> bool {
        self.mending.waiting.iter().any(|waiting| matches!(waiting.waiter, Waiter::Read(_)))
    }
}
