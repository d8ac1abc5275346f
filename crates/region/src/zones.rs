//! The way to the zones: for each its own queue, its own bound on what is under way, its own link. One that does not answer fills its own and no other's (R32, R56).
//!
//! A command stays here until its outcome came. It is said again when the link comes up anew and when nothing came for a while, always under a new ticket, so that
//! an old answer is never taken for a new one. Each of them may be said twice.

use crate::{Policy, ZoneNumber};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::io::Outbox;
use base::io::net::{Link, Op, Peer};
use base::time::Duration;
use base::{Time, VolumeId};
use wire::{Command, Message};

/// One zone.
struct Line {
    peer: Peer,
    up: bool,
    /// Requests that wait for its word.
    waits: usize,
    /// What is to be said, in order.
    queue: VecDeque<VolumeId>,
    /// What was said, by ticket.
    flight: BTreeMap<u64, VolumeId>,
    /// The survey that is under way, apart from all commands, and when it is given up or the next is due.
    survey: (Option<u64>, Time),
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
    message: Message,
    /// Its ticket, and when it is said again; none while it is in the queue.
    said: Option<(u64, Time)>,
}

/// All of them.
pub(crate) struct Zones {
    lines: BTreeMap<ZoneNumber, Line>,
    wishes: BTreeMap<VolumeId, Wish>,
    again: BTreeSet<(Time, VolumeId)>,
    next_ticket: u64,
    flight_max: usize,
    again_after: Duration,
    survey_every: Duration,
}

