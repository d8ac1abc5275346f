//! Freezing a volume: all its shards as of one moment, or not at all.
//!
//! ```text
//! Making, durable -Hold to all-> all hold -Freeze to all-> all froze -Release to all-> all had held until then: Made, durable -> the answer
//! anything else, or a restart of the authority -> Dropping, durable -Thaw to each, until each said done-> gone
//! ```
//!
//! While all primaries hold, no client learns anything on which a later write could depend. So a write that is in the point of one shard depends on nothing
//! that the point of another lacks; and what was acknowledged before the freeze was asked for is in all of them, since it was in sequence before.
//!
//! The intent is recorded before anybody is asked, so that nothing is ever frozen of which the record does not know. A point that is not dropped everywhere
//! stays in the record, and counts: a number is never used twice, and all that its volume has counts twice on each disk (I10).
//!
//! It does not know how a primary holds or freezes; what a primary says of an epoch that is not in force is not heard.

use crate::asks::Stage;
use crate::records::{Key, PointRecord, VolumeRecord};
use crate::shards::Shard;
use crate::{Effect, Zone};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::size::Size;
use base::{Epoch, Member, NodeId, PointId, RequestId, ShardId, Time, VolumeId};
use wire::{ErrorCode, PointCondition, PointOrder, PointRefusal, PointState, PointStep, VolumePoint};

/// What is known of points beside the records.
#[derive(Default)]
pub(crate) struct Points {
    making: BTreeMap<VolumeId, Making>,
    dropping: BTreeMap<(VolumeId, PointId), Dropping>,
    /// What is being written.
    written: BTreeMap<VolumeId, Vec<VolumePoint>>,
    /// What is durable, and so what anybody may know.
    durable: BTreeMap<VolumeId, Vec<VolumePoint>>,
}

/// A volume whose primaries were asked to hold.
struct Making {
    point: PointId,
    /// What all were asked last.
    step: PointStep,
    /// Not longer.
    until: Time,
    primaries: BTreeMap<ShardId, Primary>,
}

/// Who leads a shard, as of the beginning.
struct Primary {
    node: NodeId,
    epoch: Epoch,
    answered: bool,
}

/// A point that is to go, of which that is durable.
struct Dropping {
    /// When to ask those who have not dropped it.
    at: Time,
    /// Those who have.
    done: BTreeSet<ShardId>,
}

impl Points {
    /// The points of a volume that are durable, for people.
    pub(crate) fn durable(&self, volume: VolumeId) -> Vec<VolumePoint> {
        self.durable.get(&volume).cloned().unwrap_or_default()
    }

    /// The write that was just handed out contains this record.
    pub(crate) fn written(&mut self, volume: &VolumeRecord) {
        self.written.insert(volume.info.volume, volume.shown());
    }

    /// What was written is durable.
    pub(crate) fn are_durable(&mut self) {
        self.durable.append(&mut self.written);
    }

    /// These are the records; nothing else is known.
    pub(crate) fn loaded(&mut self, volumes: &BTreeMap<VolumeId, VolumeRecord>) {
        let durable = volumes.iter().map(|(id, volume)| (*id, volume.shown())).collect();
        *self = Self { durable, ..Self::default() };
    }

    /// A shard has another primary, or the same anew: whoever did not say that he dropped a point may not have.
    pub(crate) fn epoch_changed(&mut self, shard: ShardId, now: Time) {
        let all = (shard.volume, PointId(0))..=(shard.volume, PointId(u64::MAX));
        self.dropping.range_mut(all).for_each(|(_, dropping)| dropping.at = now);
    }

    /// When something is to be done though nothing came.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.making.values().map(|m| m.until).chain(self.dropping.values().map(|d| d.at)).min()
    }
}

/// Why a primary did not take a step, for people.
fn words(refusal: PointRefusal) -> String {
    match refusal {
        PointRefusal::NotServing => "its primary does not serve any more".into(),
        PointRefusal::NotHolding => "its primary could not hold for so long".into(),
        PointRefusal::OtherPoint => "its primary holds for another point".into(),
        PointRefusal::Copying => "a copy is being made".into(),
        PointRefusal::Busy => "too many writes wait".into(),
        PointRefusal::TooMany { most } => format!("its disks have {most} points of it, which is all they can"),
        PointRefusal::NoRoom { lacking } => format!("a disk lacks {} of room for a point", Size(lacking)),
    }
}

