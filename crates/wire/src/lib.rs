//! Every message between machines, and its bytes.
//!
//! [`message`] has the messages, one table of them all, each with who sends it, when, and what answers it; [`frame`] has the header that stands before
//! each on a connection; [`keepalive`] decides when a peer is heard and when it is silent; [`share`] has what the replication network takes. The hello and the proof of the
//! zone's key are the runtime's (they need secrets); their frames' kinds are reserved here.
//!
//! Payload blocks never pass through the codec: a frame carries them beside its head.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod control;
pub mod frame;
pub mod keepalive;
pub mod message;
pub mod points;
pub mod share;
pub mod survey;

pub use message::*;

/// The version of everything here. A peer of another version is refused by name in the hello.
pub const VERSION: u16 = 1;
