//! A replica that is wrong in one small way, for the tests of the checkers ([`base::mutant`]).

use crate::Replica;
use crate::serving::Serving;
use crate::{Role, Time};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use base::log::Standing;
use base::mutant::{Mutant, Mutation};

impl Replica {
    /// Makes it wrong, before anything comes in.
    #[must_use]
    pub fn mutated(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        let leads = self.restarted.is_some() && self.register.config.primary == self.me.node;
        if mutation.is(Mutant::ServedAfterRestart) && leads && self.register.standing == Standing::Complete {
            self.serve_on();
        }
        self
    }

    /// As if nothing had happened.
    fn serve_on(&mut self) {
        let others = self.register.config.members.iter().map(|m| m.node).filter(|n| *n != self.me.node);
        let others = others.map(|n| (n, u64::MAX)).collect();
        let since = self.restarted.take().unwrap_or(Time::ZERO);
        self.role = Role::Serving(Box::new(Serving::new(VecDeque::new(), others, self.end, since)));
    }
}
