//! What a world is to its process: signals, the waker, deadlines, addresses it may not take; and the client of commands.

mod rig;

use base::io::net::{Event, Link};
use base::io::{Inbox, Input, Machine, Outbox};
use base::time::Duration;
use base::{ClusterId, Time};
use rig::{Rig, Scratch, Seen, frame, key, node, setup};
use runtime::client::{Client, ClientError};
use runtime::session::{Code, PING};
use runtime::{Bare, Exit, Setup, StartError, World, ZoneKey, stream};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use wire::{DescribeNodes, ErrorCode, Failed, Message};

#[test]
fn a_signal_gives_the_application_one_more_step_and_ends_the_run() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let rig = Rig::new(setup(1));
        rig::signal(&rig, number);
        rig.until("stopping", |seen| matches!(seen, Seen::Stopping).then_some(()));
        assert_eq!(rig.ended().0, Exit::Signal(number));
    }
}

/// Wants a step every twenty milliseconds and counts them; knows nothing of streams.
struct Metronome {
    next: Time,
    steps: u32,
}

impl Machine for Metronome {
    fn step(&mut self, now: Time, inbox: &mut Inbox, _: &mut Outbox) {
        inbox.clear();
        if now >= self.next {
            self.steps += 1;
            self.next = now + Duration::from_millis(20);
        }
        assert!(self.steps < 1000, "nobody ends this");
    }
    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }
}

#[test]
fn a_bare_machine_is_stepped_at_its_deadlines_and_its_streams_are_closed() {
    let path = Scratch::new("socket");
    let setup = Setup { streams: vec![stream::Listen::Unix(path.0.clone())], ..setup(1) };
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut world = World::new(setup).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: it has no conditions.
        send.send(unsafe { libc::pthread_self() }).unwrap();
        let mut app = Bare(Metronome { next: Time::ZERO, steps: 0 });
        let exit = world.run(&mut app).unwrap();
        (exit, app.0.steps, world.counters().turns)
    });
    let id = receive.recv_timeout(rig::PATIENCE).unwrap();
    let mut guest = UnixStream::connect(&path.0).unwrap();
    assert_eq!(guest.read(&mut [0; 8]).unwrap(), 0);
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        std::thread::yield_now();
    }
    #[allow(unsafe_code)]
    // SAFETY: the thread has not been joined.
    unsafe {
        libc::pthread_kill(id, libc::SIGTERM)
    };
    let (exit, steps, turns) = thread.join().unwrap();
    assert_eq!(exit, Exit::Signal(libc::SIGTERM));
    assert!((5..=40).contains(&steps), "{steps} steps of 20 ms in 300 ms");
    assert!(turns <= u64::from(steps) + 20, "{turns} turns for {steps} steps");
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_leave() {
    let error = |setup: Setup| std::thread::spawn(|| World::new(setup).err().unwrap()).join().unwrap();
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let none = Setup { listen: None, listen_replication: None, ..setup(1) };
    for setup in [
        Setup { listen: Some(anywhere), ..none.clone() },
        Setup { listen_replication: Some(anywhere), ..none.clone() },
        Setup { streams: vec![stream::Listen::Tcp(anywhere)], ..none.clone() },
    ] {
        let open = Setup { allow_remote: true, ..setup.clone() };
        let error = error(setup);
        assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("0.0.0.0:0") && error.to_string().contains("allow remote"), "{error}");
        drop(Rig::new(open));
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = error(Setup { listen: Some(taken.local_addr().unwrap()), ..none });
    assert!(error.to_string().contains("choose another address"), "{error}");
}

fn question() -> Message {
    DescribeNodes { node: None }.into()
}

fn ask(client: &mut Client) -> Result<Message, ClientError> {
    client.ask(&question(), Duration::from_secs(10)).map(|(message, _)| message)
}

