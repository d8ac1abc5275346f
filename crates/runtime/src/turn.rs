//! What every part of the world has at hand during one turn of the loop, and the names of what it has in the ring.

use crate::arena::Arena;
use crate::counters::Counters;
use crate::log::Log;
use crate::ring::Ring;
use crate::{disk, net, streams};
use base::Time;
use base::io::Inbox;

/// Who asked the ring for something.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// The network.
    Net(net::Token),
    /// The disk.
    Disk(disk::Place),
    /// The raw byte streams.
    Stream(streams::Token),
    /// Metadata has answers.
    Meta,
    /// Somebody used the waker.
    Wake,
    /// A signal came.
    Signal,
}

/// Lent to each part in turn.
pub struct Turn<'a> {
    /// Read once, when the kernel was left.
    pub now: Time,
    /// Takes operations.
    pub ring: &'a mut Ring<Token>,
    /// Gives buffers.
    pub arena: &'a Arena,
    /// Counts.
    pub counters: &'a mut Counters,
    /// Tells people.
    pub log: &'a mut Log,
    /// Tells the machine, with its next step.
    pub inbox: &'a mut Inbox,
}
