//! The invented world: processes, their turns, and everything that can happen to them, in one thread from one seed.
//!
//! It speaks `base::io` to each machine exactly as the runtime does and knows nothing of what machines mean. All that a turn
//! brings is handed over in one step; a step takes some processor time, in which more arrives. The harness above starts, kills, freezes
//! and thaws processes, and is told after each turn of those it asked to hear of.

use crate::clock::{Clock, Moment};
use crate::disk::{self, Disk};
use crate::heap::Heap;
use crate::meta::Meta;
use crate::net::Net;
use crate::net::conn::{ConnId, Packet};
use crate::net::endpoint::Endpoint;
use crate::trace::Trace;
use base::Rng;
use base::io::net::{Addresses, Frame, Link, Network, Op as NetOp, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::time::Duration;
use std::collections::VecDeque;

/// Names a process for as long as the world exists; restarts keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its computer has no power: nothing answers.
    Dark,
    /// It does not exist; its computer refuses connections for it.
    Dead,
    /// It exists and gets no processor.
    Frozen,
    /// It runs.
    Running,
}

/// Sees every frame that a machine sends, before the network has its way with it.
pub trait Observer {
    /// One frame, sent by a run of a process.
    fn sent(&mut self, at: Moment, from: Peer, run: u32, to: Link, frame: &Frame);
}

/// Sees nothing.
pub struct Blind;

impl Observer for Blind {
    fn sent(&mut self, _: Moment, _: Peer, _: u32, _: Link, _: &Frame) {}
}

/// What the harness is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A process of which it wants to hear took a turn.
    Turned(Pid),
    /// An alarm that it set rings.
    Alarm(u64),
}

/// One process and the computer under it.
pub(crate) struct Process<M> {
    pub peer: Peer,
    pub state: State,
    /// Counts its starts; what belongs to an older run is forgotten.
    pub run: u32,
    pub machine: Option<M>,
    pub clock: Clock,
    pub inbox: Inbox,
    pub endpoint: Endpoint,
    /// Arrived at the computer and not yet read by the process.
    pub received: VecDeque<(ConnId, Packet)>,
    pub disk: Option<Disk>,
    pub meta: Option<Meta>,
    pub busy_until: Moment,
    /// When the network card has sent what it was given, by network.
    pub card_free: [Moment; 2],
    turn_at: Option<Moment>,
    wake_at: Option<Moment>,
    poked: bool,
    told_of: bool,
    steps_in: (u64, u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Turn(Pid, u32),
    Wake(Pid, u32),
    Arrive(ConnId, usize),
    DiskDone(Pid, u32, u64),
    MetaApply(Pid, u32),
    MetaReply(Pid, u32),
    Alarm(u64),
}

/// Steps that one process may take in one simulated second before it is held to spin without end.
const STEPS_PER_S_MAX: u64 = 300_000;

/// The world.
pub struct World<M, O> {
    now: Moment,
    pub(crate) heap: Heap<Event>,
    pub(crate) procs: Vec<Process<M>>,
    /// Its networks.
    pub net: Net,
    /// Who sees what machines send.
    pub observer: O,
    /// What happened.
    pub trace: Trace,
    /// The most that any turn took in, and that any gave out.
    pub widest: (usize, usize),
    cpu: Rng,
    clocks: Rng,
    outbox: Outbox,
}

impl<M: Machine, O: Observer> World<M, O> {
    /// Empty; keeps the last `keep_lines` lines of what happens.
    pub fn new(rng: &Rng, observer: O, keep_lines: usize) -> Self {
        Self {
            now: Moment(0),
            heap: Heap::new(rng.split("ties")),
            procs: Vec::new(),
            net: Net::new(rng),
            observer,
            trace: Trace::new(keep_lines),
            widest: (0, 0),
            cpu: rng.split("cpu"),
            clocks: rng.split("clocks"),
            outbox: Outbox::default(),
        }
    }

