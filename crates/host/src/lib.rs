//! The data path of attached volumes, and the agent that attaches them: one [`Machine`](base::io::Machine) per host.
//!
//! ```text
//!   front end --Request--> Host --Write, Read, Trim--> primary of each shard        Host --HostRegister, HostReport--> zone
//!             <---Reply---      <---Done, Refused-----                                   <---Attached, Configure------
//! ```
//!
//! It promises:
//! - An I/O waits while its shard has no primary that serves, and is never failed by a fail-over (R15). It is sent again, under
//!   the new epoch, to whoever leads then, and an answer of another epoch is dropped (I8).
//! - Two overlapping writes or trims of a volume are never outstanding at once; the later one waits for the earlier. That is
//!   what makes sending again harmless. Partial blocks are merged under the same lock, so that nodes see whole blocks only.
//! - A [`Op::Flush`] needs no message: what has been answered is already durable on every member of its shard. It is answered
//!   when every write and trim of its volume that was submitted before it has been.
//! - Each volume has bounds of its own, so a volume that is stuck takes no room from one that is not (R41).
//! - A volume does no more than its throttle says. What waits for that passes in the order it came, is never failed for it, and is
//!   reported as throttled, apart from what is stuck.
//!
//! It refuses to know who its front ends are, how replicas agree, and where truth about configuration lives: it believes the
//! newest epoch that anybody shows it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod fills;
mod flight;
mod gate;
mod machine;
mod news;
mod nodes;
mod order;
mod request;
mod shard;
mod stuck;
mod timers;
mod volume;

pub use machine::Host;
pub use news::{Closed, News};
pub use request::{Busy, Export, Op, Policy, Refusal, Reply, Request, Setup};
pub use stuck::Stuck;
