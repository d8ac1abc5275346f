//! The words in which a replica tells a store what to append and read. `replica` and `store` do not know each other; `node` carries these between them.
//!
//! Per shard the order of requests is the order of the log: what was appended first is durable first. The store knows
//! of a shard: its *register* (the replica's own metadata, last one wins), its *index* (committed blocks) and its *window* (entries that are in
//! the log and not yet committed, by sequence), its *frozen points* (what the index was when each was committed), and its *marks* (which blocks of the index
//! changed since certain moments).

use crate::codec::Field;
use crate::{Configuration, Epoch, Payload, PointId, Sequence, ShardId, choice, record};
use alloc::vec::Vec;

record! {
    /// When a write was first sequenced: by which primary's epoch, and in what order.
    #[derive(Copy, PartialOrd, Ord, Default, Hash)]
    pub struct Stamp {
        /// The epoch.
        pub epoch: Epoch,
        /// The order.
        pub sequence: Sequence,
    }
}

choice! {
    /// What a sequenced entry does to the frozen points of its shard.
    #[derive(Copy)]
    pub enum PointChange : "change of a frozen point" {
        /// Freezes what is committed before it, under this name.
        0 = Freeze { /** The name. */ id: PointId },
        /// Drops the point of this name.
        1 = Thaw { /** The name. */ id: PointId },
    }
}

choice! {
    /// What a replica has of its shard.
    #[derive(Copy)]
    pub enum Standing : "standing" {
        /// Room is kept, nothing is held.
        0 = Reserved,
        /// All that was ever acknowledged up to its end.
        1 = Complete,
        /// Part of it, from this plan; not to be served, voted with or sent from. What it has grows out of a base: all that was committed through that
        /// sequence, and of what was committed later some blocks. Without one nothing that it has counts.
        2 = Learning { /** Which attempt. */ plan: u64, /** Through which sequence it had everything. */ base: Option<Sequence> },
        /// All of it up to its end if, and only if, the configuration that admits this plan is in force.
        3 = Learned { /** Which attempt. */ plan: u64 },
        /// Part of what it had acknowledged is lost: rot below the durable end of its log. Nothing that it has counts until it was filled anew.
        4 = Suspect,
    }
}

record! {
    /// A replica's own metadata, in the same log as its data so that both have one order.
    pub struct Register {
        /// No older epoch will be obeyed (I2).
        pub promised: Epoch,
        /// The epoch whose Sync was last applied.
        pub adopted: Epoch,
        /// What it has.
        pub standing: Standing,
        /// The newest configuration it knows.
        pub config: Configuration,
    }
}

/// Frozen points that a shard may have at once.
pub const POINTS_MAX: usize = 64;

record! {
    /// A moment from which on it is noted which blocks of a shard change, so that who was away since then is brought these and no others.
    #[derive(Copy, PartialOrd, Ord)]
    pub struct Mark {
        /// What was committed then: whatever a later entry changes is noted.
        pub since: Sequence,
        /// That was committed in this epoch or an earlier one: whoever has adopted it, or a later one, has all of it.
        pub epoch: Epoch,
    }
}

/// Marks that a shard may have at once.
pub const MARKS_MAX: usize = 8;

impl Mark {
    /// Adds it to a row of them, the oldest first; nothing, if the newest stands there already or later. In a full row the second is given up, whose place
    /// the first takes: what changed since the first is more, and nothing is forgotten. Gives the place of the one that was.
    pub fn add_to(self, row: &mut Vec<Self>) -> Option<usize> {
        if row.last().is_some_and(|newest| newest.since >= self.since) {
            return None;
        }
        let given_up = (row.len() >= MARKS_MAX).then_some(1);
        given_up.map(|at| row.remove(at));
        row.push(self);
        given_up
    }
}

