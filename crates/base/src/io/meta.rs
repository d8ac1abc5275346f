//! The metadata store: where the truth about configuration lives. Small keys and values, and a compare-and-write over several of them at once.
//!
//! Whatever has been acknowledged is durable. Each key carries the revision of its last change; revisions only grow, over all keys together.

use crate::Revision;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Names an operation until its [`Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What a machine asks.
#[derive(Debug, Clone)]
pub enum Op {
    /// All keys that begin with `prefix`, in order.
    Range {
        /// Its name.
        id: OpId,
        /// Which.
        prefix: String,
    },
    /// Put and delete all of `puts`, if every guard holds; otherwise nothing.
    Write {
        /// Its name.
        id: OpId,
        /// What must still be so.
        guards: Vec<Guard>,
        /// New values; none deletes.
        puts: Vec<(String, Option<Bytes>)>,
    },
}

/// A key must still be at this revision; 0 means that it must not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Which key.
    pub key: String,
    /// At what revision.
    pub revision: Revision,
}

/// One key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// Its bytes.
    pub value: Bytes,
    /// The revision of its last change.
    pub revision: Revision,
}

/// How an operation ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Which.
    pub id: OpId,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What a range holds, all read at one revision.
    Pairs {
        /// In order of their keys.
        pairs: Vec<Pair>,
        /// The store's revision then.
        at: Revision,
    },
    /// The write is durable; each key put is now at this revision.
    Written(Revision),
    /// A guard did not hold; nothing changed.
    Conflict {
        /// The first key that was not as guarded.
        key: String,
    },
    /// The store failed; whether a write was done is unknown.
    Unknown,
}
