//! When which shard, or which volume's gate, wants to be looked at. One time for each, the soonest first.

use alloc::collections::BTreeSet;
use base::Time;
use core::fmt::Display;

/// Those that want a step, by time.
#[derive(Debug)]
pub(crate) struct Timers<Id> {
    due: BTreeSet<(Time, Id)>,
}

impl<Id> Default for Timers<Id> {
    fn default() -> Self {
        Self { due: BTreeSet::new() }
    }
}

impl<Id: Copy + Ord + Display> Timers<Id> {
    /// Replaces the time of one, which was `from`.
    pub(crate) fn set(&mut self, id: Id, from: Option<Time>, to: Option<Time>) {
        if from == to {
            return;
        }
        if let Some(at) = from {
            let was_there = self.due.remove(&(at, id));
            assert!(was_there, "the timer of {id} was not where it believed it");
        }
        if let Some(at) = to {
            self.due.insert((at, id));
        }
    }

    /// One whose time has come, if there is one. It stays until it is set anew.
    pub(crate) fn due(&self, now: Time) -> Option<Id> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The soonest.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }
}
