//! Raw byte streams over Unix sockets and TCP.

mod rig;

use base::Payload;
use base::time::Duration;
use rig::{Order, Rig, Scratch, Seen, setup};
use runtime::stream::{Event, Id, Listen, Op};
use runtime::{Setup, World};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

fn listening(listen: Vec<Listen>) -> Rig {
    Rig::new(Setup { streams: listen, ..setup(1) })
}

fn event(rig: &Rig) -> Event {
    rig.until("an event of a stream", |seen| match seen {
        Seen::Stream(Event::Sent { .. }) => None,
        Seen::Stream(event) => Some(event.clone()),
        _ => None,
    })
}

fn opened(rig: &Rig) -> (Id, usize) {
    match event(rig) {
        Event::Opened { id, listener } => (id, listener),
        other => panic!("not opened but {other:?}"),
    }
}

/// Reads `len` bytes of one stream.
fn bytes(rig: &Rig, stream: Id, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        match event(rig) {
            Event::Bytes { id, data } if id == stream => all.extend_from_slice(&data),
            other => panic!("not bytes of {stream:?} but {other:?}"),
        }
    }
    all
}

/// Returns when a receive is under way: with what is sent.
fn settled(rig: &Rig, id: Id, peer: &mut TcpStream) {
    rig.stream(Op::Send { id, parts: vec![Payload::from(b"settled".to_vec())] });
    peer.read_exact(&mut [0; 7]).unwrap();
}

/// Returns when it is paused with a receive under way, behind which there will be none.
fn paused(rig: &Rig, id: Id, peer: &mut TcpStream) {
    settled(rig, id, peer);
    rig.stream(Op::Pause { id });
    settled(rig, id, peer);
}

#[test]
fn bytes_pass_both_ways_over_both_kinds_and_streams_are_told_apart() {
    let path = Scratch::new("socket");
    let rig = listening(vec![Listen::Unix(path.0.clone()), Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    assert_eq!(rig.addresses.streams[0], None);
    let mode = std::fs::metadata(&path.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut unix = UnixStream::connect(&path.0).unwrap();
    let (first, 0) = opened(&rig) else { panic!("the wrong listener") };
    let mut tcp = TcpStream::connect(rig.addresses.streams[1].unwrap()).unwrap();
    let (second, 1) = opened(&rig) else { panic!("the wrong listener") };
    assert_ne!(first, second);

    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 3) as u8).collect();
    let writer = {
        let (mut unix, large) = (unix.try_clone().unwrap(), large.clone());
        std::thread::spawn(move || unix.write_all(&large).unwrap())
    };
    assert!(bytes(&rig, first, large.len()) == large);
    writer.join().unwrap();
    tcp.write_all(b"small").unwrap();
    assert_eq!(bytes(&rig, second, 5), b"small");

    let parts = large.chunks(100_000).map(|part| Payload::from(part.to_vec()));
    rig.stream(Op::Send { id: second, parts: parts.collect() });
    rig.stream(Op::Send { id: second, parts: vec![Payload::from(b"end".to_vec())] });
    rig.stream(Op::Close { id: second });
    let mut back = Vec::new();
    tcp.read_to_end(&mut back).unwrap();
    assert!(back == [&large[..], b"end"].concat(), "what was sent before the close must be out before it");
    assert!(matches!(event(&rig), Event::Closed { id } if id == second), "and then it is said to be gone");

    unix.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(event(&rig), Event::Closed { id } if id == first));
    assert_eq!(unix.read(&mut [0; 8]).unwrap(), 0);
    // Of streams that are gone everything is asked in vain.
    rig.order([Op::Close { id: first }, Op::Pause { id: second }, Op::Resume { id: Id(77) }].map(Order::Stream));
    drop(rig);
    assert!(!path.0.exists(), "the socket was left behind");
}

