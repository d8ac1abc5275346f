//! What front ends ask of a host and what they are told: plain data, in bytes. Nothing here knows of shards or nodes.

use alloc::string::String;
use alloc::vec::Vec;
use base::mutant::Mutation;
use base::time::Duration;
use base::{BLOCK_BYTES, Generation, HostId, Incarnation, Payload, VolumeId};
use core::fmt;

/// Who this host is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its id.
    pub host: HostId,
    /// Which run of it this is; a restart has a greater one, and gets new generations for its volumes.
    pub incarnation: Incarnation,
    /// The path of the NBD socket, as told to the authority and by it to whoever attaches.
    pub socket: String,
}

/// The limits and times of a host.
#[derive(Debug, Clone)]
pub struct Policy {
    /// I/O that has waited so long on a primary that is silent or unreachable is a complaint.
    pub silence: Duration,
    /// I/O that has waited so long makes the host ask for the configuration, however well the primary seems.
    pub slow: Duration,
    /// I/O that has waited so long is reported to the authority, and then again each time as much has passed.
    pub report: Duration,
    /// The first wait before asking or sending again.
    pub retry_base: Duration,
    /// The longest wait before asking or sending again.
    pub retry_cap: Duration,
    /// Requests of one volume in flight; beyond that [`Busy`].
    pub requests_max: usize,
    /// Bytes read or written by the requests of one volume in flight; beyond that [`Busy`]. One request alone is always taken.
    pub bytes_max: u64,
    /// Messages that one request may have in flight; a larger one goes in turns.
    pub pieces_max: u32,
    /// Messages in flight to the primary of one shard.
    pub shard_ios_max: u32,
    /// Bytes read or written by the messages in flight to the primary of one shard. One message alone is always sent.
    pub shard_bytes_max: u64,
    /// What is wrong with it, in tests of the checkers.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            silence: Duration::from_millis(250),
            slow: Duration::from_secs(1),
            report: Duration::from_secs(1),
            retry_base: Duration::from_millis(20),
            retry_cap: Duration::from_secs(1),
            requests_max: 1024,
            bytes_max: 64 << 20,
            pieces_max: 64,
            shard_ios_max: 256,
            shard_bytes_max: 32 << 20,
            mutation: Mutation::NONE,
        }
    }
}

/// One request of a front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of which volume.
    pub volume: VolumeId,
    /// Echoed by the [`Reply`]. Unique among what the front ends of one host have in flight.
    pub tag: u64,
    /// What.
    pub op: Op,
}

/// What is to be done. Offsets and lengths are bytes, of any alignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read. Answered with the bytes, in parts that lie one behind the other.
    Read {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Write. Answered when it is durable on every member.
    Write {
        /// From which byte.
        offset: u64,
        /// What.
        data: Payload,
    },
    /// These bytes are not needed any more; they read as zeroes from now on.
    Trim {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// These bytes read as zeroes from now on. The volume is thick: zeroed blocks keep the room that was promised for them.
    Zero {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Answered when every write, trim and zero of the volume that was submitted before it has been.
    Flush,
    /// Which blocks are written? What is not reads as zeroes. Answered with a bit for each block that the range touches, the lowest of the first byte
    /// first, set where something is written.
    Map {
        /// From which byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

impl Op {
    /// The bytes it touches, as offset and length; nothing for a flush.
    pub(crate) fn span(&self) -> (u64, u64) {
        match self {
            Self::Read { offset, len }
            | Self::Trim { offset, len }
            | Self::Zero { offset, len }
            | Self::Map { offset, len } => (*offset, *len),
            Self::Write { offset, data } => (*offset, data.len() as u64),
            Self::Flush => (0, 0),
        }
    }

    /// Whether it changes blocks.
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Trim { .. } | Self::Zero { .. })
    }

    /// The bytes of memory it needs while in flight.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Read { len, .. } => *len,
            Self::Write { data, .. } => data.len() as u64,
            // A bit for each block, and the two at the edges.
            Self::Map { len, .. } => len / (8 * BLOCK_BYTES as u64) + 1,
            Self::Trim { .. } | Self::Zero { .. } | Self::Flush => 0,
        }
    }
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which.
    pub tag: u64,
    /// The bytes of a read, the bits of a map, nothing for the others; or why not.
    pub result: Result<Vec<Payload>, Refusal>,
}

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The volume is not attached to this host, or not ready yet. Nothing was done.
    NotOpen,
    /// It goes beyond the end of the volume. Nothing was done.
    OutOfRange {
        /// The size of the volume, in bytes.
        size: u64,
    },
    /// A store cannot take it; of a large request other parts may have been written.
    Full {
        /// Bytes the store can still append.
        room: u64,
    },
    /// No good copy of a block is left.
    Unreadable {
        /// The first byte of the first such block, in the volume.
        offset: u64,
    },
    /// The volume is attached read only, and this would change it. Nothing was done.
    ReadOnly,
    /// A node says that the request cannot be: host and node disagree about the size of a shard.
    Invalid,
    /// The volume was detached, or attached elsewhere, while this was in flight. Whether it was done is unknown.
    Detached,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the volume is not attached to this host"),
            Self::OutOfRange { size } => {
                write!(f, "the request goes beyond the end of the volume, which has {size} bytes")
            }
            Self::Full { room } => write!(f, "a store is full: it can take {room} bytes more"),
            Self::Unreadable { offset } => write!(f, "no good copy is left of the block at byte {offset}"),
            Self::ReadOnly => f.write_str("the volume is attached to be read only"),
            Self::Invalid => f.write_str("a node refused the request as impossible: it has another size of the shard"),
            Self::Detached => f.write_str("the volume was detached while the request was in flight"),
        }
    }
}

/// The volume has as much in flight as it may; here is the request back. Try again after a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy(pub Request);

/// A volume that is open here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Which.
    pub volume: VolumeId,
    /// Bytes.
    pub size: u64,
    /// The attachment.
    pub generation: Generation,
    /// Whether what would change it is refused.
    pub read_only: bool,
}
