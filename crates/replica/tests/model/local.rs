//! One node with its replica, its disk, what it knows of its peers and what it wants of the authority; and what a turn makes of it.
//!
//! A turn is what `node` makes one: something comes in, the store takes what was asked of it, the turn ends, what is to be sent is sent. The code of the
//! replica is the real one. Reads of the store are answered within the turn.

use super::disk::{BLOCKS_MAX, Blocks, Disk, Image, STAMPS, Value};
use super::links::Way;
use super::setup::Setup;
use base::io::net::{Down, Lane, Link, Network, Peer, Side};
use base::log::{Event, Extent, Recovered, Request, Stamp, Standing, WindowEntry};
use base::time::Duration;
use base::{BLOCK_BYTES, Configuration, Epoch, HostId, Member, NodeId, Payload, ShardId, StoreUuid, Time, VolumeId};
use replica::{Context, Effects, FENCE_WAIT, Peers, Policy, Replica};
use wire::{Message, Proposal, ProposalOutcome};

pub const SHARD: ShardId = ShardId { volume: VolumeId(1), index: 0 };
/// When a world begins.
const BEGINNING: Time = Time(1_000_000_000);

pub fn member(n: usize) -> Member {
    Member { node: NodeId(n as u64 + 1), store: StoreUuid(n as u128 + 1) }
}

/// The place of a node among the others.
pub fn place(node: NodeId) -> usize {
    node.0 as usize - 1
}

pub fn payload(value: Value) -> Payload {
    if value == 0 { Payload::zero_block() } else { vec![value; BLOCK_BYTES].into() }
}

/// A moment: each is later than the one before by more than a lease or a fence lasts.
pub fn moment(times: u8) -> Time {
    BEGINNING + (FENCE_WAIT + Duration::from_millis(100)) * u32::from(times)
}

/// What comes to a node in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message by number, from another node, on this way.
    Message(u8, Way, u32),
    /// One of a host.
    Client(HostId, u32),
    /// So many appends are durable.
    Durable(u8),
    /// A configuration by number.
    Configure(u32),
    /// The same as the answer to a wish.
    Outcome(u32),
    /// A wish was not granted.
    NotGranted,
    Release(u64),
    LinkUp(u8),
    LinkDown(u8),
    Refused(u8),
    BulkDown(u8),
    Heard(u8),
    Tick,
    /// The process is killed; so much of what was not durable is.
    Killed(u8),
    /// It comes back, and finds its log damaged or not.
    Restart(bool),
}

/// A message, read.
#[derive(Debug, Clone)]
pub struct Carried {
    pub message: Message,
    pub data: Option<Value>,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub struct Local {
    pub me: usize,
    pub alive: bool,
    pub replica: Option<Replica>,
    pub disk: Disk,
    pub peers: Peers,
    /// The configuration that it wishes for, if it is one that only it can ask for.
    pub wish: Option<Proposal>,
    /// What it asked the authority for and has no answer to.
    pub asked: Option<Proposal>,
}

/// What a turn sent.
pub type Sent = Vec<(Link, Carried)>;

impl Local {
    pub fn new(me: usize, nodes: usize) -> Self {
        let mut peers = Peers::default();
        (0..nodes).filter(|n| *n != me).for_each(|n| peers.on_up(member(n).node));
        Self { me, alive: true, peers, ..Self::default() }
    }

    /// One turn.
    pub fn turn(&mut self, input: Input, what: &What<'_>, setup: &Setup, times: u8) -> Sent {
        if let Input::Killed(kept) = input {
            self.disk.crash(usize::from(kept));
            (self.alive, self.replica, self.wish, self.asked) = (false, None, None, None);
            self.peers = Peers::default();
            return Sent::new();
        }
        let policy = impatient();
        let mut fx = Effects::default();
        self.take_news(input, times);
        let peers = self.peers.clone();
        let cx = Context { now: moment(times), peers: &peers, policy: &policy, room: 1 << 30, may_copy: true };
        self.take(input, what, setup, &cx, &mut fx);
        self.until_quiet(setup, &cx, &mut fx);
        self.finish(fx)
    }