#[test]
fn a_paused_stream_is_not_read_until_it_is_resumed() {
    let rig = listening(vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    let mut peer = TcpStream::connect(rig.addresses.streams[0].unwrap()).unwrap();
    let (id, _) = opened(&rig);
    settled(&rig, id, &mut peer);
    // What is sent behind the pause shows that it holds.
    let sent = Op::Send { id, parts: vec![Payload::from(b"paused".to_vec())] };
    rig.order([Op::Pause { id }, sent].map(Order::Stream));
    peer.read_exact(&mut [0; 6]).unwrap();
    peer.write_all(b"one").unwrap();
    // The receive that was under way may still bring this; nothing after it comes.
    assert_eq!(bytes(&rig, id, 3), b"one");
    peer.write_all(b"two").unwrap();
    while let Some(seen) = rig.next_within(Duration::from_millis(300)) {
        assert!(matches!(seen, Seen::Stream(Event::Sent { bytes: 6 | 7 | 13, .. })), "{seen:?}");
    }
    rig.stream(Op::Resume { id });
    assert_eq!(bytes(&rig, id, 3), b"two");
    peer.write_all(b"three").unwrap();
    assert_eq!(bytes(&rig, id, 5), b"three");
}

#[test]
fn of_a_stream_that_is_paused_as_it_says_something_it_is_heard_that_it_ended() {
    let pauses = |event: &Event, ops: &mut Vec<Op>| {
        if let Event::Bytes { id, .. } = event {
            ops.push(Op::Pause { id: *id });
        }
    };
    let setup = Setup { streams: vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())], ..setup(1) };
    let rig = Rig::with_reflexes(setup, None, Some(Box::new(pauses)));
    let mut peer = TcpStream::connect(rig.addresses.streams[0].unwrap()).unwrap();
    let (id, _) = opened(&rig);
    peer.write_all(b"last").unwrap();
    assert_eq!(bytes(&rig, id, 4), b"last");
    drop(peer);
    assert!(matches!(event(&rig), Event::Closed { id: gone } if gone == id));
}

