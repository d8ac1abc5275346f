//! The host itself: takes requests and what the network brought, and carries both to the volumes.
//!
//! Order of a step, always the same: requests of the front ends, then what came, oldest first, then the gates and the shards whose
//! time has come, then the report to the authority.

use crate::news::{Closed, News, Pages};
use crate::nodes::{Link as LinkState, Nodes};
use crate::request::{Busy, Export, Policy, Refusal, Reply, Request, Setup};
use crate::shard::{Outcome, Turn};
use crate::stuck::{Book, Stuck};
use crate::timers::Timers;
use crate::volume::Volume;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::net::{Event, Frame, Link, Network, Op, Peer};
use base::io::{Inbox, Input, Machine, Outbox};
use base::mutant::Mutant;
use base::{Configuration, Generation, NodeId, Rng, ShardId, Time, VolumeId};
use wire::{AttachState, Attached, HostRegister, HostReport, Message, Throttle};

/// One host: the data path of its attached volumes, and the agent that attaches them.
pub struct Host {
    setup: Setup,
    policy: Policy,
    rng: Rng,
    started: bool,
    zone_up: bool,
    /// Whether it was told that the authority is out of touch: once for each absence.
    zone_missed: bool,
    is_informed: bool,
    news: Pages,
    nodes: Nodes,
    timers: Timers<ShardId>,
    gates: Timers<VolumeId>,
    book: Book,
    volumes: BTreeMap<VolumeId, Volume>,
    inbound: VecDeque<Request>,
    replies: VecDeque<Reply>,
    /// Volumes that somebody uses, if anybody has said so, and whether the authority is yet to be told.
    used: Option<BTreeSet<VolumeId>>,
    tells_used: bool,
    next_io: u64,
    attachments: u64,
    ignored: u64,
}

/// Requests for volumes that are not attached, between two steps.
pub(crate) const STRAY_REQUESTS_MAX: usize = 4096;

/// The parts of a host that volumes and shards share during a step.
macro_rules! turn {
    ($host:ident, $now:expr, $out:expr) => {
        Turn {
            now: $now,
            out: $out,
            rng: &mut $host.rng,
            policy: &$host.policy,
            nodes: &mut $host.nodes,
            timers: &mut $host.timers,
            gates: &mut $host.gates,
            next_io: &mut $host.next_io,
            zone_up: $host.zone_up,
        }
    };
}

impl Host {
    /// A host that knows nothing yet. Its first step begins to watch the authority; the driver has told the network where that is.
    pub fn new(setup: Setup, policy: Policy, rng: Rng) -> Self {
        assert!(policy.requests_max > 0 && policy.pieces_max > 0 && policy.shard_ios_max > 0, "a bound of nothing");
        Self {
            setup,
            policy,
            rng,
            started: false,
            zone_up: false,
            zone_missed: false,
            is_informed: false,
            news: Pages::default(),
            nodes: Nodes::default(),
            timers: Timers::default(),
            gates: Timers::default(),
            book: Book::default(),
            volumes: BTreeMap::new(),
            inbound: VecDeque::new(),
            replies: VecDeque::new(),
            used: None,
            tells_used: false,
            next_io: 1,
            attachments: 0,
            ignored: 0,
        }
    }

    /// Takes a request; the next step acts on it. Handed back while its volume has as much in flight as it may.
    pub fn submit(&mut self, request: Request) -> Result<(), Busy> {
        match self.volumes.get_mut(&request.volume) {
            Some(volume) if volume.has_room(&request, &self.policy) => volume.charge(&request),
            None if self.inbound.len() < STRAY_REQUESTS_MAX => {}
            _ => return Err(Busy(request)),
        }
        self.inbound.push_back(request);
        Ok(())
    }

