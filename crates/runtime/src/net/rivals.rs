//! Two processes under one identity: the second is refused by name, and the first is not disturbed.
//!
//! A process that was started again opens the lines that its last run had. Mostly that one's connections are gone by then; where
//! they are not (its machine lost its power, and nobody said goodbye), nothing tells it from a second process that was given the same identity, or a copy of
//! the same disk. So the first is asked: while it answers, the second is the one too many. If it does not answer in time, or its connection turns out to be
//! gone, it was the last run, and the line is the next one's.
//!
//! Nothing is asked of a peer that opens its line again: that is the same run.

use super::Net;
use super::conn::{ConnId, Phase};
use super::line::Line;
use crate::session::{PING, twin};
use crate::turn::Turn;
use base::Time;
use base::io::net::Frame;
use base::time::Duration;
use bytes::Bytes;

/// The run that has a line answers within this time, or it is taken for gone. As long as a lease: whoever was stopped for longer has lost its
/// shards to others anyway.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Net {
    /// Whether a connection that just proved itself finds another run of its peer on its line; then that one is asked, and this one waits.
    pub(super) fn contends(&mut self, id: ConnId, line: Line, turn: &mut Turn<'_>) -> bool {
        let Some(first) = self.accepted.get(&line).copied() else { return false };
        let run = self.conns.get(id).and_then(|conn| conn.run);
        if self.conns.get(first).is_none_or(|conn| conn.run == run) {
            return false;
        }
        // A third one is as late as the second was, and may be it, calling again.
        if let Some(before) = self.rivals.remove(&line) {
            self.remove(before, turn);
        }
        let asked = turn.now;
        let conn = self.conns.get(id).expect("its hello just ended");
        conn.phase = Phase::Rival { line, asked };
        let (hello_by, by) = (conn.hello_by, asked + ANSWER_WITHIN);
        conn.hello_by = by;
        self.hellos.remove(&(hello_by, id));
        self.hellos.insert((by, id));
        self.rivals.insert(line, id);
        turn.counters.rivals += 1;
        let head = Bytes::copy_from_slice(&asked.0.to_le_bytes());
        self.queue(first, Frame { kind: PING, head, data: Vec::new() }, turn);
        true
    }

    /// The first run of a line answered what was asked at `asked`: its rival is refused.
    pub(super) fn first_is_alive(&mut self, line: Line, asked: Time, turn: &mut Turn<'_>) {
        let Some(id) = self.rivals.get(&line).copied() else { return };
        let Some(first) = self.accepted.get(&line).copied() else { return };
        let Some((at, Some(run))) = self.conns.get(first).map(|conn| (conn.remote, conn.run)) else { return };
        let Some(conn) = self.conns.get(id) else { return };
        let Phase::Rival { asked: wanted, .. } = conn.phase else { return };
        // An answer to an earlier question says nothing about now.
        if asked != wanted {
            return;
        }
        let Some(second) = conn.run else { return };
        let (remote, hello_by) = (conn.remote, conn.hello_by);
        let (bytes, why) = twin(line.peer(), at, run, second);
        conn.phase = Phase::Dismissed;
        conn.hello_by = turn.now + ANSWER_WITHIN;
        conn.outgoing.packed(&bytes);
        self.conns.send(id, turn);
        self.conns.receive(id, turn);
        self.hellos.remove(&(hello_by, id));
        self.hellos.insert((turn.now + ANSWER_WITHIN, id));
        self.rivals.remove(&line);
        turn.counters.twins_refused += 1;
        turn.log.say(&(line, remote), turn.now, format_args!("{} at {remote}: {why}", line.peer()));
    }

    /// The connection that had a line is gone: whoever waited for that has it.
    pub(super) fn first_is_gone(&mut self, line: Line, turn: &mut Turn<'_>) {
        let Some(id) = self.rivals.remove(&line) else { return };
        self.established(id, None, line, turn);
        self.deliver(id, turn);
        self.conns.receive(id, turn);
    }

    /// The time of a connection that is not open yet is over. Whether it was a rival, whose line is its own now.
    pub(super) fn outlasts(&mut self, id: ConnId, turn: &mut Turn<'_>) -> bool {
        let Some(Phase::Rival { line, .. }) = self.conns.get(id).map(|conn| &conn.phase) else { return false };
        let line = *line;
        turn.log.say(
            &line,
            turn.now,
            format_args!("{line}: its last run is silent for {ANSWER_WITHIN:?}; the next one has it"),
        );
        self.first_is_gone(line, turn);
        true
    }
}
