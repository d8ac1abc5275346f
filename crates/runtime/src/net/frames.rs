//! Frames as they come and go on open connections, and the keepalives among them.

use super::conn::{ConnId, Phase};
use super::line::Line;
use super::{GIVEN_UP_AFTER, Net, down_of};
use crate::arena::Buffer;
use crate::session::{MESSAGES_FROM, PING, PONG, REJECT, read_reject};
use crate::turn::Turn;
use base::Time;
use base::io::Input;
use base::io::net::{Down, Event, Frame, Network, Peer};
use bytes::Bytes;

impl Net {
    /// A receive ended.
    pub(super) fn received(&mut self, id: ConnId, buffer: Buffer, result: Result<u32, i32>, turn: &mut Turn<'_>) {
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
        conn.incoming.received(buffer, len);
        if let Phase::Closing | Phase::Dismissed = conn.phase {
            // Whatever else it says, it was refused.
            let all = conn.incoming.bytes().len();
            conn.incoming.consume(all);
            return conn.receive(id, turn);
        }
        if self.greeted(id, turn) {
            self.deliver(id, turn);
        }
        if let Some(conn) = self.conns.get(id)
            // What a rival says is not for anybody yet; it waits where it is.
            && !matches!(conn.phase, Phase::Rival { .. })
        {
            conn.receive(id, turn);
        }
    }

    /// Hands on the frames that are whole.
    pub(super) fn deliver(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        let Some(line) = conn.open_line() else { return };
        if let Some(keepalive) = self.watched.get_mut(&(line.peer(), line.network())) {
            keepalive.on_bytes(turn.now);
        }
        let mut frames = std::mem::take(&mut self.frames);
        let result = conn.incoming.frames(turn.arena, &mut frames);
        turn.counters.frames_in += frames.len() as u64;
        for frame in frames.drain(..) {
            match (frame.kind, line) {
                (MESSAGES_FROM.., Line::Link(from)) => turn.inbox.push_back(Input::Net(Event::Frame { from, frame })),
                _ => {
                    if !self.own_frame(id, line, frame, turn) {
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
    fn own_frame(&mut self, id: ConnId, line: Line, frame: Frame, turn: &mut Turn<'_>) -> bool {
        let stamp = <[u8; 8]>::try_from(&frame.head[..]).map(|bytes| Time(u64::from_le_bytes(bytes)));
        match (frame.kind, stamp) {
            (PING, Ok(_)) => self.pongs.push((id, Frame { kind: PONG, ..frame })),
            (PONG, Ok(asked)) => self.heard(line, asked, turn),
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

    fn heard(&mut self, line: Line, asked: Time, turn: &mut Turn<'_>) {
        self.first_is_alive(line, asked, turn);
        let (peer, network) = (line.peer(), line.network());
        // Only what this side asked, on the line where it asks.
        if line == Line::watched(peer, network) && self.watched.contains_key(&(peer, network)) && asked <= turn.now {
            turn.inbox.push_back(Input::Net(Event::Heard { peer, network, asked }));
        }
    }

    /// Pings, if there is a connection to ping on; and gives it up if it has been deaf for too long.
    pub(super) fn ping(&mut self, peer: Peer, network: Network, stamp: Time, turn: &mut Turn<'_>) {
        let line = Line::watched(peer, network);
        let Some(state) = self.opened.get(&line).filter(|state| state.up_since.is_some()) else { return };
        let Some(id) = state.conn else { return };
        let Some(conn) = self.conns.get(id) else { return };
        let since = *conn.pinged.get_or_insert(turn.now);
        if turn.now.since(since) >= GIVEN_UP_AFTER {
            return self.lost(id, Down::Silent, turn);
        }
        turn.counters.pings += 1;
        let head = Bytes::copy_from_slice(&stamp.0.to_le_bytes());
        self.queue(id, Frame { kind: PING, head, data: Vec::new() }, turn);
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