    fn take_news(&mut self, input: Input, times: u8) {
        let node = |n: u8| member(usize::from(n)).node;
        match input {
            Input::LinkUp(n) => self.peers.on_up(node(n)),
            Input::LinkDown(n) => self.peers.on_down(node(n), Down::Reset),
            Input::Refused(n) => self.peers.on_down(node(n), Down::Refused),
            Input::Heard(n) => self.peers.on_heard(node(n), Network::Primary, true, moment(times)),
            _ => {}
        }
    }

    fn take(&mut self, input: Input, what: &What<'_>, setup: &Setup, cx: &Context<'_>, fx: &mut Effects) {
        let node = |n: u8| member(usize::from(n)).node;
        match (input, what) {
            (Input::Restart(suspect), _) => return self.restart(suspect, setup, cx, fx),
            (Input::Configure(_), What::Config(config)) => return self.configure(config, setup, cx, fx),
            (Input::Message(from, way, _), What::Message(carried)) => {
                return self.hear(link_back(node(from), way), carried, setup, cx, fx);
            }
            (Input::NotGranted | Input::Outcome(_), _) => {
                let asked = self.asked.take();
                if self.wish.is_some() && self.wish != asked {
                    // A newer wish goes out next, and only what is in force is of interest.
                    if let What::Config(config) = what {
                        self.configure(config, setup, cx, fx);
                    }
                    return;
                }
                self.wish = None;
            }
            _ => {}
        }
        let Some(replica) = &mut self.replica else { return };
        match (input, what) {
            (Input::Client(host, _), What::Message(carried)) => {
                let from = Link::from(Peer::Host(host));
                replica.on_message(cx, from, carried.message.clone(), carried.data.map(payload), fx);
            }
            (Input::Durable(appends), _) => {
                let ticket = self.disk.write(usize::from(appends));
                replica.on_store(cx, Event::Durable { shard: SHARD, ticket }, fx);
            }
            (Input::Outcome(_), What::Config(config)) => {
                replica.on_outcome(cx, &ProposalOutcome::Superseded { config: (*config).clone() }, fx);
            }
            (Input::NotGranted, _) => replica.on_outcome(cx, &ProposalOutcome::Unsafe { shard: SHARD }, fx),
            (Input::Release(epoch), _) => _ = replica.on_release(member(self.me), Epoch(epoch), fx),
            (Input::LinkUp(n), _) => replica.on_link_up(cx, node(n), fx),
            (Input::BulkDown(n), _) => replica.on_bulk_down(node(n), fx),
            (Input::Tick | Input::Heard(_), _) => replica.tick(cx, fx),
            (Input::LinkDown(_) | Input::Refused(_), _) => {}
            _ => unreachable!("{input:?} needs something that it was not given"),
        }
    }

    fn restart(&mut self, suspect: bool, setup: &Setup, cx: &Context<'_>, fx: &mut Effects) {
        self.alive = true;
        let image = &self.disk.durable;
        if let Some(register) = image.register.clone() {
            let (committed, end, marks) = (image.committed, image.end(), image.marks.clone());
            let found = Recovered { shard: SHARD, register, committed, end, points: vec![], marks, suspect };
            let replica = Replica::recovered(member(self.me), found, cx.now, fx);
            self.replica = Some(replica.mutated(setup.mutation));
        }
    }

    fn configure(&mut self, config: &Configuration, setup: &Setup, cx: &Context<'_>, fx: &mut Effects) {
        let me = member(self.me);
        match &mut self.replica {
            Some(replica) => replica.on_config(cx, config, fx),
            None if config.newborn && config.is_member(me) => {
                self.replica = Some(Replica::newborn(me, config, cx, fx).mutated(setup.mutation));
            }
            None if config.learner.is_some_and(|l| l.member == me) => {
                self.replica = Some(Replica::reserved(me, config, cx, fx).mutated(setup.mutation));
            }
            None => {}
        }
    }

