//! One shard of an attached volume: its newest configuration, and the messages that wait for its primary.
//!
//! ```text
//!   push -> unsent --pump--> sent --Done in the epoch it was sent under--> answered
//!             ^               |
//!             +---------------+  new epoch, link down, Busy, or a refusal by one who knows less
//! ```
//!
//! It promises that each sending has a number of its own, so an answer can only belong to the sending it answers (I8): after
//! a new epoch or a broken link no earlier answer counts. It refuses to know which requests its messages belong to.

use crate::flight::What;
use crate::nodes::{Link as LinkState, Nodes};
use crate::request::{Policy, Refusal};
use crate::stuck::Stuck;
use crate::timers::Timers;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::backoff::Backoff;
use base::bounded::Fill;
use base::io::Outbox;
use base::io::net::{Down, Link, Peer};
use base::mutant::Mutant;
use base::{BLOCK_BYTES, Configuration, Epoch, Payload, Rng, ShardId, Time, VolumeId};
use wire::{Locate, Message};

/// What a turn of the host has at hand: the parts of the machine that every shard shares.
pub(crate) struct Turn<'a> {
    pub(crate) now: Time,
    pub(crate) out: &'a mut Outbox,
    pub(crate) rng: &'a mut Rng,
    pub(crate) policy: &'a Policy,
    pub(crate) nodes: &'a mut Nodes,
    pub(crate) timers: &'a mut Timers<ShardId>,
    pub(crate) gates: &'a mut Timers<VolumeId>,
    pub(crate) next_io: &'a mut u64,
    pub(crate) zone_up: bool,
}

/// A message that waits to be sent or answered.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Of which request of the volume.
    pub(crate) flight: u64,
    /// Which part of it.
    pub(crate) part: u64,
    /// What it asks.
    pub(crate) what: What,
    began: Time,
    /// Its place in the row; it keeps it however often it is sent.
    order: u64,
}

/// What an answer from a node comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing to tell the request.
    Nothing,
    /// This message has ended.
    Ended(Piece, Result<Vec<Payload>, Refusal>),
    /// The volume belongs to another generation.
    Fenced,
}

/// See the page above.
#[derive(Debug)]
pub(crate) struct Shard {
    config: Configuration,
    /// When this epoch became known here: nobody can be blamed for what came before.
    epoch_since: Time,
    unsent: BTreeMap<u64, Piece>,
    sent: BTreeMap<u64, Piece>,
    sent_bytes: u64,
    next_order: u64,
    /// How many messages the primary seems to take at once. Falls when it says Busy, and grows by one for each windowful answered.
    window: u32,
    grown: u32,
    retry: Backoff,
    retry_at: Option<Time>,
    ask: Backoff,
    ask_at: Option<Time>,
    /// A node refused without knowing better: somebody else may.
    puzzled: bool,
    look_at: Option<Time>,
    /// Where it stands in the timers.
    timer: Option<Time>,
}

impl Shard {
    pub(crate) fn new(config: Configuration, turn: &mut Turn<'_>) -> Self {
        turn.nodes.lead(config.primary, config.shard, turn.out);
        let backoff = Backoff::new(turn.policy.retry_base, turn.policy.retry_cap);
        Self {
            config,
            epoch_since: turn.now,
            unsent: BTreeMap::new(),
            sent: BTreeMap::new(),
            sent_bytes: 0,
            next_order: 0,
            window: turn.policy.shard_ios_max,
            grown: 0,
            retry: backoff.clone(),
            retry_at: None,
            ask: backoff,
            ask_at: None,
            puzzled: false,
            look_at: None,
            timer: None,
        }
    }

    /// It is not needed any more; what waits on it is forgotten.
    pub(crate) fn close(self, turn: &mut Turn<'_>) {
        turn.nodes.unlead(self.config.primary, self.config.shard, turn.out);
        turn.timers.set(self.config.shard, self.timer, None);
    }

    /// How full it is.
    pub(crate) fn fills(&self, policy: &Policy, tell: &mut dyn FnMut(Fill)) {
        tell(Fill { what: "messages at a primary", now: self.sent.len(), most: policy.shard_ios_max as usize });
        let most = policy.requests_max * policy.pieces_max as usize;
        tell(Fill { what: "messages of requests", now: self.sent.len() + self.unsent.len(), most });
    }

    /// What waits since then, for the authority and for people.
    pub(crate) fn stuck(&self, since: Time) -> Stuck {
        Stuck { shard: self.id(), epoch: self.config.epoch, primary: self.config.primary, since }
    }

