//! What a world consists of and how much has happened in it, counted: what an idle world costs is held to such counts, never to a clock.

use crate::world::{Observer, World};
use base::io::Machine;
use base::io::net::{Class, Network};

/// Counts of one world, from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Events that were put on the heap.
    pub events: u64,
    /// Of the processes that exist: whom each watches, counted once for each.
    pub watched: u64,
    /// Connections that are not over.
    pub connections: u64,
    /// Keepalives that processes sent in their present runs.
    pub pings: u64,
    /// Bytes of frames that were sent.
    pub bytes: u64,
}

impl Census {
    /// What happened since `before`; what there is stays as it is.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            events: self.events - before.events,
            pings: self.pings.saturating_sub(before.pings),
            bytes: self.bytes - before.bytes,
            ..self
        }
    }
}

impl<M: Machine, O: Observer> World<M, O> {
    /// Counts.
    pub fn census(&self) -> Census {
        let there = self.procs.iter().filter(|p| p.machine.is_some());
        let (mut watched, mut pings) = (0, 0);
        for p in there {
            watched += p.endpoint.watched.keys().filter(|(_, network)| *network == Network::Primary).count() as u64;
            pings += p.endpoint.traffic.pings.iter().sum::<u64>();
        }
        let all =
            Network::ALL.into_iter().flat_map(|network| Class::ALL.into_iter().map(move |class| (network, class)));
        let bytes = all.map(|(network, class)| self.net.sent.get(network, class)).sum();
        let connections = self.net.conns.len() as u64;
        Census { events: self.heap.count(), watched, connections, pings, bytes }
    }
}
