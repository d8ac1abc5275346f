//! What zones tell of themselves, once a second: their hosts, and which volumes are not well. Asked for the same way whatever happens there (constant work), and
//! kept here, so that describing needs no zone.
//!
//! Hosts are kept in the metadata store from when they are first heard of. Who is in touch, and what is not well, is only remembered: the next survey says it again.

use crate::records::{Host, Key, Volume};
use crate::{Account, Phase, Region, ZoneNumber};
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{HostId, Time, VolumeId};
use wire::{AilingVolume, Surveyed, VolumeCondition};

/// A survey that is older than so many periods says nothing any more.
pub(crate) const STALE_PERIODS: u32 = 4;

/// What one zone said last.
struct Survey {
    at: Time,
    /// Who is in touch with the zone.
    connected: BTreeSet<HostId>,
    ailing: BTreeMap<VolumeId, AilingVolume>,
    /// Whether it named all that are not well.
    complete: bool,
}

/// All that is known of hosts and of how volumes are.
#[derive(Default)]
pub(crate) struct Hosts {
    records: BTreeMap<HostId, Host>,
    volumes: BTreeMap<HostId, BTreeSet<VolumeId>>,
    surveys: BTreeMap<ZoneNumber, Survey>,
}

/// A host, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What is kept of it.
    pub host: &'a Host,
    /// Whether it is in touch with its zone; none when the zone has not said so for a while.
    pub connected: Option<bool>,
}

/// How a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Its zone has not said anything for a while.
    Unknown,
    /// All is as it should be.
    Well,
    /// Something is not.
    Ailing {
        /// What, as its zone sees it.
        condition: VolumeCondition,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// For how long I/O of its host had waited when the zone said so, in milliseconds; 0 when none waited.
        waiting_ms: u64,
    },
}

impl Hosts {
    /// Takes what was kept, instead of what was known before.
    pub(crate) fn load<'a>(&mut self, hosts: Vec<Host>, volumes: impl Iterator<Item = &'a Volume>) {
        self.records = hosts.into_iter().map(|host| (host.id, host)).collect();
        self.volumes.clear();
        for volume in volumes {
            if let Some(attachment) = &volume.attachment {
                self.has(attachment.host, volume.id);
            }
        }
    }

    pub(crate) fn record(&self, host: HostId) -> Option<&Host> {
        self.records.get(&host)
    }

    /// A host has a volume, or is to have it.
    pub(crate) fn has(&mut self, host: HostId, volume: VolumeId) {
        self.volumes.entry(host).or_default().insert(volume);
    }

    pub(crate) fn has_no_more(&mut self, host: HostId, volume: VolumeId) {
        if let Some(volumes) = self.volumes.get_mut(&host) {
            volumes.remove(&volume);
            if volumes.is_empty() {
                self.volumes.remove(&host);
            }
        }
    }

    pub(crate) fn volumes_of(&self, host: HostId) -> impl Iterator<Item = VolumeId> {
        self.volumes.get(&host).into_iter().flatten().copied()
    }
}

impl Region {
    /// A zone said how it is.
    pub(crate) fn surveyed(&mut self, zone: ZoneNumber, told: &Surveyed) {
        // While the truth is read nothing stands on it; the next survey says it again.
        if self.phase != Phase::Ready {
            return;
        }
        let since_ms = self.wall_ms();
        for state in &told.hosts {
            // Whoever was first heard of in another zone stays there: an id is one host.
            if let Entry::Vacant(entry) = self.hosts.records.entry(state.host) {
                entry.insert(Host { id: state.host, zone, since_ms });
                self.truth.touch(Key::Host(state.host));
            }
        }
        let connected = told.hosts.iter().filter(|state| state.connected).map(|state| state.host).collect();
        let ailing = told.ailing.iter().map(|ailing| (ailing.volume, ailing.clone())).collect();
        let complete = told.ailing.len() == told.ailing_in_all as usize;
        self.hosts.surveys.insert(zone, Survey { at: self.now, connected, ailing, complete });
    }

    fn survey_of(&self, zone: ZoneNumber) -> Option<&Survey> {
        let fresh = |survey: &&Survey| self.now.since(survey.at) <= self.policy.survey_every * STALE_PERIODS;
        self.hosts.surveys.get(&zone).filter(fresh)
    }

    fn seen<'a>(&'a self, host: &'a Host) -> Seen<'a> {
        Seen { host, connected: self.survey_of(host.zone).map(|survey| survey.connected.contains(&host.id)) }
    }

    /// A host that a zone once told of.
    pub fn host(&self, id: HostId) -> Option<Seen<'_>> {
        self.hosts.records.get(&id).map(|host| self.seen(host))
    }

    /// All of them, in order of id, from behind `after` on.
    pub fn hosts(&self, after: Option<HostId>) -> impl Iterator<Item = Seen<'_>> {
        use core::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.hosts.records.range((from, Bound::Unbounded)).map(|(_, host)| self.seen(host))
    }

    /// The volumes of an account that a host has, or is to have.
    pub fn volumes_of(&self, account: Account, host: HostId) -> impl Iterator<Item = &Volume> {
        self.hosts.volumes_of(host).filter_map(move |id| self.volume(account, id))
    }

    /// How a volume is, as its zone last said.
    pub fn health(&self, volume: &Volume) -> Health {
        let Some(survey) = self.survey_of(volume.shape.zone) else { return Health::Unknown };
        match survey.ailing.get(&volume.id) {
            Some(AilingVolume { condition, for_ms, waiting_ms, .. }) => {
                let age_ms = self.now.since(survey.at).as_millis() as u64;
                let since_ms = self.wall_ms().saturating_sub(age_ms.saturating_add(*for_ms));
                Health::Ailing { condition: condition.clone(), since_ms, waiting_ms: *waiting_ms }
            }
            None if survey.complete => Health::Well,
            None => Health::Unknown,
        }
    }
}