    /// As a node does with messages, also those about a shard of which it has no replica.
    fn hear(&mut self, from: Link, carried: &Carried, setup: &Setup, cx: &Context<'_>, fx: &mut Effects) {
        let config = match &carried.message {
            Message::Sync(m) if self.replica.is_none() => Some(&m.config),
            Message::Learn(m) if self.replica.is_none() => Some(&m.config),
            _ => None,
        };
        config.into_iter().for_each(|config| self.configure(config, setup, cx, fx));
        match (&mut self.replica, &carried.message) {
            (Some(replica), message) => {
                replica.on_message(cx, from, message.clone(), carried.data.map(payload), fx);
            }
            (None, Message::Sync(m)) => {
                let answer = Message::from(wire::Incomplete { shard: SHARD, epoch: m.config.epoch });
                fx.frames.push((from, answer.frame()));
            }
            _ => {}
        }
    }

    fn until_quiet(&mut self, setup: &Setup, cx: &Context<'_>, fx: &mut Effects) {
        loop {
            loop {
                for request in std::mem::take(&mut fx.log) {
                    self.obey(request, cx, fx);
                }
                let unwritten = self.disk.unwritten();
                if !setup.slow_disks && unwritten > 0 {
                    let ticket = self.disk.write(unwritten);
                    self.tell(Event::Durable { shard: SHARD, ticket }, cx, fx);
                }
                if fx.log.is_empty() {
                    break;
                }
            }
            if let Some(replica) = &mut self.replica {
                replica.end_turn(cx, fx);
            }
            if fx.log.is_empty() {
                break;
            }
        }
    }

    fn tell(&mut self, event: Event, cx: &Context<'_>, fx: &mut Effects) {
        self.replica.as_mut().expect("only a replica asks a store").on_store(cx, event, fx);
    }

    fn blocks(&self) -> u32 {
        self.replica.as_ref().map_or(0, |r| r.config().blocks)
    }

    fn obey(&mut self, request: Request, cx: &Context<'_>, fx: &mut Effects) {
        let event = match request {
            Request::Append { ticket, record, .. } => return self.disk.append(ticket, record),
            Request::Commit { through, .. } => return self.disk.commit(through),
            Request::Read { shard, ticket, block, .. } => {
                Event::Blocks { shard, ticket, parts: Ok(vec![payload(self.disk.live().index[block as usize])]) }
            }
            Request::ReadWindow { shard, ticket, above } => {
                let entry = |(stamp, block, value): (Stamp, u32, Value)| WindowEntry {
                    stamp,
                    block,
                    count: 1,
                    data: Some(payload(value)),
                    point: None,
                };
                let live = self.disk.live().window.into_iter().filter(|(stamp, ..)| stamp.sequence > above);
                Event::Window { shard, ticket, entries: Ok(live.map(entry).collect()) }
            }
            Request::ReadExtents { shard, ticket, since, block, .. } => {
                let live = self.disk.live();
                let value = live.index[block as usize];
                let extent = Extent { block, count: 1, data: (value != 0).then(|| payload(value)) };
                let extents = if live.changed_since(since, block) { vec![extent] } else { Vec::new() };
                // One by one, so that anything may come between two of them.
                let next = Some(block + 1).filter(|next| *next < self.blocks());
                Event::Extents { shard, ticket, extents: Ok(extents), next }
            }
            Request::Measure { shard, ticket, since } => {
                let live = self.disk.live();
                let counts =
                    |b: &u32| live.changed_since(since, *b) && (since.is_some() || live.index[*b as usize] != 0);
                let blocks = (0..self.blocks()).filter(counts).count() as u32;
                Event::Measured { shard, ticket, blocks }
            }
            Request::ReadPoint { .. } | Request::ReadChanges { .. } | Request::ReadMatching { .. } => {
                unreachable!("nothing is frozen and nothing rots in this world")
            }
        };
        self.tell(event, cx, fx);
    }

    /// What is left of a turn when all is quiet.
    fn finish(&mut self, fx: Effects) -> Sent {
        for (_, wish) in fx.wishes {
            self.wish = wish.filter(|p| p.admit.is_some() || matches!(p.cause, wire::Cause::MemberIncomplete { .. }));
        }
        if !fx.dropped.is_empty() {
            self.replica = None;
        }
        if self.asked.is_none() {
            self.asked.clone_from(&self.wish);
        }
        if let Some(replica) = &mut self.replica {
            let taken = replica.recount();
            self.disk.recount(taken);
        }
        let carried = |(link, mut frame): (Link, base::io::net::Frame)| {
            let message = Message::decode(&frame).expect("it was just encoded");
            (link, Carried { message, data: frame.data.pop().map(|data| data[0]) })
        };
        fx.frames.into_iter().map(carried).collect()
    }

