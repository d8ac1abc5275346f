//! How a scenario's phases are brought about, and when each is over.

use super::{Outcome, Phase, Plan};
use crate::cluster::Actor;
use crate::report::{Failure, Options};
use crate::run::{Run, Verdict};
use crate::world::Pid;
use base::time::Duration;
use base::{BLOCK_BYTES, Configuration, NodeId, RequestId};
use wire::NodeCondition;

/// Simulated time within which each phase must be over.
const WITHIN: Duration = Duration::from_secs(1800);
/// Between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Stage<'a> {
    plan: &'a Plan,
    run: Run,
    lost: Vec<Pid>,
    phases: Vec<Phase>,
    wall_ms: fn() -> u64,
    told: &'a mut dyn FnMut(&Phase),
}

impl<'a> Stage<'a> {
    pub(super) fn new(plan: &'a Plan, seed: u64, options: &Options, told: &'a mut dyn FnMut(&Phase)) -> Self {
        let mut run = Run::in_shape(seed, plan.shape(), options, 0);
        run.cluster.world.net.prompt = true;
        Self { plan, run, lost: Vec::new(), phases: Vec::new(), wall_ms: options.wall_ms, told }
    }

    pub(super) fn phase(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> Verdict) -> Verdict {
        let (began, at) = ((self.wall_ms)(), self.run.cluster.world.now());
        let before = self.run.cluster.world.census();
        work(self).map_err(|why| Failure { text: format!("{name}: {}", why.text), ..why })?;
        let world = &self.run.cluster.world;
        let census = world.census().since(before);
        let phase = Phase { name, simulated: world.now().since(at), wall_ms: (self.wall_ms)() - began, census };
        (self.told)(&phase);
        self.phases.push(phase);
        Ok(())
    }

    /// All processes run, and the volumes that are used are attached.
    pub(super) fn boot(&mut self) -> Verdict {
        self.run.boot()
    }

    /// The idle volumes are made, and serve.
    pub(super) fn make_volumes(&mut self) -> Verdict {
        let size = u64::from(self.plan.shards_each * self.run.shape.shard_blocks) * BLOCK_BYTES as u64;
        let operator = self.run.cluster.hasty;
        for volume in 0..self.plan.idle_volumes {
            let request = RequestId(1 << 32 | u128::from(volume));
            let made = wire::CreateVolume { request, size, copies: 3, throttle: wire::Throttle::default() };
            self.run.cluster.operator(operator).say(made.into());
        }
        self.run.cluster.world.poke(operator);
        self.wait(|stage| {
            let there = stage.configurations().count() as u64;
            if there < stage.plan.shards() { Some(format!("{there} shards were made")) } else { stage.unfinished() }
        })
    }

    pub(super) fn pass(&mut self, how_long: Duration) -> Verdict {
        self.run.run_for(how_long)
    }

    /// A rack loses power; what it had is made anew elsewhere.
    pub(super) fn lose_a_rack(&mut self) -> Verdict {
        let rack = 0;
        let of_rack = (1..).zip(&self.run.cluster.nodes).filter(|(number, _)| number % self.plan.racks == rack);
        self.lost = of_rack.map(|(_, pid)| *pid).collect();
        for pid in &self.lost {
            self.run.cluster.world.kill(*pid, true);
        }
        self.wait(Self::unfinished)
    }

    /// The rack is back: its nodes are trusted again, and nothing is kept twice.
    pub(super) fn rack_returns(&mut self) -> Verdict {
        for pid in std::mem::take(&mut self.lost) {
            self.run.cluster.start(pid);
        }
        self.wait(|stage| stage.unfinished().or_else(|| stage.left_over()))
    }

    /// What the clients saw was right, and all can be read.
    pub(super) fn judge(&mut self) -> Verdict {
        self.run.drain()?;
        self.run.read_all()?;
        self.run.judge()
    }

    pub(super) fn outcome(self) -> Outcome {
        let world = &self.run.cluster.world;
        Outcome {
            nodes: self.plan.nodes,
            shards: self.configurations().count() as u64,
            answered: self.run.history.answered(),
            elections: world.observer.epochs.elections(),
            trace_hash: world.trace.hash(),
            phases: self.phases,
        }
    }

    fn wait(&mut self, mut left: impl FnMut(&Self) -> Option<String>) -> Verdict {
        let deadline = self.run.cluster.world.now() + WITHIN;
        while let Some(what) = left(self) {
            if self.run.cluster.world.now() >= deadline {
                return Err(Failure::of(format!("after {WITHIN:?} {what}")));
            }
            self.run.run_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// What the authority has made durable.
    fn configurations(&self) -> impl Iterator<Item = &Configuration> {
        match self.run.cluster.world.machine(self.run.cluster.zone) {
            Some(Actor::Zone(zone)) => Some(zone.configurations()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    fn pid(&self, node: NodeId) -> Pid {
        self.run.cluster.nodes[node.0 as usize - 1]
    }

    /// The first shard that has not all its copies on nodes that are there, or that is not led by one of them.
    fn unfinished(&self) -> Option<String> {
        for c in self.configurations() {
            if c.members.len() != usize::from(c.target_copies) || c.learner.is_some() {
                return Some(format!("{} has not all its copies: {c:?}", c.shard));
            }
            for member in &c.members {
                let replica = self.run.cluster.node(self.pid(member.node)).and_then(|node| node.replica(c.shard));
                if replica.is_none_or(|r| r.config().epoch != c.epoch) {
                    return Some(format!("{} does not have {}: {c:?}", member.node, c.shard));
                }
                if member.node == c.primary && replica.is_some_and(|r| !r.is_serving()) {
                    return Some(format!("{} is not served: {c:?}", c.shard));
                }
            }
        }
        None
    }

    /// What is kept though nobody needs it, or a node that is not trusted.
    fn left_over(&self) -> Option<String> {
        if let Some(c) = self.configurations().find(|c| !c.holders.is_empty()) {
            return Some(format!("{} is still kept by {:?}", c.shard, c.holders));
        }
        // Each member has its replica, as was seen: so there is one too many where there are more.
        let kept: usize = self
            .run
            .cluster
            .nodes
            .iter()
            .filter_map(|pid| self.run.cluster.node(*pid))
            .map(|n| n.replicas().count())
            .sum();
        let wanted: usize = self.configurations().map(|c| c.members.len()).sum();
        if kept != wanted {
            return Some(format!("{kept} replicas are kept, of {wanted} that are needed"));
        }
        let world = &self.run.cluster.world;
        let Some(Actor::Zone(zone)) = world.machine(self.run.cluster.zone) else { return Some("no authority".into()) };
        let mut up = 0;
        for (node, condition) in zone.conditions() {
            if *condition != NodeCondition::Up {
                return Some(format!("{node} is {condition:?}"));
            }
            up += 1;
        }
        (up != self.plan.nodes).then(|| format!("{up} nodes are known"))
    }
}