impl Zone {
    pub(crate) fn freeze_volume(&mut self, ticket: u64, id: VolumeId, request: RequestId) {
        let Some(volume) = self.volumes.get(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        if let Some(PointRecord { point, condition, .. }) = volume.points.iter().find(|p| p.request == request).copied()
        {
            return match condition {
                PointCondition::Made => self.answer_after(ticket, Effect::Show { ticket, volume: id }),
                PointCondition::Making => self.wait_for_point(ticket, id, point),
                PointCondition::Dropping => {
                    let text = format!(
                        "{point} of {id}, which this request asked for, is being dropped; try again in a second"
                    );
                    self.fail(ticket, ErrorCode::Unavailable, text);
                }
            };
        }
        if let Some((code, text)) = self.refuses_freeze(volume) {
            return self.fail(ticket, code, text);
        }
        let volume = self.volumes.get_mut(&id).expect("it was found above");
        volume.last_point += 1;
        let point = PointId(volume.last_point);
        volume.points.push(PointRecord { point, request, condition: PointCondition::Making });
        self.truth.touch(Key::Volume(id));
        self.count_points(id);
        self.wait_for_point(ticket, id, point);
        self.after(Effect::Freeze { volume: id, point });
    }

    /// Why a volume is not frozen now; nothing was changed.
    fn refuses_freeze(&self, volume: &VolumeRecord) -> Option<(ErrorCode, String)> {
        let id = volume.info.volume;
        if let Some(point) = volume.making() {
            return Some((ErrorCode::Unavailable, format!("{point} of {id} is being made; try again in a second")));
        }
        let most = self.policy.points_max;
        if volume.points.len() >= most {
            let text = format!(
                "{id} has {} frozen points, those included that are being dropped, and a volume has at most {most}: {}; \
                 drop one with `seawall volume thaw {id} POINT`",
                volume.points.len(),
                named(volume)
            );
            return Some((ErrorCode::NoRoom, text));
        }
        let unfit = self.shards_of(id).find_map(|shard| self.unfit_to_freeze(shard));
        let unfit = unfit.map(|why| (ErrorCode::Unavailable, format!("{id} cannot be frozen now: {why}; try again")));
        unfit.or_else(|| Some((ErrorCode::NoRoom, self.no_room_to_freeze(id)?)))
    }

    /// Why a shard cannot be frozen now, in words.
    fn unfit_to_freeze(&self, shard: &Shard) -> Option<String> {
        let c = shard.config();
        let why = match &shard.durable {
            None => "it is being made".into(),
            Some(durable) if durable.epoch != c.epoch => "it is about to have another epoch".into(),
            _ if !c.has_min_copies() => format!("{} of at least {} copies are left", c.members.len(), c.min_copies),
            // What is being filled would lack the point.
            Some(durable) if c.learner.or(durable.learner).is_some() => "a copy is being made".into(),
            _ if !self.is_alive(c.member_on(c.primary)) => format!("{}, which leads it, is not heard", c.primary),
            _ if !shard.serves() => "it is not served at the moment".into(),
            _ => return None,
        };
        Some(format!("shard {}: {why}", c.shard.index))
    }

    /// Which disk has no room for a first point, in words.
    fn no_room_to_freeze(&self, id: VolumeId) -> Option<String> {
        if self.ledger.times(id) > 1 {
            return None;
        }
        let mut needed: BTreeMap<Member, u64> = BTreeMap::new();
        // Whoever is named has the shard, or is to have it again.
        for shard in self.shards_of(id) {
            shard.record.named().for_each(|member| *needed.entry(member).or_default() += shard.record.bytes());
        }
        needed.into_iter().find_map(|(member, more)| {
            let limit = self.limit_of(member)?;
            let free = limit.saturating_sub(self.ledger.taken(member));
            (free < more).then(|| {
                format!(
                    "no room to freeze {id}: all that it has may be written anew while a point keeps what was there, so {} more are needed on {}, \
                     which has {} of {} left; delete volumes, or drain {} so that its copies are made again where there is room, and try again",
                    Size(more),
                    member.node,
                    Size(free),
                    Size(limit),
                    member.node
                )
            })
        })
    }

    /// Counts a volume's shards once or twice on their disks, as it has points or has none.
    fn count_points(&mut self, id: VolumeId) {
        let frozen = !self.volumes[&id].points.is_empty();
        if frozen != (self.ledger.times(id) > 1) {
            let (first, last) = (ShardId { volume: id, index: 0 }, ShardId { volume: id, index: u32::MAX });
            let shards = self.shards.range(first..=last).map(|(_, shard)| &shard.record);
            self.ledger.freeze(id, frozen, shards);
            if !frozen {
                self.wake_starving();
            }
        }
    }

    fn wait_for_point(&mut self, ticket: u64, volume: VolumeId, point: PointId) {
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Freezing { volume, point };
        }
    }

