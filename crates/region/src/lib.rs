//! The control plane of a region: volumes as their owners name them, over zones that cannot hurt each other.
//!
//! The zone owns shards, members, epochs and space; the region owns names, wishes and the states of these. It asks a zone by a command that may be said twice
//! (`zones.rs`) and learns the outcome by reply; nothing of it waits on a thread, and what waits for one zone takes nothing from another.
//!
//! It holds that
//! - whoever asks for a change is told nothing that is not durable in the metadata store (`base::truth`), and neither is a zone;
//! - what was asked twice under one name is one volume, whatever died in between (R16);
//! - a volume that a zone may have room reserved for is known here, until the zone has given it back.
//!
//! It must not know how requests look (`api`), how a zone places or replicates, or what is written in a volume.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod attachments;
mod breaker;
mod command;
mod defaults;
mod hosts;
mod isolation;
mod labels;
mod modifying;
mod records;
mod volumes;
mod zones;

pub use base::ZoneNumber;
pub use command::{Answer, Change, Command, DefaultsChange, Refusal, Token};
pub use hosts::{Health, Seen};
pub use isolation::{Class, Mechanism};
pub use records::{
    AttachStage, Attachment, Defaults, Host, Made, Modification, ModifyStage, Quality, Refused, Shape, Stage,
    TOKEN_BYTES_MAX, Tag, VERSION, Volume,
};

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base::backoff::Backoff;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::net::Peer;
use base::io::{Inbox, Input, Machine, Outbox};
use base::mutant::Mutation;
use base::time::Duration;
use base::truth::{News, Truth};
use base::{ClusterId, Rng, Time, VolumeId};
use core::fmt;
use hosts::Hosts;
use records::{Key, Owner};
use zones::Zones;

/// Who pays: twelve decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl Field for Account {
    fn put(&self, w: &mut Writer) {
        w.u64(self.0);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.u64().map(Self)
    }
}

/// What a region is born with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which region.
    pub region: ClusterId,
    /// Its name.
    pub name: String,
    /// The authorities of its zones, as the network knows them: the driver has said where they are.
    pub zones: BTreeMap<ZoneNumber, Peer>,
    /// The wall clock when it is started, in milliseconds since 1970. It goes on by the machine's own clock.
    pub started_ms: u64,
}

/// By which bounds it works.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Commands that wait for the next step or for the metadata store, at most.
    pub commands_max: usize,
    /// Requests that wait for one zone, at most, beside what the shared pool takes. Its share is its own: a zone that does not answer takes nothing from others.
    pub zone_waits_max: usize,
    /// Requests that zones may have waiting beyond their own shares, all together.
    pub shared_waits_max: usize,
    /// Commands that are under way to one zone at once, at most.
    pub zone_flight_max: usize,
    /// Beside these, commands about volumes that are there, attaching above all: they may wait for hosts, and nothing that is stuck keeps a guest from its volume (R24, R40).
    pub attach_flight_max: usize,
    /// Within this time a request is answered, or refused as late.
    pub answer_within: Duration,
    /// A command to a zone without an answer for so long is said again.
    pub again_after: Duration,
    /// So many commands of one class without an answer in a row, and their zone is not asked for a while.
    pub breaker_after: u32,
    /// How long it is not asked then, until one command may try.
    pub breaker_rests: Duration,
    /// A mechanism that is switched off, to see what it is for. Nobody but an experiment does that.
    pub without: Option<Mechanism>,
    /// Between two surveys of a zone.
    pub survey_every: Duration,
    /// Volumes that one host has, at most.
    pub attachments_max: usize,
    /// Volumes of one account, at most.
    pub volumes_max: u32,
    /// Labels of one volume, at most.
    pub tags_max: usize,
    /// For so long a token is remembered, in milliseconds.
    pub tokens_kept_ms: u64,
    /// Between reads of metadata that could not be read.
    pub reload: (Duration, Duration),
    /// What is wrong on purpose.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            commands_max: 8192,
            zone_waits_max: 64,
            shared_waits_max: 16,
            zone_flight_max: 32,
            attach_flight_max: 128,
            answer_within: Duration::from_secs(5),
            again_after: Duration::from_secs(5),
            breaker_after: 5,
            breaker_rests: Duration::from_secs(5),
            without: None,
            survey_every: Duration::from_secs(1),
            attachments_max: 128,
            volumes_max: 100_000,
            tags_max: 50,
            tokens_kept_ms: 48 * 3600 * 1000,
            reload: (Duration::from_millis(50), Duration::from_secs(2)),
            mutation: Mutation::NONE,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It reads its truth.
    Loading,
    /// It serves.
    Ready,
    /// It cannot work with these metadata.
    Refused(Refused),
}

