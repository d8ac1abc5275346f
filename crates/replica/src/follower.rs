//! A replica that obeys: it promises, states its end, takes over windows, appends what its primary replicates, and
//! confirms what is durable. The same code holds for a replica outside the configuration, which is only asked less.

use crate::mending::Waiter;
use crate::pending::{replicated, windowed};
use crate::{After, Context, Effects, Replica, Role};
use alloc::vec::Vec;
use base::io::net::Link;
use base::log::{ReadFault, Record, Request, Standing, WindowEntry};
use base::mutant::Mutant;
use base::sometimes::Sometimes;
use base::{Configuration, Epoch, Payload, Sequence};
use wire::{Adopt, Fetch, Replicate};

/// What a follower remembers beside its register.
#[derive(Debug, Clone, Default)]
pub(crate) struct Follower {
    /// Where the primary's Replicate comes from; confirmations go back on it.
    primary: Option<Link>,
    /// The last sequence confirmed there.
    confirmed: Option<Sequence>,
    /// There was less room when it confirmed last than the primary may want: it says again how much there is when the primary tells what is committed.
    short: bool,
    /// The window it is taking over.
    adopting: Option<Adopting>,
    /// A primary that wants our window, and the read under way for it.
    fetching: Option<Fetching>,
    /// A host's I/O waits for the primary of this epoch.
    pub(crate) complained: bool,
}

impl Follower {
    /// Whether it is taking a window over.
    pub(crate) fn is_adopting(&self) -> bool {
        self.adopting.is_some()
    }
}

#[derive(Debug, Clone)]
struct Fetching {
    ticket: u64,
    to: Link,
    epoch: Epoch,
    above: Sequence,
}

#[derive(Debug, Clone)]
struct Adopting {
    next: Sequence,
    end: Sequence,
}

impl Replica {
    /// The primary of a configuration asks for our promise and our end.
    pub(crate) fn on_sync(&mut self, cx: &Context<'_>, from: Link, config: Configuration, fx: &mut Effects) {
        let epoch = config.epoch;
        self.on_config(cx, &config, fx);
        if self.gone {
            return;
        }
        if epoch < self.register.promised {
            Sometimes::DeposedSpeaks.happens();
            let config = self.register.config.clone();
            return fx.answer(from, wire::Deposed { shard: self.shard, epoch, config });
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.primary = Some(from);
            follower.confirmed = None;
        }
        // The promise may still be on its way to the disk, and so may entries that we are about to claim.
        self.then_or_now(cx, After::AnswerSync { to: from, epoch }, fx);
    }

    fn then_or_now(&mut self, cx: &Context<'_>, after: After, fx: &mut Effects) {
        if self.durable == self.ticket || self.mutation.is(Mutant::AnsweredBeforePromised) {
            self.run(cx, after, fx);
        } else {
            self.then(after);
        }
    }

    pub(crate) fn state_end(&mut self, cx: &Context<'_>, to: Link, fx: &mut Effects) {
        let (shard, epoch) = (self.shard, self.register.promised);
        if self.register.standing != Standing::Complete {
            return fx.answer(to, wire::Incomplete { shard, epoch });
        }
        let (adopted, end, committed) = (self.register.adopted, self.durable_end, self.committed);
        let committed_in = self.committed_in;
        fx.answer(to, wire::End { shard, epoch, adopted, end, committed, committed_in, room: cx.room });
    }

    /// The new primary wants our window: ours is the greatest.
    pub(crate) fn on_fetch(&mut self, from: Link, fetch: &Fetch, fx: &mut Effects) {
        if fetch.epoch < self.register.promised {
            return;
        }
        if self.has_lost(fetch.epoch, fetch.above) {
            return self.tell_loss(from, fetch.epoch, fx);
        }
        self.read_window_for(from, fetch.epoch, fetch.above, fx);
    }

