//! Small wrong changes to the store, each of which the tests of crash states must notice: a checker that lets one of them live checks nothing.
//!
//! They exist only with the feature `mutants`, which no release has. Without it a [`Mutation`] has no size and is none of them, so the code that asks is the code
//! that it was. The place of each is where [`Mutation::is`] asks for it.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A checkpoint is named by a superblock before its pieces are on the disk.
    NamedBeforeWritten,
    /// A checkpoint is named before the batch after which it says how everything was is durable.
    NamedBeforeItsBatch,
    /// Dead segments are written again before the checkpoint that retires them is durable.
    ReusedBeforeCheckpoint,
    /// A checkpoint is published when one of the two superblocks names it.
    OneSuperblock,
    /// The end of one write acknowledges all that are in flight.
    AcknowledgedBeforeDurable,
    /// A batch is acknowledged though one before it is still in flight.
    AcknowledgedOutOfOrder,
    /// A batch may follow any other whose number is one less, whatever it says of the hash of the last header, and whatever later runs say was cut. (Either alone
    /// keeps what was cut from coming back after a crash.)
    AnyPrevious,
    /// What a header says to be durable counts for nothing: every lost batch looks like a torn tail.
    DurableThroughIgnored,
    /// Payloads of batches that nobody knows to be durable are not looked at.
    PayloadUnchecked,
    /// What recovery read is not flushed before it counts as durable.
    NoFlushAtOpening,
    /// A run is not written down before it appends.
    RunNotMarked,
    /// A block that was overwritten while it was moved is taken from where it was moved to.
    MovedAnyway,
    /// A checkpoint does not say that a shard is gone.
    DropForgotten,
    /// A checkpoint says nothing of registers, commits and windows.
    StateForgotten,
    /// What changed while a base was written is not said behind it.
    DeltasForgotten,
    /// A commit is not carried into the log by the entries behind it.
    CommitForgotten,
    /// A checkpoint says nothing of what changed since a mark.
    NotesForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NamedBeforeWritten,
        Self::NamedBeforeItsBatch,
        Self::ReusedBeforeCheckpoint,
        Self::OneSuperblock,
        Self::AcknowledgedBeforeDurable,
        Self::AcknowledgedOutOfOrder,
        Self::AnyPrevious,
        Self::DurableThroughIgnored,
        Self::PayloadUnchecked,
        Self::NoFlushAtOpening,
        Self::RunNotMarked,
        Self::MovedAnyway,
        Self::DropForgotten,
        Self::StateForgotten,
        Self::DeltasForgotten,
        Self::CommitForgotten,
        Self::NotesForgotten,
    ];
}

/// Which of them a store is; none, unless a test of the checkers made it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mutation {
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl Mutation {
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
