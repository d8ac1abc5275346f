//! The shards in memory: what is decided, what is durable, what was heard of them, and when each wants to be looked at.
//!
//! Every change of a shard goes through [`Zone::change`], which checks it, counts it and has it written; every configuration that leaves the
//! authority comes from [`Shard::durable`].

use crate::asks::Stage;
use crate::describe::condition_of;
use crate::nodes::Node;
use crate::records::{ClusterRecord, Key, Refused, ShardRecord, decode};
use crate::{BATCH_KEYS, Zone};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::backoff::Backoff;
use base::io::meta::Pair;
use base::io::net::Peer;
use base::time::Duration;
use base::{Configuration, Epoch, Member, NodeId, Revision, ShardId, Time};
use wire::{NodeCondition, ShardReport, VolumeCondition};

/// One shard.
pub(crate) struct Shard {
    /// What is decided.
    pub record: ShardRecord,
    /// What is being written.
    pub written: Option<Configuration>,
    /// What is durable, and so what anybody may know.
    pub durable: Option<Configuration>,
    /// Since when the durable epoch is in force, as this process knows.
    pub epoch_at: Time,
    /// What the primary of the durable epoch last said.
    pub report: Option<ShardReport>,
    /// When a learner last came on, or began.
    pub progress_at: Time,
    /// How people see it, since when.
    pub condition: VolumeCondition,
    /// Since when.
    pub since: Time,
    /// Since when it has fewer members than wanted.
    pub short_since: Option<Time>,
    /// Who said in which epoch that the primary is gone, and when.
    pub accusers: Vec<(Peer, Epoch, Time)>,
    /// The authority's own elections.
    pub elections: Retry,
    /// Learners.
    pub learners: Retry,
    /// When releases were last sent.
    pub released_at: Option<Time>,
    /// A node knows a later epoch than the metadata have: they are not the newest, so nothing is decided about this shard.
    pub behind: bool,
    due: Option<Time>,
}

/// Something that is tried again, later each time.
pub(crate) struct Retry {
    /// Not before.
    pub at: Time,
    /// How often since it last worked.
    pub tries: u32,
    backoff: Backoff,
}

impl Retry {
    fn new(backoff: Backoff) -> Self {
        Self { at: Time::ZERO, tries: 0, backoff }
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        *self = Self { at: Time::ZERO, tries: 0, backoff: self.backoff.clone() };
        self.backoff.reset();
    }

    /// It is being tried at `now`, or has just failed.
    pub(crate) fn tried(&mut self, now: Time, rng: &mut base::Rng) {
        self.at = self.later(now, rng);
        self.tries = self.tries.saturating_add(1);
    }

    /// When to look again at what could not even be tried.
    pub(crate) fn later(&mut self, now: Time, rng: &mut base::Rng) -> Time {
        now + self.backoff.next(rng)
    }
}

impl Shard {
    /// What is decided.
    pub(crate) fn config(&self) -> &Configuration {
        &self.record.config
    }

    /// The primary's word on the durable epoch, if it serves.
    pub(crate) fn serves(&self) -> bool {
        self.report.as_ref().is_some_and(|r| r.condition == wire::ShardCondition::Serving)
    }
}

/// What was read, parsed.
#[derive(Default)]
struct Loaded {
    cluster: Option<ClusterRecord>,
    nodes: Vec<crate::records::NodeRecord>,
    shards: Vec<(ShardRecord, Revision)>,
    zone: Maps,
}

#[derive(Default)]
struct Maps {
    volumes: BTreeMap<base::VolumeId, crate::records::VolumeRecord>,
    requests: BTreeMap<base::RequestId, crate::records::RequestRecord>,
    revisions: Vec<(Key, Revision)>,
}

