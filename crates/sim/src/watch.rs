//! What is looked at within machines, beside what they say: whether anything in them leaks, grows beyond its bounds, or is gone that nobody let go. Nothing that happens
//! depends on it.

use crate::check::tokens::{Learners, LearnersMax};
use crate::check::{bounds, space};
use crate::clock::Moment;
use crate::cluster::Actor;
use crate::report::Failure;
use crate::run::{Run, Verdict};
use crate::world::Pid;
use base::bounded::Fill;
use base::io::net::Peer;
use base::time::Duration;
use base::{Member, NodeId, ShardId};
use std::fmt;

/// Between two looks at everything.
const EVERY: Duration = Duration::from_millis(250);
/// Of more shards than this the authority's are not looked at after each of its turns, nor what a node has, but then with everything else.
const SHARDS_LOOKED_AT: usize = 256;
/// Of more processes than this so many are looked at, and at the next look the next ones: to look at a thousand would take longer than what they do meanwhile.
const PROCESSES_LOOKED_AT: usize = 16;

/// When it was looked, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    next: Moment,
    /// Where among all processes the next look begins.
    first: usize,
    learners: Learners,
}

impl Run {
    /// A process took a turn.
    pub(crate) fn watch_turn(&mut self, pid: Pid) -> Verdict {
        match self.cluster.world.machine(pid) {
            Some(Actor::Node(node)) if node.replica_count() <= SHARDS_LOOKED_AT => self.watch_holdings(pid),
            Some(Actor::Zone(_)) => self.watch_learners(),
            _ => Ok(()),
        }
        .map_err(Failure::of)
    }

    /// Now and then, all of them; some of them in a large world.
    pub(crate) fn watch_all(&mut self) -> Verdict {
        let now = self.cluster.world.now();
        if now < self.watch.next {
            return Ok(());
        }
        self.watch.next = now + EVERY;
        bounds::turn(self.cluster.world.widest).map_err(Failure::of)?;
        let liar = self.cluster.world.observer.liar;
        let all = self.cluster.servants();
        let (first, count) = (self.watch.first % all.len(), all.len().min(PROCESSES_LOOKED_AT));
        self.watch.first = first + count;
        for pid in all.iter().cycle().skip(first).take(count).copied() {
            let Some(actor) = self.cluster.world.machine(pid) else { continue };
            look_into(actor, liar).map_err(Failure::of)?;
            if matches!(actor, Actor::Node(node) if node.replica_count() > SHARDS_LOOKED_AT) {
                self.watch_holdings(pid).map_err(Failure::of)?;
            }
        }
        Ok(())
    }

    fn watch_holdings(&mut self, pid: Pid) -> Result<(), String> {
        let world = &mut self.cluster.world;
        let (run, Peer::Node(node)) = (world.run(pid), world.peer(pid)) else { unreachable!("a node is a node") };
        let mut releases = std::mem::take(&mut world.observer.releases);
        let verdict = match world.machine(pid) {
            // Who forgets what it said may forget what it had.
            _ if world.observer.liar == Some(node) => Ok(()),
            Some(Actor::Node(machine)) if machine.is_ready() => {
                let member = Member { node, store: machine.store().uuid() };
                let going = machine.replicas().filter(|(_, replica)| replica.is_gone());
                let dropped = going.map(|(_, replica)| releases.drops(member, replica.config())).find(Result::is_err);
                let there = machine.replicas().filter(|(_, replica)| !replica.is_gone());
                let shards: Vec<ShardId> = there.map(|(shard, _)| *shard).collect();
                let has = dropped.unwrap_or(Ok(()));
                if machine.store().damage().is_some() {
                    releases.is_damaged(member, run);
                }
                has.and_then(|()| releases.has(member, run, &shards, &world.observer.promises))
            }
            _ => Ok(()),
        };
        world.observer.releases = releases;
        verdict
    }

    fn watch_learners(&mut self) -> Result<(), String> {
        let policy = self.cluster.zone_policy();
        let most = LearnersMax { on: policy.learn_in_max, by: policy.learn_out_max };
        match self.cluster.world.machine(self.cluster.zone) {
            Some(Actor::Zone(zone)) if *zone.phase() != zone::Phase::Ready => {
                self.watch.learners.reads();
                Ok(())
            }
            Some(Actor::Zone(zone)) if zone.configurations().nth(SHARDS_LOOKED_AT).is_none() => {
                self.watch.learners.look(zone.configurations(), most)
            }
            _ => Ok(()),
        }
    }
}

fn look_into(actor: &Actor, liar: Option<NodeId>) -> Result<(), String> {
    let mut verdict = Ok(());
    let mut judge = |whose: &dyn fmt::Display, fill: Fill| {
        if verdict.is_ok() {
            verdict = bounds::check(whose, fill);
        }
    };
    match actor {
        Actor::Node(node) => {
            let id = node.id();
            node.fills(&mut |shard, fill| match shard {
                Some(shard) => judge(&format_args!("{id}, of {shard},"), fill),
                None => judge(&id, fill),
            });
            verdict?;
            if !node.holdings_are_right() {
                return Err(format!("space: {id} counts something else than what its replicas come to"));
            }
            leaks(id, node, liar)
        }
        Actor::Zone(zone) => {
            zone.fills(&mut |fill| judge(&"the zone", fill));
            verdict
        }
        Actor::Host(host) => {
            host.host.fills(&mut |volume, fill| match volume {
                Some(volume) => judge(&format_args!("a host, of {volume},"), fill),
                None => judge(&"a host", fill),
            });
            verdict
        }
        Actor::Operator(_) => Ok(()),
    }
}

fn leaks(id: NodeId, node: &node::Node, liar: Option<NodeId>) -> Result<(), String> {
    if !node.is_ready() {
        return Ok(());
    }
    let has = |shard| liar == Some(id) || node.replica(shard).is_some();
    space::store(id, node.store(), has)
}
