//! What a short sequence is made of. One more act is a variant, a line in `ALL` and what it asks for.

use super::asked::Asked;
use crate::bench::{Bench, blocks, copy, data, freeze, mark, register, shard, stamp, thaw, trim};
use base::log::Record;
use base::{Sequence, ShardId};

/// One thing that is done to the shard with a little in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    WriteOne,
    WriteThree,
    Again,
    Trim,
    Commit,
    Copy,
    Erase,
    Cut,
    Restart,
    Promise,
    DropAndRegister,
    Freeze,
    Thaw,
    Mark,
    Unmark,
}

/// All of them.
pub const ALL: [Act; 15] = [
    Act::WriteOne,
    Act::WriteThree,
    Act::Again,
    Act::Trim,
    Act::Commit,
    Act::Copy,
    Act::Erase,
    Act::Cut,
    Act::Restart,
    Act::Promise,
    Act::DropAndRegister,
    Act::Freeze,
    Act::Thaw,
    Act::Mark,
    Act::Unmark,
];

impl Act {
    /// What it appends when it is the `n`th. A commit appends nothing.
    fn records(self, n: u64, s: ShardId) -> Vec<Record> {
        let sequence = 3 + n;
        let tag = 100 * (n + 1);
        match self {
            Self::WriteOne => vec![data(sequence, 4, [tag])],
            Self::WriteThree => vec![data(sequence, 3, [tag, tag + 1, tag + 2])],
            Self::Again => vec![Record::Data { stamp: stamp(2, 2), block: 9, data: blocks([tag]) }],
            Self::Trim => vec![trim(sequence, 2, 3)],
            Self::Commit => vec![],
            Self::Copy => vec![copy(1, [tag, tag + 1, tag + 2])],
            Self::Erase => vec![Record::Erase { block: 0, count: 3 }],
            Self::Cut => vec![Record::Cut { above: Sequence(1) }],
            Self::Restart => vec![Record::Restart { committed: Sequence(sequence), keeps_marks: n.is_multiple_of(2) }],
            Self::Promise => vec![register(s, 7 + n)],
            Self::DropAndRegister => vec![Record::Drop, register(s, n)],
            Self::Freeze => vec![freeze(sequence, 1)],
            Self::Thaw => vec![thaw(sequence, 1)],
            Self::Mark => vec![mark(sequence)],
            Self::Unmark => vec![Record::Unmark],
        }
    }

    /// Asks for it. The store has not stepped yet.
    pub fn ask(self, n: usize, bench: &mut Bench, asked: &mut Asked) {
        let s = shard(1);
        if self == Self::Commit {
            asked.commit(bench, s, Sequence(99));
        }
        for record in self.records(n as u64, s) {
            asked.append(bench, s, record);
        }
    }

    /// Whether it makes a batch.
    pub fn is_appended(self) -> bool {
        self != Self::Commit
    }
}

/// All sequences of so many.
pub fn sequences(len: usize) -> Vec<Vec<Act>> {
    let mut all = vec![vec![]];
    for _ in 0..len {
        all = all.iter().flat_map(|acts| ALL.iter().map(|&act| [acts.as_slice(), &[act]].concat())).collect();
    }
    all
}
