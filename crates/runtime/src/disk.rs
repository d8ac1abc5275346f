//! The disk of a node: a file or a raw device, opened past the page cache, locked against a second process.
//!
//! It speaks `base::io::disk`. Offsets and lengths are whole blocks; parts that do not lie aligned in memory are copied first.
//! A transfer that the kernel cut short goes on where it ended. Nothing that failed is tried again: what a failed write left
//! behind is for the store to judge. It knows no superblock and no segment.

use crate::arena::ALIGN;
use crate::os;
use crate::ring::{Completion, File, Operation, PARTS_MAX};
use crate::turn::{Token, Turn};
use base::Payload;
use base::io::Input;
use base::io::disk::{Done, Fault, Op, OpId};
use bytes::{Buf, Bytes};
use std::fmt;
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

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

/// Bytes zeroed by one write.
const ZERO_BYTES: u64 = 1 << 20;
/// Of the buffer that is written again and again for it.
const ZERO_PART_BYTES: usize = 64 << 10;
/// Tries of one transfer that the kernel interrupts or postpones without moving a byte.
const TRIES_MAX: u32 = 1000;

/// Names an operation of the disk in the ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u32);

/// The disk.
pub(crate) struct Disk {
    file: File,
    capacity_bytes: u64,
    status: Status,
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
    zeroes: Option<Bytes>,
}

/// An operation under way.
struct Job {
    id: OpId,
    tries: u32,
    kind: Kind,
}

enum Kind {
    Read {
        filled: usize,
    },
    /// Parts beyond those in flight, and where those in flight begin.
    Write {
        at: u64,
        later: Vec<Bytes>,
        durable: bool,
    },
    /// Bytes still to be zeroed, those in flight included.
    Zero {
        at: u64,
        left: u64,
    },
    Flush,
}

fn open_file(config: &Config) -> Result<(std::fs::File, Status), OpenError> {
    let path = &config.path;
    let os = |what: &'static str, why: io::Error| OpenError::Os { what, path: path.clone(), why };
    let created = match std::fs::metadata(path) {
        Ok(about) if !about.is_file() && !about.file_type().is_block_device() => {
            return Err(OpenError::NotADisk { path: path.clone() });
        }
        Ok(_) => false,
        Err(why) if why.kind() == io::ErrorKind::NotFound && !config.create => {
            return Err(OpenError::Missing { path: path.clone() });
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => true,
        Err(why) => return Err(os("look at", why)),
    };
    let open = |flags: i32| {
        OpenOptions::new().read(true).write(true).create_new(created).custom_flags(flags).mode(0o600).open(path)
    };
    // A file system that has no way past its cache says EINVAL; the file may have been made by then all the same.
    let (file, direct) = match open(libc::O_DIRECT) {
        Ok(file) => (file, true),
        Err(why) if why.raw_os_error() == Some(libc::EINVAL) => {
            let again =
                OpenOptions::new().read(true).write(true).create(created).mode(0o600).truncate(false).open(path);
            (again.map_err(|why| os("open", why))?, false)
        }
        Err(why) if why.kind() == io::ErrorKind::ResourceBusy => return Err(OpenError::InUse { path: path.clone() }),
        Err(why) => return Err(os("open", why)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.clone() }),
        Err(TryLockError::Error(why)) => return Err(os("lock", why)),
    }
    let device = file.metadata().map_err(|why| os("look at", why))?.file_type().is_block_device();
    Ok((file, Status { created, direct, device }))
}