/// Who waits for a zone's word on a volume.
struct Waiting {
    zone: ZoneNumber,
    class: Class,
    tickets: Vec<(Time, u64)>,
}

/// What is done once all that was decided so far is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// The region's own record is there.
    Begun,
    /// The zone is asked for what the volume's stage wants.
    Pursue(VolumeId),
    /// Whoever waits for the zone's word on the volume is told what came of it.
    Tell(VolumeId, Result<Answer, Refusal>),
    /// This request is answered.
    Answer(u64, Answer),
}

/// The control plane.
pub struct Region {
    setup: Setup,
    policy: Policy,
    phase: Phase,
    started: bool,
    now: Time,
    naming: Rng,
    truth: Truth<Key, Effect>,
    inbound: VecDeque<(u64, Command)>,
    /// Until when the command that is being dealt with is worth an answer.
    until: Time,
    /// What waits for room in its zone's share, and until when; nothing but without shedding.
    holds: VecDeque<(Time, u64, Command)>,
    replies: VecDeque<(u64, Result<Answer, Refusal>)>,
    volumes: BTreeMap<VolumeId, Volume>,
    tokens: BTreeMap<(Account, String), Made>,
    /// What accounts want of all their volumes; of those that are not there, nothing.
    defaults: BTreeMap<Account, Defaults>,
    /// How many volumes each account has.
    owned: BTreeMap<Account, u32>,
    zones: Zones,
    hosts: Hosts,
    /// The machine's clock when it was started.
    first: Option<Time>,
    /// When each token was first heard of, in milliseconds since 1970.
    token_ages: BTreeSet<(u64, Account, String)>,
    /// Who waits for a zone's word on a volume, and until when.
    waiting: BTreeMap<VolumeId, Waiting>,
    /// Until when each request is waited for, with what it waits for.
    late: BTreeSet<(Time, u64, VolumeId)>,
    /// Requests whose answer stands on a write that is not durable.
    pending: BTreeSet<u64>,
}

impl Region {
    /// One that knows nothing yet: its first steps read its metadata.
    pub fn new(setup: Setup, policy: Policy, rng: Rng) -> Self {
        let backoff = Backoff::new(policy.reload.0, policy.reload.1);
        let zones = Zones::new(&setup.zones, &policy, rng.split("tickets").u64());
        Self {
            truth: Truth::new(backoff, rng.split("truth"), policy.mutation),
            naming: rng.split("naming"),
            setup,
            policy,
            phase: Phase::Loading,
            started: false,
            now: Time::ZERO,
            inbound: VecDeque::new(),
            until: Time::ZERO,
            holds: VecDeque::new(),
            replies: VecDeque::new(),
            volumes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            defaults: BTreeMap::new(),
            owned: BTreeMap::new(),
            token_ages: BTreeSet::new(),
            zones,
            hosts: Hosts::default(),
            first: None,
            waiting: BTreeMap::new(),
            late: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    /// How far it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether the authority of a zone can be reached; none when there is no such zone.
    pub fn is_reached(&self, zone: ZoneNumber) -> Option<bool> {
        self.zones.is_up(zone)
    }

    /// Volumes that one host has, at most.
    pub fn attachments_max(&self) -> usize {
        self.policy.attachments_max
    }

    /// A volume of an account that people may see.
    pub fn volume(&self, account: Account, id: VolumeId) -> Option<&Volume> {
        self.volumes.get(&id).filter(|volume| volume.owner == account && volume.stage != Stage::Gone)
    }

    /// All volumes of an account that people may see, in order of id, from behind `after` on.
    pub fn volumes(&self, account: Account, after: Option<VolumeId>) -> impl Iterator<Item = &Volume> {
        use core::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.volumes
            .range((from, Bound::Unbounded))
            .map(|(_, volume)| volume)
            .filter(move |volume| volume.owner == account && volume.stage != Stage::Gone)
    }

    /// Takes a command under a number of the asker's; the next step deals with it. Refused when too many wait already, or nothing can be done now.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn submit(&mut self, ticket: u64, command: Command) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Loading => return Err(Refusal::Starting),
            Phase::Refused(why) => return Err(Refusal::Broken(why.to_string())),
            Phase::Ready => {}
        }
        if self.commands() >= self.policy.commands_max {
            return Err(Refusal::Busy { zone: None });
        }
        self.inbound.push_back((ticket, command));
        Ok(())
    }

