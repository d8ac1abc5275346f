//! The kernel's ring: operations go in with the memory they need, and come back with it.
//!
//! An [`Operation`] owns its buffers and its file; both are in the ring's hands from [`Ring::push`] until the completion is
//! taken, whatever becomes of whoever asked. So no buffer can be freed or reused under the kernel, and no file number can
//! be closed and given to another file in between. [`Ring::turn`] enters the kernel exactly once.
//!
//! This page is the seam for a second driver: one over epoll and positioned reads would offer the same three verbs, `push`,
//! `cancel` and `turn`, and nothing above would change.
#![allow(unsafe_code)]

use crate::arena::Buffer;
use bytes::Bytes;
use io_uring::types::{CancelBuilder, Fd, Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A file that operations in flight keep open.
pub type File = Rc<OwnedFd>;

/// The most parts one write or send can have (IOV_MAX).
pub const PARTS_MAX: usize = 1024;

/// Something to do, with all that it needs.
pub enum Operation {
    /// Take one connection from a listener. The result is in [`Completion::accepted`].
    Accept {
        /// The listener.
        file: File,
    },
    /// Connect a socket.
    Connect {
        /// The socket.
        file: File,
        /// To where.
        to: SocketAddr,
    },
    /// Receive into `into` from `at` on.
    Receive {
        /// The socket.
        file: File,
        /// Where to.
        into: Buffer,
        /// Its first byte to fill.
        at: usize,
    },
    /// Send all parts as one.
    Send {
        /// The socket.
        file: File,
        /// At most [`PARTS_MAX`].
        parts: Vec<Bytes>,
    },
    /// Read into `into` from `at` on, from `offset` in the file.
    Read {
        /// The file.
        file: File,
        /// Where to.
        into: Buffer,
        /// Its first byte to fill.
        at: usize,
        /// Where from.
        offset: u64,
    },
    /// Write all parts, one behind the other.
    Write {
        /// The file.
        file: File,
        /// At most [`PARTS_MAX`].
        parts: Vec<Bytes>,
        /// Where to.
        offset: u64,
        /// Whether it must be durable when it ends.
        durable: bool,
    },
    /// fdatasync.
    Sync {
        /// The file.
        file: File,
    },
    /// Wait until it can be read.
    Poll {
        /// The file.
        file: File,
    },
}

/// An operation that ended.
pub struct Completion<T> {
    /// As given to [`Ring::push`].
    pub token: T,
    /// Bytes moved, or the error number.
    pub result: Result<u32, i32>,
    /// A connection that was accepted.
    pub accepted: Option<OwnedFd>,
    /// What was asked, with its memory.
    pub operation: Operation,
}

/// Names an operation in flight, for [`Ring::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// What the kernel may look at while an operation is in flight. Boxed, so that it does not move; reused, so that an
/// operation allocates nothing here.
struct Slot<T> {
    inside: Option<(T, Operation)>,
    iovecs: Vec<libc::iovec>,
    message: libc::msghdr,
    address: libc::sockaddr_storage,
}

/// The ring. Belongs to the thread that made it.
pub struct Ring<T> {
    ring: IoUring,
    // Boxed on purpose: the kernel has pointers into the slots, and the vector moves when it grows.
    #[allow(clippy::vec_box)]
    slots: Vec<Box<Slot<T>>>,
    free: Vec<u32>,
    /// Entries that did not fit into the submission queue; in order.
    waiting: VecDeque<squeue::Entry>,
    registered: Option<File>,
    pushed: u64,
    /// Keeps the ring on its thread, as SINGLE_ISSUER demands.
    _here: std::marker::PhantomData<*const ()>,
}

const ENTRIES: u32 = 512;
const COMPLETIONS: u32 = 4096;
/// The user data of cancellations; nobody waits for their end.
const NOBODY: u64 = u64::MAX;

fn open() -> io::Result<IoUring> {
    // The newest way first. A kernel that does not know a flag says EINVAL.
    let mut result = IoUring::builder()
        .setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .dontfork()
        .build(ENTRIES);
    if matches!(&result, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
        result = IoUring::builder().setup_cqsize(COMPLETIONS).setup_coop_taskrun().dontfork().build(ENTRIES);
    }
    if matches!(&result, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
        result = IoUring::builder().setup_cqsize(COMPLETIONS).dontfork().build(ENTRIES);
    }
    let ring = result?;
    if ring.params().is_feature_ext_arg() && ring.params().is_feature_nodrop() {
        Ok(ring)
    } else {
        // Linux before 5.11: a wait could not have a deadline.
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
}

impl<T: Copy> Ring<T> {
    /// Opens a ring for this thread.
    pub fn new() -> io::Result<Self> {
        let (slots, free, waiting) = (Vec::new(), Vec::new(), VecDeque::new());
        let here = std::marker::PhantomData;
        Ok(Self { ring: open()?, slots, free, waiting, registered: None, pushed: 0, _here: here })
    }

    /// Makes operations on this one file cheaper: the kernel keeps hold of it. A ring that cannot goes on without.
    pub fn register(&mut self, file: &File) {
        if self.ring.submitter().register_files(&[file.as_raw_fd()]).is_ok() {
            self.registered = Some(file.clone());
        }
    }

    /// Entries handed in so far.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Operations in flight.
    #[cfg(test)]
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Hands an operation in. It is begun by the next [`Self::turn`].
    pub fn push(&mut self, token: T, operation: Operation) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            // SAFETY: both are plain C structures for which all zeroes is a valid value.
            let (message, address) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
            self.slots.push(Box::new(Slot { inside: None, iovecs: Vec::new(), message, address }));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut *self.slots[index as usize];
        assert!(slot.inside.is_none(), "a slot of the ring was given out twice");
        slot.inside = Some((token, operation));
        let entry = slot.entry(self.registered.as_ref()).user_data(u64::from(index));
        self.queue(entry);
        Ticket(index)
    }

    /// Ends an operation early, if it has not ended yet. Its completion comes all the same.
    pub fn cancel(&mut self, ticket: Ticket) {
        // Entries are begun in order, so this is seen before whatever takes the slot next.
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(u64::from(ticket.0))).build();
        self.queue(entry.user_data(NOBODY));
    }

    fn queue(&mut self, entry: squeue::Entry) {
        self.pushed += 1;
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

    /// Begins what was handed in and waits until something ends or the time is over: one system call. With no time it
    /// waits for ever.
    pub fn turn(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion<T>>) -> io::Result<()> {
        self.fill();
        let timeout = if self.waiting.is_empty() { timeout } else { Some(Duration::ZERO) };
        let result = match timeout {
            None => self.ring.submitter().submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        if let Err(e) = result {
            // The time is over; a signal; completions must be taken first; no memory for a request just now.
            let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
            if !e.raw_os_error().is_some_and(|code| passing.contains(&code)) {
                return Err(e);
            }
        }
        self.collect(done);
        Ok(())
    }

    fn collect(&mut self, done: &mut Vec<Completion<T>>) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        for entry in self.ring.completion() {
            let entry: cqueue::Entry = entry;
            if entry.user_data() == NOBODY {
                continue;
            }
            let index = entry.user_data() as usize;
            let (token, operation) = slots[index].inside.take().expect("the kernel ended an operation twice");
            free.push(index as u32);
            let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
            let accepted = match (&operation, result) {
                // SAFETY: accept returned a new descriptor, and nobody else has seen it.
                (Operation::Accept { .. }, Ok(fd)) => Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
                _ => None,
            };
            done.push(Completion { token, result, accepted, operation });
        }
    }
}

impl<T> Slot<T> {
    fn parts(iovecs: &mut Vec<libc::iovec>, parts: &[Bytes]) {
        assert!(parts.len() <= PARTS_MAX, "{} parts in one operation; the kernel takes {PARTS_MAX}", parts.len());
        iovecs.clear();
        iovecs.extend(parts.iter().map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() }));
    }

    /// The entry of what is inside. It points into this slot and into the operation's memory.
    fn entry(&mut self, registered: Option<&File>) -> squeue::Entry {
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
            Operation::Receive { file, into, at } => {
                let space = &mut into[*at..];
                opcode::Recv::new(Fd(file.as_raw_fd()), space.as_mut_ptr(), space.len() as u32).build()
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

/// Writes `to` as the kernel has it; returns its length.
fn write_address(storage: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    match to {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for every kind of address.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in>().write(address) };
            size_of::<libc::sockaddr_in>() as _
        }
        SocketAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in6>().write(address) };
            size_of::<libc::sockaddr_in6>() as _
        }
    }
}