    pub(crate) fn read_window_for(&mut self, to: Link, epoch: Epoch, above: Sequence, fx: &mut Effects) -> Option<u64> {
        let ticket = self.next_read();
        let Role::Follower(follower) = &mut self.role else { return None };
        follower.fetching = Some(Fetching { ticket, to, epoch, above });
        fx.log.push(Request::ReadWindow { shard: self.shard, ticket, above });
        Some(ticket)
    }

    /// Our window was read: send it. Gives it back when it was read for something else.
    pub(crate) fn send_window(
        &mut self,
        cx: &Context<'_>,
        ticket: u64,
        entries: Result<Vec<WindowEntry>, ReadFault>,
        fx: &mut Effects,
    ) -> Option<Result<Vec<WindowEntry>, ReadFault>> {
        let Role::Follower(follower) = &mut self.role else { return Some(entries) };
        let Some(fetching) = follower.fetching.take_if(|f| f.ticket == ticket) else { return Some(entries) };
        let Fetching { to, epoch, above, .. } = fetching;
        let shard = self.shard;
        let entries = match entries {
            Ok(entries) => entries,
            Err(ReadFault { rotten }) => {
                self.mend(cx, ticket, rotten, Waiter::Window { to, epoch, above }, fx);
                return None;
            }
        };
        for entry in &entries {
            let (message, data) = windowed(shard, epoch, entry);
            fx.answer_with(to, message, data);
        }
        fx.answer(to, wire::WindowEnd { shard, epoch, end: self.durable_end });
        None
    }

    /// Whether a primary speaks of what this replica had stated, or must have had to be asked, and has no more: its promise, its wholeness, or what was committed. Its log was
    /// damaged since, or its disk had said of something that it is durable which was not.
    fn has_lost(&self, epoch: Epoch, committed: Sequence) -> bool {
        let whole = self.register.standing == Standing::Complete && epoch == self.register.promised;
        !whole || self.end < committed
    }

    /// A primary that is past asking for ends waits for the answer for ever, so it is told at once.
    fn tell_loss(&self, to: Link, epoch: Epoch, fx: &mut Effects) {
        Sometimes::MemberLostWhatItStated.happens();
        if !self.mutation.is(Mutant::LossUntold) {
            fx.answer(to, wire::Incomplete { shard: self.shard, epoch });
        }
    }

