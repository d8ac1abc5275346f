//! The ring of the kernel (io_uring): an operation is an entry; what was handed in and what ended pass in one system call.
//!
//! The kernel has pointers into a slot and into the operation's memory from the entry on; neither moves nor is touched until
//! the completion, and what never completes is never freed.

use super::{Completion, File, Operation, PARTS_MAX, Ticket, write_address};
use bytes::Bytes;
use io_uring::types::{CancelBuilder, Fd, Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What the kernel may look at while an operation is in flight. Boxed, so that it does not move; reused, so that an
/// operation allocates nothing here.
struct Slot<T> {
    /// Of what is inside: a ticket of what was inside before names nothing any more.
    generation: u32,
    inside: Option<(T, Operation)>,
    iovecs: Vec<libc::iovec>,
    message: libc::msghdr,
    address: libc::sockaddr_storage,
}

/// The kernel's ring. Belongs to the thread that made it.
pub struct Uring<T> {
    ring: IoUring,
    // Boxed on purpose: the kernel has pointers into the slots, and the vector moves when it grows.
    #[allow(clippy::vec_box)]
    slots: Vec<Box<Slot<T>>>,
    free: Vec<u32>,
    /// Entries that did not fit into the submission queue; in order.
    waiting: VecDeque<squeue::Entry>,
    registered: Option<File>,
    /// Reads of the registered file in flight.
    reads: u32,
    /// Whether the kernel can wait before it looks, and tells whether more is there (since Linux 5.19).
    polls_first: bool,
    /// Keeps the ring on its thread, as SINGLE_ISSUER demands.
    _here: std::marker::PhantomData<*const ()>,
}

/// In the submission queue; more wait behind it.
pub const ENTRIES: u32 = 512;
const COMPLETIONS: u32 = 4096;
/// Of reads under way one in so many is waited for...
const GATHERED_OF: u32 = 3;
/// ...but no more than these...
const GATHERED_MOST: u32 = 8;
/// ...and for no longer than this: about what it costs everybody to be woken once more (docs/measured.md).
const GATHERED_WITHIN: Duration = Duration::from_micros(150);
/// Of a receive, in `ioprio`: wait before looking (IORING_RECVSEND_POLL_FIRST).
const POLL_FIRST: u16 = 1;
/// Of io_uring_enter: completions are wanted.
const GET_EVENTS: u32 = 1;
/// The user data of cancellations; nobody waits for their end.
const NOBODY: u64 = u64::MAX;

/// A ring, and whether its kernel is as new as this program likes it (Linux 6.1).
fn open() -> io::Result<(IoUring, bool)> {
    // The newest way first. A kernel that does not know a flag says EINVAL.
    let mut result = IoUring::builder()
        .setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .dontfork()
        .build(ENTRIES);
    let is_old = matches!(&result, Err(e) if e.raw_os_error() == Some(libc::EINVAL));
    if is_old {
        result = IoUring::builder().setup_cqsize(COMPLETIONS).setup_coop_taskrun().dontfork().build(ENTRIES);
    }
    if matches!(&result, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
        result = IoUring::builder().setup_cqsize(COMPLETIONS).dontfork().build(ENTRIES);
    }
    let ring = result?;
    if ring.params().is_feature_ext_arg() && ring.params().is_feature_nodrop() {
        Ok((ring, !is_old))
    } else {
        // Linux before 5.11: a wait could not have a deadline.
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
}

impl<T: Copy> Uring<T> {
    /// Opens a ring for this thread.
    pub fn new() -> io::Result<Self> {
        let (slots, free, waiting) = (Vec::new(), Vec::new(), VecDeque::new());
        let here = std::marker::PhantomData;
        let (ring, polls_first) = open()?;
        Ok(Self { ring, slots, free, waiting, registered: None, reads: 0, polls_first, _here: here })
    }

    /// Makes operations on this one file cheaper: the kernel keeps hold of it. A ring that cannot goes on without. Before the first operation.
    pub fn register(&mut self, file: &File) {
        assert!(self.slots.is_empty(), "a file is registered before anything is asked of the ring");
        if self.ring.submitter().register_files(&[file.as_raw_fd()]).is_ok() {
            self.registered = Some(file.clone());
        }
    }

    /// Operations in flight.
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Hands an operation in. It is begun by the next [`Self::turn`].
    pub fn push(&mut self, token: T, operation: Operation) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            // SAFETY: both are plain C structures for which all zeroes is a valid value.
            let (message, address) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
            self.slots.push(Box::new(Slot { generation: 0, inside: None, iovecs: Vec::new(), message, address }));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut *self.slots[index as usize];
        assert!(slot.inside.is_none(), "a slot of the ring was given out twice");
        self.reads += u32::from(operation.is_read_of(self.registered.as_ref()));
        slot.inside = Some((token, operation));
        slot.generation = slot.generation.wrapping_add(1);
        let ticket = Ticket { index, generation: slot.generation };
        let entry = slot.entry(self.registered.as_ref(), self.polls_first).user_data(ticket.number());
        self.queue(entry);
        ticket
    }

    /// Ends an operation early, if it has not ended yet. Its completion comes all the same.
    pub fn cancel(&mut self, ticket: Ticket) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(ticket.number())).build();
        self.queue(entry.user_data(NOBODY));
    }

    fn queue(&mut self, entry: squeue::Entry) {
        self.waiting.push_back(entry);
        self.fill();
    }

    fn fill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: what the entry points at belongs to a slot, which is neither moved nor touched until its completion.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// Whether something has ended since the last [`Self::turn`], or some work of the kernel waits for one.
    pub fn may_have_ended(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Begins what was handed in and waits until something ends or the time is over: one system call. With no time it
    /// waits for ever. While many reads are under way it waits a little for several of them, so that whoever is sent what
    /// they brought is woken once for it.
    pub fn turn(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion<T>>) -> io::Result<()> {
        self.fill();
        let timeout = if self.waiting.is_empty() { timeout } else { Some(Duration::ZERO) };
        let before = done.len();
        let several = (self.reads / GATHERED_OF).min(GATHERED_MOST);
        if several > 1 && timeout.is_none_or(|timeout| timeout > GATHERED_WITHIN) {
            passed(self.wait(several, GATHERED_WITHIN))?;
            self.collect(done);
            if done.len() > before {
                return Ok(());
            }
        }
        passed(match timeout {
            None => self.ring.submitter().submit_and_wait(1),
            Some(Duration::ZERO) => self.poll(),
            Some(timeout) => self.wait(1, timeout),
        })?;
        self.collect(done);
        Ok(())
    }

    /// Begins what was handed in and waits until so many have ended, or the time is over.
    fn wait(&self, several: u32, timeout: Duration) -> io::Result<usize> {
        let timespec = Timespec::from(timeout);
        self.ring.submitter().submit_with_args(several as usize, &SubmitArgs::new().timespec(&timespec))
    }

    /// Begins what was handed in and lets the kernel do what it has put off, without waiting for anything: one system call, or none when there is nothing to begin and
    /// nothing put off.
    fn poll(&mut self) -> io::Result<usize> {
        let queue = self.ring.submission();
        let (begin, is_put_off) = (queue.len() as u32, queue.taskrun() || queue.cq_overflow());
        drop(queue);
        if begin == 0 && !is_put_off {
            return Ok(0);
        }
        // SAFETY: no argument is passed, and the entries of the queue are as `fill` promises.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(begin, 0, GET_EVENTS, None) }
    }

    fn collect(&mut self, done: &mut Vec<Completion<T>>) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        for entry in self.ring.completion() {
            let entry: cqueue::Entry = entry;
            if entry.user_data() == NOBODY {
                continue;
            }
            let index = Ticket::of_number(entry.user_data()).index as usize;
            let (token, operation) = slots[index].inside.take().expect("the kernel ended an operation twice");
            free.push(index as u32);
            self.reads -= u32::from(operation.is_read_of(self.registered.as_ref()));
            let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
            let accepted = match (&operation, result) {
                // SAFETY: accept returned a new descriptor, and nobody else has seen it.
                (Operation::Accept { .. }, Ok(fd)) => Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
                _ => None,
            };
            let dry = self.polls_first && !cqueue::sock_nonempty(entry.flags());
            done.push(Completion { token, result, accepted, operation, dry });
        }
    }
}

