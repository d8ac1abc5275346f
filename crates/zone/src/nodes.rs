//! The nodes: who they are, whether they are heard, and what that makes of them.
//!
//! ```text
//! Up <-> Suspect -not heard for failed_after-> Failed -heard again-> Quarantined -each of its replicas settled-> Up
//! Up -says that it lost touch with many at once-> Isolated -says that it has not-> Up
//! ```
//!
//! A node is heard by the bytes of its own link. That it failed, and that it is quarantined, is durable; the rest is found out again.

use crate::ledger::Account;
use crate::records::{Health, Key, NodeRecord};
use crate::slow::Pace;
use crate::{Effect, Zone};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::io::net::{Link, Peer};
use base::mutant::Mutant;
use base::time::Duration;
use base::{Member, NodeId, ShardId, Time};
use wire::{Held, Message, NodeCondition, NodeInfo, Register, RotReport, Space, Taught, Touch, TrafficReport};

/// Replicas that one node may say it holds; a node that says more is cut off.
pub(crate) const HELD_MAX: usize = 1 << 20;

/// One node.
pub(crate) struct Node {
    /// What is decided about it.
    pub record: NodeRecord,
    /// Its space, as it last said.
    pub space: Space,
    /// The rot that it found, as it last said.
    pub rot: RotReport,
    /// What it last said of its networks.
    pub traffic: TrafficReport,
    /// What it has sent to learners, as it last said.
    pub taught: Taught,
    /// What it last said of its touch with others.
    pub touch: Touch,
    /// How its disk does.
    pub pace: Pace,
    /// What it held when it registered.
    pub held: BTreeMap<ShardId, Held>,
    /// Whether its link is up.
    pub linked: bool,
    /// Whether it has said all of who it is, on this life of its link.
    pub registered: bool,
    /// When a byte last came from it.
    pub heard: Time,
    /// When a primary last said that it has all of a shard: it was there, whether or not we heard it.
    pub vouched: Time,
    /// When its link went down.
    pub down_at: Time,
    /// When it registered as a new run; zero when its run is older than this authority.
    pub restarted_at: Time,
    /// When it last registered.
    pub registered_at: Time,
    /// How people see it.
    pub condition: NodeCondition,
    /// Since when.
    pub since: Time,
    /// What came of its registration is durable.
    compared: bool,
    /// When time alone may change that.
    check_at: Option<Time>,
}

/// A node that has not said all of who it is yet.
#[derive(Default)]
pub(crate) struct Joining {
    held: Vec<Held>,
}

impl Node {
    fn new(record: NodeRecord, now: Time) -> Self {
        Self {
            record,
            space: Space::default(),
            rot: RotReport::default(),
            traffic: TrafficReport::default(),
            taught: Taught::default(),
            touch: Touch::default(),
            pace: Pace::default(),
            held: BTreeMap::new(),
            linked: false,
            registered: false,
            heard: now,
            vouched: Time::ZERO,
            down_at: now,
            restarted_at: Time::ZERO,
            registered_at: now,
            condition: NodeCondition::Suspect,
            since: now,
            compared: false,
            check_at: None,
        }
    }

    /// As the metadata remember it: not heard yet.
    pub(crate) fn loaded(record: NodeRecord, now: Time) -> Self {
        let failed = record.health == Health::Failed;
        let space = Space { capacity: record.capacity, ..Space::default() };
        let condition = if failed { NodeCondition::Failed } else { NodeCondition::Suspect };
        Self { condition, space, ..Self::new(record, now) }
    }

    /// Whether it is there, as far as bytes can tell.
    pub(crate) fn is_heard(&self, now: Time, within: Duration) -> bool {
        self.linked && self.registered && now.since(self.heard) <= within
    }
}

