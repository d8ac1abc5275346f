//! The way to the metadata store and back: what was decided becomes durable, and only then is it told to anybody.
//!
//! All changes of a turn form one write; while it is under way the next one gathers. So there is never more than one write in flight, no key is
//! ever written twice at once, and every change of one turn is durable together. Each key is guarded by the revision it was last seen at,
//! and by the key that says whose they are. A conflict, or a write whose outcome is unknown, means that this process no longer knows the
//! truth: everything is read again before anything else is done.
//!
//! It does not know what the records mean: authority and region keep theirs by it.

use crate::backoff::Backoff;
use crate::io::meta::{Done, Guard, Op, OpId, Outcome, Pair};
use crate::mutant::{Mutant, Mutation};
use crate::sometimes::Sometimes;
use crate::{Revision, Rng, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// The name of a record, as its machine knows it.
pub trait Key: Clone + Ord {
    /// What is read at the start. Together they are all keys of the machine.
    const PREFIXES: &'static [&'static str];

    /// The record that says whose metadata these are: every write is guarded by it.
    fn owner() -> Self;

    /// As the metadata store knows it.
    fn text(&self) -> String;
}

/// Something to be done when what it stands on is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct After<E> {
    batch: u64,
    effect: E,
}

enum State<K> {
    /// Ranges under way, or none yet and the next try at this time.
    Loading { waiting: BTreeSet<OpId>, pairs: Vec<Pair>, retry_at: Option<Time> },
    /// Nothing in flight.
    Quiet,
    /// One write in flight.
    Writing {
        op: OpId,
        batch: u64,
        keys: Vec<K>,
        /// Those of them that will not exist any more.
        gone: Vec<K>,
    },
}

/// What an answer of the metadata store means.
pub enum News<K, E> {
    /// Nothing yet, or an answer to something that nobody waits for any more.
    Nothing,
    /// All that there is.
    Loaded(Vec<Pair>),
    /// These keys are durable at this revision, and with them what these effects stand on.
    Durable {
        /// Which.
        keys: Vec<K>,
        /// Since when.
        revision: Revision,
        /// What can be done now.
        effects: Vec<E>,
    },
    /// The truth must be read again.
    Lost,
}

/// The flow of one machine.
pub struct Truth<K, E> {
    state: State<K>,
    next_op: u64,
    /// The batch that gathers.
    batch: u64,
    dirty: BTreeSet<K>,
    effects: Vec<After<E>>,
    revisions: BTreeMap<K, Revision>,
    /// The greatest revision seen.
    at: Revision,
    backoff: Backoff,
    rng: Rng,
    mutation: Mutation,
}

impl<K: Key, E> Truth<K, E> {
    /// Nothing is known yet; the first step asks.
    pub fn new(backoff: Backoff, rng: Rng, mutation: Mutation) -> Self {
        Self {
            state: State::Loading { waiting: BTreeSet::new(), pairs: Vec::new(), retry_at: Some(Time::ZERO) },
            next_op: 1,
            batch: 1,
            dirty: BTreeSet::new(),
            effects: Vec::new(),
            revisions: BTreeMap::new(),
            at: Revision(0),
            backoff,
            rng,
            mutation,
        }
    }

    /// The greatest revision seen.
    pub fn at(&self) -> Revision {
        self.at
    }

    /// The revision a key was last seen at; 0 when it does not exist.
    pub fn revision(&self, key: &K) -> Revision {
        self.revisions.get(key).copied().unwrap_or_default()
    }

    /// As it was read.
    pub fn note(&mut self, key: K, revision: Revision) {
        self.revisions.insert(key, revision);
    }

    /// The key's value changed in memory: it is written with the next batch.
    pub fn touch(&mut self, key: K) {
        self.dirty.insert(key);
    }

    /// How many keys wait to be written.
    pub fn waiting(&self) -> usize {
        self.dirty.len()
    }

    /// The keys of the write in flight, in order.
    pub fn writing(&self) -> &[K] {
        if let State::Writing { keys, .. } = &self.state { keys } else { &[] }
    }

    /// Whether a change of the key is not durable yet.
    pub fn is_pending(&self, key: &K) -> bool {
        self.dirty.contains(key) || self.writing().binary_search(key).is_ok()
    }

