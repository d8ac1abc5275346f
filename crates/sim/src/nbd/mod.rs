//! Clients that speak NBD to their hosts, byte by byte, in a part of the worlds.
//!
//! - [`Manner`] is how they do it in one world.
//! - [`talk`] is a connection at the client's end, and judges the server's words.
//! - [`socket`] is the stream between the two, which cuts and delays.
//! - [`wrong`] are requests that clients need, and those that must be refused.
//! - Here connections are made, used and ended.
//!
//! A client has several connections to one export. What it asks on one that is gone stays possible for ever, as with a host that died.

mod manner;
mod socket;
mod talk;
mod words;
mod wrong;

pub use manner::Manner;

use crate::cluster::Actor;
use crate::front::Event;
use crate::history::{Kind, Operation};
use crate::report::Failure;
use crate::run::{Run, Task, Verdict};
use crate::workload::Asked;
use crate::world::{Pid, State};
use base::time::Duration;
use base::{Generation, Payload, Rng};
use socket::{Heard, Read, Socket};
use std::collections::BTreeMap;
use talk::{APART, Got, Said, Talk};

/// Connections of one client that it takes its leave of, at most.
const LEAVING_MAX: u64 = 6;

/// Which bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the kernel to the process of the host.
    Receive,
    /// From there to the kernel.
    Send,
    /// From the kernel to the client.
    Read,
}

/// A stream goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step(u64, Way);

/// One connection.
struct Conn {
    client: usize,
    pid: Pid,
    talk: Talk,
    socket: Socket,
    /// The attachment that the server took for it.
    generation: Option<Generation>,
    /// An alarm is set for each of these.
    due: Vec<Way>,
    /// The host's process is gone.
    host_died: bool,
    /// The client has ended it.
    is_left: bool,
}

impl Conn {
    fn is_usable(&self) -> bool {
        self.talk.is_in_use() && self.generation.is_some() && !self.is_left
    }

    /// It counts as one that its client has.
    fn is_kept(&self) -> bool {
        !self.is_left && !self.talk.is_leaving()
    }
}

/// All connections of a world.
pub(crate) struct Nbd {
    manner: Manner,
    rng: Rng,
    conns: BTreeMap<u64, Conn>,
    /// How many there were.
    pub(crate) opened: u64,
    /// Requests that are no operations.
    extras: u64,
}

impl Nbd {
    pub(crate) fn new(manner: Manner, rng: Rng) -> Self {
        Self { manner, rng, conns: BTreeMap::new(), opened: 0, extras: 0 }
    }
}

impl Run {
    fn nbd(&mut self) -> &mut Nbd {
        self.nbd.as_mut().expect("clients of this world speak NBD")
    }

    fn conn(&mut self, stream: u64) -> Option<&mut Conn> {
        self.nbd().conns.get_mut(&stream)
    }

    // ---- What clients want. ---------------------------------------------------------------------------------------------

    /// Asks on some connection; says whether there was one.
    pub(crate) fn ask_by_nbd(&mut self, client: usize, asked: Asked) -> bool {
        let end = (asked.grain + asked.count) * self.clients[client].shape.grain_bytes as u64;
        self.keep_company(client, end);
        let nbd = self.nbd();
        let fits = |(_, conn): &(&u64, &Conn)| conn.client == client && conn.is_usable() && conn.talk.size >= end;
        let fitting: Vec<u64> = nbd.conns.iter().filter(fits).map(|(stream, _)| *stream).collect();
        let Some(stream) = nbd.rng.pick(&fitting).copied() else { return false };
        let conn = &nbd.conns[&stream];
        let (pid, generation) = (conn.pid, conn.generation.expect("it is usable"));
        let maps = conn.talk.maps.is_some() && asked.kind == Kind::Read && nbd.rng.chance(1, 12);
        let kind = if maps && !self.clients[client].stopped { Kind::Map } else { asked.kind };
        let asked = Asked { kind, ..asked };
        // As where there is no NBD, a host that hangs holds up its own users only.
        let alike = |op: &u64| self.history.op(*op).kind.changes() == kind.changes();
        let at_host = self.clients[client].in_flight.iter().filter(|(op, host)| **host == pid && alike(op));
        if at_host.count() >= self.clients[client].shape.depth {
            return false;
        }
        let op = self.history.next();
        let request = self.clients[client].request(op, asked);
        let Asked { grain, count, .. } = asked;
        let (volume, invoked) = (self.clients[client].volume, self.cluster.world.now());
        let operation = Operation { volume, kind, grain, count, generation, invoked, returned: None, saw: Vec::new() };
        assert_eq!(self.history.invoke(operation), op);
        self.clients[client].in_flight.insert(op, pid);
        self.outstanding.insert(op, client);
        let nbd = self.nbd();
        let conn = nbd.conns.get_mut(&stream).expect("it was chosen");
        let (request, data) = wrong::right(&conn.talk, op, &request.op, &mut nbd.rng);
        conn.talk.ask(request, &data, None);
        self.ask_more(stream);
        self.say(stream);
        true
    }

