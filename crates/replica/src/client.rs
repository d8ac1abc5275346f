//! I/O of hosts, which may come at any time: done, sent elsewhere, or kept until this replica can know which.

use crate::{Context, Effects, Replica, Role};
use base::Payload;
use base::io::net::Link;
use wire::{Message, Refusal};

/// Client I/O that may wait for a configuration or an election, in one shard.
pub(crate) const PARKED_MAX: usize = 1024;

impl Replica {
    pub(crate) fn on_client(
        &mut self,
        cx: &Context<'_>,
        from: Link,
        message: Message,
        data: Option<Payload>,
        fx: &mut Effects,
    ) {
        let (epoch, io) = match &message {
            Message::Write(m) => (m.epoch, m.io),
            Message::Read(m) => (m.epoch, m.io),
            Message::Trim(m) => (m.epoch, m.io),
            Message::Map(m) => (m.epoch, m.io),
            _ => unreachable!("only client I/O comes here"),
        };
        let config = &self.register.config;
        if epoch < config.epoch {
            return fx.redirect(from, io, config);
        }
        let early = epoch > config.epoch;
        if !early && (config.primary != self.me.node || self.restarted.is_some()) {
            let why = Refusal::NotPrimary { config: config.clone() };
            return fx.refuse(from, self.shard, io, why);
        }
        match &self.role {
            Role::Serving(s) if !early && !s.suspended => self.serve(cx, from, message, data, fx),
            // The host heard of the epoch first, or the election is under way: it will be moments.
            _ if self.parked.len() < PARKED_MAX => self.parked.push_back((from, message, data)),
            _ => fx.refuse(from, self.shard, io, Refusal::Busy),
        }
    }

    /// Looks again at client I/O that came too early.
    pub(crate) fn unpark(&mut self, cx: &Context<'_>, fx: &mut Effects) {
        for (from, message, data) in core::mem::take(&mut self.parked) {
            self.on_client(cx, from, message, data, fx);
        }
    }
}
