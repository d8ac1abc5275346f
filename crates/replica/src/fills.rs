//! How full is what others can fill in one replica, each with the refusal that keeps it there.

use crate::client::PARKED_MAX;
use crate::serving::READS_MAX;
use crate::{Replica, Role, WINDOW_BYTES, WINDOW_WRITES};
use base::bounded::Fill;

impl Replica {
    /// Says of each what it holds and what it may hold.
    pub fn fills(&self, tell: &mut dyn FnMut(Fill)) {
        tell(Fill { what: "operations that came too early", now: self.parked.len(), most: PARKED_MAX });
        self.mending.fills(tell);
        let Role::Serving(s) = &self.role else { return };
        tell(Fill { what: "writes under way", now: s.pending.len(), most: WINDOW_WRITES });
        tell(Fill { what: "bytes of writes under way", now: s.pending_bytes(), most: WINDOW_BYTES });
        tell(Fill { what: "reads under way", now: s.reads(), most: READS_MAX });
        // What was under way when the hold began is kept too.
        tell(Fill { what: "answers kept back", now: s.holding.kept(), most: WINDOW_WRITES + READS_MAX });
    }
}
