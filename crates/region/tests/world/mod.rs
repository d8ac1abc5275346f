//! A world of one region: its metadata store, and zones that do what they are asked, once for each id. Time moves only by [`World::pass`].
#![allow(dead_code)] // Each test binary uses its own part of this.

use base::io::meta::{self, Outcome, Pair};
use base::io::net::{Down, Event, Link, Op, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::mutant::Mutation;
use base::time::Duration;
use base::{ClusterId, Generation, HostId, Incarnation, NodeId, Revision, Rng, Time, VolumeId};
use bytes::Bytes;
use region::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::{AilingVolume, AttachReply, ErrorCode, Failed, HostState, Message, Surveyed, Throttle, VolumeReply};

pub const ME: Account = Account(123_456_789_012);
pub const GIB: u64 = 1 << 30;

/// What goes wrong with one write.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    Conflict,
    UnknownDone,
    UnknownLost,
}

#[derive(Default)]
pub struct Meta {
    pub pairs: BTreeMap<String, (Bytes, u64)>,
    pub revision: u64,
    /// The next writes end so: each is taken once.
    pub faults: Vec<Fault>,
    /// What was asked and is not done yet, while this is set.
    pub stopped: bool,
    pub waiting: VecDeque<meta::Op>,
}

impl Meta {
    fn act(&mut self, op: meta::Op) -> meta::Done {
        match op {
            meta::Op::Range { id, prefix } => {
                let pairs = self.pairs.iter().filter(|(key, _)| key.starts_with(&prefix));
                let pair = |(key, (value, revision)): (&String, &(Bytes, u64))| Pair {
                    key: key.clone(),
                    value: value.clone(),
                    revision: Revision(*revision),
                };
                let outcome = Outcome::Pairs { pairs: pairs.map(pair).collect(), at: Revision(self.revision) };
                meta::Done { id, outcome }
            }
            meta::Op::Write { id, guards, puts } => {
                let fault = self.faults.pop();
                let at = |key: &String| self.pairs.get(key).map_or(0, |(_, revision)| *revision);
                let broken = guards.iter().find(|g| at(&g.key) != g.revision.0).map(|g| g.key.clone());
                let broken = if fault == Some(Fault::Conflict) { Some(puts[0].0.clone()) } else { broken };
                let outcome = match (broken, fault) {
                    (Some(key), _) => Outcome::Conflict { key },
                    (None, Some(Fault::UnknownLost)) => Outcome::Unknown,
                    (None, _) => {
                        self.revision += 1;
                        for (key, value) in puts {
                            match value {
                                Some(value) => drop(self.pairs.insert(key, (value, self.revision))),
                                None => drop(self.pairs.remove(&key)),
                            }
                        }
                        if fault.is_some() { Outcome::Unknown } else { Outcome::Written(Revision(self.revision)) }
                    }
                };
                meta::Done { id, outcome }
            }
        }
    }
}

/// How a zone answers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mood {
    Obeys,
    /// It does what it is asked, and nobody hears of it.
    Mute,
    /// It hears nothing.
    Deaf,
    Full,
    /// It refuses for now.
    Unavailable,
}

pub struct Zone {
    pub mood: Mood,
    pub up: bool,
    pub volumes: BTreeMap<VolumeId, (u64, u8, Throttle)>,
    /// Which ids it ever made.
    pub made: BTreeMap<VolumeId, u32>,
    pub asked: u64,
    /// How long each of the commands that it heard was worth beginning, in milliseconds.
    pub within_ms: Vec<u32>,
    /// Who has what, behind the region's back too.
    pub attached: BTreeMap<VolumeId, HostId>,
    /// Its hosts, and whether they are in touch.
    pub hosts: BTreeMap<HostId, bool>,
    /// What somebody uses at its host.
    pub used: BTreeSet<VolumeId>,
    pub ailing: Vec<AilingVolume>,
    /// How many more there are that it does not name.
    pub unnamed: u32,
}

impl Zone {
    fn surveyed(&self) -> Surveyed {
        let state = |(host, connected): (&HostId, &bool)| HostState {
            host: *host,
            incarnation: Incarnation(1),
            connected: *connected,
        };
        Surveyed {
            hosts: self.hosts.iter().map(state).collect(),
            hosts_in_all: self.hosts.len() as u32,
            ailing: self.ailing.clone(),
            ailing_in_all: self.ailing.len() as u32 + self.unnamed,
        }
    }

    fn attach(&mut self, volume: VolumeId, host: HostId) -> Result<Message, ErrorCode> {
        match (self.attached.get(&volume), self.hosts.get(&host)) {
            (Some(has), _) if *has != host => Err(ErrorCode::InUse),
            (_, None) => Err(ErrorCode::NotFound),
            (_, Some(false)) => Err(ErrorCode::Unavailable),
            (_, Some(true)) => {
                self.attached.insert(volume, host);
                Ok(AttachReply { volume, host, generation: Generation(1), socket: String::new() }.into())
            }
        }
    }
}

