//! The log-structured store of one disk.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod geometry;
mod policy;
mod refusal;
mod store;

pub use geometry::Geometry;
pub use policy::Policy;
pub use refusal::OpenRefusal;
pub use store::{Blank, Identity, Phase, Space, Store};
