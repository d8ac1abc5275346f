//! The machine: everything that the outside may ask of a store.

use crate::{Geometry, OpenRefusal, Policy};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::io::disk;
use base::log::{Event, Recovered, Request};
use base::{ClusterId, NodeId, StoreUuid, Time};

/// Whose disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What to do with a disk whose superblocks are all zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// Make a store on it.
    Format {
        /// The new store's name.
        uuid: StoreUuid,
    },
    /// Refuse it.
    Refuse,
}

/// Where a store is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading the disk. Requests wait.
    Opening,
    /// At work.
    Ready,
    /// At work, but appends wait for space that nobody frees: even the reserve is used up. Reads go on.
    Full,
    /// Not opened. Requests are dropped.
    Refused(OpenRefusal),
    /// A write failed: nothing is appended any more, reads go on for rescue.
    Poisoned(disk::Fault),
}

/// Bytes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes in all segments.
    pub capacity_bytes: u64,
    /// Bytes of blocks that an index or a window names.
    pub used_bytes: u64,
    /// Bytes that can still be appended, the reserve taken off.
    pub room_bytes: u64,
}

/// The store of one disk.
#[derive(Debug)]
pub struct Store {
    geometry: Geometry,
    phase: Phase,
    requests: VecDeque<Request>,
    dones: VecDeque<disk::Done>,
}

impl Store {
    /// Not yet opened: the first step begins that.
    pub fn new(_identity: Identity, geometry: Geometry, _blank: Blank, _policy: Policy) -> Self {
        Self { geometry, phase: Phase::Opening, requests: VecDeque::new(), dones: VecDeque::new() }
    }

    /// Takes a request; the next step works on it.
    pub fn request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Takes the end of a disk operation; the next step works on it.
    pub fn done(&mut self, done: disk::Done) {
        self.dones.push_back(done);
    }

    /// Works on all that came since the last step.
    pub fn step(&mut self, _now: Time, _ops: &mut Vec<disk::Op>, _events: &mut Vec<Event>) {}

    /// When to step without anything having come: at once when something waits to be worked on, otherwise never.
    pub fn deadline(&self) -> Option<Time> {
        (!self.requests.is_empty() || !self.dones.is_empty()).then_some(Time::ZERO)
    }

    /// Where it is in its life.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether appends wait for space that nobody frees.
    pub fn stalled(&self) -> bool {
        self.phase == Phase::Full
    }

    /// The shards that were found, in order; a second call gives none.
    pub fn recovered(&mut self) -> Vec<Recovered> {
        Vec::new()
    }

    /// The store's name; zero before it is opened.
    pub fn uuid(&self) -> StoreUuid {
        StoreUuid(0)
    }

    /// Its geometry: the disk's own once it is opened.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its bytes.
    pub fn space(&self) -> Space {
        Space::default()
    }
}
