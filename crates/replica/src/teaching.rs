//! The primary's end of filling a learner (rule 5): the stream of writes starts with the uncommitted window and goes on as they come, while
//! everything that was committed before is copied from the index, extent by extent, on the bulk lane; or, if the learner was a member once and a mark fits
//! what it has, everything that changed since.
//!
//! When all extents are durable and the stream has caught up, the learner marks itself; from the moment it is asked to, nothing
//! is acknowledged without it, since its admission may be granted at any time after (I3).

use crate::mending::Waiter;
use crate::pending::replicate;
use crate::{Context, Effects, Replica, Role};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::net::{Link, Peer};
use base::log::{Extent, ReadFault, Request};
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{IO_BLOCKS_MAX, Learner, NodeId, Sequence, Time};
use wire::{Copied, Filling, Learned, Learning, Message, Stretch};

/// Blocks read for one extent: a chunk.
const EXTENT_BLOCKS: u32 = if base::CHUNK_BLOCKS < IO_BLOCKS_MAX { base::CHUNK_BLOCKS } else { IO_BLOCKS_MAX };

/// Bytes of blocks in one message to a learner, at most.
pub const EXTENT_BYTES: u64 = EXTENT_BLOCKS as u64 * base::BLOCK_BYTES as u64;

/// What a primary would copy next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyWish {
    /// Nobody else has what it has.
    pub at_risk: bool,
    /// Only what changed.
    pub by_delta: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Learn is sent.
    Begun,
    /// Extents go out.
    Copying,
    /// All extents are durable there and the stream has caught up; it was asked to mark itself.
    Finishing,
    /// It has: the authority is asked to admit it.
    Learned,
}

/// One attempt to fill one learner.
#[derive(Debug, Clone)]
pub(crate) struct Teaching {
    learner: Learner,
    attempt: u64,
    stage: Stage,
    /// Only what changed since this mark is copied; or everything.
    since: Option<Sequence>,
    /// The stream is durable there up to here.
    through: Sequence,
    /// The next block to be copied; the end of the shard when all was read.
    cursor: u32,
    reading: Option<u64>,
    /// A block could not be had from anybody: not before then.
    not_before: Option<Time>,
    /// Messages with extents sent, and those durable there.
    sent: u64,
    copied: u64,
    /// Blocks of those that are not durable there yet, and of those that are.
    unconfirmed: VecDeque<u32>,
    learned_blocks: u32,
    /// When the first extents were read, and how many blocks there were to be copied, with the ticket of that question.
    began: Time,
    measuring: Option<u64>,
    planned: Option<u32>,
}

impl Teaching {
    pub(crate) fn node(&self) -> NodeId {
        self.learner.member.node
    }

    pub(crate) fn on_through(&mut self, through: Sequence) {
        self.through = self.through.max(through);
    }

    /// What it has durable, if nothing may be acknowledged without it.
    pub(crate) fn binding_through(&self) -> Option<Sequence> {
        matches!(self.stage, Stage::Finishing | Stage::Learned).then_some(self.through)
    }

    /// Who to admit, once it is whole.
    pub(crate) fn admissible(&self) -> Option<Learner> {
        (self.stage == Stage::Learned).then_some(self.learner)
    }

    /// Blocks that it has of those it is sent.
    pub(crate) fn learned_blocks(&self) -> u32 {
        self.learned_blocks
    }

    /// For people.
    pub(crate) fn filling(&self, now: Time) -> Option<Filling> {
        let for_ms = now.since(self.began).as_millis() as u64;
        Some(Filling { by_delta: self.since.is_some(), planned: self.planned?, for_ms })
    }
}

impl Replica {
    fn teaching(&mut self) -> Option<&mut Teaching> {
        match &mut self.role {
            Role::Serving(s) => s.teaching.as_deref_mut(),
            _ => None,
        }
    }

