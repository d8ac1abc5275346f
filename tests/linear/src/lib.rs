//! Is the checker of linearizability right? Its verdicts are compared with those of another, which somebody else wrote: see `tests/verdicts.rs`.
//!
//! The checker is taken as it stands in the simulator, and nothing else of that, so that this is built in a minute.

#[path = "../../../crates/sim/src/clock.rs"]
pub mod clock;
#[path = "../../../crates/sim/src/check/linear.rs"]
pub mod linear;