fn parse(pairs: &[Pair]) -> Result<Loaded, Refused> {
    let mut all = Loaded::default();
    for pair in pairs {
        let key = Key::parse(&pair.key).ok_or_else(|| Refused::StrangeKey { key: pair.key.clone() })?;
        let misplaced = || Refused::Malformed { key: pair.key.clone(), what: "record: it is another key's" };
        let right = match key {
            Key::Cluster => all.cluster.replace(decode(&pair.key, &pair.value)?).is_none(),
            Key::Node(id) => {
                all.nodes.push(decode(&pair.key, &pair.value)?);
                all.nodes.last().is_some_and(|n| n.entry.node == id)
            }
            Key::Volume(id) => {
                let record: crate::records::VolumeRecord = decode(&pair.key, &pair.value)?;
                let right = record.info.volume == id;
                all.zone.volumes.insert(id, record);
                right
            }
            Key::Shard(id) => {
                let record: ShardRecord = decode(&pair.key, &pair.value)?;
                let right = record.config.shard == id;
                all.shards.push((record, pair.revision));
                right
            }
            Key::Request(id) => {
                all.zone.requests.insert(id, decode(&pair.key, &pair.value)?);
                true
            }
        };
        if !right {
            return Err(misplaced());
        }
        all.zone.revisions.push((key, pair.revision));
    }
    for (record, _) in &all.shards {
        let id = record.config.shard;
        if all.zone.volumes.get(&id.volume).is_none_or(|v| id.index >= v.shards) {
            return Err(Refused::Malformed { key: Key::Shard(id).text(), what: "record: its volume lacks it" });
        }
        if let Some(what) = record.flaw() {
            return Err(Refused::Malformed { key: Key::Shard(id).text(), what });
        }
    }
    Ok(all)
}

impl Zone {
    /// Takes what was read for the truth. What was heard of nodes and shards stays: it is not the metadata's to know.
    pub(crate) fn load(&mut self, pairs: Vec<Pair>) -> Result<(), Refused> {
        let all = parse(&pairs)?;
        match all.cluster {
            None if !pairs.is_empty() => return Err(Refused::NoCluster { records: pairs.len() }),
            Some(ClusterRecord { cluster: recorded, .. }) if recorded != self.cluster => {
                return Err(Refused::OtherCluster { recorded, expected: self.cluster });
            }
            Some(record) => self.history = record,
            None => self.history.starts.clear(),
        }
        for (key, revision) in all.zone.revisions {
            self.truth.note(key, revision);
        }
        self.throttles = all.zone.volumes.iter().map(|(id, v)| (*id, v.throttle)).collect();
        self.points.loaded(&all.zone.volumes);
        (self.volumes, self.requests) = (all.zone.volumes, all.zone.requests);
        let now = self.now;
        for record in all.nodes {
            let id = record.entry.node;
            match self.nodes.get_mut(&id) {
                Some(node) => node.record = record,
                None => drop(self.nodes.insert(id, Node::loaded(record, now))),
            }
            self.check_at(id, now);
        }
        let failed = self.nodes.iter().filter(|(_, n)| n.record.health == crate::records::Health::Failed);
        self.given_up = failed.map(|(id, _)| *id).collect();
        self.ledger = crate::ledger::Ledger::default();
        let frozen = self.volumes.iter().filter(|(_, volume)| !volume.points.is_empty());
        frozen.for_each(|(id, _)| self.ledger.freeze(*id, true, core::iter::empty()));
        let mut old = core::mem::take(&mut self.shards);
        for (record, revision) in all.shards {
            self.ledger.add(&record);
            let id = record.config.shard;
            let durable = Configuration { revision, ..record.config.clone() };
            let mut shard = old.remove(&id).unwrap_or_else(|| self.new_shard(record.clone()));
            if shard.durable.as_ref().is_none_or(|d| d.epoch != durable.epoch) {
                // Before anything that is heard in this turn: a node that comes as a new run restarted after it.
                (shard.epoch_at, shard.report) = (now - Duration::from_nanos(1), None);
            }
            (shard.record, shard.durable, shard.written) = (record, Some(durable), None);
            let short = shard.config().members.len() < usize::from(shard.config().target_copies);
            shard.short_since = short.then(|| shard.short_since.unwrap_or(now));
            self.shards.insert(id, shard);
            self.observe(id);
            self.wake(id, now);
        }
        Ok(())
    }

    /// A shard that nothing was heard of.
    pub(crate) fn new_shard(&self, record: ShardRecord) -> Shard {
        let backoff = Backoff::new(self.policy.retry_base, self.policy.retry_cap);
        Shard {
            record,
            written: None,
            durable: None,
            epoch_at: self.now,
            report: None,
            progress_at: self.now,
            condition: VolumeCondition::Creating,
            since: self.now,
            short_since: None,
            accusers: Vec::new(),
            elections: Retry::new(backoff.clone()),
            learners: Retry::new(backoff),
            released_at: None,
            behind: false,
            due: None,
        }
    }

