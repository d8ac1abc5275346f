//! A process that has run out of file descriptors goes on when it has some again. Alone in its process: it takes them all.

mod rig;

use base::io::net::{Addresses, Down, Link};
use rig::{Hand, Order, Rig, frame, node, setup};
use runtime::{Setup, stream};
use std::fs::File;
use std::io::Read;
use std::net::TcpStream;

/// The kernel looks at the limit when an accept is begun, so it is set before the worlds are made.
#[allow(unsafe_code)]
fn limit_descriptors() {
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 4096 };
    // SAFETY: the limit is on our stack.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// Takes every descriptor there is but `spare`.
fn hoard(spare: usize) -> Vec<File> {
    let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(all.len() > 10);
    all.truncate(all.len() - spare);
    all
}

#[test]
fn without_descriptors_nobody_is_accepted_or_called_and_with_some_again_both_work() {
    limit_descriptors();
    let any = "127.0.0.1:0".parse().unwrap();
    let a = Rig::new(Setup { streams: vec![stream::Listen::Tcp(any)], ..setup(1) });
    let b = Rig::new(setup(2));
    let stream_at = a.addresses.streams[0].unwrap();

    let mut hoarded = hoard(2);
    // The kernel takes these calls; the world cannot.
    let (link, mut guest) = (TcpStream::connect(a.primary()).unwrap(), TcpStream::connect(stream_at).unwrap());
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
