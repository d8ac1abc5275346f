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
mod opening;
mod parties;
mod paths;
#[cfg(test)]
mod races;
mod rivals;
mod table;

use crate::ring::{Completion, File, Operation};
use crate::session::are_nodes;
use crate::turn::Turn;
use base::io::Input;
use base::io::net::{Addresses, Down, Event, Frame, Link, Network, Op, Peer, Side, Traffic};
use base::map::Map;
use base::time::Duration;
use base::{Rng, Time};
use conn::{ConnId, Conns, Phase};
use line::{Line, Opened};
use opening::{Breaks, Opening};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::rc::Rc;
use wire::keepalive::Keepalive;
use wire::share::{Pacer, bytes_of, class_of, may_ride};

pub use parties::{Cluster, Parties};

/// Connecting may take so long. A computer that is cut off answers no call, and holds the place of one that would.
const CONNECTED_WITHIN: Duration = Duration::from_millis(500);
/// The hello may take so long from then on.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
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
    parties: Parties,
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
    /// Hellos that were answered so far.
    greetings: u64,
    retries: BTreeSet<(Time, Line)>,
    /// Of those that this side opens, which are being opened now, and which wait for that.
    opening: Opening,
    breaks: Breaks,
    watched: BTreeMap<(Peer, Network), Keepalive>,
    /// Peers whose links ride the replication network.
    aside: BTreeSet<Peer>,
    /// Holds back what that network does not take.
    pacer: Pacer<ConnId>,
    /// When it lets go of something.
    pace_at: Option<Time>,
    traffic: Traffic,
    /// Answers to pings of this turn.
    pongs: Vec<(ConnId, Frame)>,
    dirty: Vec<ConnId>,
    /// Reused from turn to turn.
    frames: Vec<Frame>,
}

impl Net {
    /// Listens on what was bound, each with its network. `capacity` is the replication network's, in bytes a second.
    pub fn new(
        parties: Parties,
        aligned: bool,
        rng: Rng,
        listeners: Vec<(TcpListener, Network)>,
        capacity: u64,
    ) -> Self {
        let listen = |(listener, network): (TcpListener, Network)| Listener {
            file: Rc::new(listener.into()),
            network,
            again: Some(Time::ZERO),
        };
        Self {
            parties,
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
            greetings: 0,
            retries: BTreeSet::new(),
            opening: Opening::default(),
            breaks: Breaks::default(),
            watched: BTreeMap::new(),
            aside: BTreeSet::new(),
            pacer: Pacer::new(capacity),
            pace_at: None,
            traffic: Traffic::default(),
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
        [keepalive, hello, retry, accept, self.pace_at, self.opening.deadline()].into_iter().fold(None, Time::sooner)
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
            if let Some(conn) = conn {
                let (remote, connecting) = (conn.remote, matches!(conn.phase, Phase::Connecting { .. }));
                let (what, within) = if connecting { ("answer", CONNECTED_WITHIN) } else { ("hello", HELLO_WITHIN) };
                turn.log.say(&remote, turn.now, format_args!("no {what} from {remote} within {within:?}; closed"));
            }
            self.lost(id, Down::Silent, turn);
        }
        while let Some((at, line)) = self.retries.first().copied().filter(|(at, _)| *at <= turn.now) {
            self.retries.remove(&(at, line));
            if self.opened.get(&line).is_some_and(|state| state.needed()) {
                self.open(line, turn);
            }
        }
        let due = self.due_keepalives(turn.now);
        for peer in due {
            self.keep_alive(peer, turn);
        }
    }

    /// Of whom something is due, and the idle ones that are pinged with one of them.
    fn due_keepalives(&mut self, now: Time) -> BTreeSet<Peer> {
        let due = |watched: &BTreeMap<(Peer, Network), Keepalive>| -> BTreeSet<Peer> {
            watched.iter().filter(|(_, k)| k.deadline() <= now).map(|((peer, _), _)| *peer).collect()
        };
        let peers = due(&self.watched);
        let mut primary = peers.iter().filter_map(|peer| self.watched.get(&(*peer, Network::Primary)));
        if !primary.any(|k| k.takes_along(now)) {
            return peers;
        }
        let all = self.watched.iter_mut().filter(|((_, network), _)| *network == Network::Primary);
        all.for_each(|(_, keepalive)| keepalive.come_along(now));
        due(&self.watched)
    }

