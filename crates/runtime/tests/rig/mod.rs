//! Worlds in threads of their own, told what to do and asked what they saw; and peers made by hand, to say what no world would.
//! Every wait has a deadline.
#![allow(dead_code)] // Each test binary uses its own part of this.

pub mod cable;

use base::io::net::{Addresses, Event, Frame, Lane, Link, Network, Op, Peer};
use base::io::{Inbox, Input, Outbox, Output};
use base::{ClusterId, Incarnation, NodeId, Time};
use bytes::Bytes;
use runtime::session::{Aim, Session, Step, Terms};
use runtime::{Application, Counters, Driver, Exit, Next, Setup, Waker, World, ZoneKey, stream};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the worlds of this binary run over. Each file of tests is a binary over io_uring; `epoll.rs` and `epoll_descriptors.rs`
/// hold the same files once more.
pub const DRIVER: Driver = match env!("CARGO_CRATE_NAME").as_bytes() {
    [b'e', b'p', b'o', b'l', b'l', ..] => Driver::Epoll,
    _ => Driver::IoUring,
};

/// After this a wait has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn node(n: u64) -> Peer {
    Peer::Node(NodeId(n))
}

pub fn key() -> ZoneKey {
    ZoneKey::new([7; 32])
}

/// A node that listens on both networks, on any ports.
pub fn setup(n: u64) -> Setup {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let setup = Setup::new(node(n), ClusterId(5), Incarnation(1), key());
    Setup { listen: any, listen_replication: any, aligned_payloads: true, driver: DRIVER, ..setup }
}

/// A path in the temporary folder, removed when this is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("seawall-{name}-{:x}", runtime::entropy_u64())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a world saw.
#[derive(Debug)]
pub enum Seen {
    Input(Input),
    Stream(stream::Event),
    Stopping,
}

pub enum Order {
    Out(Output),
    Stream(stream::Op),
    Stop(i32),
}

/// What an application does by itself with an input, in the same step.
pub type Reflex = Box<dyn FnMut(&Input, &mut Outbox) + Send>;
/// The same with an event of a stream.
pub type StreamReflex = Box<dyn FnMut(&stream::Event, &mut Vec<stream::Op>) + Send>;

struct App {
    orders: Receiver<Order>,
    seen: Sender<Seen>,
    reflex: Option<Reflex>,
    stream_reflex: Option<StreamReflex>,
}

impl Application for App {
    fn step(
        &mut self,
        _now: Time,
        inbox: &mut Inbox,
        streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        stream_out: &mut Vec<stream::Op>,
    ) -> Next {
        for input in inbox.drain(..) {
            if let Some(reflex) = &mut self.reflex {
                reflex(&input, out);
            }
            let _ = self.seen.send(Seen::Input(input));
        }
        for event in streams.drain(..) {
            if let Some(reflex) = &mut self.stream_reflex {
                reflex(&event, stream_out);
            }
            let _ = self.seen.send(Seen::Stream(event));
        }
        let mut next = Next::Continue;
        for order in self.orders.try_iter() {
            match order {
                Order::Out(Output::Net(op)) => out.net(op),
                Order::Out(Output::Disk(op)) => out.disk(op),
                Order::Out(Output::Meta(op)) => out.meta(op),
                Order::Stream(op) => stream_out.push(op),
                Order::Stop(code) => next = Next::Stop(code),
            }
        }
        next
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn stopping(&mut self) {
        let _ = self.seen.send(Seen::Stopping);
    }
}

/// A world in a thread.
pub struct Rig {
    pub addresses: runtime::Addresses,
    pub disk: Option<runtime::disk::Status>,
    pub driver: Driver,
    /// Of its thread, to send signals to.
    pub thread_id: libc::pthread_t,
    orders: Sender<Order>,
    seen: Receiver<Seen>,
    waker: Waker,
    thread: Option<JoinHandle<(Exit, Counters, usize)>>,
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        Self::with_reflexes(setup, None, None)
    }

    pub fn with_reflex(setup: Setup, reflex: Option<Reflex>) -> Self {
        Self::with_reflexes(setup, reflex, None)
    }