    /// The configuration names another learner, or none.
    pub(crate) fn teach_as_configured(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let wanted = self.register.config.learner;
        let Role::Serving(s) = &mut self.role else { return };
        if s.teaching.as_ref().map(|t| t.learner) == wanted {
            return;
        }
        s.teaching = None;
        if wanted.is_some() {
            self.teaching_restarts(fx);
        }
        self.advance(cx, fx);
    }

    /// Begins anew: what an attempt that broke off has copied does not count.
    pub(crate) fn teaching_restarts(&mut self, fx: &mut Effects) {
        let after_window = self.mutation.is(Mutant::StreamAfterWindow);
        let (shard, committed) = (self.shard, if after_window { self.end } else { self.committed });
        let config = self.register.config.clone();
        let adopted = self.register.adopted;
        let Some(learner) = config.learner else { return };
        // Every attempt of a primary has another number; another primary has another epoch.
        let attempt = self.next_read();
        let Role::Serving(s) = &mut self.role else { return };
        if s.teaching.as_ref().is_some_and(|t| t.stage == Stage::Learned) {
            // It is whole, and its admission may be granted already: it only needs what it missed of the stream.
            return self.resume_stream(fx);
        }
        let (node, plan, marks) = (learner.member.node, learner.plan, self.marks.clone());
        fx.tell(node, wire::Learn { shard, config: config.clone(), plan, attempt, adopted, committed, marks });
        for p in s.pending.iter().filter(|p| p.sequence() > committed) {
            let (message, data) = replicate(shard, config.epoch, committed, &p.entry);
            fx.answer_with(Link::to(Peer::Node(node)), message, data);
        }
        s.teaching = Some(Box::new(Teaching {
            learner,
            attempt,
            stage: Stage::Begun,
            since: None,
            through: committed,
            cursor: 0,
            reading: None,
            not_before: None,
            sent: 0,
            copied: 0,
            unconfirmed: VecDeque::new(),
            learned_blocks: 0,
            began: Time::ZERO,
            measuring: None,
            planned: None,
        }));
    }

    /// A learner that is gone must not hold up the acknowledgements for longer than it has to.
    pub(crate) fn unbind_if_gone(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let asked = self.wish.is_outstanding();
        let Some(t) = self.teaching() else { return };
        let free = match t.stage {
            Stage::Finishing => true,
            // Once the authority was asked to admit it only an answer, or another configuration, sets us free (I3).
            Stage::Learned => !asked,
            Stage::Begun | Stage::Copying => false,
        };
        if free && cx.peers.is_gone(t.node()) {
            Sometimes::TeachingUnbinds.happens();
            t.stage = Stage::Begun;
            self.advance(cx, fx);
        }
    }

    /// While its admission may be in flight nothing was acknowledged without it, so what it lacks is still pending.
    fn resume_stream(&mut self, fx: &mut Effects) {
        let (shard, epoch, committed) = (self.shard, self.register.promised, self.committed);
        let Role::Serving(s) = &mut self.role else { return };
        let Some(t) = &s.teaching else { return };
        Sometimes::TeachingResumes.happens();
        for p in s.pending.iter().filter(|p| p.sequence() > t.through) {
            let (message, data) = replicate(shard, epoch, committed, &p.entry);
            fx.answer_with(Link::to(Peer::Node(t.node())), message, data);
        }
    }

    /// The bulk lane broke: extents on it may be lost.
    pub(crate) fn teaching_broke(&mut self, node: NodeId, fx: &mut Effects) {
        let Some(t) = self.teaching() else { return };
        if t.node() == node && t.stage == Stage::Copying && t.copied < t.sent {
            // Which of them arrived nobody knows: begin a new attempt.
            Sometimes::TeachingBreaks.happens();
            t.stage = Stage::Begun;
            self.teaching_restarts(fx);
        }
    }