    /// Does what the machine asks.
    pub fn carry_out(&mut self, op: Op, turn: &mut Turn<'_>) {
        match op {
            Op::Send { to, frame } => self.send(to, frame, turn),
            Op::Know { peer, at } => self.know(peer, at, turn),
            Op::Watch { peer, wanted } => self.watch(peer, wanted, turn),
            Op::Close { link } => self.close(Line::Link(link), turn),
            Op::Count => self.count(turn),
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

    /// Queues a frame on a connection that is open, at once or when its network takes it.
    fn queue(&mut self, id: ConnId, frame: Frame, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        let (network, remote) = (conn.network, conn.remote);
        let now = match network {
            Network::Primary => Some(frame),
            Network::Replication if may_ride(network, frame.kind) => self.pacer.offer(id, frame, turn.now),
            Network::Replication => {
                let text = format_args!(
                    "{remote}: a message of kind {:#04x} is not for the replication network; dropped",
                    frame.kind
                );
                return turn.log.say(&remote, turn.now, text);
            }
        };
        if let Some(frame) = now {
            self.hand_out(id, frame, turn);
        }
        let Some(conn) = self.conns.get(id) else { return };
        if conn.outgoing.bytes() as u64 + self.pacer.bytes(id) > OUTGOING_BYTES_MAX as u64 {
            turn.log.say(&remote, turn.now, format_args!("{remote} reads too slowly; closed"));
            self.lost(id, Down::Reset, turn);
        }
    }

    /// Queues a frame that its network takes.
    fn hand_out(&mut self, id: ConnId, frame: Frame, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        self.traffic.sent.add(conn.network, class_of(frame.kind), bytes_of(&frame));
        conn.frame(frame, turn);
        self.mark(id);
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
            self.moved(Line::probe(peer, Network::Replication), turn);
            if self.aside.contains(&peer) {
                links.into_iter().for_each(|line| self.moved(line, turn));
            }
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
            self.watch_line(Line::Link(Link::to(peer)), turn);
            self.watch_replication(peer, turn);
            return;
        }
        self.shift(peer, Network::Primary, turn);
        self.watched.remove(&(peer, Network::Primary));
        self.unwatch_replication(peer, turn);
        // The link stays, as one that nobody watches.
        if let Some(state) = self.opened.get_mut(&Line::Link(Link::to(peer))) {
            state.wanted = false;
        }
    }

    /// Keepalives on the replication network, of a watched peer that is on it. Only nodes are.
    fn watch_replication(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        let there =
            self.known.get(&peer).is_some_and(|at| at.replication.is_some()) && are_nodes(self.parties.own().me, peer);
        if there && self.watched.contains_key(&(peer, Network::Primary)) {
            self.watched.entry((peer, Network::Replication)).or_insert_with(|| Keepalive::new(turn.now));
            self.watch_line(Line::probe(peer, Network::Replication), turn);
        } else if !there {
            self.shift(peer, Network::Primary, turn);
            self.unwatch_replication(peer, turn);
        }
    }

    fn unwatch_replication(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        self.watched.remove(&(peer, Network::Replication));
        self.drop_probe(peer, Network::Replication, turn);
    }

    /// Nobody else uses a connection for keepalives.
    fn drop_probe(&mut self, peer: Peer, network: Network, turn: &mut Turn<'_>) {
        let line = Line::probe(peer, network);
        if let Some(conn) = self.opened.remove(&line).and_then(|state| state.conn) {
            self.remove(conn, turn);
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
        self.admit(turn);
        for (id, frame) in std::mem::take(&mut self.pongs) {
            self.queue(id, frame, turn);
        }
        while let Some((id, frame)) = self.pacer.release(turn.now) {
            self.hand_out(id, frame, turn);
        }
        self.pace_at = self.pacer.deadline(turn.now);
        for id in std::mem::take(&mut self.dirty) {
            if let Some(conn) = self.conns.get(id) {
                conn.dirty = false;
                self.conns.send(id, turn);
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
        if let Token::Connected(id) | Token::Received(id) | Token::Sent(id) = token {
            self.conns.ended(id, turn);
        }
        match (token, completion.operation) {
            (Token::Accepted(index), _) => self.came(index, completion.result, completion.accepted, turn),
            (Token::Connected(id), _) => self.connected(id, completion.result, turn),
            (Token::Received(id), Operation::Receive { into, .. }) => {
                turn.counters.receives += 1;
                self.received(id, (into, completion.dry), completion.result, turn);
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
