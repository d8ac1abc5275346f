//! What a seed makes of a world whose clients speak NBD: how bytes are cut and delayed, and how little the server may keep.

use base::Rng;
use frontend::nbd::{Policy, Server};

/// See the page above.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Connections of one client at a time, beside those that it takes its leave of.
    pub connections: u64,
    /// Microseconds that bytes take between two programs of one computer, at most.
    pub hop_us: u64,
    /// Bytes that the server receives at once, at most.
    pub piece_bytes: usize,
    /// Bytes that the kernel keeps of what a client has not read.
    pub kernel_bytes: usize,
    /// Clients take milliseconds to read a little.
    pub reads_slowly: bool,
    /// Whether whoever drives the server gathers what is large.
    pub gathers: bool,
    /// The limits of the server.
    pub server: Policy,
    /// Requests of one volume in flight at the host.
    pub requests_max: usize,
}

impl Manner {
    /// A third of the worlds have one.
    pub fn draw(rng: &mut Rng) -> Option<Self> {
        let share_bytes = *rng.pick(&[16 << 10, 256 << 10]).expect("not empty");
        let server = Policy {
            requests_max: *rng.pick(&[1, 3, 16, 256]).expect("not empty"),
            session_bytes_max: *rng.pick(&[share_bytes, 64 << 20]).expect("not empty"),
            share_bytes,
            // Less than one request takes; more than that, and little else; or as in production.
            bytes_max: *rng
                .pick(&[64 << 10, (520 << 10) + 30 * told_bytes(share_bytes), 768 << 20])
                .expect("not empty"),
            gathered_bytes_min: *rng.pick(&[1, 512, 16 << 10]).expect("not empty"),
            ..Policy::default()
        };
        let manner = Self {
            connections: rng.within(1, 4),
            hop_us: 1 << rng.below(8),
            piece_bytes: *rng.pick(&[256, 3000, 16 << 10, 256 << 10]).expect("not empty"),
            kernel_bytes: *rng.pick(&[2 << 10, 16 << 10, 208 << 10]).expect("not empty"),
            reads_slowly: rng.chance(1, 4),
            gathers: rng.chance(3, 4),
            server,
            requests_max: *rng.pick(&[2, 8, 1024]).expect("not empty"),
        };
        rng.chance(1, 3).then_some(manner)
    }

    /// Bytes on their way out of which the server is told at once; of fewer it hears with the next step, as in production.
    pub fn told_bytes(&self) -> u64 {
        told_bytes(self.server.share_bytes)
    }

    /// A server for one host.
    pub fn server(&self) -> Server {
        let server = if self.gathers { Server::gathered() } else { Server::new() };
        server.with(self.server)
    }
}

fn told_bytes(share_bytes: u64) -> u64 {
    share_bytes / 4
}
