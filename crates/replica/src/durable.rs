//! The replica's own log: what it appends, and what may be done or answered only once that is durable (I2, I3).

use crate::{Context, Effects, Replica, Role, pending};
use alloc::boxed::Box;
use base::io::net::Link;
use base::log::{Record, Request, WindowEntry};
use base::{Epoch, Sequence};

/// What to do once an append is durable.
#[derive(Debug, Clone)]
pub(crate) enum After {
    /// A member answers a Sync.
    AnswerSync { to: Link, epoch: Epoch },
    /// The primary asks its members.
    Ask { epoch: Epoch },
    /// A member has the window.
    Synced { to: Link, epoch: Epoch },
    /// The primary has adopted its own window.
    SelfAdopted { epoch: Epoch },
    /// A learner is ready for what changed since then, or for everything.
    Ready { to: Link, plan: u64, attempt: u64, since: Option<Sequence> },
    /// A learner has an extent.
    Copied { to: Link, plan: u64, attempt: u64, part: u64 },
    /// A learner is whole.
    Learned { to: Link, plan: u64, attempt: u64 },
}

impl Replica {
    pub(crate) fn append(&mut self, record: Record, fx: &mut Effects) -> u64 {
        self.ticket += 1;
        fx.append(self.shard, self.ticket, record);
        self.ticket
    }

    pub(crate) fn append_entry(&mut self, entry: WindowEntry, fx: &mut Effects) {
        self.mending.overwritten(entry.block, entry.count);
        let stamp = entry.stamp;
        let record = pending::record(entry);
        let ticket = self.append(record, fx);
        // Not while a window is taken over: entries beyond it still count until they are cut.
        self.end = self.end.max(stamp.sequence);
        self.arrivals.push_back((ticket, stamp.sequence));
    }

    pub(crate) fn write_register(&mut self, fx: &mut Effects) -> u64 {
        self.append(Record::Register(Box::new(self.register.clone())), fx)
    }

    pub(crate) fn then(&mut self, after: After) {
        self.after.push_back((self.ticket, after));
    }

    /// So much is committed, and was in this epoch or an earlier one.
    pub(crate) fn commit(&mut self, through: Sequence, epoch: Epoch, fx: &mut Effects) {
        if through > self.committed {
            assert!(through <= self.end, "{}: commit of {through:?} beyond the end {:?}", self.shard, self.end);
            (self.committed, self.committed_in) = (through, epoch);
            fx.log.push(Request::Commit { shard: self.shard, through });
        } else if through == self.committed {
            self.committed_in = self.committed_in.min(epoch);
        }
    }

    pub(crate) fn on_durable(&mut self, cx: &Context<'_>, ticket: u64, fx: &mut Effects) {
        assert!(
            ticket <= self.ticket && ticket >= self.durable,
            "{}: the store confirms what was not asked",
            self.shard
        );
        self.durable = ticket;
        while let Some(&(at, sequence)) = self.arrivals.front()
            && at <= ticket
        {
            self.arrivals.pop_front();
            self.durable_end = self.durable_end.max(sequence);
        }
        while let Some((at, _)) = self.after.front()
            && *at <= ticket
        {
            let (_, after) = self.after.pop_front().expect("just looked");
            self.run(cx, after, fx);
        }
        if let Role::Serving(_) = self.role {
            self.advance(cx, fx);
        }
        if self.gone && self.durable == self.ticket {
            fx.dropped.push(self.shard);
        }
    }

    pub(crate) fn run(&mut self, cx: &Context<'_>, after: After, fx: &mut Effects) {
        let (shard, promised) = (self.shard, self.register.promised);
        match after {
            After::AnswerSync { to, epoch } if epoch == promised => self.state_end(cx, to, fx),
            After::Ask { epoch } if epoch == promised => self.ask(fx),
            After::SelfAdopted { epoch } if epoch == promised => self.on_self_adopted(cx, fx),
            After::Synced { to, epoch } if epoch == promised => {
                let end = self.durable_end;
                fx.answer(to, wire::Synced { shard, epoch, end, room: cx.room });
            }
            After::Ready { to, plan, attempt, since } if self.is_learning(plan, attempt) => {
                fx.answer(to, wire::Learning { shard, epoch: promised, plan, attempt, since, room: cx.room });
            }
            After::Copied { to, plan, attempt, part } if self.is_learning(plan, attempt) => {
                fx.answer(to, wire::Copied { shard, epoch: promised, plan, attempt, part });
            }
            After::Learned { to, plan, attempt } if self.is_learning(plan, attempt) => {
                fx.answer(to, wire::Learned { shard, epoch: promised, plan, attempt });
            }
            // Overtaken by a newer epoch or attempt: whoever asked does not want it any more.
            _ => {}
        }
    }
}
