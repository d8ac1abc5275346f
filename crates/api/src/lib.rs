//! AWS's words, and the only room that knows them: requests as bytes become typed values, typed answers and errors become bytes.
//!
//! A request is read in two steps, since authorisation stands between them: [`query::Query::parse`] takes a body apart, and
//! [`ec2::Request::read`] or [`sts::Request::read`] makes it a typed request. An answer is one call: [`xml::answer`], or [`xml::error`].
//! What the services' shapes look like is generated from AWS's public models by `cargo xtask aws-model`; nothing of it is typed by hand.
//!
//! It opens no socket, reads no clock and no file. It decides nothing either: what a request *means* is the business of who handles it.
#![forbid(unsafe_code)]

pub mod code;
pub mod ec2;
pub mod error;
pub mod query;
pub mod shape;
pub mod sts;
pub mod timestamp;
pub mod xml;

pub use code::Code;
pub use error::ApiError;
pub use shape::{Operation, Protocol, Service};
pub use timestamp::Timestamp;
