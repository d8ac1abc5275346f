//! Who sent a request: AWS Signature Version 4, verified.
//!
//! A request is believed when it is signed with the secret of a known access key, for this region and one of the accepted services,
//! within 15 minutes of the time that is handed in (or within what a presigned one allows itself), over everything that could
//! change its meaning: method, path, query, `host`, every `x-amz-*` header and the body. The secret and the right signature
//! leave this module in no refusal, no debug text and, comparisons being constant in time, by no stopwatch.
//!
//! It refuses to know what a request asks for, and signs nothing. There are no session credentials here: a security token is refused
//! whatever else is right. The spaces of a form (`+`) and `%20` are one and the same in a query, as they must be for whoever
//! reads that query afterwards; a path is verified as [`Paths`] says, so route by what was verified.
//!
//! Source: "Create a signed AWS API request" in AWS' Identity and Access Management guide.

mod canonical;
mod claim;
mod refusal;
#[cfg(test)]
mod suite;
mod time;

pub use canonical::Paths;
pub use refusal::{Family, Refusal, Reply};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use claim::{Claim, Form};
use std::fmt;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const CONTENT_HASH: &str = "x-amz-content-sha256";
const SECURITY_TOKEN: &str = "x-amz-security-token";
const UNSIGNED: &[u8] = b"UNSIGNED-PAYLOAD";
/// How far the time of a request may be from ours, in seconds.
pub const SKEW_S_MAX: u64 = 15 * 60;

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The method, as on the request line.
    pub method: &'a str,
    /// The path, raw.
    pub path: &'a str,
    /// What follows the `?`, raw; empty when there is none.
    pub query: &'a str,
    /// Names and values as received and in that order; names in any case.
    pub headers: &'a [(String, Vec<u8>)],
    /// The body, without transfer coding.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// All values of a header, by its name in lower case.
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }
}

/// A service that requests may be signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// As credentials are scoped to it: `ec2`, `sts`, `ebs`.
    pub name: &'static str,
    /// Whether a body may go unsigned, when its request says so. `ebs` alone needs it: its bodies carry checksums of their own.
    pub unsigned_payload: bool,
    /// How its paths are signed.
    pub paths: Paths,
}

/// What is accepted here.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The region that credentials must be scoped to.
    pub region: &'a str,
    /// The services that they may be scoped to.
    pub services: &'a [Service],
}

/// What belongs to an access key.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Known to us and to the client alone.
    pub secret: &'a str,
    /// Whose key it is.
    pub account: &'a str,
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Who sent a request, and for what it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The access key it was signed with.
    pub access_key_id: String,
    /// Whose key that is.
    pub account: String,
    /// The service it was signed for.
    pub service: &'static str,
    /// The region it was signed for: the one of the [`Rules`].
    pub region: String,
}

/// Verifies a request at a time in seconds since 1970. Costs one pass over the body and a sort of the query.
pub fn verify<'k>(
    signed: &Signed<'_>,
    rules: &Rules<'_>,
    key_of: impl FnOnce(&str) -> Option<Key<'k>>,
    now_s: u64,
) -> Result<Verified, Refusal> {
    let claim = Claim::read(signed)?;
    let service = in_scope(&claim, rules)?;
    in_time(&claim, now_s)?;
    if claim.token || signed.values(SECURITY_TOKEN).next().is_some() {
        return Err(Refusal::SecurityToken);
    }
    all_signed(&claim, signed)?;
    let payload = payload(signed, service)?;
    let key = key_of(&claim.access_key_id).ok_or(Refusal::UnknownKey)?;
    let expected = signature(&claim, key.secret, &canonical::request(signed, &claim, service.paths, &payload));
    verify_slices_are_equal(expected.as_bytes(), claim.signature.as_bytes()).map_err(|_| Refusal::SignatureMismatch)?;
    Ok(Verified {
        access_key_id: claim.access_key_id,
        account: key.account.into(),
        service: service.name,
        region: claim.region,
    })
}

