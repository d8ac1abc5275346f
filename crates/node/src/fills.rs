//! How full is what others can fill in a node: what came before it could be dealt with, and what it remembers of its shards.

use crate::{EARLY_MAX, Node};
use base::ShardId;
use base::bounded::Fill;

impl Node {
    /// Says of each what it holds and what it may hold; of replicas with the shard, of itself without.
    pub fn fills(&self, tell: &mut dyn FnMut(Option<ShardId>, Fill)) {
        let shards = self.replicas.len();
        let of_shards = [
            ("timers", self.timers.len()),
            ("shards with a timer", self.wakes.len()),
            ("shards that wait to copy", self.copying.waiting()),
            ("shards that copy", self.copying.reading()),
            ("shards shared with others", self.partners.shared()),
        ];
        tell(None, Fill { what: "events before the store is read", now: self.early.len(), most: EARLY_MAX });
        of_shards.into_iter().for_each(|(what, now)| tell(None, Fill { what, now, most: shards }));
        self.store.fills(&mut |fill| tell(None, fill));
        self.replicas.iter().for_each(|(shard, replica)| replica.fills(&mut |fill| tell(Some(*shard), fill)));
    }
}
