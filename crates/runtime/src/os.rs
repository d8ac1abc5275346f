//! Thin, safe words for the few system calls that std does not have. No policy lives here.
#![allow(unsafe_code)]

use base::Time;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the callers pass what a system call returned: a new descriptor that nobody else owns, or an error.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// CLOCK_BOOTTIME: monotonic, and counting while suspended.
pub fn boot_time() -> Time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    assert_eq!(result, 0, "the kernel has no CLOCK_BOOTTIME; Linux 2.6.39 or newer is needed");
    Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// From now on a buffer of 128 KiB or more goes back to the kernel when it is freed, as glibc does it until the first such buffer was freed. A store makes
/// one of a quarter of a MiB now and then (a piece of a checkpoint); between the small parts of an index, which stay, each would leave a hole.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two integers, and touches nothing of ours. That it may refuse is of no importance.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Fills `bytes` from the kernel's entropy.
pub fn entropy(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is valid for writes of its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let why = io::Error::last_os_error();
                assert_eq!(why.kind(), io::ErrorKind::Interrupted, "the kernel gives no entropy: {why}");
            }
        }
    }
}

/// The number of the error that this thread met last.
pub fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// An event descriptor: the end that counts up, and the end that is looked at.
pub fn event() -> io::Result<(File, OwnedFd)> {
    // SAFETY: no memory is passed.
    let fd = own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    Ok((File::from(fd.try_clone()?), fd))
}

/// A new epoll descriptor.
pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Has `poll` watch `fd` for these events, under this number.
pub fn epoll_add(poll: &OwnedFd, fd: RawFd, events: u32, number: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: number };
    // SAFETY: the event is on our stack.
    check(unsafe { libc::epoll_ctl(poll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
}

/// Waits for events; how many came. None when the time is over or a signal came. Of whole milliseconds, rounded up.
pub fn epoll_wait(poll: &OwnedFd, events: &mut [libc::epoll_event], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map_or(-1, |t| i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    let (to, len) = (events.as_mut_ptr(), events.len() as libc::c_int);
    // SAFETY: `events` is ours to write to and its length is given.
    match check(unsafe { libc::epoll_wait(poll.as_raw_fd(), to, len, timeout) }) {
        Err(why) if why.kind() == io::ErrorKind::Interrupted => Ok(0),
        result => result.map(|count| count as usize),
    }
}

/// Makes a file answer EAGAIN where it would block.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// Whether a file has one of these events, or an error, now.
pub fn is_ready(fd: RawFd, events: libc::c_short) -> bool {
    let mut ask = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: the question is on our stack, and it is one.
    unsafe { libc::poll(&raw mut ask, 1, 0) > 0 }
}

/// The error of a socket that has one.
pub fn socket_error(fd: RawFd) -> Result<(), i32> {
    let (mut code, mut len) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the value is an int on our stack and its length is given.
    let asked = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut code).cast(), &raw mut len) };
    match (asked, code) {
        (0, 0) => Ok(()),
        (0, code) => Err(code),
        _ => Err(last_error()),
    }
}

/// A TCP socket for an address of this family; blocking, as io_uring wants it.
pub fn tcp_socket(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory is passed.
    own(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int on our stack and its length is given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) }).map(drop)
}

/// What every link's socket has: no delay of small frames, and an end after `dead_after_s` without a word from the
/// other kernel. The kernel watches that by itself; no timer of ours runs for it.
pub fn tune_tcp(fd: &OwnedFd, dead_after_s: i32) -> io::Result<()> {
    tune_stream(fd, dead_after_s)?;
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, dead_after_s * 1000)
}

/// What a raw stream's socket has: the same, but that a process which merely stands still is never cut off. Its kernel
/// still answers.
pub fn tune_stream(fd: &impl AsRawFd, dead_after_s: i32) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, (dead_after_s / 2).max(1))?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (dead_after_s / 4).max(1))?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 2)
}

/// Whether a TCP socket is connected to itself: when nobody listens on a port that the kernel gives out, it may give out that
/// one for the call, and the call succeeds.
pub fn is_to_itself(fd: &OwnedFd) -> bool {
    let Ok(stream) = fd.try_clone().map(TcpStream::from) else { return false };
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(here), Ok(there)) if here == there)
}

/// Bytes of a block device.
pub fn device_bytes(device: &File) -> io::Result<u64> {
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    let mut bytes = 0u64;
    // SAFETY: the request writes one u64, which `bytes` is.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut bytes) })?;
    Ok(bytes)
}

