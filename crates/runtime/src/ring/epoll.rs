//! Readiness instead of completion, for where io_uring is forbidden: epoll for sockets and events, threads ([`super::pool`])
//! for the disk, behind the same three verbs.
//!
//! What can be done without waiting is done by [`Epoll::turn`] at once; the rest waits for its side of its file to become
//! ready. A file is made non-blocking and registered once, edge-triggered, when it is first seen: a wait costs no system call
//! of its own, and an edge that nobody waited for is remembered in [`Watch`]. The kernel forgets a file when it is closed; its number may
//! then be another file's, which the generation in an event tells apart.
//!
//! Against the ring it costs a system call for each operation, and two changes of thread for each of the disk; and its clock is
//! of whole milliseconds, rounded up: a deadline is met by so much later, never early.

use super::pool::{Ended, Job, Pool, THREADS_MAX, Work};
use super::{Completion, File, Operation, PARTS_MAX, Ticket, write_address};
use crate::os;
use base::map::Map;
use bytes::Bytes;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// Events taken in one turn; more are there in the next.
const EVENTS_MAX: usize = 256;
/// The number of the pool's bell among events.
const BELL: u64 = u64::MAX;
/// The offset of a read of what has no positions.
const NO_OFFSET: u64 = u64::MAX;

const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const HUNG: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// Where an operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Handed in and not begun.
    Queued,
    /// Likewise, and cancelled: tried once, never waited for.
    Unwanted,
    /// Until its file is ready.
    Waiting,
    /// With a thread.
    Disk,
    /// Over; its completion comes with the next turn. Or nothing is here.
    Over,
}

struct Slot<T> {
    /// Of what is inside: a ticket of what was inside before names nothing any more.
    generation: u32,
    state: State,
    inside: Option<(T, Operation)>,
    iovecs: Vec<libc::iovec>,
}

/// What is known of a registered file.
struct Watch {
    /// Whose number it is. Weak: an operation keeps its file open, this does not.
    file: Weak<OwnedFd>,
    generation: u32,
    readable: bool,
    writable: bool,
    /// The other end is gone or broken: from now on readiness is never taken back.
    hung: bool,
    /// The slots that wait.
    reader: Option<u32>,
    writer: Option<u32>,
}

/// The driver. Belongs to the thread that made it.
pub struct Epoll<T> {
    poll: OwnedFd,
    pool: Pool,
    _bell: OwnedFd,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    queued: Vec<u32>,
    /// Over without having been tried: cancelled.
    over: Vec<Ended>,
    watches: Map<RawFd, Watch>,
    generation: u32,
    /// Reused from turn to turn.
    jobs: Vec<Job>,
    events: Vec<libc::epoll_event>,
}

impl<T: Copy> Epoll<T> {
    /// Opens one for this thread.
    pub fn new() -> io::Result<Self> {
        let (pool, bell) = Pool::new(THREADS_MAX)?;
        let poll = os::epoll()?;
        os::epoll_add(&poll, bell.as_raw_fd(), (libc::EPOLLIN | libc::EPOLLET) as u32, BELL)?;
        Ok(Self {
            poll,
            pool,
            _bell: bell,
            slots: Vec::new(),
            free: Vec::new(),
            queued: Vec::new(),
            over: Vec::new(),
            watches: Map::default(),
            generation: 0,
            jobs: Vec::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
        })
    }

