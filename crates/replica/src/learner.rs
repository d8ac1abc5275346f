//! A replica that is being filled. It merges copies block by block, never over a block that the stream has brought since the attempt began: the
//! stream is newer than any copy. By what it says that it has, only what changed since is copied (`marks`).
//!
//! From its first record on it is marked incomplete, durably: it votes for nothing and serves nobody until the primary has asked it to mark itself
//! whole and a configuration admits it.

use crate::{After, Context, Effects, Replica, Role};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::net::Link;
use base::log::{Record, Standing, WindowEntry};
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{BLOCK_BYTES, Epoch, Payload, Sequence};
use wire::{Extent, Finish, Learn, Replicate, Stretch};

/// Blocks that the stream brought: one bit each.
#[derive(Debug, Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn for_blocks(blocks: u32) -> Self {
        Self(alloc::vec![0; blocks.div_ceil(64) as usize])
    }
    fn set(&mut self, block: u32, count: u32) {
        for b in block..block + count {
            self.0[(b / 64) as usize] |= 1 << (b % 64);
        }
    }
    fn get(&self, block: u32) -> bool {
        self.0[(block / 64) as usize] & 1 << (block % 64) != 0
    }
}

/// The state of a learner in one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Learner {
    plan: u64,
    attempt: u64,
    /// The epoch whose history the primary has.
    adopted: Epoch,
    primary: Link,
    confirmed: Sequence,
    again: bool,
    /// Blocks that the stream has brought for good: those of committed writes.
    streamed: Bits,
    /// Those of writes that are not committed yet, and may never be: they lie in the window, and what was there before is copied beneath them.
    undecided: VecDeque<(Sequence, u32, u32)>,
    /// The next extent.
    part: u64,
}

impl Learner {
    /// So far all is committed.
    fn decide(&mut self, through: Sequence) {
        while let Some((_, block, count)) = self.undecided.pop_front_if(|(sequence, ..)| *sequence <= through) {
            self.streamed.set(block, count);
        }
    }

    pub(crate) fn primary_to_confirm(&mut self, through: Sequence) -> Option<Link> {
        let news = core::mem::take(&mut self.again) || through > self.confirmed;
        self.confirmed = self.confirmed.max(through);
        news.then_some(self.primary)
    }
}

impl Replica {
    /// The primary begins an attempt.
    pub(crate) fn on_learn(&mut self, cx: &Context<'_>, from: Link, m: &Learn, fx: &mut Effects) {
        self.on_config(cx, &m.config, fx);
        let config = &self.register.config;
        let named = config.learner.is_some_and(|l| l.member == self.me && l.plan == m.plan);
        let stale = m.config.epoch != self.register.promised || config.epoch != m.config.epoch || !named;
        if self.gone || (stale && !self.mutation.is(Mutant::StaleLearn)) {
            // A Learn of another epoch or plan is stale: it must not undo what a newer one did.
            Sometimes::LearnIsStale.happens();
            return;
        }
        // Without min_copies the shard may need us as we are: learning would destroy what makes us fit to carry it on (I4, I7).
        let carries = self.register.standing == Standing::Complete && config.anchors.contains(&self.me);
        if carries && !config.has_min_copies() {
            Sometimes::LearnWouldLoseAnchor.happens();
            return;
        }
        if let Role::Learner(l) = &self.role
            && l.plan == m.plan
            && l.attempt >= m.attempt
        {
            return;
        }
        let blocks = config.blocks;
        let since = self.begin_from_base(m, fx);
        self.arrivals.clear();
        (self.committed, self.end, self.durable_end) = (m.committed, m.committed, m.committed);
        self.committed_in = m.adopted;
        self.role = Role::Learner(Box::new(Learner {
            plan: m.plan,
            attempt: m.attempt,
            adopted: m.adopted,
            primary: from,
            confirmed: m.committed,
            again: false,
            streamed: Bits::for_blocks(blocks),
            undecided: VecDeque::new(),
            part: 1,
        }));
        self.then(After::Ready { to: from, plan: m.plan, attempt: m.attempt, since });
    }

    pub(crate) fn is_learning(&self, plan: u64, attempt: u64) -> bool {
        matches!(&self.role, Role::Learner(l) if (l.plan, l.attempt) == (plan, attempt))
    }

