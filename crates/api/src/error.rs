//! What is answered instead of an answer: a code of the table, and a message.
//!
//! Messages are API: clients take numbers and ids out of them by regular expressions. Those which are known to be read are built by the
//! functions here, so that nobody has to remember how they are worded.

use crate::code::Code;
use std::fmt;

/// A refusal or a failure, as a client gets to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Which.
    pub code: Code,
    /// Why, for a person; some clients read it too.
    pub message: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.wire(), self.message)
    }
}

impl std::error::Error for ApiError {}

/// Bytes of what a client sent that a message repeats: enough to recognise it.
const ECHO_BYTES_MAX: usize = 128;

/// The beginning of a text, for a message.
pub(crate) fn echo(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES_MAX)]
}

/// Ids as messages list them: `vol-1, vol-2`.
fn list<S: AsRef<str>>(ids: &[S]) -> String {
    ids.iter().map(|id| echo(id.as_ref())).collect::<Vec<_>>().join(", ")
}

/// About one thing or several: `volume 'vol-1' does not exist`, `volumes 'vol-1, vol-2' do not exist`.
fn absent<S: AsRef<str>>(code: Code, one: &str, many: &str, ids: &[S]) -> ApiError {
    let (what, verb) = if ids.len() == 1 { (one, "does") } else { (many, "do") };
    ApiError::new(code, format!("The {what} '{}' {verb} not exist.", list(ids)))
}

impl ApiError {
    /// A code with a message of one's own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    // The request.

    /// A compulsory parameter is not there. One of several is written `size/snapshot`.
    pub fn missing_parameter(name: impl fmt::Display) -> Self {
        Self::new(Code::MissingParameter, format!("The request must contain the parameter {name}"))
    }

    /// A parameter that the operation does not have.
    pub fn unknown_parameter(name: impl fmt::Display) -> Self {
        Self::new(Code::UnknownParameter, format!("The parameter {name} is not recognized"))
    }

    /// A value that a parameter cannot have; `why` is a sentence.
    pub fn invalid_value(value: &str, name: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(Code::InvalidParameterValue, format!("Invalid value '{}' for {name}. {why}", echo(value)))
    }

    /// A value that is well-formed and cannot be; `name` as EC2 spells it in such messages (`volumeId`), `why` a sentence.
    pub fn refused_value(value: &str, name: &str, why: impl fmt::Display) -> Self {
        let what = format!("Value ({}) for parameter {name} is invalid. {why}", echo(value));
        Self::new(Code::InvalidParameterValue, what)
    }

    /// A body that is no list of parameters; `why` is no sentence and ends without a stop.
    pub fn malformed_query(why: impl fmt::Display) -> Self {
        Self::new(Code::MalformedQueryString, format!("The query string contains a syntax error: {why}"))
    }

    /// An operation that does not exist.
    pub fn invalid_action(name: &str) -> Self {
        Self::new(Code::InvalidAction, format!("The action {} is not valid for this web service.", echo(name)))
    }

    /// An operation that exists, and not here.
    pub fn unsupported_operation(name: &str) -> Self {
        Self::new(Code::UnsupportedOperation, format!("The action {} is not supported here.", echo(name)))
    }

    /// A filter that the operation does not have.
    pub fn invalid_filter(name: &str) -> Self {
        Self::new(Code::InvalidParameterValue, format!("The filter '{}' is invalid", echo(name)))
    }

    /// All would have gone well, and nothing was done.
    pub fn dry_run() -> Self {
        Self::new(Code::DryRunOperation, "Request would have succeeded, but DryRun flag is set.")
    }

    /// A token that was used before, with other parameters.
    pub fn idempotent_mismatch() -> Self {
        let why = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
        Self::new(Code::IdempotentParameterMismatch, why)
    }

    /// Whoever it was could not be known by its signature.
    pub fn auth_failure() -> Self {
        Self::new(Code::AuthFailure, "AWS was not able to validate the provided access credentials")
    }

    /// Something that could not be done and may be tried again.
    pub fn internal() -> Self {
        Self::new(Code::InternalError, "An internal error has occurred")
    }

    /// Too many requests.
    pub fn request_limit() -> Self {
        Self::new(Code::RequestLimitExceeded, "Request limit exceeded.")
    }