    pub fn with_reflexes(setup: Setup, reflex: Option<Reflex>, stream_reflex: Option<StreamReflex>) -> Self {
        let (orders, their_orders) = channel();
        let (their_seen, seen) = channel();
        let (born, cradle) = channel();
        let thread = std::thread::spawn(move || {
            // A world belongs to the thread that makes it.
            let mut world = World::new(setup).unwrap_or_else(|why| panic!("{why}"));
            let me = this_thread();
            let born_as = (world.addresses().clone(), world.disk_status(), world.driver(), world.waker(), me);
            born.send(born_as).unwrap();
            let mut app = App { orders: their_orders, seen: their_seen, reflex, stream_reflex };
            let exit = world.run(&mut app).unwrap();
            (exit, world.counters(), world.buffer_bytes())
        });
        let (addresses, disk, driver, waker, thread_id) =
            cradle.recv_timeout(PATIENCE).expect("the world was not made");
        Self { addresses, disk, driver, thread_id, orders, seen, waker, thread: Some(thread) }
    }

    pub fn primary(&self) -> SocketAddr {
        self.addresses.primary.unwrap()
    }

    pub fn at(&self) -> Addresses {
        Addresses { primary: self.primary(), replication: self.addresses.replication }
    }

    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        orders.into_iter().for_each(|order| self.orders.send(order).unwrap());
        self.waker.wake();
    }

    pub fn net(&self, op: Op) {
        self.order([Order::Out(Output::Net(op))]);
    }

    pub fn know(&self, peer: Peer, at: Addresses) {
        self.net(Op::Know { peer, at });
    }

    pub fn watch(&self, peer: Peer, at: Addresses) {
        self.order([Op::Know { peer, at }, Op::Watch { peer, wanted: true }].map(|op| Order::Out(Output::Net(op))));
    }

    pub fn send(&self, to: Link, frame: Frame) {
        self.net(Op::Send { to, frame });
    }

    pub fn stream(&self, op: stream::Op) {
        self.order([Order::Stream(op)]);
    }

    /// What was seen next, if anything is within `patience`.
    pub fn next_within(&self, patience: Duration) -> Option<Seen> {
        match self.seen.recv_timeout(patience) {
            Ok(seen) => Some(seen),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the world is gone"),
        }
    }

    /// Passes over what was seen until `wanted` finds what it looks for.
    pub fn until<T>(&self, what: &str, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut passed = Vec::new();
        loop {
            match self.next_within(deadline.saturating_duration_since(Instant::now())) {
                Some(seen) => match wanted(&seen) {
                    Some(found) => return found,
                    None => passed.push(seen),
                },
                None => panic!("never saw {what}, but: {:?}", &passed[..passed.len().min(50)]),
            }
        }
    }

    pub fn until_event<T>(&self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        self.until(what, |seen| match seen {
            Seen::Input(Input::Net(event)) => wanted(event),
            _ => None,
        })
    }

    pub fn until_up(&self, link: Link) {
        self.until_event(&format!("{link:?} up"), |e| matches!(e, Event::Up { link: l } if *l == link).then_some(()));
    }

    /// Waits until a link is down for any reason; says which.
    pub fn until_down(&self, link: Link) -> base::io::net::Down {
        self.until_event(&format!("{link:?} down"), |e| match e {
            Event::Down { link: l, why } if *l == link => Some(*why),
            _ => None,
        })
    }

    pub fn until_frame(&self) -> (Link, Frame) {
        self.until_event("a frame", |e| match e {
            Event::Frame { from, frame } => Some((*from, frame.clone())),
            _ => None,
        })
    }

    /// Waits for the run to end by itself.
    pub fn ended(mut self) -> (Exit, Counters, usize) {
        let thread = self.thread.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "the world did not end");
            std::thread::yield_now();
        }
        thread.join().unwrap()
    }

    /// Stops it, and takes the counters.
    pub fn stop(self) -> (Exit, Counters, usize) {
        self.order([Order::Stop(0)]);
        self.ended()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.orders.send(Order::Stop(0));
            self.waker.wake();
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("the world panicked");
            }
        }
    }
}

#[allow(unsafe_code)]
fn this_thread() -> libc::pthread_t {
    // SAFETY: it has no conditions.
    unsafe { libc::pthread_self() }
}

/// Sends a signal to the thread of a world.
#[allow(unsafe_code)]
pub fn signal(rig: &Rig, number: i32) {
    // SAFETY: the thread runs as long as the rig has not been joined, which takes it by value.
    assert_eq!(unsafe { libc::pthread_kill(rig.thread_id, number) }, 0);
}