    /// Beside what a client needs, something wrong, or a flush.
    fn ask_more(&mut self, stream: u64) {
        let nbd = self.nbd();
        let conn = nbd.conns.get_mut(&stream).expect("it was chosen");
        let extra = match nbd.rng.below(24) {
            0 => wrong::wrong(&conn.talk, nbd.extras, &mut nbd.rng),
            1..4 => wrong::harmless(&conn.talk, nbd.extras, &mut nbd.rng),
            _ => return,
        };
        nbd.extras += 1;
        let (request, len, deserves) = extra;
        conn.talk.ask(request, &vec![0xee; len], deserves);
    }

    /// Makes connections where there are too few, and now and then ends one.
    fn keep_company(&mut self, client: usize, end: u64) {
        let id = self.clients[client].id.expect("a client asks of a volume that is made");
        let mut open = Vec::new();
        for pid in self.cluster.hosts.clone() {
            let offers = |host: &mut host::Host| host.volume(id).is_some_and(|export| export.size >= end);
            if self.cluster.is_running(pid) && self.cluster.host(pid).is_some_and(offers) {
                open.push(pid);
            }
        }
        let (is_rough, is_stopped) = (self.faults_on, self.clients[client].stopped);
        let nbd = self.nbd();
        let mine = |conn: &&Conn| conn.client == client;
        let kept = |(stream, conn): (&u64, &Conn)| (conn.client == client && conn.is_kept()).then_some(*stream);
        let streams: Vec<u64> = nbd.conns.iter().filter_map(kept).collect();
        let fits = |stream: &u64| nbd.conns[stream].is_usable() && nbd.conns[stream].talk.size >= end;
        let (count, serves) = (streams.len() as u64, streams.iter().any(fits));
        let leaving = nbd.conns.values().filter(mine).count() as u64 - count;
        let is_full = count >= nbd.manner.connections;
        // One whose export was too small is given up for one that is not; and sometimes any, without a reason.
        let outgrown = |stream: &&u64| nbd.conns[*stream].is_usable() && !fits(stream);
        let useless = if serves { None } else { streams.iter().find(outgrown).copied() };
        let whim = !is_stopped && nbd.rng.chance(1, 60);
        let ended = useless.filter(|_| is_full).or(nbd.rng.pick(&streams).copied().filter(|_| whim));
        let is_rude = is_rough && useless.is_none() && nbd.rng.chance(1, 2);
        if let Some(stream) = ended.filter(|_| leaving < LEAVING_MAX) {
            self.end(stream, is_rude);
        }
        let nbd = self.nbd();
        let wants = if serves { !is_full && nbd.rng.chance(1, 4) } else { !is_full || ended.is_some() };
        if let Some(pid) = nbd.rng.pick(&open).copied().filter(|_| wants && leaving < LEAVING_MAX) {
            self.connect(client, pid);
        }
    }

