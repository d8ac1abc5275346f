//! Operations of the disk, numbered as they are asked for.

use alloc::vec::Vec;
use base::io::disk::{Op, OpId};

/// Where a part of the store puts what it asks of the disk.
#[derive(Debug)]
pub(crate) struct Ops<'a> {
    /// The number of the last operation.
    pub(crate) last: &'a mut u64,
    pub(crate) list: &'a mut Vec<Op>,
}

impl Ops<'_> {
    /// The next number.
    pub(crate) fn id(&mut self) -> OpId {
        *self.last += 1;
        OpId(*self.last)
    }

    /// Asks.
    pub(crate) fn push(&mut self, op: Op) {
        self.list.push(op);
    }
}