impl Zone {
    /// Whether the disk of a replica is there, in a node that is heard.
    pub(crate) fn is_alive(&self, member: Option<Member>) -> bool {
        member.is_some_and(|member| {
            let node = self.nodes.get(&member.node);
            node.is_some_and(|n| n.record.store == member.store && n.is_heard(self.now, self.policy.heard_within()))
        })
    }

    /// Whether the disk of a replica is known to be gone: its node came with another.
    pub(crate) fn is_lost(&self, member: Member) -> bool {
        self.nodes.get(&member.node).is_some_and(|n| n.record.store != member.store)
    }

    /// Whether a replica can be counted out: its disk is gone, or its node has failed.
    pub(crate) fn has_failed(&self, member: Member) -> bool {
        self.is_lost(member) || self.nodes.get(&member.node).is_none_or(|n| n.condition == NodeCondition::Failed)
    }

    pub(crate) fn node_up(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.linked, node.heard) = (true, now);
        }
    }

    pub(crate) fn node_down(&mut self, id: NodeId) {
        self.joining.remove(&id);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.linked {
            (node.linked, node.registered, node.down_at) = (false, false, now);
            let member = node.record.member();
            self.check_at(id, now);
            self.wake_all_of(member);
        }
    }

    pub(crate) fn node_message(&mut self, id: NodeId, message: Message) -> bool {
        let (now, within) = (self.now, self.policy.heard_within());
        if let Some(node) = self.nodes.get_mut(&id) {
            let silent = node.linked && node.registered && !node.is_heard(now, within);
            (node.linked, node.heard) = (true, now);
            let member = node.record.member();
            if matches!(node.condition, NodeCondition::Suspect | NodeCondition::Failed) {
                self.check_node(id);
            } else if silent {
                // Nobody found it silent, but shards that were looked at meanwhile may have been taken for such without it.
                self.wake_all_of(member);
            }
        }
        let registered = self.nodes.get(&id).is_some_and(|n| n.registered);
        match message {
            Message::Register(m) => self.register(id, m),
            // Nothing else counts from somebody who has not said who he is.
            Message::Report(_) | Message::Propose(_) | Message::Released(_) | Message::PointState(_) if !registered => {
            }
            Message::Report(m) => {
                let node = self.nodes.get_mut(&id).expect("registered");
                (node.space, node.rot) = (m.space, m.rot);
                (node.taught, node.traffic) = (m.taught, m.traffic);
                self.touch_reported(id, m.touch);
                m.shards.into_iter().for_each(|report| self.shard_report(id, report));
                self.disk_report(id, m.disk);
            }
            Message::Propose(_) => self.ask(Peer::Node(id), None, message),
            Message::Released(m) if m.member.node == id => self.released(m.shard, m.member),
            Message::PointState(m) => self.point_state(id, &m),
            Message::Locate(m) => self.locate(Peer::Node(id), &m),
            _ => return false,
        }
        true
    }

    fn register(&mut self, id: NodeId, m: Register) {
        let newest = self.nodes.get(&id).map(|n| n.record.incarnation).filter(|newest| *newest > m.node.incarnation);
        if let Some(incarnation) = newest {
            // A left-over process of an earlier run, or another under this name that came first and lost touch: either is one too many. It is not
            // cut off before it has read so.
            self.joining.remove(&id);
            self.nodes.get_mut(&id).expect("its record was looked at").linked = false;
            self.counters.overtaken += 1;
            return self.send(Peer::Node(id), wire::Overtaken { incarnation });
        }
        if !self.joining.contains_key(&id) && !self.is_past(id, m.seen) || self.behind.is_some() {
            return;
        }
        let joining = self.joining.entry(id).or_default();
        joining.held.extend(m.held);
        // Somebody else under this name is not the node.
        if m.node.entry.node != id || joining.held.len() > HELD_MAX {
            self.joining.remove(&id);
            self.close(Link::from(Peer::Node(id)));
            return;
        }
        if m.last {
            let held = self.joining.remove(&id).map(|j| j.held).unwrap_or_default();
            self.registered(m.node, held.into_iter().map(|h| (h.shard, h)).collect());
        }
    }

    /// A node has said all of who it is.
    fn registered(&mut self, info: NodeInfo, held: BTreeMap<ShardId, Held>) {
        let (id, now) = (info.entry.node, self.now);
        let fresh = NodeRecord {
            entry: info.entry,
            store: info.store,
            incarnation: info.incarnation,
            rack: info.rack,
            capacity: info.space.capacity,
            health: Health::Sound,
            draining: false,
        };
        let known = self.nodes.contains_key(&id);
        let node = self.nodes.entry(id).or_insert_with(|| Node::new(fresh.clone(), now));
        let moved = !known || !node.record.same_entry(&fresh.entry);
        let old_disk = Some(node.record.member()).filter(|m| *m != fresh.member());
        let restarted = node.record.incarnation != fresh.incarnation || old_disk.is_some() || !known;
        if restarted {
            node.restarted_at = now;
            (node.rot, node.taught) = (RotReport::default(), Taught::default());
            (node.traffic, node.touch) = (TrafficReport::default(), Touch::default());
            node.pace.restarted(old_disk.is_none());
        }
        let health = if node.record.health == Health::Sound { Health::Sound } else { Health::Quarantined };
        let record = NodeRecord { health, draining: node.record.draining, ..fresh };
        if record != node.record || self.truth.revision(&Key::Node(id)).0 == 0 {
            node.record = record;
            self.truth.touch(Key::Node(id));
        }
        (node.linked, node.registered, node.heard, node.registered_at) = (true, true, now, now);
        (node.space, node.held) = (info.space, held);
        self.check_node(id);
        if health == Health::Quarantined {
            self.settling.insert(id);
            self.after(Effect::GaveUp(id));
        }
        if restarted {
            // What the run before said of the shards it led is over: a new run leads nothing before it is elected.
            let member = self.nodes[&id].record.member();
            for shard in self.ledger.shards_of(member) {
                let shard = self.shards.get_mut(&shard).expect("the ledger names shards that exist");
                if shard.durable.as_ref().is_some_and(|c| c.primary == id) {
                    shard.report = None;
                }
            }
        }
        old_disk.into_iter().for_each(|disk| self.disk_is_lost(disk));
        self.nodes.get_mut(&id).expect("it was entered above").compared = false;
        self.reconcile(id);
        self.after(Effect::Compared(id));
        self.directory_to.insert(Peer::Node(id));
        self.tell_given_up(id);
        if moved {
            self.after(Effect::Directory);
        }
        self.wake_starving();
    }

    /// A node came with another disk: what was on the old one is lost, and nothing of it is waited for.
    fn disk_is_lost(&mut self, disk: Member) {
        self.counters.disks_lost += 1;
        self.counters.replicas_lost += u64::from(self.ledger.of(disk).map_or(0, |account| account.replicas));
        self.wake_all_of(disk);
        // A shard that is lost by this holds nobody in quarantine any more.
        self.settling.extend(self.nodes.keys().copied());
        for shard in self.ledger.shards_of(disk) {
            self.change(shard, |r| {
                r.config.holders.retain(|m| *m != disk);
                r.releasing.retain(|m| *m != disk);
                if r.config.learner.is_some_and(|l| l.member == disk) {
                    r.config.learner = None;
                }
            });
        }
    }

    /// Compares what a node holds with what is recorded, and tells it what it must know.
    fn reconcile(&mut self, id: NodeId) {
        self.tell_all(id);
        let member = self.nodes[&id].record.member();
        let held: Vec<Held> = self.nodes[&id].held.values().cloned().collect();
        for h in &held {
            let Some(shard) = self.shards.get_mut(&h.shard) else { continue };
            if shard.durable.as_ref().is_none_or(|d| h.epoch > d.epoch) {
                // It obeyed a configuration that these metadata do not have: they are old, and whatever they say may be wrong.
                shard.behind = true;
                continue;
            }
            // A disk that was thought lost and came back, or a replica that was given up: it is kept until it may go.
            if !shard.record.names(member) {
                self.change(h.shard, |r| {
                    if r.config.deleted { r.releasing.push(member) } else { r.config.holders.push(member) }
                });
            }
            self.push(Peer::Node(id), h.shard);
            self.shards.get_mut(&h.shard).expect("it was found above").released_at = None;
        }
        let forgotten = self.policy.mutation.is(Mutant::ToldToLearnForgotten);
        for shard in self.ledger.shards_of(member) {
            self.push(Peer::Node(id), shard);
            // What is told to it now is durable, and may be older than what is decided. That, or what it is told when it is a member again, may make it make its
            // replica: then it does not hold nothing for long.
            let carries = |c: &base::Configuration| c.is_member(member) || c.anchors.contains(&member);
            let learns = |c: &base::Configuration| c.learner.is_some_and(|l| l.member == member) && !forgotten;
            let makes = |c: &base::Configuration| !c.deleted && (c.newborn && carries(c) || learns(c));
            let unborn = self.shards[&shard].durable.as_ref().is_none_or(makes);
            if !unborn && !self.nodes[&id].held.contains_key(&shard) {
                self.released(shard, member);
            }
        }
        self.wake_all_of(member);
    }

    /// A replica that was to go is gone; or a holder has nothing.
    fn released(&mut self, shard: ShardId, member: Member) {
        let Some(found) = self.shards.get(&shard) else { return };
        if found.record.releasing.contains(&member) || found.config().holders.contains(&member) {
            let kept = self.policy.mutation.is(Mutant::DroppedStillHeld);
            self.change(shard, |r| {
                r.releasing.retain(|m| *m != member || kept);
                r.config.holders.retain(|m| *m != member);
                // It has nothing, so it carries nothing on. A configuration that has enough copies is carried by its members.
                let others = r.config.anchors.iter().any(|m| *m != member);
                if others && !r.config.newborn && !r.config.has_min_copies() {
                    r.config.anchors.retain(|m| *m != member);
                }
            });
            self.wake_starving();
        }
    }

    /// Tells everybody who is here all he must know. What a node held when it registered may be long gone, so it is not compared again; a node of
    /// which the comparison was lost with the last truth has to come again.
    pub(crate) fn nodes_again(&mut self) {
        let here: Vec<NodeId> = self.nodes.iter().filter(|(_, n)| n.registered).map(|(id, _)| *id).collect();
        for id in here {
            let node = &self.nodes[&id];
            if !node.compared {
                self.close(Link::from(Peer::Node(id)));
                continue;
            }
            self.directory_to.insert(Peer::Node(id));
            self.given_up_to.insert(id);
            // What ended its quarantine may have come with this reading, or its end may have gone with the last.
            self.settling.insert(id);
            for shard in self.ledger.shards_of(node.record.member()) {
                self.push(Peer::Node(id), shard);
            }
            self.tell_all(id);
        }
    }

    /// At the end of the turn a node is told of its shards, even if that is none: so it knows what peers may still tell it that is over.
    fn tell_all(&mut self, id: NodeId) {
        if !self.policy.mutation.is(Mutant::NothingNotTold) {
            self.pushes.entry(Peer::Node(id)).or_default();
        }
    }

    /// What came of a node's registration is durable.
    pub(crate) fn compared(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.compared = node.registered;
        }
    }

    pub(crate) fn directory_to_all(&mut self) {
        let nodes = self.nodes.iter().filter(|(_, n)| n.registered).map(|(id, _)| Peer::Node(*id));
        let hosts = self.hosts.iter().filter(|(_, h)| h.registered).map(|(id, _)| Peer::Host(*id));
        self.directory_to.extend(nodes.chain(hosts));
    }

    /// What time alone makes of nodes.
    pub(crate) fn check_nodes(&mut self) {
        while let Some(&(at, id)) = self.checks.first()
            && at <= self.now
        {
            self.checks.remove(&(at, id));
            if let Some(node) = self.nodes.get_mut(&id) {
                node.check_at = None;
                self.check_node(id);
                self.check_slow(id);
            }
        }
    }

    /// Has a node's condition looked at, at `at` or before.
    pub(crate) fn check_at(&mut self, id: NodeId, at: Time) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.check_at.is_some_and(|old| old <= at) {
            return;
        }
        if let Some(old) = node.check_at.replace(at) {
            self.checks.remove(&(old, id));
        }
        self.checks.insert((at, id));
    }

    pub(crate) fn check_node(&mut self, id: NodeId) {
        let (now, policy) = (self.now, &self.policy);
        let Some(node) = self.nodes.get(&id) else { return };
        let heard = node.is_heard(now, policy.heard_within());
        let suspect_at =
            if node.linked { node.heard + policy.heard_within() } else { node.down_at + policy.suspect_after };
        let failed_at = node.heard.max(node.vouched) + policy.failed_after;
        let (condition, next) = match &node.condition {
            _ if heard && node.record.health == Health::Sound && node.touch.isolated_ms.is_some() => {
                (NodeCondition::Isolated, Some(suspect_at))
            }
            _ if heard && node.record.health == Health::Sound => (NodeCondition::Up, Some(suspect_at)),
            _ if heard => (NodeCondition::Quarantined, Some(suspect_at)),
            NodeCondition::Failed => (NodeCondition::Failed, None),
            _ if now >= failed_at => (NodeCondition::Failed, None),
            condition if now < suspect_at => (condition.clone(), Some(suspect_at)),
            _ => (NodeCondition::Suspect, Some(failed_at)),
        };
        if let Some(next) = next {
            self.check_at(id, next.max(now + Duration::from_nanos(1)));
        }
        let node = self.nodes.get_mut(&id).expect("it was found above");
        // Also where the condition is as it was: what is recorded of it may have gone with a truth that was lost.
        let health = match condition {
            NodeCondition::Failed => Health::Failed,
            NodeCondition::Quarantined => Health::Quarantined,
            _ => node.record.health,
        };
        if health != node.record.health {
            node.record.health = health;
            self.truth.touch(Key::Node(id));
            self.after(Effect::GaveUp(id));
        }
        let node = self.nodes.get_mut(&id).expect("it was found above");
        if condition == node.condition {
            return;
        }
        if condition == NodeCondition::Quarantined {
            self.settling.insert(id);
        }
        (node.condition, node.since) = (condition, now);
        let member = node.record.member();
        self.wake_all_of(member);
        self.wake_starving();
    }

    /// Ends the quarantine of nodes whose replicas are all settled: members again, or whole without them, or deleted, or lost (R21).
    pub(crate) fn settle_nodes(&mut self) {
        for id in core::mem::take(&mut self.settling) {
            let Some(node) = self.nodes.get(&id) else { continue };
            let member = node.record.member();
            if node.record.health != Health::Quarantined || !node.registered {
                continue;
            }
            let shards = self.ledger.of(member).map(|a: &Account| &a.shards);
            let settled = shards.is_none_or(|shards| {
                shards.iter().all(|shard| {
                    // What is only decided settles nothing.
                    let config = self.shards[shard].durable.as_ref();
                    config.is_some_and(|c| {
                        let whole = c.members.len() >= usize::from(c.target_copies);
                        // Where every disk that could carry it on is gone, there is nothing to wait for. What is left is kept all the same.
                        let lost = c.anchors.iter().all(|m| self.is_lost(*m));
                        c.deleted || c.is_member(member) || whole || lost
                    })
                })
            });
            if settled {
                self.nodes.get_mut(&id).expect("it was found above").record.health = Health::Sound;
                self.truth.touch(Key::Node(id));
                self.check_node(id);
            }
        }
    }
}