    /// What has been answered since the last call, oldest first.
    pub fn replies(&mut self) -> impl Iterator<Item = (u64, Result<Answer, Refusal>)> + '_ {
        self.replies.drain(..)
    }

    /// How much waits here: commands, requests that wait for zones, commands to zones, and what each may be at most.
    pub fn fills(&self) -> [(usize, usize); 3] {
        let zones = self.setup.zones.len();
        [
            (self.commands(), self.policy.commands_max),
            (self.zones.all_waits(), self.policy.zone_waits_max * zones + self.policy.shared_waits_max),
            (self.zones.flights(), self.zones.flight_max()),
        ]
    }

    fn commands(&self) -> usize {
        self.inbound.len() + self.holds.len() + self.pending.len()
    }

    /// The wall clock, in milliseconds since 1970.
    fn wall_ms(&self) -> u64 {
        self.setup.started_ms + self.first.map_or(0, |first| self.now.since(first).as_millis() as u64)
    }

    fn reply(&mut self, ticket: u64, result: Result<Answer, Refusal>) {
        self.replies.push_back((ticket, result));
    }

    fn after(&mut self, effect: Effect) {
        if let Effect::Answer(ticket, _) = &effect {
            self.pending.insert(*ticket);
        }
        if let Some(effect) = self.truth.after(effect) {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Begun => self.begin(),
            Effect::Pursue(volume) => {
                self.pursue(volume);
                if self.policy.has(Mechanism::Deadline) && !self.waiting.contains_key(&volume) {
                    self.is_forsaken(volume);
                }
            }
            Effect::Tell(volume, result) => self.tell(volume, &result),
            Effect::Answer(ticket, answer) => {
                self.pending.remove(&ticket);
                self.reply(ticket, Ok(answer));
            }
        }
    }

    fn news(&mut self, news: News<Key, Effect>) {
        match news {
            News::Nothing => {}
            News::Lost => {
                self.phase = Phase::Loading;
                self.truth.reload(self.now);
                self.forsake();
            }
            News::Loaded(pairs) => match self.load(&pairs) {
                Ok(()) => {}
                Err(why) => self.phase = Phase::Refused(why),
            },
            News::Durable { effects, .. } => effects.into_iter().for_each(|effect| self.effect(effect)),
        }
    }

    /// The truth has to be read again: what becomes of all that was asked is unknown to those who asked it.
    fn forsake(&mut self) {
        let waiting =
            core::mem::take(&mut self.waiting).into_values().flat_map(|w| w.tickets).map(|(_, ticket)| ticket);
        let held = self.holds.drain(..).map(|(_, ticket, _)| ticket);
        let tickets: Vec<u64> = waiting.chain(core::mem::take(&mut self.pending)).chain(held).collect();
        self.late.clear();
        tickets.into_iter().for_each(|ticket| self.reply(ticket, Err(Refusal::Unknown)));
        self.zones.forget();
    }

    fn load(&mut self, pairs: &[base::io::meta::Pair]) -> Result<(), Refused> {
        let all = records::parse(pairs)?;
        match &all.owner {
            None if !pairs.is_empty() => return Err(Refused::NoRegion { records: pairs.len() }),
            Some(owner) if owner.region != self.setup.region => {
                let (recorded, expected) = (owner.name.clone(), self.setup.name.clone());
                return Err(Refused::OtherRegion { recorded, expected });
            }
            _ => {}
        }
        for (key, revision) in all.revisions {
            self.truth.note(key, revision);
        }
        self.volumes = all.volumes.into_iter().map(|volume| (volume.id, volume)).collect();
        self.tokens = all.tokens.into_iter().collect();
        self.defaults = all.defaults.into_iter().collect();
        self.token_ages = self.tokens.iter().map(|((owner, text), made)| (made.at_ms, *owner, text.clone())).collect();
        self.owned.clear();
        for volume in self.volumes.values().filter(|volume| volume.stage != Stage::Gone) {
            *self.owned.entry(volume.owner).or_default() += 1;
        }
        self.hosts.load(all.hosts, self.volumes.values());
        if all.owner.is_some() {
            self.begin();
        } else {
            self.truth.touch(Key::Region);
            self.after(Effect::Begun);
        }
        Ok(())
    }

    /// From now on there is a truth to act on: what was begun is gone on with.
    fn begin(&mut self) {
        self.phase = Phase::Ready;
        let unsettled: Vec<VolumeId> = self
            .volumes
            .values()
            .filter(|volume| volumes::need(volume, None).is_some())
            .map(|volume| volume.id)
            .collect();
        for volume in unsettled {
            self.pursue(volume);
            self.zones.may_be_said(volume);
        }
    }

    fn carry_out(&mut self, ticket: u64, command: Command) {
        match command {
            Command::CreateVolume { account, shape, tags, token, at_ms } => {
                self.create_volume(ticket, (account, token), shape, tags, at_ms);
            }
            Command::DeleteVolume { account, volume } => self.delete_volume(ticket, account, volume),
            Command::AttachVolume { account, volume, host, device, at_ms } => {
                self.attach_volume(ticket, (account, volume), host, device, at_ms);
            }
            Command::DetachVolume { account, volume, host, device, by_force } => {
                self.detach_volume(ticket, (account, volume), (host, device.as_deref()), by_force);
            }
            Command::ModifyVolume { account, volume, to, at_ms } => {
                self.modify_volume(ticket, (account, volume), to, at_ms);
            }
            Command::SetResumes { account, volume, on } => self.set_resumes(ticket, (account, volume), on),
            Command::SetDefaults { account, change } => self.set_defaults(ticket, account, change),
            Command::Tag { account, volumes, changes } => self.tag(ticket, account, &volumes, &changes),
        }
    }

    /// Who has waited for too long is told so. What it waits for goes on if its zone may have heard of it.
    fn give_up_late(&mut self) {
        while let Some((_, ticket, volume)) = self.late.first().copied().filter(|(at, ..)| *at <= self.now) {
            self.late.remove(&self.late.first().copied().expect("it was just there"));
            let Some(waiting) = self.waiting.get_mut(&volume) else { continue };
            waiting.tickets.retain(|(_, other)| *other != ticket);
            let (zone, class, is_last) = (waiting.zone, waiting.class, waiting.tickets.is_empty());
            self.zones.waits_no_more(zone, class);
            self.zones.is_missed(zone, class, self.now);
            self.reply(ticket, Err(Refusal::TimedOut { volume }));
            if is_last {
                self.waiting.remove(&volume);
                self.zones.is_awaited(volume, None);
                self.is_forsaken(volume);
            }
        }
    }
}

