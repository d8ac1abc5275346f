//! The loop that drives a machine: one thread, one ring; over io_uring, one system call a turn, and one more for a sleep.
//!
//! A turn: take what the kernel has finished, hand it to the parts it belongs to, step the application with all it amounts to,
//! carry out in order what it asked, then enter the kernel once with everything. The kernel wakes the loop when
//! something ends or at the earliest deadline of machine and parts; nothing else ever runs, so an idle world costs its
//! keepalives and no more.

use crate::arena::Arena;
use crate::counters::Counters;
use crate::disk;
#[cfg(not(feature = "faults"))]
use crate::disk::Disk;
#[cfg(feature = "faults")]
use crate::disk::Faulty as Disk;
use crate::error::{Fault, StartError};
use crate::key::ZoneKey;
use crate::log::{self, Log};
use crate::meta;
use crate::net::{Cluster, Net, Parties};
use crate::os::{Signals, Waker};
use crate::ring::{Completion, Driver, File, Operation, Ring, is_forbidden};
use crate::session::Terms;
use crate::stream;
use crate::streams::{Streams, bind_tcp};
use crate::turn::{Token, Turn};
use crate::{clock, entropy_u64};
use base::io::net::{Event, Network, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::time::Duration;
use base::{ClusterId, Incarnation, Rng, Time, ZoneNumber};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who this process is.
    pub me: Peer,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which run of it this is.
    pub incarnation: Incarnation,
    /// The zone's key.
    pub key: ZoneKey,
    /// Of the zones that it is not of, and to whose authorities it speaks ([`Peer::Authority`]).
    pub zones: BTreeMap<ZoneNumber, Cluster>,
    /// Where peers reach it on the primary network; port 0 takes any.
    pub listen: Option<SocketAddr>,
    /// Where peers reach it on the replication network: nodes only.
    pub listen_replication: Option<SocketAddr>,
    /// Bytes a second that the replication network carries.
    pub replication_bytes_per_s: u64,
    /// Whether addresses that other computers can reach may be listened on.
    pub allow_remote: bool,
    /// The disk, of whoever has one.
    pub disk: Option<disk::Config>,
    /// Whether the disk is one that fails on demand, and how else it is not what it seems.
    #[cfg(feature = "faults")]
    pub test_disk: Option<disk::TestDisk>,
    /// The metadata file, of whoever has one.
    pub meta: Option<PathBuf>,
    /// Whether received blocks are put into buffers that a disk can take as they are. For nodes.
    pub aligned_payloads: bool,
    /// Where raw byte streams are accepted.
    pub streams: Vec<stream::Listen>,
    /// What moves its bytes.
    pub driver: Driver,
}

impl Setup {
    /// One that listens nowhere and has nothing: to be filled in.
    pub fn new(me: Peer, cluster: ClusterId, incarnation: Incarnation, key: ZoneKey) -> Self {
        Self {
            me,
            cluster,
            incarnation,
            key,
            zones: BTreeMap::new(),
            listen: None,
            listen_replication: None,
            replication_bytes_per_s: wire::share::CAPACITY,
            allow_remote: false,
            disk: None,
            #[cfg(feature = "faults")]
            test_disk: None,
            meta: None,
            aligned_payloads: false,
            streams: Vec::new(),
            driver: Driver::Auto,
        }
    }
}

/// Where a world listens, with the ports that were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// On the primary network.
    pub primary: Option<SocketAddr>,
    /// On the replication network.
    pub replication: Option<SocketAddr>,
    /// For streams, in the order of [`Setup::streams`]; none of a Unix socket.
    pub streams: Vec<Option<SocketAddr>>,
}

/// What an application wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Continue,
    /// Stop, when what was asked of the network is out; with this exit status.
    Stop(i32),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The application stopped, with this status.
    Stopped(i32),
    /// A signal came; this one.
    Signal(i32),
}

/// What a world drives: a machine, and whatever the process has around it.
pub trait Application {
    /// Takes all that a turn brought and says all that follows. Leaves the inbox and the stream events empty.
    fn step(
        &mut self,
        now: Time,
        inbox: &mut Inbox,
        streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        stream_out: &mut Vec<stream::Op>,
    ) -> Next;

    /// When it wants a step though nothing came.
    fn deadline(&self) -> Option<Time>;

    /// SIGTERM or SIGINT came: one more step follows, to say what is left to say, then the run ends.
    fn stopping(&mut self) {}
}

/// A machine with nothing around it.
#[derive(Debug)]
pub struct Bare<M: Machine>(pub M);

