//! What happens below `base::io` in a process: calling, answering, carrying frames, keepalives, closing. It means by each
//! word what `base::io::net` says; the runtime must mean the same.

use super::conn::{ACCEPTOR, Conn, ConnId, End, Letter, OPENER, Packet, Pipe};
use super::endpoint::{CONNECT_WITHIN, Key, Opened, Phase, WAITING_MAX};
use super::weather::{PRIMARY_BYTES_PER_S, TroubleId};
use crate::world::{Event, Observer, Pid, State, World};
use base::Time;
use base::io::net::{Addresses, Down, Event as NetEvent, Frame, Lane, Link, Network, Peer, Side, Traffic};
use base::io::{Input, Machine};
use base::mutant::Mutant;
use base::time::Duration;
use wire::keepalive::Keepalive;
use wire::share::{bytes_of, class_of, may_ride};

fn key_of(link: Link) -> Key {
    Key::Link { peer: link.peer, lane: link.lane }
}

pub(super) fn link_of(key: Key, side: Side) -> Option<Link> {
    key.lane().map(|lane| Link { peer: key.peer(), lane, side })
}

impl<M: Machine, O: Observer> World<M, O> {
    // ---- Asked by the machine. -----------------------------------------------------------------------------------

    pub(crate) fn know(&mut self, pid: Pid, peer: Peer, at: Addresses) {
        let p = self.process(pid);
        let moved = p.endpoint.known.insert(peer, at).is_some_and(|old| old != at);
        if moved {
            let keys: Vec<Key> = p.endpoint.keys_of(peer);
            let local = self.local(pid);
            for key in keys {
                self.hang_up(pid, key, Down::Reset, local);
            }
        }
        if self.process(pid).endpoint.watches(peer) {
            self.watch(pid, peer, true);
        }
    }

    pub(crate) fn watch(&mut self, pid: Pid, peer: Peer, wanted: bool) {
        let local = self.local(pid);
        let p = self.process(pid);
        let nodes = matches!((p.peer, peer), (Peer::Node(_), Peer::Node(_)));
        let aside = nodes && p.endpoint.known.get(&peer).is_some_and(|at| at.replication.is_some());
        if !wanted || !aside {
            self.shift(pid, peer, Network::Primary, local);
        }
        let probe = Key::Probe { peer, network: Network::Replication };
        for (network, key, here) in
            [(Network::Primary, Key::to(peer), wanted), (Network::Replication, probe, wanted && aside)]
        {
            let endpoint = &mut self.process(pid).endpoint;
            if !here {
                endpoint.watched.end(peer, network);
                if network == Network::Replication {
                    self.drop_probe(pid, key);
                }
            } else if !endpoint.watched.has(peer, network) {
                endpoint.watched.begin(peer, network, Keepalive::new(local));
                if endpoint.phase(key) == Phase::Idle {
                    self.call(pid, key, local);
                }
            }
        }
    }

    /// Says what went over the networks.
    pub(crate) fn count(&mut self, pid: Pid) {
        let p = self.process(pid);
        let traffic = Traffic { aside: p.endpoint.aside.len() as u64, ..p.endpoint.traffic };
        p.inbox.push_back(Input::Net(NetEvent::Counted(Box::new(traffic))));
    }

    pub(crate) fn close_link(&mut self, pid: Pid, link: Link) {
        let key = key_of(link);
        let p = self.process(pid);
        let conn = match link.side {
            Side::Opened => p.endpoint.remove_opened(key).and_then(|opened| opened.conn()),
            Side::Accepted => p.endpoint.accepted.remove(&key),
        };
        if let Some(conn) = conn {
            self.close(conn, pid);
        }
        if link.side == Side::Opened && self.process(pid).endpoint.keeps(key) {
            let local = self.local(pid);
            self.process(pid).endpoint.set_phase(key, Phase::Waiting { until: local });
        }
    }

