//! A process that has run out of file descriptors goes on when it has some again. Alone in its process: it takes them all.

mod rig;

use base::io::net::{Addresses, Down, Link};
use rig::{Hand, Order, Rig, frame, node, setup};
use runtime::{Setup, stream};
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _};

/// The kernel looks at the limit when an accept is begun, so it is set before the worlds are made.
#[allow(unsafe_code)]
fn limit_descriptors() {
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 4096 };
    // SAFETY: the limit is on our stack.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// Takes every descriptor there is.
fn hoard() -> Vec<File> {
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(all.len() > 10);
    all
}

/// A socket that calls nobody yet, so that its descriptor is taken before the others are: a spare one could as well go to the
/// world, which accepts whenever it can.
#[allow(unsafe_code)]
fn idle() -> TcpStream {
    // SAFETY: no memory is passed, and what is returned is ours.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that was just made and that nobody else knows.
    unsafe { TcpStream::from_raw_fd(fd) }
}

#[allow(unsafe_code)]
fn call(from: &TcpStream, to: SocketAddr) {
    let SocketAddr::V4(to) = to else { panic!("{to} is not IPv4") };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is on our stack and as long as we say.
    let result = unsafe { libc::connect(from.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn without_descriptors_nobody_is_accepted_or_called_and_with_some_again_both_work() {
    limit_descriptors();
    let any = "127.0.0.1:0".parse().unwrap();
    let a = Rig::new(Setup { streams: vec![stream::Listen::Tcp(any)], ..setup(1) });
    let b = Rig::new(setup(2));
    let stream_at = a.addresses.streams[0].unwrap();

    let (link, mut guest) = (idle(), idle());
    let mut hoarded = hoard();
    // The kernel takes these calls; the world cannot.
    call(&link, a.primary());
    call(&guest, stream_at);
    a.know(node(2), Addresses { primary: b.primary(), replication: None });
    a.send(Link::to(node(2)), frame(0x20, b"lost", vec![]));
    assert_eq!(a.until_down(Link::to(node(2))), Down::Reset);

    hoarded.clear();
    let id = a.until("the stream that waited", |seen| match seen {
        rig::Seen::Stream(stream::Event::Opened { id, .. }) => Some(*id),
        _ => None,
    });
    a.order([Order::Stream(stream::Op::Close { id })]);
    guest.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    assert_eq!(guest.read(&mut [0; 8]).unwrap(), 0);
    drop(link);
    let _hand = Hand::open(a.primary(), node(3), node(1));
    a.until_up(Link::from(node(3)));
    a.send(Link::to(node(2)), frame(0x20, b"found", vec![]));
    assert_eq!(&b.until_frame().1.head[..], b"found");
}