    /// True time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// A computer for one process, which does not run yet. `told_of`: the harness hears of its turns.
    pub fn add(&mut self, peer: Peer, listens: Option<Addresses>, told_of: bool) -> Pid {
        let pid = Pid(self.procs.len() as u32);
        if let Some(at) = listens {
            self.net.listeners.insert(at.primary, (pid, Network::Primary));
            if let Some(replication) = at.replication {
                self.net.listeners.insert(replication, (pid, Network::Replication));
            }
        }
        self.procs.push(Process {
            peer,
            state: State::Dead,
            run: 0,
            machine: None,
            clock: Clock::new(Moment(0), 0, 1_000_000),
            inbox: Inbox::new(),
            endpoint: Endpoint::default(),
            received: VecDeque::new(),
            disk: None,
            meta: None,
            busy_until: Moment(0),
            card_free: [Moment(0); 2],
            turn_at: None,
            wake_at: None,
            poked: false,
            told_of,
            steps_in: (0, 0),
        });
        pid
    }

    /// Puts a disk into its computer.
    pub fn give_disk(&mut self, pid: Pid, disk: Disk) {
        self.process(pid).disk = Some(disk);
    }

    /// Puts a metadata store into its computer.
    pub fn give_meta(&mut self, pid: Pid, meta: Meta) {
        self.process(pid).meta = Some(meta);
    }

    /// Its disk.
    pub fn disk(&mut self, pid: Pid) -> Option<&mut Disk> {
        self.process(pid).disk.as_mut()
    }

    /// Its metadata store.
    pub fn meta(&mut self, pid: Pid) -> Option<&mut Meta> {
        self.process(pid).meta.as_mut()
    }

    /// How often it was started.
    pub fn run(&self, pid: Pid) -> u32 {
        self.procs[pid.0 as usize].run
    }

    /// Whether it runs.
    pub fn state(&self, pid: Pid) -> State {
        self.procs[pid.0 as usize].state
    }

    /// Its machine, while it exists.
    pub fn machine(&self, pid: Pid) -> Option<&M> {
        self.procs[pid.0 as usize].machine.as_ref()
    }

    /// Its machine, while it exists. What is changed is noticed after [`Self::poke`].
    pub fn machine_mut(&mut self, pid: Pid) -> Option<&mut M> {
        self.process(pid).machine.as_mut()
    }

    pub(crate) fn process(&mut self, pid: Pid) -> &mut Process<M> {
        &mut self.procs[pid.0 as usize]
    }

    /// Starts a process that is not there. It knows where `knows` are.
    pub fn start(&mut self, pid: Pid, machine: M, knows: &[(Peer, Addresses)]) {
        let clock = Clock::draw(self.now, &mut self.clocks);
        let now = self.now;
        let p = self.process(pid);
        assert!(matches!(p.state, State::Dark | State::Dead), "{} runs already", p.peer);
        let was_dark = p.state == State::Dark;
        p.state = State::Running;
        p.run += 1;
        p.machine = Some(machine);
        p.clock = clock;
        p.busy_until = now;
        p.endpoint = Endpoint::default();
        p.endpoint.known = knows.iter().copied().collect();
        p.turn_at = None;
        p.wake_at = None;
        p.poked = true;
        if was_dark {
            self.reset_stale(pid);
        }
        self.note(pid, 1, "starts");
        self.want_turn(pid);
    }

    /// Ends a process, with its computer's power if so told. What its disk and its metadata store had not finished is decided now.
    pub fn kill(&mut self, pid: Pid, power: bool) {
        let p = self.process(pid);
        assert!(matches!(p.state, State::Running | State::Frozen), "{} does not run", p.peer);
        p.state = if power { State::Dark } else { State::Dead };
        p.machine = None;
        p.inbox.clear();
        p.received.clear();
        if let Some(disk) = &mut p.disk {
            disk.crash(power);
        }
        if let Some(meta) = &mut p.meta {
            meta.crash();
        }
        self.drop_connections(pid, power);
        self.note(pid, 2, if power { "loses power" } else { "is killed" });
    }

