//! The seam to the kernel: operations go in with the memory they need, and come back with it.
//!
//! An [`Operation`] owns its buffers and its file; both are the ring's from [`Ring::push`] until the completion is taken,
//! whatever becomes of whoever asked. So no buffer can be freed or reused under the kernel, and no file number can be closed
//! and given to another file in between.
//!
//! Two drivers stand behind it, and nothing above can tell which: [`uring`], the kernel's own ring, and [`epoll`] with a few
//! threads for the disk, for where the first is forbidden. Both offer `push`, `cancel` and `turn`, and pass the same tests.
#![allow(unsafe_code)]

mod driver;
mod epoll;
mod patience;
mod pool;
mod uring;

pub use driver::{Driver, NoSuchDriver};

use crate::arena::Buffer;
use bytes::Bytes;
use epoll::Epoll;
use patience::Patience;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use uring::Uring;

/// A file that operations in flight keep open.
pub type File = Rc<OwnedFd>;

/// The most parts one write or send can have (IOV_MAX).
pub const PARTS_MAX: usize = 1024;

/// How to receive. A driver that cannot looks first and takes what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Nothing is there yet, as far as is known: wait before looking.
    pub dry: bool,
    /// Nobody can use a part: end when all of the space is filled, or nothing more comes.
    pub whole: bool,
}

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
        /// In which way.
        how: How,
    },
    /// Send all parts as one, or as much of them as the socket takes.
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
    /// Of a receive: nothing more was there, as far as the driver can tell.
    pub dry: bool,
}

/// Names an operation in flight, for [`Ring::cancel`]. A place is used again; a ticket of it then names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    index: u32,
    generation: u32,
}

impl Ticket {
    fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn of_number(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Whether an error of opening io_uring means that this process shall not have it, rather than that a limit is reached.
pub fn is_forbidden(why: &io::Error) -> bool {
    !matches!(why.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE))
}

/// One of the two drivers. Belongs to the thread that made it.
pub struct Ring<T> {
    behind: Behind<T>,
    patience: Patience,
    pushed: u64,
    looks: u64,
    sleeps: u64,
}

enum Behind<T> {
    Uring(Uring<T>),
    Epoll(Epoll<T>),
}

impl<T: Copy> Ring<T> {
    /// Opens the one that is wanted. With it comes why io_uring was not to be had, where that decided.
    pub fn new(wanted: Driver) -> io::Result<(Self, Option<io::Error>)> {
        let (behind, without) = match wanted {
            Driver::IoUring => (Behind::Uring(Uring::new()?), None),
            Driver::Epoll => (Behind::Epoll(Epoll::new()?), None),
            Driver::Auto => match Uring::new() {
                Ok(uring) => (Behind::Uring(uring), None),
                Err(why) if is_forbidden(&why) => (Behind::Epoll(Epoll::new()?), Some(why)),
                Err(why) => return Err(why),
            },
        };
        Ok((Self { behind, patience: Patience::new(), pushed: 0, looks: 0, sleeps: 0 }, without))
    }

    /// Which one it is; never [`Driver::Auto`].
    pub fn driver(&self) -> Driver {
        match self.behind {
            Behind::Uring(_) => Driver::IoUring,
            Behind::Epoll(_) => Driver::Epoll,
        }
    }

    /// Makes operations on this one file cheaper, where the driver can. Before the first operation.
    pub fn register(&mut self, file: &File) {
        if let Behind::Uring(uring) = &mut self.behind {
            uring.register(file);
        }
    }

    /// Operations and cancellations handed in so far.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Operations in flight.
    #[cfg(test)]
    fn in_flight(&self) -> usize {
        match &self.behind {
            Behind::Uring(uring) => uring.in_flight(),
            Behind::Epoll(epoll) => epoll.in_flight(),
        }
    }

    /// Hands an operation in. It is begun by the next [`Self::turn`].
    pub fn push(&mut self, token: T, operation: Operation) -> Ticket {
        self.pushed += 1;
        match &mut self.behind {
            Behind::Uring(uring) => uring.push(token, operation),
            Behind::Epoll(epoll) => epoll.push(token, operation),
        }
    }

    /// Ends an operation early, if it has not ended yet. Its completion comes all the same.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.pushed += 1;
        match &mut self.behind {
            Behind::Uring(uring) => uring.cancel(ticket),
            Behind::Epoll(epoll) => epoll.cancel(ticket),
        }
    }

