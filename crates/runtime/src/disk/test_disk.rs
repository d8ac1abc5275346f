//! The kinds of disks for tests, by the words of a configuration.

use std::fmt;
use std::str::FromStr;

/// Which disk for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestDisk {
    /// One that fails on demand.
    Plain,
    /// One that also keeps writes in memory until they are flushed.
    Volatile,
}

impl FromStr for TestDisk {
    type Err = NoSuchDisk;
    fn from_str(text: &str) -> Result<Self, NoSuchDisk> {
        match text {
            "plain" => Ok(Self::Plain),
            "volatile" => Ok(Self::Volatile),
            _ => Err(NoSuchDisk(text.into())),
        }
    }
}

/// A word that names no disk for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchDisk(String);

impl fmt::Display for NoSuchDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no disk for tests; there are \"plain\", \"volatile\"", self.0)
    }
}

impl std::error::Error for NoSuchDisk {}
