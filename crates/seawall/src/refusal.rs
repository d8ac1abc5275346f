//! What a person is told when a command is refused or fails: one line with a code, what, where, and what to do.
//!
//! Every code has a page in docs/errors/. E0001 to E0006 and E0025 are the authority's own (`wire::ErrorCode`); the others, from E0010 on,
//! are this binary's.

use std::fmt;
use std::io;
use std::path::Path;

/// The codes. A number is never given a second meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The authority refused, by its own code.
    Zone(wire::ErrorCode),
    /// A configuration file cannot be read or understood.
    Config,
    /// There is no region where one was looked for.
    NoRegion,
    /// A process could not start.
    Start,
    /// The authority does not answer.
    Unreachable,
    /// The authority answered something that this build does not expect.
    Protocol,
    /// Known, and not built yet.
    NotBuilt,
    /// A process of the region ended or was not ready in time.
    NotReady,
    /// The folder cannot be used for a region.
    Folder,
    /// A process of that name cannot be started here.
    NoStart,
    /// The demo, the simulator or a measurement found that something did not hold.
    DidNotHold,
    /// A file or socket of the region could not be read, written or made.
    File,
    /// A running process met a fault of its machine that it cannot outlive.
    Fault,
    /// A disk that was inspected is in use, is not sound, or has not what was asked for.
    Disk,
    /// Another process of the same identity is at work.
    Twin,
    /// A disk that was to be formatted is not blank.
    NotBlank,
    /// Nodes were not heard whose word a rebuild needs.
    Unheard,
    /// Which of several zones is meant is not said, or it is none of them.
    WhichZone,
    /// What is to be measured cannot be opened or used, or failed while it was.
    Export,
    /// What is in a volume would be lost.
    Overwrite,
}

impl Code {
    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Zone(wire::ErrorCode::NotFound) => 1,
            Self::Zone(wire::ErrorCode::InUse) => 2,
            Self::Zone(wire::ErrorCode::NoRoom) => 3,
            Self::Zone(wire::ErrorCode::Invalid) => 4,
            Self::Zone(wire::ErrorCode::Unavailable) => 5,
            Self::Zone(wire::ErrorCode::TimedOut) => 6,
            Self::Zone(wire::ErrorCode::Outdated) => 25,
            Self::Config => 10,
            Self::NoRegion => 11,
            Self::Start => 12,
            Self::Unreachable => 13,
            Self::Protocol => 14,
            Self::NotBuilt => 15,
            Self::NotReady => 16,
            Self::Folder => 17,
            Self::NoStart => 18,
            Self::DidNotHold => 19,
            Self::File => 20,
            Self::Fault => 21,
            Self::Disk => 22,
            Self::Twin => 23,
            Self::NotBlank => 24,
            Self::Unheard => 26,
            Self::WhichZone => 27,
            Self::Export => 30,
            Self::Overwrite => 31,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.number())
    }
}

/// A command did not do what it was asked to do. Exit status 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which kind.
    pub code: Code,
    /// What, where, what to do: one line.
    pub text: String,
}

impl Refusal {
    /// With this text. Line breaks become spaces, so that scripts find one line.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self { code, text: text.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.code.to_string(), "text": self.text })
    }

    /// An operation of the operating system failed on a file.
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Code::File, format!("cannot {doing} {}: {error}; {}", path.display(), advice(error)))
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run as the owner of the folder or choose another with --dir",
        io::ErrorKind::StorageFull => "make room on that disk and try again",
        io::ErrorKind::NotFound => "check that the folder still exists",
        _ => "check the path and its disk",
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seawall: {}: {}", self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_its_code() {
        let refusal = Refusal::new(Code::Config, "bad key\n  in line 3; remove it");
        assert_eq!(refusal.to_string(), "seawall: E0010: bad key in line 3; remove it");
    }

    #[test]
    fn numbers_are_distinct_and_each_has_its_page() {
        use wire::ErrorCode::*;
        let zone = [NotFound, InUse, NoRoom, Invalid, Unavailable, TimedOut, Outdated].map(Code::Zone);
        let own = [
            Code::Config,
            Code::NoRegion,
            Code::Start,
            Code::Unreachable,
            Code::Protocol,
            Code::NotBuilt,
            Code::NotReady,
            Code::Folder,
            Code::NoStart,
            Code::DidNotHold,
            Code::File,
            Code::Fault,
            Code::Disk,
            Code::Twin,
            Code::NotBlank,
            Code::Unheard,
            Code::WhichZone,
            Code::Export,
            Code::Overwrite,
        ];
        let mut numbers: Vec<u16> = zone.into_iter().chain(own).map(Code::number).collect();
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for number in &numbers {
            assert!(pages.join(format!("E{number:04}.md")).is_file(), "docs/errors/E{number:04}.md is missing");
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
