//! I2: a promise never goes back, not over a crash either: it was durable before it was told.
//!
//! What a node says of a shard under an epoch binds it: nothing that it says later may be of an older one, until it was released and has nothing of the shard any more. Then
//! it knows of no promise, and says to the primary of an old epoch, whose Sync came late, that it is incomplete.

use base::{Epoch, NodeId, ShardId};
use std::collections::BTreeMap;
use wire::Message;

/// The highest epoch each node has spoken under.
#[derive(Default)]
pub struct Promises {
    highest: BTreeMap<(NodeId, ShardId), (Epoch, &'static str)>,
}

/// The epoch under which a replica speaks, in the messages that only one which promised it sends.
fn spoken(message: &Message) -> Option<(ShardId, Epoch)> {
    match message {
        Message::End(m) => Some((m.shard, m.epoch)),
        Message::Incomplete(m) => Some((m.shard, m.epoch)),
        Message::Synced(m) => Some((m.shard, m.epoch)),
        Message::Replicated(m) => Some((m.shard, m.epoch)),
        Message::Done(m) => Some((m.shard, m.epoch)),
        _ => None,
    }
}

impl Promises {
    /// The highest epoch under which a node has spoken of a shard since it was last released.
    pub fn highest(&self, node: NodeId, shard: ShardId) -> Option<Epoch> {
        self.highest.get(&(node, shard)).map(|(epoch, _)| *epoch)
    }

    /// A node has another disk, and remembers nothing.
    pub fn forget(&mut self, node: NodeId) {
        self.highest.retain(|(of, _), _| *of != node);
    }

    /// A node sent this.
    pub fn sent(&mut self, node: NodeId, message: &Message) -> Result<(), String> {
        if let Message::Released(m) = message {
            self.highest.remove(&(node, m.shard));
        }
        let Some((shard, epoch)) = spoken(message) else { return Ok(()) };
        let has_nothing = matches!(message, Message::Incomplete(_)) && !self.highest.contains_key(&(node, shard));
        if has_nothing {
            return Ok(());
        }
        let highest = self.highest.entry((node, shard)).or_insert((epoch, message.name()));
        if epoch < highest.0 {
            return Err(format!(
                "I2: {node} said {} of {shard} under epoch {epoch} after {} under {}",
                message.name(),
                highest.1,
                highest.0
            ));
        }
        *highest = (epoch, message.name());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Member, Sequence, StoreUuid};
    use wire::{End, Incomplete, Released, Replicated};

    #[test]
    fn a_promise_that_goes_back_is_caught() {
        let mut promises = Promises::default();
        let shard = ShardId::default();
        let end = |epoch| {
            let (end, committed) = (Sequence(3), Sequence(2));
            let (adopted, committed_in) = (Epoch(1), Epoch(1));
            Message::from(End { shard, epoch: Epoch(epoch), adopted, end, committed, committed_in, room: 0 })
        };
        let replicated =
            |epoch| Message::from(Replicated { shard, epoch: Epoch(epoch), through: Sequence(3), room: 0 });
        assert!(promises.sent(NodeId(1), &replicated(1)).is_ok());
        assert!(promises.sent(NodeId(1), &end(2)).is_ok());
        assert!(promises.sent(NodeId(2), &replicated(1)).is_ok(), "another node is bound by its own words only");
        assert!(promises.sent(NodeId(1), &replicated(2)).is_ok());
        assert!(promises.sent(NodeId(1), &replicated(1)).unwrap_err().starts_with("I2"));
    }

    #[test]
    fn who_was_released_may_say_that_it_has_nothing() {
        let (mut promises, shard, node) = (Promises::default(), ShardId::default(), NodeId(4));
        let incomplete = |epoch| Message::from(Incomplete { shard, epoch: Epoch(epoch) });
        let replicated = Replicated { shard, epoch: Epoch(18), through: Sequence(3), room: 0 };
        assert!(promises.sent(node, &replicated.into()).is_ok());
        assert!(promises.sent(node, &incomplete(19)).is_ok());
        let released = |store| Message::from(Released { shard, member: Member { node, store: StoreUuid(store) } });
        assert!(promises.sent(NodeId(5), &released(5)).is_ok());
        assert!(promises.sent(node, &incomplete(14)).unwrap_err().starts_with("I2"), "another was released");
        assert!(promises.sent(node, &released(4)).is_ok());
        assert!(promises.sent(node, &incomplete(14)).is_ok());
        assert!(promises.sent(node, &incomplete(13)).is_ok(), "who has nothing is not bound by saying so");
        let replicated =
            |epoch| Message::from(Replicated { shard, epoch: Epoch(epoch), through: Sequence(3), room: 0 });
        assert!(promises.sent(node, &replicated(20)).is_ok());
        assert!(promises.sent(node, &incomplete(19)).is_err(), "and is bound again by what it has from then on");
        promises.forget(NodeId(5));
        assert!(promises.sent(node, &replicated(19)).is_err());
        promises.forget(node);
        assert!(promises.sent(node, &replicated(1)).is_ok());
    }
}
