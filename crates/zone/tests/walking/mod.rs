//! A seeded random walk: everything happens at once, in any order, and what must always hold is checked after each step. At the end the faults
//! stop, and everything must come to rest whole.

use crate::world::{Fault, GIB, World};
use base::mutant::Mutation;
use base::*;
use std::collections::{BTreeMap, BTreeSet};
use wire::*;
use zone::Policy;

struct Walk {
    w: World,
    rng: Rng,
    hosts: Vec<HostId>,
    requests: u128,
    seen: BTreeMap<ShardId, Configuration>,
    /// Who was wished to lead which epoch's successor. A wish may come true after its node started again.
    wished: BTreeSet<(ShardId, Epoch, NodeId)>,
    /// Logs are damaged. A shard of which only damaged copies are left waits for an operator, and with it much that is asked at the end otherwise: so not in every walk.
    damages: bool,
    elections: u32,
}

impl Walk {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut rng = Rng::new(seed);
        let min_copies = if seed.is_multiple_of(4) { 3 } else { 2 };
        let learn_in_max = 1 + (seed % 3) as u32;
        let policy = Policy { shard_blocks: 1 << 18, min_copies, learn_in_max, mutation, ..Policy::dev() };
        let mut w = World::with(0, policy, seed);
        for n in 1..=6 {
            w.add_node(n, &format!("r{}", n % 4), (8 + rng.below(12)) * GIB);
        }
        w.comes_again = true;
        w.run();
        let hosts = vec![w.add_host(1), w.add_host(2)];
        let damages = seed.is_multiple_of(2);
        Self { w, rng, hosts, requests: 1000, seen: BTreeMap::new(), wished: BTreeSet::new(), damages, elections: 0 }
    }

    fn volumes(&self) -> Vec<VolumeId> {
        let mut ids: Vec<VolumeId> =
            self.w.zone.configurations().filter(|c| !c.deleted).map(|c| c.shard.volume).collect();
        ids.dedup();
        ids
    }

    fn step(&mut self) {
        let n = 1 + self.rng.below(6);
        let node = self.w.nodes[&NodeId(n)].clone();
        match self.rng.below(100) {
            0..8 if node.up => self.w.kill(n),
            8..20 if !node.up => self.w.restart(n),
            20..23 => self.w.nodes.get_mut(&NodeId(n)).unwrap().frozen ^= true,
            23 if !node.up && self.rng.chance(1, 2) => self.w.restart_with_new_disk(n),
            23 if self.damages => self.damage(n),
            24..27 => self.w.nodes.get_mut(&NodeId(n)).unwrap().willing ^= true,
            27..33 => self.create(),
            33..35 => self.operate(|volume, _| DeleteVolume { volume }.into()),
            35..40 => self.operate(|volume, host| AttachVolume { volume, host: Some(host), read_only: false }.into()),
            40..42 => self.operate(|volume, _| DetachVolume { volume }.into()),
            42 => {
                let iops = Some(self.rng.below(1000));
                self.operate(|volume, _| ThrottleVolume { volume, iops, bytes_per_s: None }.into());
            }
            43..46 => {
                let faults = [Fault::Conflict, Fault::UnknownDone, Fault::UnknownLost];
                self.w.meta.faults.push(*self.rng.pick(&faults).unwrap());
            }
            46..48 => {
                self.w.nodes.values_mut().for_each(|n| n.asked = None);
                self.w.restart_zone();
            }
            // Writes take their time: what is decided meanwhile must not mix with what is under way.
            85..88 => {
                self.w.meta.stopped ^= true;
                self.w.run();
            }
            48..50 => {
                let host = *self.rng.pick(&self.hosts).unwrap();
                self.w.hosts.get_mut(&host).unwrap().incarnation += 1;
                self.w.connect_host(host);
                self.w.run();
            }
            50..85 => self.wish(),
            _ => {
                let ms = [1, 40, 600, 1700, 6000][self.rng.below(5) as usize];
                self.w.pass_ms(ms);
            }
        }
        self.check();
    }

    /// It starts again with a log that is damaged, so that all it has is suspect.
    fn damage(&mut self, n: u64) {
        // What was decided before knows nothing of it.
        self.w.meta.faults.clear();
        self.w.meta.stopped = false;
        self.w.pass_ms(1000);
        self.check();
        let node = self.w.nodes.get_mut(&NodeId(n)).unwrap();
        node.partial = node.replicas.clone();
        self.w.restart(n);
    }

    fn create(&mut self) {
        self.requests += 1;
        let size = (1 + self.rng.below(20)) * (GIB / 4);
        let copies = 1 + self.rng.below(4) as u8;
        self.w.ask(CreateVolume { request: RequestId(self.requests), size, copies, throttle: Throttle::default() });
    }

    fn operate(&mut self, question: impl Fn(VolumeId, HostId) -> Message) {
        let host = *self.rng.pick(&self.hosts).unwrap();
        if let Some(volume) = self.rng.pick(&self.volumes()).copied() {
            self.w.ask(question(volume, host));
        }
    }

    /// Some node wishes for something, wisely or not.
    fn wish(&mut self) {
        let all: Vec<Configuration> = self.w.zone.configurations().cloned().collect();
        let Some(c) = self.rng.pick(&all).cloned() else { return };
        let from = match self.rng.below(8) {
            0 => NodeId(1 + self.rng.below(6)),
            1..4 => c.primary,
            _ => self.rng.pick(&c.members).unwrap().node,
        };
        let node = &self.w.nodes[&from];
        if !node.up || node.frozen || node.asked.is_some() || node.partial.contains(&c.shard) {
            return;
        }
        let mut members: Vec<Member> = c.members.clone();
        let mut primary = from;
        let (mut admit, mut cause) = (None, Cause::Restarted);
        match self.rng.below(8) {
            0..3 => {
                members.retain(|m| m.node != c.primary);
                cause = Cause::PrimaryLost;
            }
            3..5 => {
                let lost = self.rng.pick(&members).unwrap().node;
                members.retain(|m| m.node != lost);
                cause = if self.rng.chance(1, 3) {
                    Cause::MemberIncomplete { node: lost }
                } else {
                    Cause::MemberLost { node: lost }
                };
            }
            5..7 => {
                if let Some(learner) = c.learner {
                    members.push(learner.member);
                    (admit, cause, primary) = (Some(learner.plan), Cause::Learned, c.primary);
                }
            }
            _ => members = c.anchors.clone(),
        }
        if self.rng.chance(1, 20) {
            members.extend(c.holders.first());
        }
        let epoch = if self.rng.chance(1, 20) { Epoch(c.epoch.0.saturating_sub(1)) } else { c.epoch };
        self.wished.insert((c.shard, epoch, primary));
        let outcome = self.w.propose(from.0, Proposal { shard: c.shard, epoch, primary, members, admit, cause });
        if let Some(ProposalOutcome::Granted { config }) = outcome {
            assert!(epoch == c.epoch || config.epoch == c.epoch, "a wish of an old epoch is granted: {config:?}");
        }
    }

    /// What a change of a shard must keep.
    fn check_change(&self, old: &Configuration, c: &Configuration, learners: &[(ShardId, Member)]) {
        let began = c.learner.filter(|l| old.learner.is_none_or(|before| before.plan != l.plan));
        if let Some(learner) = began {
            let is_partial = self.w.nodes[&learner.member.node].partial.contains(&c.shard);
            let given_up = c.anchors.contains(&learner.member) && !is_partial;
            assert!(!given_up, "I7: an anchor learns: {c:?}");
            let there = learners.iter().filter(|(_, m)| m.node == learner.member.node).count();
            assert!(there <= self.w.policy.learn_in_max as usize, "R33: {there} learn at a time: {c:?}");
        }
    }

    fn check(&mut self) {
        let all: Vec<Configuration> = self.w.zone.configurations().cloned().collect();
        let learners: Vec<(ShardId, Member)> = all.iter().filter_map(|c| Some((c.shard, c.learner?.member))).collect();
        for c in &all {
            if let Some(old) = self.seen.insert(c.shard, c.clone()) {
                assert!(c.epoch >= old.epoch && c.revision >= old.revision, "back from {old:?} to {c:?}");
                self.check_change(&old, c, &learners);
                let primary = c.member_on(c.primary).expect("the primary is a member");
                if c.epoch == old.epoch.next() && !c.deleted {
                    self.elections += 1;
                    assert!(old.anchors.contains(&primary), "I4: {old:?} and {c:?}");
                    let partial = self.w.nodes[&c.primary].partial.contains(&c.shard);
                    let wished = self.wished.contains(&(c.shard, old.epoch, c.primary));
                    let goes_on = c.primary == old.primary || old.newborn || wished;
                    assert!(!partial || goes_on, "who has only a part leads: {old:?} and {c:?}");
                    assert!(c.members.len() <= usize::from(c.target_copies), "more than wanted: {c:?}");
                    let known = |m: &Member| {
                        old.is_member(*m) || old.anchors.contains(m) || old.learner.is_some_and(|l| l.member == *m)
                    };
                    assert!(c.members.iter().all(known), "a stranger is admitted: {old:?} and {c:?}");
                    let keeps = |m: &Member| {
                        let node = &self.w.nodes[&m.node];
                        let lost = node.member != *m || !node.replicas.contains(&c.shard);
                        let learns = c.learner.is_some_and(|l| l.member == *m);
                        lost || learns || c.is_member(*m) || c.holders.contains(m)
                    };
                    let whole = c.members.len() >= usize::from(c.target_copies);
                    assert!(whole || old.members.iter().all(keeps), "R13: who leaves holds: {old:?} and {c:?}");
                }
            }
        }
        if self.w.ready() {
            self.check_accounts(&all);
        }
    }

    /// I10: what is promised and kept is what the configurations say, and fits.
    fn check_accounts(&mut self, all: &[Configuration]) {
        // Accounts are of what is decided, configurations of what is durable; they meet when nothing is under way.
        if self.w.meta.stopped || !self.w.meta.faults.is_empty() {
            return;
        }
        for state in self.w.node_states() {
            let me = Member { node: state.info.entry.node, store: state.info.store };
            let bytes = |c: &Configuration| u64::from(c.blocks) * 4096;
            let live = all.iter().filter(|c| !c.deleted);
            let named = |c: &&Configuration| c.is_member(me) || c.learner.is_some_and(|l| l.member == me);
            let reserved: u64 = live.clone().filter(named).map(bytes).sum();
            let held: u64 = live.filter(|c| c.holders.contains(&me)).map(bytes).sum();
            assert_eq!(state.reserved, reserved, "{me:?}");
            assert!(state.held >= held, "{me:?}");
            assert!(state.reserved + state.held <= state.info.space.capacity, "I10: {state:?}");
        }
    }

    /// What a primary wishes for: that who says that it is incomplete leaves, and who is filled is a member. Who does not lead wishes for nothing.
    fn lead_on(&mut self, c: &Configuration) {
        let primary = c.primary;
        let node = &self.w.nodes[&primary];
        if node.leads.get(&c.shard) != Some(&c.epoch) || node.asked.is_some() || self.w.first_seen(c.shard) != *c {
            return;
        }
        let incomplete = |m: &&Member| {
            let node = &self.w.nodes[&m.node];
            node.member != **m || node.partial.contains(&c.shard)
        };
        let wish = match c.members.iter().find(incomplete).copied() {
            Some(incomplete) => {
                let members = c.members.iter().copied().filter(|m| *m != incomplete).collect();
                let cause = Cause::MemberIncomplete { node: incomplete.node };
                Proposal { shard: c.shard, epoch: c.epoch, primary, members, admit: None, cause }
            }
            None if c.learner.is_some() => self.w.admission(c),
            None => return,
        };
        self.w.propose(primary.0, wish);
        self.check();
    }

    /// The faults stop: within a bound, everything serves, is whole, and keeps nothing that may go.
    fn heal(&mut self) {
        self.w.meta.faults.clear();
        self.w.meta.stopped = false;
        self.w.run();
        self.check();
        for n in 1..=6 {
            self.w.nodes.get_mut(&NodeId(n)).unwrap().willing = true;
            self.w.restart(n);
        }
        for host in self.hosts.clone() {
            self.w.connect_host(host);
        }
        self.w.run();
        for _ in 0..400 {
            self.w.pass_ms(500);
            self.check();
            for c in self.w.zone.configurations().cloned().collect::<Vec<_>>() {
                self.lead_on(&c);
            }
            if self.w.ready() && self.is_well() {
                return;
            }
        }
        for volume in self.volumes() {
            let state = self.w.state(volume);
            if state.condition != VolumeCondition::Ok || state.shards.iter().any(|s| !s.config.holders.is_empty()) {
                eprintln!("{:?} {:?}", state.condition, state.shards);
            }
        }
        self.w.node_states().iter().for_each(|s| eprintln!("{s:?}"));
        panic!("it does not come to rest");
    }

    /// What each host was told last of its volumes is what is recorded.
    fn check_throttles(&mut self) {
        for volume in self.volumes() {
            let state = self.w.state(volume);
            if let Some(host) = state.attached {
                assert_eq!(self.w.hosts[&host].throttles[&volume], state.throttle, "{volume} at {host}");
            }
        }
    }

    fn is_well(&mut self) -> bool {
        let all: Vec<Configuration> = self.w.zone.configurations().filter(|c| !c.deleted).cloned().collect();
        let is_led = |c: &Configuration| self.w.nodes[&c.primary].leads.get(&c.shard) == Some(&c.epoch);
        if !all.iter().all(|c| self.lost(c) || is_led(c)) || !self.w.nodes.values().all(|n| n.is_told) {
            return false;
        }
        // A shard that waits for an operator's word holds its nodes in quarantine, so that others may have no place either.
        let waits = |c: &Configuration| self.lost(c) && c.anchors.iter().any(|m| self.w.nodes[&m.node].member == *m);
        all.iter().any(waits) || self.is_whole(&all)
    }

    /// Whether every shard has all its copies and serves, and nothing is kept that may go.
    fn is_whole(&mut self, all: &[Configuration]) -> bool {
        let nodes = self.w.node_states();
        // A disk that was replaced by an empty one took copies with it; a zone that is full then has no place for new ones.
        let no_room = |c: &Configuration| {
            let free = |s: &NodeState| s.info.space.capacity.saturating_sub(s.reserved + s.held);
            let fits =
                |s: &&NodeState| c.member_on(s.info.entry.node).is_none() && free(s) >= u64::from(c.blocks) * 4096;
            c.has_min_copies() && c.learner.is_none() && !nodes.iter().any(|s| fits(&s))
        };
        let whole = |c: &Configuration| c.members.len() >= usize::from(c.target_copies);
        let tidy = |c: &Configuration| c.holders.is_empty() && c.learner.is_none();
        let configs = all.iter().all(|c| self.lost(c) || (whole(c) && tidy(c)) || no_room(c));
        let excused: Vec<VolumeId> =
            all.iter().filter(|c| self.lost(c) || no_room(c)).map(|c| c.shard.volume).collect();
        let volumes = self.volumes();
        let serving = volumes.iter().all(|v| excused.contains(v) || self.w.state(*v).condition == VolumeCondition::Ok);
        // What is left of a shard whose carriers are all lost is kept until an operator deletes it.
        let any_lost = !excused.is_empty();
        let settled = nodes.iter().all(|s| s.condition == NodeCondition::Up && (any_lost || s.held == 0));
        configs && serving && settled
    }

    /// Whether the disks of all that could carry the shard on are gone or damaged.
    fn lost(&self, c: &Configuration) -> bool {
        let gone = |m: &Member| {
            let node = &self.w.nodes[&m.node];
            node.member != *m || node.partial.contains(&c.shard)
        };
        !c.deleted && c.anchors.iter().all(gone)
    }
}

impl World {
    fn first_seen(&self, shard: ShardId) -> Configuration {
        self.config(shard)
    }
}

/// A walk from a seed: how many epochs it saw, and where it ended.
pub fn walk(seed: u64, steps: u32, mutation: Mutation) -> (u32, Vec<Configuration>) {
    let mut walk = Walk::new(seed, mutation);
    for _ in 0..steps {
        walk.step();
    }
    walk.heal();
    walk.check_throttles();
    (walk.elections, walk.w.zone.configurations().cloned().collect())
}