    pub(crate) fn on_learning(&mut self, cx: &Context<'_>, from: Link, m: &Learning, fx: &mut Effects) {
        let (shard, promised, ticket, since) = (self.shard, self.register.promised, self.next_read(), m.since);
        let Some(t) = self.teaching() else { return };
        let mine = from.peer == Peer::Node(t.node()) && m.epoch == promised;
        if mine && (m.plan, m.attempt) == (t.learner.plan, t.attempt) && t.stage == Stage::Begun {
            (t.stage, t.since, t.began, t.measuring) = (Stage::Copying, since, cx.now, Some(ticket));
            fx.log.push(Request::Measure { shard, ticket, since });
            self.teach(cx, fx);
        }
    }

    pub(crate) fn on_measured(&mut self, ticket: u64, blocks: u32) {
        if let Some(t) = self.teaching().filter(|t| t.measuring == Some(ticket)) {
            t.planned = Some(blocks);
        }
    }

    fn read_extents(&mut self, fx: &mut Effects) {
        let (shard, blocks, ticket) = (self.shard, self.register.config.blocks, self.reads + 1);
        let Some(t) = self.teaching() else { return };
        if t.stage == Stage::Copying && t.reading.is_none() && t.cursor < blocks {
            t.reading = Some(ticket);
            let (since, block) = (t.since, t.cursor);
            self.reads = ticket;
            fx.log.push(Request::ReadExtents { shard, ticket, since, block, count: EXTENT_BLOCKS });
        }
    }

    pub(crate) fn on_extents(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        extents: Result<Vec<Extent>, ReadFault>,
        next: Option<u32>,
        fx: &mut Effects,
    ) {
        let blocks = self.register.config.blocks;
        let Some(t) = self.teaching() else { return };
        if t.reading != Some(ticket) {
            return;
        }
        let extents = match extents {
            Ok(extents) => extents,
            Err(ReadFault { rotten }) => {
                let attempt = t.attempt;
                return self.mend(cx, ticket, rotten, Waiter::Extents { attempt }, fx);
            }
        };
        (t.reading, t.cursor) = (None, next.unwrap_or(blocks));
        if !extents.is_empty() {
            self.send_extents(extents, fx);
        }
        self.teach(cx, fx);
    }

    /// As one message: a change of one block costs nine bytes beside it.
    fn send_extents(&mut self, extents: Vec<Extent>, fx: &mut Effects) {
        let (shard, epoch, blocks) = (self.shard, self.register.promised, self.register.config.blocks);
        let Some(t) = self.teaching() else { return };
        let end = extents.last().map_or(0, |e| e.block + e.count);
        assert!(end <= blocks, "{shard}: the store has blocks beyond the end of the shard");
        t.sent += 1;
        // Of a whole copy the gaps are no work; of a delta who was away may have each of these.
        let counts = |e: &&Extent| e.data.is_some() || t.since.is_some();
        let moved = extents.iter().filter(counts).map(|e| e.count).sum();
        t.unconfirmed.push_back(moved);
        let (plan, attempt, part) = (t.learner.plan, t.attempt, t.sent);
        let stretch = |e: &Extent| Stretch { block: e.block, count: e.count, erase: e.data.is_none() };
        let stretches = extents.iter().map(stretch).collect();
        let message = Message::from(wire::Extent { shard, epoch, plan, attempt, part, stretches });
        let frame = message.frame_with(extents.into_iter().filter_map(|e| e.data).collect());
        let bytes = wire::frame::HEADER_BYTES + frame.head.len() + base::payload::len(&frame.data);
        let (sent_blocks, sent_bytes) = match t.since {
            Some(_) => (&mut fx.taught.delta_blocks, &mut fx.taught.delta_bytes),
            None => (&mut fx.taught.full_blocks, &mut fx.taught.full_bytes),
        };
        *sent_blocks += u64::from(moved);
        *sent_bytes += bytes as u64;
        fx.copied.push((shard, t.since.is_some(), bytes as u64));
        fx.frames.push((Link::bulk(Peer::Node(t.node())), frame));
    }

    /// What was rotten of the extents is mended.
    pub(crate) fn read_extents_again(&mut self, attempt: u64, fx: &mut Effects) -> Option<u64> {
        let t = self.teaching().filter(|t| t.attempt == attempt)?;
        t.reading = None;
        // It has had its turn.
        self.read_extents(fx);
        self.teaching()?.reading
    }