/// Something to append.
#[derive(Debug, Clone)]
pub enum Record {
    /// A sequenced write of whole blocks. Enters the window; a later one of the same sequence takes its place.
    Data {
        /// Its stamp.
        stamp: Stamp,
        /// First block.
        block: u32,
        /// The blocks.
        data: Payload,
    },
    /// A sequenced trim. Enters the window like a write.
    Trim {
        /// Its stamp.
        stamp: Stamp,
        /// First block.
        block: u32,
        /// How many.
        count: u32,
    },
    /// A sequenced change of a frozen point. Enters the window like a write, and takes effect when it is committed: so the point is exactly what is
    /// committed through that sequence, on every member. A freeze where a point of this name stands already changes nothing, nor where [`POINTS_MAX`] stand,
    /// nor in a replica that has only a part of its shard; nor does a thaw of what is not there.
    Point {
        /// Its stamp.
        stamp: Stamp,
        /// What.
        change: PointChange,
    },
    /// Blocks copied from a primary's index; enters the index at once. A frozen point keeps what lay there.
    Copy {
        /// First block.
        block: u32,
        /// The blocks.
        data: Payload,
    },
    /// Blocks that the primary does not have; leaves the index at once. A frozen point keeps what lay there.
    Erase {
        /// First block.
        block: u32,
        /// How many.
        count: u32,
    },
    /// A block that lies rotten, from a peer. Takes the place of the rotten one in the index or the window, and only if that still names it
    /// and the bytes match its checksum: a block that was overwritten or trimmed meanwhile stays so. No version changes.
    Mend {
        /// The block.
        block: u32,
        /// Where the rotten one lies, as [`Rot`] said.
        place: u32,
        /// Its bytes.
        data: Payload,
    },
    /// Window entries above this are dead.
    Cut {
        /// The last sequence that lives.
        above: Sequence,
    },
    /// Forget the window and the frozen points, and start the window above this sequence: what is at or below it is committed, and comes as copies. The
    /// points are forgotten because a replica that begins anew may have held less than it should have when they were frozen.
    Restart {
        /// The committed sequence from now on.
        committed: Sequence,
        /// Whether what changed since its marks goes on being noted, because all that changed meanwhile comes as copies and erasures; otherwise the marks
        /// are forgotten.
        keeps_marks: bool,
    },
    /// Note from now on which blocks the index changes. Changes nothing where the newest mark stands at this sequence or later; where
    /// [`MARKS_MAX`] stand, the second oldest is given up.
    Mark(Mark),
    /// Forget all marks.
    Unmark,
    /// The replica's metadata.
    Register(alloc::boxed::Box<Register>),
    /// Forget the shard: its blocks are free.
    Drop,
}

/// What a replica asks of a store.
#[derive(Debug, Clone)]
pub enum Request {
    /// Append. Answered, cumulatively per shard, by [`Event::Durable`].
    Append {
        /// Of which shard.
        shard: ShardId,
        /// Its place in the shard's row of appends, from 1, without gaps, starting again with each run of the process.
        ticket: u64,
        /// What.
        record: Record,
    },
    /// Window entries up to here are committed: they enter the index in the order of their sequences. Not answered. Need
    /// not be durable at once; each later entry of the shard carries it along.
    Commit {
        /// Of which shard.
        shard: ShardId,
        /// Up to which.
        through: Sequence,
    },
    /// Read committed blocks. Answered by [`Event::Blocks`].
    Read {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// First block.
        block: u32,
        /// How many, at most [`crate::IO_BLOCKS_MAX`].
        count: u32,
    },
    /// Read blocks as they were when a point was frozen. Answered by [`Event::Blocks`], or by [`Event::NoPoint`].
    ReadPoint {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// The point.
        point: PointId,
        /// First block.
        block: u32,
        /// How many, at most [`crate::IO_BLOCKS_MAX`].
        count: u32,
    },
    /// Which blocks may differ between two states of the shard: all that were written, trimmed, copied or erased between them. Answered by
    /// [`Event::Changes`], or by [`Event::NoPoint`]. Which of the two is the older does not matter.
    ReadChanges {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// A point; none: the shard before anything was written, so that all that is written differs.
        from: Option<PointId>,
        /// Another; none: what is committed now.
        to: Option<PointId>,
        /// The first block to be looked at.
        block: u32,
        /// How many are looked at, or as many as there are if those are fewer: nothing beyond them is named.
        count: u32,
        /// At most so many stretches come back.
        most: u32,
    },
    /// Read the window above a sequence. Answered by [`Event::Window`].
    ReadWindow {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// Above which.
        above: Sequence,
    },
    /// Which blocks of `count` from `block` on are in the index, and their bytes: for copying. Answered by [`Event::Extents`].
    ReadExtents {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// Only those that changed since the mark of this sequence. None, or one that is not here: all.
        since: Option<Sequence>,
        /// First block.
        block: u32,
        /// At most so many blocks of data come back; unwritten ones between and behind them are passed over without limit.
        count: u32,
    },
    /// How many blocks there are to copy. Answered by [`Event::Measured`].
    Measure {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// Those that changed since the mark of this sequence. None, or one that is not here: those that are written.
        since: Option<Sequence>,
    },
    /// Read a block whose checksum is this one, for a peer that has it rotten: the newest such entry of the window, or what the index has.
    /// Answered by [`Event::Matching`].
    ReadMatching {
        /// Of which shard.
        shard: ShardId,
        /// Echoed.
        ticket: u64,
        /// The block.
        block: u32,
        /// The checksum of its bytes.
        crc: u32,
    },
}

