//! Why a request is not believed, and how that is said in each of the ways in which AWS says it.
//!
//! No text holds a secret or the signature that would have been right; what it repeats of a request is what its sender wrote there,
//! cut short.

use std::fmt;

/// Why a request is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing in it says who sent it.
    NoSignature,
    /// It is signed twice, or in another way, or what says so lacks a part or has one that cannot be read.
    Incomplete {
        /// What is wrong, as a sentence.
        what: &'static str,
    },
    /// Its credential names another region than this.
    WrongRegion {
        /// That region.
        region: String,
    },
    /// Its credential names a service that is not here.
    WrongService {
        /// That service.
        service: String,
    },
    /// The day of its credential is not the day of its time.
    WrongDate {
        /// The day.
        scope: String,
        /// The time.
        timestamp: String,
    },
    /// It was signed too long ago, or is from the future.
    RequestExpired {
        /// When it was signed.
        timestamp: String,
        /// When it came.
        now: String,
    },
    /// Something that could change its meaning is not signed.
    UnsignedHeader {
        /// Which header.
        name: String,
    },
    /// A header that it says is signed is not there.
    AbsentHeader {
        /// Which header.
        name: String,
    },
    /// Its body is not signed, which the service does not allow.
    UnsignedPayload,
    /// Its body is signed in pieces, which nothing here reads.
    StreamingPayload,
    /// Its body is not the one it was signed with.
    WrongPayloadHash,
    /// It has a security token; there are no session credentials here.
    SecurityToken,
    /// Nobody has this access key.
    UnknownKey,
    /// It was signed with another secret, or changed since.
    SignatureMismatch,
}

/// How errors are worded: the operations of one service agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// EC2's own.
    Ec2,
    /// The other Query services: STS, RDS.
    Query,
    /// Those that speak JSON: the direct APIs of EBS.
    Json,
}

/// A refusal as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The error's code.
    pub code: &'static str,
    /// The error's message.
    pub message: String,
}

/// Of what a request said, so many characters are repeated.
const REPEATED_CHARS: usize = 64;

fn cut(text: &str) -> &str {
    text.char_indices().nth(REPEATED_CHARS).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => f.write_str("Request is missing Authentication Token"),
            Self::Incomplete { what } => f.write_str(what),
            Self::WrongRegion { region } => {
                write!(f, "Credential should be scoped to a valid region, not '{}'.", cut(region))
            }
            Self::WrongService { service } => {
                write!(f, "Credential should be scoped to correct service, not '{}'.", cut(service))
            }
            Self::WrongDate { scope, timestamp } => write!(
                f,
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{}'.",
                cut(scope),
                timestamp.get(..8).unwrap_or_default(),
                cut(timestamp)
            ),
            Self::RequestExpired { timestamp, now } => {
                write!(f, "Request has expired: it was signed at {}, and it is {now} now.", cut(timestamp))
            }
            Self::UnsignedHeader { name } => {
                write!(f, "'{}' must be a 'SignedHeader' in the AWS Authorization.", cut(name))
            }
            Self::AbsentHeader { name } => write!(f, "'{}' is a 'SignedHeader' and is not in the request.", cut(name)),
            Self::UnsignedPayload => f.write_str("The request's body must be signed: this service takes no UNSIGNED-PAYLOAD."),
            Self::StreamingPayload => f.write_str("A body that is signed in pieces (STREAMING-*) is not supported."),
            Self::WrongPayloadHash => {
                f.write_str("The provided 'x-amz-content-sha256' header does not match what was computed.")
            }
            Self::SecurityToken | Self::UnknownKey => {
                f.write_str("The security token included in the request is invalid.")
            }
            Self::SignatureMismatch => f.write_str(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
                 Key and signing method. Consult the service documentation for details.",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// How a client of such a service is told.
    pub fn reply(&self, family: Family) -> Reply {
        let (status, code) = match (self, family) {
            (Self::NoSignature, Family::Json) => (403, "MissingAuthenticationTokenException"),
            (Self::NoSignature, _) => (403, "MissingAuthenticationToken"),
            (Self::Incomplete { .. } | Self::UnsignedHeader { .. } | Self::AbsentHeader { .. }, family) => match family
            {
                Family::Json => (403, "IncompleteSignatureException"),
                _ => (400, "IncompleteSignature"),
            },
            // EC2 has its own words for all that follows.
            (Self::UnknownKey | Self::SignatureMismatch, Family::Ec2) => (401, "AuthFailure"),
            (Self::WrongRegion { .. } | Self::WrongService { .. } | Self::WrongDate { .. }, Family::Ec2) => {
                (401, "AuthFailure")
            }
            (Self::RequestExpired { .. }, Family::Json) => (403, "InvalidSignatureException"),
            (Self::RequestExpired { .. }, _) => (400, "RequestExpired"),
            (Self::SecurityToken | Self::UnknownKey, Family::Json) => (403, "UnrecognizedClientException"),
            (Self::SecurityToken | Self::UnknownKey, _) => (403, "InvalidClientTokenId"),
            (_, Family::Json) => (403, "InvalidSignatureException"),
            (_, Family::Ec2 | Family::Query) => (403, "SignatureDoesNotMatch"),
        };
        let message = match (self, family) {
            // Which of the two it was is told to nobody.
            (Self::UnknownKey | Self::SignatureMismatch, Family::Ec2) => {
                "AWS was not able to validate the provided access credentials".into()
            }
            _ => self.to_string(),
        };
        Reply { status, code, message }
    }
}
