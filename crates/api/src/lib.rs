//! What clients of the region's API speak: bytes in, typed requests and refusals out.
//!
//! It refuses to know sockets, clocks and files: time is handed in, and whoever has a connection gives it what came.
#![forbid(unsafe_code)]

pub mod sigv4;