/// Makes the file as long as it must be, and its name durable.
fn size_file(file: &std::fs::File, config: &Config, status: Status) -> io::Result<u64> {
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

impl Disk {
    /// Opens it, or makes it, and keeps every other process from doing so until it is dropped.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        if config.capacity_bytes == 0 || !config.capacity_bytes.is_multiple_of(ALIGN as u64) {
            return Err(OpenError::BadCapacity { bytes: config.capacity_bytes });
        }
        let (file, status) = open_file(config)?;
        let bytes = size_file(&file, config, status).map_err(|why| OpenError::Os {
            what: "size",
            path: config.path.clone(),
            why,
        })?;
        let wanted = config.capacity_bytes;
        if bytes < wanted {
            return Err(OpenError::TooSmall { path: config.path.clone(), bytes, wanted });
        }
        let file = Rc::new(file.into());
        Ok(Self { file, capacity_bytes: wanted, status, jobs: Vec::new(), free: Vec::new(), zeroes: None })
    }

    /// How it was opened.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The file, to be registered with the ring.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Begins an operation. What cannot be begun is answered at once, into the inbox.
    pub fn begin(&mut self, op: Op, cx: &mut Turn<'_>) {
        match op {
            Op::Read { id, at, len } => {
                cx.counters.reads += 1;
                if !self.lies_within(at, u64::from(len)) {
                    return cx.inbox.push_back(refused(id, Fault::Short));
                }
                let token = self.job(Job { id, tries: 0, kind: Kind::Read { filled: 0 } });
                let into = cx.arena.take(len as usize);
                cx.ring.push(Token::Disk(token), Operation::Read { file: self.file.clone(), into, at: 0, offset: at });
            }
            Op::Write { id, at, parts, durable } => {
                cx.counters.writes += 1;
                let len = base::payload::len(&parts) as u64;
                if !self.lies_within(at, len) {
                    return cx.inbox.push_back(refused(id, Fault::Os(libc::ENOSPC)));
                }
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                let later = parts.map(|part| self.aligned(part, cx)).collect();
                let token = self.job(Job { id, tries: 0, kind: Kind::Write { at, later, durable } });
                self.go_on(token, cx);
            }
            Op::Zero { id, at, len } => {
                cx.counters.writes += 1;
                if !self.lies_within(at, len) {
                    return cx.inbox.push_back(refused(id, Fault::Os(libc::ENOSPC)));
                }
                let token = self.job(Job { id, tries: 0, kind: Kind::Zero { at, left: len } });
                self.go_on(token, cx);
            }
            Op::Flush { id } => {
                cx.counters.flushes += 1;
                let token = self.job(Job { id, tries: 0, kind: Kind::Flush });
                self.go_on(token, cx);
            }
        }
    }

    /// Whole blocks, not none, within the disk.
    fn lies_within(&self, at: u64, len: u64) -> bool {
        let aligned = at.is_multiple_of(ALIGN as u64) && len.is_multiple_of(ALIGN as u64);
        assert!(aligned && len > 0, "a disk operation of {len} bytes at {at} is not of whole blocks");
        at.checked_add(len).is_some_and(|end| end <= self.capacity_bytes)
    }

    fn job(&mut self, job: Job) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            (self.jobs.len() - 1) as u32
        });
        assert!(self.jobs[index as usize].is_none(), "a place of the disk's was given out twice");
        self.jobs[index as usize] = Some(job);
        Place(index)
    }

    fn aligned(&self, part: Payload, cx: &mut Turn<'_>) -> Bytes {
        if !self.status.direct || (part.as_ptr() as usize).is_multiple_of(ALIGN) {
            return part.0;
        }
        cx.counters.bytes_copied += part.len() as u64;
        cx.arena.copy(&part).freeze()
    }

    /// Hands the next piece of a write, a zeroing or a flush to the ring.
    fn go_on(&mut self, token: Place, cx: &mut Turn<'_>) {
        let file = self.file.clone();
        let job = self.jobs[token.0 as usize].as_mut().expect("an operation under way");
        let operation = match &mut job.kind {
            Kind::Write { at, later, durable } => {
                let parts: Vec<Bytes> = later.drain(..later.len().min(PARTS_MAX)).collect();
                Operation::Write { file, parts, offset: *at, durable: *durable }
            }
            Kind::Zero { at, left } => {
                let zeroes = self.zeroes.get_or_insert_with(|| {
                    let mut buffer = cx.arena.take(ZERO_PART_BYTES);
                    buffer.fill(0);
                    buffer.freeze()
                });
                let mut bytes = (*left).min(ZERO_BYTES) as usize;
                let mut parts = Vec::new();
                while bytes > 0 {
                    let len = bytes.min(ZERO_PART_BYTES);
                    parts.push(zeroes.slice(..len));
                    bytes -= len;
                }
                Operation::Write { file, parts, offset: *at, durable: false }
            }
            Kind::Flush => Operation::Sync { file },
            Kind::Read { .. } => unreachable!("a read is continued with its buffer"),
        };
        cx.ring.push(Token::Disk(token), operation);
    }

    /// Takes a completion of the ring; says so when an operation has ended.
    pub fn completed(&mut self, token: Place, completion: Completion<Token>, cx: &mut Turn<'_>) -> Option<Done> {
        let job = self.jobs[token.0 as usize].as_mut().expect("a completion of an operation under way");
        let id = job.id;
        let passing = matches!(completion.result, Err(libc::EINTR | libc::EAGAIN));
        let moved = match completion.result {
            Ok(moved) => moved as usize,
            Err(_) if passing && job.tries < TRIES_MAX => 0,
            Err(code) => return Some(self.end(token, id, Err(Fault::Os(code)))),
        };
        job.tries = if moved > 0 { 0 } else { job.tries + 1 };
        match (&mut job.kind, completion.operation) {
            (Kind::Read { filled }, Operation::Read { file, mut into, offset, .. }) => {
                let begin = offset - *filled as u64;
                *filled += moved;
                if moved == 0 && !passing {
                    // The end of the file: nothing was ever written behind it.
                    into[*filled..].fill(0);
                    *filled = into.len();
                }
                if *filled == into.len() {
                    let bytes = Payload(into.freeze());
                    return Some(self.end(token, id, Ok(bytes)));
                }
                // Direct I/O goes on at whole blocks.
                *filled -= *filled % ALIGN;
                let (at, offset) = (*filled, begin + *filled as u64);
                cx.ring.push(Token::Disk(token), Operation::Read { file, into, at, offset });
                None
            }
            (Kind::Write { at, later, .. }, Operation::Write { parts, .. }) => {
                if moved == 0 && !passing {
                    return Some(self.end(token, id, Err(Fault::Short)));
                }
                let whole = moved - moved % ALIGN;
                *at += whole as u64;
                put_back(parts, whole, later);
                if later.is_empty() {
                    return Some(self.end(token, id, Ok(Payload::empty())));
                }
                self.go_on(token, cx);
                None
            }
            (Kind::Zero { at, left }, _) => {
                if moved == 0 && !passing {
                    return Some(self.end(token, id, Err(Fault::Short)));
                }
                let whole = (moved - moved % ALIGN) as u64;
                *at += whole;
                *left -= whole;
                if *left == 0 {
                    return Some(self.end(token, id, Ok(Payload::empty())));
                }
                self.go_on(token, cx);
                None
            }
            (Kind::Flush, _) if passing => {
                self.go_on(token, cx);
                None
            }
            (Kind::Flush, _) => Some(self.end(token, id, Ok(Payload::empty()))),
            _ => unreachable!("the ring gives back what it was given"),
        }
    }

    fn end(&mut self, token: Place, id: OpId, result: Result<Payload, Fault>) -> Done {
        self.jobs[token.0 as usize] = None;
        self.free.push(token.0);
        Done { id, result }
    }
}

/// The answer to an operation that was not begun.
pub(crate) fn refused(id: OpId, fault: Fault) -> Input {
    Input::Disk(Done { id, result: Err(fault) })
}

/// The answer to an operation of a machine that has no disk.
pub(crate) fn absent(op: &Op) -> Input {
    let (Op::Read { id, .. } | Op::Write { id, .. } | Op::Zero { id, .. } | Op::Flush { id }) = op;
    refused(*id, Fault::Os(libc::ENODEV))
}

/// What was not written of `parts` stands before `later` again.
fn put_back(parts: Vec<Bytes>, mut written: usize, later: &mut Vec<Bytes>) {
    let mut rest = Vec::new();
    for mut part in parts {
        let gone = written.min(part.len());
        written -= gone;
        part.advance(gone);
        if !part.is_empty() {
            rest.push(part);
        }
    }
    if !rest.is_empty() {
        rest.append(later);
        *later = rest;
    }
}
