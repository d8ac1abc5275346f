//! EC2's slice of shapes and operations.
//!
//! Everything but this page is generated from AWS's model (`cargo xtask aws-model`); which operations are in it is said there.

mod answers;
mod instances;
mod names;
mod operations;
mod requests;
pub mod values;

pub use answers::*;
pub use instances::*;
pub use names::NAMES;
pub use operations::{Request, SERVICE};
pub use requests::*;
