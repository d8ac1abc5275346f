//! A thousand connections that end in one instant, again and again, while others go on: nothing leaks, nothing is mixed up, nobody else notices, and
//! whoever has to be called again is called eight at a time. Alone in its process, whose descriptors are counted.

mod rig;

use base::HostId;
use base::io::net::{Addresses, Event, Link, Op, Peer, Traffic};
use base::io::{Input, Output};
use rig::{Hand, Order, PATIENCE, Rig, Seen, frame, node, setup};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Connections that end at once, and how often.
const MANY: u64 = 1000;
const ROUNDS: usize = 4;
/// Links that the world itself opened and must open again.
const LINKS: u64 = 150;

/// Both tests count descriptors, and have the process for themselves in turn.
static ALONE: Mutex<()> = Mutex::new(());

#[allow(unsafe_code)]
fn allow_many_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is on our stack.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max.min(16_384);
    assert!(limit.rlim_cur > 4 * MANY, "too few descriptors are allowed here: {}", limit.rlim_cur);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// Ends a connection without a word: the other end is reset.
#[allow(unsafe_code)]
fn reset(stream: TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, len) = ((&raw const now).cast(), size_of_val(&now) as libc::socklen_t);
    // SAFETY: the value is on our stack and as long as we say.
    let result = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Talks to node 2 until it is told to stop; says how often it was answered. Panics when its link is disturbed.
fn talk(rig: &Rig, stop: &AtomicBool) -> u64 {
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        rig.send(Link::to(node(2)), frame(0x20, &n.to_le_bytes(), vec![vec![n as u8; 8192]]));
        rig.until("the answer", |seen| match seen {
            Seen::Input(Input::Net(Event::Frame { frame, .. })) => {
                assert_eq!(frame.head[..], n.to_le_bytes(), "an answer to something else");
                Some(())
            }
            Seen::Input(Input::Net(Event::Down { link, why })) => panic!("{link:?} went down: {why:?}"),
            _ => None,
        });
    }
    n
}

#[test]
fn a_thousand_connections_are_reset_at_once_and_nobody_else_notices() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    allow_many_descriptors();
    // What comes from a host must carry its name; what comes from the node is answered.
    let reflex: rig::Reflex = Box::new(|input, out| {
        if let Input::Net(Event::Frame { from, frame }) = input {
            match from.peer {
                Peer::Host(HostId(n)) => assert_eq!(frame.head[..], n.to_le_bytes(), "a frame on a wrong link"),
                _ => out.send(*from, frame.clone()),
            }
        }
    });
    let (a, b) = (Rig::new(setup(1)), Rig::with_reflex(setup(2), Some(reflex)));
    let at = b.primary();
    a.watch(node(2), b.at());
    a.until_up(Link::to(node(2)));
    let before = descriptors();
    let stop = Arc::new(AtomicBool::new(false));
    let talking = {
        let stop = stop.clone();
        std::thread::spawn(move || (talk(&a, &stop), a))
    };
    for round in 0..ROUNDS {
        let mut hands: Vec<Hand> = (1..=MANY).map(|n| Hand::open(at, Peer::Host(HostId(n)), node(2))).collect();
        for (n, hand) in (1..=MANY).zip(&mut hands) {
            // Something is still on its way when the end comes, both ways.
            hand.send(&[frame(0x10, &n.to_le_bytes(), vec![vec![1; 512]])]);
            b.send(Link::from(Peer::Host(HostId(n))), frame(0x13, &n.to_le_bytes(), vec![vec![2; 512]]));
        }
        hands.into_iter().for_each(|hand| reset(hand.stream));
        for _ in 0..MANY {
            b.until_event("the end of a link", |e| match e {
                Event::Down { link: Link { peer: Peer::Host(_), .. }, .. } => Some(()),
                _ => None,
            });
        }
        wait_until(&format!("round {round}: every descriptor is given back"), || descriptors() <= before);
        let counted = count(&b);
        assert_eq!((counted.closing, counted.queued), (0, 0));
    }
    stop.store(true, Ordering::Relaxed);
    let (answers, a) = talking.join().unwrap();
    assert!(answers > 20, "{answers} answers meanwhile");
    drop((a, b));
}

/// Takes calls for one node.
fn answer(listener: &TcpListener, me: Peer, hands: &Sender<Hand>) {
    while let Ok((stream, _)) = listener.accept() {
        if hands.send(Hand::accepted(stream, me)).is_err() {
            return;
        }
    }
}

fn count(rig: &Rig) -> Traffic {
    rig.net(Op::Count);
    counted(rig)
}

fn counted(rig: &Rig) -> Traffic {
    rig.until_event("the count", |e| if let Event::Counted(traffic) = e { Some(**traffic) } else { None })
}

/// As many connections as there are links; while they come, no more than eight are being opened.
fn all(rig: &Rig, hands: &Receiver<Hand>) -> Vec<Hand> {
    let (mut open, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while open.len() < LINKS as usize {
        assert!(Instant::now() < deadline, "only {} links came back", open.len());
        assert!(count(rig).opening <= 8);
        open.extend(hands.try_iter());
    }
    open
}

#[test]
fn links_that_break_together_are_opened_again_eight_at_a_time() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    allow_many_descriptors();
    let a = Rig::new(setup(1));
    let (sender, hands) = channel();
    let mut orders = Vec::new();
    for n in 0..LINKS {
        let (listener, sender, peer) = (TcpListener::bind("127.0.0.1:0").unwrap(), sender.clone(), node(100 + n));
        let at = Addresses { primary: listener.local_addr().unwrap(), replication: None };
        orders.extend([Op::Know { peer, at }, Op::Watch { peer, wanted: true }]);
        std::thread::spawn(move || answer(&listener, peer, &sender));
    }
    orders.push(Op::Count);
    a.order(orders.into_iter().map(|op| Order::Out(Output::Net(op))));
    // All were asked for in one turn.
    let first = counted(&a);
    assert_eq!((first.opening, first.queued), (8, LINKS - 8));
    let mut open = all(&a, &hands);
    let before = descriptors();
    for _ in 0..ROUNDS {
        open.into_iter().for_each(|hand| reset(hand.stream));
        open = all(&a, &hands);
        open.iter_mut().for_each(|hand| hand.send(&[frame(0x20, b"again", vec![])]));
        for _ in 0..LINKS {
            a.until_frame();
        }
        wait_until("no descriptor more than before", || descriptors() <= before);
    }
}
