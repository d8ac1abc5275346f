//! Why a disk is not opened, and why a shard is not frozen. Nothing on the disk was changed when one of these is given.

use base::io::disk::Fault;
use base::{ClusterId, NodeId};
use core::fmt;

/// Why a disk is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenRefusal {
    /// There is no store on it, and making one was not asked for.
    Blank,
    /// It has no room for the least number of segments.
    TooSmall {
        /// Bytes it has.
        capacity_bytes: u64,
        /// Bytes it needs.
        least_bytes: u64,
    },
    /// A later version of Seawall wrote it.
    NewerFormat {
        /// The version on the disk.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It belongs to another node.
    OtherNode {
        /// The node on the disk.
        found: NodeId,
        /// The node that opens it.
        expected: NodeId,
    },
    /// It belongs to another cluster.
    OtherCluster {
        /// The cluster on the disk.
        found: ClusterId,
        /// The cluster of the node that opens it.
        expected: ClusterId,
    },
    /// Neither superblock can be believed.
    SuperblocksDamaged,
    /// The file or device is smaller than when it was formatted.
    Shrunk {
        /// Bytes when it was formatted.
        formatted_bytes: u64,
        /// Bytes now.
        capacity_bytes: u64,
    },
    /// The disk would not give what recovery needs.
    Unreadable {
        /// The byte where the read began.
        at: u64,
        /// What the disk said.
        fault: Fault,
    },
    /// Both copies of a piece of the checkpoint are damaged: what it named may have been acknowledged.
    CheckpointDamaged {
        /// The bytes of the disk where the two begin.
        at: [u64; 2],
    },
}

/// Why a shard is not frozen. Nothing was sequenced when one of these is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeRefusal {
    /// A shard that is overwritten while a point stands needs its space twice, and that could not be promised.
    NoSpace {
        /// Bytes that the point may come to hold.
        needed_bytes: u64,
        /// Bytes that stand promised already.
        promised_bytes: u64,
        /// Bytes that may be promised in all.
        capacity_bytes: u64,
    },
    /// It has as many points as a shard may have.
    TooManyPoints {
        /// How many that is.
        most: usize,
    },
    /// This shard is not here.
    NoShard,
}

impl fmt::Display for FreezeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace { needed_bytes, promised_bytes, capacity_bytes } => write!(
                f,
                "a frozen point may come to hold {needed_bytes} bytes, and of the {capacity_bytes} that the disk can promise {promised_bytes} \
                 are; delete a point or a volume, or use a larger disk"
            ),
            Self::TooManyPoints { most } => {
                write!(f, "the shard has {most} frozen points, and no more fit; delete one")
            }
            Self::NoShard => write!(f, "the shard is not on this disk"),
        }
    }
}

impl fmt::Display for OpenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => write!(
                f,
                "the disk holds no store: its superblocks are all zeroes; check the path, or allow it to be formatted"
            ),
            Self::TooSmall { capacity_bytes, least_bytes } => write!(
                f,
                "the disk has {capacity_bytes} bytes and a store needs {least_bytes}; give it a larger file or device"
            ),
            Self::NewerFormat { found, known } => write!(
                f,
                "the superblock has format version {found} and this build knows up to {known}; open it with the newer build"
            ),
            Self::OtherNode { found, expected } => write!(
                f,
                "the superblock says that this disk belongs to {found} and not to {expected}; correct the path or the node's id"
            ),
            Self::OtherCluster { found, expected } => write!(
                f,
                "the superblock says that this disk belongs to cluster {found} and not to {expected}; correct the path, or use an empty disk"
            ),
            Self::SuperblocksDamaged => write!(
                f,
                "neither of the two superblocks (bytes 0 and 4096) is whole: this is not a store, or both are damaged; \
                 check the path, or replace the disk and let its replicas be made anew from their peers"
            ),
            Self::Shrunk { formatted_bytes, capacity_bytes } => write!(
                f,
                "the store was formatted with {formatted_bytes} bytes and the disk now has {capacity_bytes}; \
                 give it its full size back"
            ),
            Self::Unreadable { at, fault } => write!(
                f,
                "the disk would not read at byte {at} ({fault:?}), which recovery needs; check the disk, or replace it and \
                 let its replicas be made anew from their peers"
            ),
            Self::CheckpointDamaged { at: [a, b] } => write!(
                f,
                "a piece of the checkpoint is damaged in both of its copies (bytes {a} and {b}); nothing was changed; \
                 replace the disk and let its replicas be made anew from their peers"
            ),
        }
    }
}