    /// Operations in flight.
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes an operation in.
    pub fn push(&mut self, token: T, operation: Operation) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Over, inside: None, iovecs: Vec::new() });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        assert!(slot.inside.is_none(), "a slot of the driver was given out twice");
        slot.inside = Some((token, operation));
        slot.state = State::Queued;
        slot.generation = slot.generation.wrapping_add(1);
        self.queued.push(index);
        Ticket { index, generation: slot.generation }
    }

    /// Ends an operation early, if it can be. What a thread has in hand ends by itself.
    pub fn cancel(&mut self, ticket: Ticket) {
        let slot = &mut self.slots[ticket.index as usize];
        let Some((_, operation)) = slot.inside.as_ref().filter(|_| slot.generation == ticket.generation) else {
            return;
        };
        match slot.state {
            State::Queued => slot.state = State::Unwanted,
            State::Waiting => {
                slot.state = State::Over;
                let watch = self.watches.get_mut(&fd_of(operation)).expect("what waits is watched");
                *watch.waiter(operation) = None;
                self.over.push((ticket.index, Err(libc::ECANCELED)));
            }
            State::Unwanted | State::Disk | State::Over => {}
        }
    }

    /// Does what can be done, then waits until something ends or the time is over.
    pub fn turn(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion<T>>) -> io::Result<()> {
        for index in std::mem::take(&mut self.queued) {
            self.begin(index, done);
        }
        self.pool.submit(&mut self.jobs);
        for (index, result) in std::mem::take(&mut self.over) {
            self.end(index, result, done);
        }
        let timeout = if done.is_empty() { timeout } else { Some(Duration::ZERO) };
        for at in 0..os::epoll_wait(&self.poll, &mut self.events, timeout)? {
            let (bits, number) = (self.events[at].events, self.events[at].u64);
            match number {
                BELL => self.collect(done),
                _ => self.ready(number as u32 as RawFd, (number >> 32) as u32, bits, done),
            }
        }
        Ok(())
    }

    fn collect(&mut self, done: &mut Vec<Completion<T>>) {
        for (index, result) in self.pool.ended() {
            self.end(index, result, done);
        }
    }

    fn begin(&mut self, index: u32, done: &mut Vec<Completion<T>>) {
        let slot = &mut self.slots[index as usize];
        let (_, operation) = slot.inside.as_mut().expect("what was queued is in its slot");
        if let Some(work) = work_of(operation, &mut slot.iovecs) {
            slot.state = State::Disk;
            return self.jobs.push(Job { slot: index, file: fd_of(operation), work });
        }
        let first = match self.watched(index) {
            Ok(first) => first,
            Err(why) => return self.end(index, Err(why.raw_os_error().unwrap_or(libc::EIO)), done),
        };
        if let Operation::Connect { file, to } = &self.operation(index) {
            let begun = connect(file.as_raw_fd(), *to);
            if begun != Err(libc::EINPROGRESS) {
                return self.end(index, begun, done);
            }
            self.wait(index, done);
        } else if first || self.watch(index).is_ready(self.operation(index)) {
            self.attempt(index, done);
        } else {
            self.wait(index, done);
        }
    }

    fn operation(&self, index: u32) -> &Operation {
        &self.slots[index as usize].inside.as_ref().expect("an operation under way").1
    }

    fn watch(&self, index: u32) -> &Watch {
        self.watches.get(&fd_of(self.operation(index))).expect("its file was registered when it was begun")
    }

    /// Sees to it that the file of an operation is registered. Whether it was not before.
    fn watched(&mut self, index: u32) -> io::Result<bool> {
        let file = file_of(self.operation(index));
        let fd = file.as_raw_fd();
        if self.watches.get(&fd).is_some_and(|watch| std::ptr::eq(watch.file.as_ptr(), Rc::as_ptr(file))) {
            return Ok(false);
        }
        let file = Rc::downgrade(file);
        os::set_nonblocking(fd)?;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let number = u64::from(generation) << 32 | u64::from(fd as u32);
        os::epoll_add(&self.poll, fd, READABLE | WRITABLE | libc::EPOLLET as u32, number)?;
        let (readable, writable, hung, reader, writer) = (true, true, false, None, None);
        self.watches.insert(fd, Watch { file, generation, readable, writable, hung, reader, writer });
        Ok(true)
    }

    /// Tries an operation; when it would have to wait, it waits.
    fn attempt(&mut self, index: u32, done: &mut Vec<Completion<T>>) {
        let slot = &mut self.slots[index as usize];
        let (_, operation) = slot.inside.as_mut().expect("an operation under way");
        let result = attempt(operation, &mut slot.iovecs);
        let fd = fd_of(operation);
        let watch = self.watches.get_mut(&fd).expect("its file was registered when it was begun");
        match result {
            Err(libc::EAGAIN) => {
                watch.drained(operation);
                self.wait(index, done);
            }
            result => {
                // A stream that gives or takes less than it could has no more for now.
                if matches!(result, Ok(moved) if (moved as usize) < asked(operation)) && !watch.hung {
                    watch.drained(operation);
                }
                self.end(index, result, done);
            }
        }
    }

    fn wait(&mut self, index: u32, done: &mut Vec<Completion<T>>) {
        let slot = &mut self.slots[index as usize];
        if slot.state == State::Unwanted {
            return self.end(index, Err(libc::ECANCELED), done);
        }
        slot.state = State::Waiting;
        let (_, operation) = slot.inside.as_ref().expect("an operation under way");
        let watch = self.watches.get_mut(&fd_of(operation)).expect("its file was registered when it was begun");
        let waiter = watch.waiter(operation);
        assert!(waiter.is_none_or(|other| other == index), "two operations wait for one side of a file");
        *waiter = Some(index);
    }

    /// Something happened to a file.
    fn ready(&mut self, fd: RawFd, generation: u32, bits: u32, done: &mut Vec<Completion<T>>) {
        let Some(watch) = self.watches.get_mut(&fd).filter(|watch| watch.generation == generation) else { return };
        watch.readable |= bits & READABLE != 0;
        watch.writable |= bits & WRITABLE != 0;
        watch.hung |= bits & HUNG != 0;
        let reader = watch.reader.take_if(|_| watch.readable);
        let writer = watch.writer.take_if(|_| watch.writable);
        for index in reader.into_iter().chain(writer) {
            self.attempt(index, done);
        }
    }

    fn end(&mut self, index: u32, result: Result<u32, i32>, done: &mut Vec<Completion<T>>) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Over;
        let (token, operation) = slot.inside.take().expect("an operation ended twice");
        self.free.push(index);
        let accepted = match (&operation, result) {
            // SAFETY: accept returned a new descriptor, and nobody else has seen it.
            (Operation::Accept { .. }, Ok(fd)) => Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
            _ => None,
        };
        done.push(Completion { token, result, accepted, operation, dry: false });
    }
}

