//! Raw byte streams, for protocols that are not ours: NBD over a Unix socket or TCP.
//!
//! A stream is bytes in and bytes out; what they mean is the application's. It is told when one opens and closes, and may pause
//! one that says more than can be carried out.

use base::Payload;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where streams are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket. What a dead process left at the path is replaced; a living one's is not. Only this user may connect.
    Unix(PathBuf),
    /// A TCP address; port 0 takes any.
    Tcp(SocketAddr),
}

/// Names a stream; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// What happened to a stream.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody connected.
    Opened {
        /// The new stream.
        id: Id,
        /// By which listener: its place in [`crate::Setup::streams`].
        listener: usize,
    },
    /// Bytes came.
    Bytes {
        /// On which.
        id: Id,
        /// The bytes, as they came.
        data: Payload,
    },
    /// So many bytes of what was to be sent are out of memory: the kernel has them. Sends of several steps may be told as one, and what is little is told with
    /// the next step only.
    Sent {
        /// On which.
        id: Id,
        /// How many.
        bytes: usize,
    },
    /// It is gone: the other end closed it, it broke, it was read so slowly that too much waited for it, or all was sent before an [`Op::Close`]. The last
    /// that is said of it.
    Closed {
        /// Which.
        id: Id,
    },
}

/// What an application asks of a stream. Of one that is gone it asks in vain.
#[derive(Debug, Clone)]
pub enum Op {
    /// Send these bytes, one part behind the other.
    Send {
        /// On which.
        id: Id,
        /// What.
        parts: Vec<Payload>,
    },
    /// Close it when what was sent before is out.
    Close {
        /// Which.
        id: Id,
    },
    /// Receive no more for now: what the other end says waits in the kernel, and then at its end. At most one more
    /// [`Event::Bytes`] comes.
    Pause {
        /// Which.
        id: Id,
    },
    /// Receive again.
    Resume {
        /// Which.
        id: Id,
    },
    /// Give the next `bytes` as one piece, however they come. It begins with `begun`, which was given as the end of an [`Event::Bytes`] and counts as not given: the
    /// kernel puts what is missing right behind it. Asked for later than in the step that got it, `begun` is given again as it is.
    Gather {
        /// Of which.
        id: Id,
        /// The first of them.
        begun: Payload,
        /// How many, with the first.
        bytes: usize,
    },
}
