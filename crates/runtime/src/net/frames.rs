//! Frames as they come and go on open connections, and the keepalives among them.

use super::conn::{ConnId, Phase};
use super::line::Line;
use super::{Net, down_of};
use crate::arena::Buffer;
use crate::session::{MESSAGES_FROM, PING, PONG, REJECT, read_reject};
use crate::turn::Turn;
use base::Time;
use base::io::Input;
use base::io::net::{Down, Event, Frame, Link, Network, Peer};
use bytes::Bytes;
use wire::keepalive::Keepalive;
use wire::share::{bytes_of, class_of, may_ride};

impl Net {
    /// A receive ended; nothing more was there if it is `dry`.
    pub(super) fn received(
        &mut self,
        id: ConnId,
        (buffer, dry): (Buffer, bool),
        result: Result<u32, i32>,
        turn: &mut Turn<'_>,
    ) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.received();
        let len = match result {
            Ok(0) => return self.lost(id, Down::Reset, turn),
            Ok(len) => len as usize,
            Err(libc::EINTR | libc::EAGAIN) => 0,
            Err(code) => return self.lost(id, down_of(code), turn),
        };
        turn.counters.bytes_in += len as u64;
        conn.pinged = None;
        conn.incoming.received(buffer, len, dry);
        if let Phase::Closing | Phase::Dismissed = conn.phase {
            // Whatever else it says, it was refused.
            let all = conn.incoming.bytes().len();
            conn.incoming.consume(all);
            return self.conns.receive(id, turn);
        }
        if self.greeted(id, turn) {
            self.deliver(id, turn);
        }
        // What a rival says is not for anybody yet; it waits where it is.
        if self.conns.get(id).is_some_and(|conn| !matches!(conn.phase, Phase::Rival { .. })) {
            self.conns.receive(id, turn);
        }
    }

    /// Hands on the frames that are whole.
    pub(super) fn deliver(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        let Some(line) = conn.open_line() else { return };
        let network = conn.network;
        if let Some(keepalive) = self.watched.get_mut(&(line.peer(), network)) {
            keepalive.on_bytes(line.side(), turn.now);
        }
        let mut frames = std::mem::take(&mut self.frames);
        let result = conn.incoming.frames(turn.arena, &mut frames);
        turn.counters.frames_in += frames.len() as u64;
        for frame in frames.drain(..) {
            self.traffic.received.add(network, class_of(frame.kind), bytes_of(&frame));
            if !may_ride(network, frame.kind) {
                self.misrouted(id, line, frame.kind, turn);
                break;
            }
            match (frame.kind, line) {
                (MESSAGES_FROM.., Line::Link(from)) => turn.inbox.push_back(Input::Net(Event::Frame { from, frame })),
                _ => {
                    if !self.own_frame(id, (line, network), frame, turn) {
                        break;
                    }
                }
            }
        }
        self.frames = frames;
        if let Err(why) = result {
            turn.log.say(&line, turn.now, format_args!("{line}: {why}; closed"));
            self.lost(id, Down::Reset, turn);
        }
    }

    /// A frame that is not for the machine. Returns whether the connection lives on.
    fn own_frame(&mut self, id: ConnId, on: (Line, Network), frame: Frame, turn: &mut Turn<'_>) -> bool {
        let (line, network) = on;
        let stamp = <[u8; 8]>::try_from(&frame.head[..]).map(|bytes| Time(u64::from_le_bytes(bytes)));
        match (frame.kind, stamp) {
            (PING, Ok(_)) => self.pongs.push((id, Frame { kind: PONG, ..frame })),
            (PONG, Ok(asked)) => self.heard(line, network, asked, turn),
            (REJECT, _) => {
                match read_reject(&frame.head) {
                    Ok(why) => self.rejected(id, line, &why, turn),
                    Err(_) => self.lost(id, Down::Rejected, turn),
                }
                return false;
            }
            _ => {
                let text =
                    format_args!("{line}: a frame of kind {:#04x} that does not belong there; closed", frame.kind);
                turn.log.say(&line, turn.now, text);
                self.lost(id, Down::Reset, turn);
                return false;
            }
        }
        true
    }

    /// A frame on a network where it has no business: what sent it goes by another map than this node.
    fn misrouted(&mut self, id: ConnId, line: Line, kind: u16, turn: &mut Turn<'_>) {
        self.traffic.misrouted += 1;
        let text =
            format_args!("{line}: a frame of kind {kind:#04x} on the replication network, which is not for it; closed");
        turn.log.say(&line, turn.now, text);
        self.lost(id, Down::Reset, turn);
    }

    fn heard(&mut self, line: Line, network: Network, asked: Time, turn: &mut Turn<'_>) {
        self.first_is_alive(line, asked, turn);
        let peer = line.peer();
        // Only what this side asked, on a line where it asks.
        let asks = [Line::Link(Link::to(peer)), Line::probe(peer, network)].contains(&line);
        if asks && self.watched.contains_key(&(peer, network)) && asked <= turn.now {
            self.traffic.pongs[network as usize] += 1;
            let ordered = line.lane().is_some();
            turn.inbox.push_back(Input::Net(Event::Heard { peer, network, ordered, asked }));
            self.reconsider(peer, turn);
        }
    }

    /// Pings, wherever there is a connection to ping on; and gives up one that has been deaf for too long. What rides the network is pinged for
    /// the sake of order, and a connection beside it because it is never behind anything.
    pub(super) fn ping(&mut self, peer: Peer, network: Network, stamp: Time, turn: &mut Turn<'_>) {
        let Some(patience) = self.watched.get(&(peer, network)).map(Keepalive::patience) else { return };
        for line in [Line::Link(Link::to(peer)), Line::probe(peer, network)] {
            let Some(state) = self.opened.get(&line).filter(|state| state.up_since.is_some()) else { continue };
            let Some(id) = state.conn else { continue };
            let Some(conn) = self.conns.get(id).filter(|conn| conn.network == network) else { continue };
            let since = *conn.pinged.get_or_insert(turn.now);
            if turn.now.since(since) >= patience {
                self.lost(id, Down::Silent, turn);
                continue;
            }
            turn.counters.pings += 1;
            self.traffic.pings[network as usize] += 1;
            let head = Bytes::copy_from_slice(&stamp.0.to_le_bytes());
            self.queue(id, Frame { kind: PING, head, data: Vec::new() }, turn);
        }
    }

    /// A send ended.
    pub(super) fn sent(&mut self, id: ConnId, parts: Vec<Bytes>, result: Result<u32, i32>, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        conn.sent();
        let len = match result {
            Ok(len) => len as usize,
            Err(libc::EINTR | libc::EAGAIN) => 0,
            Err(code) => return self.lost(id, down_of(code), turn),
        };
        turn.counters.bytes_out += len as u64;
        let all = conn.outgoing.ended(parts, len);
        match conn.phase {
            Phase::Closing if all => self.remove(id, turn),
            _ if all => {}
            // With what this turn adds, as one.
            _ => self.mark(id),
        }
    }
}
