//! AWS's words, and the only room that knows them: requests as bytes become typed values, typed answers and errors become bytes.
//!
//! A request is read in two steps, since authorisation stands between them: [`query::Query::parse`] takes a body apart, and
//! [`ec2::Request::read`] or [`sts::Request::read`] makes it a typed request. An answer is one call: [`xml::answer`], or [`xml::error`].
//! What the services' shapes look like is generated from AWS's public models by `cargo xtask aws-model`; nothing of it is typed by hand.
//!
//! ```
//! use api::{ApiError, ec2, query::Query, xml};
//!
//! fn answer(body: &[u8], id: &str) -> Result<String, ApiError> {
//!     match ec2::Request::read(Query::parse(body)?)? {
//!         request if request.is_dry_run() => Err(ApiError::dry_run()),
//!         ec2::Request::CreateVolume(ec2::CreateVolumeRequest { size: Some(size), .. }) => {
//!             let volume = ec2::Volume { size: Some(size), state: Some("creating".into()), ..Default::default() };
//!             Ok(xml::answer::<ec2::CreateVolumeRequest>(&volume, id))
//!         }
//!         ec2::Request::CreateVolume(_) => Err(ApiError::missing_parameter("size/snapshot")),
//!         other => Err(ApiError::unsupported_operation(other.name())),
//!     }
//! }
//!
//! let text = answer(b"Action=CreateVolume&Version=2016-11-15&Size=8", "r-1").unwrap();
//! assert!(text.contains("<size>8</size><status>creating</status>"));
//! let error = answer(b"Action=CreateVolume&Version=2016-11-15&Sise=8", "r-1").unwrap_err();
//! assert_eq!(error.code.status(), 400);
//! assert!(xml::error(ec2::SERVICE.protocol, &error, "r-1").contains("<Message>The parameter Sise is not recognized</Message>"));
//! ```
//!
//! It opens no socket, reads no clock and no file. What an operation means is the business of the region; [`serve`] says it to it, for those whom [`front`] knows, and [`telemetry`]
//! counts how that went.
#![forbid(unsafe_code)]

pub mod code;
pub mod ec2;
pub mod error;
pub mod front;
pub mod query;
pub mod serve;
pub mod shape;
pub mod sigv4;
pub mod sts;
pub mod telemetry;
pub mod timestamp;
pub mod xml;

pub use code::Code;
pub use error::ApiError;
pub use shape::{Operation, Protocol, Service};
pub use timestamp::Timestamp;

/// A number that differs when any of these bytes does, as far as anybody can tell.
fn digest(bytes: &[u8]) -> u128 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    u128::from_le_bytes(digest.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes"))
}
