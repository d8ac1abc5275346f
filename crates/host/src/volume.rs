//! One attached volume: its shards, its requests in flight, and the order among them.
//!
//! It carries between its parts: a request passes the [`Gate`], gets its blocks from [`Order`], its messages from [`Flight`], and each
//! message goes through its [`Shard`]. It promises that each request is answered exactly once, whatever becomes of the volume.

use crate::flight::Flight;
use crate::gate::Gate;
use crate::order::Order;
use crate::request::{Export, Op, Policy, Refusal, Reply, Request};
use crate::shard::{Outcome, Shard, Turn};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use base::bounded::Fill;
use base::mutant::Mutant;
use base::{BLOCK_BYTES, Configuration, Generation, Time};
use wire::{Attached, Throttle, ThrottledVolume, VolumeInfo};

/// See the page above.
pub(crate) struct Volume {
    info: VolumeInfo,
    generation: Generation,
    read_only: bool,
    shards: BTreeMap<u32, Shard>,
    gate: Gate,
    /// Where the gate stands in the timers.
    gate_timer: Option<Time>,
    order: Order,
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    requests: usize,
    bytes: u64,
}

/// Shards of a volume of `size` bytes.
fn shard_count(size: u64, shard_blocks: u32) -> u64 {
    size.div_ceil(BLOCK_BYTES as u64).div_ceil(u64::from(shard_blocks))
}

impl Volume {
    /// Attached, and not usable before the configuration of every shard is known. None if it cannot be: the authority
    /// named no size or no shard length.
    pub(crate) fn new(attached: Attached, now: Time) -> Option<Self> {
        let Attached { volume: info, generation, read_only, throttle, .. } = attached;
        (info.shard_blocks > 0 && info.size > 0).then(|| Self {
            info,
            generation,
            read_only,
            shards: BTreeMap::new(),
            gate: Gate::new(throttle, now),
            gate_timer: None,
            order: Order::default(),
            flights: BTreeMap::new(),
            next_flight: 1,
            requests: 0,
            bytes: 0,
        })
    }

    /// Under which attachment.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// What it is.
    pub(crate) fn export(&self) -> Export {
        let Self { generation, read_only, .. } = *self;
        Export { volume: self.info.volume, size: self.info.size, generation, read_only }
    }

    fn shard_count(&self) -> u64 {
        shard_count(self.info.size, self.info.shard_blocks)
    }

    /// It is so large now, if that is more than before: from now on requests may go there. Nothing while `configs` lack a shard of the new part, since what
    /// is open stays open.
    pub(crate) fn grow(&mut self, size: u64, configs: &[Configuration], turn: &mut Turn<'_>) -> bool {
        let new = self.shard_count()..shard_count(size, self.info.shard_blocks);
        let named =
            |index: u64| configs.iter().find(|c| u64::from(c.shard.index) == index && c.generation == self.generation);
        let found: Vec<&Configuration> = new.clone().map_while(named).collect();
        let grows = size > self.info.size && found.len() as u64 == new.end - new.start;
        if grows {
            self.info.size = size;
            self.shards.extend(found.into_iter().map(|c| (c.shard.index, Shard::new(c.clone(), turn))));
        }
        grows
    }

    /// Whether the configuration of every shard is known.
    pub(crate) fn is_open(&self) -> bool {
        self.shards.len() as u64 == self.shard_count()
    }

    /// One of its shards.
    pub(crate) fn shard(&mut self, index: u32) -> Option<&mut Shard> {
        self.shards.get_mut(&index)
    }

    /// A configuration of one of its shards, from whoever. False when it shows that the volume belongs to a later attachment.
    pub(crate) fn adopt(&mut self, config: Configuration, turn: &mut Turn<'_>) -> bool {
        if config.generation > self.generation {
            return false;
        }
        let index = config.shard.index;
        if config.generation < self.generation || u64::from(index) >= self.shard_count() {
            return true;
        }
        match self.shards.get_mut(&index) {
            Some(shard) => shard.adopt(config, turn),
            None => {
                self.shards.insert(index, Shard::new(config, turn));
            }
        }
        true
    }

    /// Whether one more request fits.
    pub(crate) fn has_room(&self, request: &Request, policy: &Policy) -> bool {
        let weight = request.op.weight();
        self.requests == 0 || (self.requests < policy.requests_max && self.bytes + weight <= policy.bytes_max)
    }

    /// How full it is, and each of its shards.
    pub(crate) fn fills(&self, policy: &Policy, tell: &mut dyn FnMut(Fill)) {
        tell(Fill { what: "requests in flight", now: self.requests, most: policy.requests_max });
        // One request alone is always taken.
        let bytes = if self.requests > 1 { self.bytes } else { 0 };
        tell(Fill { what: "bytes of requests in flight", now: bytes as usize, most: policy.bytes_max as usize });
        self.shards.values().for_each(|shard| shard.fills(policy, tell));
    }

    /// A request that fitted will come with the next step.
    pub(crate) fn charge(&mut self, request: &Request) {
        self.requests += 1;
        self.bytes += request.op.weight();
    }

    /// A request that was charged.
    pub(crate) fn accept(&mut self, request: Request, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        let refusal = match () {
            () if !self.is_open() => Some(Refusal::NotOpen),
            () if self.read_only && request.op.changes() => Some(Refusal::ReadOnly),
            () => self.out_of_range(&request),
        };
        let is_empty = request.op.span().1 == 0 && request.op != Op::Flush;
        if refusal.is_some() || is_empty {
            self.discharge(request.op.weight());
            let result = refusal.map_or(Ok(Vec::new()), Err);
            return replies.push_back(Reply { tag: request.tag, result });
        }
        self.gate.enter(request, turn.now);
        self.open_gate(turn, replies);
    }

