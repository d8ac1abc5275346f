//! The judges, one property a file, each citing the invariant or requirement it stands for. They see what clients saw and what machines said to each other. Only what
//! nobody says is looked at within machines, and there nothing but what they show of themselves: what they hold, and how full they are (`bounds`, `space`, and of `releases`
//! and `tokens` a part).

pub mod bounds;
pub mod commits;
pub mod convergence;
pub mod durability;
pub mod epochs;
pub mod generations;
pub mod linear;
pub mod promises;
pub mod releases;
pub mod replicas;
pub mod retries;
pub mod serving;
pub mod space;
pub mod tokens;