    fn connect(&mut self, client: usize, pid: Pid) {
        let name = self.clients[client].id.expect("its volume is open somewhere").to_string();
        let nbd = self.nbd();
        nbd.opened += 1;
        let stream = nbd.opened;
        let mut rng = nbd.rng.split(&format!("stream {stream}"));
        let talk = Talk::new(name, &mut rng);
        let socket = Socket::new(nbd.manner, rng);
        let (generation, due) = (None, Vec::new());
        let conn = Conn { client, pid, talk, socket, generation, due, host_died: false, is_left: false };
        nbd.conns.insert(stream, conn);
        self.tell(stream, pid, Event::Opened, true);
    }

    /// The client ends a connection: it takes its leave and waits for what it asked, or is gone at once.
    fn end(&mut self, stream: u64, is_rude: bool) {
        let conn = self.conn(stream).expect("it was chosen");
        if conn.talk.is_in_use() && !is_rude {
            conn.talk.leave();
            return self.say(stream);
        }
        if is_rude {
            *self.counts.entry("nbd-drop").or_default() += 1;
        }
        self.leave(stream, is_rude);
    }

    /// The client has nothing to do with a connection any more.
    fn leave(&mut self, stream: u64, is_rude: bool) {
        let nbd = self.nbd();
        let loses = is_rude && nbd.rng.chance(1, 2);
        let conn = nbd.conns.get_mut(&stream).expect("it was chosen");
        conn.is_left = true;
        conn.socket.desert(loses);
        let client = conn.client;
        let unanswered: Vec<u64> = conn.talk.unanswered().filter(|cookie| *cookie < APART).collect();
        for op in unanswered {
            self.clients[client].in_flight.remove(&op);
            self.outstanding.remove(&op);
        }
        self.go_on(stream);
    }

    /// What the client wants to say is on its way.
    fn say(&mut self, stream: u64) {
        if let Some(conn) = self.conn(stream) {
            let bytes = std::mem::take(&mut conn.talk.out);
            conn.socket.say(bytes);
        }
        self.go_on(stream);
    }

    // ---- Bytes move. ----------------------------------------------------------------------------------------------------

    /// Sets an alarm for each way on which there is something to move. Forgets a connection that is over.
    fn go_on(&mut self, stream: u64) {
        let nbd = self.nbd();
        let Some(conn) = nbd.conns.get_mut(&stream) else { return };
        if conn.socket.is_over() {
            nbd.conns.remove(&stream);
            return;
        }
        let ways = [
            (Way::Receive, conn.socket.is_receivable()),
            (Way::Send, conn.socket.is_sendable()),
            (Way::Read, conn.socket.is_readable()),
        ];
        let mut tasks = Vec::new();
        for (way, _) in ways.into_iter().filter(|(_, moves)| *moves) {
            if !conn.due.contains(&way) {
                conn.due.push(way);
                let slowly = nbd.manner.reads_slowly && way == Way::Read;
                let most = if slowly { 3_000 } else { nbd.manner.hop_us };
                tasks.push((Duration::from_micros(nbd.rng.within(1, most)), way));
            }
        }
        for (delay, way) in tasks {
            self.after(delay, Task::Nbd(Step(stream, way)));
        }
    }

    /// An alarm rang.
    pub(crate) fn nbd_step(&mut self, Step(stream, way): Step) {
        let Some(conn) = self.conn(stream) else { return };
        conn.due.retain(|due| *due != way);
        let pid = conn.pid;
        match way {
            Way::Receive if conn.socket.is_receivable() => {
                if let Some(heard) = conn.socket.receive() {
                    self.hear(stream, pid, heard, true);
                }
            }
            Way::Send if conn.socket.is_sendable() => {
                let (at_once, heard) = conn.socket.send();
                heard.into_iter().for_each(|heard| self.hear(stream, pid, heard, at_once));
            }
            Way::Read if conn.socket.is_readable() => {
                if let Err(failure) = self.client_reads(stream) {
                    let text = format!("NBD stream {stream}: {}", failure.text);
                    self.cluster.world.observer.offence.get_or_insert(text);
                }
            }
            Way::Receive | Way::Send | Way::Read => {}
        }
        self.go_on(stream);
    }