/// The service that a request says it is signed for, which nothing vouches for: to choose the [`Family`] of a refusal's text by.
pub fn claimed_service(signed: &Signed<'_>) -> Option<String> {
    Claim::read(signed).ok().map(|claim| claim.service)
}

fn in_scope(claim: &Claim, rules: &Rules<'_>) -> Result<Service, Refusal> {
    if claim.region != rules.region {
        return Err(Refusal::WrongRegion { region: claim.region.clone() });
    }
    let service = rules.services.iter().find(|service| service.name == claim.service);
    let service = service.copied().ok_or_else(|| Refusal::WrongService { service: claim.service.clone() })?;
    if claim.timestamp.get(..8) != Some(&claim.date) {
        return Err(Refusal::WrongDate { scope: claim.date.clone(), timestamp: claim.timestamp.clone() });
    }
    Ok(service)
}

fn in_time(claim: &Claim, now_s: u64) -> Result<(), Refusal> {
    let begins = claim.signed_at_s.saturating_sub(SKEW_S_MAX);
    let ends = match claim.form {
        Form::Header => claim.signed_at_s.saturating_add(SKEW_S_MAX),
        Form::Query { expires_s } => claim.signed_at_s.saturating_add(expires_s),
    };
    let refused = || Refusal::RequestExpired { timestamp: claim.timestamp.clone(), now: time::text(now_s) };
    if (begins..=ends).contains(&now_s) { Ok(()) } else { Err(refused()) }
}

/// What could change a request's meaning on its way must be under the signature.
fn all_signed(claim: &Claim, signed: &Signed<'_>) -> Result<(), Refusal> {
    let has = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    if !has("host") {
        return Err(Refusal::UnsignedHeader { name: "host".into() });
    }
    for (name, _) in signed.headers {
        let name = name.to_ascii_lowercase();
        if name.starts_with("x-amz-") && !has(&name) {
            return Err(Refusal::UnsignedHeader { name });
        }
    }
    match claim.signed_headers.iter().find(|name| signed.values(name).next().is_none()) {
        Some(absent) => Err(Refusal::AbsentHeader { name: absent.clone() }),
        None => Ok(()),
    }
}

/// The word that stands for the body in what is signed.
fn payload(signed: &Signed<'_>, service: Service) -> Result<String, Refusal> {
    let mut given = signed.values(CONTENT_HASH);
    let stated = given.next().map(<[u8]>::trim_ascii);
    if given.next().is_some() {
        return Err(Refusal::Incomplete { what: "the 'x-amz-content-sha256' header is given more than once." });
    }
    match stated {
        Some(UNSIGNED) if service.unsigned_payload => return Ok("UNSIGNED-PAYLOAD".into()),
        Some(UNSIGNED) => return Err(Refusal::UnsignedPayload),
        Some(stated) if stated.starts_with(b"STREAMING-") => return Err(Refusal::StreamingPayload),
        _ => {}
    }
    let hash = hex(digest::digest(&digest::SHA256, signed.body).as_ref());
    match stated {
        // Both are known to whoever sent the request; nothing here is worth a constant time.
        Some(stated) if stated != hash.as_bytes() => Err(Refusal::WrongPayloadHash),
        _ => Ok(hash),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn string_to_sign(claim: &Claim, canonical: &[u8]) -> String {
    let Claim { timestamp, date, region, service, .. } = claim;
    let hash = hex(digest::digest(&digest::SHA256, canonical).as_ref());
    format!("{ALGORITHM}\n{timestamp}\n{date}/{region}/{service}/{TERMINATOR}\n{hash}")
}

/// The signature that a request has if it was signed with this secret.
fn signature(claim: &Claim, secret: &str, canonical: &[u8]) -> String {
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut key = sign(format!("AWS4{secret}").as_bytes(), &claim.date);
    for part in [&claim.region, &claim.service, TERMINATOR] {
        key = sign(key.as_ref(), part);
    }
    hex(sign(key.as_ref(), &string_to_sign(claim, canonical)).as_ref())
}
