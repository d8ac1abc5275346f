//! Small wrong changes to the protocol, each of which the exploration must find: a checker that lets one of them live checks nothing.
//!
//! They exist only with the feature `mutants`, which no release has. Without it a [`Mutation`] has no size and is none of them, so the code that asks is the
//! code that it was. The place of each is where [`Mutation::is`] asks for it.

use crate::Replica;
use crate::serving::Serving;
use crate::{Role, Time};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use base::log::Standing;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A write is acknowledged without the learner whose admission was asked for (I3).
    AcknowledgedWithoutLearner,
    /// The primary serves before all members have the window (I6).
    ServedBeforeSync,
    /// A write is acknowledged when the primary alone has it (I3).
    AcknowledgedAlone,
    /// A member takes and confirms what a deposed primary replicates (rule 2).
    DeposedAccepted,
    /// A read of a block with a write under way is answered with it (rule 3).
    UncommittedRead,
    /// A Learn of another epoch or plan is obeyed (rule 5).
    StaleLearn,
    /// The learner's stream starts behind the uncommitted window (rule 5).
    StreamAfterWindow,
    /// The window of an epoch that was adopted already is applied once more (rule 4).
    SyncedTwice,
    /// A restarted primary serves on under its old epoch.
    ServedAfterRestart,
    /// A configuration below min_copies adopts and commits (rule 11).
    CommittedBelowMinCopies,
    /// A member cuts what it has before it has what takes its place (rule 4).
    CutBeforeReplaced,
    /// A release counts whatever this replica is by now (rule 6).
    ReleasedByEpochAlone,
    /// What must wait for a promise to be durable does not (I2).
    AnsweredBeforePromised,
    /// A member confirms what it has not yet on its disk (I3).
    ConfirmedBeforeDurable,
    /// A copy is merged over what the stream has brought (rule 5).
    CopiedOverStream,
    /// The first primary of a generation does not wait for who served the one before (rule 9).
    FenceIgnored,
    /// A read is answered though a member's confirmation has run out (rule 3).
    LeaseIgnored,
    /// A learner whose attempt broke off forgets through where it has everything, and takes for that where the attempt began (rule 5).
    BaseForgotten,
    /// A copy is left out where the stream has brought another block of its chunk (rule 5).
    MergedByChunk,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AcknowledgedWithoutLearner,
        Self::ServedBeforeSync,
        Self::AcknowledgedAlone,
        Self::DeposedAccepted,
        Self::UncommittedRead,
        Self::StaleLearn,
        Self::StreamAfterWindow,
        Self::SyncedTwice,
        Self::ServedAfterRestart,
        Self::CommittedBelowMinCopies,
        Self::CutBeforeReplaced,
        Self::ReleasedByEpochAlone,
        Self::AnsweredBeforePromised,
        Self::ConfirmedBeforeDurable,
        Self::CopiedOverStream,
        Self::FenceIgnored,
        Self::LeaseIgnored,
        Self::BaseForgotten,
        Self::MergedByChunk,
    ];
}

/// Which of them a replica is; none, unless a test of the checkers made it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mutation {
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl Mutation {
    /// Nothing is wrong.
    #[cfg(feature = "mutants")]
    pub const NONE: Self = Self { mutant: None };
    /// Nothing is wrong.
    #[cfg(not(feature = "mutants"))]
    pub const NONE: Self = Self {};

    /// This one.
    #[cfg(feature = "mutants")]
    pub const fn of(mutant: Mutant) -> Self {
        Self { mutant: Some(mutant) }
    }

    /// Whether it is this one.
    #[cfg(feature = "mutants")]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// No: this build has none.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }
}

impl Replica {
    /// Makes it wrong, before anything comes in.
    #[must_use]
    pub fn mutated(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        let leads = self.restarted.is_some() && self.register.config.primary == self.me.node;
        if mutation.is(Mutant::ServedAfterRestart) && leads && self.register.standing == Standing::Complete {
            self.serve_on();
        }
        self
    }

    /// As if nothing had happened.
    fn serve_on(&mut self) {
        let others = self.register.config.members.iter().map(|m| m.node).filter(|n| *n != self.me.node);
        let others = others.map(|n| (n, u64::MAX)).collect();
        let since = self.restarted.take().unwrap_or(Time::ZERO);
        self.role = Role::Serving(Box::new(Serving::new(VecDeque::new(), others, self.end, since)));
    }
}
