//! An invented metadata store: in memory, in order, durable when it says so, and able to lose a reply after the commit.
//!
//! Operations are applied one after the other, each some time before its reply leaves. A process that dies between the two has
//! written and does not know it; one that dies earlier has written some first part of what it asked.

use base::Revision;
use base::io::meta::{Done, Guard, Op, OpId, Outcome, Pair};
use base::{Rng, time::Duration};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// One metadata store. It outlives the processes that use it.
pub struct Meta {
    keys: BTreeMap<String, (Revision, Bytes)>,
    revision: Revision,
    asked: VecDeque<Op>,
    replies: VecDeque<Done>,
    rng: Rng,
    /// A fault multiplies every delay by this.
    pub slower: u64,
    /// A fault makes this many replies in a thousand say that nothing is known.
    pub unknown_per_mille: u64,
    /// Replies that said so, for the count of faults.
    pub unknowns: u64,
}

impl Meta {
    /// Empty.
    pub fn new(rng: Rng) -> Self {
        Self {
            keys: BTreeMap::new(),
            revision: Revision(0),
            asked: VecDeque::new(),
            replies: VecDeque::new(),
            rng,
            slower: 1,
            unknown_per_mille: 0,
            unknowns: 0,
        }
    }

    /// Takes an operation; says whether the first of a row begins, which then needs [`Self::apply`] after [`Self::delay`].
    pub fn submit(&mut self, op: Op) -> bool {
        self.asked.push_back(op);
        self.asked.len() == 1
    }

    /// How long until the next step of its work.
    pub fn delay(&mut self) -> Duration {
        let tail = if self.rng.chance(1, 50) { 20 } else { 1 };
        Duration::from_micros(self.rng.within(80, 900) * tail * self.slower)
    }

    /// Applies the oldest; says whether another waits.
    pub fn apply(&mut self) -> bool {
        if let Some(op) = self.asked.pop_front() {
            let done = self.carry_out(op);
            self.replies.push_back(done);
        }
        !self.asked.is_empty()
    }

    /// The oldest reply, at the time when it arrives.
    pub fn reply(&mut self) -> Option<Done> {
        self.replies.pop_front()
    }

    fn carry_out(&mut self, op: Op) -> Done {
        let unknown = self.rng.chance(self.unknown_per_mille, 1000);
        self.unknowns += u64::from(unknown);
        match op {
            Op::Range { id, .. } if unknown => Done { id, outcome: Outcome::Unknown },
            Op::Range { id, prefix } => Done { id, outcome: self.range(&prefix) },
            Op::Write { id, guards, puts } => {
                // An unknown outcome is either: done without a word, or not done at all.
                let outcome = if unknown && self.rng.chance(1, 2) {
                    Outcome::Unknown
                } else {
                    let truth = self.write(&guards, puts);
                    if unknown { Outcome::Unknown } else { truth }
                };
                Done { id, outcome }
            }
        }
    }

    fn range(&self, prefix: &str) -> Outcome {
        let from = self.keys.range(prefix.to_owned()..);
        let pairs = from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (revision, value))| Pair { key: key.clone(), value: value.clone(), revision: *revision })
            .collect();
        Outcome::Pairs { pairs, at: self.revision }
    }

    fn write(&mut self, guards: &[Guard], puts: Vec<(String, Option<Bytes>)>) -> Outcome {
        let now_at = |key: &str| self.keys.get(key).map_or(Revision(0), |(revision, _)| *revision);
        if let Some(broken) = guards.iter().find(|guard| now_at(&guard.key) != guard.revision) {
            return Outcome::Conflict { key: broken.key.clone() };
        }
        self.revision = self.revision.next();
        for (key, value) in puts {
            match value {
                Some(value) => drop(self.keys.insert(key, (self.revision, value))),
                None => drop(self.keys.remove(&key)),
            }
        }
        Outcome::Written(self.revision)
    }

    /// The process that used it is gone: some first part of what it asked is done, and no reply will come.
    pub fn crash(&mut self) {
        let done = self.rng.below(self.asked.len() as u64 + 1) as usize;
        let asked: Vec<Op> = self.asked.drain(..).take(done).collect();
        for op in asked {
            self.carry_out(op);
        }
        self.replies.clear();
    }

    /// The operation's own name.
    pub fn id_of(op: &Op) -> OpId {
        match op {
            Op::Range { id, .. } | Op::Write { id, .. } => *id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: u64, key: &str, at: u64, value: &'static str) -> Op {
        let guards = vec![Guard { key: key.into(), revision: Revision(at) }];
        Op::Write { id: OpId(id), guards, puts: vec![(key.into(), Some(Bytes::from_static(value.as_bytes())))] }
    }

    fn ask(meta: &mut Meta, op: Op) -> Outcome {
        assert!(meta.submit(op));
        assert!(!meta.apply());
        meta.reply().unwrap().outcome
    }

    #[test]
    fn writes_are_guarded_and_ranges_are_in_order() {
        let mut meta = Meta::new(Rng::new(1));
        assert_eq!(ask(&mut meta, put(1, "a/2", 0, "x")), Outcome::Written(Revision(1)));
        assert_eq!(ask(&mut meta, put(2, "a/1", 0, "y")), Outcome::Written(Revision(2)));
        assert_eq!(ask(&mut meta, put(3, "a/1", 1, "z")), Outcome::Conflict { key: "a/1".into() });
        assert_eq!(ask(&mut meta, put(4, "b", 0, "w")), Outcome::Written(Revision(3)));
        let Outcome::Pairs { pairs, at } = ask(&mut meta, Op::Range { id: OpId(5), prefix: "a/".into() }) else {
            panic!("a range gives pairs")
        };
        let seen: Vec<_> = pairs.iter().map(|p| (p.key.as_str(), &p.value[..], p.revision.0)).collect();
        assert_eq!((seen, at), (vec![("a/1", &b"y"[..], 2), ("a/2", &b"x"[..], 1)], Revision(3)));
        let delete = Op::Write { id: OpId(6), guards: vec![], puts: vec![("a/1".into(), None)] };
        assert_eq!(ask(&mut meta, delete), Outcome::Written(Revision(4)));
        assert_eq!(ask(&mut meta, put(7, "a/1", 0, "again")), Outcome::Written(Revision(5)));
    }

    #[test]
    fn a_crash_may_lose_the_reply_and_keep_the_write() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..100 {
            let mut meta = Meta::new(Rng::new(seed));
            meta.submit(put(1, "first", 0, "x"));
            meta.submit(put(2, "second", 0, "x"));
            meta.apply();
            meta.crash();
            assert!(meta.reply().is_none());
            assert!(meta.keys.contains_key("first"), "it was applied before the crash");
            if meta.keys.contains_key("second") { kept += 1 } else { lost += 1 }
        }
        assert!(kept > 20 && lost > 20, "{kept} kept, {lost} lost");
    }

    #[test]
    fn an_unknown_outcome_is_sometimes_done_and_sometimes_not() {
        let (mut done, mut not) = (0, 0);
        for seed in 0..100 {
            let mut meta = Meta::new(Rng::new(seed));
            meta.unknown_per_mille = 1000;
            assert_eq!(ask(&mut meta, put(1, "k", 0, "x")), Outcome::Unknown);
            if meta.keys.is_empty() { not += 1 } else { done += 1 }
        }
        assert!(done > 20 && not > 20, "{done} done, {not} not");
    }
}
