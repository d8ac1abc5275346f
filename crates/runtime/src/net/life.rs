//! The life of a connection: opened or accepted, the hello, the end.

use super::conn::{Conn, ConnId, Phase};
use super::line::{Line, Opened};
use super::{ACCEPT_AGAIN_AFTER, CONNECTED_WITHIN, HELLO_WITHIN, Net, STRANGERS_MAX, Token, down_of};
use crate::ring::Operation;
use crate::session::{Aim, Code, Refusal, Session, Step};
use crate::turn::Turn;
use crate::{clock, os};
use base::io::Input;
use base::io::net::{Down, Event, Link, Network, Peer, Side};
use base::time::Duration;
use std::io::Error;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// For the kernel: a connection on which the other one does not answer for so long is dead.
const DEAD_AFTER_S: i32 = 10;

impl Net {
    /// Begins to accept on a listener.
    pub(super) fn accept(&mut self, index: usize, turn: &mut Turn<'_>) {
        let listener = &mut self.listeners[index];
        listener.again = None;
        let operation = Operation::Accept { file: listener.file.clone() };
        turn.ring.push(crate::turn::Token::Net(Token::Accepted(index)), operation);
    }

    /// Somebody came, or could not.
    pub(super) fn came(&mut self, index: usize, result: Result<u32, i32>, file: Option<OwnedFd>, turn: &mut Turn<'_>) {
        let arrived = match (result, file) {
            (Ok(_), Some(file)) => Ok(file),
            (Ok(_), None) => unreachable!("an accept that ended well brings a connection"),
            (Err(code), _) => Err(Error::from_raw_os_error(code)),
        };
        // One that went away before it was looked at is no reason to wait.
        let arrived = arrived.and_then(|file| {
            os::tune_tcp(&file, DEAD_AFTER_S).ok();
            let stream = TcpStream::from(file);
            let remote = stream.peer_addr().map_err(|_| Error::from_raw_os_error(libc::ECONNABORTED))?;
            Ok((OwnedFd::from(stream), remote))
        });
        match arrived {
            Ok((file, remote)) => {
                self.accept(index, turn);
                self.greet(index, file, remote, turn);
            }
            Err(why) if why.raw_os_error() == Some(libc::ECONNABORTED) => self.accept(index, turn),
            Err(why) => {
                turn.log.say(&"accept", turn.now, format_args!("cannot accept connections: {why}"));
                self.listeners[index].again = Some(turn.now + ACCEPT_AGAIN_AFTER);
            }
        }
    }

    fn greet(&mut self, index: usize, file: OwnedFd, remote: SocketAddr, turn: &mut Turn<'_>) {
        turn.counters.connections += 1;
        if self.strangers >= STRANGERS_MAX {
            // The one that has been silent longest gives way.
            let mut unproven = self.hellos.iter().map(|(_, id)| *id);
            let oldest = unproven.find(|&id| self.conns.get(id).is_some_and(|conn| conn.stranger));
            if let Some(id) = oldest {
                turn.log.say(&"strangers", turn.now, format_args!("too many connections without a hello"));
                self.remove(id, turn);
            }
        }
        let session = Session::accept(self.listeners[index].network, clock::entropy());
        let phase = Phase::Hello { session, line: None };
        let (by, place) = (turn.now + HELLO_WITHIN, (remote, self.listeners[index].network));
        let id = self.conns.insert(Conn::new(Rc::new(file), place, phase, by, self.aligned));
        self.hellos.insert((by, id));
        self.strangers += 1;
        self.conns.get(id).expect("inserted just now").stranger = true;
        self.conns.receive(id, turn);
    }

    /// Opens a line of this side, now or as soon as it may be tried again and there is a place for it.
    pub(super) fn open(&mut self, line: Line, turn: &mut Turn<'_>) {
        self.open_by(line, false, turn);
    }

