//! Rule 12: a replica whose log was damaged below its durable end. Something that it had confirmed may be lost, of its data and of its metadata too: it may have
//! promised more than it remembers. So it confirms nothing and gives nothing on, until a configuration has left it out and a primary has filled it anew.
//!
//! That needs nothing of its own from the authority: a suspect member answers a new or a reconnected primary as one that is incomplete does,
//! and a suspect primary wishes for nothing, so that the others go on without it.

use crate::{Effects, Replica};
use base::log::Standing;
use wire::Message;

impl Replica {
    /// Marks itself, durably: the next restart will find nothing wrong. Who has only a part is no more and no less for it, but that the part cannot be
    /// built upon.
    pub(crate) fn become_suspect(&mut self, fx: &mut Effects) {
        self.register.standing = match self.register.standing {
            Standing::Learning { plan, base: Some(_) } => Standing::Learning { plan, base: None },
            Standing::Reserved | Standing::Learning { .. } => return,
            Standing::Complete | Standing::Learned { .. } | Standing::Suspect => Standing::Suspect,
        };
        self.write_register(fx);
    }

    /// Whether what it has is not to be relied upon.
    pub(crate) fn is_suspect(&self) -> bool {
        self.register.standing == Standing::Suspect
    }
}

/// What a suspect replica takes note of: newer configurations and what their primaries ask of it, to which it says that it is incomplete; hosts, which it sends elsewhere;
/// a primary that fills it. A block that is asked for by its checksum is the right one whoever has it.
pub(crate) fn hears(message: &Message) -> bool {
    matches!(
        message,
        Message::Sync(_)
            | Message::Fetch(_)
            | Message::Adopt(_)
            | Message::Deposed(_)
            | Message::Learn(_)
            | Message::Write(_)
            | Message::Read(_)
            | Message::Trim(_)
            | Message::Map(_)
            | Message::Mend(_)
            | Message::Mended(_)
    )
}