    /// Those who wait for a point.
    fn waiting_for(&self, volume: VolumeId, point: PointId) -> Vec<u64> {
        let stage = Stage::Freezing { volume, point };
        self.asks.iter().filter(|(_, ask)| ask.stage == stage).map(|(ticket, _)| *ticket).collect()
    }

    /// The intent is durable: the primaries are asked to hold.
    pub(crate) fn hold(&mut self, id: VolumeId, point: PointId) {
        // It may have been deleted meanwhile.
        if self.volumes.get(&id).and_then(VolumeRecord::making) != Some(point) {
            return;
        }
        let unfit = self.shards_of(id).find_map(|shard| self.unfit_to_freeze(shard));
        if let Some(why) = unfit {
            return self.abandon(id, point, &why);
        }
        let primary = |shard: &Shard| {
            let c = shard.config();
            (c.shard, Primary { node: c.primary, epoch: c.epoch, answered: false })
        };
        let primaries = self.shards_of(id).map(primary).collect();
        let until = self.now + self.policy.freeze_timeout;
        self.points.making.insert(id, Making { point, step: PointStep::Hold, until, primaries });
        self.take_step(id, PointStep::Hold);
    }

    /// Asks all primaries of a volume for a step.
    fn take_step(&mut self, id: VolumeId, step: PointStep) {
        let Some(making) = self.points.making.get_mut(&id) else { return };
        making.step = step;
        let point = making.point;
        for (shard, primary) in &mut making.primaries {
            primary.answered = false;
            let order = PointOrder { shard: *shard, epoch: primary.epoch, point, step };
            self.outgoing.push((Peer::Node(primary.node), order.into()));
        }
    }

    /// A primary says what became of a step.
    pub(crate) fn point_state(&mut self, from: NodeId, m: &PointState) {
        if m.step == PointStep::Thaw {
            return self.is_dropped(from, m);
        }
        let (id, point, step) = (m.shard.volume, m.point, m.step);
        let making = self.points.making.get_mut(&id).filter(|making| (making.point, making.step) == (point, step));
        let Some(making) = making else { return };
        let primary = making.primaries.get_mut(&m.shard).filter(|p| (p.node, p.epoch) == (from, m.epoch));
        let Some(primary) = primary else { return };
        if let Some(refusal) = m.refused {
            let why = format!("shard {}: {}", m.shard.index, words(refusal));
            return self.abandon(id, point, &why);
        }
        primary.answered = true;
        if making.primaries.values().any(|primary| !primary.answered) {
            return;
        }
        if let Some(why) = self.is_broken(id) {
            return self.abandon(id, point, &why);
        }
        match step {
            PointStep::Hold => self.take_step(id, PointStep::Freeze),
            PointStep::Freeze => self.take_step(id, PointStep::Release),
            PointStep::Release | PointStep::Thaw => {
                self.points.making.remove(&id);
                self.set_condition(id, point, PointCondition::Made);
                self.after(Effect::Frozen { volume: id, point });
            }
        }
    }

