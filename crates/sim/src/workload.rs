//! The clients of volumes: what each asks next. It keeps no truth; what was asked and answered is in the history.

use crate::history::{Kind, Stamp};
use crate::shape::VolumeShape;
use crate::world::Pid;
use base::time::Duration;
use base::{Payload, PointId, Rng, VolumeId};
use std::collections::{BTreeMap, VecDeque};

/// The client of one volume.
pub struct Client {
    /// Its place in the row of volumes, as stamps name it.
    pub volume: u8,
    /// The volume, once it is made.
    pub id: Option<VolumeId>,
    /// How it behaves.
    pub shape: VolumeShape,
    /// The frozen points that it has, the oldest first.
    pub points: VecDeque<PointId>,
    /// What it waits for: operation and host.
    pub in_flight: BTreeMap<u64, Pid>,
    /// Asks nothing more.
    pub stopped: bool,
    rng: Rng,
}

/// What is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub kind: Kind,
    /// From which grain.
    pub grain: u64,
    /// How many.
    pub count: u64,
}

impl Client {
    /// Of a volume that is not made yet.
    pub fn new(volume: u8, shape: VolumeShape, rng: Rng) -> Self {
        Self { volume, id: None, shape, points: VecDeque::new(), in_flight: BTreeMap::new(), stopped: false, rng }
    }

    /// Until it looks whether to ask again.
    pub fn pause(&mut self) -> Duration {
        let (low, high) = self.shape.pause_us;
        Duration::from_micros(self.rng.within(low, high))
    }

    /// Draws what to ask.
    pub fn draw(&mut self) -> Asked {
        let grains = self.shape.grains();
        let span = if self.rng.chance(1, 2) { self.shape.hot.min(grains) } else { grains };
        let grain = self.rng.below(span);
        let count = if self.rng.chance(1, 2) { 1 } else { self.rng.within(1, self.shape.run_max) }.min(grains - grain);
        let kind = match self.rng.below(100) {
            n if n < self.shape.writes => Kind::Write,
            n if n < self.shape.writes + self.shape.trims => Kind::Trim,
            _ => Kind::Read,
        };
        Asked { kind, grain, count }
    }

    /// One of the hosts that have it open.
    pub fn choose(&mut self, hosts: &[Pid]) -> Option<Pid> {
        self.rng.pick(hosts).copied()
    }

    /// In the words of a host. Trims are asked as zeroes now and then, and flushes are not asked: what is answered is durable.
    pub fn request(&mut self, op: u64, asked: Asked) -> host::Request {
        let size = self.shape.grain_bytes as u64;
        let (offset, len) = (asked.grain * size, asked.count * size);
        let op_words = match asked.kind {
            Kind::Read => host::Op::Read { offset, len },
            Kind::Map => host::Op::Map { offset, len },
            Kind::Trim if self.rng.chance(1, 2) => host::Op::Zero { offset, len },
            Kind::Trim => host::Op::Trim { offset, len },
            Kind::Write => {
                let mut bytes = Vec::with_capacity(len as usize);
                let grains = asked.grain..asked.grain + asked.count;
                Stamp::fill(&mut bytes, op, self.volume, grains, self.shape.grain_bytes);
                host::Op::Write { offset, data: Payload::from(bytes) }
            }
        };
        host::Request { volume: self.id.expect("a client asks of a volume that is made"), tag: op, op: op_words }
    }
}