pub struct World {
    pub region: Region,
    pub policy: Policy,
    pub now: Time,
    pub meta: Meta,
    pub zones: BTreeMap<ZoneNumber, Zone>,
    pub inbox: Inbox,
    pub replies: BTreeMap<u64, Result<Answer, Refusal>>,
    /// Answers to surveys wait until they are let go.
    pub slow_surveys: bool,
    late_surveys: Vec<Input>,
    pub next: u64,
    seed: u64,
}

/// The peers stand for authorities; a region does not care who they are.
fn peer(zone: ZoneNumber) -> Peer {
    Peer::Node(NodeId(u64::from(zone.0) + 1))
}

fn setup(zones: u16) -> Setup {
    let zones = (0..zones).map(|n| (ZoneNumber(n), peer(ZoneNumber(n)))).collect();
    Setup { region: ClusterId(9), name: "local-1".into(), zones, started_ms: 1_000_000 }
}

impl World {
    pub fn new(zones: u16) -> Self {
        Self::with(zones, Policy::default(), 1)
    }

    pub fn with(zones: u16, policy: Policy, seed: u64) -> Self {
        let zone = || Zone {
            mood: Mood::Obeys,
            up: false,
            volumes: BTreeMap::new(),
            made: BTreeMap::new(),
            asked: 0,
            within_ms: Vec::new(),
            attached: Default::default(),
            hosts: Default::default(),
            used: Default::default(),
            ailing: vec![],
            unnamed: 0,
        };
        let mut w = Self {
            region: Region::new(setup(zones), policy.clone(), Rng::new(seed)),
            policy,
            now: Time(1),
            meta: Meta::default(),
            zones: (0..zones).map(|n| (ZoneNumber(n), zone())).collect(),
            inbox: Inbox::new(),
            replies: BTreeMap::new(),
            slow_surveys: false,
            late_surveys: vec![],
            next: 0,
            seed,
        };
        w.run();
        let numbers: Vec<ZoneNumber> = w.zones.keys().copied().collect();
        numbers.into_iter().for_each(|zone| w.link(zone, true));
        w.run();
        w
    }

    pub fn zone(&mut self, n: u16) -> &mut Zone {
        self.zones.get_mut(&ZoneNumber(n)).unwrap()
    }

    pub fn link(&mut self, zone: ZoneNumber, up: bool) {
        self.zones.get_mut(&zone).unwrap().up = up;
        let link = Link::to(peer(zone));
        let event = if up { Event::Up { link } } else { Event::Down { link, why: Down::Reset } };
        self.inbox.push_back(Input::Net(event));
    }

    /// The process dies, at once, and another begins.
    pub fn restart(&mut self) {
        self.seed += 1;
        self.region = Region::new(setup(self.zones.len() as u16), self.policy.clone(), Rng::new(self.seed));
        self.inbox.clear();
        // What had been asked of the store and not done yet may be done or not.
        let waiting = std::mem::take(&mut self.meta.waiting);
        for op in waiting {
            if Rng::new(self.seed).chance(1, 2) {
                self.meta.act(op);
            }
        }
        let up: Vec<ZoneNumber> = self.zones.iter().filter(|(_, z)| z.up).map(|(n, _)| *n).collect();
        up.into_iter().for_each(|zone| self.link(zone, true));
    }

    pub fn shape(zone: u16, gib: u64) -> Shape {
        let throttle = Throttle { iops: 3000, bytes_per_s: 125 << 20 };
        Shape { zone: ZoneNumber(zone), size: gib * GIB, copies: 3, throttle, label: "fast".into() }
    }

    pub fn create(zone: u16, gib: u64, token: Option<&str>) -> Command {
        let token = token.map(|text| Token { text: text.into(), digest: u128::from(gib) });
        Command::CreateVolume { account: ME, shape: Self::shape(zone, gib), tags: vec![], token, at_ms: 1_000_000 }
    }

    /// Asks; the answer may come later.
    pub fn ask(&mut self, command: Command) -> u64 {
        self.next += 1;
        let ticket = self.next;
        if let Err(why) = self.region.submit(ticket, command) {
            self.replies.insert(ticket, Err(why));
        }
        ticket
    }

    /// Asks, and is answered without time passing.
    pub fn told(&mut self, command: Command) -> Result<Answer, Refusal> {
        let ticket = self.ask(command);
        self.run();
        self.replies.remove(&ticket).expect("it was not answered")
    }

    pub fn made(&mut self, command: Command) -> Volume {
        match self.told(command) {
            Ok(Answer::Volume(volume)) => volume,
            other => panic!("{other:?}"),
        }
    }

