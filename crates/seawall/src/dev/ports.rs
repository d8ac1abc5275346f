//! Ports on this machine for the processes of a region: in rows, so that people find them, and never one that another process of the folder has, which need not run now.

use super::folder::loopback;
use crate::refusal::{Code, Refusal};
use base::Rng;
use std::collections::BTreeSet;
use std::net::TcpListener;

/// Those that processes of the folder have.
#[derive(Debug)]
pub struct Ports {
    taken: BTreeSet<u16>,
    region: Option<u16>,
    /// Whether whoever made the folder chose the first: then the next are taken as they come, whoever has them now.
    chosen: bool,
}

impl Ports {
    /// None so far.
    pub fn new(chosen: bool) -> Self {
        Self { taken: BTreeSet::new(), region: None, chosen }
    }

    /// The region's process has this one.
    pub fn take_region(&mut self, port: u16) {
        self.region = Some(port);
        self.take(port);
    }

    /// That of the region's process.
    pub fn region(&self) -> Option<u16> {
        self.region
    }

    /// A process has this one.
    pub fn take(&mut self, port: u16) {
        self.taken.insert(port);
    }

    /// The highest of all.
    pub fn highest(&self) -> Option<u16> {
        self.taken.last().copied()
    }

    /// Whether a process of the folder has it.
    pub fn has(&self, port: u16) -> bool {
        self.taken.contains(&port)
    }

    /// `count` in a row behind `port`, or elsewhere where somebody has one of these.
    pub fn behind(&self, port: u16, count: u16, rng: &mut Rng) -> Result<u16, Refusal> {
        let last = port.checked_add(count).ok_or_else(no_ports)?;
        let mut row = port + 1..=last;
        if row.all(|port| !self.has(port) && (self.chosen || is_free(port))) {
            return Ok(port + 1);
        }
        self.free(count, rng)
    }

    /// The first of `count` in a row that nobody listens on. Below the range from which the kernel takes ports for
    /// outgoing connections (32768 and up by default): a port of a node that is down must not be lent to a client meanwhile,
    /// and a connection to it must not meet itself.
    pub fn free(&self, count: u16, rng: &mut Rng) -> Result<u16, Refusal> {
        (0..200)
            .map(|_| rng.within(20_000, 32_000 - u64::from(count)) as u16)
            .find(|first| (*first..*first + count).all(|port| !self.has(port) && is_free(port)))
            .ok_or_else(no_ports)
    }
}

/// There are none.
pub fn no_ports() -> Refusal {
    Refusal::new(Code::Folder, "no free ports in a row were found on 127.0.0.1; choose the first one with --port")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}
