//! Every test of worlds once more, over epoll: the crate's name is how the rig knows (`rig::DRIVER`).

// Each file brings its own rig, as it does where it is a binary of its own.
#![allow(clippy::duplicate_mod)]

#[path = "keepalives.rs"]
mod keepalives;
#[path = "kill.rs"]
mod kill;
#[path = "links.rs"]
mod links;
#[path = "networks.rs"]
mod networks;
#[path = "process.rs"]
mod process;
#[path = "storage.rs"]
mod storage;
#[path = "streams.rs"]
mod streams;
#[path = "twins.rs"]
mod twins;
#[path = "zones.rs"]
mod zones;
