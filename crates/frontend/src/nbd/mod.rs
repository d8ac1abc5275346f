//! NBD, the network block device protocol, as its specification (github.com/NetworkBlockDevice/nbd, doc/proto.md) has it: fixed newstyle
//! negotiation, simple and structured replies, extended headers, and the metadata context `base:allocation`. No TLS yet.
//!
//! - [`Session`] is one connection: bytes in, requests and bytes out.
//! - [`Server`] is all connections of one host.
//! - [`client`] is the other end, blocking, for tests, demonstrations and measurements.
//!
//! An export is a volume that is open at the host; its name is the volume's id. Several connections may be open to one
//! export: what is acknowledged is durable on every member, so a flush on any of them covers all that was answered on the others.

mod agreed;
pub mod client;
mod contexts;
mod negotiation;
mod output;
mod policy;
mod protocol;
mod reply;
mod request;
mod server;
mod session;
mod status;

pub use output::Output;
pub use policy::Policy;
pub use protocol::Errno;
pub use server::{Act, Server, Volumes};
pub use session::{Exports, Session, Status};

/// Bytes of the longest read or write that is taken, as announced to clients.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
