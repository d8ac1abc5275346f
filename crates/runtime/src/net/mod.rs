//! Links between named peers over TCP: opened when needed, proven by the hello, kept alive, opened again.
//!
//! This is everything that `base::io::net` says lies below it. The order of frames within a life of a link is that of one
//! TCP connection; a connection that replaces another drops the older at once, so nothing of it can come later. All frames
//! of a turn for one connection leave in one send, behind what is already in flight, and answers to pings leave last: a
//! peer that hears an answer has been sent everything that this turn decided before it.
//!
//! It never looks into a message, and decides nothing about who should be a member of what.

mod conn;
mod frames;
mod life;
mod line;
mod rivals;

use crate::ring::{Completion, File, Operation};
use crate::session::Terms;
use crate::turn::Turn;
use base::io::Input;
use base::io::net::{Addresses, Down, Event, Frame, Link, Network, Op, Peer, Side};
use base::map::Map;
use base::time::Duration;
use base::{Rng, Time};
use conn::{ConnId, Conns, Phase};
use line::{Line, Opened};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::rc::Rc;
use wire::keepalive::{Act, Keepalive};

/// Connecting and the hello may take so long together.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which nothing came for so long though it was pinged is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
/// Bytes that wait for one connection at most. A peer that reads so slowly is cut off.
const OUTGOING_BYTES_MAX: usize = 128 << 20;
/// Accepted connections that have not proven themselves at most; the oldest gives way.
const STRANGERS_MAX: usize = 256;
/// After a connection could not be accepted (no descriptors left, say).
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the network has in the ring.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// A listener, by its place.
    Accepted(usize),
    /// Connecting.
    Connected(ConnId),
    /// A receive.
    Received(ConnId),
    /// A send.
    Sent(ConnId),
}

struct Listener {
    file: File,
    network: Network,
    /// When to accept again, while it is not.
    again: Option<Time>,
}

/// All links of this process.
pub struct Net {
    terms: Terms,
    aligned: bool,
    rng: Rng,
    listeners: Vec<Listener>,
    known: Map<Peer, Addresses>,
    conns: Conns,
    opened: Map<Line, Opened>,
    accepted: Map<Line, ConnId>,
    /// Other runs of the peers of accepted lines, which wait until it is known whether the first is alive.
    rivals: Map<Line, ConnId>,
    /// Why this process was refused as the second of its identity, if it was.
    twin: Option<String>,
    /// Connections that are not open yet, by when they must be.
    hellos: BTreeSet<(Time, ConnId)>,
    /// Of those, how many were accepted.
    strangers: usize,
    retries: BTreeSet<(Time, Line)>,
    watched: BTreeMap<(Peer, Network), Keepalive>,
    /// Answers to pings of this turn.
    pongs: Vec<(ConnId, Frame)>,
    dirty: Vec<ConnId>,
    /// Reused from turn to turn.
    frames: Vec<Frame>,
}

