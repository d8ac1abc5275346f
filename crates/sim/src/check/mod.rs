//! The judges, one property a file, each citing the invariant it stands for. They see what clients saw and what machines said to
//! each other, and never look into a machine.

pub mod commits;
pub mod convergence;
pub mod durability;
pub mod epochs;
pub mod generations;
pub mod linear;
pub mod promises;
pub mod replicas;
pub mod retries;
pub mod serving;
