//! The real world for a machine: the clock, entropy, sockets, files and metadata, over io_uring or epoll, and the loop that joins them.
//!
//! A machine ([`base::io::Machine`]) or an [`Application`] around one is stepped by a [`World`] on one thread. Each turn of the
//! loop takes all completions there are, steps the application once, carries out what it asked, and enters the kernel
//! once: many answers in, one submission out.
//!
//! It knows frames by their length and kind only. It never learns what a message means, what a shard is or what a
//! segment holds: what it decides for itself is when to connect again and when a peer is silent.
#![deny(unsafe_code)]

pub mod client;
pub mod clock;
pub mod counters;
pub mod disk;
mod error;
pub mod handover;
pub mod http;
mod key;
pub mod log;
pub mod meta;
pub mod session;
pub mod stream;

mod arena;
mod incoming;
mod net;
mod os;
mod outgoing;
mod ring;
mod streams;
mod turn;
mod world;

pub use clock::{entropy_u64, entropy_u128, monotonic};
pub use counters::Counters;
pub use error::{Fault, StartError};
pub use key::{BadKey, ZoneKey};
pub use net::Cluster;
pub use os::Waker;
pub use ring::{Driver, NoSuchDriver};
pub use world::{Addresses, Application, Bare, Exit, Next, Setup, World};
