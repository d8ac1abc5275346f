//! Hosts, and which volume is whose. Each attachment is a generation, and each generation begins with a new epoch in which whoever served
//! the one before is fenced (rule 9, I9).

use crate::asks::Stage;
use crate::describe::info_of;
use crate::records::{Attachment, Key};
use crate::{Effect, Zone};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::mutant::Mutant;
use base::{Generation, HostId, Incarnation, ShardId, Time, VolumeId};
use wire::{AttachReply, Attached, ErrorCode, HostRegister, Message, ThrottledVolume};

/// One host.
#[derive(Default)]
pub(crate) struct Host {
    /// Which run of it this is.
    pub incarnation: Incarnation,
    /// Where its volumes can be reached.
    pub socket: String,
    /// Whether it has said who it is, on this life of its link.
    pub registered: bool,
    /// What it has open, in which generation.
    pub open: BTreeMap<VolumeId, Generation>,
    /// How large it takes that to be, in bytes.
    pub sizes: BTreeMap<VolumeId, u64>,
    /// What it last said of I/O that waits because its volume may do no more.
    pub throttled: BTreeMap<VolumeId, ThrottledVolume>,
    /// Volumes that somebody uses there, as it last said; none while it has not on this life of its link.
    pub used: Option<BTreeSet<VolumeId>>,
    /// When clients that its last run had may be taken to be back, or gone.
    pub settled: Time,
    /// Since when I/O waits, by volume, as it last said.
    pub waits: BTreeMap<VolumeId, Time>,
}