    fn hear(&mut self, stream: u64, pid: Pid, heard: Heard, at_once: bool) {
        let event = match heard {
            Heard::Bytes(data) => {
                self.trace(stream, 20, &data);
                Event::Bytes(data)
            }
            Heard::Sent(bytes) => Event::Sent(bytes),
            Heard::Closed => Event::Closed,
        };
        self.tell(stream, pid, event, at_once);
    }

    fn trace(&mut self, stream: u64, what: u64, data: &[u8]) {
        let now = self.cluster.world.now();
        self.cluster.world.trace.event(now, what, stream << 32 | u64::from(base::checksum::crc32c(data)));
    }

    /// The process of a host hears of a stream, now or with its next step.
    fn tell(&mut self, stream: u64, pid: Pid, event: Event, at_once: bool) {
        if let Some(Actor::Host(front)) = self.cluster.world.machine_mut(pid) {
            front.hear(stream, event);
            if at_once {
                self.cluster.world.poke(pid);
            }
        }
    }

    /// A host took a turn.
    pub(crate) fn nbd_turned(&mut self, pid: Pid) {
        let Some(Actor::Host(front)) = self.cluster.world.machine_mut(pid) else { return };
        let acts = front.acts().expect("hosts of this world have servers");
        let nbd = self.nbd.as_mut().expect("clients of this world speak NBD");
        let mut told = Vec::new();
        for act in acts {
            use frontend::nbd::Act::{Close, Gather, Pause, Resume, Send};
            let (Send { stream, .. } | Close { stream } | Pause { stream } | Resume { stream } | Gather { stream, .. }) =
                act;
            if let Some(conn) = nbd.conns.get_mut(&stream) {
                told.extend(conn.socket.carry_out(act).map(|heard| (stream, heard)));
            }
        }
        let mine: Vec<u64> = nbd.conns.iter().filter(|(_, conn)| conn.pid == pid).map(|(stream, _)| *stream).collect();
        for stream in &mine {
            let conn = nbd.conns.get_mut(stream).expect("it was just seen");
            conn.socket.turned();
            conn.generation = conn.generation.or(front.export(*stream).map(|export| export.generation));
        }
        if mine.is_empty() && front.kept() != (0, 0) {
            let text =
                format!("bounds: without a stream the NBD server keeps {:?} connections and bytes", front.kept());
            self.cluster.world.observer.offence.get_or_insert(text);
        }
        told.into_iter().for_each(|(stream, heard)| self.hear(stream, pid, heard, true));
        mine.into_iter().for_each(|stream| self.go_on(stream));
    }

    /// How each connection stands on which somebody waits, and what its server keeps, a line each.
    pub(crate) fn standing_by_nbd(&self) -> String {
        let conns = self.nbd.iter().flat_map(|nbd| &nbd.conns);
        let waits = conns.filter(|(_, conn)| conn.talk.unanswered().next().is_some());
        let line = |(stream, conn): (&u64, &Conn)| {
            let kept = match self.cluster.world.machine(conn.pid) {
                Some(Actor::Host(front)) => front.kept(),
                _ => (0, 0),
            };
            let waiting: Vec<u64> = conn.talk.unanswered().take(4).collect();
            format!(
                "\n  NBD stream {stream}: {waiting:?} wait; {}; its server keeps {kept:?} connections and bytes",
                conn.socket
            )
        };
        waits.map(line).collect()
    }

    /// The process of a host is gone, and its connections with it. What it had sent can still be read.
    pub(crate) fn nbd_host_died(&mut self, pid: Pid) {
        let power = self.cluster.world.state(pid) == State::Dark;
        let nbd = self.nbd();
        let mut mine = Vec::new();
        for (stream, conn) in nbd.conns.iter_mut().filter(|(_, conn)| conn.pid == pid) {
            conn.host_died = true;
            conn.socket.die(power);
            mine.push(*stream);
        }
        mine.into_iter().for_each(|stream| self.go_on(stream));
    }

    // ---- What clients are told. -----------------------------------------------------------------------------------------

