//! An entry of a primary's window, and the messages that carry it.

use alloc::vec::Vec;
use base::io::net::Link;
use base::log::{PointChange, Record, Stamp, WindowEntry};
use base::{Epoch, Payload, Sequence};
use wire::{Message, Replicate, Windowed};

/// An entry that is sequenced and not yet committed.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) entry: WindowEntry,
    /// Who waits for it; nobody does for what an election brought along (its host asks again).
    pub(crate) client: Option<(Link, u64)>,
}

impl Pending {
    pub(crate) fn from_window(entry: WindowEntry) -> Self {
        Self { entry, client: None }
    }

    pub(crate) fn sequence(&self) -> Sequence {
        self.entry.stamp.sequence
    }

    pub(crate) fn overlaps(&self, block: u32, count: u32) -> bool {
        self.entry.block < block + count && block < self.entry.block + self.entry.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entry.data.as_ref().map_or(0, |d| d.len())
    }
}

/// A write, or a trim where there is no data.
pub(crate) fn change_of_blocks(stamp: Stamp, block: u32, count: u32, data: Option<Payload>) -> WindowEntry {
    WindowEntry { stamp, block, count, data, point: None }
}

/// A change of a frozen point.
pub(crate) fn change_of_point(stamp: Stamp, change: PointChange) -> WindowEntry {
    WindowEntry { stamp, block: 0, count: 0, data: None, point: Some(change) }
}

/// One entry, on its way to a member.
pub(crate) fn replicate(
    shard: base::ShardId,
    epoch: Epoch,
    committed: Sequence,
    entry: &WindowEntry,
) -> (Message, Vec<Payload>) {
    let &WindowEntry { stamp, block, count, point, .. } = entry;
    let message = Replicate { shard, epoch, stamp, committed, block, count, trim: is_trim(entry), point };
    (message.into(), entry.data.iter().cloned().collect())
}

/// One entry, on its way to a new primary.
pub(crate) fn windowed(shard: base::ShardId, epoch: Epoch, entry: &WindowEntry) -> (Message, Vec<Payload>) {
    let &WindowEntry { stamp, block, count, point, .. } = entry;
    let message = Windowed { shard, epoch, stamp, block, count, trim: is_trim(entry), point };
    (message.into(), entry.data.iter().cloned().collect())
}

/// The entry that a Replicate brings, if it and its data fit each other.
pub(crate) fn replicated(m: &Replicate, data: Option<Payload>) -> Option<WindowEntry> {
    fitting(WindowEntry { stamp: m.stamp, block: m.block, count: m.count, data, point: m.point }, m.trim)
}

/// The entry that a Windowed brings, if it and its data fit each other.
pub(crate) fn taken_over(m: &Windowed, data: Option<Payload>) -> Option<WindowEntry> {
    fitting(WindowEntry { stamp: m.stamp, block: m.block, count: m.count, data, point: m.point }, m.trim)
}

fn is_trim(entry: &WindowEntry) -> bool {
    entry.data.is_none() && entry.point.is_none()
}

fn fitting(entry: WindowEntry, trim: bool) -> Option<WindowEntry> {
    let fits = match &entry.data {
        Some(data) => entry.point.is_none() && data.blocks() == entry.count,
        None => entry.point.is_none() || (entry.block, entry.count) == (0, 0),
    };
    (fits && trim == is_trim(&entry)).then_some(entry)
}

/// What is appended of it.
pub(crate) fn record(entry: WindowEntry) -> Record {
    let WindowEntry { stamp, block, count, data, point } = entry;
    match (data, point) {
        (_, Some(change)) => Record::Point { stamp, change },
        (Some(data), None) => {
            assert_eq!(data.blocks(), count);
            Record::Data { stamp, block, data }
        }
        (None, None) => Record::Trim { stamp, block, count },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::{BLOCK_BYTES, PointId, ShardId, VolumeId};

    #[test]
    fn an_entry_arrives_as_it_was_sent_and_one_that_nobody_sends_is_not_taken() {
        let shard = ShardId { volume: VolumeId(1), index: 0 };
        let (stamp, two) = (Stamp::default(), Payload::from(vec![1; 2 * BLOCK_BYTES]));
        let point = change_of_point(stamp, PointChange::Freeze { id: PointId(3) });
        for entry in
            [change_of_blocks(stamp, 4, 2, Some(two.clone())), change_of_blocks(stamp, 4, 2, None), point.clone()]
        {
            let (message, mut data) = replicate(shard, Epoch(1), Sequence(0), &entry);
            let Message::Replicate(m) = message else { panic!("{message:?}") };
            let arrived = replicated(&m, data.pop()).expect("it fits");
            let about = |e: &WindowEntry| (e.block, e.count, e.data.clone(), e.point);
            assert_eq!(about(&arrived), about(&entry));
        }
        let with = |entry: &WindowEntry, change: &dyn Fn(&mut WindowEntry)| {
            let mut entry = entry.clone();
            change(&mut entry);
            entry
        };
        let write = change_of_blocks(stamp, 4, 2, Some(two.clone()));
        for (entry, trim) in [
            (with(&write, &|e| e.count = 3), false),
            (with(&write, &|e| e.point = point.point), false),
            (write.clone(), true),
            (with(&write, &|e| e.data = None), false),
            (with(&point, &|e| e.count = 1), false),
            (with(&point, &|e| e.block = 1), false),
            (point.clone(), true),
        ] {
            assert!(fitting(entry.clone(), trim).is_none(), "{entry:?} {trim}");
        }
    }
}