    /// Something is not there for the moment; `why` is a sentence.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, why)
    }

    // Volumes. Clients take ids out of these by `vol-[a-z0-9]+`, to split the bad ones off a batch.

    /// Volumes that do not exist.
    pub fn volumes_not_found<S: AsRef<str>>(ids: &[S]) -> Self {
        absent(Code::InvalidVolumeNotFound, "volume", "volumes", ids)
    }

    /// Snapshots that do not exist.
    pub fn snapshots_not_found<S: AsRef<str>>(ids: &[S]) -> Self {
        absent(Code::InvalidSnapshotNotFound, "snapshot", "snapshots", ids)
    }

    /// Instances that do not exist.
    pub fn instances_not_found<S: AsRef<str>>(ids: &[S]) -> Self {
        absent(Code::InvalidInstanceIdNotFound, "instance ID", "instance IDs", ids)
    }

    /// A volume that was never modified.
    pub fn modification_not_found(volume: &str) -> Self {
        let what = format!("Modification for volume '{}' does not exist.", echo(volume));
        Self::new(Code::InvalidVolumeModificationNotFound, what)
    }

    /// A zone that does not exist.
    pub fn zone_not_found(zone: &str) -> Self {
        Self::new(Code::InvalidZoneNotFound, format!("The zone '{}' does not exist.", echo(zone)))
    }

    /// A volume that is not attached where it was to be detached.
    pub fn attachment_not_found(volume: &str, instance: &str) -> Self {
        let what = format!("Volume '{}' is not attached to instance '{}'.", echo(volume), echo(instance));
        Self::new(Code::InvalidAttachmentNotFound, what)
    }

    /// More operations a second than the type allows. Drivers of container platforms learn the limit from this very sentence.
    pub fn iops_too_high(iops: i32, max: u32) -> Self {
        Self::new(Code::InvalidParameterValue, format!("Volume iops of {iops} is too high; maximum is {max}."))
    }

    /// Operations a second for a type that does not have them as a parameter.
    pub fn parameter_not_supported(name: &str, volume_type: &str) -> Self {
        let what = format!("The parameter {name} is not supported for {} volumes.", echo(volume_type));
        Self::new(Code::InvalidParameterCombination, what)
    }

    /// A volume and an instance of two zones.
    pub fn zone_mismatch(volume: &str, instance: &str) -> Self {
        let what = format!("The volume '{volume}' is not in the same availability zone as instance '{instance}'");
        Self::new(Code::InvalidVolumeZoneMismatch, what)
    }

    /// An attached volume that was to be deleted.
    pub fn attached(volume: &str, instance: &str) -> Self {
        Self::new(Code::VolumeInUse, format!("Volume {volume} is currently attached to {instance}"))
    }

    /// An attached volume that was to be attached.
    pub fn already_attached(volume: &str) -> Self {
        Self::new(Code::VolumeInUse, format!("{volume} is already attached to an instance"))
    }

    /// A volume that was to be attached and is, say, being created.
    pub fn not_available(volume: &str) -> Self {
        Self::new(Code::IncorrectState, format!("{volume} is not 'available'."))
    }

    /// A volume in a state in which the operation makes no sense, such as detaching what is `available`.
    pub fn in_state(volume: &str, state: &str) -> Self {
        Self::new(Code::IncorrectState, format!("Volume '{volume}' is in the '{state}' state."))
    }

    /// A device name that another volume of the instance has. Drivers look for "already in use" and choose another.
    pub fn device_in_use(device: &str) -> Self {
        let device = echo(device);
        Self::invalid_value(device, "unixDevice", format_args!("Attachment point {device} is already in use"))
    }

    /// A volume whose modification is under way; `state` in capitals, as AWS writes it.
    pub fn modification_under_way(volume: &str, state: &str) -> Self {
        let what = format!("Volume {volume} cannot be modified in modification state {state}");
        Self::new(Code::IncorrectModificationState, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_that_clients_parse() {
        let cases = [
            (ApiError::missing_parameter("size/snapshot"), "The request must contain the parameter size/snapshot"),
            (ApiError::volumes_not_found(&["vol-1"]), "The volume 'vol-1' does not exist."),
            (ApiError::volumes_not_found(&["vol-1", "vol-2"]), "The volumes 'vol-1, vol-2' do not exist."),
            (ApiError::iops_too_high(i32::MAX, 80_000), "Volume iops of 2147483647 is too high; maximum is 80000."),
            (ApiError::in_state("vol-1", "available"), "Volume 'vol-1' is in the 'available' state."),
            (
                ApiError::device_in_use("/dev/sdf"),
                "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use",
            ),
            (
                ApiError::zone_mismatch("vol-1", "i-1"),
                "The volume 'vol-1' is not in the same availability zone as instance 'i-1'",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.message, message);
        }
    }

    #[test]
    fn what_a_client_sent_is_repeated_only_so_far() {
        let long = "é".repeat(1_000);
        let error = ApiError::invalid_value(&long, "Size", "Must be an integer.");
        assert!(error.message.len() < 200 && error.message.contains(&"é".repeat(64)), "{error}");
    }
}
