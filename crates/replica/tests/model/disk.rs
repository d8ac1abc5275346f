//! A store of one shard as `base::log` promises it: appends become durable in their order, a crash keeps any beginning of what was not, commits ride along.

use base::log::{Mark, Record, Register, Stamp, Standing};
use base::{Epoch, Sequence};
use std::collections::VecDeque;

/// What a block holds: the number of the write that filled it, 0 where nothing was written.
pub type Value = u8;
/// Blocks that a shard may have, and what is said of each.
pub const BLOCKS_MAX: usize = 2;
pub type Blocks<T> = [T; BLOCKS_MAX];
/// Entries of a shard that are compared one by one; no world writes more.
pub const STAMPS: usize = 8;

/// What lies in one place of a log.
#[derive(Debug, Clone)]
pub enum Act {
    Entry(Stamp, u32, Value),
    Copy(u32, Value),
    Cut(Sequence),
    /// And whether the marks stay.
    Restart(Sequence, bool),
    Mark(Mark),
    Unmark,
    Register(Box<Register>),
    Drop,
    Commit(Sequence),
}

impl Act {
    pub fn of(record: Record) -> Self {
        match record {
            Record::Data { stamp, block, data, .. } => Self::Entry(stamp, block, data[0]),
            Record::Copy { block, data } => Self::Copy(block, data[0]),
            Record::Erase { block, .. } => Self::Copy(block, 0),
            Record::Cut { above } => Self::Cut(above),
            Record::Restart { committed, keeps_marks } => Self::Restart(committed, keeps_marks),
            Record::Mark(mark) => Self::Mark(mark),
            Record::Unmark => Self::Unmark,
            Record::Register(register) => Self::Register(register),
            Record::Drop => Self::Drop,
            Record::Trim { .. } | Record::Point { .. } | Record::Mend { .. } => {
                unreachable!("nobody in this world trims, freezes or mends")
            }
        }
    }
}

/// A shard, as a log that was read says it is.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub register: Option<Register>,
    pub committed: Sequence,
    pub index: Blocks<Value>,
    /// By sequence.
    pub window: Vec<(Stamp, u32, Value)>,
    /// The oldest first.
    pub marks: Vec<Mark>,
    /// For each of them, whether a block changed while it was the newest.
    pub noted: Vec<Blocks<bool>>,
}

impl Image {
    pub fn apply(&mut self, act: &Act) {
        match act {
            Act::Entry(stamp, block, value) => {
                let entry = (*stamp, *block, *value);
                match self.window.binary_search_by_key(&stamp.sequence, |(s, ..)| s.sequence) {
                    Ok(at) => self.window[at] = entry,
                    Err(at) => self.window.insert(at, entry),
                }
            }
            Act::Copy(block, value) => self.put(*block, *value),
            Act::Cut(above) => self.window.retain(|(s, ..)| s.sequence <= *above),
            Act::Restart(committed, keeps_marks) => {
                self.window.clear();
                self.committed = *committed;
                if !keeps_marks {
                    self.apply(&Act::Unmark);
                }
            }
            Act::Mark(mark) => {
                let before = self.marks.len();
                assert_eq!(mark.add_to(&mut self.marks), None, "no world here goes through so many epochs");
                self.noted.resize(self.noted.len() + self.marks.len() - before, Blocks::default());
            }
            Act::Unmark => {
                self.marks.clear();
                self.noted.clear();
            }
            Act::Register(register) => self.register = Some((**register).clone()),
            Act::Drop => *self = Self::default(),
            Act::Commit(through) => {
                let due: Vec<_> = self.window.extract_if(.., |(s, ..)| s.sequence <= *through).collect();
                due.into_iter().for_each(|(_, block, value)| self.put(block, value));
                self.committed = self.committed.max(*through);
            }
        }
    }

    fn put(&mut self, block: u32, value: Value) {
        self.index[block as usize] = value;
        self.noted.last_mut().into_iter().for_each(|noted| noted[block as usize] = true);
    }

    /// Whether a block may have changed since a mark; true without one, and of one that is not here.
    pub fn changed_since(&self, since: Option<Sequence>, block: u32) -> bool {
        let from = self.marks.iter().position(|mark| Some(mark.since) == since);
        from.is_none_or(|from| self.noted[from..].iter().any(|noted| noted[block as usize]))
    }

    pub fn end(&self) -> Stamp {
        let nothing = Stamp { epoch: Epoch(0), sequence: self.committed };
        self.window.last().map_or(nothing, |(stamp, ..)| *stamp)
    }

    pub fn standing(&self) -> Option<Standing> {
        self.register.as_ref().map(|r| r.standing)
    }

    /// What each block would hold if all of the window that is of an epoch before this one were committed.
    pub fn before(&self, epoch: Epoch) -> Blocks<Value> {
        let mut blocks = self.index;
        let older = self.window.iter().filter(|(stamp, ..)| stamp.epoch < epoch);
        older.for_each(|(_, block, value)| blocks[*block as usize] = *value);
        blocks
    }

    /// The epochs of the first entries by sequence, as far as they are in the window.
    pub fn stamps(&self) -> [u8; STAMPS] {
        let mut stamps = [0; STAMPS];
        for (stamp, ..) in &self.window {
            if let Some(at) = stamps.get_mut(stamp.sequence.0 as usize) {
                *at = stamp.epoch.0 as u8;
            }
        }
        stamps
    }

    /// The newest write of each block that is here.
    pub fn newest(&self) -> Blocks<Value> {
        let mut newest = self.index;
        self.window.iter().for_each(|(_, block, value)| {
            let known = &mut newest[*block as usize];
            *known = (*known).max(*value);
        });
        newest
    }
}

/// What is durable, and what was appended behind it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub durable: Image,
    /// With the tickets of appends; commits have none.
    pub tail: VecDeque<(Option<u64>, Act)>,
}

impl Disk {
    pub fn append(&mut self, ticket: u64, record: Record) {
        self.tail.push_back((Some(ticket), Act::of(record)));
    }

    pub fn commit(&mut self, through: Sequence) {
        // A later commit says all that an earlier one did.
        if matches!(self.tail.back(), Some((None, _))) {
            self.tail.pop_back();
        }
        self.tail.push_back((None, Act::Commit(through)));
    }

    /// What a reader sees.
    pub fn live(&self) -> Image {
        let mut image = self.durable.clone();
        self.tail.iter().for_each(|(_, act)| image.apply(act));
        image
    }

    /// Appends that are not durable.
    pub fn unwritten(&self) -> usize {
        self.tail.iter().filter(|(ticket, _)| ticket.is_some()).count()
    }

    /// The first appends become durable, with the commits before them; the ticket of the last.
    pub fn write(&mut self, appends: usize) -> u64 {
        let mut last = 0;
        for _ in 0..appends {
            while let Some((ticket, act)) = self.tail.pop_front() {
                self.durable.apply(&act);
                if let Some(ticket) = ticket {
                    last = ticket;
                    break;
                }
            }
        }
        last
    }

    /// A crash that keeps the first acts of the tail.
    pub fn crash(&mut self, kept: usize) {
        self.tail.drain(..).take(kept).for_each(|(_, act)| self.durable.apply(&act));
    }

    /// Takes `taken` off all tickets.
    pub fn recount(&mut self, taken: u64) {
        for (ticket, _) in &mut self.tail {
            *ticket = ticket.map(|t| t - taken);
        }
    }
}
