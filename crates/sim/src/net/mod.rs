//! Invented networks: what lies between processes, and the connections across it.
//!
//! - [`weather`] says how long a packet takes and whether it passes at all.
//! - [`conn`] is one connection: two ordered pipes of packets, as TCP gives them.
//! - [`endpoint`] is what one process knows below `base::io`: who is where, which links are open, who is watched.
//! - [`watching`] is whom it watches.
//! - `paths` says which network the links to a peer ride, and pings both.
//! - `prompt` answers pings of an idle world at once.
//! - `traffic` joins them to the world: it opens, carries, answers keepalives and closes.

pub mod conn;
pub mod endpoint;
mod paths;
mod prompt;
mod traffic;
pub mod watching;
pub mod weather;

use crate::world::Pid;
use base::io::net::{ClassBytes, Network};
use base::map::Map;
use base::mutant::Mutation;
use conn::{Conn, ConnId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use weather::Weather;

/// All connections and all weather.
pub struct Net {
    /// Who listens where.
    pub(crate) listeners: BTreeMap<SocketAddr, (Pid, Network)>,
    pub(crate) conns: Map<ConnId, Conn>,
    pub(crate) next_conn: u64,
    /// What the packets meet.
    pub weather: Weather,
    /// Bytes of frames that were sent.
    pub sent: ClassBytes,
    /// Frames that were damaged on their way, each noticed by its checksum.
    pub damaged: u64,
    /// What is wrong with it on purpose.
    pub mutation: Mutation,
    /// Whether pings are answered at once where nothing is under way.
    pub prompt: bool,
    pub(crate) rng: base::Rng,
}

impl Net {
    /// Nobody is there, and the weather is fair.
    pub fn new(rng: &base::Rng) -> Self {
        Self {
            listeners: BTreeMap::new(),
            conns: Map::default(),
            next_conn: 0,
            weather: Weather::new(rng.split("weather")),
            sent: ClassBytes::default(),
            damaged: 0,
            mutation: Mutation::NONE,
            prompt: false,
            rng: rng.split("net"),
        }
    }

    /// Connections between two, in whichever direction they were opened.
    pub fn between(&self, a: Pid, b: Pid) -> Vec<ConnId> {
        let joins = |conn: &Conn| conn.ends.iter().any(|e| e.pid == a) && conn.ends.iter().any(|e| e.pid == b);
        self.those(joins)
    }

    /// Connections with both ends open.
    pub fn live(&self) -> Vec<ConnId> {
        self.those(|conn| conn.ends.iter().all(|end| end.open))
    }

    /// Connections of some kind, the oldest first.
    pub(crate) fn those(&self, kind: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| kind(conn)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