    /// What it is called at this moment.
    pub fn called(&self) -> &'static str {
        match &self.replica {
            _ if !self.alive => "Down",
            None => "None",
            Some(replica) => replica.called(),
        }
    }

    /// Whether a timer of it has run out.
    pub fn is_due(&self, times: u8) -> bool {
        self.replica.as_ref().and_then(Replica::wake).is_some_and(|at| at <= moment(times))
    }
}

/// What an input refers to.
pub enum What<'a> {
    Nothing,
    Message(&'a Carried),
    Config(&'a Configuration),
}

/// Time is erased: whatever waits for a time-out may go on at once, and need not.
fn impatient() -> Policy {
    let at_once = Duration::ZERO;
    Policy {
        room_slack_bytes: 0,
        regroup_after: at_once,
        wish_retry: at_once,
        commit_tell_after: at_once,
        mend_answer_within: at_once,
        mend_retry: at_once,
        ..Policy::default()
    }
}

/// The link on which something came, as its receiver names it.
fn link_back(from: NodeId, way: Way) -> Link {
    let (lane, side) = match way {
        Way::Asks | Way::Late | Way::Waiting => (Lane::Data, Side::Accepted),
        Way::Answers => (Lane::Data, Side::Opened),
        Way::Copies => (Lane::Bulk, Side::Accepted),
        Way::Copied => (Lane::Bulk, Side::Opened),
    };
    Link { peer: Peer::Node(from), lane, side }
}

/// What of a node others are judged by, and nobody has to look into it for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    pub alive: bool,
    /// It has a replica in its memory.
    pub here: bool,
    /// It serves in this epoch.
    pub serving: Option<Epoch>,
    /// What its disk says.
    pub promised: Epoch,
    pub adopted: Epoch,
    pub complete: bool,
    pub suspect: bool,
    /// The newest write of each block.
    pub newest: Blocks<Value>,
    /// What its blocks would hold if all that it has of older epochs than it promised were committed.
    pub inherited: Blocks<Value>,
    /// The epochs of the first entries of its window, by sequence; 0 where there is none.
    pub stamps: [u8; STAMPS],
    pub unwritten: u8,
    pub tail: u8,
    /// The newest configuration it knows: epoch and revision.
    pub knows: (u64, u64),
}

/// The block that a write fills, if there are so many.
pub fn block_of(write: Value, blocks: u32) -> u32 {
    u32::from(write - 1) % blocks
}

impl Facts {
    /// Whether this write is on its disk, and the last before it of each other block, or something newer there.
    pub fn has(&self, write: Value, blocks: u32) -> bool {
        (1..=write).rev().take(BLOCKS_MAX.min(blocks as usize)).all(|w| self.newest[block_of(w, blocks) as usize] >= w)
    }

    pub fn of(local: &Local) -> Self {
        let image: &Image = &local.disk.durable;
        let register = image.register.as_ref();
        let replica = local.replica.as_ref();
        let knows = replica.map(|r| (r.config().epoch.0, r.config().revision.0)).unwrap_or_default();
        Self {
            alive: local.alive,
            here: replica.is_some_and(|r| !r.is_gone()),
            serving: replica.filter(|r| r.is_serving()).map(|r| r.config().epoch),
            promised: register.map_or(Epoch(0), |r| r.promised),
            adopted: register.map_or(Epoch(0), |r| r.adopted),
            complete: matches!(image.standing(), Some(Standing::Complete | Standing::Learned { .. })),
            suspect: image.standing() == Some(Standing::Suspect),
            newest: image.newest(),
            inherited: image.before(register.map_or(Epoch(0), |r| r.promised)),
            stamps: image.stamps(),
            unwritten: local.disk.unwritten() as u8,
            tail: local.disk.tail.len() as u8,
            knows,
        }
    }
}
