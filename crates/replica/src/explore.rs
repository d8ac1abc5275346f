//! What a model checker asks of a replica beside what a node does: that states which behave alike also look alike, and what a state is called. Nothing here is
//! called by the product.

use crate::{Replica, Role};
use base::log::Standing;

impl Replica {
    /// Counts its appends anew from the last durable one, and its reads from none unless attempts are numbered by them. Gives what was taken off the
    /// appends' numbers, which the store has to take off too. Only while no read is at the store.
    ///
    /// Appends are only compared with each other, and attempts only within one plan and epoch, so nothing that a replica does depends on it.
    pub fn recount(&mut self) -> u64 {
        let taken = core::mem::take(&mut self.durable);
        self.ticket -= taken;
        self.arrivals.iter_mut().for_each(|(at, _)| *at -= taken);
        self.after.iter_mut().for_each(|(at, _)| *at -= taken);
        if !self.is_teaching() {
            self.reads = 0;
        }
        taken
    }

    /// What it is at this moment, in the words of ARCHITECTURE.md.
    pub fn called(&self) -> &'static str {
        let member = self.register.config.is_member(self.me);
        match (&self.role, self.register.standing) {
            _ if self.gone => "None",
            (_, Standing::Suspect) => "Suspect",
            (Role::Electing(e), _) => e.called(),
            (Role::Serving(s), _) if s.suspended && s.teaching.is_some() => "Suspended, teaching",
            (Role::Serving(s), _) if s.suspended => "Suspended",
            (Role::Serving(s), _) if s.teaching.is_some() => "Serving, teaching",
            (Role::Serving(_), _) => "Serving",
            (Role::Learner(_), Standing::Learned { .. }) => "Learned",
            (Role::Learner(_), _) => "Learning",
            (Role::Follower(_), Standing::Reserved) => "Reserved",
            (Role::Follower(_), Standing::Learning { .. } | Standing::Learned { .. }) => "Incomplete",
            (Role::Follower(_), Standing::Complete) if !member => "Holding",
            (Role::Follower(_), _) if self.restarted.is_some() => "Restarted",
            (Role::Follower(f), _) if f.is_adopting() => "Adopting",
            (Role::Follower(_), _) if self.register.adopted == self.register.promised => "Backup",
            (Role::Follower(_), _) => "Promised",
        }
    }
}
