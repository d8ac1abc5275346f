//! What a request says about its signature, in its `Authorization` header or in its query: read, bounded, and believed by nobody yet.
//!
//! A claim that could be read in two ways is refused: signed twice, a part given twice, headers not in order.

use super::canonical::{decoded, pairs};
use super::refusal::Refusal;
use super::{ALGORITHM, Signed, TERMINATOR, time};

/// The parameter of a query that is not itself signed.
pub const SIGNATURE: &str = "X-Amz-Signature";
const TIMESTAMP: &str = "x-amz-date";
/// Names of signed headers; no client comes near.
const SIGNED_HEADERS_MAX: usize = 64;
/// Bytes of a header or query that says all this. A name of a key, a scope, 64 names and a signature are half of it.
const CLAIM_BYTES_MAX: usize = 8 << 10;
/// A presigned request may be good for a week.
const EXPIRES_S_MAX: u64 = 604_800;

/// Where a claim stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query, and good for so many seconds.
    Query {
        /// From 1 to a week.
        expires_s: u64,
    },
}

/// What a request says about its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where it says so.
    pub form: Form,
    /// Whose it is.
    pub access_key_id: String,
    /// The day of its scope.
    pub date: String,
    /// The region of its scope.
    pub region: String,
    /// The service of its scope.
    pub service: String,
    /// In lower case, in ascending order, each once.
    pub signed_headers: Vec<String>,
    /// As it is written.
    pub signature: String,
    /// When it was signed, as it is written.
    pub timestamp: String,
    /// The same in seconds since 1970.
    pub signed_at_s: u64,
    /// Whether a security token comes with it in the query.
    pub token: bool,
}

fn incomplete(what: &'static str) -> Refusal {
    Refusal::Incomplete { what }
}

/// Puts a part where none was.
fn once<'a>(into: &mut Option<&'a str>, value: &'a str) -> Result<(), Refusal> {
    match into.replace(value) {
        None => Ok(()),
        Some(_) => Err(incomplete("A part of the signature is given more than once.")),
    }
}

impl Claim {
    /// Reads it from wherever it stands.
    pub fn read(signed: &Signed<'_>) -> Result<Self, Refusal> {
        let mut headers = signed.values("authorization");
        let in_query = pairs(signed.query).any(|(name, _)| decoded(name) == b"X-Amz-Algorithm");
        match (headers.next(), in_query) {
            (None, false) => Err(Refusal::NoSignature),
            (None, true) => Self::of_query(signed),
            (Some(_), true) => {
                Err(incomplete("A request is signed in its Authorization header or in its query, not in both."))
            }
            (Some(_), false) if headers.next().is_some() => {
                Err(incomplete("The Authorization header is given more than once."))
            }
            (Some(header), false) => Self::of_header(header, signed),
        }
    }

    fn of_header(header: &[u8], signed: &Signed<'_>) -> Result<Self, Refusal> {
        let header = text(header)?.trim();
        let rest = match header.split_once(' ') {
            Some((ALGORITHM, rest)) => rest,
            _ => {
                return Err(incomplete(
                    "Unsupported signature: the Authorization header must begin with AWS4-HMAC-SHA256.",
                ));
            }
        };
        let [mut credential, mut names, mut signature] = [None; 3];
        for part in rest.split(',').map(str::trim) {
            match part.split_once('=') {
                Some(("Credential", value)) => once(&mut credential, value)?,
                Some(("SignedHeaders", value)) => once(&mut names, value)?,
                Some(("Signature", value)) => once(&mut signature, value)?,
                _ => {
                    return Err(incomplete(
                        "The Authorization header has a part that is not a key=value pair of a signature.",
                    ));
                }
            }
        }
        let credential = credential.ok_or(incomplete("Authorization header requires 'Credential' parameter."))?;
        let names = names.ok_or(incomplete("Authorization header requires 'SignedHeaders' parameter."))?;
        let signature = signature.ok_or(incomplete("Authorization header requires 'Signature' parameter."))?;
        let mut times = signed.values(TIMESTAMP);
        let timestamp =
            times.next().ok_or(incomplete("Authorization header requires existence of a 'X-Amz-Date' header."))?;
        if times.next().is_some() {
            return Err(incomplete("The 'X-Amz-Date' header is given more than once."));
        }
        Self::new(Form::Header, credential, names, signature, text(timestamp)?.trim())
    }

