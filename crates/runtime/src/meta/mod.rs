//! Metadata stores behind `base::io::meta`: keys, values, revisions, and a compare-and-write over several keys at once.
//!
//! [`embedded`] is one file and one process. A second backend, etcd, will pass the same suite (tests/conformance).

pub mod embedded;

pub use embedded::Embedded;

use std::fmt;
use std::path::PathBuf;

/// Why a metadata store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file is there and is not whole. It is never taken for an empty one.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file was written by a build that this one does not understand.
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The operating system refuses.
    Os {
        /// Doing what.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => {
                write!(f, "the metadata {} is in use by another process; stop that one first", path.display())
            }
            Self::Damaged { path, what } => write!(
                f,
                "the metadata {} is damaged ({what}); nothing is guessed of it: have it rebuilt from the nodes with \
                 `seawall zone rebuild`",
                path.display()
            ),
            Self::Version { path, found } => write!(
                f,
                "the metadata {} has format {found} and this build reads format {}; use the build that wrote it",
                path.display(),
                embedded::FORMAT
            ),
            Self::Os { what, path, why } => {
                write!(f, "cannot {what} the metadata {}: {why}; look at the path and its permissions", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}