impl<T> Drop for Ring<T> {
    /// Ends what is in flight, so that its files are closed when this returns. What does not end in a second (a disk that
    /// hangs) keeps its memory for ever: the kernel may still write there.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        let in_flight: Vec<usize> = (0..self.slots.len()).filter(|&i| self.slots[i].inside.is_some()).collect();
        // What still waits behind a full queue is begun first, and ended right after: the order of entries holds.
        for index in &in_flight {
            let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(*index as u64)).build().user_data(NOBODY);
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
                self.slots[entry.user_data() as usize].inside = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn ring() -> Ring<u32> {
        Ring::new().expect("these tests need io_uring")
    }

    fn until(ring: &mut Ring<u32>, count: usize) -> Vec<Completion<u32>> {
        let (mut done, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(10));
        while done.len() < count {
            assert!(Instant::now() < deadline, "only {} of {count} operations ended", done.len());
            ring.turn(Some(Duration::from_millis(100)), &mut done).unwrap();
        }
        done
    }

    fn file(f: impl Into<OwnedFd>) -> File {
        Rc::new(f.into())
    }

    #[test]
    fn more_operations_than_the_queue_holds_all_end() {
        let mut ring = ring();
        let path = std::env::temp_dir().join(format!("seawall-ring-{:x}", crate::entropy_u64()));
        let open = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let data = file(open);
        ring.register(&data);
        let count = ENTRIES * 3;
        for n in 0..count {
            let parts = vec![Bytes::from(vec![n as u8; 8]), Bytes::from_static(b"--------")];
            ring.push(
                n,
                Operation::Write { file: data.clone(), parts, offset: u64::from(n) * 16, durable: n % 500 == 0 },
            );
        }
        assert!(until(&mut ring, count as usize).iter().all(|c| c.result == Ok(16)));
        ring.push(7, Operation::Sync { file: data.clone() });
        assert_eq!(until(&mut ring, 1)[0].result, Ok(0));
        let into = Arena::new().take(count as usize * 16);
        ring.push(8, Operation::Read { file: data.clone(), into, at: 0, offset: 0 });
        let done = until(&mut ring, 1).pop().unwrap();
        let Operation::Read { into, .. } = done.operation else { panic!("a read comes back as a read") };
        assert_eq!(done.result, Ok(count * 16));
        assert!(into.chunks(16).zip(0u32..).all(|(c, n)| c[..8] == [n as u8; 8] && &c[8..] == b"--------"));
        assert_eq!(ring.in_flight(), 0);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn sockets_connect_send_and_receive_over_both_families() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else { continue };
            let (mut ring, arena, to) = (ring(), Arena::new(), listener.local_addr().unwrap());
            let socket = file(crate::os::tcp_socket(to).unwrap());
            ring.push(1, Operation::Accept { file: file(listener) });
            ring.push(2, Operation::Connect { file: socket.clone(), to });
            let mut done = until(&mut ring, 2);
            let accepted = done.iter_mut().find_map(|c| c.accepted.take()).unwrap();
            let parts = vec![Bytes::from_static(b"one "), Bytes::from_static(b"message")];
            ring.push(3, Operation::Send { file: socket, parts });
            ring.push(4, Operation::Receive { file: file(accepted), into: arena.take(64), at: 4 });
            let done = until(&mut ring, 2);
            let received = done.into_iter().find(|c| c.token == 4).unwrap();
            let Operation::Receive { into, .. } = received.operation else { panic!("a receive comes back") };
            assert_eq!((received.result, &into[4..15]), (Ok(11), &b"one message"[..]));
        }
    }

    #[test]
    fn a_cancelled_operation_gives_its_memory_back() {
        let (mut ring, arena) = (ring(), Arena::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let peer = file(peer);
        let ticket = ring.push(1, Operation::Receive { file: peer.clone(), into: arena.take(4096), at: 0 });
        let mut done = Vec::new();
        ring.turn(Some(Duration::ZERO), &mut done).unwrap();
        assert!(done.is_empty());
        ring.cancel(ticket);
        let done = until(&mut ring, 1);
        assert_eq!((done[0].token, done[0].result), (1, Err(libc::ECANCELED)));
        stream.write_all(b"x").unwrap();
        ring.push(2, Operation::Poll { file: peer });
        assert_eq!(until(&mut ring, 1)[0].token, 2);
    }

    #[test]
    fn a_dropped_ring_closes_what_it_held() {
        let mut ring = ring();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        ring.push(1, Operation::Accept { file: file(listener) });
        ring.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        drop(ring);
        assert_eq!(TcpStream::connect(to).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_wait_ends_at_its_time() {
        let mut ring = ring();
        let began = Instant::now();
        ring.turn(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(19));
    }
}