    fn of_query(signed: &Signed<'_>) -> Result<Self, Refusal> {
        let mut found = Vec::new();
        for (name, value) in pairs(signed.query) {
            let name = decoded(name);
            if name.starts_with(b"X-Amz-") {
                found.push((name, decoded(value)));
            }
        }
        let [mut algorithm, mut credential, mut names, mut signature, mut timestamp, mut expires, mut token] =
            [None; 7];
        for (name, value) in &found {
            let value = text(value)?;
            match name.as_slice() {
                b"X-Amz-Algorithm" => once(&mut algorithm, value)?,
                b"X-Amz-Credential" => once(&mut credential, value)?,
                b"X-Amz-SignedHeaders" => once(&mut names, value)?,
                b"X-Amz-Signature" => once(&mut signature, value)?,
                b"X-Amz-Date" => once(&mut timestamp, value)?,
                b"X-Amz-Expires" => once(&mut expires, value)?,
                b"X-Amz-Security-Token" => once(&mut token, value)?,
                // A parameter of the operation, signed like any other.
                _ => {}
            }
        }
        if algorithm != Some(ALGORITHM) {
            return Err(incomplete("Unsupported signature: X-Amz-Algorithm must be AWS4-HMAC-SHA256."));
        }
        let credential =
            credential.ok_or(incomplete("AWS query-string parameters must include 'X-Amz-Credential'."))?;
        let names = names.ok_or(incomplete("AWS query-string parameters must include 'X-Amz-SignedHeaders'."))?;
        let signature = signature.ok_or(incomplete("AWS query-string parameters must include 'X-Amz-Signature'."))?;
        let timestamp = timestamp.ok_or(incomplete("AWS query-string parameters must include 'X-Amz-Date'."))?;
        let expires = expires.ok_or(incomplete("AWS query-string parameters must include 'X-Amz-Expires'."))?;
        let expires_s =
            Some(expires).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
        let expires_s = expires_s.filter(|s| (1..=EXPIRES_S_MAX).contains(s));
        let expires_s = expires_s.ok_or(incomplete("X-Amz-Expires must be a number of seconds from 1 to 604800."))?;
        let form = Form::Query { expires_s };
        Ok(Self { token: token.is_some(), ..Self::new(form, credential, names, signature, timestamp)? })
    }

    fn new(form: Form, credential: &str, names: &str, signature: &str, timestamp: &str) -> Result<Self, Refusal> {
        let parts: Vec<_> = credential.splitn(6, '/').collect();
        let [access_key_id, date, region, service, TERMINATOR] = parts[..] else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request.",
            ));
        };
        let signed_at_s =
            time::seconds(timestamp).ok_or(incomplete("X-Amz-Date must be in ISO-8601 'basic format'."))?;
        let signed_headers: Vec<_> = names.splitn(SIGNED_HEADERS_MAX + 1, ';').map(String::from).collect();
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b':')
        };
        if signed_headers.len() > SIGNED_HEADERS_MAX || !signed_headers.iter().all(is_name) {
            return Err(incomplete(
                "SignedHeaders must be names of headers in lower case, 64 at most, with ';' between them.",
            ));
        }
        if !signed_headers.is_sorted_by(|a, b| a < b) {
            return Err(incomplete("SignedHeaders must be in ascending order, each name once."));
        }
        Ok(Self {
            form,
            access_key_id: access_key_id.into(),
            date: date.into(),
            region: region.into(),
            service: service.into(),
            signed_headers,
            signature: signature.into(),
            timestamp: timestamp.into(),
            signed_at_s,
            token: false,
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= CLAIM_BYTES_MAX);
    text.ok_or(incomplete("A part of the signature is no text, or is longer than 8192 bytes."))
}