    /// What has been answered since the last call, oldest first.
    pub fn replies(&mut self) -> impl Iterator<Item = Reply> + '_ {
        self.replies.drain(..)
    }

    /// A volume, if it is open here.
    pub fn volume(&self, volume: VolumeId) -> Option<Export> {
        self.volumes.get(&volume).filter(|v| v.is_open()).map(Volume::export)
    }

    /// All that are open here, in order of id.
    pub fn volumes(&self) -> impl Iterator<Item = Export> + '_ {
        self.volumes.values().filter(|v| v.is_open()).map(Volume::export)
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Which open volumes somebody uses: all of them, from whoever carries requests here. The next step tells the authority what has changed.
    pub fn uses(&mut self, used: BTreeSet<VolumeId>) {
        if self.used.as_ref() != Some(&used) {
            self.used = Some(used);
            self.tells_used = true;
        }
    }

    /// All that are attached here, open or not.
    pub(crate) fn held(&self) -> &BTreeMap<VolumeId, Volume> {
        &self.volumes
    }

    /// Requests that the next step looks at.
    pub(crate) fn submitted(&self) -> usize {
        self.inbound.len()
    }

    /// How often a volume was opened or closed here, or has grown: whoever keeps an [`Export`] need look again only when this has changed.
    pub fn attachments(&self) -> u64 {
        self.attachments
    }

    /// Shards whose I/O has waited for longer than [`Policy::report`], in order.
    pub fn stuck(&self) -> impl Iterator<Item = Stuck> + '_ {
        self.book.iter()
    }

    /// Whether the authority has said, since the start, what is attached here.
    pub fn is_informed(&self) -> bool {
        self.is_informed
    }

    /// What has happened since the last call, oldest first. What nobody reads in time is dropped.
    pub fn news(&mut self) -> impl Iterator<Item = News> + '_ {
        self.news.read()
    }

    /// Frames that made no sense here, since the start: malformed, of a kind that no host is sent, or on a link that carries none.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Requests of the front ends, under the state they were submitted in.
    fn take_requests(&mut self, now: Time, out: &mut Outbox) {
        while let Some(request) = self.inbound.pop_front() {
            match self.volumes.get_mut(&request.volume) {
                Some(volume) => {
                    volume.accept(request, &mut turn!(self, now, out), &mut self.replies);
                    if volume.is_throttled() {
                        self.book.slows(volume.export().volume, now, self.policy.report);
                    }
                }
                None => self.replies.push_back(Reply { tag: request.tag, result: Err(Refusal::NotOpen) }),
            }
        }
    }

    fn on_net(&mut self, event: Event, now: Time, out: &mut Outbox) {
        match event {
            Event::Frame { from, frame } => self.on_frame(from, frame, now, out),
            Event::Up { link } if link == Link::to(Peer::Zone) => {
                (self.zone_up, self.zone_missed) = (true, false);
                self.news.add(News::ZoneFound);
                let Setup { host, incarnation, socket } = self.setup.clone();
                out.send(link, Message::from(HostRegister { host, incarnation, socket }).frame());
                // Also that nothing is: silence is no word.
                self.tells_used = self.used.is_some();
            }
            Event::Down { link, why } if link == Link::to(Peer::Zone) => {
                self.zone_up = false;
                if !core::mem::replace(&mut self.zone_missed, true) {
                    self.news.add(News::ZoneLost { why, is_informed: self.is_informed });
                }
            }
            Event::Up { link: link @ Link { peer: Peer::Node(node), .. } } if link == Link::to(link.peer) => {
                self.nodes.on_link(node, LinkState::Up, now);
                self.each_led(node, now, out, |shard, turn| shard.on_up(turn));
            }
            Event::Down { link: link @ Link { peer: Peer::Node(node), .. }, why } if link == Link::to(link.peer) => {
                self.nodes.on_link(node, LinkState::Down(why), now);
                self.each_led(node, now, out, |shard, turn| shard.on_down(turn));
            }
            Event::Silent { peer: Peer::Node(node), network: Network::Primary, .. } => {
                self.nodes.on_silent(node);
                self.each_led(node, now, out, |shard, turn| shard.on_silent(turn));
            }
            Event::Heard { peer: Peer::Node(node), network: Network::Primary, .. } => self.nodes.on_heard(node),
            // Of the replication network, of the authority's keepalives and of links that others opened nothing follows here.
            Event::Up { .. } | Event::Down { .. } | Event::Silent { .. } | Event::Heard { .. } | Event::Counted(_) => {}
        }
    }

    /// Does something to every shard that a node leads.
    fn each_led(
        &mut self,
        node: NodeId,
        now: Time,
        out: &mut Outbox,
        act: impl Fn(&mut crate::shard::Shard, &mut Turn<'_>),
    ) {
        for id in self.nodes.led_by(node) {
            let shard = self.volumes.get_mut(&id.volume).and_then(|v| v.shard(id.index));
            let shard = shard.expect("a shard that is led is a shard of an attached volume");
            act(shard, &mut turn!(self, now, out));
        }
    }

    fn on_frame(&mut self, from: Link, frame: Frame, now: Time, out: &mut Outbox) {
        let message = if from == Link::to(from.peer) { Message::decode(&frame).ok() } else { None };
        match (from.peer, message) {
            (Peer::Node(node), Some(message)) => {
                self.nodes.on_heard(node);
                self.on_node(message, frame.data, now, out);
            }
            (Peer::Zone, Some(message)) => self.on_zone(message, now, out),
            _ => self.ignored += 1,
        }
    }

    fn on_node(&mut self, message: Message, data: Vec<base::Payload>, now: Time, out: &mut Outbox) {
        match message {
            Message::Done(m) => {
                self.with_shard(m.shard, now, out, |shard, turn| shard.on_done(m.epoch, m.io, data, turn))
            }
            Message::Refused(m) => {
                self.with_shard(m.shard, now, out, |shard, turn| shard.on_refused(m.io, m.why, turn))
            }
            Message::Located(m) => self.adopt(m.config, now, out),
            _ => self.ignored += 1,
        }
    }

    fn on_zone(&mut self, message: Message, now: Time, out: &mut Outbox) {
        match message {
            Message::Directory(m) => {
                self.is_informed = true;
                m.nodes.iter().for_each(|entry| self.nodes.know(entry.node, entry.addresses(), out));
            }
            Message::Attached(m) => self.attach(m, now, out),
            Message::Configure(m) => self.adopt(m.configs, now, out),
            Message::Located(m) => self.adopt(m.config, now, out),
            // Of a volume that is not here any more it means nothing.
            Message::Throttled(m) => self.throttle(m.volume, m.throttle, now, out),
            Message::Detached(m) => {
                if self.volumes.get(&m.volume).is_some_and(|v| v.generation() <= m.generation) {
                    self.close(m.volume, Closed::Detached, now, out);
                }
                // Said again for a volume that is gone already: the authority asks until it has heard it.
                self.tell_state(m.volume, m.generation, 0, out);
            }
            _ => self.ignored += 1,
        }
    }

    /// An answer of a node about one message. For a volume or a shard that is not here any more it means nothing.
    fn with_shard(
        &mut self,
        id: ShardId,
        now: Time,
        out: &mut Outbox,
        act: impl FnOnce(&mut crate::shard::Shard, &mut Turn<'_>) -> Outcome,
    ) {
        let Some(volume) = self.volumes.get_mut(&id.volume) else { return };
        let Some(shard) = volume.shard(id.index) else { return };
        let mut turn = turn!(self, now, out);
        let outcome = act(shard, &mut turn);
        let goes_on = self.policy.mutation.is(Mutant::FencedGoesOn);
        if !volume.on_outcome(id.index, outcome, &mut turn, &mut self.replies) && !goes_on {
            self.fenced(id.volume, now, out);
        }
    }

    /// Configurations from whoever. A volume is open when the last of its shards is known.
    fn adopt(&mut self, configs: impl IntoIterator<Item = Configuration>, now: Time, out: &mut Outbox) {
        for config in configs {
            let id = config.shard.volume;
            let Some(volume) = self.volumes.get_mut(&id) else { continue };
            let was_open = volume.is_open();
            if !volume.adopt(config, &mut turn!(self, now, out)) {
                self.fenced(id, now, out);
            } else if !was_open && volume.is_open() {
                let Export { generation, size, .. } = volume.export();
                self.attachments += 1;
                self.news.add(News::Opened { volume: id, generation });
                self.tell_state(id, generation, size, out);
            }
        }
    }

    fn attach(&mut self, attached: Attached, now: Time, out: &mut Outbox) {
        let Attached { generation, throttle, .. } = attached;
        let (id, size, configs) = (attached.volume.volume, attached.volume.size, attached.configs.clone());
        match self.volumes.get_mut(&id) {
            Some(volume) if volume.generation() > generation => return,
            Some(_) if self.policy.mutation.is(Mutant::OlderAttachmentStays) => return,
            Some(volume) if volume.generation() == generation => {
                if volume.grow(size, &configs, &mut turn!(self, now, out)) {
                    self.attachments += 1;
                    self.news.add(News::Grown { volume: id, size });
                }
                // The authority lost touch and asks again, or the volume has grown: say what it may not know.
                if volume.is_open() {
                    let size = volume.export().size;
                    self.tell_state(id, generation, size, out);
                }
                self.throttle(id, throttle, now, out);
            }
            there => {
                let is_there = there.is_some();
                let Some(volume) = Volume::new(attached, now) else {
                    self.ignored += 1;
                    return;
                };
                if is_there {
                    self.close(id, Closed::Replaced, now, out);
                }
                self.volumes.insert(id, volume);
            }
        }
        self.adopt(configs, now, out);
    }

    fn throttle(&mut self, id: VolumeId, throttle: Throttle, now: Time, out: &mut Outbox) {
        if let Some(volume) = self.volumes.get_mut(&id)
            && volume.throttle(throttle, &mut turn!(self, now, out), &mut self.replies)
        {
            self.news.add(News::Throttled { volume: id, throttle });
        }
    }

    /// Another attachment may write to it: this one has ended, though nobody said so yet.
    fn fenced(&mut self, id: VolumeId, now: Time, out: &mut Outbox) {
        let generation = self.volumes.get(&id).expect("a volume that is fenced was attached").generation();
        self.close(id, Closed::Fenced, now, out);
        self.tell_state(id, generation, 0, out);
    }

    fn close(&mut self, id: VolumeId, why: Closed, now: Time, out: &mut Outbox) {
        let volume = self.volumes.remove(&id).expect("only an attached volume is closed");
        self.news.add(News::Closed { volume: id, generation: volume.generation(), why });
        self.attachments += 1;
        volume.close(&mut turn!(self, now, out), &mut self.replies);
        let stuck: Vec<ShardId> = self.book.iter().map(|s| s.shard).filter(|s| s.volume == id).collect();
        stuck.into_iter().for_each(|shard| _ = self.book.ends(shard));
    }

    /// Tells the authority how large a volume is open, or with 0 that it is closed. While it is out of touch nothing is told: it asks again when the host has registered.
    fn tell_state(&mut self, volume: VolumeId, generation: Generation, size: u64, out: &mut Outbox) {
        if self.zone_up {
            let state = AttachState { volume, generation, open: size > 0, size };
            out.send(Link::to(Peer::Zone), Message::from(state).frame());
        }
    }

    fn tell_used(&mut self, out: &mut Outbox) {
        if self.zone_up && core::mem::take(&mut self.tells_used) {
            let volumes = self.used.iter().flatten().copied().collect();
            out.send(Link::to(Peer::Zone), Message::from(wire::Used { volumes }).frame());
        }
    }

    fn run_timers(&mut self, now: Time, out: &mut Outbox) {
        while let Some(id) = self.gates.due(now) {
            let volume = self.volumes.get_mut(&id).expect("a gate with a timer is one of an attached volume");
            volume.open_gate(&mut turn!(self, now, out), &mut self.replies);
        }
        while let Some(id) = self.timers.due(now) {
            let shard = self.volumes.get_mut(&id.volume).and_then(|v| v.shard(id.index));
            let shard = shard.expect("a shard with a timer is a shard of an attached volume");
            shard.on_timer(&mut turn!(self, now, out));
            if let Some(since) = shard.oldest().filter(|since| now.since(*since) >= self.policy.report) {
                let stuck = shard.stuck(since);
                if self.book.waits(stuck, now) {
                    self.news.add(News::Waits(stuck));
                }
            }
        }
    }

    /// Looks again at what waited, and tells the authority when it is time to.
    fn report(&mut self, now: Time, out: &mut Outbox) {
        let waited: Vec<Stuck> = self.book.iter().collect();
        for stuck in waited {
            let shard = self.volumes.get_mut(&stuck.shard.volume).and_then(|v| v.shard(stuck.shard.index));
            let shard = shard.expect("a shard in the book is a shard of an attached volume");
            match shard.oldest().filter(|since| now.since(*since) >= self.policy.report) {
                Some(since) => _ = self.book.waits(shard.stuck(since), now),
                None => {
                    let waited = self.book.ends(stuck.shard).map_or(now, |stuck| stuck.since);
                    self.news.add(News::Goes { shard: stuck.shard, after: now.since(waited) });
                }
            }
        }
        if !self.zone_up {
            return;
        }
        let Some(stuck) = self.book.report(now, self.policy.report) else { return };
        let mut throttled = Vec::new();
        for id in self.book.take_slowed() {
            let Some(volume) = self.volumes.get(&id) else { continue };
            throttled.push(volume.throttled(now));
            if volume.is_throttled() {
                self.book.slows(id, now, self.policy.report);
            }
        }
        if !(stuck.is_empty() && throttled.is_empty()) {
            out.send(Link::to(Peer::Zone), Message::from(HostReport { stuck, throttled }).frame());
        }
    }
}

impl Machine for Host {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        if !self.started {
            self.started = true;
            out.net(Op::Watch { peer: Peer::Zone, wanted: true });
        }
        self.take_requests(now, out);
        for input in inbox.drain(..) {
            match input {
                Input::Net(event) => self.on_net(event, now, out),
                Input::Disk(_) | Input::Meta(_) => {
                    panic!("a host has neither disk nor metadata, yet was answered by one")
                }
            }
        }
        self.run_timers(now, out);
        self.tell_used(out);
        self.report(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started || !self.inbound.is_empty() {
            return Some(Time::ZERO);
        }
        let report = if self.zone_up { self.book.deadline() } else { None };
        Time::sooner(Time::sooner(self.timers.next(), self.gates.next()), report)
    }
}
