//! The one operation of STS that is served: who am I.
//!
//! Everything but this page is generated from AWS's model (`cargo xtask aws-model`).

mod answers;
mod names;
mod operations;
mod requests;

pub use answers::*;
pub use names::NAMES;
pub use operations::{Request, SERVICE};
pub use requests::*;
