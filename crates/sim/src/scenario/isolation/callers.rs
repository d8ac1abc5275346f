//! Callers of a region: a steady mixed load on each zone, which comes whether it is answered or not, so that nobody who waits hides those who would have come.

use super::edge::{OWNER, Question, Told};
use super::tally::{Tally, kind_of};
use super::town::{STARTED_MS, Town, VOLUME_BLOCKS};
use super::{PartTally, Plan};
use crate::clock::Moment;
use base::time::Duration;
use base::{BLOCK_BYTES, Rng, VolumeId};
use region::{Change, Command, Shape, Tag, Token, ZoneNumber};
use std::collections::BTreeMap;
use wire::Throttle;

/// What one stream of callers asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Create,
    Delete,
    Read,
    Tag,
    /// Creates beyond the usual, while a zone is in trouble.
    Storm,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Create, Self::Delete, Self::Read, Self::Tag, Self::Storm];

    /// Whether its zone has to be asked.
    fn asks(self) -> bool {
        matches!(self, Self::Create | Self::Delete | Self::Storm)
    }

    /// The mean time between two of a zone.
    fn gap(self, plan: &Plan) -> Duration {
        let create = plan.create_gap;
        match self {
            Self::Create | Self::Delete | Self::Tag => create,
            Self::Read => create / 3,
            // Ten times the usual, the usual included.
            Self::Storm => create / 9,
        }
    }
}

struct Call {
    part: usize,
    zone: u16,
    kind: Kind,
    at: Moment,
    volume: Option<VolumeId>,
}

/// All of them.
pub(super) struct Callers {
    rng: Rng,
    /// What is there, and nobody deletes.
    volumes: Vec<Vec<VolumeId>>,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    pub(super) part: usize,
    pub(super) tallies: Vec<PartTally>,
    /// Whether creates storm upon the zone that is in trouble.
    pub(super) storms: bool,
    afflicted: u16,
}

/// How many volumes of a zone are left alone, so that there is something to be read.
const KEPT: usize = 20;

impl Callers {
    pub(super) fn new(rng: Rng, plan: &Plan) -> Self {
        Self {
            rng,
            volumes: vec![Vec::new(); usize::from(plan.zones)],
            calls: BTreeMap::new(),
            next_call: 1,
            part: 0,
            tallies: Vec::new(),
            storms: false,
            afflicted: plan.afflicted,
        }
    }

    /// The alarms of all streams but the storm's.
    pub(super) fn streams(plan: &Plan) -> impl Iterator<Item = u64> {
        (0..plan.zones).flat_map(|zone| Kind::ALL[..4].iter().map(move |kind| tag(zone, *kind)))
    }

    /// The alarm of the storm.
    pub(super) fn storm(plan: &Plan) -> u64 {
        tag(plan.afflicted, Kind::Storm)
    }

    /// A caller comes. When the next of his stream does, if there is one.
    pub(super) fn comes(&mut self, town: &mut Town, plan: &Plan, alarm: u64) -> Option<Moment> {
        let (zone, kind) = ((alarm / 8) as u16, Kind::ALL[(alarm % 8) as usize]);
        if kind == Kind::Storm && !self.storms {
            return None;
        }
        self.asks(town, zone, kind);
        let gap = kind.gap(plan).as_micros() as u64;
        Some(town.world.now() + Duration::from_micros(self.rng.within(1, 2 * gap)))
    }

    /// Asks.
    pub(super) fn asks(&mut self, town: &mut Town, zone: u16, kind: Kind) {
        let Some((question, volume)) = self.question(zone, kind, town.world.now()) else { return };
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, Call { part: self.part, zone, kind, at: town.world.now(), volume });
        town.edge().ask(call, question);
        town.world.poke(town.edge);
        self.hear(town);
    }

    fn question(&mut self, zone: u16, kind: Kind, now: Moment) -> Option<(Question, Option<VolumeId>)> {
        let command = |command| Question::Command(Box::new(command));
        let volumes = &mut self.volumes[usize::from(zone)];
        if let Kind::Create | Kind::Storm = kind {
            // Some clients name their requests.
            let text = format!("{zone}-{}", self.next_call);
            let token = self.rng.chance(1, 4).then_some(Token { text, digest: 0 });
            let shape = Shape {
                zone: ZoneNumber(zone),
                size: u64::from(VOLUME_BLOCKS) * BLOCK_BYTES as u64,
                copies: 3,
                throttle: Throttle::default(),
                label: "fast".into(),
            };
            let at_ms = STARTED_MS + now.0 / 1_000_000;
            return Some((command(Command::CreateVolume { account: OWNER, shape, tags: vec![], token, at_ms }), None));
        }
        if volumes.is_empty() || (kind == Kind::Delete && volumes.len() <= KEPT) {
            return None;
        }
        let at = self.rng.below(volumes.len() as u64) as usize;
        let volume = if kind == Kind::Delete { volumes.swap_remove(at) } else { volumes[at] };
        let question = match kind {
            Kind::Delete => command(Command::DeleteVolume { account: OWNER, volume }),
            Kind::Tag => {
                let tag = Tag { key: "round".into(), value: self.next_call.to_string() };
                command(Command::Tag { account: OWNER, volumes: vec![volume], changes: vec![Change::Set(tag)] })
            }
            _ => Question::Read(volume),
        };
        Some((question, Some(volume)))
    }

    /// What callers were told.
    pub(super) fn hear(&mut self, town: &mut Town) {
        let now = town.world.now();
        for (call, told) in town.edge().told() {
            let Some(call) = self.calls.remove(&call) else { continue };
            let volumes = &mut self.volumes[usize::from(call.zone)];
            match (&told, call.kind) {
                (Told::Answer(Some(made)), Kind::Create | Kind::Storm) => volumes.push(*made),
                // Nothing has changed, so it is there.
                (Told::EdgeFull | Told::Refused(region::Refusal::Busy { .. }), Kind::Delete) => {
                    volumes.extend(call.volume);
                }
                _ => {}
            }
            let took = now.since(call.at);
            let wrong = kind_of(&told);
            let in_vain = wrong.is_some() && took > super::AT_ONCE;
            let error = if took > super::IN_TIME { Some("late") } else { wrong };
            self.tally(&call).add(Some(took), error, call.kind.asks(), in_vain);
        }
    }

    fn tally(&mut self, call: &Call) -> &mut Tally {
        let part = &mut self.tallies[call.part];
        if call.zone == self.afflicted { &mut part.afflicted } else { &mut part.others }
    }

    /// Nothing more is waited for.
    pub(super) fn end(&mut self) {
        for call in std::mem::take(&mut self.calls).into_values() {
            self.tally(&call).add(None, Some("unanswered"), call.kind.asks(), true);
        }
    }
}

fn tag(zone: u16, kind: Kind) -> u64 {
    u64::from(zone) * 8 + kind as u64
}