    pub(crate) fn send(&mut self, pid: Pid, to: Link, frame: Frame) {
        let (key, local) = (key_of(to), self.local(pid));
        let p = self.process(pid);
        p.endpoint.watched.change(to.peer, Network::Primary, |keepalive| keepalive.on_sent(local));
        if to.side == Side::Accepted {
            if let Some(conn) = p.endpoint.accepted.get(&key).copied() {
                self.transmit_frame(pid, conn, frame);
            }
            return;
        }
        let opened = p.endpoint.opened.entry(key).or_default();
        match opened.phase() {
            Phase::Up { conn } => self.transmit_frame(pid, conn, frame),
            Phase::Calling { .. } | Phase::Waiting { .. } | Phase::Idle => {
                opened.waiting.push_back(frame);
                if opened.waiting.len() > WAITING_MAX {
                    self.hang_up(pid, key, Down::Reset, local);
                } else if opened.phase() == Phase::Idle {
                    self.call(pid, key, local);
                }
            }
        }
    }

    // ---- Calling and being called. ---------------------------------------------------------------------------------

    pub(super) fn local(&self, pid: Pid) -> Time {
        self.procs[pid.0 as usize].clock.read(self.now())
    }

    pub(super) fn call(&mut self, pid: Pid, key: Key, local: Time) {
        let p = &self.procs[pid.0 as usize];
        let wanted = match key {
            Key::Link { peer, .. } => p.endpoint.rides(peer),
            Key::Probe { network, .. } => network,
        };
        let address = p.endpoint.known.get(&key.peer()).and_then(|at| match wanted {
            Network::Primary => Some(at.primary),
            Network::Replication => at.replication,
        });
        let listener = address.and_then(|address| self.net.listeners.get(&address).copied());
        let Some((other, network)) = listener else {
            let why = if address.is_some() { Down::Refused } else { Down::Unknown };
            self.went_down(pid, key, why, false, local);
            return;
        };
        assert_eq!(network, wanted, "traffic on the wrong network");
        let nodes = matches!((p.peer, self.procs[other.0 as usize].peer), (Peer::Node(_), Peer::Node(_)));
        assert!(network == Network::Primary || nodes, "only nodes meet on the replication network");
        let conn = ConnId(self.net.next_conn);
        self.net.next_conn += 1;
        let ends = [End { pid, run: p.run, open: true }, End { pid: other, run: 0, open: false }];
        let pipes = [Pipe::default(), Pipe::default()];
        let longer = self.net.weather.unevenness();
        self.net.conns.insert(conn, Conn { ends, called: key.peer(), lane: key.lane(), network, longer, pipes });
        let p = self.process(pid);
        p.endpoint.set_phase(key, Phase::Calling { conn, until: local + CONNECT_WITHIN });
        self.transmit(pid, conn, Packet::Hello, 200);
    }

    fn answered(&mut self, pid: Pid, conn: ConnId, key: Key, local: Time) {
        let p = self.process(pid);
        let Some(opened) = p.endpoint.opened.get(&key) else { return };
        if !matches!(opened.phase(), Phase::Calling { conn: called, .. } if called == conn) {
            return;
        }
        let opened = p.endpoint.set_phase(key, Phase::Up { conn });
        opened.backoff.reset();
        opened.heard = local;
        opened.pinged = false;
        let waiting = std::mem::take(&mut opened.waiting);
        let fresh = match key {
            Key::Link { lane: Lane::Data, .. } => &Network::ALL[..],
            Key::Link { .. } => &[],
            Key::Probe { network: Network::Primary, .. } => &Network::ALL[..1],
            Key::Probe { .. } => &Network::ALL[1..],
        };
        for network in fresh {
            p.endpoint.watched.change(key.peer(), *network, |keepalive| keepalive.on_up(local));
        }
        if let Some(link) = link_of(key, Side::Opened) {
            p.inbox.push_back(Input::Net(NetEvent::Up { link }));
        }
        self.transmit(pid, conn, Packet::Proof, 100);
        for frame in waiting {
            self.transmit_frame(pid, conn, frame);
        }
    }

