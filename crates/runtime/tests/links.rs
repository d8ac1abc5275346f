//! Links between two worlds over loopback: order, life and death.

mod rig;

use base::io::Output;
use base::io::net::{Addresses, Down, Event, Frame, Lane, Link, Op, Side};
use base::time::Duration;
use rig::{Hand, Order, Rig, encode, frame, node, setup};
use runtime::Setup;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

/// An address where nobody listens, and nobody else will for a while.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn only(primary: SocketAddr) -> Addresses {
    Addresses { primary, replication: None }
}

fn plain(f: &Frame) -> (u16, Vec<u8>, Vec<u8>) {
    (f.kind, f.head.to_vec(), f.data.iter().flat_map(|p| p.to_vec()).collect())
}

#[test]
fn frames_of_all_sizes_arrive_whole_in_order_and_once_both_ways() {
    let (a, b) = (Rig::new(setup(1)), {
        // Answers every frame with the same frame.
        let echo: rig::Reflex = Box::new(|input, out| {
            if let base::io::Input::Net(Event::Frame { from, frame }) = input {
                out.send(*from, frame.clone());
            }
        });
        Rig::with_reflex(setup(2), Some(echo))
    });
    a.know(node(2), b.at());
    let sent: Vec<Frame> = (0..3000u32)
        .map(|n| {
            let size = [0, 0, 0, 0, 1, 4096, 60_000, if n < 200 { 1 << 20 } else { 9000 }][(n % 8) as usize];
            let block = |seed: u32| (0..size / 2).map(|i| (i as u32 ^ seed) as u8).collect::<Vec<u8>>();
            let parts = if size < 2 { vec![] } else { vec![block(n), block(n + 1)] };
            frame(0x10 + (n % 50) as u16, &n.to_le_bytes(), parts)
        })
        .collect();
    let ops = sent.iter().map(|f| Op::Send { to: Link::to(node(2)), frame: f.clone() });
    a.order(ops.map(|op| Order::Out(Output::Net(op))));
    a.until_up(Link::to(node(2)));
    b.until_up(Link::from(node(1)));
    for (n, expected) in sent.iter().enumerate() {
        let (from, there) = b.until_frame();
        assert_eq!(from, Link::from(node(1)));
        assert!(plain(&there) == plain(expected), "frame {n} there");
        assert!(there.data.iter().all(|p| (p.as_ptr() as usize).is_multiple_of(4096)), "frame {n} is not aligned");
        let (from, back) = a.until_frame();
        assert_eq!(from, Link::to(node(2)));
        assert!(plain(&back) == plain(expected), "frame {n} back");
    }
}

#[test]
fn the_two_lanes_of_a_peer_are_two_links() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    a.know(node(2), b.at());
    for link in [Link::to(node(2)), Link::bulk(node(2))] {
        a.send(link, frame(0x20, b"x", vec![]));
        a.until_up(link);
        let (from, _) = b.until_frame();
        assert_eq!(from, Link { peer: node(1), lane: link.lane, side: Side::Accepted });
        b.send(from, frame(0x21, b"y", vec![]));
        assert_eq!(a.until_frame().0, link);
    }
}

#[test]
fn a_connection_that_was_given_up_for_another_never_comes_after_it() {
    let a = Rig::new(setup(1));
    let (mut given_up, proof) = Hand::half_open(a.primary(), node(2), node(1));
    let mut next = Hand::open(a.primary(), node(2), node(1));
    next.send(&[frame(0x20, b"again", vec![])]);
    a.until_up(Link::from(node(2)));
    assert_eq!(a.until_frame().1.head[..], b"again"[..]);
    // What the network had held arrives now.
    let late = [proof, encode(&frame(0x20, b"once", vec![]))].concat();
    let gone =
        given_up.stream.write_all(&late).is_err() || matches!(given_up.stream.read(&mut [0; 16]), Ok(0) | Err(_));
    assert!(gone, "it is closed");
    next.send(&[frame(0x20, b"later", vec![])]);
    a.until_event("what is said on the newer one", |e| match e {
        Event::Up { .. } | Event::Down { .. } => panic!("{e:?}"),
        Event::Frame { frame, .. } => {
            assert_eq!(frame.head[..], b"later"[..]);
            Some(())
        }
        _ => None,
    });
}