    /// What cannot be read cannot be copied; the authority sees no progress and the operator sees why. It may be mended yet.
    pub(crate) fn extents_unreadable(&mut self, cx: &Context<'_>, attempt: u64) {
        if let Some(t) = self.teaching().filter(|t| t.attempt == attempt) {
            t.reading = None;
            let at = cx.now + cx.policy.mend_retry;
            t.not_before = Some(at);
            self.wake_at(at);
        }
    }

    pub(crate) fn on_copied(&mut self, cx: &Context<'_>, from: Link, m: &Copied, fx: &mut Effects) {
        let promised = self.register.promised;
        let Some(t) = self.teaching() else { return };
        let mine = from.peer == Peer::Node(t.node()) && m.epoch == promised;
        if mine && (m.plan, m.attempt) == (t.learner.plan, t.attempt) && m.part <= t.sent {
            while t.copied < m.part {
                t.copied += 1;
                t.learned_blocks += t.unconfirmed.pop_front().unwrap_or(0);
            }
            self.teach(cx, fx);
        }
    }

    /// Whether it reads what it will send to a learner.
    pub fn is_reading_extents(&self) -> bool {
        matches!(&self.role, Role::Serving(s) if s.teaching.as_ref().is_some_and(|t| t.reading.is_some()))
    }

    /// What it would read for its learner, if it may.
    pub fn copy_wish(&self) -> Option<CopyWish> {
        let Role::Serving(s) = &self.role else { return None };
        let t = s.teaching.as_ref().filter(|t| t.stage == Stage::Copying && t.reading.is_none())?;
        Some(CopyWish { at_risk: self.register.config.members.len() == 1, by_delta: t.since.is_some() })
    }

    /// Its turn to copy has come, if `cx` says so.
    pub fn copy_on(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        self.teach(cx, fx);
    }

    /// Whatever can go on now does.
    pub(crate) fn teach(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        let (shard, epoch, blocks) = (self.shard, self.register.promised, self.register.config.blocks);
        // What waits for more members than there are will not be committed before the learner is one of them: it needs that too.
        let needed = if self.is_suspended() { self.end } else { self.committed };
        let hasty = self.mutation.is(Mutant::FinishOvertakesCopies);
        let Some(t) = self.teaching() else { return };
        if t.stage != Stage::Copying {
            return;
        }
        if let Some(at) = t.not_before.filter(|at| cx.now < *at) {
            return self.wake_at(at);
        }
        if t.cursor < blocks {
            if t.reading.is_none() && t.sent - t.copied < cx.policy.extents_in_flight as u64 {
                if cx.may_copy {
                    self.read_extents(fx);
                } else {
                    fx.awaiting_copy.push(shard);
                }
            }
        } else if t.reading.is_none() && (t.copied == t.sent || hasty) && t.through >= needed {
            t.stage = Stage::Finishing;
            let (node, plan, attempt) = (t.node(), t.learner.plan, t.attempt);
            fx.tell(node, wire::Finish { shard, epoch, plan, attempt });
        }
    }

    pub(crate) fn on_learned(&mut self, cx: &Context<'_>, from: Link, m: &Learned, fx: &mut Effects) {
        let promised = self.register.promised;
        let Some(t) = self.teaching() else { return };
        let mine = from.peer == Peer::Node(t.node()) && m.epoch == promised;
        if mine && (m.plan, m.attempt) == (t.learner.plan, t.attempt) && t.stage == Stage::Finishing {
            t.stage = Stage::Learned;
            let made_whole = if t.since.is_some() { &mut fx.taught.by_delta } else { &mut fx.taught.in_full };
            *made_whole += 1;
            if t.since.is_some() {
                Sometimes::LearnedByDelta.happens()
            } else {
                Sometimes::LearnedInFull.happens()
            }
            self.reconsider(cx, fx);
        }
    }
}