    /// Waits that ended while it looked, and those in which it went to sleep.
    pub fn waits(&self) -> (u64, u64) {
        (self.looks, self.sleeps)
    }

    /// So much came with one turn that whoever drives the ring had to do something with, and so many bytes with it: what decides whether it is worth while to look
    /// before sleeping.
    pub fn brought(&mut self, count: usize, bytes: usize) {
        self.patience.brought(count, bytes);
    }

    /// Begins what was handed in and waits until something ends or the time is over. With no time it waits for ever. A loop whose waits are short looks for a
    /// while before it sleeps.
    pub fn turn(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion<T>>) -> io::Result<()> {
        let before = done.len();
        self.enter(Some(Duration::ZERO), done)?;
        if done.len() > before || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        let began = Instant::now();
        let look = self.patience.look(began).min(timeout.unwrap_or(Duration::MAX));
        let mut now = began;
        while now - began < look {
            std::thread::yield_now();
            let since = std::mem::replace(&mut now, Instant::now());
            self.patience.came_back(since, now);
            if self.may_have_ended() {
                self.enter(Some(Duration::ZERO), done)?;
                if done.len() > before {
                    self.looks += 1;
                    self.patience.waited(now - began, false);
                    return Ok(());
                }
            }
        }
        self.sleeps += 1;
        self.enter(timeout.map(|timeout| timeout.saturating_sub(now - began)), done)?;
        self.patience.waited(began.elapsed(), true);
        Ok(())
    }

    fn enter(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion<T>>) -> io::Result<()> {
        match &mut self.behind {
            Behind::Uring(uring) => uring.turn(timeout, done),
            Behind::Epoll(epoll) => epoll.turn(timeout, done),
        }
    }

    /// Whether it is worth entering the kernel; asked without entering it, where the driver can tell.
    fn may_have_ended(&mut self) -> bool {
        match &mut self.behind {
            Behind::Uring(uring) => uring.may_have_ended(),
            Behind::Epoll(_) => true,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn rings() -> [Ring<u32>; 2] {
        [Driver::IoUring, Driver::Epoll].map(|driver| {
            let (ring, without) = Ring::new(driver).expect("these tests need io_uring");
            assert!(ring.driver() == driver && without.is_none());
            ring
        })
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
        rings().into_iter().for_each(many_operations);
    }

    fn many_operations(mut ring: Ring<u32>) {
        let path = std::env::temp_dir().join(format!("seawall-ring-{:x}", crate::entropy_u64()));
        let open = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let data = file(open);
        ring.register(&data);
        let count = uring::ENTRIES * 3;
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
        assert_eq!((ring.in_flight(), ring.pushed()), (0, u64::from(count) + 2));
        std::fs::remove_file(path).unwrap();
    }

    /// A socket, not yet connected, and a listener, where this family is to be had.
    fn pair(place: &str) -> Option<(File, SocketAddr, TcpListener)> {
        let listener = TcpListener::bind(place).ok()?;
        let to = listener.local_addr().unwrap();
        Some((file(crate::os::tcp_socket(to).unwrap()), to, listener))
    }

    #[test]
    fn sockets_connect_send_and_receive_over_both_families() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            for mut ring in rings() {
                let Some((socket, to, listener)) = pair(place) else { continue };
                let arena = Arena::new();
                ring.push(1, Operation::Accept { file: file(listener) });
                ring.push(2, Operation::Connect { file: socket.clone(), to });
                let mut done = until(&mut ring, 2);
                let accepted = done.iter_mut().find_map(|c| c.accepted.take()).unwrap();
                let parts = vec![Bytes::from_static(b"one "), Bytes::from_static(b"message")];
                ring.push(3, Operation::Send { file: socket, parts });
                ring.push(
                    4,
                    Operation::Receive { file: file(accepted), into: arena.take(64), at: 4, how: How::default() },
                );
                let done = until(&mut ring, 2);
                let received = done.into_iter().find(|c| c.token == 4).unwrap();
                let Operation::Receive { into, .. } = received.operation else { panic!("a receive comes back") };
                assert_eq!((received.result, &into[4..15]), (Ok(11), &b"one message"[..]));
            }
        }
    }

    #[test]
    fn where_nobody_listens_is_told_by_name() {
        for mut ring in rings() {
            let (socket, to, listener) = pair("127.0.0.1:0").unwrap();
            drop(listener);
            ring.push(1, Operation::Connect { file: socket, to });
            assert_eq!(until(&mut ring, 1)[0].result, Err(libc::ECONNREFUSED));
        }
    }