/// One entry of a window, read back.
#[derive(Debug, Clone)]
pub struct WindowEntry {
    /// Its stamp.
    pub stamp: Stamp,
    /// First block.
    pub block: u32,
    /// How many blocks; none of a change of a frozen point.
    pub count: u32,
    /// The blocks, or none of a trim.
    pub data: Option<Payload>,
    /// What it does to a frozen point, if it is neither write nor trim.
    pub point: Option<PointChange>,
}

/// What may differ between two states of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// First blocks and how many, in order, none touching the one before it.
    pub stretches: Vec<(u32, u32)>,
    /// Where to go on, if there may be more.
    pub next: Option<u32>,
}

/// A stretch of a shard, read for copying.
#[derive(Debug, Clone)]
pub struct Extent {
    /// First block.
    pub block: u32,
    /// How many.
    pub count: u32,
    /// Their bytes, or none where nothing is written.
    pub data: Option<Payload>,
}

/// A block whose bytes on the disk do not match their checksum, or that the disk does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rot {
    /// Which.
    pub block: u32,
    /// The checksum of the bytes that should be there ([`crate::checksum::block`]): by it a good copy is known.
    pub crc: u32,
    /// Where they lie, in the store's own terms; to be given back in [`Record::Mend`].
    pub place: u32,
}

/// Why a read gave nothing: some of it is rotten, or the disk would not read it, which is the same to whoever asks. A peer may have good copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFault {
    /// Every bad block that was found, in the order of the read; at most [`crate::IO_BLOCKS_MAX`], what is beyond shows
    /// when the read is repeated.
    pub rotten: Vec<Rot>,
}

/// What a store answers.
#[derive(Debug, Clone)]
pub enum Event {
    /// All appends of the shard up to this ticket are durable.
    Durable {
        /// Of which shard.
        shard: ShardId,
        /// Up to which.
        ticket: u64,
    },
    /// Blocks that were asked for, in parts that lie one behind the other.
    Blocks {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// The bytes.
        parts: Result<Vec<Payload>, ReadFault>,
    },
    /// The window, in order.
    Window {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// Its entries.
        entries: Result<Vec<WindowEntry>, ReadFault>,
    },
    /// Stretches for copying; without gaps from the asked block on, unless only what changed since a mark was asked for.
    Extents {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// Its pieces in order.
        extents: Result<Vec<Extent>, ReadFault>,
        /// Where to go on, if there may be more.
        next: Option<u32>,
    },
    /// How many blocks there are to copy.
    Measured {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// So many.
        blocks: u32,
    },
    /// What may differ between two states.
    Changes {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// Where.
        changes: Changes,
    },
    /// A frozen point that a read named is not here.
    NoPoint {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// Which.
        point: PointId,
    },
    /// A block with the checksum that was asked for.
    Matching {
        /// Of which shard.
        shard: ShardId,
        /// As asked.
        ticket: u64,
        /// Which.
        block: u32,
        /// Its bytes; none if no copy is here whose bytes match.
        data: Option<Payload>,
        /// Copies that should match and are rotten.
        rotten: Vec<Rot>,
    },
    /// A block was found rotten though nobody had asked for it: by the scrub, or by the cleaner.
    Corrupt {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        rot: Rot,
    },
}

/// A shard as recovery found it.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Which.
    pub shard: ShardId,
    /// Its metadata.
    pub register: Register,
    /// The highest sequence known committed.
    pub committed: Sequence,
    /// The stamp of the last entry, committed or not; zero when there is none.
    pub end: Stamp,
    /// Its frozen points, the oldest first: the name of each, and the stamp of the entry that froze it.
    pub points: Vec<(PointId, Stamp)>,
    /// Its marks, the oldest first.
    pub marks: Vec<Mark>,
    /// Whether something of it is lost that may have been acknowledged: its metadata may be older than they were, and its data incomplete.
    pub suspect: bool,
}

impl Register {
    /// Its bytes on disk.
    pub fn encode(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_marks_grows_by_newer_ones_only_and_keeps_its_oldest() {
        let mark = |n: u64| Mark { since: Sequence(n), epoch: Epoch(1) };
        let mut row = Vec::new();
        for n in [0, 3, 3, 2, 5] {
            assert_eq!(mark(n).add_to(&mut row), None);
        }
        assert_eq!(row, [0, 3, 5].map(mark));
        let given_up = (6..12).filter(|n| mark(*n).add_to(&mut row) == Some(1)).count();
        assert_eq!((given_up, row.len()), (1, MARKS_MAX));
        assert_eq!((row[0], row[1], row[7]), (mark(0), mark(5), mark(11)));
    }
}
