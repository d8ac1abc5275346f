//! An entry of a primary's window, and the message that carries it to a member.

use alloc::vec::Vec;
use base::io::net::Link;
use base::log::{Stamp, WindowEntry};
use base::{Epoch, Payload, Sequence};
use wire::Message;

/// A write or trim that is sequenced and not yet committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) stamp: Stamp,
    pub(crate) block: u32,
    pub(crate) count: u32,
    pub(crate) data: Option<Payload>,
    /// Who waits for it; nobody does for what an election brought along (its host asks again).
    pub(crate) client: Option<(Link, u64)>,
}

impl Pending {
    pub(crate) fn from_window(e: WindowEntry) -> Self {
        Self { stamp: e.stamp, block: e.block, count: e.count, data: e.data, client: None }
    }

    pub(crate) fn overlaps(&self, block: u32, count: u32) -> bool {
        self.block < block + count && block < self.block + self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |d| d.len())
    }
}

/// One entry, on its way to a member.
pub(crate) fn replicate(
    shard: base::ShardId,
    epoch: Epoch,
    committed: Sequence,
    stamp: Stamp,
    block: u32,
    count: u32,
    data: &Option<Payload>,
) -> (Message, Vec<Payload>) {
    let trim = data.is_none();
    let message = wire::Replicate { shard, epoch, stamp, committed, block, count, trim };
    (message.into(), data.iter().cloned().collect())
}
