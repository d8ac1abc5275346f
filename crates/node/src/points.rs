//! A step of freezing a volume, from the authority to the replica it is for. Whether there is room for another point only the store knows, so it is asked here.

use crate::Node;
use base::io::net::Link;
use store::FreezeRefusal;
use wire::{Message, PointOrder, PointRefusal, PointState, PointStep};

/// What a store says, as the authority is told.
fn refusal(why: &FreezeRefusal) -> PointRefusal {
    match *why {
        FreezeRefusal::TooManyPoints { most } => PointRefusal::TooMany { most: most as u32 },
        FreezeRefusal::NoSpace { needed_bytes, promised_bytes, capacity_bytes } => {
            PointRefusal::NoRoom { lacking: (promised_bytes + needed_bytes).saturating_sub(capacity_bytes) }
        }
        FreezeRefusal::NoShard => PointRefusal::NotServing,
    }
}

impl Node {
    pub(crate) fn on_point_order(&mut self, from: Link, order: PointOrder) {
        let PointOrder { shard, epoch, point, step } = order;
        if !self.replicas.contains_key(&shard) {
            let state = PointState { shard, epoch, point, step, refused: Some(PointRefusal::NotServing) };
            return self.fx.frames.push((from, Message::from(state).frame()));
        }
        let no_room = match step {
            PointStep::Freeze => self.store.refuses_freeze(shard).as_ref().map(refusal),
            PointStep::Hold | PointStep::Release | PointStep::Thaw => None,
        };
        self.with(shard, |replica, cx, fx| replica.on_point_order(cx, from, order, no_room, fx));
    }
}
