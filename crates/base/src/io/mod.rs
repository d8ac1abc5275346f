//! Everything a machine may ask of the world, and everything the world may answer. Plain data, no traits, no futures.
//!
//! A machine is one value with one method, `step(now, inbox, outbox)`. The driver (`runtime` or `sim`) puts the answers of
//! a turn into the [`Inbox`], calls `step` once, and carries out the [`Outbox`] in order. Ids of operations are numbered
//! by the machine that asks; the world only echoes them.

pub mod disk;
pub mod meta;
pub mod net;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What the world answers.
#[derive(Debug, Clone)]
pub enum Input {
    /// A disk operation ended.
    Disk(disk::Done),
    /// Something came over, or happened to, the network.
    Net(net::Event),
    /// An operation on the metadata store ended.
    Meta(meta::Done),
}

/// What a machine asks.
#[derive(Debug, Clone)]
pub enum Output {
    /// Of its disk.
    Disk(disk::Op),
    /// Of the network.
    Net(net::Op),
    /// Of the metadata store.
    Meta(meta::Op),
}

/// All that a turn brought, oldest first.
pub type Inbox = VecDeque<Input>;

/// All that a step asks for, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    ops: Vec<Output>,
}

impl Outbox {
    /// Asks the disk.
    pub fn disk(&mut self, op: disk::Op) {
        self.ops.push(Output::Disk(op));
    }
    /// Asks the network.
    pub fn net(&mut self, op: net::Op) {
        self.ops.push(Output::Net(op));
    }
    /// Asks the metadata store.
    pub fn meta(&mut self, op: meta::Op) {
        self.ops.push(Output::Meta(op));
    }
    /// Sends one frame.
    pub fn send(&mut self, to: net::Link, frame: net::Frame) {
        self.net(net::Op::Send { to, frame });
    }
    /// Takes all, in order; keeps the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.ops.drain(..)
    }
    /// How much is asked.
    pub fn len(&self) -> usize {
        self.ops.len()
    }
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// One deterministic machine. It reads no clock, opens nothing and draws no randomness but from the [`crate::Rng`] it was born with.
pub trait Machine {
    /// Takes all that a turn brought and says all that follows from it. Leaves the inbox empty. Messages, acknowledgements and batches
    /// form at its end, which is what makes group commit and cumulative answers free.
    fn step(&mut self, now: crate::Time, inbox: &mut Inbox, out: &mut Outbox);

    /// When it wants a step though nothing came. None while only an input can change anything: an idle machine costs nothing.
    fn deadline(&self) -> Option<crate::Time>;
}
