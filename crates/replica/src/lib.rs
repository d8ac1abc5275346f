#![no_std]
#![forbid(unsafe_code)]
//! Being built.
extern crate alloc;
