//! What is told of the API to those who operate it: counts and durations for each operation alone (R24, R71), and a line of log for what changed something or failed.
//!
//! In 2011 the errors of the one API that launches need were lost in the errors of all; so nothing here is only a sum, and an alarm looks at one operation at a time
//! (docs/alarms). Labels are operations, codes and zones that are known beforehand, never a client's words: whoever asks cannot make more of them, and no line holds
//! anything of a signature.
//!
//! It reads no clock and writes nowhere.

mod exposition;
mod metrics;

pub use exposition::CONTENT_TYPE;
pub use metrics::{Counter, Metrics};

use crate::Code;
use crate::serve::Written;
use base::VolumeId;
use base::time::Duration;
use region::Account;
use std::fmt::{self, Write as _};

/// The operation of a request whose sender is not known, or which names none that is served: claims of strangers are not counted for the operation they claim,
/// or a flood of them would thin out the errors of the others.
const UNKNOWN: &str = "unknown";

/// What a request was about, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The operation, if it is known who asked for it and it is served.
    pub operation: Option<&'static str>,
    /// Whose request it was, if that is known.
    pub account: Option<Account>,
    /// The zone that it named, or whose volume it named.
    pub zone: Option<String>,
    /// The one volume it named, or made.
    pub volume: Option<VolumeId>,
}

/// Operations that are worth a budget of their own together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What the launch of an instance needs (R24).
    LaunchAttach,
    /// What else changes something.
    Change,
    /// What only tells.
    Describe,
    /// Nobody knows.
    Unknown,
}

impl Class {
    /// Of an operation.
    pub fn of(operation: Option<&str>) -> Self {
        match operation {
            None => Self::Unknown,
            Some("AttachVolume" | "RunInstances") => Self::LaunchAttach,
            Some(name) if name.starts_with("Describe") || name.starts_with("Get") => Self::Describe,
            Some(_) => Self::Change,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LaunchAttach => "launch-attach",
            Self::Change => "change",
            Self::Describe => "describe",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Done.
    Ok,
    /// Refused for what was asked, or for who asked it.
    ClientError,
    /// Not done though it could be asked for.
    ServerError,
    /// Refused because too much is asked for at once.
    Throttled,
}

impl Ended {
    const ALL: [Self; 4] = [Self::Ok, Self::ClientError, Self::ServerError, Self::Throttled];

    /// With this error, or none.
    pub fn with(code: Option<Code>) -> Self {
        match code {
            None => Self::Ok,
            Some(Code::RequestLimitExceeded) => Self::Throttled,
            Some(code) if code.status() >= 500 => Self::ServerError,
            Some(_) => Self::ClientError,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Throttled => "throttled",
        }
    }
}

/// The line that a log has of a request; none of one that changed nothing and did not fail on this side.
pub fn line(written: &Written, request_id: &str, took: Duration) -> Option<String> {
    let (subject, ended) = (&written.subject, Ended::with(written.code));
    let changes = !matches!(Class::of(subject.operation), Class::Describe | Class::Unknown);
    if !(ended == Ended::Ok && changes || written.status >= 500) {
        return None;
    }
    let mut line = format!("request id={request_id} operation={}", subject.operation.unwrap_or(UNKNOWN));
    let mut put = |name: &str, value: &dyn fmt::Display| {
        // A String takes all that is written to it.
        let _ = write!(line, " {name}={value}");
    };
    if let Some(account) = subject.account {
        put("account", &account);
    }
    if let Some(zone) = &subject.zone {
        put("zone", &Word(zone));
    }
    if let Some(volume) = subject.volume {
        put("volume", &volume);
    }
    put("outcome", &ended.name());
    put("status", &written.status);
    if let Some(code) = written.code {
        put("code", &code.wire());
    }
    put("duration_ms", &format_args!("{}.{:03}", took.as_millis(), took.subsec_micros() % 1_000));
    Some(line)
}

/// A value of a line: as it is if it is one word, else in quotes.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApiError, Protocol, ec2, serve};

    fn written(operation: &'static str, error: Option<ApiError>) -> Written {
        let mut written = match error {
            Some(error) => serve::refused(Protocol::Ec2, &error, "r"),
            None => Written { status: 200, body: "secret".into(), code: None, subject: Subject::default() },
        };
        written.subject = Subject {
            operation: Some(operation),
            account: Some(Account(7)),
            zone: Some("local-1a".into()),
            volume: Some(VolumeId(0x1f)),
        };
        written
    }

    #[test]
    fn a_line_is_written_of_what_changed_something_or_failed_on_this_side_and_of_nothing_else() {
        let took = Duration::from_micros(12_034);
        let of = |operation, error| line(&written(operation, error), "id-1", took);
        assert_eq!(
            of("AttachVolume", None).unwrap(),
            format!(
                "request id=id-1 operation=AttachVolume account=000000000007 zone=local-1a volume={} outcome=ok status=200 duration_ms=12.034",
                VolumeId(0x1f)
            )
        );
        let failed = of("DescribeVolumes", Some(ApiError::internal())).unwrap();
        assert!(failed.contains(" outcome=server_error status=500 code=InternalError "), "{failed}");
        assert!(
            of("AttachVolume", Some(ApiError::request_limit())).unwrap().contains(" outcome=throttled status=503 ")
        );
        assert_eq!(of("DescribeVolumes", None), None);
        assert_eq!(of("AttachVolume", Some(ApiError::dry_run())), None);
        assert_eq!(of("AttachVolume", Some(ApiError::already_attached("vol-1"))), None);
    }

    #[test]
    fn a_value_cannot_look_like_another_field_or_another_line() {
        for (value, shown) in [("local-1a", "local-1a"), ("", "\"\""), ("a b=\"\n", "\"a b=\\\"\\n\"")] {
            assert_eq!(Word(value).to_string(), shown);
        }
    }

    #[test]
    fn every_operation_has_a_class_and_what_launches_need_has_its_own() {
        let of = |class| {
            let names = ec2::Request::NAMES.iter().filter(|name| Class::of(Some(name)) == class);
            names.copied().collect::<Vec<_>>()
        };
        assert_eq!(of(Class::LaunchAttach), ["AttachVolume"]);
        assert!(of(Class::Describe).iter().all(|name| name.starts_with("Describe") || name.starts_with("GetEbs")));
        assert!(of(Class::Change).contains(&"DetachVolume") && of(Class::Change).contains(&"ModifyEbsDefaultKmsKeyId"));
        assert_eq!(of(Class::Unknown), [""; 0]);
    }
}
