//! The invented world: one thread, an event heap, one seed.
//!
//! Everything that a machine meets in production is here and worse: clocks that drift, networks that hold, reset and
//! damage, disks that end late and tear, metadata whose reply is lost. The machines are the real ones, and cannot tell.
//!
//! - [`world`] is the world, [`net`], [`disk`], [`meta`] and [`clock`] its parts; it knows no machine.
//! - [`cluster`] puts one zone of real machines into it; [`shape`], [`workload`], [`script`] and [`faults`] are what a seed
//!   makes of it.
//! - [`nbd`] are clients that speak it to their hosts, in a part of the worlds; [`front`] is such a host.
//! - [`inspect`] reads the disk of a dead node by itself.
//! - [`coverage`] counts which faults struck whom in which state.
//! - [`shrink`] finds what of a world a failure needs, and `story` tells it.
//! - [`run`] lets it happen, the judges of [`check`] say whether it was right, [`report`] says it to people.
//!
//! It reads no clock, draws no entropy and starts no thread: a seed is a run, to the byte.
#![forbid(unsafe_code)]

mod census;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod coverage;
mod deeds;
mod desk;
pub mod disk;
pub mod failing;
mod faults;
pub mod front;
pub mod heap;
pub mod history;
pub mod inspect;
pub mod listener;
pub mod meta;
pub mod nbd;
pub mod net;
pub mod operator;
pub mod report;
pub mod rot;
pub mod run;
pub mod scenario;
pub mod script;
pub mod shape;
pub mod shrink;
mod story;
pub mod trace;
mod usage;
mod watch;
pub mod workload;
pub mod world;

/// The names of all kinds of fault.
pub fn fault_classes() -> impl Iterator<Item = &'static str> {
    faults::CLASSES.iter().map(|(_, name)| *name)
}

pub use report::{Failure, Judged, Options, Report, Tally, judge_seed, main_seeds, run_seed};
pub use story::story;