    /// What may pass the gate now, does.
    pub(crate) fn open_gate(&mut self, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        while let Some(request) = self.gate.pass(turn.now) {
            self.take(request, turn, replies);
        }
        let to = self.gate.ready_at();
        turn.gates.set(self.info.volume, self.gate_timer, to);
        self.gate_timer = to;
    }

    /// From now on it may do so much. False when that is nothing new.
    pub(crate) fn throttle(&mut self, throttle: Throttle, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) -> bool {
        let is_new = throttle != self.gate.throttle();
        if is_new {
            self.gate.change(throttle, turn.now);
            self.open_gate(turn, replies);
        }
        is_new
    }

    /// Whether requests wait at the gate.
    pub(crate) fn is_throttled(&self) -> bool {
        self.gate.is_waiting()
    }

    /// What waits at the gate.
    pub(crate) fn throttled(&self, now: Time) -> ThrottledVolume {
        self.gate.report(self.info.volume, now)
    }

    /// A request that has passed the gate.
    fn take(&mut self, request: Request, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        let flight = Flight::new(request).mutated(turn.policy.mutation);
        let number = self.next_flight;
        self.next_flight += 1;
        let (mut blocks, changes, is_flush) = (flight.blocks(), flight.changes(), flight.is_flush());
        if turn.policy.mutation.is(Mutant::NeighboursCollide) {
            // Touches nothing that another touches.
            blocks = number..number;
        }
        self.flights.insert(number, flight);
        if is_flush && turn.policy.mutation.is(Mutant::FlushOvertakes) {
            let flight = self.flights.remove(&number).expect("it was just put there");
            self.finish(flight, replies);
        } else if is_flush {
            self.order.flush(number);
            self.flush(replies);
        } else if !changes || self.order.enter(number, blocks) {
            self.begin(number, turn, replies);
        }
    }

    fn out_of_range(&self, request: &Request) -> Option<Refusal> {
        let (offset, len) = request.op.span();
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.info.size);
        (!fits).then_some(Refusal::OutOfRange { size: self.info.size })
    }

    /// What a shard says of a message. False when the volume is fenced.
    #[must_use]
    pub(crate) fn on_outcome(
        &mut self,
        index: u32,
        outcome: Outcome,
        turn: &mut Turn<'_>,
        replies: &mut VecDeque<Reply>,
    ) -> bool {
        match outcome {
            Outcome::Nothing => true,
            Outcome::Fenced => false,
            Outcome::Ended(piece, result) => {
                let start = u64::from(index) * u64::from(self.info.shard_blocks) * BLOCK_BYTES as u64;
                let result = result.map_err(|why| match why {
                    Refusal::Unreadable { offset } => Refusal::Unreadable { offset: start + offset },
                    other => other,
                });
                let flight = self.flights.get_mut(&piece.flight).expect("a request lives as long as its messages");
                flight.landed(piece.part, result);
                self.advance(piece.flight, turn, replies);
                true
            }
        }
    }

    fn begin(&mut self, number: u64, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        self.flights.get_mut(&number).expect("who begins is in flight").begin();
        self.advance(number, turn, replies);
    }

    /// Sends what a request may send now; if it is over, answers it and begins those that waited for it.
    fn advance(&mut self, number: u64, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        let mut row = Vec::from([number]);
        let mut at = 0;
        while let Some(&number) = row.get(at) {
            at += 1;
            let flight = self.flights.get_mut(&number).expect("who advances is in flight");
            if at > 1 {
                flight.begin();
            }
            while let Some(step) = flight.next(self.info.shard_blocks, turn.policy.pieces_max) {
                let shard = self.shards.get_mut(&step.shard).expect("an open volume has all its shards");
                shard.push(number, step.part, step.what, turn);
            }
            if flight.is_over() {
                let flight = self.flights.remove(&number).expect("it was just seen");
                if flight.changes() {
                    self.order.leave(number, &mut row);
                }
                self.finish(flight, replies);
            }
        }
        self.flush(replies);
    }

    fn flush(&mut self, replies: &mut VecDeque<Reply>) {
        while let Some(number) = self.order.flushed() {
            let flight = self.flights.remove(&number).expect("a flush that waits is in flight");
            self.finish(flight, replies);
        }
    }

    fn finish(&mut self, flight: Flight, replies: &mut VecDeque<Reply>) {
        let (weight, reply) = (flight.weight(), flight.reply());
        self.discharge(weight);
        replies.push_back(reply);
    }

    fn discharge(&mut self, weight: u64) {
        self.requests = self.requests.checked_sub(1).expect("more requests were answered than taken");
        self.bytes = self.bytes.checked_sub(weight).expect("more bytes were answered than taken");
    }

    /// It is not attached here any more: everything in flight is answered so, and nothing that comes for it later counts.
    pub(crate) fn close(self, turn: &mut Turn<'_>, replies: &mut VecDeque<Reply>) {
        turn.gates.set(self.info.volume, self.gate_timer, None);
        let tags = self.flights.into_values().map(|flight| flight.tag());
        let waiting = self.gate.close().map(|request| request.tag);
        for tag in tags.chain(waiting) {
            replies.push_back(Reply { tag, result: Err(Refusal::Detached) });
        }
        for (_, shard) in self.shards {
            shard.close(turn);
        }
    }
}
