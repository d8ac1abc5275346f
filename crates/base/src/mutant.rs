//! Small wrong changes to the machines, each of which the tests must find: a checker that lets one of them live checks nothing.
//!
//! They exist only with the feature `mutants`, which no release has. Without it a [`Mutation`] has no size and is none of them, so the code that asks is the
//! code that it was. The place of each is where [`Mutation::is`] asks for it. A bug that was found becomes one of them before it is mended.

/// The part of the system that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// `replica`: the protocol between the members of a shard.
    Replica,
    /// `store`: what a disk keeps.
    Store,
    /// `node`: one machine's replicas over its store.
    Node,
    /// `zone`: the authority.
    Zone,
    /// `host`: what attaches volumes.
    Host,
    /// `frontend::nbd`: what clients of volumes speak.
    Nbd,
    /// What carries messages, as the simulator means it.
    Network,
    /// `region`: the control plane.
    Region,
}

macro_rules! mutants {
    ($($room:ident { $($(#[$about:meta])+ $name:ident,)+ })+) => {
        /// One of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant { $($($(#[$about])+ $name,)+)+ }

        impl Mutant {
            /// All of them.
            pub const ALL: [Self; [$($(Self::$name),+),+].len()] = [$($(Self::$name),+),+];

            /// Where it is wrong.
            pub const fn room(self) -> Room {
                match self { $($(Self::$name)|+ => Room::$room,)+ }
            }
        }
    };
}

mutants! {
    Replica {
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
        /// What the stream brought and nobody has committed is left out of the copy, and is missing when it never is.
        UndecidedLeftOut,
        /// The first primary of a generation does not wait for who served the one before (rule 9).
        FenceIgnored,
        /// A read is answered though a member's confirmation has run out (rule 3).
        LeaseIgnored,
        /// A learner whose attempt broke off forgets through where it has everything, and takes for that where the attempt began (rule 5).
        BaseForgotten,
        /// A copy is left out where the stream has brought another block of its chunk (rule 5).
        MergedByChunk,
        /// A trim is answered, and nothing is done about it.
        TrimNotDone,
        /// A read that waited for one write of its block does not look for a later one (rule 3).
        ReleasedTooEarly,
        /// A learner is waited for only once it has said that it is whole (I3).
        BoundTooLate,
        /// A member that comes back on a new connection is not sent what it lacks.
        LackNotSent,
        /// A winner keeps what it had beyond the window that it fetched (rule 4).
        OwnTailKept,
        /// A member on a new connection counts as confirming before it has stated its end (rule 3).
        LeaseOutlivesLink,
        /// Who leaves a configuration drops its data at once (R13).
        HolderForgets,
        /// A learner is told that it has everything while the last copies are still under way (rule 5).
        FinishOvertakesCopies,
        /// A member that lost what it had stated says nothing to a primary that builds upon it (rule 12).
        LossUntold,
        /// Who promises a new epoch does not say so to the primary of the old one (rule 3).
        DeposedUntold,
    }
    Store {
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
        /// What a disk fails to read once at opening is taken for bad for good.
        DoubtedAtOnce,
        /// A block that cannot be read behind where the log once ended is taken for something of the log, after it went on elsewhere.
        LeftBehindMatters,
        /// Who opened with such a block behind the end, and crashed before all had written down that they doubt, does not make them doubt again.
        LeftBehindForgotten,
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
        /// Blocks are not compared with their checksums when they are read.
        ReadUnchecked,
        /// What a dropped shard had stays counted as named.
        DropLeaks,
    }
    Node {
        /// A node whose own memory lay in a damaged part of its log does not write down that it knows, and its store makes no checkpoint any more.
        DoubtUntold,
        /// A replica that was dropped is made again when a peer says late that it should be.
        TakenBackObeyed,
        /// A shard that was dropped while it read for a learner is remembered as one that does.
        DroppedStillCopies,
        /// What is sent to learners is not paid for (R33).
        CopiesUncharged,
    }
    Zone {
        /// The last member of a shard below min_copies that restarts is not told to lead again.
        LastLeftWaiting,
        /// Proposals are answered with what is not durable yet (I1).
        ToldBeforeDurable,
        /// A proposal of an old epoch is carried out.
        StaleEpochGranted,
        /// Holders are let go before the shard is whole (R13).
        ReleasedTooSoon,
        /// A new attachment waits for nobody who may still answer the one before (rule 9).
        FenceForgotten,
        /// An attachment takes over the generation of the one before.
        GenerationKept,
        /// Who has only a part may lead (I4).
        PartialElected,
        /// Who comes back below min_copies counts as whole, whatever it said of itself.
        ReturnedIsWhole,
        /// A configuration below min_copies forgets who else could carry the shard on (rule 11).
        AnchorsForgotten,
        /// A write of the metadata store of unknown end counts as done.
        UnknownTakenForDone,
        /// A shard goes on with other members in the same epoch (I1).
        EpochNotRaised,
        /// Who led a shard since it was attached is forgotten when another leads (rule 9).
        ServedByForgotten,
        /// A volume that is detached may still be written to.
        DetachKeepsClient,
        /// A learner is a member at once (I4).
        AdmittedUnlearned,
        /// A node without shards is told nothing when it registers.
        NothingNotTold,
        /// Any number of replicas is filled by a node at a time (R33).
        LearnersUncounted,
        /// Who is there already learns where nobody else can, however many it learns already (R33).
        FallbackUncounted,
        /// What was dropped stays in its disk's account (I10).
        DroppedStillHeld,
        /// Who registers with nothing, and is told in the same moment to learn what has been decided otherwise since, counts as empty for good (R13).
        ToldToLearnForgotten,
    }
    Host {
        /// What was under way when an epoch ended is not sent again.
        NotSentAgain,
        /// Two requests that share a block are under way together.
        NeighboursCollide,
        /// What a block at an edge of a request held is lost.
        EdgeForgotten,
        /// A fenced attachment goes on.
        FencedGoesOn,
        /// An attachment does not take the place of an older one.
        OlderAttachmentStays,
        /// A request beyond the end of a shard is not split.
        SplitForgotten,
        /// A flush is answered before what was submitted before it.
        FlushOvertakes,
    }
    Nbd {
        /// A write is answered when its bytes have come.
        AnsweredOnArrival,
        /// The host is taken to answer requests in the order in which it was asked.
        AnsweredInOrderOfAsking,
        /// The rest of a piece that was held back is looked at after the pieces that came later.
        HeldOutOfOrder,
        /// A write that is gathered loses what of it had come.
        BeginningNotGathered,
        /// The bytes of a write that is refused are taken for the next request.
        RefusedBytesStay,
        /// A flush is answered at once, since what was acknowledged is durable.
        FlushNotPassedOn,
        /// Who takes his leave is not told of what is in flight.
        LeaveEndsAll,
        /// What is to be sent when a connection is closed is not.
        LastWordsLost,
        /// A request that the host hands back is dropped.
        BusyForgotten,
        /// A request that the host hands back goes behind those that wait.
        BusyOvertaken,
        /// What a connection that is gone has in flight leaves its tags to others.
        TagUsedAgain,
        /// A connection goes on when its volume was attached anew.
        VolumeOutlived,
        /// Who was paused is never resumed.
        NeverResumed,
        /// Who waits for room gets none beyond what all may keep, though what is kept is only what waits as well.
        RoomNeverGiven,
        /// What was on its way to a connection that broke counts as kept for ever.
        KeptForEver,
        /// Any number of messages is sent to a primary at once.
        WindowIgnored,
    }
    Network {
        /// A connection that was given up takes the place of its successor when its proof arrives late.
        LateProofTaken,
    }
    Region {
        /// Any number of requests may wait for one zone (R56).
        ZoneShareIgnored,
        /// A zone that does not answer is asked on and on.
        BreakerIgnored,
        /// What nobody waits for any more is said to its zone all the same.
        ExpiredIsSaid,
        /// How long a request would wait is not estimated.
        EstimateIgnored,
        /// What a volume wants is said to its zone though it is not durable yet.
        UndurableIsSaid,
    }
}

/// A line of a table of mutants: which, who showed it (or that it is alive), after how many seconds of one processor, and in which words. `cargo xtask mutants` reads it.
#[cfg(feature = "mutants")]
pub fn line(mutant: &str, by: &str, took: core::time::Duration, why: &str) -> alloc::string::String {
    let why: alloc::string::String = why.lines().next().unwrap_or_default().chars().take(140).collect();
    alloc::format!("{mutant:<28} {by:<24} {:5}.{} s  {why}", took.as_secs(), took.subsec_millis() / 100)
}

/// Which of them a machine is; none, unless a test of the checkers made it one.
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
    pub fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// No: this build has none.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn is(self, _: Mutant) -> bool {
        false
    }
}