impl<M: Machine> Application for Bare<M> {
    fn step(
        &mut self,
        now: Time,
        inbox: &mut Inbox,
        streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        stream_out: &mut Vec<stream::Op>,
    ) -> Next {
        // Nobody here speaks any protocol of streams.
        for event in streams.drain(..) {
            if let stream::Event::Opened { id, .. } = event {
                stream_out.push(stream::Op::Close { id });
            }
        }
        self.0.step(now, inbox, out);
        Next::Continue
    }

    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }
}

/// What is still being sent when a run ends may take so long.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// Memory that is free for so long goes back to the kernel.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// The real world of one process. It belongs to the thread that made it; make it before other threads are started, so that
/// signals come to it.
pub struct World {
    // Dropped first, so that the kernel has let go of everything before the rest is.
    ring: Ring<Token>,
    arena: Arena,
    net: Net,
    disk: Option<Disk>,
    meta: Option<meta::Embedded>,
    streams: Streams,
    signals: Signals,
    waker: Waker,
    wake_end: File,
    meta_end: File,
    signal_end: File,
    addresses: Addresses,
    counters: Counters,
    log: Log,
    inbox: Inbox,
    stream_events: Vec<stream::Event>,
    done: Vec<Completion<Token>>,
    /// When to look for memory to give back, if any was taken since.
    trim_at: Option<Time>,
    woken: bool,
    signal: Option<i32>,
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |why| StartError::System { what, why }
}

/// Whether io_uring was demanded and is forbidden, rather than a limit reached.
fn ring_error(wanted: Driver, why: io::Error) -> StartError {
    match wanted {
        Driver::IoUring if is_forbidden(&why) => StartError::NoRing(why),
        _ => StartError::System { what: "the ring", why },
    }
}

impl World {
    /// Opens everything, or says what could not be opened. The first step comes with [`Self::run`].
    pub fn new(setup: Setup) -> Result<Self, StartError> {
        crate::os::return_large_buffers();
        let signals = Signals::take().map_err(system("a signal descriptor"))?;
        let (mut ring, without) = Ring::new(setup.driver).map_err(|why| ring_error(setup.driver, why))?;
        if let Some(why) = without {
            let text = format_args!(
                "the kernel gives no io_uring ({why}); epoll and a few threads take its place: as safe, and slower \
                 (docs/measured.md says by how much)"
            );
            log::line(&setup.me, text);
        }
        let mut listeners = Vec::new();
        let mut listen = |what, at: Option<SocketAddr>, network| -> Result<Option<SocketAddr>, StartError> {
            let Some(at) = at else { return Ok(None) };
            let (listener, bound) = bind_tcp(what, at, setup.allow_remote)?;
            listeners.push((listener, network));
            Ok(Some(bound))
        };
        let primary = listen("primary", setup.listen, Network::Primary)?;
        let replication = listen("replication", setup.listen_replication, Network::Replication)?;
        let streams = Streams::new(&setup.streams, setup.allow_remote)?;
        let addresses = Addresses { primary, replication, streams: streams.addresses() };

        #[cfg(feature = "faults")]
        let open = |config| Disk::open(config, setup.test_disk);
        #[cfg(not(feature = "faults"))]
        let open = Disk::open;
        let disk = setup.disk.as_ref().map(open).transpose().map_err(StartError::Disk)?;
        if let Some(disk) = &disk {
            ring.register(disk.file());
            if !disk.status().direct {
                log::line(&setup.me, format_args!("its disk cannot be opened with O_DIRECT; the page cache is used"));
            }
        }
        let (meta_waker, meta_end) = Waker::new().map_err(system("an event descriptor"))?;
        let open_meta = |path: &PathBuf| meta::Embedded::open(path, meta_waker.clone()).map_err(StartError::Meta);
        let meta = setup.meta.as_ref().map(open_meta).transpose()?;
        let (waker, wake_end) = Waker::new().map_err(system("an event descriptor"))?;
        let signal_end = signals.readable().map_err(system("a signal descriptor"))?;

        let terms = Terms::new(setup.me, setup.cluster, setup.incarnation, setup.key);
        let rng = Rng::new(entropy_u64()).split("net");
        let mut world = Self {
            ring,
            arena: Arena::new(),
            net: Net::new(
                Parties::new(terms, setup.zones),
                setup.aligned_payloads,
                rng,
                listeners,
                setup.replication_bytes_per_s,
            ),
            disk,
            meta,
            streams,
            signals,
            waker,
            wake_end: Rc::new(wake_end),
            meta_end: Rc::new(meta_end),
            signal_end: Rc::<OwnedFd>::new(signal_end),
            addresses,
            counters: Counters::default(),
            log: Log::new(&setup.me),
            inbox: VecDeque::new(),
            stream_events: Vec::new(),
            done: Vec::new(),
            trim_at: None,
            woken: false,
            signal: None,
        };
        world.await_event(Token::Wake);
        world.await_event(Token::Signal);
        if world.meta.is_some() {
            world.await_event(Token::Meta);
        }
        Ok(world)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What moves its bytes; never [`Driver::Auto`].
    pub fn driver(&self) -> Driver {
        self.ring.driver()
    }

    /// How its disk was opened.
    pub fn disk_status(&self) -> Option<disk::Status> {
        self.disk.as_ref().map(Disk::status)
    }

    /// Wakes it from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        let (looks, sleeps) = self.ring.waits();
        Counters { sqes: self.ring.pushed(), looks, sleeps, ..self.counters }
    }

