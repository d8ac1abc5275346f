//! The disk of a node: a file or a raw device, opened past the page cache, locked against a second process.
//!
//! It speaks `base::io::disk`. Offsets and lengths are whole blocks; parts that do not lie aligned in memory are copied first.
//! A transfer that the kernel cut short goes on where it ended. Nothing that failed is tried again: what a failed write left
//! behind is for the store to judge. It knows no superblock and no segment.

#[cfg(any(test, feature = "faults"))]
mod faulty;
#[cfg(any(test, feature = "faults"))]
mod held;
mod open;
#[cfg(any(test, feature = "faults"))]
mod switch;
#[cfg(any(test, feature = "faults"))]
mod test_disk;

#[cfg(feature = "faults")]
pub(crate) use faulty::Faulty;
#[cfg(feature = "faults")]
pub use test_disk::{NoSuchDisk, TestDisk};

pub use open::{Config, OpenError, Status};

use crate::arena::ALIGN;
use crate::ring::{Completion, File, Operation, PARTS_MAX};
use crate::turn::{Token, Turn};
use base::Payload;
use base::io::Input;
use base::io::disk::{Done, Fault, Op, OpId};
use bytes::{Buf, Bytes};
use open::{open_file, size_file};
use std::rc::Rc;

/// Bytes zeroed by one write.
const ZERO_BYTES: u64 = 1 << 20;
/// Of the buffer that is written again and again for it.
const ZERO_PART_BYTES: usize = 64 << 10;
/// Tries of one transfer that the kernel interrupts or postpones without moving a byte.
const TRIES_MAX: u32 = 100;

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