impl Watch {
    fn waiter(&mut self, operation: &Operation) -> &mut Option<u32> {
        if writes(operation) { &mut self.writer } else { &mut self.reader }
    }

    fn is_ready(&self, operation: &Operation) -> bool {
        if writes(operation) { self.writable } else { self.readable }
    }

    fn drained(&mut self, operation: &Operation) {
        *(if writes(operation) { &mut self.writable } else { &mut self.readable }) = false;
    }
}

/// Whether an operation waits until its file takes something, rather than has something.
fn writes(operation: &Operation) -> bool {
    matches!(operation, Operation::Connect { .. } | Operation::Send { .. })
}

fn file_of(operation: &Operation) -> &File {
    let (Operation::Accept { file }
    | Operation::Connect { file, .. }
    | Operation::Receive { file, .. }
    | Operation::Send { file, .. }
    | Operation::Read { file, .. }
    | Operation::Write { file, .. }
    | Operation::Sync { file }
    | Operation::Poll { file }) = operation;
    file
}

fn fd_of(operation: &Operation) -> RawFd {
    file_of(operation).as_raw_fd()
}

/// Bytes that a stream was asked to move; nothing of what is no stream.
fn asked(operation: &Operation) -> usize {
    match operation {
        Operation::Receive { into, at, .. } => into.len() - at,
        Operation::Send { parts, .. } => parts.iter().map(Bytes::len).sum(),
        _ => 0,
    }
}

fn vector(iovecs: &mut Vec<libc::iovec>, parts: &[Bytes]) {
    assert!(parts.len() <= PARTS_MAX, "{} parts in one operation; the kernel takes {PARTS_MAX}", parts.len());
    iovecs.clear();
    iovecs.extend(parts.iter().map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() }));
}