    fn set_condition(&mut self, id: VolumeId, point: PointId, condition: PointCondition) {
        let volume = self.volumes.get_mut(&id).expect("a volume with a point has a record");
        let record = volume.points.iter_mut().find(|p| p.point == point).expect("a point has a record");
        record.condition = condition;
        self.truth.touch(Key::Volume(id));
    }

    /// A point is made, and that is durable.
    pub(crate) fn frozen(&mut self, volume: VolumeId, point: PointId) {
        self.waiting_for(volume, point).into_iter().for_each(|ticket| self.show_volume(ticket, volume));
    }

    /// Why a volume cannot go on being frozen, in words: what was so at the beginning is not any more.
    fn is_broken(&self, id: VolumeId) -> Option<String> {
        let making = self.points.making.get(&id)?;
        self.shards_of(id).find_map(|shard| {
            let c = shard.config();
            let same = making.primaries.get(&c.shard).is_some_and(|p| (p.node, p.epoch) == (c.primary, c.epoch));
            let changed = || (!same).then(|| format!("shard {}: its epoch has changed", c.shard.index));
            self.unfit_to_freeze(shard).or_else(changed)
        })
    }

    /// A point is not made: whoever may hold lets go, and it is dropped.
    fn abandon(&mut self, id: VolumeId, point: PointId, why: &str) {
        if self.points.making.get(&id).is_some_and(|making| making.step != PointStep::Release) {
            self.take_step(id, PointStep::Release);
        }
        self.points.making.remove(&id);
        self.set_condition(id, point, PointCondition::Dropping);
        let why = format!("{id} was not frozen: {why}; try again");
        self.after(Effect::Drop { volume: id, point, why });
    }

    /// The truth is to be read again: nobody need hold any longer.
    pub(crate) fn let_go(&mut self) {
        for id in self.points.making.keys().copied().collect::<Vec<_>>() {
            self.take_step(id, PointStep::Release);
        }
        self.points.making.clear();
    }

    /// There is a truth to act on. What was being made when the last one ended is dropped: nobody knows who held for how long.
    pub(crate) fn points_again(&mut self) {
        let with_points = self.volumes.iter().filter(|(_, v)| !v.deleted && !v.points.is_empty());
        let all: Vec<(VolumeId, PointRecord)> =
            with_points.flat_map(|(id, v)| v.points.iter().map(|point| (*id, *point))).collect();
        for (volume, PointRecord { point, condition, .. }) in all {
            match condition {
                PointCondition::Made => {}
                PointCondition::Making => {
                    self.set_condition(volume, point, PointCondition::Dropping);
                    self.after(Effect::Drop { volume, point, why: String::new() });
                }
                PointCondition::Dropping => self.drop_point(volume, point, ""),
            }
        }
    }

