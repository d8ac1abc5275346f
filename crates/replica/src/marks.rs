//! By how little a replica that was away is made whole again (rule 5): only what changed while it was is copied.
//!
//! ```text
//! members:   ..., B | adopt the epoch without H: a mark at B, from which on the store notes what changes | B + 1, ...
//! H:         ..., B | (entries that nobody else may have)                      back: commits through B, forgets the rest, and is a learner
//! ```
//!
//! *Which mark fits.* The learner decides, since it knows best what it has. Its index, with nothing but committed entries above it, must be at the mark or
//! beyond. That is so where the mark is not above what the learner knows to be committed. And where the learner has adopted the epoch in which the mark's
//! sequence was committed, or a later one: then it has every entry through that, durably, since none was acknowledged without it or before it had been given the
//! window; it may commit them all. If they are not in its log its disk has lost what it had confirmed, and nothing of it is built upon.
//!
//! *Why an attempt that breaks off spoils nothing.* What a learner has is, from its first record on, each block as it was at its *base* or as it was
//! committed later: copies and the stream bring nothing else. So the base is what it states the next time, and every later mark at or below it fits again.
//! A primary that knows less to be committed than the base was takes it back to that, since its copies do.
//!
//! *The marks of a learner* stay good: whatever changed while it was away is copied or streamed, and so noted. Those of the primary it
//! makes its own before the first copy comes, so that it can lead and fill the next one as well. Filled from nothing it has none: it is never told what was
//! trimmed before.
//!
//! docs/decisions/2026-11-25-rejoin-by-marks.md has the argument in full.

use crate::{Effects, Replica};
use base::log::{Mark, Record, Standing};
use base::mutant::Mutant;
use base::{Configuration, Sequence};
use wire::Learn;

/// What a learner begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ground {
    /// What changed since this mark is to be copied.
    since: Sequence,
    /// Through here it has everything.
    base: Sequence,
}

/// Whether somebody may come back.
fn is_anybody_away(c: &Configuration) -> bool {
    c.members.len() < usize::from(c.target_copies) || !c.holders.is_empty() || c.learner.is_some()
}

impl Replica {
    /// This epoch is being adopted, and the index is what is committed before it. In one go with the register that says so, and before it: whatever is committed in
    /// the epoch is noted.
    pub(crate) fn mark(&mut self, fx: &mut Effects) {
        if is_anybody_away(&self.register.config) {
            self.make_mark(Mark { since: self.committed, epoch: self.committed_in }, fx);
        } else {
            self.forget_marks(fx);
        }
    }

    /// The configuration changed within its epoch: who was away may not be awaited any more.
    pub(crate) fn unmark_if_nobody_is_away(&mut self, fx: &mut Effects) {
        let config = &self.register.config;
        let adopted = self.register.adopted == self.register.promised;
        if adopted && config.is_member(self.me) && !is_anybody_away(config) {
            self.forget_marks(fx);
        }
    }

    fn make_mark(&mut self, mark: Mark, fx: &mut Effects) {
        if self.marks.last().is_none_or(|newest| newest.since < mark.since) {
            mark.add_to(&mut self.marks);
            self.append(Record::Mark(mark), fx);
        }
    }

    fn forget_marks(&mut self, fx: &mut Effects) {
        if !self.marks.is_empty() {
            self.marks.clear();
            self.append(Record::Unmark, fx);
        }
    }

    /// Becomes a learner, durably, and keeps what of it can be built upon. Says what it is to be given: what changed since this mark, or everything.
    pub(crate) fn begin_from_base(&mut self, m: &Learn, fx: &mut Effects) -> Option<Sequence> {
        let ground = self.ground(m);
        let complete = matches!(self.register.standing, Standing::Complete | Standing::Learned { .. });
        if let Some(Ground { since, .. }) = ground.filter(|_| complete) {
            // Carried into the log by the register. What lies beyond it in the window may be nobody's.
            self.commit(since, m.adopted, fx);
        }
        self.register.standing = Standing::Learning { plan: m.plan, base: ground.map(|g| g.base) };
        self.write_register(fx);
        self.append(Record::Restart { committed: m.committed, keeps_marks: ground.is_some() }, fx);
        let Some(Ground { since, .. }) = ground else {
            self.marks.clear();
            return None;
        };
        // What changed between an older one and this was not noted here under the older one, and is not copied.
        m.marks.iter().filter(|mark| mark.since >= since).for_each(|mark| self.make_mark(*mark, fx));
        Some(since)
    }

    fn ground(&self, m: &Learn) -> Option<Ground> {
        let newest = |fits: &dyn Fn(&&Mark) -> bool| m.marks.iter().filter(fits).map(|mark| mark.since).max();
        let (adopted, committed, end) = (self.register.adopted, self.committed, self.durable_end);
        let (since, base) = match self.register.standing {
            Standing::Reserved | Standing::Suspect => return None,
            Standing::Learning { base, .. } => {
                let base = if self.mutation.is(Mutant::BaseForgotten) { committed } else { base? };
                (newest(&|mark| mark.since <= base)?, base)
            }
            Standing::Complete if m.marks.iter().any(|mark| mark.epoch <= adopted && mark.since > end) => return None,
            Standing::Complete | Standing::Learned { .. } => {
                let fits = |mark: &&Mark| mark.since <= committed || (mark.epoch <= adopted && mark.since <= end);
                let since = newest(&fits)?;
                (since, since.max(committed))
            }
        };
        Some(Ground { since, base: base.min(m.committed) })
    }
}