    /// The same; `waited` for its place, and has it.
    fn open_by(&mut self, line: Line, waited: bool, turn: &mut Turn<'_>) {
        let network = self.network_of(line);
        let address = self.known.get(&line.peer()).and_then(|at| match network {
            Network::Primary => Some(at.primary),
            Network::Replication => at.replication,
        });
        let state = self.opened.entry(line).or_insert_with(Opened::new);
        if state.conn.is_some() {
            return;
        }
        let lacks = if self.parties.to(line.peer()).is_none() { "cluster and key are" } else { "address is" };
        let Some(address) = address.filter(|_| self.parties.to(line.peer()).is_some()) else {
            // Knowing an address is what tries it again. That it is not known yet is no sign that nobody is there.
            let failed = state.failed(Down::Unknown, turn.now, &mut self.rng);
            if let Line::Link(link) = line {
                turn.inbox.push_back(Input::Net(Event::Down { link, why: Down::Unknown }));
            }
            if failed.news {
                turn.log.say(&line, turn.now, format_args!("{line}: its {lacks} not known"));
            }
            return;
        };
        if turn.now < state.not_before {
            self.retries.insert((state.not_before, line));
            return;
        }
        let hopeless = state.is_hopeless();
        if !waited && !self.opening.admits(line, hopeless) {
            return;
        }
        turn.counters.connections += 1;
        let socket = os::tcp_socket(address).and_then(|file| os::tune_tcp(&file, DEAD_AFTER_S).map(|()| file));
        let file = match socket {
            Ok(file) => file,
            Err(why) => {
                turn.log.say(&line, turn.now, format_args!("{line}: no socket: {why}"));
                return self.line_failed(line, Down::Reset, turn);
            }
        };
        let by = turn.now + CONNECTED_WITHIN;
        let phase = Phase::Connecting { line };
        let id = self.conns.insert(Conn::new(Rc::new(file), (address, network), phase, by, self.aligned));
        self.opened.get_mut(&line).expect("looked at just now").conn = Some(id);
        self.hellos.insert((by, id));
        self.opening.begins(id, hopeless, turn.now);
        self.conns.connect(id, turn);
    }

    /// Gives the places that have become free to those that wait for one.
    pub(super) fn admit(&mut self, turn: &mut Turn<'_>) {
        while let Some(id) = self.opening.gives_way(turn.now) {
            self.lost(id, Down::Silent, turn);
        }
        while let Some((line, _)) = self.opening.next_line() {
            if self.opened.get(&line).is_some_and(|state| state.conn.is_none() && state.needed()) {
                self.open_by(line, true, turn);
            }
        }
    }

    /// A socket of this side is connected, or is not.
    pub(super) fn connected(&mut self, id: ConnId, result: Result<u32, i32>, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.received();
        if let Err(code) = result {
            return self.lost(id, down_of(code), turn);
        }
        if conn.is_to_itself() {
            return self.lost(id, Down::Refused, turn);
        }
        let Phase::Connecting { line } = conn.phase else { unreachable!("it was connecting") };
        let aim = Aim { peer: line.peer(), lane: line.lane(), network: conn.network };
        let terms = self.parties.to(line.peer()).expect("it is not opened before they are known");
        let (session, hello) = Session::open(terms, aim, clock::entropy());
        conn.phase = Phase::Hello { session, line: Some(line) };
        conn.outgoing.packed(&hello);
        let (was_by, by) = (conn.hello_by, turn.now + HELLO_WITHIN);
        conn.hello_by = by;
        self.hellos.remove(&(was_by, id));
        self.hellos.insert((by, id));
        self.conns.send(id, turn);
        self.conns.receive(id, turn);
    }

