//! Reading, one operation at a time: an inspection is in no hurry, and whoever drives it needs no queue.

use crate::buffer::Need;
use crate::geometry::byte_of;
use crate::ops::Ops;
use alloc::vec::Vec;
use base::io::disk::{Done, Fault, Op, OpId};
use base::{BLOCK_BYTES, Payload};

/// The read under way, or the one that ended.
#[derive(Debug, Default)]
pub(super) struct Reading {
    last: u64,
    asked: Option<(OpId, Need)>,
    ended: Option<(Need, Result<Payload, Fault>)>,
}

impl Reading {
    /// These blocks, when they were read; otherwise they are asked for, and whoever wants them is to ask again when the read has ended.
    pub(super) fn get(&mut self, need: Need, ops: &mut Vec<Op>) -> Option<Result<Payload, Fault>> {
        if let Some((_, result)) = self.ended.take_if(|(ended, _)| *ended == need) {
            return Some(result);
        }
        if self.asked.is_none() {
            let mut ops = Ops { last: &mut self.last, list: ops };
            let id = ops.id();
            ops.push(Op::Read { id, at: byte_of(need.place), len: need.blocks * BLOCK_BYTES as u32 });
            self.asked = Some((id, need));
        }
        None
    }

    /// Whether the disk was asked and has not answered.
    pub(super) fn is_under_way(&self) -> bool {
        self.asked.is_some()
    }

    /// A read ended. Fewer bytes than were asked for are a fault.
    pub(super) fn done(&mut self, done: Done) {
        let (id, need) = self.asked.take().expect("the disk ended an operation that nobody asked for");
        assert_eq!(id, done.id, "the disk ended another operation");
        let whole = |bytes: Payload| if bytes.blocks() == need.blocks { Ok(bytes) } else { Err(Fault::Short) };
        self.ended = Some((need, done.result.and_then(whole)));
    }
}