impl Zones {
    /// None of them can be reached yet. `first_ticket` differs between runs, so that what an earlier one was answered means nothing.
    pub(crate) fn new(zones: &BTreeMap<ZoneNumber, Peer>, policy: &Policy, first_ticket: u64) -> Self {
        let line = |peer: &Peer| Line {
            peer: *peer,
            up: false,
            waits: 0,
            queue: VecDeque::new(),
            flight: BTreeMap::new(),
            survey: (None, Time::ZERO),
        };
        Self {
            lines: zones.iter().map(|(number, peer)| (*number, line(peer))).collect(),
            wishes: BTreeMap::new(),
            again: BTreeSet::new(),
            next_ticket: first_ticket >> 1,
            flight_max: policy.zone_flight_max,
            again_after: policy.again_after,
            survey_every: policy.survey_every,
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

    /// Requests that wait for a zone.
    pub(crate) fn waits(&self, zone: ZoneNumber) -> usize {
        self.lines.get(&zone).map_or(0, |line| line.waits)
    }

    pub(crate) fn begins_to_wait(&mut self, zone: ZoneNumber) {
        if let Some(line) = self.lines.get_mut(&zone) {
            line.waits += 1;
        }
    }

    pub(crate) fn waits_no_more(&mut self, zone: ZoneNumber) {
        if let Some(line) = self.lines.get_mut(&zone) {
            line.waits -= 1;
        }
    }

    /// Commands that are under way.
    pub(crate) fn flights(&self) -> usize {
        self.lines.values().map(|line| line.flight.len()).sum()
    }

    /// Wants this of a zone about a volume, instead of whatever was wanted before.
    pub(crate) fn want(&mut self, zone: ZoneNumber, volume: VolumeId, need: Need, message: Message) {
        self.drop_wish(volume);
        let Some(line) = self.lines.get_mut(&zone) else { return };
        line.queue.push_back(volume);
        self.wishes.insert(volume, Wish { zone, need, message, said: None });
    }

    fn drop_wish(&mut self, volume: VolumeId) {
        let Some(wish) = self.wishes.remove(&volume) else { return };
        let Some(line) = self.lines.get_mut(&wish.zone) else { return };
        match wish.said {
            Some((ticket, at)) => {
                line.flight.remove(&ticket);
                self.again.remove(&(at, volume));
            }
            None => line.queue.retain(|other| *other != volume),
        }
    }

    /// Nothing is wanted any more: the truth is read again, and says anew what is.
    pub(crate) fn forget(&mut self) {
        self.wishes.clear();
        self.again.clear();
        for line in self.lines.values_mut() {
            line.queue.clear();
            line.flight.clear();
            line.waits = 0;
        }
    }

    fn by_peer(&mut self, peer: Peer) -> Option<&mut Line> {
        self.lines.values_mut().find(|line| line.peer == peer)
    }

    /// The link to a zone came up or went down. What had been said on an earlier life of it is answered on none.
    pub(crate) fn on_link(&mut self, peer: Peer, up: bool) {
        let Some(line) = self.by_peer(peer) else { return };
        line.up = up;
        line.survey = (None, Time::ZERO);
        let unanswered: Vec<VolumeId> = core::mem::take(&mut line.flight).into_values().collect();
        for volume in unanswered.iter().rev() {
            line.queue.push_front(*volume);
        }
        for volume in unanswered {
            self.unsay(volume);
        }
    }

    fn unsay(&mut self, volume: VolumeId) {
        if let Some((_, at)) = self.wishes.get_mut(&volume).and_then(|wish| wish.said.take()) {
            self.again.remove(&(at, volume));
        }
    }

    /// An outcome came: of which volume and for what, if anybody waits for it.
    pub(crate) fn on_outcome(&mut self, peer: Peer, ticket: u64) -> Option<(VolumeId, Need)> {
        let volume = *self.by_peer(peer)?.flight.get(&ticket)?;
        let need = self.wishes.get(&volume)?.need;
        self.drop_wish(volume);
        Some((volume, need))
    }

    /// It could not be done now: it is said again after a while.
    pub(crate) fn later(&mut self, zone: ZoneNumber, volume: VolumeId, need: Need, message: Message, at: Time) {
        self.drop_wish(volume);
        // No zone answers ticket 0.
        self.wishes.insert(volume, Wish { zone, need, message, said: Some((0, at)) });
        self.again.insert((at, volume));
    }

    /// A survey came back: of which zone, if it is the one that was asked last.
    pub(crate) fn on_survey(&mut self, peer: Peer, ticket: u64) -> Option<ZoneNumber> {
        let (number, line) = self.lines.iter_mut().find(|(_, line)| line.peer == peer)?;
        line.survey.0.take_if(|asked| *asked == ticket).map(|_| *number)
    }

    /// When something is to be said again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let surveys = self.lines.values().filter(|line| line.up).map(|line| line.survey.1).min();
        Time::sooner(self.again.first().map(|(at, _)| *at), surveys)
    }

    /// Asks each zone that can be reached how it is, once a period: the same whatever happens there.
    fn survey(&mut self, now: Time, out: &mut Outbox) {
        for line in self.lines.values_mut().filter(|line| line.up && line.survey.1 <= now) {
            self.next_ticket += 1;
            line.survey = (Some(self.next_ticket), now + self.survey_every);
            say(line.peer, self.next_ticket, self.survey_every, &wire::Survey {}.into(), out);
        }
    }

    /// Says what can be said.
    pub(crate) fn flush(&mut self, now: Time, out: &mut Outbox) {
        while let Some((at, volume)) = self.again.first().copied().filter(|(at, _)| *at <= now) {
            self.again.remove(&(at, volume));
            let Some(wish) = self.wishes.get_mut(&volume) else { continue };
            let Some(line) = self.lines.get_mut(&wish.zone) else { continue };
            if let Some((ticket, _)) = wish.said.take() {
                line.flight.remove(&ticket);
                line.queue.push_back(volume);
            }
        }
        for line in self.lines.values_mut().filter(|line| line.up) {
            while line.flight.len() < self.flight_max
                && let Some(volume) = line.queue.pop_front()
            {
                let Some(wish) = self.wishes.get_mut(&volume) else { continue };
                self.next_ticket += 1;
                let (ticket, at) = (self.next_ticket, now + self.again_after);
                wish.said = Some((ticket, at));
                self.again.insert((at, volume));
                line.flight.insert(ticket, volume);
                say(line.peer, ticket, self.again_after, &wish.message, out);
            }
        }
        self.survey(now, out);
    }
}

fn say(peer: Peer, ticket: u64, within: Duration, message: &Message, out: &mut Outbox) {
    let (kind, fields) = message.parts();
    let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
    out.send(Link::to(peer), Message::from(Command { ticket, within_ms, kind, fields }).frame());
}