#[test]
fn what_is_wanted_as_one_piece_comes_as_one_and_asked_for_too_late_comes_as_it_would() {
    let rig = listening(vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    let mut peer = TcpStream::connect(rig.addresses.streams[0].unwrap()).unwrap();
    let (id, _) = opened(&rig);
    peer.write_all(b"begun").unwrap();
    assert_eq!(bytes(&rig, id, 5), b"begun");
    // A receive is under way: it is given back.
    settled(&rig, id, &mut peer);
    let gather = || Op::Gather { id, begun: Payload::from(b"begun".to_vec()), bytes: 300_000 };
    rig.stream(gather());
    let Event::Bytes { data, .. } = event(&rig) else { panic!("it was not given back") };
    assert_eq!(&data[..], b"begun");
    // While it is paused none is.
    paused(&rig, id, &mut peer);
    peer.write_all(b"x").unwrap();
    assert_eq!(bytes(&rig, id, 1), b"x");
    rig.order([gather(), Op::Resume { id }].map(Order::Stream));
    let rest: Vec<u8> = (0..299_995u32).map(|n| (n / 5) as u8).collect();
    for piece in rest.chunks(70_000) {
        peer.write_all(piece).unwrap();
        settled(&rig, id, &mut peer);
    }
    let Event::Bytes { data, .. } = event(&rig) else { panic!("it did not come") };
    assert!(data[..] == [b"begun", &rest[..]].concat(), "{} bytes", data.len());
    peer.write_all(b"and on").unwrap();
    assert_eq!(bytes(&rig, id, 6), b"and on");
    // One that ends too early is gone.
    paused(&rig, id, &mut peer);
    peer.write_all(b"y").unwrap();
    assert_eq!(bytes(&rig, id, 1), b"y");
    rig.order([gather(), Op::Resume { id }].map(Order::Stream));
    peer.write_all(b"too little").unwrap();
    drop(peer);
    assert!(matches!(event(&rig), Event::Closed { id: gone } if gone == id));
}

#[test]
fn what_is_read_is_told_to_be_sent_and_what_is_not_read_is_not() {
    let rig = listening(vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    let mut peer = TcpStream::connect(rig.addresses.streams[0].unwrap()).unwrap();
    let (id, _) = opened(&rig);
    let part = Payload::from(vec![1; 1 << 20]);
    rig.order((0..64).map(|_| Order::Stream(Op::Send { id, parts: vec![part.clone()] })));
    let sent = |seen: Seen| match seen {
        Seen::Stream(Event::Sent { id: of, bytes }) if of == id => bytes,
        other => panic!("not sent but {other:?}"),
    };
    // The kernel takes some; the rest waits for the one who reads.
    let mut told = 0;
    while let Some(seen) = rig.next_within(Duration::from_millis(300)) {
        told += sent(seen);
    }
    assert!(told < 32 << 20, "{told} bytes of 64 MiB are out of memory, and nobody has read");
    let reading = std::thread::spawn(move || {
        let mut all = vec![0; 64 << 20];
        peer.read_exact(&mut all).map(|()| (all.iter().all(|byte| *byte == 1), peer)).unwrap()
    });
    let (is_right, mut peer) = reading.join().unwrap();
    assert!(is_right);
    // What is little comes with the next step.
    peer.write_all(b"more").unwrap();
    let mut is_over = false;
    while !is_over || told < 64 << 20 {
        match rig.next_within(rig::PATIENCE).expect("a stream that is read is told to be") {
            Seen::Stream(Event::Bytes { .. }) => is_over = true,
            seen => told += sent(seen),
        }
    }
    assert_eq!(told, 64 << 20);
}

#[test]
fn one_that_never_reads_is_closed_at_a_bound() {
    let rig = listening(vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    let _peer = TcpStream::connect(rig.addresses.streams[0].unwrap()).unwrap();
    let (id, _) = opened(&rig);
    let part = Payload::from(vec![1; 1 << 20]);
    rig.order((0..200).map(|_| Order::Stream(Op::Send { id, parts: vec![part.clone()] })));
    assert!(matches!(event(&rig), Event::Closed { id: closed } if closed == id));
}

#[test]
fn a_socket_left_by_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let path = Scratch::new("socket");
    drop(std::os::unix::net::UnixListener::bind(&path.0).unwrap());
    assert!(path.0.exists());
    let setup_of = || Setup { streams: vec![Listen::Unix(path.0.clone())], ..setup(1) };
    let rig = Rig::new(setup_of());
    let second = std::thread::spawn({
        let setup = setup_of();
        || World::new(setup).err().expect("two listen on one socket").to_string()
    });
    let error = second.join().unwrap();
    assert!(error.contains("cannot listen on the stream address") && error.contains("seawall-socket"), "{error}");
    UnixStream::connect(&path.0).unwrap();
    opened(&rig);
    // What is no socket is nobody's to remove.
    let file = Scratch::new("file");
    std::fs::write(&file.0, b"precious").unwrap();
    let setup = Setup { streams: vec![Listen::Unix(file.0.clone())], ..setup(1) };
    assert!(std::thread::spawn(|| World::new(setup).is_err()).join().unwrap());
    assert_eq!(std::fs::read(&file.0).unwrap(), b"precious");
}

#[test]
fn a_socket_of_who_is_just_dying_is_waited_for() {
    let path = Scratch::new("dying");
    let old = std::os::unix::net::UnixListener::bind(&path.0).unwrap();
    // It listens until somebody has seen that.
    let dying = std::thread::spawn(move || drop((old.accept().unwrap(), old)));
    let rig = listening(vec![Listen::Unix(path.0.clone())]);
    dying.join().unwrap();
    UnixStream::connect(&path.0).unwrap();
    opened(&rig);
}

#[test]
fn streams_are_bounded_and_one_that_closes_makes_room() {
    let rig = listening(vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())]);
    let at = rig.addresses.streams[0].unwrap();
    let mut open: Vec<_> = (0..1024).map(|_| TcpStream::connect(at).unwrap()).collect();
    (0..1024).for_each(|_| assert_eq!(opened(&rig).1, 0));
    let mut one_more = TcpStream::connect(at).unwrap();
    one_more.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    assert_eq!(one_more.read(&mut [0; 8]).unwrap(), 0);
    drop(open.pop());
    assert!(matches!(event(&rig), Event::Closed { .. }));
    let _again = TcpStream::connect(at).unwrap();
    opened(&rig);
}