    /// One step, and what it asks is done.
    pub fn step(&mut self) {
        let mut out = Outbox::default();
        self.region.step(self.now, &mut self.inbox, &mut out);
        assert!(self.inbox.is_empty());
        for (ticket, result) in self.region.replies().collect::<Vec<_>>() {
            assert!(self.replies.insert(ticket, result).is_none(), "{ticket} is answered twice");
        }
        let fills = self.region.fills().into_iter().filter(|_| self.policy.without.is_none());
        for (is, most) in fills.filter(|_| self.policy.mutation == Mutation::NONE) {
            assert!(is <= most, "{is} of {most}");
        }
        for output in out.drain() {
            match output {
                Output::Meta(op) => self.meta.waiting.push_back(op),
                Output::Net(Op::Send { to, frame }) => self.zone_hears(to.peer, Message::decode(&frame).unwrap()),
                Output::Net(Op::Watch { wanted: true, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        if !self.meta.stopped {
            while let Some(op) = self.meta.waiting.pop_front() {
                let done = self.meta.act(op);
                self.inbox.push_back(Input::Meta(done));
            }
        }
    }

    /// Until nothing happens any more without time.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            self.step();
            let due = self.region.deadline().is_some_and(|at| at <= self.now);
            if self.inbox.is_empty() && !due {
                return;
            }
        }
        panic!("it never rests");
    }

    /// The answers to surveys so far, on their way.
    pub fn take_surveys(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.late_surveys)
    }

    pub fn pass_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        self.run();
        while let Some(at) = self.region.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.run();
        }
        self.now = until;
        self.run();
    }

    fn zone_hears(&mut self, to: Peer, message: Message) {
        let number = *self.zones.keys().find(|zone| peer(**zone) == to).unwrap();
        let zone = self.zones.get_mut(&number).unwrap();
        // Without a bulkhead it is, as it was once.
        assert!(zone.up || self.policy.without == Some(Mechanism::Bulkhead), "said on a link that is down");
        if !zone.up {
            return;
        }
        let Message::Command(command) = message else { panic!("{message:?}") };
        let question = Message::from_parts(command.kind, command.fields).unwrap();
        if !matches!(question, Message::Survey(_)) {
            zone.asked += 1;
            zone.within_ms.push(command.within_ms);
        }
        let refused = |code| Message::from(Failed { code, text: format!("because {code:?}") });
        let answer = match (question, zone.mood) {
            (_, Mood::Deaf) => return,
            (Message::Survey(_), _) => zone.surveyed().into(),
            (_, Mood::Unavailable) => refused(ErrorCode::Unavailable),
            (Message::MakeVolume(m), mood) => {
                let asked = (m.size, m.copies, m.throttle);
                match zone.volumes.get(&m.volume) {
                    Some(has) => assert_eq!(*has, asked, "one id, two volumes"),
                    None if mood == Mood::Full => {}
                    None => {
                        *zone.made.entry(m.volume).or_default() += 1;
                        zone.volumes.insert(m.volume, asked);
                    }
                }
                if zone.volumes.contains_key(&m.volume) {
                    VolumeReply { volumes: vec![] }.into()
                } else {
                    refused(ErrorCode::NoRoom)
                }
            }
            (Message::AttachVolume(m), _) => zone.attach(m.volume, m.host.unwrap()).unwrap_or_else(refused),
            (Message::ReleaseVolume(m), _) if !zone.volumes.contains_key(&m.volume) => refused(ErrorCode::NotFound),
            (Message::ReleaseVolume(m), _)
                if !m.by_force && zone.used.contains(&m.volume) && zone.attached.get(&m.volume) == Some(&m.host) =>
            {
                refused(ErrorCode::InUse)
            }
            (Message::ReleaseVolume(m), _) => {
                if zone.attached.get(&m.volume) == Some(&m.host) {
                    zone.attached.remove(&m.volume);
                }
                VolumeReply { volumes: vec![] }.into()
            }
            (Message::ResizeVolume(m), Mood::Full) if zone.volumes[&m.volume].0 != m.size => refused(ErrorCode::NoRoom),
            (Message::ResizeVolume(m), _) => {
                zone.volumes.get_mut(&m.volume).unwrap().0 = m.size;
                VolumeReply { volumes: vec![] }.into()
            }
            (Message::ThrottleVolume(m), _) => {
                let throttle = Throttle { iops: m.iops.unwrap(), bytes_per_s: m.bytes_per_s.unwrap() };
                zone.volumes.get_mut(&m.volume).unwrap().2 = throttle;
                VolumeReply { volumes: vec![] }.into()
            }
            (Message::DeleteVolume(m), _) if zone.attached.contains_key(&m.volume) => refused(ErrorCode::InUse),
            (Message::DeleteVolume(m), _) => match zone.volumes.remove(&m.volume) {
                Some(_) => VolumeReply { volumes: vec![] }.into(),
                None => refused(ErrorCode::NotFound),
            },
            (other, _) => panic!("{other:?}"),
        };
        if zone.mood == Mood::Mute {
            return;
        }
        let (kind, fields) = answer.parts();
        let is_survey = matches!(answer, Message::Surveyed(_));
        let frame = Message::from(wire::Outcome { ticket: command.ticket, kind, fields }).frame();
        let input = Input::Net(Event::Frame { from: Link::to(to), frame });
        if is_survey && self.slow_surveys {
            self.late_surveys.push(input);
        } else {
            self.inbox.push_back(input);
        }
    }
}