impl Zone {
    pub(crate) fn host_down(&mut self, id: HostId) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.registered = false;
            host.waits.clear();
            host.used = None;
        }
    }

    pub(crate) fn host_message(&mut self, id: HostId, message: Message) -> bool {
        let peer = Peer::Host(id);
        let registered = self.hosts.get(&id).is_some_and(|h| h.registered);
        match message {
            Message::HostRegister(m) if m.host == id => self.host_register(m),
            Message::Locate(m) => self.locate(peer, &m),
            Message::AttachState(_) | Message::HostReport(_) | Message::Used(_) if !registered => {}
            // Of what there is not nothing is remembered: a host could name any number of volumes.
            Message::AttachState(m) if m.open && !self.volumes.contains_key(&m.volume) => {}
            Message::AttachState(m) => {
                let host = self.hosts.get_mut(&id).expect("registered");
                if m.open {
                    // What it said of the generation before does not count for this one.
                    if host.open.insert(m.volume, m.generation) != Some(m.generation) {
                        host.throttled.remove(&m.volume);
                    }
                    host.sizes.insert(m.volume, m.size);
                } else if host.open.get(&m.volume).is_some_and(|g| *g <= m.generation) {
                    host.open.remove(&m.volume);
                    host.sizes.remove(&m.volume);
                    host.throttled.remove(&m.volume);
                }
            }
            Message::Used(m) => {
                let used = m.volumes.into_iter().filter(|volume| self.volumes.contains_key(volume)).collect();
                self.hosts.get_mut(&id).expect("registered").used = Some(used);
            }
            Message::HostReport(m) => {
                let host = self.hosts.get_mut(&id).expect("registered");
                let open = m.throttled.into_iter().filter(|t| host.open.contains_key(&t.volume));
                host.throttled.extend(open.map(|t| (t.volume, t)));
                let waits: Vec<_> = m.stuck.into_iter().filter(|s| s.waiting_ms > 0).collect();
                host.waits.clear();
                for stuck in waits.iter().filter(|s| host.open.contains_key(&s.shard.volume)) {
                    let since = Time(self.now.0.saturating_sub(stuck.waiting_ms.saturating_mul(1_000_000)));
                    let first = host.waits.entry(stuck.shard.volume).or_insert(since);
                    *first = since.min(*first);
                }
                waits.into_iter().for_each(|s| self.complain(peer, s.shard, s.epoch));
            }
            _ => return false,
        }
        true
    }

    fn host_register(&mut self, m: HostRegister) {
        let id = m.host;
        let host = self.hosts.entry(id).or_default();
        if m.incarnation < host.incarnation {
            // A left-over process of an earlier run must not take the volumes back.
            let incarnation = host.incarnation;
            host.registered = false;
            self.counters.overtaken += 1;
            return self.send(Peer::Host(id), wire::Overtaken { incarnation });
        }
        if m.incarnation > host.incarnation {
            // Of one that is met for the first time, since it or the authority is new, no earlier run is known.
            if host.incarnation > Incarnation::default() {
                host.settled = self.now + self.policy.host_settles;
            }
            host.open.clear();
            host.sizes.clear();
            host.throttled.clear();
        }
        (host.incarnation, host.socket, host.registered) = (m.incarnation, m.socket, true);
        self.welcome(id);
    }

    /// Tells a host all it must know. One that lost what it knew gets new generations: what its last run still has under way can then do nothing.
    fn welcome(&mut self, id: HostId) {
        self.directory_to.insert(Peer::Host(id));
        let incarnation = self.hosts[&id].incarnation;
        let mine: Vec<(VolumeId, Option<Attachment>, Generation)> = self
            .volumes
            .iter()
            .filter(|(_, v)| v.attached.map_or(v.left == Some(id), |a| a.host == id))
            .map(|(volume, v)| (*volume, v.attached, v.generation))
            .collect();
        for (volume, attached, generation) in mine {
            match attached {
                Some(a) if a.incarnation < incarnation => {
                    self.attach(volume, Attachment { incarnation, ..a });
                    self.after(Effect::Greet { host: id, volume });
                }
                Some(_) => self.after(Effect::Greet { host: id, volume }),
                None => self.after(Effect::Dismiss { host: id, volume, generation }),
            }
        }
    }

    /// Everybody who is here, as if he had just come.
    pub(crate) fn hosts_again(&mut self) {
        let here: Vec<HostId> = self.hosts.iter().filter(|(_, h)| h.registered).map(|(id, _)| *id).collect();
        here.into_iter().for_each(|id| self.welcome(id));
    }

    /// The next generation of a volume.
    fn attach(&mut self, id: VolumeId, attachment: Attachment) {
        let volume = self.volumes.get_mut(&id).expect("a volume that does not exist was attached");
        let kept = self.policy.mutation.is(Mutant::GenerationKept) && volume.generation > Generation(0);
        volume.generation = if kept { volume.generation } else { volume.generation.next() };
        volume.attached = Some(attachment);
        volume.left = None;
        let (generation, shards) = (volume.generation, volume.shards);
        self.truth.touch(Key::Volume(id));
        for index in 0..shards {
            let fenceless = self.policy.mutation.is(Mutant::FenceForgotten);
            self.change(ShardId { volume: id, index }, |r| {
                r.attach(generation, attachment.host);
                if fenceless {
                    r.config.fence.clear();
                }
            });
        }
    }

    /// Tells a host that a volume is its, in the generation that is durable.
    pub(crate) fn greet(&mut self, id: HostId, volume: VolumeId) {
        let configs: Vec<_> = self.shards_of(volume).filter_map(|s| s.durable.clone()).collect();
        let Some((generation, info)) = configs.first().map(|c| (c.generation, info_of(c))) else { return };
        let here = self.hosts.get(&id).is_some_and(|h| h.registered);
        // A change that came since has its own greeting.
        let record = self.volumes.get(&volume).filter(|v| v.generation == generation);
        let Some(Attachment { read_only, .. }) = record.and_then(|v| v.attached) else { return };
        if here && configs.iter().all(|c| c.client == Some(id) && c.generation == generation) {
            let throttle = self.throttles.get(&volume).copied().unwrap_or_default();
            self.send(Peer::Host(id), Attached { volume: info, generation, read_only, throttle, configs });
        }
    }

    pub(crate) fn attach_volume(&mut self, ticket: u64, id: VolumeId, host: Option<HostId>, read_only: bool) {
        let Some(volume) = self.volumes.get(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        let attached = volume.attached;
        // Whoever has it is what the operator must know first, whether or not the other host is there.
        if let Some(has) = attached.filter(|a| host.is_some_and(|named| named != a.host)) {
            let text = format!("{id} is attached to {}; detach it there first", has.host);
            return self.fail(ticket, ErrorCode::InUse, text);
        }
        // What a client was told when it connected cannot change under it.
        if let Some(has) = attached.filter(|a| a.read_only != read_only) {
            let how = if has.read_only { "read only" } else { "to be written to" };
            let text = format!("{id} is attached to {} {how}; detach it first to attach it otherwise", has.host);
            return self.fail(ticket, ErrorCode::InUse, text);
        }
        let host = match self.which_host(host.or(attached.map(|a| a.host))) {
            Ok(host) => host,
            Err((code, text)) => return self.fail(ticket, code, text),
        };
        if attached.is_none() {
            let incarnation = self.hosts[&host].incarnation;
            self.attach(id, Attachment { host, incarnation, read_only });
            self.after(Effect::Greet { host, volume: id });
        }
        self.answer_after(ticket, Effect::Opening { ticket, volume: id });
    }

    fn which_host(&self, named: Option<HostId>) -> Result<HostId, (ErrorCode, String)> {
        let mut here = self.hosts.iter().filter(|(_, h)| h.registered).map(|(id, _)| *id);
        match (named, here.next(), here.next()) {
            (Some(id), ..) => match self.hosts.get(&id) {
                Some(host) if host.registered => Ok(id),
                Some(_) => Err((ErrorCode::Unavailable, format!("{id} is not connected now; start it and try again"))),
                None => Err((ErrorCode::NotFound, format!("no host {id} has ever connected to this zone"))),
            },
            (None, Some(id), None) => Ok(id),
            (None, None, _) => Err((ErrorCode::Unavailable, "no host is connected; start one and try again".into())),
            (None, Some(a), Some(b)) => Err((
                ErrorCode::Invalid,
                format!("several hosts are connected ({a}, {b}, ...); name the one to attach to"),
            )),
        }
    }

    /// The attachment is durable: from now on the host is waited for.
    pub(crate) fn await_open(&mut self, ticket: u64, volume: VolumeId) {
        let until = self.now + self.patience(ticket);
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Opening { volume, until };
            self.check_open(ticket, volume, until);
        }
    }

    pub(crate) fn check_open(&mut self, ticket: u64, volume: VolumeId, until: Time) {
        let Some(record) = self.volumes.get(&volume) else { return };
        let Some(attached) = record.attached else {
            let text = format!("{volume} was detached before its host had opened it");
            return self.fail(ticket, ErrorCode::Unavailable, text);
        };
        let (generation, id) = (record.generation, attached.host);
        let host = self.hosts.get(&id).filter(|h| h.registered && h.open.get(&volume) == Some(&generation));
        if let Some(host) = host {
            let socket = host.socket.clone();
            self.answer(ticket, AttachReply { volume, host: id, generation, socket });
        } else if until <= self.now {
            let ms = self.patience(ticket).as_millis();
            let text =
                format!("{volume} is attached to {id}, which has not opened it within {ms} ms; ask again to wait on");
            self.fail(ticket, ErrorCode::TimedOut, text);
        }
    }

    /// Detaches from a host what nobody uses there. A host that is away may be written through by somebody, who would lose what is not flushed; so may one whose process
    /// has just begun, before its clients are back.
    pub(crate) fn release_volume(&mut self, ticket: u64, m: &wire::ReleaseVolume) {
        let (id, host) = (m.volume, m.host);
        let Some(volume) = self.volumes.get(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        // What another has by now is not what was meant.
        if volume.attached.is_some_and(|attached| attached.host != host) {
            return self.show_volume(ticket, id);
        }
        let there = self.hosts.get(&host).filter(|h| h.registered && h.settled <= self.now);
        match there.and_then(|h| h.used.as_ref()) {
            _ if m.by_force || volume.attached.is_none() => self.detach_volume(ticket, id),
            None => {
                let text = format!(
                    "{id} is attached to {host}, which cannot say now whether {id} is in use there, since it is not connected or has just begun; start it, or detach by force"
                );
                self.fail(ticket, ErrorCode::Unavailable, text);
            }
            Some(used) if used.contains(&id) => {
                let text = format!("{id} is in use at {host}; disconnect its clients there, or detach by force");
                self.fail(ticket, ErrorCode::InUse, text);
            }
            Some(_) => self.detach_volume(ticket, id),
        }
    }

    pub(crate) fn detach_volume(&mut self, ticket: u64, id: VolumeId) {
        let Some(volume) = self.volumes.get_mut(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        if let Some(attached) = volume.attached.take() {
            volume.left = Some(attached.host);
            let (generation, shards) = (volume.generation, volume.shards);
            self.truth.touch(Key::Volume(id));
            for index in 0..shards {
                let kept = self.policy.mutation.is(Mutant::DetachKeepsClient);
                self.change(ShardId { volume: id, index }, |r| {
                    if !kept {
                        r.detach()
                    }
                });
            }
            self.after(Effect::Dismiss { host: attached.host, volume: id, generation });
        }
        self.answer_after(ticket, Effect::Fencing { ticket, volume: id });
    }

    /// The detachment is durable and pushed: from now on the primaries are waited for.
    pub(crate) fn await_fence(&mut self, ticket: u64, volume: VolumeId) {
        let until = self.now + self.policy.detach_timeout;
        let of = |s: &crate::shards::Shard| s.durable.as_ref().map(|c| (c.shard, c.epoch));
        let epochs: Vec<_> = self.shards_of(volume).filter_map(of).collect();
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Fencing { volume, epochs, until };
            self.check_fence(ticket);
        }
    }

    /// Answers a detach when each primary has said something in the new epoch, or so much time has passed that no old one answers reads.
    pub(crate) fn check_fence(&mut self, ticket: u64) {
        let Some(ask) = self.asks.get(&ticket) else { return };
        let Stage::Fencing { volume, epochs, until } = &ask.stage else { return };
        let knows = |(id, epoch): &(ShardId, base::Epoch)| {
            self.shards.get(id).and_then(|s| s.report.as_ref()).is_some_and(|r| r.epoch >= *epoch)
        };
        let volume = *volume;
        if *until <= self.now || epochs.iter().all(knows) {
            self.show_volume(ticket, volume);
        }
    }
}