impl Disk {
    /// Opens it, or makes it, and keeps every other process from doing so until it is dropped.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        if config.capacity_bytes == 0 || !config.capacity_bytes.is_multiple_of(ALIGN as u64) {
            return Err(OpenError::BadCapacity { bytes: config.capacity_bytes });
        }
        Self::open_by(config, libc::O_DIRECT)
    }

    fn open_by(config: &Config, way: i32) -> Result<Self, OpenError> {
        let (file, status) = open_file(config, way)?;
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
    refused(op.id(), Fault::Os(libc::ENODEV))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::counters::Counters;
    use crate::log::Log;
    use crate::ring::{Driver, Ring};
    use base::io::Inbox;
    use std::time::{Duration, Instant};

    struct Bench {
        ring: Ring<Token>,
        arena: Arena,
        counters: Counters,
        log: Log,
        inbox: Inbox,
        disk: Disk,
        config: Config,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            std::fs::remove_file(&self.config.path).unwrap();
        }
    }

    fn config() -> Config {
        let path = std::env::temp_dir().join(format!("seawall-bench-{:x}", crate::entropy_u64()));
        Config { path, capacity_bytes: 8 << 20, create: true }
    }

    impl Bench {
        fn new(way: i32) -> Self {
            let config = config();
            let disk = Disk::open_by(&config, way).unwrap();
            let (ring, arena, counters) = (Ring::new(Driver::Auto).unwrap().0, Arena::new(), Counters::default());
            Self { ring, arena, counters, log: Log::new(&"bench"), inbox: Inbox::new(), disk, config }
        }

        fn with<R>(&mut self, f: impl FnOnce(&mut Disk, &mut Turn<'_>) -> R) -> R {
            let Self { ring, arena, counters, log, inbox, disk, .. } = self;
            let now = crate::monotonic();
            f(disk, &mut Turn { now, ring, arena, counters, log, inbox })
        }

        /// Carries an operation out; `tamper` says what the kernel is to have answered, by the number of the answer.
        fn run(&mut self, op: Op, mut tamper: impl FnMut(u32, Result<u32, i32>) -> Result<u32, i32>) -> Done {
            self.with(|disk, turn| disk.begin(op, turn));
            let deadline = Instant::now() + Duration::from_secs(20);
            for answer in 0.. {
                let mut done = Vec::new();
                while done.is_empty() {
                    assert!(Instant::now() < deadline, "a disk operation never ended");
                    self.ring.turn(Some(Duration::from_millis(100)), &mut done).unwrap();
                }
                assert_eq!(done.len(), 1);
                let mut completion = done.remove(0);
                completion.result = tamper(answer, completion.result);
                let Token::Disk(place) = completion.token else { panic!("only the disk is here") };
                if let Some(done) = self.with(|disk, turn| disk.completed(place, completion, turn)) {
                    assert!(self.disk.jobs.iter().all(Option::is_none));
                    return done;
                }
            }
            unreachable!("the loop ends by itself or by its deadline")
        }
    }

    const ID: OpId = OpId(1);

    fn data() -> Payload {
        (0..16u32 * 4096).map(|n| (n / 5) as u8).collect::<Vec<u8>>().into()
    }

    fn write() -> Op {
        let parts = (0..16).map(|n| data().slice(n * 4096, 4096)).collect();
        Op::Write { id: ID, at: 4096, parts, durable: true }
    }

    fn read() -> Op {
        Op::Read { id: ID, at: 4096, len: 16 * 4096 }
    }

    fn honest(_: u32, result: Result<u32, i32>) -> Result<u32, i32> {
        result
    }

    #[test]
    fn transfers_that_are_cut_short_go_on_at_whole_blocks() {
        for cut in [1, 4095, 4096, 5000, 60_000] {
            let mut bench = Bench::new(libc::O_DIRECT);
            let short = |n: u32, result: Result<u32, i32>| if n < 3 { result.map(|r| r.min(cut)) } else { result };
            assert!(bench.run(write(), short).result.unwrap().is_empty());
            assert!(bench.run(read(), short).result.unwrap() == data(), "cut at {cut}");
            let zero = Op::Zero { id: ID, at: 8192, len: 8192 };
            assert!(bench.run(zero, short).result.is_ok());
            let bytes = bench.run(read(), honest).result.unwrap();
            assert!(bytes[..4096] == data()[..4096] && bytes[4096..12288].iter().all(|&b| b == 0));
            assert!(bytes[12288..] == data()[12288..]);
        }
    }

    #[test]
    fn an_interruption_is_passed_over_and_an_endless_one_is_a_fault() {
        let flush = Op::Flush { id: ID };
        let zero = Op::Zero { id: ID, at: 0, len: 4096 };
        for op in [write(), read(), zero, flush] {
            for code in [libc::EINTR, libc::EAGAIN] {
                let mut bench = Bench::new(libc::O_DIRECT);
                let twice = |n: u32, result| if n < 2 { Err(code) } else { result };
                assert!(bench.run(op.clone(), twice).result.is_ok(), "{op:?}");
                let done = bench.run(op.clone(), |_, _| Err(code));
                assert!(matches!(done.result, Err(Fault::Os(c)) if c == code), "{op:?}");
            }
        }
    }

    #[test]
    fn what_fails_is_a_fault_with_its_number_and_is_not_tried_again() {
        let ops = [write(), read(), Op::Zero { id: ID, at: 0, len: 4096 }, Op::Flush { id: ID }];
        for op in ops {
            let mut bench = Bench::new(libc::O_DIRECT);
            let mut answers = 0;
            let done = bench.run(op, |_, _| {
                answers += 1;
                Err(libc::EIO)
            });
            assert!(matches!(done.result, Err(Fault::Os(libc::EIO))));
            assert_eq!(answers, 1);
        }
    }

    #[test]
    fn a_write_of_nothing_is_short_and_a_read_of_nothing_is_the_end() {
        let mut bench = Bench::new(libc::O_DIRECT);
        for op in [write(), Op::Zero { id: ID, at: 0, len: 4096 }] {
            assert!(matches!(bench.run(op, |_, _| Ok(0)).result, Err(Fault::Short)));
        }
        bench.run(write(), honest).result.unwrap();
        let half = |n: u32, result: Result<u32, i32>| if n == 0 { result.map(|_| 8192) } else { Ok(0) };
        let bytes = bench.run(read(), half).result.unwrap();
        assert!(bytes[..8192] == data()[..8192] && bytes[8192..].iter().all(|&b| b == 0));
    }

    #[test]
    fn where_the_page_cache_cannot_be_passed_by_it_is_used() {
        // Flags that no file system takes when it makes a file.
        let mut bench = Bench::new(libc::O_TMPFILE);
        assert_eq!(bench.disk.status(), Status { created: true, direct: false, device: false });
        bench.run(write(), honest).result.unwrap();
        assert!(bench.run(read(), honest).result.unwrap() == data());
        assert_eq!(bench.counters.bytes_copied, 0);
    }
}