impl Machine for Region {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        self.now = self.now.max(now);
        self.first.get_or_insert(self.now);
        if !self.started {
            self.started = true;
            self.zones.watch(out);
        }
        for input in inbox.drain(..) {
            match input {
                Input::Meta(done) => {
                    let news = self.truth.done(self.now, done);
                    self.news(news);
                }
                Input::Net(event) => self.zone_event(event),
                // A region has no disk, so nothing of the kind can be an answer.
                Input::Disk(_) => {}
            }
        }
        if self.phase == Phase::Ready {
            while let Some((ticket, command)) = self.inbound.pop_front() {
                self.until = self.now + self.policy.answer_within;
                if self.waits_for_room(&command) {
                    self.holds.push_back((self.until, ticket, command));
                } else {
                    self.carry_out(ticket, command);
                }
            }
            self.give_up_late();
            self.look_for_room();
        } else {
            // It was taken while there was a truth to act on.
            let why = if let Phase::Refused(why) = &self.phase {
                Refusal::Broken(why.to_string())
            } else {
                Refusal::Starting
            };
            let refused: Vec<u64> = self.inbound.drain(..).map(|(ticket, _)| ticket).collect();
            refused.into_iter().for_each(|ticket| self.reply(ticket, Err(why.clone())));
        }
        self.truth.reads(self.now).into_iter().for_each(|op| out.meta(op));
        let owner = Owner { region: self.setup.region, name: self.setup.name.clone() };
        let value = |key: &Key| match key {
            Key::Region => Some(records::encode(&owner)),
            Key::Volume(id) => self.volumes.get(id).map(records::encode),
            Key::Account(account) => self.defaults.get(account).map(records::encode),
            Key::Host(id) => self.hosts.record(*id).map(records::encode),
            Key::Token(account, token) => self.tokens.get(&(*account, token.clone())).map(records::encode),
        };
        if let Some(op) = self.truth.write(value) {
            out.meta(op);
        }
        self.zones.flush(self.now, out);
    }

    fn deadline(&self) -> Option<Time> {
        let held = self.holds.front().map(|(at, ..)| *at).filter(|_| self.policy.has(Mechanism::Deadline));
        let late = Time::sooner(self.late.first().map(|(at, ..)| *at), held);
        Time::sooner(self.truth.deadline(), Time::sooner(late, self.zones.deadline()))
    }
}
