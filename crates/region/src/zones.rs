//! The way to the zones: for each its own queue, its own bound on what is under way, its own link. One that does not answer fills its own and no other's (R32, R56).
//!
//! A command stays here until its outcome came. It is said again when the link comes up anew and when nothing came for a while, always under a new ticket, so that
//! an old answer is never taken for a new one. Each of them may be said twice.
//!
//! How much a zone may have, and what is refused before it comes here, is said in `isolation`.

use crate::breaker::Breaker;
use crate::hosts::STALE_PERIODS;
use crate::isolation::{Class, Mechanism};
use crate::{Policy, ZoneNumber};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Link, Op, Peer};
use base::mutant::Mutant;
use base::time::Duration;
use base::{Time, VolumeId};
use wire::{Command, Message};

/// One class of operations of one zone.
struct Row {
    /// Requests that wait for its word.
    waits: usize,
    /// What is to be said, in order.
    queue: VecDeque<VolumeId>,
    /// What was said, by ticket.
    flight: BTreeMap<u64, VolumeId>,
    /// How long an answer took of late.
    took: Duration,
    breaker: Breaker,
}

/// One zone.
struct Line {
    peer: Peer,
    up: bool,
    rows: [Row; Class::ALL.len()],
    /// The survey that is under way, apart from all commands, and when it is given up or the next is due.
    survey: (Option<u64>, Time),
    /// When anything was last answered.
    heard: Time,
}

impl Line {
    fn flights(&self) -> usize {
        self.rows.iter().map(|row| row.flight.len()).sum()
    }

    /// Of these, those that share one bound.
    fn shared_flights(&self) -> usize {
        self.flights() - self.rows[Class::Attach as usize].flight.len()
    }
}

/// What is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Make,
    Delete,
    Grow,
    Throttle,
    Attach,
    Detach,
}

/// What is wanted of a zone about one volume.
struct Wish {
    zone: ZoneNumber,
    need: Need,
    class: Class,
    message: Message,
    /// Its ticket, and when it is said again; none while it is in the queue.
    said: Option<(u64, Time)>,
    /// Whether the zone may have heard of it, ever.
    was_said: bool,
    /// Its place in the order in which all wishes came into queues.
    order: u64,
    /// Since when it is in a queue or under way.
    since: Time,
    /// Until when somebody waits for it; none when nobody does.
    until: Option<Time>,
}

/// All of them.
pub(crate) struct Zones {
    lines: BTreeMap<ZoneNumber, Line>,
    wishes: BTreeMap<VolumeId, Wish>,
    again: BTreeSet<(Time, VolumeId)>,
    next_ticket: u64,
    next_order: u64,
    policy: Policy,
}

impl Zones {
    /// None of them can be reached yet. `first_ticket` differs between runs, so that what an earlier one was answered means nothing.
    pub(crate) fn new(zones: &BTreeMap<ZoneNumber, Peer>, policy: &Policy, first_ticket: u64) -> Self {
        let row = || Row {
            waits: 0,
            queue: VecDeque::new(),
            flight: BTreeMap::new(),
            took: Duration::ZERO,
            breaker: Breaker::new(policy.breaker_after, policy.breaker_rests, policy.again_after),
        };
        let line = |peer: &Peer| Line {
            peer: *peer,
            up: false,
            rows: Class::ALL.map(|_| row()),
            survey: (None, Time::ZERO),
            heard: Time::ZERO,
        };
        Self {
            lines: zones.iter().map(|(number, peer)| (*number, line(peer))).collect(),
            wishes: BTreeMap::new(),
            again: BTreeSet::new(),
            next_ticket: first_ticket >> 1,
            next_order: 0,
            policy: policy.clone(),
        }
    }

    /// Keeps a link to each.
    pub(crate) fn watch(&self, out: &mut Outbox) {
        for line in self.lines.values() {
            out.net(Op::Watch { peer: line.peer, wanted: true });
        }
    }

    pub(crate) fn has(&self, zone: ZoneNumber) -> bool {
        self.lines.contains_key(&zone)
    }

    pub(crate) fn is_up(&self, zone: ZoneNumber) -> Option<bool> {
        self.lines.get(&zone).map(|line| line.up)
    }

    fn row(&mut self, zone: ZoneNumber, class: Class) -> Option<&mut Row> {
        self.lines.get_mut(&zone).map(|line| &mut line.rows[class as usize])
    }

    /// What a zone has beyond its own share, which is of the pool that all share.
    fn beyond(&self, line: &Line) -> usize {
        let most = self.policy.class_waits_max();
        let within: usize = line.rows.iter().map(|row| row.waits.min(most)).sum();
        let beyond: usize = line.rows.iter().map(|row| row.waits.saturating_sub(most)).sum();
        beyond + within.saturating_sub(self.policy.zone_waits_max)
    }