    /// Why its peers refused it as the second process of one identity, if they did.
    pub fn twin(&self) -> Option<&str> {
        self.net.twin()
    }

    /// Bytes of buffers that are mapped now.
    pub fn buffer_bytes(&self) -> usize {
        self.arena.mapped()
    }

    /// Arms the end of an event descriptor: a read takes its count, so that it is armed again by itself.
    fn await_event(&mut self, token: Token) {
        let operation = match token {
            Token::Signal => Operation::Poll { file: self.signal_end.clone() },
            _ => {
                let file = if let Token::Meta = token { &self.meta_end } else { &self.wake_end };
                // The offset of what has none.
                Operation::Read { file: file.clone(), into: self.arena.take(8), at: 0, offset: u64::MAX }
            }
        };
        self.ring.push(token, operation);
    }

    /// Drives the application until it stops or a signal comes.
    pub fn run(&mut self, app: &mut dyn Application) -> Result<Exit, Fault> {
        let mut out = Outbox::default();
        let mut stream_out = Vec::new();
        let mut first = true;
        loop {
            let now = clock::monotonic();
            self.take_completions(now);
            self.tick(now);
            let signal = self.signal.take();
            if signal.is_some() {
                app.stopping();
            }
            let due = app.deadline().is_some_and(|at| at <= now);
            let came = !self.inbox.is_empty() || !self.stream_events.is_empty();
            let mut next = Next::Continue;
            // Taken whatever else there is, so that one wake is never two steps.
            let (woken, is_first) = (std::mem::take(&mut self.woken), std::mem::take(&mut first));
            if came || due || signal.is_some() || woken || is_first {
                self.counters.steps += 1;
                self.ring.brought(self.inbox.len() + self.stream_events.len(), self.bytes_at_hand());
                self.streams.tell(&mut self.stream_events);
                next = app.step(now, &mut self.inbox, &mut self.stream_events, &mut out, &mut stream_out);
                assert!(self.inbox.is_empty() && self.stream_events.is_empty(), "a step left inputs behind");
                self.carry_out(now, &mut out, &mut stream_out);
            }
            self.end_of_turn(now);
            if let Some(exit) = signal.map(Exit::Signal).or(match next {
                Next::Stop(code) => Some(Exit::Stopped(code)),
                Next::Continue => None,
            }) {
                self.last_words()?;
                return Ok(exit);
            }
            self.enter(now, app.deadline())?;
        }
    }

    /// Bytes of blocks that the next step gets.
    fn bytes_at_hand(&self) -> usize {
        let of_input = |input: &Input| match input {
            Input::Net(Event::Frame { frame, .. }) => base::payload::len(&frame.data),
            Input::Disk(done) => done.result.as_ref().map_or(0, |data| data.len()),
            Input::Net(_) | Input::Meta(_) => 0,
        };
        let of_event =
            |event: &stream::Event| if let stream::Event::Bytes { data, .. } = event { data.len() } else { 0 };
        self.inbox.iter().map(of_input).sum::<usize>() + self.stream_events.iter().map(of_event).sum::<usize>()
    }

    fn turn(&mut self, now: Time) -> (Turn<'_>, &mut Net, &mut Streams, &mut Option<Disk>, &mut Vec<stream::Event>) {
        let turn = Turn {
            now,
            ring: &mut self.ring,
            arena: &self.arena,
            counters: &mut self.counters,
            log: &mut self.log,
            inbox: &mut self.inbox,
        };
        (turn, &mut self.net, &mut self.streams, &mut self.disk, &mut self.stream_events)
    }