    /// Goes on with the hello by what came. Returns whether the connection is open now.
    pub(super) fn greeted(&mut self, id: ConnId, turn: &mut Turn<'_>) -> bool {
        loop {
            let Some(conn) = self.conns.get(id) else { return false };
            let Phase::Hello { session, line } = &mut conn.phase else {
                return matches!(conn.phase, Phase::Open { .. });
            };
            let line = *line;
            let terms = line.map_or(Some(self.parties.own()), |line| self.parties.to(line.peer()));
            let terms = terms.expect("it is not opened before they are known");
            let (consumed, step) = session.read(terms, conn.incoming.bytes());
            let claimed = session.claimed();
            conn.incoming.consume(consumed);
            match step {
                Step::More => return false,
                Step::Reply(bytes) => {
                    self.greetings += 1;
                    conn.greeted = self.greetings;
                    conn.outgoing.packed(&bytes);
                    self.conns.send(id, turn);
                }
                Step::Open { send, aim, incarnation } => {
                    conn.outgoing.packed(&send);
                    conn.run = Some(incarnation);
                    self.mark(id);
                    if line.is_none() && self.contends(id, accepted_line(aim), turn) {
                        return false;
                    }
                    self.established(id, line, accepted_line(aim), turn);
                    return true;
                }
                Step::Refused { send, why } => {
                    let remote = conn.remote;
                    let who = claimed.map_or_else(|| remote.to_string(), |peer| format!("{peer} at {remote}"));
                    turn.log.say(&who, turn.now, format_args!("{who}: {why}"));
                    self.refused(id, line, &send, turn);
                    return false;
                }
            }
        }
    }

    /// A hello ended in a refusal: the last word goes out, then the connection is closed.
    fn refused(&mut self, id: ConnId, line: Option<Line>, send: &[u8], turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.outgoing.packed(send);
        conn.phase = Phase::Closing;
        let nothing_to_say = conn.outgoing.bytes() == 0;
        self.opening.ends(id);
        self.conns.send(id, turn);
        if let Some(line) = line {
            self.line_failed(line, Down::Rejected, turn);
        }
        if nothing_to_say {
            self.remove(id, turn);
        }
    }

    /// The peer took back an open connection.
    pub(super) fn rejected(&mut self, id: ConnId, line: Line, why: &Refusal, turn: &mut Turn<'_>) {
        turn.log.say(&line, turn.now, format_args!("{line}: {why}"));
        if why.code == Code::Twin {
            self.twin = Some(why.text.clone());
            return self.lost(id, Down::Twin, turn);
        }
        self.lost(id, Down::Rejected, turn);
    }

    /// The connection is its line from now on: `opened`, or `accepted` when the peer opened it.
    pub(super) fn established(&mut self, id: ConnId, opened: Option<Line>, accepted: Line, turn: &mut Turn<'_>) {
        let line = opened.unwrap_or(accepted);
        let conn = self.conns.get(id).expect("its hello just ended");
        conn.phase = Phase::Open { line };
        let (remote, network) = (conn.remote, conn.network);
        self.hellos.remove(&(conn.hello_by, id));
        self.opening.ends(id);
        let over = if network == Network::Replication { ", over the replication network" } else { "" };
        turn.log.say(&line, turn.now, format_args!("{line} up, at {remote}{over}"));
        let mut waiting = Default::default();
        if opened.is_some() {
            let state = self.opened.get_mut(&line).expect("a line that was being opened");
            assert_eq!(state.conn, Some(id), "two connections for one line");
            waiting = state.up(turn.now);
            self.fresh_keepalives(line, turn.now);
        } else {
            conn.stranger = false;
            self.strangers -= 1;
            // The older ones are gone before the new one is said to be up: nothing of them comes any more.
            if let Some(older) = self.accepted.get(&line).copied() {
                self.remove(older, turn);
            }
            self.outrun(id, line, turn);
            self.accepted.insert(line, id);
            self.alive(line.peer(), turn);
        }
        if let Line::Link(link) = line {
            turn.inbox.push_back(Input::Net(Event::Up { link }));
        }
        waiting.into_iter().for_each(|frame| self.queue(id, frame, turn));
    }

