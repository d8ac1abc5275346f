//! The metadata store of the world: in memory, with what can go wrong with it.

use base::Revision;
use base::io::meta::{self, Outcome, Pair};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The metadata store, in memory.
#[derive(Default)]
pub struct Meta {
    pub pairs: BTreeMap<String, (Bytes, u64)>,
    /// What was written under each key, by revision.
    pub written: BTreeMap<(String, u64), Bytes>,
    pub revision: u64,
    /// The next writes end so: each is taken once.
    pub faults: Vec<Fault>,
    /// Answers wait while this is set.
    pub stopped: bool,
    pub waiting: Vec<meta::Done>,
    pub writes: u64,
}

/// What goes wrong with one write.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    Conflict,
    UnknownDone,
    UnknownLost,
}

impl Meta {
    /// Everything.
    pub fn all(&self) -> Vec<Pair> {
        let pair = |(key, (value, revision)): (&String, &(Bytes, u64))| Pair {
            key: key.clone(),
            value: value.clone(),
            revision: Revision(*revision),
        };
        self.pairs.iter().map(pair).collect()
    }

    pub fn act(&mut self, op: meta::Op) {
        let done = match op {
            meta::Op::Range { id, prefix } => {
                let pairs = self.pairs.iter().filter(|(key, _)| key.starts_with(&prefix));
                let pair = |(key, (value, revision)): (&String, &(Bytes, u64))| Pair {
                    key: key.clone(),
                    value: value.clone(),
                    revision: Revision(*revision),
                };
                let outcome = Outcome::Pairs { pairs: pairs.map(pair).collect(), at: Revision(self.revision) };
                meta::Done { id, outcome }
            }
            meta::Op::Write { id, guards, puts } => {
                let fault = if self.faults.is_empty() { None } else { Some(self.faults.remove(0)) };
                let broken = guards
                    .iter()
                    .find(|g| self.pairs.get(&g.key).map_or(0, |(_, revision)| *revision) != g.revision.0)
                    .map(|g| g.key.clone());
                let broken = if fault == Some(Fault::Conflict) { Some(puts[0].0.clone()) } else { broken };
                let outcome = match (broken, fault) {
                    (Some(key), _) => Outcome::Conflict { key },
                    (None, Some(Fault::UnknownLost)) => Outcome::Unknown,
                    (None, fault) => {
                        self.revision += 1;
                        self.writes += 1;
                        for (key, value) in puts {
                            assert!(guards.iter().any(|g| g.key == key), "{key} is written without a guard");
                            match value {
                                Some(value) => {
                                    self.written.insert((key.clone(), self.revision), value.clone());
                                    self.pairs.insert(key, (value, self.revision));
                                }
                                None => drop(self.pairs.remove(&key)),
                            }
                        }
                        let known = Outcome::Written(Revision(self.revision));
                        if fault == Some(Fault::UnknownDone) { Outcome::Unknown } else { known }
                    }
                };
                meta::Done { id, outcome }
            }
        };
        self.waiting.push(done);
    }
}
