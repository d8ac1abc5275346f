//! What was asked of a store since it was opened, in its order, and what each prefix of that leaves.

use crate::bench::Bench;
use crate::bench::model::Model;
use base::log::{Record, Request};
use base::{Sequence, ShardId};
use std::collections::BTreeMap;

pub struct Asked {
    /// What each number of appends leaves, from none on.
    models: Vec<Model>,
    /// Whose each append was, and its ticket.
    tickets: Vec<(ShardId, u64)>,
    /// Commits that no append has carried into the log yet.
    waiting: BTreeMap<ShardId, Sequence>,
    /// Up to where commits were asked for.
    commits: BTreeMap<ShardId, Sequence>,
}

impl Asked {
    /// Nothing yet, of a store that holds this.
    pub fn on(model: Model) -> Self {
        Self { models: vec![model], tickets: vec![], waiting: BTreeMap::new(), commits: BTreeMap::new() }
    }

    /// How many appends.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// What all of it leaves, but for commits that nothing carried into the log.
    pub fn model(&self) -> &Model {
        &self.models[self.tickets.len()]
    }

    pub fn append(&mut self, bench: &mut Bench, shard: ShardId, record: Record) {
        let ticket = bench.append(shard, record.clone());
        let mut model = self.model().clone();
        if let Some(through) = self.waiting.remove(&shard) {
            model.request(&Request::Commit { shard, through });
        }
        model.request(&Request::Append { shard, ticket, record });
        self.models.push(model);
        self.tickets.push((shard, ticket));
    }

    pub fn commit(&mut self, bench: &mut Bench, shard: ShardId, through: Sequence) {
        bench.commit(shard, through.0);
        for commits in [&mut self.waiting, &mut self.commits] {
            let known = commits.entry(shard).or_default();
            *known = (*known).max(through);
        }
    }

    /// How many of the first appends the store has declared durable, or others behind them.
    pub fn acknowledged(&self, bench: &Bench) -> usize {
        let durable: BTreeMap<ShardId, u64> = self.tickets.iter().map(|&(s, _)| (s, bench.durable(s))).collect();
        self.tickets.iter().rposition(|(shard, ticket)| *ticket <= durable[shard]).map_or(0, |at| at + 1)
    }

    /// The model of the shortest prefix with so many in it that is what was found.
    pub fn fits(&self, found: &Model, acknowledged: usize) -> Option<Model> {
        self.models[acknowledged..].iter().find_map(|model| model.as_found(found, &self.commits))
    }
}
