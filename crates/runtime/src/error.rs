//! Why a world could not be made, and why it could not go on. Each says what, where, and what to do.

use crate::{disk, meta};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a world could not be made.
#[derive(Debug)]
pub enum StartError {
    /// The kernel gives no io_uring, and nothing else was wanted.
    NoRing(io::Error),
    /// An address that other computers can reach, without leave to use one.
    NotLoopback {
        /// For what.
        what: &'static str,
        /// Which.
        address: SocketAddr,
    },
    /// An address that cannot be listened on.
    Bind {
        /// For what.
        what: &'static str,
        /// Which.
        address: String,
        /// Why.
        why: io::Error,
    },
    /// The disk.
    Disk(disk::OpenError),
    /// The metadata.
    Meta(meta::OpenError),
    /// Something small that every process needs: a descriptor, a thread, a signal mask.
    System {
        /// What was being made.
        what: &'static str,
        /// Why.
        why: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRing(why) => write!(
                f,
                "the kernel gives this process no io_uring ({why}); set driver = \"auto\" to do without it, or allow it \
                 (kernel.io_uring_disabled=0, and a container profile that does not forbid it) on Linux 5.11 or newer"
            ),
            Self::NotLoopback { what, address } => write!(
                f,
                "the {what} address {address} can be reached from other computers; use a loopback address, or allow remote \
                 peers in the configuration"
            ),
            Self::Bind { what, address, why } => write!(
                f,
                "cannot listen on the {what} address {address}: {why}; choose another address or stop what uses it"
            ),
            Self::Disk(why) => why.fmt(f),
            Self::Meta(why) => why.fmt(f),
            Self::System { what, why } => {
                write!(f, "cannot make {what}: {why}; look at the limits of this process (ulimit -n, memory)")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// Why a world that ran cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// The driver itself failed; what was in flight has an unknown outcome.
    Ring(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(why) => write!(f, "the kernel's queue of events failed: {why}; start the process again"),
        }
    }
}

impl std::error::Error for Fault {}