#[test]
fn nobody_there_is_refused_at_once_and_frames_of_that_time_are_lost() {
    let a = Rig::new(setup(1));
    let at = only(nowhere());
    a.know(node(2), at);
    a.send(Link::to(node(2)), frame(0x20, b"lost", vec![]));
    assert_eq!(a.until_down(Link::to(node(2))), Down::Refused);
    // Nor is a peer found whose address was never told; but that is no sign that it is not there.
    a.send(Link::to(node(9)), frame(0x20, b"lost", vec![]));
    assert_eq!(a.until_down(Link::to(node(9))), Down::Unknown);
    let b = Rig::new(Setup { listen: Some(at.primary), ..setup(2) });
    a.send(Link::to(node(2)), frame(0x20, b"found", vec![]));
    a.until_up(Link::to(node(2)));
    assert_eq!(&b.until_frame().1.head[..], b"found");
}

#[test]
fn a_watched_peer_is_found_again_when_it_returns() {
    let a = Rig::new(setup(1));
    let b = Rig::new(setup(2));
    let at = b.at();
    a.watch(node(2), at);
    a.until_up(Link::to(node(2)));
    b.until_up(Link::from(node(1)));
    drop(b);
    assert_eq!(a.until_down(Link::to(node(2))), Down::Reset);
    assert_eq!(a.until_down(Link::to(node(2))), Down::Refused);
    let again = Setup { listen: Some(at.primary), listen_replication: at.replication, ..setup(2) };
    let b = Rig::new(again);
    a.until_up(Link::to(node(2)));
    a.send(Link::to(node(2)), frame(0x20, b"again", vec![]));
    assert_eq!(&b.until_frame().1.head[..], b"again");
}

#[test]
fn an_accepted_link_that_closes_is_down_and_its_answers_go_nowhere() {
    let b = Rig::new(setup(2));
    let hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    drop(hand);
    assert_eq!(b.until_down(Link::from(node(1))), Down::Reset);
    b.send(Link::from(node(1)), frame(0x20, b"", vec![]));
    // The next life of the link has nothing of it.
    let mut hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    b.send(Link::from(node(1)), frame(0x21, b"new", vec![]));
    assert_eq!(hand.frame().unwrap().kind, 0x21);
}

#[test]
fn a_new_connection_of_the_same_link_replaces_the_old_and_nothing_old_comes_after_it() {
    let b = Rig::new(setup(2));
    let mut old = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    old.send(&[frame(0x20, b"old", vec![])]);
    assert_eq!(b.until_frame().1.kind, 0x20);
    let mut new = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    assert!(old.frame().is_none(), "the old connection was not closed");
    let _ = old.stream.write_all(&encode(&frame(0x20, b"old", vec![])));
    new.send(&[frame(0x21, b"new", vec![])]);
    b.until("the new frame, and nothing before it", |seen| match seen {
        rig::Seen::Input(base::io::Input::Net(Event::Frame { frame, .. })) => {
            assert_eq!(frame.kind, 0x21);
            Some(())
        }
        other => panic!("after the new Up came {other:?}"),
    });
    b.send(Link::from(node(1)), frame(0x22, b"answer", vec![]));
    assert_eq!(new.frame().unwrap().kind, 0x22);
}

#[test]
fn another_key_another_cluster_and_the_wrong_node_are_rejected() {
    let b = Rig::new(setup(2));
    let strangers =
        [Setup { key: runtime::ZoneKey::new([1; 32]), ..setup(1) }, Setup { cluster: base::ClusterId(6), ..setup(1) }];
    for stranger in strangers {
        let a = Rig::new(stranger);
        a.know(node(2), b.at());
        a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
        assert_eq!(a.until_down(Link::to(node(2))), Down::Rejected);
    }
    let a = Rig::new(setup(1));
    a.know(node(3), b.at());
    a.send(Link::to(node(3)), frame(0x20, b"", vec![]));
    assert_eq!(a.until_down(Link::to(node(3))), Down::Rejected);
    // The replication network's address is no place for a link.
    a.know(node(2), only(b.addresses.replication.unwrap()));
    a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    assert_eq!(a.until_down(Link::to(node(2))), Down::Rejected);
    // None of them was ever up at the other end; an honest one is.
    a.know(node(2), b.at());
    a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    let first = b.until("anything", |seen| Some(format!("{seen:?}")));
    assert!(first.contains("Up"), "{first}");
    assert_eq!(b.until_frame().0, Link::from(node(1)));
}