    fn id(&self) -> ShardId {
        self.config.shard
    }

    /// When the oldest message that waits was pushed.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.unsent.values().chain(self.sent.values()).map(|piece| piece.began).min()
    }

    fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.unsent.is_empty()
    }

    /// A new message.
    pub(crate) fn push(&mut self, flight: u64, part: u64, what: What, turn: &mut Turn<'_>) {
        let order = self.next_order;
        self.next_order += 1;
        let piece = Piece { flight, part, what, began: turn.now, order };
        if self.unsent.is_empty() && self.may_send(&piece, turn) {
            self.send(piece, turn);
        } else {
            self.unsent.insert(order, piece);
            let (link, _) = turn.nodes.link(self.config.primary);
            if matches!(link, LinkState::Down(_)) {
                self.ask_at.get_or_insert(turn.now);
            }
        }
        self.look_at.get_or_insert(turn.now + turn.policy.silence);
        self.set_timer(turn);
    }

    /// A configuration came from somebody. Adopted if it is newer; with a new epoch everything unanswered is sent again at once.
    pub(crate) fn adopt(&mut self, config: Configuration, turn: &mut Turn<'_>) {
        assert_eq!(config.shard, self.id(), "a configuration was given to another shard");
        if !config.is_newer_than(&self.config) {
            return;
        }
        let (new_epoch, from) = (config.epoch > self.config.epoch, self.config.primary);
        self.config = config;
        if from != self.config.primary {
            turn.nodes.unlead(from, self.id(), turn.out);
            turn.nodes.lead(self.config.primary, self.id(), turn.out);
        }
        if new_epoch {
            self.epoch_since = turn.now;
            self.recall(turn);
            (self.puzzled, self.ask_at) = (false, None);
            self.ask.reset();
            self.look_at = self.oldest().map(|_| turn.now + turn.policy.silence);
            if matches!(turn.nodes.link(self.config.primary).0, LinkState::Down(_)) && self.look_at.is_some() {
                self.ask_at = Some(turn.now);
            }
        }
        self.pump(turn);
    }

    /// The link to its primary is open, newly or again. What was sent on its former life is lost or will be dropped there.
    pub(crate) fn on_up(&mut self, turn: &mut Turn<'_>) {
        self.recall(turn);
        self.pump(turn);
    }

    /// The link to its primary is gone.
    pub(crate) fn on_down(&mut self, turn: &mut Turn<'_>) {
        self.recall(turn);
        self.wonder(turn);
    }

    /// Its primary does not answer keepalives.
    pub(crate) fn on_silent(&mut self, turn: &mut Turn<'_>) {
        self.wonder(turn);
    }

    /// The primary, or who was it, says that a message is done.
    pub(crate) fn on_done(&mut self, epoch: Epoch, io: u64, data: Vec<Payload>, turn: &mut Turn<'_>) -> Outcome {
        if epoch != self.config.epoch {
            // From an older epoch it is worth nothing (I8). From a newer one it shows that there is one to ask for.
            if epoch > self.config.epoch {
                self.puzzled = true;
                self.wonder(turn);
            }
            return Outcome::Nothing;
        }
        let Some(piece) = self.sent.get(&io) else { return Outcome::Nothing };
        if base::payload::len(&data) != piece.what.answer_bytes() {
            // An answer of the wrong size answers nothing; the same question again, not at once.
            self.bounce(io, turn);
            return Outcome::Nothing;
        }
        let piece = self.land(io).expect("it was just seen");
        self.on_progress(turn);
        Outcome::Ended(piece, Ok(data))
    }

    /// A node did not do a message.
    pub(crate) fn on_refused(&mut self, io: u64, why: wire::Refusal, turn: &mut Turn<'_>) -> Outcome {
        use wire::Refusal as Why;
        if let Why::WrongEpoch { config } | Why::NotPrimary { config } = &why
            && config.shard == self.id()
        {
            if config.generation > self.config.generation {
                return Outcome::Fenced;
            }
            self.adopt(config.clone(), turn);
        }
        // After a new epoch was adopted this sending is not among those outstanding any more: it has been sent again.
        if !self.sent.contains_key(&io) {
            return Outcome::Nothing;
        }
        let refusal = match why {
            Why::Fenced => return Outcome::Fenced,
            Why::Busy => {
                self.on_busy(io, turn);
                return Outcome::Nothing;
            }
            Why::WrongEpoch { .. } | Why::NotPrimary { .. } | Why::Unknown => {
                self.bounce(io, turn);
                return Outcome::Nothing;
            }
            Why::Full { room } => Refusal::Full { room },
            Why::Invalid => Refusal::Invalid,
            // The volume makes this an offset of its own.
            Why::Unreadable { block } => Refusal::Unreadable { offset: u64::from(block) * BLOCK_BYTES as u64 },
        };
        let piece = self.land(io).expect("it was just seen");
        self.on_progress(turn);
        Outcome::Ended(piece, Err(refusal))
    }

    /// Its time has come.
    pub(crate) fn on_timer(&mut self, turn: &mut Turn<'_>) {
        let Some(oldest) = self.oldest() else { return self.set_timer(turn) };
        if self.retry_at.is_some_and(|at| at <= turn.now) {
            self.retry_at = None;
        }
        if self.look_at.is_some_and(|at| at <= turn.now) {
            let since = oldest.max(self.epoch_since);
            if self.is_troubled(since, turn) {
                self.ask_at.get_or_insert(turn.now);
            }
            let marks = [since + turn.policy.silence, since + turn.policy.slow, oldest + turn.policy.report];
            let next = marks.into_iter().filter(|mark| *mark > turn.now).min();
            self.look_at = Some(next.unwrap_or(turn.now + turn.policy.report));
        }
        if self.ask_at.is_some_and(|at| at <= turn.now) {
            self.ask_or_stop(oldest, turn);
        }
        self.pump(turn);
    }

    /// Whether there is a reason to ask for a newer configuration, given since when messages wait on this epoch.
    fn is_troubled(&self, since: Time, turn: &Turn<'_>) -> bool {
        let waited = turn.now.since(since);
        let is_well = turn.nodes.is_well(self.config.primary);
        self.puzzled || waited >= turn.policy.slow || (!is_well && waited >= turn.policy.silence)
    }

    fn ask_or_stop(&mut self, oldest: Time, turn: &mut Turn<'_>) {
        let since = oldest.max(self.epoch_since);
        let is_well = turn.nodes.is_well(self.config.primary);
        let (link, _) = turn.nodes.link(self.config.primary);
        let not_yet = link == LinkState::Opening && !self.is_troubled(since, turn);
        if (is_well && !self.is_troubled(since, turn)) || not_yet {
            self.ask_at = None;
            self.ask.reset();
            return;
        }
        self.ask(since, turn);
        let mut next = turn.now + self.ask.next(turn.rng);
        // The first question may come before it is time to complain; the complaint should not wait for a longer back-off.
        let complaint = self.blame_from(since, turn);
        if !is_well && complaint > turn.now {
            next = next.min(complaint);
        }
        self.ask_at = Some(next);
    }

    /// From when on the wait is the primary's fault: a link that broke just now may be whole again at once.
    fn blame_from(&self, since: Time, turn: &Turn<'_>) -> Time {
        let (link, link_since) = turn.nodes.link(self.config.primary);
        let link_since = if link == LinkState::Up { Time::ZERO } else { link_since };
        since.max(link_since) + turn.policy.silence
    }

    /// Asks every member that may answer, and the authority, for the newest configuration.
    fn ask(&mut self, since: Time, turn: &mut Turn<'_>) {
        let waited = u32::try_from(turn.now.since(since).as_millis()).unwrap_or(u32::MAX).max(1);
        // A complaint may depose a primary: not for a link that broke just now, and never while keepalives are answered, for
        // then it is not the primary that is gone.
        let is_refused = turn.nodes.link(self.config.primary).0 == LinkState::Down(Down::Refused);
        let is_well = turn.nodes.is_well(self.config.primary);
        let complains = !is_well && (is_refused || turn.now >= self.blame_from(since, turn));
        let waiting_ms = if complains { waited } else { 0 };
        let question = Message::from(Locate { shard: self.id(), epoch: self.config.epoch, waiting_ms }).frame();
        for member in &self.config.members {
            let may_answer = member.node != self.config.primary || is_well;
            if may_answer && turn.nodes.is_known(member.node) {
                turn.out.send(Link::to(Peer::Node(member.node)), question.clone());
            }
        }
        if turn.zone_up {
            turn.out.send(Link::to(Peer::Zone), question);
        }
    }

    /// Something is wrong with the primary: ask, if anything waits.
    fn wonder(&mut self, turn: &mut Turn<'_>) {
        if !self.is_idle() {
            self.ask_at.get_or_insert(turn.now);
        }
        self.set_timer(turn);
    }

    /// Takes back all that was sent. Answers to it do not count any more.
    fn recall(&mut self, turn: &Turn<'_>) {
        let mut sent = core::mem::take(&mut self.sent);
        if turn.policy.mutation.is(Mutant::NotSentAgain) {
            sent.clear();
        }
        self.unsent.extend(sent.into_values().map(|piece| (piece.order, piece)));
        self.sent_bytes = 0;
        (self.window, self.grown) = (turn.policy.shard_ios_max, 0);
        self.retry_at = None;
        self.retry.reset();
    }

    fn land(&mut self, io: u64) -> Option<Piece> {
        let piece = self.sent.remove(&io)?;
        self.sent_bytes -= piece.what.bytes();
        Some(piece)
    }

    /// The primary answered: what had been wrong with it is over, and it may take more.
    fn on_progress(&mut self, turn: &mut Turn<'_>) {
        if self.window < turn.policy.shard_ios_max {
            self.grown += 1;
            if self.grown >= self.window {
                (self.window, self.grown) = (self.window + 1, 0);
            }
        }
        if self.puzzled || self.ask_at.is_some() {
            (self.puzzled, self.ask_at) = (false, None);
            self.ask.reset();
        }
        self.retry.reset();
        self.pump(turn);
    }

    /// The primary's queue is full: as many as it took is as many as it takes. What is outstanding paces the rest; with nothing
    /// outstanding a wait does.
    fn on_busy(&mut self, io: u64, turn: &mut Turn<'_>) {
        let piece = self.land(io).expect("a message that was not outstanding is busy");
        self.unsent.insert(piece.order, piece);
        (self.window, self.grown) = ((self.sent.len() as u32).max(1), 0);
        if self.sent.is_empty() {
            self.retry_at = Some(turn.now + self.retry.next(turn.rng));
        }
        self.set_timer(turn);
    }

    /// It was refused by somebody who does not know better than we do: wait, ask around, send it again.
    fn bounce(&mut self, io: u64, turn: &mut Turn<'_>) {
        let piece = self.land(io).expect("a message that was not outstanding came back");
        self.unsent.insert(piece.order, piece);
        if self.retry_at.is_none() {
            self.retry_at = Some(turn.now + self.retry.next(turn.rng));
        }
        self.puzzled = true;
        self.wonder(turn);
    }

    fn may_send(&self, piece: &Piece, turn: &Turn<'_>) -> bool {
        let has_room = self.sent.is_empty()
            || turn.policy.mutation.is(Mutant::WindowIgnored)
            || ((self.sent.len() as u32) < self.window
                && self.sent_bytes + piece.what.bytes() <= turn.policy.shard_bytes_max);
        has_room && self.retry_at.is_none() && turn.nodes.link(self.config.primary).0 == LinkState::Up
    }

    fn pump(&mut self, turn: &mut Turn<'_>) {
        while let Some(first) = self.unsent.first_entry() {
            let piece = first.remove();
            if !self.may_send(&piece, turn) {
                self.unsent.insert(piece.order, piece);
                break;
            }
            self.send(piece, turn);
        }
        self.set_timer(turn);
    }

    fn send(&mut self, piece: Piece, turn: &mut Turn<'_>) {
        let io = *turn.next_io;
        *turn.next_io += 1;
        let (shard, epoch, generation) = (self.id(), self.config.epoch, self.config.generation);
        let frame = match &piece.what {
            What::Read { block, count } => {
                Message::from(wire::Read { shard, epoch, generation, io, block: *block, count: *count }).frame()
            }
            What::Write { block, data } => {
                Message::from(wire::Write { shard, epoch, generation, io, block: *block }).frame_with(data.clone())
            }
            What::Trim { block, count } => {
                Message::from(wire::Trim { shard, epoch, generation, io, block: *block, count: *count }).frame()
            }
            What::Map { block, count } => {
                Message::from(wire::Map { shard, epoch, generation, io, block: *block, count: *count }).frame()
            }
        };
        turn.out.send(Link::to(Peer::Node(self.config.primary)), frame);
        self.sent_bytes += piece.what.bytes();
        self.sent.insert(io, piece);
    }

    /// Says when it wants to be looked at: never, while nothing waits.
    fn set_timer(&mut self, turn: &mut Turn<'_>) {
        if self.is_idle() {
            (self.retry_at, self.ask_at, self.look_at, self.puzzled) = (None, None, None, false);
        }
        let to = Time::sooner(Time::sooner(self.retry_at, self.ask_at), self.look_at);
        turn.timers.set(self.id(), self.timer, to);
        self.timer = to;
    }
}
