//! Freezing a volume: the words in which the authority has the primaries of all its shards freeze as of one moment.
//!
//! ```text
//! authority: Hold to all -> all Held -> Freeze to all -> all have sequenced it -> Release to all -> all were still holding: the point is made
//! ```
//!
//! A primary that holds answers its client nothing. So while all hold, no client learns anything on which a later write could depend: whatever is in the point of
//! one shard, all that it may depend on is in the others'. A primary holds for a bounded time only; whether any let go too early its answer to Release says.

use base::{PointId, RequestId, choice, record};

choice! {
    /// A step of freezing a volume, or of dropping a point.
    #[derive(Copy)]
    pub enum PointStep: "step of a frozen point" {
        /// Answer the client nothing until told, or until the time that a primary may hold is over.
        1 = Hold,
        /// While holding: freeze. Done when every member has it durable.
        2 = Freeze,
        /// Answer the client again. Done only if it held until now.
        3 = Release,
        /// Drop the point. Done when every member has that durable; also where there is none.
        4 = Thaw,
    }
}

choice! {
    /// Why a primary did not take a step.
    #[derive(Copy)]
    pub enum PointRefusal: "refusal of a frozen point" {
        /// It is not the primary that serves in this epoch.
        1 = NotServing,
        /// It does not hold for this point, or not any more.
        2 = NotHolding,
        /// It holds for another point.
        3 = OtherPoint,
        /// A copy is being made, which would lack the point.
        4 = Copying,
        /// Too many writes wait already; soon there are fewer.
        5 = Busy,
        /// A shard has at most so many points.
        6 = TooMany { /** So many. */ most: u32 },
        /// The store has no room for what a point may come to hold.
        7 = NoRoom { /** Bytes more than it has. */ lacking: u64 },
    }
}

choice! {
    /// How a point of a volume is.
    #[derive(Copy)]
    pub enum PointCondition: "condition of a frozen point" {
        /// Its shards are being frozen; it is a point when all are.
        1 = Making,
        /// It is there.
        2 = Made,
        /// It is being dropped.
        3 = Dropping,
    }
}

record! {
    /// A frozen point of a volume, for people.
    #[derive(Copy)]
    pub struct VolumePoint {
        /// Which.
        pub point: PointId,
        /// What asked for it.
        pub request: RequestId,
        /// How it is.
        pub condition: PointCondition,
    }
}
