//! What keeps the zones of a region from hurting each other, and how much of it each zone has. Every mechanism can be switched off alone, so that the simulator can
//! show which failure comes back without it (`seawall sim --scenario region-isolation`).
//!
//! | mechanism | what it holds | without it |
//! |---|---|---|
//! | bulkhead | a zone has a share of the edge's requests and of what is under way, and each class of operation a share of that | one queue and one pool for all zones |
//! | deadline | who has waited for long enough is told so; what nobody waits for any more and no zone was told yet is dropped; each command carries what is left | everybody waits until the zone answers |
//! | shedding | what would find the queue full, or its deadline missed, is refused at once | it waits for room |
//! | breaker | a zone that answers nothing is asked one thing at a time, and whoever wants it is refused at once | each request finds out for itself |

use crate::zones::Need;
use crate::{Account, Command, Policy, Refusal, Region, Stage, ZoneNumber};
use alloc::vec::Vec;
use base::VolumeId;
use base::mutant::Mutant;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// A share for each zone, and for each class of operation in it.
    Bulkhead,
    /// An end to all waiting.
    Deadline,
    /// Refusal at once of what would wait in vain.
    Shedding,
    /// One probe at a time for a zone that does not answer.
    Breaker,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bulkhead, Self::Deadline, Self::Shedding, Self::Breaker];

    /// As people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulkhead => "bulkhead",
            Self::Deadline => "deadline",
            Self::Shedding => "shedding",
            Self::Breaker => "breaker",
        }
    }
}

/// A class of operation: what is stuck in one leaves the others of its zone their room (R24, R40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Whatever is about a volume that is there: attaching, detaching, changing.
    Attach,
    /// Making volumes.
    Make,
    /// Taking them back.
    Take,
}

impl Class {
    /// All of them, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Attach, Self::Make, Self::Take];

    /// Of what a zone is wanted for.
    pub(crate) fn of(need: Need) -> Self {
        match need {
            Need::Make => Self::Make,
            Need::Delete => Self::Take,
            Need::Grow | Need::Throttle | Need::Attach | Need::Detach => Self::Attach,
        }
    }
}

/// What a class may have of its zone's share: three quarters, so that none ever has all of it.
const fn of_class(share: usize) -> usize {
    let most = share - share / 4;
    if most == 0 { 1 } else { most }
}

impl Policy {
    /// For a region of so many zones behind an edge that holds so many requests at once. A quarter of these is for what waits for no zone, as describing does;
    /// a sixteenth is for whichever zone needs more than its own; what is left is shared out among the zones. So what one zone can have is less than all.
    pub fn for_edge(requests_max: usize, zones: usize) -> Self {
        let shared = requests_max / 16;
        let own = (requests_max - requests_max / 4 - shared) / zones.max(1);
        Self { zone_waits_max: own.max(1), shared_waits_max: shared, ..Self::default() }
    }

    /// Whether a mechanism is at work.
    pub fn has(&self, mechanism: Mechanism) -> bool {
        self.without != Some(mechanism)
    }

    /// Requests of one class that wait for one zone, at most, beside what the shared pool takes.
    pub const fn class_waits_max(&self) -> usize {
        of_class(self.zone_waits_max)
    }

    /// Commands of one class that are under way to one zone, at most.
    pub const fn class_flight_max(&self) -> usize {
        of_class(self.zone_flight_max)
    }
}

impl Region {
    /// Whether a request may wait for a zone.
    pub(crate) fn admit(&mut self, zone: ZoneNumber, class: Class) -> Result<(), Refusal> {
        let busy = Err(Refusal::Busy { zone: Some(zone) });
        if !self.zones.has_room(zone, class) {
            return busy;
        }
        let sheds = self.policy.has(Mechanism::Shedding)
            && self.policy.has(Mechanism::Deadline)
            && !self.policy.mutation.is(Mutant::EstimateIgnored);
        if sheds && self.zones.estimate(zone, class, self.now) > self.policy.answer_within {
            return busy;
        }
        if self.zones.admits(zone, class, self.now) { Ok(()) } else { busy }
    }

    /// Without shedding a command that finds no room waits for some, as it would for a thread of a pool. Whether this one does.
    pub(crate) fn waits_for_room(&self, command: &Command) -> bool {
        if self.policy.has(Mechanism::Shedding) {
            return false;
        }
        let owned = |account: Account, id: VolumeId| self.volume(account, id).map(|volume| volume.shape.zone);
        let wants = match command {
            Command::CreateVolume { shape, .. } => Some((shape.zone, Class::Make)),
            Command::DeleteVolume { account, volume } => owned(*account, *volume).map(|zone| (zone, Class::Take)),
            _ => None,
        };
        wants.is_some_and(|(zone, class)| self.zones.has(zone) && !self.zones.has_room(zone, class))
    }

    /// What waited for room looks for it again, the oldest first, and whoever has waited for too long is told so.
    pub(crate) fn look_for_room(&mut self) {
        let held: Vec<_> = self.holds.drain(..).collect();
        for (until, ticket, command) in held {
            if self.policy.has(Mechanism::Deadline) && until <= self.now {
                self.reply(ticket, Err(Refusal::Busy { zone: None }));
            } else if self.waits_for_room(&command) {
                self.holds.push_back((until, ticket, command));
            } else {
                self.until = until;
                self.carry_out(ticket, command);
            }
        }
    }

    /// Nobody waits for a volume any more. If its zone was never asked for it, it never is, and there is no such volume.
    pub(crate) fn is_forsaken(&mut self, id: VolumeId) {
        let is_fresh = self.volumes.get(&id).is_some_and(|volume| volume.stage == Stage::Reserving);
        if is_fresh && !self.policy.mutation.is(Mutant::ExpiredIsSaid) && self.zones.drop_unsaid(id) {
            self.drop_token(id);
            self.drop_volume(id);
        }
    }
}
