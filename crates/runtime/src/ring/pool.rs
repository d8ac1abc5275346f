//! A few threads for what can only be waited for: positioned reads and writes, and fdatasync.
//!
//! The kernel has no readiness for files, and the loop must not wait for a disk: while a flush takes its second, keepalives
//! are answered and leases hold. So a disk operation is done by one of at most [`THREADS_MAX`] threads, started when there is work
//! for them; what finds none free waits in line, and nothing is promised about the order in which operations end.
//!
//! A job is pointers into memory that its slot owns. As with the kernel, whoever hands one in keeps that memory, and its file
//! open, until the job is back.

use crate::os;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Enough to keep a disk busy, few enough not to crowd out the loop.
pub const THREADS_MAX: usize = 8;
/// A job is one system call deep.
const STACK_BYTES: usize = 128 << 10;

/// What to do with a file.
pub enum Work {
    /// Read so many bytes from there.
    Read { to: *mut u8, len: usize, offset: u64 },
    /// Write these parts there.
    Write { parts: *const libc::iovec, count: usize, offset: u64, durable: bool },
    /// fdatasync.
    Sync,
}

/// Something for a thread to do.
pub struct Job {
    /// Whose it is.
    pub slot: u32,
    /// With which file.
    pub file: RawFd,
    /// What.
    pub work: Work,
}

// SAFETY: what the pointers point at stays where it is until the job is back, and nobody else touches it meanwhile.
unsafe impl Send for Job {}

/// A job that is back: whose it was, and bytes moved or the error number.
pub type Ended = (u32, Result<u32, i32>);

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

struct Shared {
    line: Mutex<Line>,
    more: Condvar,
    ended: Mutex<Vec<Ended>>,
    bell: File,
}

/// The threads and their line.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    threads_max: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between taking a lock and leaving it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// One without threads yet, with what becomes readable when jobs are back. It is for an edge-triggered poll: nobody need
    /// read it.
    pub fn new(threads_max: usize) -> io::Result<(Self, OwnedFd)> {
        let (bell, heard) = os::event()?;
        let shared = Shared { line: Mutex::default(), more: Condvar::new(), ended: Mutex::default(), bell };
        Ok((Self { shared: Arc::new(shared), threads: 0, threads_max }, heard))
    }

    /// Hands jobs in.
    pub fn submit(&mut self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let count = jobs.len();
        let mut line = lock(&self.shared.line);
        line.jobs.extend(jobs.drain(..));
        let wanted = line.jobs.len().saturating_sub(line.idle);
        drop(line);
        (0..wanted.min(self.threads_max - self.threads)).for_each(|_| self.grow());
        if self.threads == 0 {
            // No thread can be had at all: slow is better than never.
            while let Some(job) = self.shared.next_now() {
                self.shared.carry_out(&job);
            }
        }
        (0..count.min(self.threads)).for_each(|_| self.shared.more.notify_one());
    }

    fn grow(&mut self) {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("disk".into()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            while let Some(job) = shared.next() {
                shared.carry_out(&job);
            }
        });
        // Those there are do the work; the next job tries again.
        self.threads += usize::from(spawned.is_ok());
    }

    /// Takes what is back.
    pub fn ended(&self) -> Vec<Ended> {
        std::mem::take(&mut lock(&self.shared.ended))
    }

    /// Takes back what no thread has begun.
    pub fn take_back(&self) -> Vec<Job> {
        lock(&self.shared.line).jobs.drain(..).collect()
    }
}

impl Drop for Pool {
    /// The threads end when they are done with what they have in hand.
    fn drop(&mut self) {
        lock(&self.shared.line).closed = true;
        self.shared.more.notify_all();
    }
}

impl Shared {
    fn next_now(&self) -> Option<Job> {
        lock(&self.line).jobs.pop_front()
    }

    fn next(&self) -> Option<Job> {
        let mut line = lock(&self.line);
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            if line.closed {
                return None;
            }
            line.idle += 1;
            line = self.more.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }

    fn carry_out(&self, job: &Job) {
        let result = match job.work {
            Work::Read { to, len, offset } => read(job.file, to, len, offset),
            Work::Write { parts, count, offset, durable: false } => write(job.file, parts, count, offset, 0),
            Work::Write { parts, count, offset, durable: true } => {
                write_durably(job.file, parts, count, offset, libc::RWF_DSYNC)
            }
            Work::Sync => sync(job.file),
        };
        let mut ended = lock(&self.ended);
        let first = ended.is_empty();
        ended.push((job.slot, result));
        drop(ended);
        if first {
            // It can fail only when 2^64 - 2 were not taken.
            let _ = (&self.bell).write_all(&1u64.to_ne_bytes());
        }
    }
}

fn moved(result: isize) -> Result<u32, i32> {
    u32::try_from(result).map_err(|_| os::last_error())
}

fn read(file: RawFd, to: *mut u8, len: usize, offset: u64) -> Result<u32, i32> {
    // SAFETY: whoever handed the job in keeps `len` bytes at `to` for it alone.
    moved(unsafe { libc::pread(file, to.cast(), len, offset as libc::off_t) })
}

fn write(file: RawFd, parts: *const libc::iovec, count: usize, offset: u64, flags: i32) -> Result<u32, i32> {
    let offset = offset as libc::off_t;
    // SAFETY: whoever handed the job in keeps the parts, and the memory they name, until it is back.
    moved(unsafe {
        match flags {
            0 => libc::pwritev(file, parts, count as libc::c_int, offset),
            _ => libc::pwritev2(file, parts, count as libc::c_int, offset, flags),
        }
    })
}

/// With `flags`, which say that it must be durable; where the kernel or what stands in for it does not
/// know them, with a flush behind it, which makes more durable than was asked and costs more.
fn write_durably(file: RawFd, parts: *const libc::iovec, count: usize, offset: u64, flags: i32) -> Result<u32, i32> {
    match write(file, parts, count, offset, flags) {
        Err(libc::EOPNOTSUPP | libc::ENOSYS) => {
            let moved = write(file, parts, count, offset, 0)?;
            sync(file).map(|_| moved)
        }
        result => result,
    }
}

fn sync(file: RawFd) -> Result<u32, i32> {
    // SAFETY: no memory is passed.
    moved(unsafe { libc::fdatasync(file) } as isize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    fn scratch() -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("seawall-pool-{:x}", crate::entropy_u64()));
        let open = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        (path, open)
    }

    fn part(bytes: &[u8]) -> libc::iovec {
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
    }

    #[test]
    fn a_durable_write_is_made_of_a_write_and_a_flush_where_there_is_no_flag_for_it() {
        let (path, file) = scratch();
        let parts = [part(b"one "), part(b"write")];
        let unknown = 0x4000_0000;
        assert_eq!(write(file.as_raw_fd(), parts.as_ptr(), 2, 3, unknown), Err(libc::EOPNOTSUPP));
        assert_eq!(write_durably(file.as_raw_fd(), parts.as_ptr(), 2, 3, unknown), Ok(9));
        let mut bytes = [0; 12];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0one write");
        std::fs::remove_file(path).unwrap();
        // A file that cannot be written at all, and one that cannot be flushed.
        let only_read = File::open("/proc/self/exe").unwrap();
        assert_eq!(write_durably(only_read.as_raw_fd(), parts.as_ptr(), 2, 0, unknown), Err(libc::EBADF));
        let (pipe, _end) = os::event().unwrap();
        assert_eq!(sync(pipe.as_raw_fd()), Err(libc::EINVAL));
    }

    #[test]
    fn without_a_single_thread_the_work_is_done_all_the_same() {
        let (path, file) = scratch();
        let parts = [part(b"bytes")];
        for threads_max in [0, 1, THREADS_MAX] {
            let (mut pool, _heard) = Pool::new(threads_max).unwrap();
            let work =
                |n: u32| Work::Write { parts: parts.as_ptr(), count: 1, offset: u64::from(n) * 5, durable: n == 7 };
            let mut jobs = (0..40).map(|slot| Job { slot, file: file.as_raw_fd(), work: work(slot) }).collect();
            pool.submit(&mut jobs);
            let (mut ended, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(10));
            while ended.len() < 40 {
                assert!(Instant::now() < deadline, "{} of 40 jobs are back", ended.len());
                ended.extend(pool.ended());
                std::thread::yield_now();
            }
            assert!(ended.iter().all(|(_, result)| *result == Ok(5)));
            assert!(pool.threads <= threads_max && pool.take_back().is_empty());
        }
        std::fs::remove_file(path).unwrap();
    }
}