    pub(crate) fn thaw_volume(&mut self, ticket: u64, id: VolumeId, point: PointId) {
        let Some(volume) = self.volumes.get(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        match volume.point(point).map(|p| p.condition) {
            Some(PointCondition::Made) => {
                self.set_condition(id, point, PointCondition::Dropping);
                self.after(Effect::Drop { volume: id, point, why: String::new() });
                self.answer_after(ticket, Effect::Show { ticket, volume: id });
            }
            Some(PointCondition::Making) => {
                let text = format!("{point} of {id} is being made; try again in a second");
                self.fail(ticket, ErrorCode::Unavailable, text);
            }
            Some(PointCondition::Dropping) => {
                let text = format!("{point} of {id} is being dropped already; {id} has {}", named(volume));
                self.fail(ticket, ErrorCode::NotFound, text);
            }
            None => {
                let text = format!("{id} has no {point}; it has {}", named(volume));
                self.fail(ticket, ErrorCode::NotFound, text);
            }
        }
    }

    /// That a point is to go is durable: whoever waits for it is told why, and each shard's primary to drop it.
    pub(crate) fn drop_point(&mut self, volume: VolumeId, point: PointId, why: &str) {
        for ticket in self.waiting_for(volume, point) {
            self.fail(ticket, ErrorCode::Unavailable, why.into());
        }
        // What is deleted is dropped with all that it has.
        if self.volumes.get(&volume).is_some_and(|v| !v.deleted && v.point(point).is_some()) {
            let at = self.now;
            self.points.dropping.insert((volume, point), Dropping { at, done: BTreeSet::new() });
        }
    }

    /// The volume is deleted, and its points with it. They count until its nodes have dropped all.
    pub(crate) fn drop_points_of_deleted(&mut self, id: VolumeId) {
        for point in self.volumes[&id].points.clone() {
            match point.condition {
                PointCondition::Making => self.abandon(id, point.point, "it is deleted"),
                PointCondition::Made => self.set_condition(id, point.point, PointCondition::Dropping),
                PointCondition::Dropping => {}
            }
        }
        self.points.dropping.retain(|(volume, _), _| *volume != id);
    }

    /// A primary says that it dropped a point, or why not: then it is asked again.
    fn is_dropped(&mut self, from: NodeId, m: &PointState) {
        let key = (m.shard.volume, m.point);
        let Some(durable) = self.shards.get(&m.shard).and_then(|shard| shard.durable.as_ref()) else { return };
        if m.refused.is_some() || (durable.primary, durable.epoch) != (from, m.epoch) {
            return;
        }
        let Some(dropping) = self.points.dropping.get_mut(&key) else { return };
        dropping.done.insert(m.shard);
        let done = &self.points.dropping[&key].done;
        if self.shards_of(key.0).all(|shard| done.contains(&shard.config().shard)) {
            self.points.dropping.remove(&key);
            let volume = self.volumes.get_mut(&key.0).expect("a volume with a point has a record");
            volume.points.retain(|p| p.point != key.1);
            self.truth.touch(Key::Volume(key.0));
            self.count_points(key.0);
        }
    }

    /// What time, or a change of a shard, makes of points.
    pub(crate) fn check_points(&mut self) {
        if self.behind.is_some() {
            return;
        }
        for id in self.points.making.keys().copied().collect::<Vec<_>>() {
            let making = &self.points.making[&id];
            let late = making.primaries.iter().find(|(_, p)| !p.answered && making.until <= self.now);
            let ms = self.policy.freeze_timeout.as_millis();
            let late =
                late.map(|(shard, p)| format!("shard {}: {} did not answer within {ms} ms", shard.index, p.node));
            let point = making.point;
            if let Some(why) = self.is_broken(id).or(late) {
                self.abandon(id, point, &why);
            }
        }
        let due = self.points.dropping.iter().filter(|(_, dropping)| dropping.at <= self.now);
        for (volume, point) in due.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.thaw(volume, point);
        }
    }

    /// Tells the primary of each shard to drop a point that has not said that it did.
    fn thaw(&mut self, volume: VolumeId, point: PointId) {
        let done = &self.points.dropping[&(volume, point)].done;
        let left = self.shards_of(volume).filter(|shard| !done.contains(&shard.config().shard));
        let led = left.filter_map(|shard| shard.durable.as_ref()).filter(|c| self.is_alive(c.member_on(c.primary)));
        let order = |epoch, shard| PointOrder { shard, epoch, point, step: PointStep::Thaw };
        let orders: Vec<_> = led.map(|c| (Peer::Node(c.primary), order(c.epoch, c.shard).into())).collect();
        self.outgoing.extend(orders);
        let at = self.now + self.policy.thaw_again;
        self.points.dropping.get_mut(&(volume, point)).expect("it was found above").at = at;
    }
}

/// The points of a volume, in words.
fn named(volume: &VolumeRecord) -> String {
    let name = |p: &PointRecord| match p.condition {
        PointCondition::Making => format!("{} (being made)", p.point),
        PointCondition::Made => format!("{}", p.point),
        PointCondition::Dropping => format!("{} (being dropped)", p.point),
    };
    let names: Vec<String> = volume.points.iter().map(name).collect();
    if names.is_empty() { "no points".into() } else { names.join(", ") }
}