    fn take_completions(&mut self, now: Time) {
        let mut done = std::mem::take(&mut self.done);
        self.counters.cqes += done.len() as u64;
        for completion in done.drain(..) {
            let token = completion.token;
            let (mut turn, net, streams, disk, events) = self.turn(now);
            match token {
                Token::Net(token) => net.completed(token, completion, &mut turn),
                Token::Stream(token) => streams.completed(token, completion, &mut turn, events),
                Token::Disk(place) => {
                    let disk = disk.as_mut().expect("only a disk asks for disk operations");
                    if let Some(done) = disk.completed(place, completion, &mut turn) {
                        turn.inbox.push_back(Input::Disk(done));
                    }
                }
                Token::Wake => {
                    self.woken = true;
                    self.await_event(token);
                }
                Token::Meta => {
                    let answers = self.meta.as_ref().map(meta::Embedded::answers).unwrap_or_default();
                    self.inbox.extend(answers.into_iter().map(Input::Meta));
                    self.await_event(token);
                }
                Token::Signal => {
                    self.signal = self.signals.next().or(self.signal);
                    self.await_event(token);
                }
            }
        }
        self.done = done;
    }

    fn tick(&mut self, now: Time) {
        let (mut turn, net, streams, _disk, _) = self.turn(now);
        #[cfg(feature = "faults")]
        if let Some(disk) = _disk {
            disk.tick(&mut turn);
        }
        if net.deadline().is_some_and(|at| at <= now) {
            net.tick(&mut turn);
        }
        if streams.deadline().is_some_and(|at| at <= now) {
            streams.tick(&mut turn);
        }
    }

    fn carry_out(&mut self, now: Time, out: &mut Outbox, stream_out: &mut Vec<stream::Op>) {
        for output in out.drain() {
            if let Output::Meta(op) = output {
                self.ask_meta(op);
                continue;
            }
            let (mut turn, net, _, disk, _) = self.turn(now);
            match (output, disk) {
                (Output::Net(op), _) => net.carry_out(op, &mut turn),
                (Output::Disk(op), Some(disk)) => disk.begin(op, &mut turn),
                (Output::Disk(op), None) => turn.inbox.push_back(disk::absent(&op)),
                (Output::Meta(_), _) => unreachable!("asked above"),
            }
        }
        let (mut turn, _, streams, _, events) = self.turn(now);
        for op in stream_out.drain(..) {
            streams.carry_out(op, &mut turn, events);
        }
    }

    fn ask_meta(&mut self, op: base::io::meta::Op) {
        match &self.meta {
            Some(meta) => meta.ask(op),
            None => {
                let (base::io::meta::Op::Range { id, .. } | base::io::meta::Op::Write { id, .. }) = op;
                let outcome = base::io::meta::Outcome::Unknown;
                self.inbox.push_back(Input::Meta(base::io::meta::Done { id, outcome }));
            }
        }
    }

    fn end_of_turn(&mut self, now: Time) {
        let (mut turn, net, streams, ..) = self.turn(now);
        net.end_of_turn(&mut turn);
        streams.end_of_turn(&mut turn);
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            self.arena.trim();
        }
    }

    /// Begins what was asked, and waits for what comes.
    fn enter(&mut self, now: Time, app: Option<Time>) -> Result<(), Fault> {
        #[cfg(feature = "faults")]
        let app = Time::sooner(app, self.disk.as_ref().and_then(Disk::deadline));
        let deadlines = [app, self.net.deadline(), self.streams.deadline(), self.trim_at];
        let deadline = deadlines.into_iter().fold(None, Time::sooner);
        let waiting = !self.inbox.is_empty() || !self.stream_events.is_empty();
        let timeout = if waiting { Some(Duration::ZERO) } else { deadline.map(|at| at.since(now)) };
        self.counters.turns += 1;
        self.ring.turn(timeout, &mut self.done).map_err(Fault::Ring)?;
        if self.trim_at.is_none() && self.arena.has_spare() {
            self.trim_at = Some(now + TRIM_AFTER);
        }
        Ok(())
    }

    /// Sends what is still to be sent, for a while.
    fn last_words(&mut self) -> Result<(), Fault> {
        let mut now = clock::monotonic();
        let until = now + LAST_WORDS_WITHIN;
        while (self.net.sending() || self.streams.sending()) && now < until {
            self.counters.turns += 1;
            self.ring.turn(Some(until.since(now)), &mut self.done).map_err(Fault::Ring)?;
            now = clock::monotonic();
            self.take_completions(now);
            self.end_of_turn(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_io_uring_and_one_without_memory_are_told_apart() {
        for code in [libc::ENOSYS, libc::EPERM, libc::EACCES] {
            let error = ring_error(Driver::IoUring, io::Error::from_raw_os_error(code));
            assert!(matches!(error, StartError::NoRing(_)));
            assert!(error.to_string().contains("kernel.io_uring_disabled"), "{error}");
        }
        let error = ring_error(Driver::IoUring, io::Error::from_raw_os_error(libc::EMFILE));
        assert!(error.to_string().contains("cannot make the ring") && error.to_string().contains("ulimit"), "{error}");
    }
}
