//! The suites that every backend of a seam must pass.

pub mod disk;
pub mod meta;