    /// Takes the processor away from it (SIGSTOP).
    pub fn freeze(&mut self, pid: Pid) {
        let p = self.process(pid);
        assert_eq!(p.state, State::Running, "{} does not run", p.peer);
        p.state = State::Frozen;
        self.note(pid, 3, "is frozen");
    }

    /// Gives it back.
    pub fn thaw(&mut self, pid: Pid) {
        let p = self.process(pid);
        assert_eq!(p.state, State::Frozen, "{} is not frozen", p.peer);
        p.state = State::Running;
        p.turn_at = None;
        self.note(pid, 4, "is thawed");
        self.want_turn(pid);
    }

    /// Lets it take a turn soon, because its machine was changed from outside.
    pub fn poke(&mut self, pid: Pid) {
        self.process(pid).poked = true;
        self.want_turn(pid);
    }

    /// Rings at a moment.
    pub fn alarm(&mut self, at: Moment, tag: u64) {
        self.heap.push(at.max(self.now), Event::Alarm(tag));
    }

    fn note(&mut self, pid: Pid, what: u64, words: &str) {
        let peer = self.procs[pid.0 as usize].peer;
        self.trace.event(self.now, what, u64::from(pid.0));
        self.trace.tell(self.now, format_args!("{peer} {words}"));
    }

    /// Goes on until the harness has something to do.
    pub fn go_on(&mut self) -> Happening {
        loop {
            let (at, event) = self.heap.pop().expect("the harness always has an alarm set");
            assert!(at >= self.now, "time goes back");
            self.now = at;
            match event {
                Event::Turn(pid, run) => {
                    if self.turn(pid, run) && self.process(pid).told_of {
                        return Happening::Turned(pid);
                    }
                }
                Event::Wake(pid, run) => {
                    let p = self.process(pid);
                    if p.run == run && p.wake_at == Some(at) {
                        p.wake_at = None;
                        self.wake(pid);
                    }
                }
                Event::Arrive(conn, end) => self.arrive(conn, end),
                Event::DiskDone(pid, run, serial) => self.disk_done(pid, run, serial),
                Event::MetaApply(pid, run) => self.meta_apply(pid, run),
                Event::MetaReply(pid, run) => self.meta_reply(pid, run),
                Event::Alarm(tag) => {
                    self.trace.event(at, 5, tag);
                    return Happening::Alarm(tag);
                }
            }
        }
    }

    /// Lets the process take a turn as soon as it is free, unless one is due already.
    pub(crate) fn want_turn(&mut self, pid: Pid) {
        // A process that sleeps in the kernel takes a moment to wake, in which more may come.
        let wakes = Duration::from_nanos(self.cpu.within(1_000, 8_000));
        let now = self.now;
        let p = self.process(pid);
        if p.state == State::Running && p.turn_at.is_none() {
            let at = (now + wakes).max(p.busy_until);
            p.turn_at = Some(at);
            let run = p.run;
            self.heap.push(at, Event::Turn(pid, run));
        }
    }