    /// Closes what the same run of a peer had opened for this line before, and not proven. It was given up for this one: whatever is still under way on
    /// it was sent again on this one, and must not be done a second time after what follows here.
    fn outrun(&mut self, id: ConnId, line: Line, turn: &mut Turn<'_>) {
        let Some((run, greeted)) = self.conns.get(id).map(|conn| (conn.run, conn.greeted)) else { return };
        let unproven: Vec<ConnId> = self.hellos.iter().map(|(_, other)| *other).collect();
        for other in unproven {
            let Some(conn) = self.conns.get(other).filter(|conn| conn.greeted < greeted) else { continue };
            let Phase::Hello { session, line: None } = &conn.phase else { continue };
            let Some((aim, its_run)) = session.awaited() else { continue };
            if accepted_line(aim) == line && Some(its_run) == run {
                self.remove(other, turn);
            }
        }
    }

    /// A peer that calls is there: whatever waits to be opened to it need not wait any longer.
    fn alive(&mut self, peer: Peer, turn: &mut Turn<'_>) {
        let [primary, replication] = Network::ALL.map(|network| Line::probe(peer, network));
        for line in [Line::Link(Link::to(peer)), Line::Link(Link::bulk(peer)), primary, replication] {
            if let Some(state) = self.opened.get_mut(&line)
                && state.conn.is_none()
            {
                state.hopeful(turn.now);
                if state.needed() {
                    self.open(line, turn);
                }
            }
        }
    }

    /// A connection broke, or is given up.
    pub(super) fn lost(&mut self, id: ConnId, why: Down, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        let (line, open) = (conn.line(), conn.open_line().is_some());
        self.remove(id, turn);
        let Some(line) = line else { return };
        if line.side() == Side::Opened {
            return self.line_failed(line, why, turn);
        }
        if let (true, Line::Link(link)) = (open, line) {
            turn.log.say(&line, turn.now, format_args!("{line} down: {why:?}"));
            turn.inbox.push_back(Input::Net(Event::Down { link, why }));
        }
        if open {
            self.first_is_gone(line, turn);
        }
    }

    /// A line of this side has no connection any more.
    fn line_failed(&mut self, line: Line, why: Down, turn: &mut Turn<'_>) {
        if self.detours(line, why, turn) {
            return;
        }
        let state = self.opened.get_mut(&line).expect("a line that this side opens");
        let failed = state.failed(why, turn.now, &mut self.rng);
        if failed.lasted {
            // One that breaks is mended at once, many that break together one after the other: so do their other ends.
            let most = self.breaks.one_more(turn.now).as_nanos() as u64;
            state.not_before += Duration::from_nanos(self.rng.within(0, most));
        }
        if failed.retry {
            self.retries.insert((state.not_before, line));
        }
        if failed.news {
            turn.log.say(&line, turn.now, format_args!("{line} down: {why:?}"));
        }
        if let Line::Link(link) = line {
            turn.inbox.push_back(Input::Net(Event::Down { link, why }));
        }
    }

    /// Takes a connection out of everything but the state of its line.
    pub(super) fn remove(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.remove(id, turn) else { return };
        self.pacer.forget(id);
        self.opening.ends(id);
        self.hellos.remove(&(conn.hello_by, id));
        if conn.stranger {
            self.strangers -= 1;
        }
        if let Some(line) = conn.open_line()
            && self.accepted.get(&line) == Some(&id)
        {
            self.accepted.remove(&line);
        }
        if let Phase::Rival { line, .. } = conn.phase
            && self.rivals.get(&line) == Some(&id)
        {
            self.rivals.remove(&line);
        }
    }
}

/// What a connection is that the peer opened for this.
fn accepted_line(aim: Aim) -> Line {
    let (peer, network, side) = (aim.peer, aim.network, Side::Accepted);
    match aim.lane {
        Some(lane) => Line::Link(Link { peer, lane, side }),
        None => Line::Probe { peer, network, side },
    }
}
