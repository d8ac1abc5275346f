//! What a guest or a kernel speaks, turned into requests of a host. One module for each protocol; each is bytes in and bytes out,
//! and knows no socket: the binary joins it to the streams of the runtime, the simulator to invented ones.
//!
//! It refuses to know how volumes are split, replicated or attached: it asks a [`host::Host`] and passes on what it answers.
#![forbid(unsafe_code)]

pub mod nbd;
