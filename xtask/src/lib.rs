//! The project's own chores.
//!
//! - [`tidy`] reads the tree and names every place that breaks a rule of the house which no compiler knows.
//! - [`ci`] runs every check there is, one stage after the other, and says in one table what held.
//! - [`bench`] measures two revisions in turn, and says whether they differ by more than chance.
//! - [`aws_model`] makes the shapes of the crate `api` out of AWS's public models.
//! - [`torture`] lets a region of real processes suffer, for as long as one likes.
//!
//! It knows the tree as files and processes only: it imports no room of the house.

pub mod aws_model;
pub mod bench;
pub mod ci;
pub mod fuzz;
pub mod mutants;
pub mod tidy;
pub mod torture;

/// Prints a line. When nobody reads any more (`cargo xtask ci --list | head`) that is no reason to stop: the exit status still counts.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
