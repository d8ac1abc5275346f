//! Places in the machines that a thorough test must have been at: branches that are right to exist only because something rare happens. "Always" is what an
//! assertion says; this is "sometimes", and what no run of many ever reaches is either unreachable, and should not be there, or untested.
//!
//! A mark counts over the whole process and is read by nothing that a machine does, so a run stays what its seed says. `seawall sim --cover` fails when a mark of a
//! hundred seeds is still at zero.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! marks {
    ($($(#[$about:meta])+ $name:ident,)+) => {
        /// One place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sometimes { $($(#[$about])+ $name,)+ }

        impl Sometimes {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
        }
    };
}

marks! {
    // ---- Elections. ----
    /// A winner's window is not the greatest: it fetches that of another member.
    ElectionFetches,
    /// The link on which it fetches is opened anew, and it asks for all of it again.
    ElectionFetchesAgain,
    /// A member has less than is committed, or not what it claimed.
    ElectionFindsShort,
    /// A member that is asked for its end is not whole.
    ElectionFindsIncomplete,
    /// A winner cannot read its own window.
    ElectionCannotRead,
    /// A link to a member that had answered was opened anew before serving began.
    ElectionMeetsAgain,
    /// A winner waits for the reads of an older generation to run out.
    ElectionIsFenced,
    /// There are fewer members than may commit.
    ElectionSuspends,
    /// The window of an epoch comes to who has adopted it already.
    AdoptsTwice,
    /// Somebody deposed replicates or asks.
    DeposedSpeaks,

    // ---- Serving. ----
    /// A read waits for a write of the same block.
    ReadWaitsForWrite,
    /// A read waits for a member's word that it still obeys.
    ReadWaitsForLease,
    /// The window is full.
    WriteFindsWindowFull,
    /// A member has no room, and may have some soon.
    WriteFindsRoomShort,
    /// A member has had no room for so long that the client is told.
    WriteIsRefusedForRoom,
    /// A member on a new connection lacks writes and gets them.
    MemberLacksWrites,
    /// A member on a new connection has less than it had confirmed.
    MemberHasLost,
    /// A member lost what it had stated to a primary before that builds upon it.
    MemberLostWhatItStated,
    /// A write comes again after a reconnect, or beyond a gap.
    BackupSeesGap,

    // ---- Learning. ----
    /// A Learn of another epoch or plan comes late.
    LearnIsStale,
    /// Who may have to carry the shard on refuses to learn.
    LearnWouldLoseAnchor,
    /// The stream to a learner has a gap.
    LearnerSeesGap,
    /// A copy leaves out what the stream brought meanwhile.
    CopyGoesAroundStream,
    /// A learner is made whole with what changed while it was away.
    LearnedByDelta,
    /// A learner is made whole with everything.
    LearnedInFull,
    /// The bulk link breaks with extents on it.
    TeachingBreaks,
    /// A learner that is whole comes back on a new link and gets what it missed of the stream.
    TeachingResumes,
    /// A learner that was to be admitted is gone, and writes are acknowledged without it again.
    TeachingUnbinds,

    // ---- Rot. ----
    /// A rotten block is mended from another member.
    MendsFromMember,
    /// It was overwritten or trimmed meanwhile.
    MendFindsGone,
    /// Nobody has it any more.
    MendFindsLost,
    /// A member that was asked for it does not answer in time.
    MendWaitsInVain,

    // ---- The authority. ----
    /// A proposal says back nothing fresh of the authority.
    ProposalIsUnheard,
    /// A proposal is of an epoch of which the authority knows nothing.
    ProposalIsAhead,
    /// A proposal comes too late.
    ProposalIsStale,
    /// A proposal would not be safe.
    ProposalIsUnsafe,
    /// A lone accuser of a primary that still reports waits to be believed.
    AccuserIsAlone,
    /// It is put out itself.
    AccuserIsPutOut,
    /// The authority leads a shard on by itself.
    AuthorityElects,
    /// The authority counts out who failed, though the primary did not ask.
    AuthorityCountsOut,
    /// A primary that is there says nothing of its epoch.
    PrimaryIsUnaware,
    /// A learner that makes no progress is given up.
    LearnerStalls,
    /// What was to be released is needed after all.
    ReleaseIsTakenBack,
    /// The outcome of a write of the metadata store is unknown, and all is read again.
    TruthIsReadAgain,

    // ---- NBD. ----
    /// The host hands a request back, and its session waits with it.
    NbdIsHandedBack,
    /// A session takes no more for now.
    NbdPauses,
    /// A request waits for room that other sessions have.
    NbdWaitsForRoom,
    /// The rest of a write is to be received behind its beginning.
    NbdGathers,
    /// The bytes of a write that is refused are passed over.
    NbdSkips,
    /// A volume is gone, and a session of it has requests that the host did not take.
    NbdIsAbandoned,
}

static COUNTS: [AtomicU64; Sometimes::ALL.len()] = [const { AtomicU64::new(0) }; Sometimes::ALL.len()];

impl Sometimes {
    /// It does, now.
    pub fn happens(self) {
        COUNTS[self as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it did, in this process.
    pub fn count(self) -> u64 {
        COUNTS[self as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_counts_for_itself() {
        assert!(Sometimes::ALL.iter().enumerate().all(|(at, mark)| *mark as usize == at));
        let others = || Sometimes::ALL[1..].iter().map(|mark| mark.count()).sum::<u64>();
        let (before, rest) = (Sometimes::ElectionFetches.count(), others());
        Sometimes::ElectionFetches.happens();
        assert_eq!((Sometimes::ElectionFetches.count(), others()), (before + 1, rest));
    }
}