    /// Whether one more request of a class may wait for a zone: in its own share, or in what is left of the shared pool.
    pub(crate) fn has_room(&self, zone: ZoneNumber, class: Class) -> bool {
        let Some(line) = self.lines.get(&zone) else { return false };
        // Without a bulkhead nobody counts, and what ends is what the edge holds.
        if !self.policy.has(Mechanism::Bulkhead) || self.policy.mutation.is(Mutant::ZoneShareIgnored) {
            return true;
        }
        let most = self.policy.class_waits_max();
        let own: usize = line.rows.iter().map(|row| row.waits.min(most)).sum();
        let is_own = line.rows[class as usize].waits < most && own < self.policy.zone_waits_max;
        is_own || self.lines.values().map(|line| self.beyond(line)).sum::<usize>() < self.policy.shared_waits_max
    }

    /// Whether the breaker of a class lets somebody wait.
    pub(crate) fn admits(&mut self, zone: ZoneNumber, class: Class, now: Time) -> bool {
        if !self.policy.has(Mechanism::Breaker) {
            return true;
        }
        let Some(line) = self.lines.get_mut(&zone) else { return false };
        let row = &mut line.rows[class as usize];
        let idle = row.queue.is_empty() && row.waits == 0;
        // What cannot be reached is not probed; its link is, and says when it is there again.
        row.breaker.admits(now, idle) && (line.up || row.breaker.is_closed())
    }

    /// How long a request of a class would wait for its answer, by what is ahead of it and by how long answers take: at least as long as what has no answer yet.
    pub(crate) fn estimate(&self, zone: ZoneNumber, class: Class, now: Time) -> Duration {
        let Some(line) = self.lines.get(&zone) else { return Duration::ZERO };
        if self.policy.has(Mechanism::Bulkhead) {
            let row = &line.rows[class as usize];
            return self.wait_of(row, now, row.queue.len(), self.policy.class_flight_max());
        }
        let rows = || self.lines.values().flat_map(|line| &line.rows);
        let (ahead, most) = (rows().map(|row| row.queue.len()).sum(), self.pool_max());
        rows().map(|row| self.wait_of(row, now, ahead, most)).max().unwrap_or_default()
    }

    fn wait_of(&self, row: &Row, now: Time, ahead: usize, at_once: usize) -> Duration {
        let oldest = row.flight.values().next().into_iter().chain(row.queue.front());
        let waited = oldest.filter_map(|volume| self.wishes.get(volume)).map(|wish| now.since(wish.since)).max();
        let one = row.took.max(waited.unwrap_or_default());
        one.saturating_mul(1 + u32::try_from(ahead / at_once.max(1)).unwrap_or(u32::MAX - 1))
    }

    /// Requests that wait.
    pub(crate) fn all_waits(&self) -> usize {
        self.lines.values().flat_map(|line| &line.rows).map(|row| row.waits).sum()
    }

    pub(crate) fn begins_to_wait(&mut self, zone: ZoneNumber, class: Class) {
        if let Some(row) = self.row(zone, class) {
            row.waits += 1;
        }
    }

    pub(crate) fn waits_no_more(&mut self, zone: ZoneNumber, class: Class) {
        if let Some(row) = self.row(zone, class) {
            row.waits -= 1;
        }
    }

    /// Commands that are under way.
    pub(crate) fn flights(&self) -> usize {
        self.lines.values().map(Line::flights).sum()
    }

    /// Commands that may be, to all zones together.
    pub(crate) fn flight_max(&self) -> usize {
        (self.policy.zone_flight_max + self.policy.attach_flight_max) * self.lines.len()
    }

    /// Of one pool for all zones, where there is no bulkhead.
    fn pool_max(&self) -> usize {
        self.policy.zone_flight_max * self.lines.len()
    }

    /// Wants this of a zone about a volume, instead of whatever was wanted before. Until then somebody waits for it.
    pub(crate) fn want(
        &mut self,
        (zone, need): (ZoneNumber, Need),
        volume: VolumeId,
        message: Message,
        now: Time,
        until: Option<Time>,
    ) {
        self.drop_wish(volume);
        let (class, order) = (Class::of(need), self.next_order());
        let Some(row) = self.row(zone, class) else { return };
        row.queue.push_back(volume);
        let wish = Wish { zone, need, class, message, said: None, was_said: false, order, since: now, until };
        self.wishes.insert(volume, wish);
    }

    /// The zone may have heard of what is wanted about a volume from a process before this one.
    pub(crate) fn may_be_said(&mut self, volume: VolumeId) {
        if let Some(wish) = self.wishes.get_mut(&volume) {
            wish.was_said = true;
        }
    }

    /// Until when somebody waits for the zone's word on a volume.
    pub(crate) fn is_awaited(&mut self, volume: VolumeId, until: Option<Time>) {
        if let Some(wish) = self.wishes.get_mut(&volume) {
            wish.until = until;
        }
    }