    /// A connection is proven. What had been opened for the same before was given up for it: what is under way there must not come after what follows here.
    fn was_called(&mut self, pid: Pid, conn: ConnId, key: Key) {
        let greeted = self.process(pid).endpoint.greeted.entry(key).or_default();
        let before = greeted.iter().position(|other| *other == conn).unwrap_or(0);
        let given_up: Vec<ConnId> = greeted.drain(..before).collect();
        greeted.retain(|other| *other != conn);
        if !self.net.mutation.is(Mutant::LateProofTaken) {
            given_up.into_iter().for_each(|older| self.close(older, pid));
        }
        let p = self.process(pid);
        let replaced = p.endpoint.accepted.insert(key, conn).filter(|old| *old != conn);
        if let Some(link) = link_of(key, Side::Accepted) {
            p.inbox.push_back(Input::Net(NetEvent::Up { link }));
        }
        if let Some(old) = replaced {
            self.close(old, pid);
        }
    }

    // ---- Going down. -------------------------------------------------------------------------------------------------

    /// An opened link of this process is gone or could not be opened.
    fn went_down(&mut self, pid: Pid, key: Key, why: Down, was_up: bool, local: Time) {
        if self.detours(pid, key, (why, was_up), local) {
            return;
        }
        let p = &mut self.procs[pid.0 as usize];
        let watched = p.endpoint.keeps(key);
        let opened = p.endpoint.opened.entry(key).or_default();
        opened.waiting.clear();
        let phase = if !watched {
            Phase::Idle
        } else if was_up && why == Down::Reset {
            // A lone reset is answered by reconnecting at once.
            Phase::Waiting { until: local }
        } else {
            Phase::Waiting { until: local + opened.backoff.next(&mut self.net.rng) }
        };
        p.endpoint.set_phase(key, phase);
        if let Some(link) = link_of(key, Side::Opened) {
            p.inbox.push_back(Input::Net(NetEvent::Down { link, why }));
        }
    }

    /// This process gives an opened link up.
    pub(super) fn hang_up(&mut self, pid: Pid, key: Key, why: Down, local: Time) {
        let opened = self.process(pid).endpoint.opened.get(&key);
        let (conn, was_up) = opened.map_or((None, false), |o| (o.conn(), matches!(o.phase(), Phase::Up { .. })));
        if let Some(conn) = conn {
            self.close(conn, pid);
            self.went_down(pid, key, why, was_up, local);
        }
    }

    /// Closes this process' end; the other end hears of it when the network lets it.
    pub(super) fn close(&mut self, id: ConnId, pid: Pid) {
        let run = self.process(pid).run;
        self.process(pid).endpoint.pacer.forget(id);
        let Some(end) = self.net.conns.get(&id).and_then(|conn| conn.end_of(pid, run)) else { return };
        self.transmit(pid, id, Packet::Reset, 40);
        let conn = self.net.conns.get_mut(&id).expect("found above");
        conn.ends[end].open = false;
        if conn.is_over() {
            self.net.conns.remove(&id);
        }
    }

    /// A process is gone: its computer resets its connections, unless that is gone too.
    pub(crate) fn drop_connections(&mut self, pid: Pid, power: bool) {
        let run = self.process(pid).run;
        for id in self.net.those(|conn| conn.end_of(pid, run).is_some()) {
            let end = self.net.conns[&id].end_of(pid, run).expect("it was asked for");
            self.lose_tail(id, end);
            if !power {
                self.transmit(pid, id, Packet::Reset, 40);
            }
            let conn = self.net.conns.get_mut(&id).expect("listed above");
            conn.ends[end].open = false;
            if conn.is_over() {
                self.net.conns.remove(&id);
            }
        }
    }

    /// A computer is back after a power cut: what is sent to it on old connections is answered by a reset.
    pub(crate) fn reset_stale(&mut self, pid: Pid) {
        let stale = |conn: &Conn| conn.ends.iter().any(|end| end.pid == pid && end.run > 0 && !end.open);
        for id in self.net.those(stale) {
            self.transmit(pid, id, Packet::Reset, 40);
        }
    }