    /// A write of the stream; the epoch was checked.
    pub(crate) fn on_streamed(&mut self, from: Link, m: &Replicate, entry: WindowEntry, fx: &mut Effects) {
        let next = self.end.next();
        let Role::Learner(l) = &mut self.role else { return };
        l.primary = from;
        if m.stamp.sequence != next {
            Sometimes::LearnerSeesGap.happens();
            l.again = true;
            return;
        }
        if self.mutation.is(Mutant::MergedByChunk) {
            let first = m.block - m.block % base::CHUNK_BLOCKS;
            l.streamed.set(first, base::CHUNK_BLOCKS.min(self.register.config.blocks - first));
        }
        if self.mutation.is(Mutant::UndecidedLeftOut) {
            l.streamed.set(m.block, m.count);
        }
        l.undecided.push_back((m.stamp.sequence, m.block, m.count));
        self.append_entry(entry, fx);
        self.on_committed(m.epoch, m.committed, fx);
    }

    /// Stretches of what was committed before the stream began.
    pub(crate) fn on_extent(&mut self, from: Link, m: &Extent, data: Option<Payload>, fx: &mut Effects) {
        let (promised, blocks) = (self.register.promised, self.register.config.blocks);
        let Role::Learner(l) = &mut self.role else { return };
        let data = data.unwrap_or_default();
        let inside = |s: &Stretch| s.block.checked_add(s.count).is_some_and(|end| end <= blocks);
        let mine = m.epoch == promised && (m.plan, m.attempt, m.part) == (l.plan, l.attempt, l.part);
        if !mine || !m.stretches.iter().all(inside) || data.len() != bytes_of(&m.stretches) {
            return;
        }
        l.part += 1;
        l.decide(self.committed);
        if self.mutation.is(Mutant::CopiedOverStream) {
            l.streamed = Bits::for_blocks(blocks);
        }
        let (mut at, mut records) = (0, Vec::new());
        for s in &m.stretches {
            let runs = unstreamed(&l.streamed, s.block, s.count);
            if runs.iter().map(|(_, count)| count).sum::<u32>() < s.count {
                Sometimes::CopyGoesAroundStream.happens();
            }
            for (block, count) in runs {
                let (skip, len) = ((block - s.block) as usize * BLOCK_BYTES, count as usize * BLOCK_BYTES);
                let erase = Record::Erase { block, count };
                records.push(if s.erase { erase } else { Record::Copy { block, data: data.slice(at + skip, len) } });
            }
            at += if s.erase { 0 } else { s.count as usize * BLOCK_BYTES };
        }
        records.into_iter().for_each(|record| _ = self.append(record, fx));
        let after = After::Copied { to: from, plan: m.plan, attempt: m.attempt, part: m.part };
        if self.durable == self.ticket {
            // Nothing of it had to be written.
            fx.answer(
                from,
                wire::Copied { shard: self.shard, epoch: m.epoch, plan: m.plan, attempt: m.attempt, part: m.part },
            );
        } else {
            self.then(after);
        }
    }

    /// The primary says that we have everything: mark it, durably.
    pub(crate) fn on_finish(&mut self, from: Link, m: &Finish, fx: &mut Effects) {
        let Role::Learner(l) = &self.role else { return };
        if m.epoch != self.register.promised || (m.plan, m.attempt) != (l.plan, l.attempt) {
            return;
        }
        // What we have is the primary's history, no more and no less.
        self.register.adopted = l.adopted;
        self.register.standing = Standing::Learned { plan: m.plan };
        self.write_register(fx);
        self.then(After::Learned { to: from, plan: m.plan, attempt: m.attempt });
    }
}

/// Bytes of data that stretches come with.
fn bytes_of(stretches: &[Stretch]) -> usize {
    stretches.iter().filter(|s| !s.erase).map(|s| s.count as usize * BLOCK_BYTES).sum()
}

/// The runs of `block..block + count` that the stream has not brought.
fn unstreamed(streamed: &Bits, block: u32, count: u32) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for b in (block..block + count).filter(|b| !streamed.get(*b)) {
        match runs.last_mut() {
            Some((start, len)) if *start + *len == b => *len += 1,
            _ => runs.push((b, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_around_what_the_stream_has_brought() {
        let mut streamed = Bits::for_blocks(200);
        assert_eq!(unstreamed(&streamed, 0, 200), [(0, 200)]);
        streamed.set(3, 2);
        streamed.set(64, 1);
        assert_eq!(unstreamed(&streamed, 0, 70), [(0, 3), (5, 59), (65, 5)]);
        assert_eq!(unstreamed(&streamed, 3, 2), []);
    }
}
