//! How a run's clients use their volumes: what is asked of which host, and what may be answered.

use crate::clock::Moment;
use crate::history::{Kind, Operation};
use crate::report::Failure;
use crate::run::{Run, Task, Verdict};
use crate::workload::Asked;
use crate::world::Pid;
use base::{BLOCK_BYTES, Generation};

impl Run {
    pub(crate) fn client_turn(&mut self, client: usize) {
        if self.clients[client].stopped || self.less.idle.contains(&self.clients[client].volume) {
            return;
        }
        let asked = self.clients[client].draw();
        self.ask(client, asked);
        let pause = self.clients[client].pause();
        self.after(pause, Task::Client(client));
    }

    /// Asks a host that has the volume open; says whether one took it.
    pub(crate) fn ask(&mut self, client: usize, asked: Asked) -> bool {
        let Some(id) = self.clients[client].id else { return false };
        if self.nbd.is_some() {
            return self.ask_by_nbd(client, asked);
        }
        let end = (asked.grain + asked.count) * self.clients[client].shape.grain_bytes as u64;
        let mut open = Vec::new();
        for pid in self.cluster.hosts.clone() {
            // One that has not heard that the volume has grown is not asked for the new part.
            let offers = |host: &mut host::Host| host.volume(id).is_some_and(|export| export.size >= end);
            if self.cluster.is_running(pid) && self.cluster.host(pid).is_some_and(offers) {
                open.push(pid);
            }
        }
        let Some(pid) = self.clients[client].choose(&open) else { return false };
        // A host that hangs holds up its own users only.
        // Reads go on beside writes that wait: of what a deposed primary answers there is no other sight.
        let reads = |op: &u64| self.history.op(*op).kind == Kind::Read;
        let alike = |(op, host): &(&u64, &Pid)| **host == pid && reads(op) == (asked.kind == Kind::Read);
        let waiting = self.clients[client].in_flight.iter().filter(alike).count();
        if waiting >= self.clients[client].shape.depth {
            return false;
        }
        let op = self.history.next();
        let request = self.clients[client].request(op, asked);
        let host = self.cluster.host(pid).expect("it has the volume open");
        let generation = host.volume(id).expect("it was looked at").generation;
        if host.submit(request).is_err() {
            return false;
        }
        self.cluster.world.poke(pid);
        let now = self.cluster.world.now();
        let Asked { kind, grain, count } = asked;
        let volume = self.clients[client].volume;
        let operation =
            Operation { volume, kind, grain, count, generation, invoked: now, returned: None, saw: Vec::new() };
        assert_eq!(self.history.invoke(operation), op);
        self.clients[client].in_flight.insert(op, pid);
        self.outstanding.insert(op, client);
        true
    }

    pub(crate) fn replied(&mut self, reply: host::Reply) -> Verdict {
        let op = reply.tag;
        let Some(client) = self.outstanding.remove(&op) else {
            return Err(Failure::of(format!("operation {op} was answered twice or by a host that had died")));
        };
        let pid = self.clients[client].in_flight.remove(&op).expect("it was outstanding");
        let now = self.cluster.world.now();
        let refusal = match reply.result {
            Ok(parts) => {
                let bytes: Vec<u8> = match &parts[..] {
                    [one] => return self.finish(op, now, one),
                    many => many.iter().flat_map(|part| part.iter().copied()).collect(),
                };
                return self.finish(op, now, &bytes);
            }
            Err(refusal) => refusal,
        };
        *self.counts.entry("refused-io").or_default() += 1;
        if matches!(refusal, host::Refusal::Unreadable { .. }) && self.may_be_unreadable(op, now) {
            return Ok(());
        }
        match refusal {
            host::Refusal::NotOpen | host::Refusal::Detached if self.was_taken_away(op, pid) => Ok(()),
            other => Err(Failure::of(format!("R15: {} was refused: {other:?}", self.describe(op)))),
        }
    }

    /// Whether another attachment has replaced the one through which an operation was asked, or is about to.
    pub(crate) fn was_taken_away(&self, op: u64, pid: Pid) -> bool {
        let record = self.history.op(op);
        self.was_replaced(usize::from(record.volume), record.generation, pid)
    }

    /// The same of an attachment of a client's volume to the host of a process.
    pub(crate) fn was_replaced(&self, client: usize, generation: Generation, pid: Pid) -> bool {
        let volume = self.clients[client].id.expect("it was used");
        let listener = &self.cluster.world.observer;
        let epochs = &listener.epochs;
        let host = self.cluster.host_id(pid);
        let newest = epochs.shards().filter(|shard| shard.volume == volume).filter_map(|shard| epochs.newest(shard));
        let mut newest = newest.into_iter();
        // The authority may tell the host first, of what an operator wanted.
        let dismissed = listener.dismissed.get(&volume).is_some_and(|told| *told >= generation);
        (dismissed && self.counts.contains_key("move-volume"))
            || newest.any(|config| config.generation > generation || config.client != Some(host))
    }

    pub(crate) fn finish(&mut self, op: u64, now: Moment, bytes: &[u8]) -> Verdict {
        let finished = self.history.finish(op, now, bytes);
        finished.map_err(|text| Failure::of(format!("{text}\n  {}", self.describe(op))))?;
        self.judge_generation(op, now)
    }

    /// I9, of an operation that was done.
    pub(crate) fn judge_generation(&mut self, op: u64, now: Moment) -> Verdict {
        let record = self.history.op(op);
        let bytes = self.history.grain_bytes(record.volume) as u64;
        let shard_of = |grain: u64| (grain * bytes / BLOCK_BYTES as u64) as u32 / self.shape.shard_blocks;
        let shards = shard_of(record.grain)..=shard_of(record.grain + record.count - 1);
        let judged = self.generations.answered(record.volume, shards, record.generation, record.invoked, now);
        judged.map_err(|text| Failure::of(format!("{text}\n  {}", self.describe(op))))
    }

    /// The operations that a dead host had will never be answered.
    pub(crate) fn forget_operations(&mut self, pid: Pid) {
        if self.nbd.is_some() {
            // Their clients hear of it when they have read what it had sent.
            return self.nbd_host_died(pid);
        }
        for client in &mut self.clients {
            let gone: Vec<u64> = client.in_flight.iter().filter(|(_, host)| **host == pid).map(|(op, _)| *op).collect();
            for op in gone {
                client.in_flight.remove(&op);
                self.outstanding.remove(&op);
            }
        }
    }
}
