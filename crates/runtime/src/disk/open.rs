//! Opening a disk: the file or device, past the page cache where that can be had, locked, and as large as it must be; or why not.

use crate::os;
use std::fmt;
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Which disk.
#[derive(Debug, Clone)]
pub struct Config {
    /// A file or a block device.
    pub path: PathBuf,
    /// How much of it is used, in bytes; a multiple of 4096.
    pub capacity_bytes: u64,
    /// Make the file, sparse, if there is none. A device is never made.
    pub create: bool,
}

/// Why a disk could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such file, and making one was not asked for.
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Another process has it.
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// The device is smaller than configured.
    TooSmall {
        /// Which.
        path: PathBuf,
        /// Bytes it has.
        bytes: u64,
        /// Bytes it should have.
        wanted: u64,
    },
    /// The capacity is not a multiple of 4096, or zero.
    BadCapacity {
        /// Bytes.
        bytes: u64,
    },
    /// Neither a file nor a block device.
    NotADisk {
        /// Which.
        path: PathBuf,
    },
    /// The operating system refuses.
    Os {
        /// Doing what.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => {
                write!(f, "there is no disk at {}; give the right path, or format a new one there", path.display())
            }
            Self::InUse { path } => {
                write!(f, "the disk {} is in use by another process; stop that one first", path.display())
            }
            Self::TooSmall { path, bytes, wanted } => write!(
                f,
                "the device {} has {bytes} bytes and {wanted} are configured; lower the capacity or use another device",
                path.display()
            ),
            Self::BadCapacity { bytes } => {
                write!(f, "a disk of {bytes} bytes cannot be; the capacity must be a multiple of 4096 and not zero")
            }
            Self::NotADisk { path } => {
                write!(f, "{} is neither a file nor a block device; give the path of one", path.display())
            }
            Self::Os { what, path, why } => {
                write!(f, "cannot {what} the disk {}: {why}; look at the path and its permissions", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// How a disk was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whether the file was made just now: there is nothing on it yet.
    pub created: bool,
    /// Whether it is read and written past the page cache. Not so where a file system refuses it; that is slower, and as safe.
    pub direct: bool,
    /// Whether it is a block device.
    pub device: bool,
}

/// Opens with `way`, the flags that go past the page cache, or without them where they cannot be had.
pub(super) fn open_file(config: &Config, way: i32) -> Result<(std::fs::File, Status), OpenError> {
    let path = &config.path;
    let failed = |what: &'static str, why: io::Error| OpenError::Os { what, path: path.clone(), why };
    let created = match std::fs::metadata(path) {
        Ok(about) if !about.is_file() && !about.file_type().is_block_device() => {
            return Err(OpenError::NotADisk { path: path.clone() });
        }
        Ok(_) => false,
        Err(why) if why.kind() == io::ErrorKind::NotFound && !config.create => {
            return Err(OpenError::Missing { path: path.clone() });
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => true,
        Err(why) => return Err(failed("look at", why)),
    };
    let open = |flags: i32| {
        OpenOptions::new().read(true).write(true).create_new(created).custom_flags(flags).mode(0o600).open(path)
    };
    // A file system that has no way past its cache says EINVAL; the file may have been made by then all the same.
    let (file, direct) = match open(way) {
        Ok(file) => (file, true),
        Err(why) if why.raw_os_error() == Some(libc::EINVAL) => {
            let again =
                OpenOptions::new().read(true).write(true).create(created).mode(0o600).truncate(false).open(path);
            (again.map_err(|why| failed("open", why))?, false)
        }
        Err(why) if why.kind() == io::ErrorKind::ResourceBusy => return Err(OpenError::InUse { path: path.clone() }),
        Err(why) => return Err(failed("open", why)),
    };
    let locked = os::settled(|| match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(why)) => Err(why),
    });
    match locked {
        Ok(()) => {}
        Err(why) if why.kind() == io::ErrorKind::ResourceBusy => return Err(OpenError::InUse { path: path.clone() }),
        Err(why) => return Err(failed("lock", why)),
    }
    let device = file.metadata().map_err(|why| failed("look at", why))?.file_type().is_block_device();
    Ok((file, Status { created, direct, device }))
}

/// Makes the file as long as it must be, and its name durable.
pub(super) fn size_file(file: &std::fs::File, config: &Config, status: Status) -> io::Result<u64> {
    if status.device {
        return os::device_bytes(file);
    }
    let bytes = file.metadata()?.len();
    if bytes < config.capacity_bytes {
        file.set_len(config.capacity_bytes)?;
        file.sync_all()?;
    }
    if status.created {
        let parent = config.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(bytes.max(config.capacity_bytes))
}