    /// Adds a shard that did not exist.
    pub(crate) fn add_shard(&mut self, record: ShardRecord) {
        record.holds_together();
        let id = record.config.shard;
        self.ledger.add(&record);
        let shard = self.new_shard(record);
        assert!(self.shards.insert(id, shard).is_none(), "{id} was there already");
        self.truth.touch(Key::Shard(id));
    }

    /// Changes a shard: checked, counted, and written with the next batch.
    pub(crate) fn change(&mut self, id: ShardId, change: impl FnOnce(&mut ShardRecord)) {
        let shard = self.shards.get_mut(&id).expect("a shard that does not exist was changed");
        let mut next = shard.record.clone();
        change(&mut next);
        if next == shard.record {
            return;
        }
        shard.record.allows(&next);
        self.ledger.remove(&shard.record);
        self.ledger.add(&next);
        let (had, has) = (turns(&shard.record.config), turns(&next.config));
        shard.record = next;
        self.truth.touch(Key::Shard(id));
        if had != has {
            had.into_iter().flatten().for_each(|node| self.wake_queue(node));
        }
    }

    /// The write that was just handed out contains these configurations.
    pub(crate) fn remember_written(&mut self) {
        for key in self.truth.writing() {
            if let Key::Shard(id) = key
                && let Some(shard) = self.shards.get_mut(id)
            {
                shard.written = Some(shard.record.config.clone());
            }
            if let Key::Volume(id) = key {
                self.points.written(&self.volumes[id]);
            }
        }
    }

    /// What was written is durable: everybody concerned is told.
    pub(crate) fn shard_is_durable(&mut self, id: ShardId, revision: Revision) {
        let now = self.now;
        let Some(shard) = self.shards.get_mut(&id) else { return };
        let Some(written) = shard.written.take() else { return };
        let new = Configuration { revision, ..written };
        let mut nodes: BTreeSet<NodeId> = named(&new);
        let mut clients = BTreeSet::from_iter(new.client);
        shard.released_at = None;
        if let Some(old) = shard.durable.replace(new.clone()) {
            assert!(new.is_newer_than(&old), "{id}: {}/{} after {}/{}", new.epoch, revision, old.epoch, old.revision);
            nodes.extend(named(&old));
            clients.extend(old.client);
            if new.epoch > old.epoch {
                (shard.epoch_at, shard.report) = (now, None);
                shard.accusers.retain(|(_, epoch, _)| *epoch >= new.epoch);
                self.points.epoch_changed(id, now);
            }
            if new.learner != old.learner {
                shard.progress_at = now;
                if old.learner.is_some_and(|l| new.is_member(l.member)) {
                    shard.learners.reset();
                }
            }
        }
        let short = new.members.len() < usize::from(new.target_copies);
        shard.short_since = short.then(|| shard.short_since.unwrap_or(now));
        for node in nodes {
            self.push(Peer::Node(node), id);
            if self.nodes.get(&node).is_some_and(|n| n.condition == NodeCondition::Quarantined) {
                self.settling.insert(node);
            }
        }
        clients.into_iter().for_each(|host| self.push(Peer::Host(host), id));
        self.observe(id);
        self.wake(id, now);
    }

    /// Tells a peer the durable configuration of a shard, at the end of the turn.
    pub(crate) fn push(&mut self, peer: Peer, id: ShardId) {
        let here = match peer {
            Peer::Node(node) => self.nodes.get(&node).is_some_and(|n| n.registered),
            Peer::Host(host) => self.hosts.get(&host).is_some_and(|h| h.registered),
            Peer::Operator(_) | Peer::Region(_) | Peer::Zone | Peer::Authority(_) => false,
        };
        if here {
            self.pushes.entry(peer).or_default().insert(id);
        }
    }