pub fn frame(kind: u16, head: &[u8], data: Vec<Vec<u8>>) -> Frame {
    let data = data.into_iter().map(Into::into).collect();
    Frame { kind, head: Bytes::copy_from_slice(head), data }
}

pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = wire::frame::encode(frame).to_vec();
    bytes.extend_from_slice(&frame.head);
    frame.data.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// A peer made by hand, over a plain socket.
pub struct Hand {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

pub fn terms(me: Peer) -> Terms {
    Terms::new(me, ClusterId(5), Incarnation(1), key())
}

impl Hand {
    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    /// Opens a connection to a world and says hello.
    pub fn open(at: SocketAddr, me: Peer, to: Peer) -> Self {
        Self::open_to(at, to, Network::Primary, &terms(me))
    }

    /// The same, over this network.
    pub fn open_on(at: SocketAddr, me: Peer, to: Peer, network: Network) -> Self {
        Self::open_to(at, to, network, &terms(me))
    }

    /// As another run of a process.
    pub fn open_as(at: SocketAddr, to: Peer, terms: &Terms) -> Self {
        Self::open_to(at, to, Network::Primary, terms)
    }

    fn open_to(at: SocketAddr, to: Peer, network: Network, terms: &Terms) -> Self {
        let mut hand = Self::over(TcpStream::connect(at).unwrap());
        let aim = Aim { peer: to, lane: Some(Lane::Data), network };
        let (session, hello) = Session::open(terms, aim, runtime::clock::entropy());
        hand.stream.write_all(&hello).unwrap();
        hand.greet(session, terms);
        hand
    }

    /// Opens a connection and says all of the hello but its last word, which is handed back.
    pub fn half_open(at: SocketAddr, me: Peer, to: Peer) -> (Self, Vec<u8>) {
        let terms = terms(me);
        let mut hand = Self::over(TcpStream::connect(at).unwrap());
        let aim = Aim { peer: to, lane: Some(Lane::Data), network: Network::Primary };
        let (mut session, hello) = Session::open(&terms, aim, runtime::clock::entropy());
        hand.stream.write_all(&hello).unwrap();
        loop {
            let (consumed, step) = session.read(&terms, &hand.bytes);
            hand.bytes.drain(..consumed);
            match step {
                Step::More => assert!(hand.receive() > 0, "closed in the middle of the hello"),
                Step::Open { send, .. } => return (hand, send),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes one connection and says hello.
    pub fn accept(listener: &TcpListener, me: Peer) -> Self {
        Self::accepted(listener.accept().unwrap().0, me)
    }

    /// Says hello on a connection that was taken.
    pub fn accepted(stream: TcpStream, me: Peer) -> Self {
        let mut hand = Self::over(stream);
        hand.greet(Session::accept(Network::Primary, runtime::clock::entropy()), &terms(me));
        hand
    }

    fn greet(&mut self, mut session: Session, terms: &Terms) {
        loop {
            let (consumed, step) = session.read(terms, &self.bytes);
            self.bytes.drain(..consumed);
            match step {
                Step::More => assert!(self.receive() > 0, "closed in the middle of the hello"),
                Step::Reply(bytes) => self.stream.write_all(&bytes).unwrap(),
                Step::Open { send, .. } => return self.stream.write_all(&send).unwrap(),
                Step::Refused { why, .. } => panic!("{why}"),
            }
        }
    }

    fn receive(&mut self) -> usize {
        let mut chunk = vec![0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(len) => {
                self.bytes.extend_from_slice(&chunk[..len]);
                len
            }
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(why) => panic!("{why}"),
        }
    }

    /// The next frame, or none when the other end closed.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(header) = self.bytes.first_chunk() {
                let header = wire::frame::decode(header).unwrap();
                if self.bytes.len() >= header.frame_len() {
                    let rest = self.bytes.split_off(header.frame_len());
                    let whole = Bytes::from(std::mem::replace(&mut self.bytes, rest)).slice(32..);
                    let (head, data) = (whole.slice(..header.head_len), whole.slice(header.head_len..));
                    return Some(header.into_frame(head, base::Payload(data)).unwrap());
                }
            }
            if self.receive() == 0 {
                return None;
            }
        }
    }

    pub fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        self.stream.write_all(&bytes).unwrap();
    }
}