    /// Breaks a connection for both ends. What was under way arrives up to some point, or not at all.
    pub fn break_connection(&mut self, id: ConnId) {
        for end in [OPENER, ACCEPTOR] {
            self.lose_tail(id, end);
            let Some(conn) = self.net.conns.get(&id) else { return };
            self.transmit(conn.ends[end].pid, id, Packet::Reset, 40);
        }
    }

    fn lose_tail(&mut self, id: ConnId, end: usize) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let under_way = conn.pipes[end].queue.len() as u64;
        conn.pipes[end].queue.truncate(self.net.rng.within(0, under_way) as usize);
    }

    // ---- Packets. --------------------------------------------------------------------------------------------------------

    /// Sends a frame, at once or when its network takes it.
    fn transmit_frame(&mut self, pid: Pid, conn: ConnId, frame: Frame) {
        let Some(network) = self.net.conns.get(&conn).map(|conn| conn.network) else { return };
        assert!(may_ride(network, frame.kind), "a message of kind {:#04x} on the replication network", frame.kind);
        let now = match network {
            Network::Primary => Some(frame),
            Network::Replication => {
                let local = self.local(pid);
                self.process(pid).endpoint.pacer.offer(conn, frame, local)
            }
        };
        if let Some(frame) = now {
            self.hand_out(pid, conn, network, frame);
        }
    }

    fn hand_out(&mut self, pid: Pid, conn: ConnId, network: Network, frame: Frame) {
        let (class, size) = (class_of(frame.kind), bytes_of(&frame));
        self.net.sent.add(network, class, size);
        self.process(pid).endpoint.traffic.sent.add(network, class, size);
        let mut letter = Letter::seal(frame);
        if let Some(bit) = self.net.weather.damage(letter.len()) {
            letter.damage(bit);
            self.net.damaged += 1;
        }
        let bytes = letter.len();
        self.transmit(pid, conn, Packet::Frame(Box::new(letter)), bytes);
    }

    /// What the replication network takes by now.
    pub(crate) fn let_go(&mut self, pid: Pid, local: Time) {
        while let Some((conn, frame)) = self.process(pid).endpoint.pacer.release(local) {
            self.hand_out(pid, conn, Network::Replication, frame);
        }
        let endpoint = &mut self.process(pid).endpoint;
        endpoint.pace_at = endpoint.pacer.deadline(local);
    }

    pub(super) fn transmit(&mut self, pid: Pid, id: ConnId, packet: Packet, bytes: usize) {
        let now = self.now();
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let end = if conn.ends[OPENER].pid == pid { OPENER } else { ACCEPTOR };
        let (network, to) = (conn.network, conn.ends[1 - end].pid);
        let p = &mut self.procs[pid.0 as usize];
        let (card, bytes_per_s) = match network {
            Network::Primary => (&mut p.card_free[0], PRIMARY_BYTES_PER_S),
            Network::Replication => (&mut p.card_free[1], PRIMARY_BYTES_PER_S / 10),
        };
        let leaves =
            p.busy_until.max(now).max(*card) + Duration::from_nanos(bytes as u64 * 1_000_000_000 / bytes_per_s);
        *card = leaves;
        let pipe = &mut conn.pipes[end];
        let arrives = (leaves + conn.longer + self.net.weather.latency(pid, to, network)).max(pipe.last);
        pipe.last = arrives;
        pipe.queue.push(arrives, packet);
        if !pipe.scheduled {
            pipe.scheduled = true;
            self.heap.push(arrives, Event::Arrive(id, end));
        }
    }

    /// What was sent from `end` of a connection arrives, as far as its time has come.
    pub(crate) fn arrive(&mut self, id: ConnId, end: usize) {
        let now = self.now();
        loop {
            let Some(conn) = self.net.conns.get_mut(&id) else { return };
            let (from, to) = (conn.ends[end].pid, conn.ends[1 - end].pid);
            let pipe = &mut conn.pipes[end];
            pipe.scheduled = false;
            let Some(at) = pipe.queue.next_at() else { return };
            if self.net.weather.is_cut(from, to, conn.network) {
                return; // Held until the cut is gone.
            }
            if at > now {
                pipe.scheduled = true;
                self.heap.push(at, Event::Arrive(id, end));
                return;
            }
            let packet = pipe.queue.pop().expect("its front was looked at");
            self.hand_over(id, 1 - end, to, packet);
        }
    }

    /// A packet reached the computer of an end.
    fn hand_over(&mut self, id: ConnId, end: usize, to: Pid, packet: Packet) {
        let (state, run) = (self.process(to).state, self.process(to).run);
        let conn = self.net.conns.get_mut(&id).expect("its packet has just arrived");
        if end == ACCEPTOR && matches!(packet, Packet::Hello) {
            match state {
                State::Dark => return,
                State::Dead => return self.transmit(to, id, Packet::Refused, 40),
                State::Running | State::Frozen => conn.ends[end] = End { pid: to, run, open: true },
            }
        }
        if conn.end_of(to, run) == Some(end) && matches!(state, State::Running | State::Frozen) {
            self.process(to).received.push_back((id, packet));
            self.want_turn(to);
        }
    }

    /// Some weather is over: what it held goes on its way, after TCP has noticed.
    pub fn end_trouble(&mut self, trouble: Option<TroubleId>) {
        match trouble {
            Some(id) => self.net.weather.end(id),
            None => self.net.weather.clear(),
        }
        let now = self.now();
        for id in self.net.those(|conn| conn.pipes.iter().any(|pipe| !pipe.queue.is_empty() && !pipe.scheduled)) {
            let conn = self.net.conns.get_mut(&id).expect("listed above");
            for end in [OPENER, ACCEPTOR] {
                let (from, to) = (conn.ends[end].pid, conn.ends[1 - end].pid);
                let pipe = &mut conn.pipes[end];
                if pipe.queue.is_empty() || pipe.scheduled || self.net.weather.is_cut(from, to, conn.network) {
                    continue;
                }
                let notices = now + Duration::from_micros(self.net.rng.within(100, 200_000));
                pipe.last = pipe.last.max(notices);
                pipe.scheduled = true;
                self.heap.push(notices, Event::Arrive(id, end));
            }
        }
    }

    /// The process reads a packet, in its turn.
    pub(crate) fn receive(&mut self, pid: Pid, id: ConnId, packet: Packet, local: Time) {
        let run = self.process(pid).run;
        let Some(conn) = self.net.conns.get(&id) else { return };
        let Some(end) = conn.end_of(pid, run) else { return };
        let network = conn.network;
        let peer = if end == OPENER { conn.called } else { self.peer(conn.ends[OPENER].pid) };
        let key = Key::of(peer, conn.lane, network);
        let endpoint = &mut self.process(pid).endpoint;
        if !matches!(packet, Packet::Reset | Packet::Refused) {
            let side = if end == OPENER { Side::Opened } else { Side::Accepted };
            endpoint.watched.change(key.peer(), network, |keepalive| keepalive.on_bytes(side, local));
        }
        if let Some(opened) = endpoint.opened.get_mut(&key).filter(|o| end == OPENER && o.conn() == Some(id)) {
            opened.heard = local;
            opened.pinged = false;
        }
        match packet {
            Packet::Hello => {
                endpoint.greeted.entry(key).or_default().push(id);
                self.transmit(pid, id, Packet::Welcome, 200);
            }
            Packet::Welcome => self.answered(pid, id, key, local),
            Packet::Proof => self.was_called(pid, id, key),
            Packet::Frame(letter) => self.read(pid, id, end, key, *letter, local),
            Packet::Ping(stamp) => endpoint.pongs.push((id, stamp)),
            Packet::Pong(stamp) => self.heard(pid, key, network, stamp, local),
            Packet::Reset => self.broken(pid, id, end, key, Down::Reset, local),
            Packet::Refused => self.broken(pid, id, end, key, Down::Refused, local),
        }
    }

    fn read(&mut self, pid: Pid, id: ConnId, end: usize, key: Key, letter: Letter, local: Time) {
        let p = self.process(pid);
        let (current, side) = match end {
            OPENER => (p.endpoint.opened.get(&key).and_then(Opened::conn), Side::Opened),
            _ => (p.endpoint.accepted.get(&key).copied(), Side::Accepted),
        };
        if current != Some(id) {
            return;
        }
        let damaged = letter.damaged;
        match letter.open() {
            Ok(frame) => {
                assert!(!damaged, "a damaged frame from {} passed its checksums", key.peer());
                let from = link_of(key, side).expect("only links carry frames");
                p.inbox.push_back(Input::Net(NetEvent::Frame { from, frame }));
            }
            Err(_) => {
                self.close(id, pid);
                self.forget(pid, id, end, key, Down::Reset, local);
            }
        }
    }

    /// The other end closed.
    fn broken(&mut self, pid: Pid, id: ConnId, end: usize, key: Key, why: Down, local: Time) {
        let conn = self.net.conns.get_mut(&id).expect("looked up by the caller");
        conn.ends[end].open = false;
        if conn.is_over() {
            self.net.conns.remove(&id);
        }
        let endpoint = &mut self.process(pid).endpoint;
        endpoint.pacer.forget(id);
        if let Some(greeted) = endpoint.greeted.get_mut(&key) {
            greeted.retain(|other| *other != id);
        }
        self.forget(pid, id, end, key, why, local);
    }

    fn forget(&mut self, pid: Pid, id: ConnId, end: usize, key: Key, why: Down, local: Time) {
        let p = self.process(pid);
        if end == OPENER {
            let phase = p.endpoint.opened.get(&key).map(|opened| (opened.conn(), opened.phase()));
            if let Some((Some(current), phase)) = phase
                && current == id
            {
                self.went_down(pid, key, why, matches!(phase, Phase::Up { .. }), local);
            }
        } else if p.endpoint.accepted.get(&key) == Some(&id) {
            p.endpoint.accepted.remove(&key);
            if let Some(link) = link_of(key, Side::Accepted) {
                p.inbox.push_back(Input::Net(NetEvent::Down { link, why }));
            }
        }
    }

    // ---- Keepalives. ----------------------------------------------------------------------------------------------------

    /// Does what is due below the machine: pings, silence, calls to be made or given up.
    pub(crate) fn keep_alive(&mut self, pid: Pid, local: Time) {
        if self.process(pid).endpoint.deadline().is_none_or(|due| due > local) {
            return;
        }
        self.ping_who_is_due(pid, local);
        let due: Vec<(Key, Phase)> = self.process(pid).endpoint.restless().collect();
        for (key, phase) in due {
            match phase {
                Phase::Calling { until, .. } if until <= local => self.hang_up(pid, key, Down::Silent, local),
                Phase::Waiting { until } if until <= local => self.call(pid, key, local),
                _ => {}
            }
        }
    }

    /// After the turn's frames, so that an answer stands behind whatever was said before it.
    pub(crate) fn answer_pings(&mut self, pid: Pid) {
        if self.process(pid).endpoint.pongs.is_empty() {
            return;
        }
        let mut pongs = std::mem::take(&mut self.process(pid).endpoint.pongs);
        for (conn, stamp) in pongs.drain(..) {
            if self.process(pid).endpoint.pacer.bytes(conn) > 0 {
                // Its answers are still held: this one stands behind them.
                self.process(pid).endpoint.pongs.push((conn, stamp));
                continue;
            }
            let run = self.process(pid).run;
            if self.net.conns.get(&conn).is_some_and(|conn| conn.end_of(pid, run).is_some()) {
                self.transmit(pid, conn, Packet::Pong(stamp), 48);
            }
        }
        // Its memory is used again.
        let held = &mut self.process(pid).endpoint.pongs;
        pongs.append(held);
        *held = pongs;
    }

    /// Which peer a process is.
    pub fn peer(&self, pid: Pid) -> Peer {
        self.procs[pid.0 as usize].peer
    }
}