/// What a thread is to do for an operation of the disk; none of others. It points into the operation and `iovecs`.
fn work_of(operation: &mut Operation, iovecs: &mut Vec<libc::iovec>) -> Option<Work> {
    match operation {
        Operation::Read { into, at, offset, .. } if *offset != NO_OFFSET => {
            let space = &mut into[*at..];
            Some(Work::Read { to: space.as_mut_ptr(), len: space.len(), offset: *offset })
        }
        Operation::Write { parts, offset, durable, .. } => {
            vector(iovecs, parts);
            let (parts, count) = (iovecs.as_ptr(), iovecs.len());
            Some(Work::Write { parts, count, offset: *offset, durable: *durable })
        }
        Operation::Sync { .. } => Some(Work::Sync),
        _ => None,
    }
}

fn connect(fd: RawFd, to: std::net::SocketAddr) -> Result<u32, i32> {
    // SAFETY: it is a plain C structure for which all zeroes is a valid value.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let len = write_address(&mut address, to);
    // SAFETY: the address is on our stack and its length is given.
    moved(unsafe { libc::connect(fd, (&raw const address).cast(), len) } as isize)
}

fn moved(result: isize) -> Result<u32, i32> {
    u32::try_from(result).map_err(|_| os::last_error())
}

/// Tries an operation of a file that does not block. EAGAIN says that it must wait.
fn attempt(operation: &mut Operation, iovecs: &mut Vec<libc::iovec>) -> Result<u32, i32> {
    let fd = fd_of(operation);
    match operation {
        Operation::Accept { .. } => {
            let (address, len) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: no memory is passed.
            moved(unsafe { libc::accept4(fd, address, len, libc::SOCK_CLOEXEC) } as isize)
        }
        // An event of before the call is none of it.
        Operation::Connect { .. } if !os::is_ready(fd, libc::POLLOUT) => Err(libc::EAGAIN),
        Operation::Connect { .. } => os::socket_error(fd).map(|()| 0),
        Operation::Receive { into, at, .. } => {
            let space = &mut into[*at..];
            // SAFETY: `space` is ours to write to.
            moved(unsafe { libc::recv(fd, space.as_mut_ptr().cast(), space.len(), 0) })
        }
        Operation::Send { parts, .. } => {
            vector(iovecs, parts);
            // SAFETY: it is a plain C structure for which all zeroes is a valid value.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = iovecs.as_mut_ptr();
            message.msg_iovlen = iovecs.len() as _;
            // SAFETY: the message names the parts, which are the operation's.
            moved(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
        }
        Operation::Read { into, at, .. } => {
            let space = &mut into[*at..];
            // SAFETY: `space` is ours to write to.
            moved(unsafe { libc::read(fd, space.as_mut_ptr().cast(), space.len()) })
        }
        Operation::Poll { .. } if os::is_ready(fd, libc::POLLIN) => Ok(libc::POLLIN as u32),
        Operation::Poll { .. } => Err(libc::EAGAIN),
        Operation::Write { .. } | Operation::Sync { .. } => unreachable!("threads do what is the disk's"),
    }
}

impl<T> Drop for Epoll<T> {
    /// Waits for what threads have in hand, so that its files are closed when this returns. What does not end in a second (a disk
    /// that hangs) keeps its memory and its file for ever: a thread may still use both.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        for job in self.jobs.drain(..).chain(self.pool.take_back()) {
            self.slots[job.slot as usize].state = State::Over;
        }
        let in_hand = |slots: &[Slot<T>]| slots.iter().any(|slot| slot.state == State::Disk);
        while in_hand(&self.slots) && Instant::now() < deadline {
            for (index, _) in self.pool.ended() {
                self.slots[index as usize].state = State::Over;
            }
            if in_hand(&self.slots) {
                let _ = os::epoll_wait(&self.poll, &mut self.events, Some(Duration::from_millis(10)));
            }
        }
        for slot in self.slots.drain(..).filter(|slot| slot.state == State::Disk) {
            std::mem::forget(slot);
        }
    }
}
