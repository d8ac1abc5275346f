//! What a region is told each second: the hosts that there are, and the volumes that are not well. All others are.

use crate::Zone;
use crate::describe::badness;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::{Time, VolumeId};
use wire::{AILING_NAMED_MAX, AilingVolume, HOSTS_NAMED_MAX, HostState, Surveyed, VolumeCondition};

impl Zone {
    pub(crate) fn survey(&mut self, ticket: u64) {
        let state = |(host, h): (&base::HostId, &crate::attach::Host)| HostState {
            host: *host,
            incarnation: h.incarnation,
            connected: h.registered,
        };
        let hosts: Vec<HostState> = self.hosts.iter().map(state).take(HOSTS_NAMED_MAX).collect();
        let ailing = self.ailing();
        let ailing_in_all = ailing.len() as u32;
        let named = ailing.into_iter().take(AILING_NAMED_MAX).collect();
        self.answer(ticket, Surveyed { hosts, hosts_in_all: self.hosts.len() as u32, ailing: named, ailing_in_all });
    }

    fn ailing(&self) -> Vec<AilingVolume> {
        // The worst of a volume's shards, and since when it is so.
        let mut worst: BTreeMap<VolumeId, (&VolumeCondition, Time)> = BTreeMap::new();
        for shard in self.shards.values().filter(|shard| !is_well(&shard.condition)) {
            let found = (&shard.condition, shard.since);
            let known = worst.entry(shard.record.config.shard.volume).or_insert(found);
            if (badness(found.0), known.1) > (badness(known.0), found.1) {
                *known = found;
            }
        }
        let mut waits: BTreeMap<VolumeId, Time> = BTreeMap::new();
        for (volume, since) in self.hosts.values().flat_map(|host| &host.waits) {
            waits.insert(*volume, *since);
            worst.entry(*volume).or_insert((&VolumeCondition::Ok, *since));
        }
        let ms = |since: Time| self.now.since(since).as_millis() as u64;
        let told = |(volume, (condition, since)): (VolumeId, (&VolumeCondition, Time))| AilingVolume {
            volume,
            condition: condition.clone(),
            for_ms: ms(since),
            waiting_ms: waits.get(&volume).map_or(0, |since| ms(*since).max(1)),
        };
        worst.into_iter().map(told).collect()
    }
}

/// What comes and goes by itself is no ailment.
fn is_well(condition: &VolumeCondition) -> bool {
    matches!(condition, VolumeCondition::Ok | VolumeCondition::Creating | VolumeCondition::Deleting)
}