#[test]
fn a_client_asks_and_is_answered_and_answers_pings_meanwhile() {
    let reflex: rig::Reflex = Box::new(|input, out| {
        if let Input::Net(Event::Frame { from, frame }) = input {
            assert_eq!(Message::decode(frame).unwrap(), question());
            // A ping first: it is not the answer.
            out.send(*from, rig::frame(PING, &[1, 0, 0, 0, 0, 0, 0, 0], vec![]));
            let text = "no".repeat(50_000);
            let answer = Message::from(Failed { code: ErrorCode::Invalid, text });
            out.send(*from, answer.frame_with(vec![vec![5; 300_000].into()]));
        }
    });
    let b = Rig::with_reflex(setup(2), Some(reflex));
    let connect = || Client::connect(b.primary(), node(2), ClusterId(5), &key(), Duration::from_secs(10)).unwrap();
    let (mut one, mut two) = (connect(), connect());
    for client in [&mut one, &mut two] {
        match client.ask(&question(), Duration::from_secs(10)).unwrap() {
            (Message::Failed(failed), data) => {
                assert_eq!((failed.code, failed.text.len(), data[0].len()), (ErrorCode::Invalid, 100_000, 300_000));
            }
            other => panic!("{other:?}"),
        }
    }
    let peers: std::collections::BTreeSet<_> = (0..2)
        .map(|_| {
            b.until_event("the end of a client", |e| match e {
                Event::Frame { from, .. } => Some(from.peer),
                _ => None,
            })
        })
        .collect();
    assert_eq!(peers.len(), 2, "two clients are two peers");
}

#[test]
fn a_client_says_what_went_wrong() {
    let b = Rig::new(setup(2));
    let limit = Duration::from_millis(300);
    let connect = |at, peer, key: &ZoneKey| Client::connect(at, peer, ClusterId(5), key, limit).err().unwrap();
    // Nobody there.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connect(nowhere, node(2), &key());
    assert!(matches!(error, ClientError::Refused { .. }) && error.to_string().contains("nobody listens"), "{error}");
    // Another key, another peer.
    let rejected = |error: ClientError| match error {
        ClientError::Rejected { ref why, .. } => (why.code, error.to_string()),
        other => panic!("{other}"),
    };
    let (code, text) = rejected(connect(b.primary(), node(2), &ZoneKey::new([1; 32])));
    assert!(code == Code::Key && text.contains("zone key"), "{text}");
    let (code, text) = rejected(connect(b.primary(), node(3), &key()));
    assert!(code == Code::WrongPeer && text.contains("node-3 was meant and this is node-2"), "{text}");
    // Somebody who says nothing: before the hello, and after.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = connect(deaf.local_addr().unwrap(), node(2), &key());
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    let mut client = Client::connect(b.primary(), node(2), ClusterId(5), &key(), Duration::from_secs(10)).unwrap();
    let error = client.ask(&question(), limit).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }) && error.to_string().contains("look before"), "{error}");
    // One that goes away.
    drop(b);
    let error = ask(&mut client).unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
}

#[test]
fn a_client_does_not_believe_damage_or_kinds_it_does_not_know() {
    let mut damaged = rig::encode(&frame(0x20, b"fields", vec![]));
    damaged[33] ^= 1;
    let refused = rig::encode(&frame(0x04, &[5, 2, 0, 0, 0, b'n', b'o'], vec![]));
    let answers = [damaged, rig::encode(&frame(0xff00, b"", vec![])), rig::encode(&frame(0x09, b"", vec![])), refused];
    for (n, answer) in answers.into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || {
            let mut hand = rig::Hand::accept(&listener, node(2));
            hand.frame().unwrap();
            std::io::Write::write_all(&mut hand.stream, &answer).unwrap();
            assert!(hand.frame().is_none());
        });
        let mut client = Client::connect(at, node(2), ClusterId(5), &key(), Duration::from_secs(10)).unwrap();
        let error = ask(&mut client).unwrap_err();
        let expected = if n == 3 {
            matches!(error, ClientError::Rejected { .. })
        } else {
            matches!(error, ClientError::Garbled { .. })
        };
        assert!(expected, "{n}: {error}");
        drop(client);
        other.join().unwrap();
    }
}

#[test]
fn a_waker_makes_a_step_though_nothing_came() {
    let rig = Rig::new(setup(1));
    rig.order([]);
    rig.know(node(2), rig.at());
    // Orders are read in a step that only the waker brought about; their effect shows that it came.
    rig.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    rig.until_down(Link::to(node(2)));
    let (_, counters, _) = rig.stop();
    assert!(counters.steps >= 2, "{counters:?}");
}
