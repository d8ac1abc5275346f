//! One disk: a file or a raw device, read and written in whole aligned blocks of 4 KiB.
//!
//! Operations in flight at once may be done in any order. A write is durable when it was `durable` and ended well, or when a
//! [`Op::Flush`] that was asked for after it ended has itself ended well. Without that a crash may keep any part of it.

use crate::Payload;
use alloc::vec::Vec;

/// Names an operation until its [`Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What a store asks. Offsets and lengths are bytes, multiples of 4096.
#[derive(Debug, Clone)]
pub enum Op {
    /// Read `len` bytes at `at`. Beyond what was ever written the disk reads as zeroes.
    Read {
        /// Its name.
        id: OpId,
        /// Where.
        at: u64,
        /// How many bytes.
        len: u32,
    },
    /// Write the parts, one behind the other.
    Write {
        /// Its name.
        id: OpId,
        /// Where.
        at: u64,
        /// What; the sum of their lengths is a multiple of 4096, and so is each length.
        parts: Vec<Payload>,
        /// Whether it must be durable when it is done (O_DSYNC, FUA).
        durable: bool,
    },
    /// Make a range ready to be appended to without the file system's own metadata in the way, by writing zeroes. Low priority.
    Zero {
        /// Its name.
        id: OpId,
        /// Where.
        at: u64,
        /// How many bytes.
        len: u64,
    },
    /// Make every write that has ended durable.
    Flush {
        /// Its name.
        id: OpId,
    },
}

impl Op {
    /// Its name.
    pub fn id(&self) -> OpId {
        match self {
            Self::Read { id, .. } | Self::Write { id, .. } | Self::Zero { id, .. } | Self::Flush { id } => *id,
        }
    }

    /// Where it begins, and how many bytes it is about; none of a flush.
    pub fn extent(&self) -> (u64, u64) {
        match self {
            Self::Read { at, len, .. } => (*at, u64::from(*len)),
            Self::Write { at, parts, .. } => (*at, crate::payload::len(parts) as u64),
            Self::Zero { at, len, .. } => (*at, *len),
            Self::Flush { .. } => (0, 0),
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Which.
    pub id: OpId,
    /// The bytes of a read (nothing for the others), or what went wrong.
    pub result: Result<Payload, Fault>,
}

/// What a disk can do instead of obeying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operating system's error number (EIO is 5). What a failed write left behind is unknown.
    Os(i32),
    /// Fewer bytes than asked for.
    Short,
}