    /// Drops what is wanted about a volume if its zone cannot have heard of it. Whether it was so.
    pub(crate) fn drop_unsaid(&mut self, volume: VolumeId) -> bool {
        let unsaid = self.wishes.get(&volume).is_some_and(|wish| !wish.was_said);
        if unsaid {
            self.drop_wish(volume);
        }
        unsaid
    }

    /// Somebody waited in vain for what could not be said, because the zone cannot be reached.
    pub(crate) fn is_missed(&mut self, zone: ZoneNumber, class: Class, now: Time) {
        if let Some(line) = self.lines.get_mut(&zone).filter(|line| !line.up) {
            line.rows[class as usize].breaker.fails(now);
        }
    }

    fn next_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    fn drop_wish(&mut self, volume: VolumeId) -> Option<Wish> {
        let wish = self.wishes.remove(&volume)?;
        let row = self.row(wish.zone, wish.class)?;
        match wish.said {
            Some((ticket, at)) => {
                row.flight.remove(&ticket);
                self.again.remove(&(at, volume));
            }
            None => row.queue.retain(|other| *other != volume),
        }
        Some(wish)
    }

    /// Nothing is wanted any more: the truth is read again, and says anew what is.
    pub(crate) fn forget(&mut self) {
        self.wishes.clear();
        self.again.clear();
        for row in self.lines.values_mut().flat_map(|line| &mut line.rows) {
            row.queue.clear();
            row.flight.clear();
            row.waits = 0;
        }
    }

    /// The link to a zone came up or went down. What had been said on an earlier life of it is answered on none.
    pub(crate) fn on_link(&mut self, peer: Peer, up: bool, now: Time) {
        let Some(line) = self.lines.values_mut().find(|line| line.peer == peer) else { return };
        line.up = up;
        line.survey = (None, Time::ZERO);
        let mut unanswered = Vec::new();
        for row in &mut line.rows {
            if up {
                row.breaker.is_reached(now);
            } else if !row.flight.is_empty() {
                row.breaker.fails(now);
            }
            let volumes: Vec<VolumeId> = core::mem::take(&mut row.flight).into_values().collect();
            volumes.iter().rev().for_each(|volume| row.queue.push_front(*volume));
            unanswered.extend(volumes);
        }
        for volume in unanswered {
            if let Some((_, at)) = self.wishes.get_mut(&volume).and_then(|wish| wish.said.take()) {
                self.again.remove(&(at, volume));
            }
        }
    }

    /// An outcome came: of which volume and for what, if anybody waits for it.
    pub(crate) fn on_outcome(&mut self, peer: Peer, ticket: u64, now: Time) -> Option<(VolumeId, Need)> {
        let line = self.lines.values_mut().find(|line| line.peer == peer)?;
        line.heard = now;
        let row = line.rows.iter_mut().find(|row| row.flight.contains_key(&ticket))?;
        let volume = row.flight[&ticket];
        row.breaker.is_answered();
        let since = self.wishes.get(&volume).map_or(now, |wish| wish.since);
        row.took = (row.took * 7 + now.since(since)) / 8;
        self.drop_wish(volume).map(|wish| (volume, wish.need))
    }

    /// It could not be done now: it is said again after a while.
    pub(crate) fn later(&mut self, (zone, need): (ZoneNumber, Need), volume: VolumeId, message: Message, at: Time) {
        let until = self.drop_wish(volume).and_then(|wish| wish.until);
        let (class, order) = (Class::of(need), self.next_order());
        // No zone answers ticket 0.
        let said = Some((0, at));
        self.wishes.insert(volume, Wish { zone, need, class, message, said, was_said: true, order, since: at, until });
        self.again.insert((at, volume));
    }

    /// A survey came back: of which zone, if it is the one that was asked last.
    pub(crate) fn on_survey(&mut self, peer: Peer, ticket: u64, now: Time) -> Option<ZoneNumber> {
        let (number, line) = self.lines.iter_mut().find(|(_, line)| line.peer == peer)?;
        line.heard = now;
        line.survey.0.take_if(|asked| *asked == ticket)?;
        line.survey.1 = now + self.policy.survey_every;
        Some(*number)
    }

    /// Asks each zone that can be reached how it is, once a period: the same whatever happens there.
    fn survey(&mut self, now: Time, out: &mut Outbox) {
        let every = self.policy.survey_every;
        for line in self.lines.values_mut().filter(|line| line.up && line.survey.1 <= now) {
            self.next_ticket += 1;
            // A zone that is slow is waited for as long as its answer means something.
            line.survey = (Some(self.next_ticket), now + every * STALE_PERIODS);
            say(line.peer, self.next_ticket, every * STALE_PERIODS, &wire::Survey {}.into(), out);
        }
    }