#[test]
fn a_peer_that_accepts_and_says_nothing_is_silent_after_the_hello_is_due() {
    let a = Rig::new(setup(1));
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    a.watch(node(2), only(deaf.local_addr().unwrap()));
    a.until_event("silence", |e| matches!(e, Event::Silent { .. }).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(2), "silence was noticed after {:?} only", began.elapsed());
    assert_eq!(a.until_down(Link::to(node(2))), Down::Silent);
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_computer_that_answers_no_call_is_silent_and_not_refused() {
    use std::os::fd::AsRawFd;
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = full.local_addr().unwrap();
    #[allow(unsafe_code)]
    // SAFETY: no memory is passed.
    let listening = unsafe { libc::listen(full.as_raw_fd(), 0) };
    assert_eq!(listening, 0);
    // The kernel answers no call any more once its short queue is full.
    let limit = std::time::Duration::from_millis(200);
    let queue: Vec<_> = (0..4).map_while(|_| TcpStream::connect_timeout(&at, limit).ok()).collect();
    assert!(queue.len() < 4, "the queue of calls was to be full");
    let (a, began) = (Rig::new(setup(1)), Instant::now());
    // One that takes the call and says nothing is called first, and given up last.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    a.know(node(3), only(deaf.local_addr().unwrap()));
    a.know(node(2), only(at));
    [3, 2].into_iter().for_each(|n| a.send(Link::to(node(n)), frame(0x20, b"", vec![])));
    let given_up = || {
        a.until_event("the end of a call", |e| match e {
            Event::Down { link, why } => Some((link.peer, *why)),
            _ => None,
        })
    };
    assert_eq!(given_up(), (node(2), Down::Silent));
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(given_up(), (node(3), Down::Silent));
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_peer_that_calls_is_called_back_without_waiting() {
    let a = Rig::new(setup(1));
    let at = only(nowhere());
    a.watch(node(2), at);
    // Until the waits have grown to their cap, more or less.
    for _ in 0..8 {
        assert_eq!(a.until_down(Link::to(node(2))), Down::Refused);
    }
    let b = Rig::new(Setup { listen: Some(at.primary), ..setup(2) });
    b.know(node(1), a.at());
    b.send(Link::to(node(1)), frame(0x20, b"here I am", vec![]));
    // In the same turn as its own link up, and with no failure in between.
    let mut up = Vec::new();
    while up.len() < 2 {
        up.push(a.until_event("an end of the wait", |e| match e {
            Event::Up { link } => Some(link.side),
            // One more that was made before it listened, perhaps.
            Event::Down { why: Down::Refused, .. } if up.is_empty() => None,
            Event::Down { why, .. } => panic!("{why:?} after the peer was there"),
            _ => None,
        }));
    }
    assert!(up.contains(&Side::Accepted) && up.contains(&Side::Opened));
}

#[test]
fn one_that_connects_and_says_nothing_or_little_by_little_is_closed() {
    let b = Rig::new(setup(2));
    let began = Instant::now();
    let mut mute = TcpStream::connect(b.primary()).unwrap();
    let mut slow = TcpStream::connect(b.primary()).unwrap();
    slow.write_all(b"SWL").unwrap();
    mute.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    slow.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    for stream in [&mut mute, &mut slow] {
        let end = stream.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!((Duration::from_secs(4)..Duration::from_secs(15)).contains(&began.elapsed()));
    }
}

#[test]
fn somebody_elses_protocol_is_refused_with_a_reason() {
    let b = Rig::new(setup(2));
    let mut browser = TcpStream::connect(b.primary()).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    browser.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    browser.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("another protocol"), "{answer:?}");
}

#[test]
fn strangers_are_bounded_and_an_honest_peer_still_gets_in() {
    let b = Rig::new(setup(2));
    let strangers: Vec<_> = (0..300).map(|_| TcpStream::connect(b.primary()).unwrap()).collect();
    let mut hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    hand.send(&[frame(0x20, b"", vec![])]);
    b.until_frame();
    // The first of them gave way long before its five seconds.
    strangers[0].set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert!(matches!((&strangers[0]).read(&mut [0; 8]), Ok(0)));
}

#[test]
fn a_damaged_frame_and_a_kind_that_is_not_a_message_close_the_connection() {
    let b = Rig::new(setup(2));
    let mut damaged = encode(&frame(0x20, b"fields", vec![]));
    damaged[33] ^= 1;
    for bad in [damaged, encode(&frame(0x07, b"", vec![])), encode(&frame(0x05, b"short", vec![]))] {
        let mut hand = Hand::open(b.primary(), node(1), node(2));
        b.until_up(Link::from(node(1)));
        hand.stream.write_all(&bad).unwrap();
        assert_eq!(b.until_down(Link::from(node(1))), Down::Reset);
        assert!(hand.frame().is_none());
    }
    // Of a peer that takes its word back, the reason is kept.
    let mut hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    hand.stream.write_all(&encode(&frame(0x04, &[5, 2, 0, 0, 0, b'n', b'o'], vec![]))).unwrap();
    assert_eq!(b.until_down(Link::from(node(1))), Down::Rejected);
}

#[test]
fn a_peer_that_never_reads_is_cut_off_at_a_bound() {
    let b = Rig::new(setup(2));
    let _hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    let block = base::Payload::from(vec![0; 1 << 20]);
    let big = Frame { kind: 0x20, head: Default::default(), data: vec![block] };
    for _ in 0..200 {
        b.send(Link::from(node(1)), big.clone());
    }
    assert_eq!(b.until_down(Link::from(node(1))), Down::Reset);
}

#[test]
fn what_waits_for_a_link_is_bounded() {
    let a = Rig::new(setup(1));
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    a.know(node(2), only(deaf.local_addr().unwrap()));
    let began = Instant::now();
    let op = Op::Send { to: Link::to(node(2)), frame: frame(0x20, b"", vec![]) };
    a.order((0..5000).map(|_| Order::Out(Output::Net(op.clone()))));
    assert_eq!(a.until_down(Link::to(node(2))), Down::Reset);
    assert!(began.elapsed() < Duration::from_secs(5), "it was said only when the hello was overdue");
}

#[test]
fn a_changed_address_closes_the_old_and_finds_the_new() {
    let a = Rig::new(setup(1));
    let (old, new) = (Rig::new(setup(2)), Rig::new(setup(2)));
    a.watch(node(2), old.at());
    a.until_up(Link::to(node(2)));
    old.until_up(Link::from(node(1)));
    a.know(node(2), new.at());
    assert_eq!(a.until_down(Link::to(node(2))), Down::Reset);
    a.until_up(Link::to(node(2)));
    new.until_up(Link::from(node(1)));
    assert_eq!(old.until_down(Link::from(node(1))), Down::Reset);
    // The same address again changes nothing.
    a.know(node(2), new.at());
    a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    new.until_event("the frame, on the same life of the link", |e| match e {
        Event::Frame { .. } => Some(()),
        Event::Heard { .. } => None,
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_closed_link_is_closed_at_the_other_end_and_opens_again_when_used() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    a.know(node(2), b.at());
    for lane in [Lane::Data, Lane::Bulk] {
        let to = Link { peer: node(2), lane, side: Side::Opened };
        let from = Link { peer: node(1), lane, side: Side::Accepted };
        for round in 0..3 {
            a.send(to, frame(0x20, &[round], vec![]));
            a.until_up(to);
            b.until_up(from);
            let closer = if round == 1 { (&b, from) } else { (&a, to) };
            b.until_frame();
            closer.0.net(Op::Close { link: closer.1 });
            let (other, link) = if round == 1 { (&a, to) } else { (&b, from) };
            assert_eq!(other.until_down(link), Down::Reset);
        }
    }
}

#[test]
fn last_words_are_out_before_a_world_ends() {
    let b = Rig::new(setup(2));
    let mut hand = Hand::open(b.primary(), node(1), node(2));
    b.until_up(Link::from(node(1)));
    let words = frame(0x20, b"farewell", vec![vec![9; 1 << 20]; 1]);
    let ops = (0..8).map(|_| Order::Out(Output::Net(Op::Send { to: Link::from(node(1)), frame: words.clone() })));
    b.order(ops.chain([Order::Stop(3)]));
    for _ in 0..8 {
        assert_eq!(hand.frame().unwrap().kind, 0x20);
    }
    assert!(hand.frame().is_none());
    assert_eq!(b.ended().0, runtime::Exit::Stopped(3));
}