/// Without what only means that the wait has ended.
fn passed(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        // The time is over; a signal; completions must be taken first; no memory for a request just now.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
        Err(e) => Err(e),
    }
}

impl Operation {
    fn is_read_of(&self, registered: Option<&File>) -> bool {
        matches!(self, Self::Read { file, .. } if is_registered(registered, file))
    }
}

impl<T> Slot<T> {
    fn parts(iovecs: &mut Vec<libc::iovec>, parts: &[Bytes]) {
        assert!(parts.len() <= PARTS_MAX, "{} parts in one operation; the kernel takes {PARTS_MAX}", parts.len());
        iovecs.clear();
        iovecs.extend(parts.iter().map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() }));
    }

    /// The entry of what is inside. It points into this slot and into the operation's memory.
    fn entry(&mut self, registered: Option<&File>, polls_first: bool) -> squeue::Entry {
        let (_, operation) = self.inside.as_mut().expect("an entry of an empty slot");
        match operation {
            Operation::Accept { file } => {
                let (address, len) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(Fd(file.as_raw_fd()), address, len).flags(libc::SOCK_CLOEXEC).build()
            }
            Operation::Connect { file, to } => {
                let len = write_address(&mut self.address, *to);
                opcode::Connect::new(Fd(file.as_raw_fd()), (&raw const self.address).cast(), len).build()
            }
            Operation::Receive { file, into, at, how } => {
                let space = &mut into[*at..];
                let first = if how.dry && polls_first { POLL_FIRST } else { 0 };
                let flags = if how.whole { libc::MSG_WAITALL } else { 0 };
                let receive = opcode::Recv::new(Fd(file.as_raw_fd()), space.as_mut_ptr(), space.len() as u32);
                receive.ioprio(first).flags(flags).build()
            }
            Operation::Send { file, parts } => {
                Self::parts(&mut self.iovecs, parts);
                self.message.msg_iov = self.iovecs.as_mut_ptr();
                self.message.msg_iovlen = self.iovecs.len() as _;
                // MSG_WAITALL: the kernel goes on by itself after a short send.
                let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32;
                opcode::SendMsg::new(Fd(file.as_raw_fd()), &raw const self.message).flags(flags).build()
            }
            Operation::Read { file, into, at, offset } => {
                let space = &mut into[*at..];
                let (to, len) = (space.as_mut_ptr(), space.len() as u32);
                match is_registered(registered, file) {
                    true => opcode::Read::new(Fixed(0), to, len).offset(*offset).build(),
                    false => opcode::Read::new(Fd(file.as_raw_fd()), to, len).offset(*offset).build(),
                }
            }
            Operation::Write { file, parts, offset, durable } => {
                Self::parts(&mut self.iovecs, parts);
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                let (from, len) = (self.iovecs.as_ptr(), self.iovecs.len() as u32);
                match is_registered(registered, file) {
                    true => opcode::Writev::new(Fixed(0), from, len).offset(*offset).rw_flags(flags).build(),
                    false => {
                        opcode::Writev::new(Fd(file.as_raw_fd()), from, len).offset(*offset).rw_flags(flags).build()
                    }
                }
            }
            Operation::Sync { file } => opcode::Fsync::new(Fd(file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build(),
            Operation::Poll { file } => opcode::PollAdd::new(Fd(file.as_raw_fd()), libc::POLLIN as u32).build(),
        }
    }
}

fn is_registered(registered: Option<&File>, file: &File) -> bool {
    registered.is_some_and(|r| Rc::ptr_eq(r, file))
}

impl<T> Drop for Uring<T> {
    /// Ends what is in flight, so that its files are closed when this returns. What does not end in a second (a disk that
    /// hangs) keeps its memory for ever: the kernel may still write there.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        let in_flight: Vec<usize> = (0..self.slots.len()).filter(|&i| self.slots[i].inside.is_some()).collect();
        // What still waits behind a full queue is begun first, and ended right after: the order of entries holds.
        for index in &in_flight {
            let ticket = Ticket { index: *index as u32, generation: self.slots[*index].generation };
            let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(ticket.number())).build().user_data(NOBODY);
            self.waiting.push_back(entry);
        }
        let mut left = in_flight.len();
        while left > 0 && Instant::now() < deadline {
            let mut queue = self.ring.submission();
            while let Some(entry) = self.waiting.front() {
                // SAFETY: as in `fill`.
                if unsafe { queue.push(entry) }.is_err() {
                    break;
                }
                self.waiting.pop_front();
            }
            drop(queue);
            let timespec = Timespec::from(Duration::from_millis(100));
            let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec));
            for entry in self.ring.completion().filter(|entry| entry.user_data() != NOBODY) {
                self.slots[Ticket::of_number(entry.user_data()).index as usize].inside = None;
                left -= 1;
            }
        }
        // The kernel takes a ring apart in its own time; what it holds for it must not stay open until then.
        if self.registered.is_some() {
            let _ = self.ring.submitter().unregister_files();
        }
        for slot in self.slots.drain(..).filter(|slot| slot.inside.is_some()) {
            std::mem::forget(slot);
        }
    }
}