impl Net {
    /// Listens on what was bound, each with its network.
    pub fn new(terms: Terms, aligned: bool, rng: Rng, listeners: Vec<(TcpListener, Network)>) -> Self {
        let listen = |(listener, network): (TcpListener, Network)| Listener {
            file: Rc::new(listener.into()),
            network,
            again: Some(Time::ZERO),
        };
        Self {
            terms,
            aligned,
            rng,
            listeners: listeners.into_iter().map(listen).collect(),
            known: Map::default(),
            conns: Conns::default(),
            opened: Map::default(),
            accepted: Map::default(),
            rivals: Map::default(),
            twin: None,
            hellos: BTreeSet::new(),
            strangers: 0,
            retries: BTreeSet::new(),
            watched: BTreeMap::new(),
            pongs: Vec::new(),
            dirty: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let keepalive = self.watched.values().map(Keepalive::deadline).min();
        let hello = self.hellos.first().map(|(by, _)| *by);
        let retry = self.retries.first().map(|(at, _)| *at);
        let accept = self.listeners.iter().filter_map(|l| l.again).min();
        [keepalive, hello, retry, accept].into_iter().fold(None, Time::sooner)
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.listeners.len() {
            if self.listeners[index].again.is_some_and(|at| at <= turn.now) {
                self.accept(index, turn);
            }
        }
        while let Some((by, id)) = self.hellos.first().copied().filter(|(by, _)| *by <= turn.now) {
            self.hellos.remove(&(by, id));
            if self.outlasts(id, turn) {
                continue;
            }
            let conn = self.conns.get(id).filter(|conn| !matches!(conn.phase, Phase::Closing | Phase::Dismissed));
            if let Some(remote) = conn.map(|conn| conn.remote) {
                turn.log.say(&remote, turn.now, format_args!("no hello from {remote} within {HELLO_WITHIN:?}; closed"));
            }
            self.lost(id, Down::Silent, turn);
        }
        while let Some((at, line)) = self.retries.first().copied().filter(|(at, _)| *at <= turn.now) {
            self.retries.remove(&(at, line));
            if self.opened.get(&line).is_some_and(|state| state.needed()) {
                self.open(line, turn);
            }
        }
        let due: Vec<_> =
            self.watched.iter().filter(|(_, k)| k.deadline() <= turn.now).map(|(watched, _)| *watched).collect();
        for (peer, network) in due {
            while let Some(act) = self.watched.get_mut(&(peer, network)).and_then(|k| k.due(turn.now)) {
                match act {
                    Act::Ping(stamp) => self.ping(peer, network, stamp, turn),
                    Act::Silent(since) => {
                        turn.inbox.push_back(Input::Net(Event::Silent { peer, network, since }));
                        let text = format_args!("{peer} is silent on the {network:?} network");
                        turn.log.say(&(peer, network), turn.now, text);
                    }
                }
            }
        }
    }

    /// Does what the machine asks.
    pub fn carry_out(&mut self, op: Op, turn: &mut Turn<'_>) {
        match op {
            Op::Send { to, frame } => self.send(to, frame, turn),
            Op::Know { peer, at } => self.know(peer, at, turn),
            Op::Watch { peer, wanted } => self.watch(peer, wanted, turn),
            Op::Close { link } => self.close(Line::Link(link), turn),
        }
    }

    fn send(&mut self, to: Link, frame: Frame, turn: &mut Turn<'_>) {
        let line = Line::Link(to);
        if let Some(keepalive) = self.watched.get_mut(&(to.peer, Network::Primary)) {
            keepalive.on_sent(turn.now);
        }
        match to.side {
            // Of an accepted link that is gone the frame is dropped.
            Side::Accepted => {
                if let Some(&id) = self.accepted.get(&line) {
                    self.queue(id, frame, turn);
                }
            }
            Side::Opened => {
                let state = self.opened.entry(line).or_insert_with(Opened::new);
                if let (Some(id), Some(_)) = (state.conn, state.up_since) {
                    return self.queue(id, frame, turn);
                }
                if !state.wait(frame) {
                    turn.log.say(
                        &line,
                        turn.now,
                        format_args!("{line}: too much waits for it to open; all of it dropped"),
                    );
                    turn.inbox.push_back(Input::Net(Event::Down { link: to, why: Down::Reset }));
                }
                self.open(line, turn);
            }
        }
    }

    /// Queues a frame on a connection that is open.
    fn queue(&mut self, id: ConnId, frame: Frame, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.frame(frame, turn);
        let (too_much, remote) = (conn.outgoing.bytes() > OUTGOING_BYTES_MAX, conn.remote);
        self.mark(id);
        if too_much {
            turn.log.say(&remote, turn.now, format_args!("{remote} reads too slowly; closed"));
            self.lost(id, Down::Reset, turn);
        }
    }

    /// Has the connection send at the end of the turn.
    fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    fn know(&mut self, peer: Peer, at: Addresses, turn: &mut Turn<'_>) {
        let before = self.known.insert(peer, at);
        let links = [Link::to(peer), Link::bulk(peer)].map(Line::Link);
        if before.is_none_or(|b| b.primary != at.primary) {
            links.into_iter().for_each(|line| self.moved(line, turn));
        }
        if before.is_none_or(|b| b.replication != at.replication) {
            self.watch_replication(peer, turn);
            self.moved(Line::watched(peer, Network::Replication), turn);
        }
    }

    /// The address of a line that this side opens has changed, or has become known.
    fn moved(&mut self, line: Line, turn: &mut Turn<'_>) {
        let Some(state) = self.opened.get_mut(&line) else { return };
        let conn = state.conn;
        let was_up = state.afresh(turn.now);
        if let Some(id) = conn {
            self.remove(id, turn);
        }
        if let (true, Line::Link(link)) = (was_up, line) {
            turn.inbox.push_back(Input::Net(Event::Down { link, why: Down::Reset }));
        }
        if self.opened.get(&line).is_some_and(Opened::needed) {
            self.open(line, turn);
        }
    }

    fn watch(&mut self, peer: Peer, wanted: bool, turn: &mut Turn<'_>) {
        if wanted {
            self.watched.entry((peer, Network::Primary)).or_insert_with(|| Keepalive::new(turn.now));
            self.watch_line(Line::watched(peer, Network::Primary), turn);
            self.watch_replication(peer, turn);
            return;
        }
        for network in [Network::Primary, Network::Replication] {
            self.watched.remove(&(peer, network));
            if let Some(state) = self.opened.get_mut(&Line::watched(peer, network)) {
                state.wanted = false;
            }
        }
        // Nobody else uses the keepalives' connection; the link stays, as one that nobody watches.
        self.close(Line::watched(peer, Network::Replication), turn);
    }

    /// Keepalives on the replication network, of a watched peer that is on it.
    fn watch_replication(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        let there = self.known.get(&peer).is_some_and(|at| at.replication.is_some());
        if there && self.watched.contains_key(&(peer, Network::Primary)) {
            self.watched.entry((peer, Network::Replication)).or_insert_with(|| Keepalive::new(turn.now));
            self.watch_line(Line::watched(peer, Network::Replication), turn);
        } else if !there {
            self.watched.remove(&(peer, Network::Replication));
            self.close(Line::watched(peer, Network::Replication), turn);
            self.opened.remove(&Line::watched(peer, Network::Replication));
        }
    }

    fn watch_line(&mut self, line: Line, turn: &mut Turn<'_>) {
        let state = self.opened.entry(line).or_insert_with(Opened::new);
        if !std::mem::replace(&mut state.wanted, true) && state.conn.is_none() {
            // Whatever was found out while nobody watched is past.
            state.hopeful(turn.now);
            self.open(line, turn);
        }
    }

    fn close(&mut self, line: Line, turn: &mut Turn<'_>) {
        if line.side() == Side::Accepted {
            if let Some(id) = self.accepted.get(&line).copied() {
                self.remove(id, turn);
            }
            return;
        }
        let Some(state) = self.opened.get_mut(&line) else { return };
        let conn = state.conn;
        state.failed(Down::Reset, turn.now, &mut self.rng);
        let (wanted, at) = (state.wanted, state.not_before);
        if let Some(id) = conn {
            self.remove(id, turn);
        }
        if wanted {
            self.retries.insert((at, line));
        }
    }

    /// The last word of a turn: answers to pings behind everything else, and one send for each connection.
    pub fn end_of_turn(&mut self, turn: &mut Turn<'_>) {
        for (id, frame) in std::mem::take(&mut self.pongs) {
            self.queue(id, frame, turn);
        }
        for id in std::mem::take(&mut self.dirty) {
            if let Some(conn) = self.conns.get(id) {
                conn.dirty = false;
                conn.send(id, turn);
            }
        }
    }

    /// What the peer said that refused this process because another of its identity is alive.
    pub fn twin(&self) -> Option<&str> {
        self.twin.as_deref()
    }

    /// Whether something is still on its way out.
    pub fn sending(&self) -> bool {
        self.conns.sending()
    }

    /// Takes a completion of the ring. Of a connection that is gone it is passed over.
    pub fn completed(&mut self, token: Token, completion: Completion<crate::turn::Token>, turn: &mut Turn<'_>) {
        match (token, completion.operation) {
            (Token::Accepted(index), _) => self.came(index, completion.result, completion.accepted, turn),
            (Token::Connected(id), _) => self.connected(id, completion.result, turn),
            (Token::Received(id), Operation::Receive { into, .. }) => {
                turn.counters.receives += 1;
                self.received(id, into, completion.result, turn);
            }
            (Token::Sent(id), Operation::Send { parts, .. }) => self.sent(id, parts, completion.result, turn),
            _ => unreachable!("the ring gives back what it was given"),
        }
    }
}

/// What an error of a socket means for a link.
fn down_of(code: i32) -> Down {
    match code {
        libc::ECONNREFUSED => Down::Refused,
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN => Down::Silent,
        _ => Down::Reset,
    }
}