    /// When something is to be said again, or tried.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let rows = self.lines.values().filter(|line| line.up).flat_map(|line| &line.rows);
        let probes = rows.filter(|row| !row.queue.is_empty()).filter_map(|row| row.breaker.deadline());
        let probe = if self.policy.has(Mechanism::Breaker) { probes.min() } else { None };
        let surveys = self.lines.values().filter(|line| line.up).map(|line| line.survey.1).min();
        Time::sooner(self.again.first().map(|(at, _)| *at), Time::sooner(probe, surveys))
    }

    /// What was not answered in time, or waited for its time, is to be said again.
    fn again(&mut self, now: Time) {
        while let Some((at, volume)) = self.again.first().copied().filter(|(at, _)| *at <= now) {
            self.again.remove(&(at, volume));
            let order = self.next_order();
            let Some(wish) = self.wishes.get_mut(&volume) else { continue };
            let Some(line) = self.lines.get_mut(&wish.zone) else { continue };
            // An attachment waits for its host: it says something of its zone only if nothing else was heard from there.
            let silent = wish.class != Class::Attach || now.since(line.heard) >= self.policy.again_after;
            let row = &mut line.rows[wish.class as usize];
            if let Some((ticket, _)) = wish.said.take() {
                if row.flight.remove(&ticket).is_some() && silent {
                    row.breaker.fails(now);
                }
                (wish.order, wish.since) = (order, now);
                row.queue.push_back(volume);
            }
        }
    }

    /// Says what can be said.
    pub(crate) fn flush(&mut self, now: Time, out: &mut Outbox) {
        self.again(now);
        self.survey(now, out);
        if !self.policy.has(Mechanism::Bulkhead) {
            return self.flush_as_one(now, out);
        }
        let numbers: Vec<ZoneNumber> = self.lines.iter().filter(|(_, line)| line.up).map(|(zone, _)| *zone).collect();
        for zone in numbers {
            // One of each class in turn, so that none waits behind the whole of another.
            while Class::ALL.into_iter().filter(|class| self.say_next(zone, *class, now, out)).count() > 0 {}
        }
    }

    /// One pool for all zones, the oldest first, as a region of 2011 had it. What cannot be said keeps its place in the pool like what is not answered.
    fn flush_as_one(&mut self, now: Time, out: &mut Outbox) {
        while self.flights() < self.pool_max() {
            let rows = self.lines.iter().flat_map(|(zone, line)| Class::ALL.map(|class| (*zone, class, line)));
            let heads = rows.filter_map(|(zone, class, line)| {
                let wish = self.wishes.get(line.rows[class as usize].queue.front()?)?;
                let rests = self.policy.has(Mechanism::Breaker) && !line.rows[class as usize].breaker.clone().say(now);
                (!rests).then_some((wish.order, zone, class))
            });
            let Some((_, zone, class)) = heads.min() else { return };
            self.say_next(zone, class, now, out);
        }
    }

    /// Says the next of a class to a zone, if there is one and it may be said.
    fn say_next(&mut self, zone: ZoneNumber, class: Class, now: Time, out: &mut Outbox) -> bool {
        let has_bulkhead = self.policy.has(Mechanism::Bulkhead);
        let Some(line) = self.lines.get_mut(&zone) else { return false };
        let (peer, shared) = (line.peer, line.shared_flights());
        let row = &mut line.rows[class as usize];
        let is_full = match class {
            Class::Attach => row.flight.len() >= self.policy.attach_flight_max,
            _ => row.flight.len() >= self.policy.class_flight_max() || shared >= self.policy.zone_flight_max,
        };
        if row.queue.is_empty() || (has_bulkhead && is_full) {
            return false;
        }
        let heeds = self.policy.has(Mechanism::Breaker) && !self.policy.mutation.is(Mutant::BreakerIgnored);
        if heeds && !row.breaker.say(now) {
            return false;
        }
        let Some(volume) = row.queue.pop_front() else { return false };
        let Some(wish) = self.wishes.get_mut(&volume) else { return true };
        self.next_ticket += 1;
        let (ticket, at) = (self.next_ticket, now + self.policy.again_after);
        (wish.said, wish.was_said, wish.since) = (Some((ticket, at)), true, now);
        self.again.insert((at, volume));
        row.flight.insert(ticket, volume);
        let left = wish.until.map_or(self.policy.again_after, |until| until.since(now).min(self.policy.again_after));
        say(peer, ticket, left, &wish.message, out);
        true
    }
}

fn say(peer: Peer, ticket: u64, within: Duration, message: &Message, out: &mut Outbox) {
    let (kind, fields) = message.parts();
    let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
    out.send(Link::to(peer), Message::from(Command { ticket, within_ms, kind, fields }).frame());
}
