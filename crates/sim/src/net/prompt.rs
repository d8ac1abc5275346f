//! Keepalives that are answered in the moment in which they are sent. Where nothing is wrong, nothing is under way and the peer has nothing to do, its answer says
//! nothing that is not known now; a large world that lies idle would spend nine tenths of its events on asking.
//!
//! Seeds never do this, since what happens between a ping and its answer is what they look for: only scenarios do.

use super::conn::{ACCEPTOR, ConnId, OPENER};
use super::endpoint::Key;
use crate::world::{Observer, Pid, State, World};
use base::Time;
use base::io::Machine;
use base::io::net::{Network, Side};

impl<M: Machine, O: Observer> World<M, O> {
    /// Pings a peer on a connection that this process opened and has it answered, if nothing could come between. Whether it was.
    pub(super) fn ping_promptly(&mut self, pid: Pid, id: ConnId, (key, network): (Key, Network), stamp: Time) -> bool {
        let Some(other) = self.answers_promptly(pid, id) else { return false };
        let (me, theirs) = (self.peer(pid), self.local(other));
        let endpoint = &mut self.process(other).endpoint;
        endpoint.watched.change(me, network, |keepalive| keepalive.on_bytes(Side::Accepted, theirs));
        let endpoint = &mut self.process(pid).endpoint;
        endpoint.watched.change(key.peer(), network, |keepalive| keepalive.on_bytes(Side::Opened, stamp));
        if let Some(opened) = endpoint.opened.get_mut(&key) {
            opened.heard = stamp;
        }
        self.heard(pid, key, network, stamp, stamp);
        true
    }

    /// Who is at the other end, if all is quiet up to there and back.
    fn answers_promptly(&self, pid: Pid, id: ConnId) -> Option<Pid> {
        if !self.net.prompt || !self.net.weather.is_fair() {
            return None;
        }
        let conn = self.net.conns.get(&id)?;
        let other = conn.ends[ACCEPTOR].pid;
        let [me, peer] = [pid, other].map(|pid| &self.procs[pid.0 as usize]);
        let joined = conn.end_of(pid, me.run) == Some(OPENER) && conn.end_of(other, peer.run) == Some(ACCEPTOR);
        let empty = conn.pipes.iter().all(|pipe| pipe.queue.is_empty());
        let held = me.endpoint.pacer.bytes(id) > 0 || peer.endpoint.pacer.bytes(id) > 0;
        let idle = peer.state == State::Running
            && peer.received.is_empty()
            && peer.inbox.is_empty()
            && peer.endpoint.pongs.is_empty()
            && peer.busy_until <= self.now();
        (joined && empty && !held && idle).then_some(other)
    }
}