    /// Has the shard looked at, at `at` or before.
    pub(crate) fn wake(&mut self, id: ShardId, at: Time) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        match shard.due {
            Some(due) if due <= at => return,
            Some(due) => drop(self.due.remove(&(due, id))),
            None => {}
        }
        shard.due = Some(at);
        self.due.insert((at, id));
    }

    /// Has every shard looked at that names this disk.
    pub(crate) fn wake_all_of(&mut self, member: Member) {
        for id in self.ledger.shards_of(member) {
            self.observe(id);
            self.wake(id, self.now);
        }
    }

    /// Room may have come free, or somebody who can be given something.
    pub(crate) fn wake_starving(&mut self) {
        let queued = core::mem::take(&mut self.queues).into_values().flatten();
        for id in core::mem::take(&mut self.starving).into_iter().chain(queued) {
            self.wake(id, self.now);
        }
    }

    /// A turn of a node to learn or to teach has come free.
    fn wake_queue(&mut self, node: NodeId) {
        for id in self.queues.remove(&node).into_iter().flatten() {
            self.wake(id, self.now);
        }
    }

    /// A shard waits until one of these nodes has a turn.
    pub(crate) fn queue(&mut self, id: ShardId, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            self.queues.entry(node).or_default().insert(id);
        }
    }

    /// Looks at every shard that is due.
    pub(crate) fn tend_due(&mut self) {
        while self.behind.is_none()
            && self.truth.waiting() < BATCH_KEYS
            && let Some(&(at, id)) = self.due.first()
            && at <= self.now
        {
            self.due.remove(&(at, id));
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.due = None;
                // What is being written comes back here when it is durable.
                if !shard.behind && !self.truth.is_pending(&Key::Shard(id)) {
                    self.tend(id);
                }
            }
        }
    }

    fn tend(&mut self, id: ShardId) {
        if self.shards[&id].config().deleted {
            self.send_releases(id);
            return;
        }
        self.lead(id);
        if !self.truth.is_pending(&Key::Shard(id)) {
            self.mirror(id);
        }
    }

    /// Takes note of how people should see the shard now.
    pub(crate) fn observe(&mut self, id: ShardId) {
        let Some(shard) = self.shards.get(&id) else { return };
        let Some(config) = &shard.durable else { return };
        let led = self.is_alive(config.member_on(config.primary));
        let counts = |m: &&Member| self.is_alive(Some(**m)) && !self.is_suspect(id, **m);
        let here = config.members.iter().filter(counts).count();
        let enough = here >= usize::from(config.min_copies);
        let condition = condition_of(config, shard.report.as_ref(), led, enough);
        if condition != shard.condition {
            let now = self.now;
            let shard = self.shards.get_mut(&id).expect("it was found above");
            (shard.condition, shard.since) = (condition, now);
            self.wake(id, now);
        }
    }

    /// What a node says of a shard that it leads.
    pub(crate) fn shard_report(&mut self, from: NodeId, report: ShardReport) {
        let (id, now) = (report.shard, self.now);
        let Some(shard) = self.shards.get_mut(&id) else { return };
        let Some(config) = &shard.durable else { return };
        if config.primary != from || config.epoch != report.epoch || config.deleted {
            return;
        }
        let first = !shard.serves();
        if shard.report.as_ref().is_none_or(|old| old.learned_blocks != report.learned_blocks) {
            shard.progress_at = now;
        }
        shard.report = Some(report);
        if shard.serves() && first {
            shard.elections.reset();
            // It has served: from now on a missing replica is a loss, and the generation before is over.
            if shard.config().epoch == config_epoch(shard) {
                self.change(id, |r| {
                    r.config.newborn = false;
                    r.config.fence.clear();
                });
            }
            self.wake(id, now);
        }
        self.observe(id);
        let tickets: Vec<u64> = self
            .asks
            .iter()
            .filter(|(_, ask)| matches!(&ask.stage, Stage::Fencing { volume, .. } if *volume == id.volume))
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.into_iter().for_each(|ticket| self.check_fence(ticket));
    }
}

fn config_epoch(shard: &Shard) -> Epoch {
    shard.durable.as_ref().map_or(Epoch(0), |c| c.epoch)
}

/// Whose turns a configuration takes: the node that learns, and the one that teaches it.
fn turns(config: &Configuration) -> Option<[NodeId; 2]> {
    config.learner.map(|l| [l.member.node, config.primary])
}

/// Every node that has something to do with a configuration.
fn named(config: &Configuration) -> BTreeSet<NodeId> {
    let learner = config.learner.map(|l| l.member);
    config.members.iter().chain(&config.holders).chain(&learner).map(|m| m.node).collect()
}