    fn turn(&mut self, pid: Pid, run: u32) -> bool {
        let now = self.now;
        let p = self.process(pid);
        if p.run != run || p.state != State::Running || p.turn_at != Some(now) {
            return false;
        }
        p.turn_at = None;
        let local = p.clock.read(now);
        let mut arrived = std::mem::take(&mut p.received);
        for (conn, packet) in arrived.drain(..) {
            self.receive(pid, conn, packet, local);
        }
        // Nothing arrives within a turn: its memory is used again.
        self.process(pid).received = arrived;
        self.keep_alive(pid, local);
        let cpu = Duration::from_nanos(self.cpu.within(2_000, 25_000));
        let p = &mut self.procs[pid.0 as usize];
        let machine = p.machine.as_mut().expect("a running process has a machine");
        let stepped = p.poked || !p.inbox.is_empty() || machine.deadline().is_some_and(|due| due <= local);
        if stepped {
            p.poked = false;
            let mut out = std::mem::take(&mut self.outbox);
            for input in &p.inbox {
                trace_input(&mut self.trace, now, p.peer, input);
            }
            self.trace.event(now, 6, u64::from(pid.0) << 32 | p.inbox.len() as u64);
            let inputs = p.inbox.len();
            machine.step(local, &mut p.inbox, &mut out);
            self.widest = (self.widest.0.max(inputs), self.widest.1.max(out.len()));
            assert!(p.inbox.is_empty(), "{} left something in its inbox", p.peer);
            let second = now.0 / 1_000_000_000;
            p.steps_in = if p.steps_in.0 == second { (second, p.steps_in.1 + 1) } else { (second, 1) };
            assert!(p.steps_in.1 <= STEPS_PER_S_MAX, "{} spins: {} steps in a simulated second", p.peer, p.steps_in.1);
            p.busy_until = now + cpu;
            self.carry_out(pid, &mut out);
            self.outbox = out;
        }
        self.let_go(pid, local);
        self.answer_pings(pid);
        self.wake_when_due(pid);
        stepped
    }

    /// Something seemed to be due now. What was heard meanwhile may have put it off.
    fn wake(&mut self, pid: Pid) {
        let now = self.now;
        let p = &mut self.procs[pid.0 as usize];
        let Some(machine) = &p.machine else { return };
        let due = base::Time::sooner(machine.deadline(), p.endpoint.deadline());
        if due.is_some_and(|due| due <= p.clock.read(now)) {
            self.want_turn(pid);
        } else if p.state == State::Running {
            self.wake_when_due(pid);
        }
    }

    fn wake_when_due(&mut self, pid: Pid) {
        let now = self.now;
        if !self.process(pid).inbox.is_empty() {
            // Something answered at once, such as a call to nobody.
            self.want_turn(pid);
        }
        let p = &mut self.procs[pid.0 as usize];
        let machine = p.machine.as_ref().expect("a running process has a machine");
        let Some(due) = base::Time::sooner(machine.deadline(), p.endpoint.deadline()) else { return };
        let at = p.clock.when(due).max(p.busy_until).max(now);
        if p.wake_at.is_none_or(|set| set > at) {
            p.wake_at = Some(at);
            let run = p.run;
            self.heap.push(at, Event::Wake(pid, run));
        }
    }

    fn carry_out(&mut self, pid: Pid, out: &mut Outbox) {
        for output in out.drain() {
            match output {
                Output::Disk(op) => self.ask_disk(pid, op),
                Output::Meta(op) => self.ask_meta(pid, op),
                Output::Net(NetOp::Send { to, frame }) => {
                    let (peer, run) = (self.process(pid).peer, self.process(pid).run);
                    self.observer.sent(self.now, peer, run, to, &frame);
                    self.send(pid, to, frame);
                }
                Output::Net(NetOp::Know { peer, at }) => self.know(pid, peer, at),
                Output::Net(NetOp::Watch { peer, wanted }) => self.watch(pid, peer, wanted),
                Output::Net(NetOp::Close { link }) => self.close_link(pid, link),
                Output::Net(NetOp::Count) => self.count(pid),
            }
        }
    }

    fn ask_disk(&mut self, pid: Pid, op: base::io::disk::Op) {
        let p = &mut self.procs[pid.0 as usize];
        let Some(disk) = &mut p.disk else {
            p.inbox.push_back(Input::Disk(disk::absent(&op)));
            return;
        };
        let (serial, delay) = disk.submit(op);
        let (at, run) = (p.busy_until + delay, p.run);
        self.heap.push(at, Event::DiskDone(pid, run, serial));
    }