    /// Keeps `effect` until all that was decided so far is durable; hands it back when it is already.
    pub fn after(&mut self, effect: E) -> Option<E> {
        let batch = match &self.state {
            _ if !self.dirty.is_empty() => self.batch,
            State::Writing { batch, .. } => *batch,
            _ => return Some(effect),
        };
        self.effects.push(After { batch, effect });
        None
    }

    /// Forgets what was not durable and asks for everything, now or after a wait.
    pub fn reload(&mut self, now: Time) {
        self.dirty.clear();
        self.effects.clear();
        self.revisions.clear();
        let wait = self.backoff.next(&mut self.rng);
        self.state = State::Loading { waiting: BTreeSet::new(), pairs: Vec::new(), retry_at: Some(now + wait) };
    }

    /// When it wants to be asked for its next operations though nothing came.
    pub fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Loading { retry_at, .. } => *retry_at,
            _ => None,
        }
    }

    /// The reads that are due.
    pub fn reads(&mut self, now: Time) -> Vec<Op> {
        let State::Loading { waiting, retry_at, .. } = &mut self.state else { return Vec::new() };
        if retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        *retry_at = None;
        let next = &mut self.next_op;
        let ask = |prefix: &str| {
            let id = OpId(*next);
            *next += 1;
            waiting.insert(id);
            Op::Range { id, prefix: prefix.into() }
        };
        K::PREFIXES.iter().copied().map(ask).collect()
    }

    /// The write of all that gathered, if none is in flight. `value` gives the bytes of a key, or none to have it gone.
    pub fn write(&mut self, value: impl Fn(&K) -> Option<Bytes>) -> Option<Op> {
        if !matches!(self.state, State::Quiet) || self.dirty.is_empty() {
            return None;
        }
        let id = OpId(self.next_op);
        self.next_op += 1;
        let keys: Vec<K> = core::mem::take(&mut self.dirty).into_iter().collect();
        let guard = |key: &K| Guard { key: key.text(), revision: self.revision(key) };
        let mut guards: Vec<Guard> = keys.iter().map(guard).collect();
        if keys.first() != Some(&K::owner()) {
            guards.push(guard(&K::owner()));
        }
        let values: Vec<Option<Bytes>> = keys.iter().map(value).collect();
        let gone = keys.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(key, _)| key.clone()).collect();
        let puts: Vec<(String, Option<Bytes>)> = keys.iter().map(Key::text).zip(values).collect();
        self.state = State::Writing { op: id, batch: self.batch, keys, gone };
        self.batch += 1;
        Some(Op::Write { id, guards, puts })
    }

    /// Takes an answer.
    pub fn done(&mut self, now: Time, done: Done) -> News<K, E> {
        match &mut self.state {
            State::Loading { waiting, pairs, .. } => {
                if !waiting.remove(&done.id) {
                    return News::Nothing;
                }
                let Outcome::Pairs { pairs: more, at } = done.outcome else {
                    self.reload(now);
                    return News::Nothing;
                };
                pairs.extend(more);
                self.at = self.at.max(at);
                if !waiting.is_empty() {
                    return News::Nothing;
                }
                let pairs = core::mem::take(pairs);
                self.state = State::Quiet;
                News::Loaded(pairs)
            }
            State::Writing { op, .. } if *op != done.id => News::Nothing,
            State::Quiet => News::Nothing,
            State::Writing { batch, .. } => {
                let batch = *batch;
                let taken = match done.outcome {
                    Outcome::Unknown if self.mutation.is(Mutant::UnknownTakenForDone) => Outcome::Written(self.at),
                    outcome => outcome,
                };
                let Outcome::Written(revision) = taken else {
                    Sometimes::TruthIsReadAgain.happens();
                    return News::Lost;
                };
                let State::Writing { keys, gone, .. } = core::mem::replace(&mut self.state, State::Quiet) else {
                    unreachable!("the state was matched above")
                };
                self.backoff.reset();
                self.at = self.at.max(revision);
                for key in &keys {
                    self.revisions.insert(key.clone(), revision);
                }
                for key in &gone {
                    self.revisions.remove(key);
                }
                let (ready, later) = core::mem::take(&mut self.effects).into_iter().partition(|a| a.batch <= batch);
                self.effects = later;
                let ready: Vec<After<E>> = ready;
                News::Durable { keys, revision, effects: ready.into_iter().map(|a| a.effect).collect() }
            }
        }
    }
}