    /// The window of this epoch begins. "A Sync for an epoch already adopted is answered, not applied again."
    pub(crate) fn on_adopt(&mut self, cx: &Context<'_>, from: Link, adopt: &Adopt, fx: &mut Effects) {
        let (shard, epoch) = (self.shard, adopt.epoch);
        if epoch < self.register.promised {
            let config = self.register.config.clone();
            return fx.answer(from, wire::Deposed { shard, epoch, config });
        }
        if self.has_lost(epoch, adopt.committed) {
            return self.tell_loss(from, epoch, fx);
        }
        if self.register.adopted == epoch && !self.mutation.is(Mutant::SyncedTwice) {
            Sometimes::AdoptsTwice.happens();
            return self.then_or_now(cx, After::Synced { to: from, epoch }, fx);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        follower.primary = Some(from);
        follower.adopting = Some(Adopting { next: adopt.committed.next(), end: adopt.end });
        // Committed by an epoch that we were a whole member of: we have it, and it is the same everywhere.
        self.commit(adopt.committed, adopt.committed_in, fx);
        if self.mutation.is(Mutant::CutBeforeReplaced) {
            self.append(Record::Cut { above: adopt.committed }, fx);
        }
        self.finish_adopting(from, fx);
    }

    fn finish_adopting(&mut self, from: Link, fx: &mut Effects) {
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(Adopting { end, .. }) = follower.adopting.take_if(|a| a.next > a.end) else { return };
        // The window was replaced entry by entry; only now does what lies beyond it go, in one batch with the mark. Cutting first
        // would lose acknowledged writes if we crashed in between.
        // (Nothing should lie there: the primary has asked every member of its epoch, and who had adopted less than another was no member then, so it has
        // learned since. The rule is kept because a cut costs nothing, and what it keeps out is a second content of one sequence.)
        self.end = end;
        self.arrivals.retain(|(_, sequence)| *sequence <= end);
        self.durable_end = self.durable_end.min(end);
        self.append(Record::Cut { above: end }, fx);
        self.mark(fx);
        self.register.adopted = self.register.promised;
        let ticket = self.write_register(fx);
        self.arrivals.push_back((ticket, end));
        self.then(After::Synced { to: from, epoch: self.register.promised });
    }

    /// The primary of our epoch replicates a write, or one entry of the window that we are taking over.
    pub(crate) fn on_replicate(&mut self, from: Link, m: &Replicate, data: Option<Payload>, fx: &mut Effects) {
        let late = self.mutation.is(Mutant::DeposedAccepted) && m.epoch < self.register.promised;
        if m.epoch < self.register.promised && !late {
            Sometimes::DeposedSpeaks.happens();
            let config = self.register.config.clone();
            return fx.answer(from, wire::Deposed { shard: self.shard, epoch: m.epoch, config });
        }
        let inside = m.block.checked_add(m.count).is_some_and(|end| end <= self.register.config.blocks);
        let obeyed = (m.epoch == self.register.promised || late) && inside;
        let Some(entry) = replicated(m, data).filter(|_| obeyed) else { return };
        let sequence = m.stamp.sequence;
        match &mut self.role {
            Role::Follower(follower) if follower.adopting.is_some() => {
                let adopting = follower.adopting.as_mut().expect("just looked");
                if sequence == adopting.next {
                    adopting.next = sequence.next();
                    self.append_entry(entry, fx);
                    self.finish_adopting(from, fx);
                }
            }
            Role::Follower(follower) if self.register.adopted == m.epoch || late => {
                follower.primary = Some(from);
                if sequence == self.end.next() {
                    self.append_entry(entry, fx);
                } else {
                    // Sent again after a reconnect, or beyond a gap: our end tells which.
                    Sometimes::BackupSeesGap.happens();
                    follower.confirmed = None;
                }
                self.on_committed(m.epoch, m.committed, fx);
            }
            Role::Learner(_) => self.on_streamed(from, m, entry, fx),
            _ => {}
        }
    }

    /// So much is committed, says the primary.
    pub(crate) fn on_committed(&mut self, epoch: Epoch, through: Sequence, fx: &mut Effects) {
        let obeys = match &mut self.role {
            Role::Follower(follower) => {
                if core::mem::take(&mut follower.short) {
                    follower.confirmed = None;
                }
                self.register.adopted == epoch
            }
            Role::Learner(_) => true,
            _ => false,
        };
        if obeys && epoch == self.register.promised {
            self.commit(through.min(self.end), epoch, fx);
        }
    }

    /// Confirms what became durable in this turn, once for all of it.
    pub(crate) fn confirm(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        if self.is_suspect() {
            return;
        }
        let through = if self.mutation.is(Mutant::ConfirmedBeforeDurable) { self.end } else { self.durable_end };
        let to = match &mut self.role {
            Role::Follower(f) if f.adopting.is_none() && self.register.adopted == self.register.promised => {
                let news = f.confirmed.replace(through) != Some(through);
                f.short = if news { cx.room < room_for_all(cx) } else { f.short };
                f.primary.filter(|_| news)
            }
            Role::Learner(l) => l.primary_to_confirm(through),
            _ => None,
        };
        if let Some(to) = to {
            let epoch = self.register.promised;
            fx.answer(to, wire::Replicated { shard: self.shard, epoch, through, room: cx.room });
        }
    }

    /// A host waits for the primary of `epoch`, and asked us.
    pub fn on_complaint(&mut self, epoch: Epoch) {
        if let Role::Follower(follower) = &mut self.role
            && epoch == self.register.promised
        {
            follower.complained = true;
        }
    }
}

/// With so much room no write is ever refused for it.
fn room_for_all(cx: &Context<'_>) -> u64 {
    2 * crate::WINDOW_BYTES as u64 + cx.policy.room_slack_bytes
}