    fn client_reads(&mut self, stream: u64) -> Verdict {
        let conn = self.conn(stream).expect("it has something to read");
        let bytes = match conn.socket.read() {
            Read::End => return self.client_is_left(stream),
            Read::Bytes(bytes) => bytes,
        };
        let mut said = Vec::new();
        let heard = conn.talk.hear(&bytes, &mut said);
        self.trace(stream, 21, &bytes);
        for said in said {
            self.was_said(stream, said)?;
        }
        self.say(stream);
        heard.map_err(Failure::of)
    }

    fn was_said(&mut self, stream: u64, said: Said) -> Verdict {
        let now = self.cluster.world.now();
        let conn = self.conn(stream).expect("it is read from");
        let (client, pid) = (conn.client, conn.pid);
        let (cookie, result) = match said {
            Said::Answer(cookie, result) => (cookie, result),
            Said::Opened => {
                // None: it was closed again in the turn in which it was opened.
                let (told, is) = (conn.talk.generation, conn.generation);
                return match (told, is) {
                    (Some(told), Some(is)) if told != is => {
                        Err(Failure::of(format!("a client was told of generation {told} and has {is}")))
                    }
                    _ => Ok(()),
                };
            }
            Said::NotThere => return Ok(()),
        };
        let (name, generation) = (format!("request {cookie}"), conn.generation);
        let name = if cookie < APART { self.describe(cookie) } else { name };
        self.cluster.world.trace.line(now, format_args!("NBD stream {stream}: {name} {}", words_of(&result)));
        if cookie < APART {
            self.outstanding.remove(&cookie);
            self.clients[client].in_flight.remove(&cookie);
        }
        match result {
            Ok(_) if cookie >= APART => Ok(()),
            Ok(Got::Nothing) => self.finish(cookie, now, &[]),
            Ok(Got::Bytes(bytes)) => self.finish(cookie, now, &bytes),
            Ok(Got::Map(map)) => {
                self.history.finish_map(cookie, now, &map);
                self.judge_generation(cookie, now)
            }
            Err(words::ESHUTDOWN) if self.is_taken_away(client, generation, pid) => {
                *self.counts.entry("refused-io").or_default() += 1;
                Ok(())
            }
            Err(words::EIO) if cookie < APART && self.may_be_unreadable(cookie, now) => {
                *self.counts.entry("refused-io").or_default() += 1;
                Ok(())
            }
            Err(error) => Err(Failure::of(format!("R15: {name} was answered with error {error}"))),
        }
    }

    fn is_taken_away(&self, client: usize, generation: Option<Generation>, pid: Pid) -> bool {
        // None: the server had closed it before it was seen that it was open.
        generation.is_none_or(|generation| self.was_replaced(client, generation, pid))
    }

    /// The server has closed the connection, or is gone.
    fn client_is_left(&mut self, stream: u64) -> Verdict {
        let conn = self.conn(stream).expect("it is read from");
        let (client, pid, generation) = (conn.client, conn.pid, conn.generation);
        let unanswered = conn.talk.unanswered().next();
        let is_leaving = conn.talk.is_leaving();
        let may_go = conn.host_died || conn.talk.may_be_turned_away() || (is_leaving && unanswered.is_none());
        if !may_go && (generation.is_none() && !conn.talk.is_in_use() || !self.is_taken_away(client, generation, pid)) {
            let left = unanswered.map_or(String::new(), |cookie| format!(", with request {cookie} unanswered"));
            let leave = if is_leaving { " that had taken its leave" } else { "" };
            return Err(Failure::of(format!("the server closed a connection{leave} without a reason{left}")));
        }
        self.leave(stream, false);
        Ok(())
    }
}

fn words_of(result: &Result<Got, u32>) -> String {
    match result {
        Ok(Got::Nothing) => "is done".to_owned(),
        Ok(Got::Bytes(bytes)) => format!("got {:?}", Payload::from(bytes.clone())),
        Ok(Got::Map(map)) => format!("got {map:?}"),
        Err(error) => format!("got error {error}"),
    }
}