    fn disk_done(&mut self, pid: Pid, run: u32, serial: u64) {
        let p = &mut self.procs[pid.0 as usize];
        let Some(disk) = &mut p.disk else { return };
        if disk.keeps(run, serial) {
            return;
        }
        let done = disk.end(serial);
        if let Some(done) = done.filter(|_| p.run == run) {
            p.inbox.push_back(Input::Disk(done));
            self.want_turn(pid);
        }
    }

    /// Lets a disk go on that was stuck: all that waited ends, one after the other.
    pub fn unstick(&mut self, pid: Pid) {
        let now = self.now;
        let held = self.process(pid).disk.as_mut().map(Disk::go_on).unwrap_or_default();
        for (i, (run, serial)) in (1..).zip(held) {
            self.heap.push(now + Duration::from_micros(i * 10), Event::DiskDone(pid, run, serial));
        }
    }

    fn ask_meta(&mut self, pid: Pid, op: base::io::meta::Op) {
        let p = &mut self.procs[pid.0 as usize];
        let Some(meta) = &mut p.meta else {
            let outcome = base::io::meta::Outcome::Unknown;
            p.inbox.push_back(Input::Meta(base::io::meta::Done { id: Meta::id_of(&op), outcome }));
            return;
        };
        if meta.submit(op) {
            let at = p.busy_until + meta.delay();
            let run = p.run;
            self.heap.push(at, Event::MetaApply(pid, run));
        }
    }

    fn meta_apply(&mut self, pid: Pid, run: u32) {
        let now = self.now;
        let p = &mut self.procs[pid.0 as usize];
        let Some(meta) = p.meta.as_mut().filter(|_| p.run == run && p.machine.is_some()) else { return };
        let more = meta.apply();
        let (reply_at, next_at) = (now + meta.delay() / 4, now + meta.delay());
        self.heap.push(reply_at, Event::MetaReply(pid, run));
        if more {
            self.heap.push(next_at, Event::MetaApply(pid, run));
        }
    }

    fn meta_reply(&mut self, pid: Pid, run: u32) {
        let p = &mut self.procs[pid.0 as usize];
        let Some(meta) = p.meta.as_mut().filter(|_| p.run == run) else { return };
        if let Some(done) = meta.reply() {
            p.inbox.push_back(Input::Meta(done));
            self.want_turn(pid);
        }
    }
}

fn trace_input(trace: &mut Trace, now: Moment, me: Peer, input: &Input) {
    match input {
        Input::Disk(done) => {
            let ok = done.result.is_ok();
            trace.event(now, 10, done.id.0 << 1 | u64::from(ok));
            if !ok {
                trace.line(now, format_args!("{me} disk {:?}", done.result));
            }
        }
        Input::Meta(done) => {
            trace.event(now, 11, done.id.0);
            if trace.keeps_lines() {
                match &done.outcome {
                    base::io::meta::Outcome::Pairs { pairs, at } => {
                        trace.line(now, format_args!("{me} meta {:?} {} pairs at {at}", done.id, pairs.len()));
                    }
                    other => trace.line(now, format_args!("{me} meta {:?} {other:?}", done.id)),
                }
            }
        }
        Input::Net(base::io::net::Event::Frame { from, frame }) => {
            trace.event(now, 12, u64::from(frame.kind) << 32 | u64::from(base::checksum::crc32c(&frame.head)));
            if trace.keeps_lines() {
                let data = base::payload::len(&frame.data);
                match wire::Message::decode(frame) {
                    Ok(message) => trace.line(now, format_args!("{me} <- {} {message:?} +{data}", from.peer)),
                    Err(_) => trace.line(now, format_args!("{me} <- {} kind {:#x} +{data}", from.peer, frame.kind)),
                }
            }
        }
        Input::Net(base::io::net::Event::Heard { asked, .. }) => trace.event(now, 13, asked.0),
        Input::Net(other) => {
            trace.event(now, 14, 0);
            trace.line(now, format_args!("{me} {other:?}"));
        }
    }
}
