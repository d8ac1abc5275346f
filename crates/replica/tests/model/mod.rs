//! An exhaustive exploration of the protocol: the replicas are the real ones; disk, network, authority and hosts are as free as their contracts leave them. Every
//! order of everything that may happen is gone through, once for each state that it leads to, and what must hold is looked at after each step.
//!
//! **What is free.** When a message arrives, which appends are durable, what of the others a crash keeps, when a link breaks and is open again, what configuration
//! the authority gives next, asked or not, when anybody hears of it, when a time-out ends, when a host writes, reads and sends again.
//!
//! **What is bounded**, by a [`setup::Setup`]: nodes, epochs, writes, reads, crashes, breaks, learners, releases. Within its bounds a search is complete.
//!
//! **Time is erased.** Whatever waits for a time-out may go on at once and need not. Leases and fences are the exception, since they are rules about
//! time: the world has moments, each later than the one before by more than a fence lasts, and within one nothing takes any time. A keepalive is answered
//! in the moment in which it was asked, by a peer that has nothing on its way to who asks: what it had said before must arrive first. With one host and so one generation
//! no moment ever ends, so that every lease holds: reads are then right without it.
//!
//! **What is not here**: rot, frozen points, trims, room (all of them have their own tests), and more than one message in a turn.

// Each binary uses a part of this.
#![allow(dead_code)]

pub mod authority;
pub mod checks;
pub mod choices;
pub mod disk;
pub mod drawn;
pub mod fold;
pub mod host;
pub mod links;
pub mod local;
pub mod scenes;
pub mod search;
pub mod setup;
pub mod world;