    #[test]
    fn what_a_full_socket_does_not_take_goes_when_it_is_read() {
        for mut ring in rings() {
            let (socket, to, listener) = pair("127.0.0.1:0").unwrap();
            ring.push(1, Operation::Connect { file: socket.clone(), to });
            until(&mut ring, 1);
            let (reader, _) = listener.accept().unwrap();
            let all = 32 << 20;
            let counting = std::thread::spawn(move || {
                std::io::copy(&mut std::io::Read::take(reader, all as u64), &mut std::io::sink()).unwrap()
            });
            let mut left = vec![Bytes::from(vec![5; all])];
            while !left.is_empty() {
                ring.push(2, Operation::Send { file: socket.clone(), parts: left });
                let done = until(&mut ring, 1).pop().unwrap();
                let Operation::Send { mut parts, .. } = done.operation else { panic!("a send comes back") };
                let rest = parts.remove(0).split_off(done.result.unwrap() as usize);
                left = Some(rest).filter(|rest| !rest.is_empty()).into_iter().collect();
            }
            assert_eq!(counting.join().unwrap(), all as u64);
        }
    }

    /// Both ends of a connection.
    fn connected() -> (TcpStream, File) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (stream, file(listener.accept().unwrap().0))
    }

    #[test]
    fn a_cancelled_operation_gives_its_memory_back() {
        for mut ring in rings() {
            let arena = Arena::new();
            let (mut stream, peer) = connected();
            let ticket = ring
                .push(1, Operation::Receive { file: peer.clone(), into: arena.take(4096), at: 0, how: How::default() });
            let mut done = Vec::new();
            ring.turn(Some(Duration::ZERO), &mut done).unwrap();
            assert!(done.is_empty());
            ring.cancel(ticket);
            let done = until(&mut ring, 1);
            assert_eq!((done[0].token, done[0].result), (1, Err(libc::ECANCELED)));
            stream.write_all(b"x").unwrap();
            ring.push(2, Operation::Poll { file: peer.clone() });
            assert_eq!(until(&mut ring, 1)[0].token, 2);
            // Cancelled in the turn in which it was handed in: what can be done is done all the same.
            let ticket = ring
                .push(3, Operation::Receive { file: peer.clone(), into: arena.take(1), at: 0, how: How::default() });
            ring.cancel(ticket);
            assert_eq!(until(&mut ring, 1)[0].result, Ok(1));
            let ticket =
                ring.push(4, Operation::Receive { file: peer, into: arena.take(1), at: 0, how: How::default() });
            ring.cancel(ticket);
            assert_eq!(until(&mut ring, 1)[0].result, Err(libc::ECANCELED));
        }
    }

    #[test]
    fn a_ticket_of_what_is_over_cancels_nobody_else() {
        for mut ring in rings() {
            let arena = Arena::new();
            let (mut stream, peer) = connected();
            stream.write_all(b"x").unwrap();
            let over = ring
                .push(1, Operation::Receive { file: peer.clone(), into: arena.take(16), at: 0, how: How::default() });
            until(&mut ring, 1);
            let next =
                ring.push(2, Operation::Receive { file: peer, into: arena.take(16), at: 0, how: How::default() });
            assert_eq!(over.index, next.index);
            ring.cancel(over);
            let mut done = Vec::new();
            ring.turn(Some(Duration::from_millis(50)), &mut done).unwrap();
            assert!(done.is_empty());
            stream.write_all(b"yz").unwrap();
            let done = until(&mut ring, 1);
            assert_eq!((done[0].token, done[0].result), (2, Ok(2)));
        }
    }

    #[test]
    fn the_end_of_a_stream_is_heard_however_it_comes() {
        for mut ring in rings() {
            let arena = Arena::new();
            // With the last bytes, while somebody waits, and after a pause.
            for (early, wait) in [(true, false), (false, true), (false, false)] {
                let (mut stream, peer) = connected();
                stream.write_all(b"last").unwrap();
                let mut stream = Some(stream).filter(|_| !early);
                let receive = |ring: &mut Ring<u32>, file: &File| {
                    ring.push(
                        1,
                        Operation::Receive { file: file.clone(), into: arena.take(64), at: 0, how: How::default() },
                    );
                };
                receive(&mut ring, &peer);
                assert_eq!(until(&mut ring, 1)[0].result, Ok(4));
                if wait {
                    receive(&mut ring, &peer);
                    let mut done = Vec::new();
                    ring.turn(Some(Duration::from_millis(20)), &mut done).unwrap();
                    assert!(done.is_empty());
                }
                drop(stream.take());
                if !wait {
                    receive(&mut ring, &peer);
                }
                assert_eq!(until(&mut ring, 1)[0].result, Ok(0), "early {early}, waiting {wait}");
            }
        }
    }

    #[test]
    fn a_file_number_that_is_used_again_is_another_file() {
        for mut ring in rings() {
            let arena = Arena::new();
            let mut numbers = std::collections::BTreeSet::new();
            for round in 0..20u8 {
                let (mut stream, peer) = connected();
                numbers.insert(std::os::fd::AsRawFd::as_raw_fd(&*peer));
                ring.push(
                    1,
                    Operation::Receive { file: peer.clone(), into: arena.take(64), at: 0, how: How::default() },
                );
                ring.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
                stream.write_all(&vec![round; usize::from(round) + 1]).unwrap();
                assert_eq!(until(&mut ring, 1)[0].result, Ok(u32::from(round) + 1));
            }
            assert!(numbers.len() < 20, "no number was used twice");
        }
    }

    #[test]
    fn a_file_that_cannot_be_waited_for_is_an_error_of_its_operation() {
        let mut ring = Ring::new(Driver::Epoll).unwrap().0;
        let plain = file(std::fs::File::open("/proc/self/exe").unwrap());
        ring.push(1, Operation::Poll { file: plain });
        assert_eq!(until(&mut ring, 1)[0].result, Err(libc::EPERM));
        let (socket, _, _listener) = pair("127.0.0.1:0").unwrap();
        ring.push(2, Operation::Send { file: socket, parts: vec![Bytes::from_static(b"too soon")] });
        assert_eq!(until(&mut ring, 1)[0].result, Err(libc::EPIPE));
    }

    #[test]
    fn a_dropped_ring_closes_what_it_held() {
        for mut ring in rings() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = listener.local_addr().unwrap();
            ring.push(1, Operation::Accept { file: file(listener) });
            ring.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
            drop(ring);
            assert_eq!(TcpStream::connect(to).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn a_ring_whose_waits_are_short_looks_and_one_that_waits_long_sleeps() {
        for ring in &mut rings() {
            let arena = Arena::new();
            let (stream, peer) = connected();
            let echo = std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = std::io::copy(&mut from, &mut to);
            });
            let deadline = Instant::now() + Duration::from_secs(10);
            while ring.waits().0 < 20 {
                assert!(Instant::now() < deadline, "{:?}", ring.waits());
                ring.push(1, Operation::Send { file: peer.clone(), parts: vec![Bytes::from_static(b"ask")] });
                ring.push(
                    2,
                    Operation::Receive { file: peer.clone(), into: arena.take(64), at: 0, how: How::default() },
                );
                until(ring, 2);
                ring.brought(1, 3);
            }
            (0..8).for_each(|_| ring.turn(Some(Duration::from_millis(5)), &mut Vec::new()).unwrap());
            let (looks, sleeps) = ring.waits();
            ring.turn(Some(Duration::from_millis(5)), &mut Vec::new()).unwrap();
            assert_eq!(ring.waits(), (looks, sleeps + 1));
            drop(peer);
            echo.join().unwrap();
        }
    }

    #[test]
    fn where_several_reads_are_waited_for_each_comes_all_the_same() {
        let mut ring = Ring::new(Driver::IoUring).unwrap().0;
        let (from, to) = std::io::pipe().unwrap();
        let (from, mut to, arena) = (file(from), std::fs::File::from(OwnedFd::from(to)), Arena::new());
        ring.register(&from);
        for n in 0..12 {
            // The offset of what has none.
            ring.push(n, Operation::Read { file: from.clone(), into: arena.take(1), at: 0, offset: u64::MAX });
        }
        let began = Instant::now();
        ring.turn(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(19), "nothing is there");
        let mut ended = std::collections::BTreeSet::new();
        for count in [1, 1, 10] {
            to.write_all(&vec![7; count]).unwrap();
            ended.extend(until(&mut ring, count).into_iter().map(|c| (c.token, c.result)));
        }
        assert_eq!(ended, (0..12).map(|n| (n, Ok(1))).collect());
    }

    #[test]
    fn a_wait_ends_at_its_time() {
        // Borrowed, since the end of the kernel's ring interrupts whatever its thread waits in next.
        for ring in &mut rings() {
            let began = Instant::now();
            ring.turn(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
            assert!(began.elapsed() >= Duration::from_millis(19));
        }
    }
}
