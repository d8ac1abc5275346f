//! A process of the region as its daemon makes one: the edge, which holds so many requests at once and refuses what is more, one core that reads and answers them one
//! after the other, and the region's machine. What a request costs is simulated time, so that to be busy means something.
//!
//! It refuses to know how requests look: what its callers ask is a command, or something that the region's own state says.

use base::io::{Inbox, Machine, Outbox};
use base::time::Duration;
use base::{Time, VolumeId};
use region::{Account, Answer, Command, Refusal, Region};
use std::collections::{BTreeMap, VecDeque};

/// Whose volumes all are.
pub(super) const OWNER: Account = Account(123_456_789_012);

/// What a caller asks.
pub(super) enum Question {
    /// What a volume is, by the region's own state.
    Read(VolumeId),
    /// Something that changes something.
    Command(Box<Command>),
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Told {
    /// It is done, or found.
    Answer(Option<VolumeId>),
    /// The edge holds as many requests as it can.
    EdgeFull,
    /// A volume that is there was not found.
    NotFound,
    /// The region said so.
    Refused(Refusal),
}

/// See the page above.
pub(super) struct Edge {
    region: Region,
    /// Requests that it holds at most.
    most: usize,
    /// Requests that it holds.
    held: usize,
    /// What one of them costs its core.
    cost: Duration,
    /// Those that came and wait for the core, by when they came.
    came: VecDeque<(u64, Question)>,
    reads: VecDeque<(Time, u64, Question)>,
    free_at: Time,
    next_ticket: u64,
    waiting: BTreeMap<u64, u64>,
    /// The most that it ever held.
    pub(super) most_held: usize,
    told: Vec<(u64, Told)>,
}

impl Edge {
    pub(super) fn new(region: Region, most: usize, cost: Duration) -> Self {
        Self {
            region,
            most,
            held: 0,
            cost,
            came: VecDeque::new(),
            reads: VecDeque::new(),
            free_at: Time::ZERO,
            next_ticket: 1,
            waiting: BTreeMap::new(),
            most_held: 0,
            told: Vec::new(),
        }
    }

    /// The machine.
    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// A request comes; the next step deals with it.
    pub(super) fn ask(&mut self, call: u64, question: Question) {
        if self.held >= self.most {
            // A connection more is told so at once, and nothing that it says is read.
            return self.told.push((call, Told::EdgeFull));
        }
        self.held += 1;
        self.most_held = self.most_held.max(self.held);
        self.came.push_back((call, question));
    }

    /// What callers were told since the last call.
    pub(super) fn told(&mut self) -> Vec<(u64, Told)> {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, call: u64, told: Told) {
        self.held -= 1;
        self.told.push((call, told));
    }

    fn deal_with(&mut self, call: u64, question: Question) {
        match question {
            Question::Read(volume) => {
                let found = self.region.volume(OWNER, volume).map(|volume| volume.id);
                self.tell(call, found.map_or(Told::NotFound, |id| Told::Answer(Some(id))));
            }
            Question::Command(command) => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                match self.region.submit(ticket, *command) {
                    Ok(()) => drop(self.waiting.insert(ticket, call)),
                    Err(why) => self.tell(call, Told::Refused(why)),
                }
            }
        }
    }
}

impl Machine for Edge {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        for (call, question) in std::mem::take(&mut self.came) {
            self.free_at = self.free_at.max(now) + self.cost;
            self.reads.push_back((self.free_at, call, question));
        }
        while let Some((_, call, question)) = self.reads.pop_front_if(|(at, ..)| *at <= now) {
            self.deal_with(call, question);
        }
        self.region.step(now, inbox, out);
        let replies: Vec<_> = self.region.replies().collect();
        for (ticket, result) in replies {
            let Some(call) = self.waiting.remove(&ticket) else { continue };
            let told = match result {
                Ok(Answer::Volume(volume)) => Told::Answer(Some(volume.id)),
                Ok(_) => Told::Answer(None),
                Err(why) => Told::Refused(why),
            };
            self.tell(call, told);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let core = self.reads.front().map(|(at, ..)| *at);
        Time::sooner(core, self.region.deadline())
    }
}