/// Tries for a second while something is busy. The kernel lets go of what a killed process had in its ring a moment after the
/// process is gone; whoever starts it again at once must not be told that it still runs.
pub fn settled<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match attempt() {
            Err(why) if is_busy(&why) && Instant::now() < deadline => {
                // tidy: sleep: the kernel has no event for the end of a dead process' ring; this is at start-up only.
                std::thread::sleep(Duration::from_millis(5));
            }
            settled => return settled,
        }
    }
}

fn is_busy(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse)
}

/// Wakes a [`crate::World`] from another thread: its application is then stepped though nothing came.
#[derive(Debug, Clone)]
pub struct Waker(Arc<File>);

impl Waker {
    /// A new one, with the end that is read.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (count, end) = event()?;
        Ok((Self(Arc::new(count)), end))
    }

    /// Wakes it. Many calls before it wakes are one.
    pub fn wake(&self) {
        // It can fail only when 2^64 - 2 wakes were not yet taken.
        let _ = (&*self.0).write_all(&1u64.to_ne_bytes());
    }
}

/// Interrupt and terminate, turned into a descriptor. The calling thread's mask is as before when this is dropped.
pub struct Signals {
    file: File,
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks both signals in this thread, and in those it starts from now on. Also ignores SIGPIPE: a peer that went
    /// away is an error of a send, not the end of the process.
    pub fn take() -> io::Result<Self> {
        // SAFETY: the sets are initialised by sigemptyset or pthread_sigmask before they are read; ignoring a signal
        // installs no code.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            let mut wanted: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut wanted);
            libc::sigaddset(&mut wanted, libc::SIGTERM);
            libc::sigaddset(&mut wanted, libc::SIGINT);
            let failed = libc::pthread_sigmask(libc::SIG_BLOCK, &wanted, &mut before);
            if failed != 0 {
                return Err(io::Error::from_raw_os_error(failed));
            }
            let fd = own(libc::signalfd(-1, &wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
            Ok(Self { file: File::from(fd), before })
        }
    }

    /// A second descriptor of the same, to be polled.
    pub fn readable(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// The number of a signal that came, if one did.
    pub fn next(&mut self) -> Option<i32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        self.file.read_exact(&mut info).ok()?;
        // The first field is the number.
        Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_can_be_read_once_however_often_it_was_called() {
        let (waker, end) = Waker::new().unwrap();
        (0..3).for_each(|_| waker.wake());
        let mut count = [0; 8];
        File::from(end).read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 3);
    }

    #[test]
    fn a_call_to_oneself_is_told_from_a_call_to_another() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert!(!is_to_itself(&TcpStream::connect(here).unwrap().into()));
        drop(listener);
        let socket = tcp_socket(here).unwrap();
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).unwrap();
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as _,
            sin_port: here.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        let len = size_of_val(&to) as libc::socklen_t;
        // SAFETY: the address is on our stack and its length is given.
        let called = unsafe {
            check(libc::bind(socket.as_raw_fd(), (&raw const to).cast(), len)).unwrap();
            libc::connect(socket.as_raw_fd(), (&raw const to).cast(), len)
        };
        check(called).unwrap();
        assert!(is_to_itself(&socket));
    }

    #[test]
    fn what_is_busy_is_tried_again_for_a_while_and_no_longer() {
        let busy = || io::Error::from(io::ErrorKind::AddrInUse);
        let mut left = 3;
        let soon = settled(|| {
            left -= 1;
            if left > 0 { Err(busy()) } else { Ok(left) }
        });
        assert_eq!(soon.unwrap(), 0);
        let began = Instant::now();
        assert_eq!(settled(|| Err::<(), _>(busy())).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(began.elapsed() >= Duration::from_secs(1));
        let denied = settled(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_is_no_block_device_and_no_socket() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(device_bytes(&file).is_err());
        assert!(tune_tcp(&file.into(), 10).is_err());
    }

    #[test]
    fn a_signal_to_this_thread_is_read_and_the_mask_comes_back() {
        let mut signals = Signals::take().unwrap();
        assert_eq!(signals.next(), None);
        // SAFETY: the signal is blocked in this thread, so it stays pending until it is read.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
        assert_eq!(signals.next(), Some(libc::SIGTERM));
        drop(signals);
        // SAFETY: the set is only written to by the call.
        let blocked = unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
            libc::sigismember(&mask, libc::SIGTERM)
        };
        assert_eq!(blocked, 0);
    }
}
