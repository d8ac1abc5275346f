//! Large worlds: a story with a beginning and an end instead of chance, told with figures. The machines, the world and the judges are those of every seed;
//! only the shape is chosen, and most of the volumes lie idle, as most do.
//!
//! A scenario refuses to measure real time by itself: whoever runs it lends it a clock.

pub mod isolation;
mod plan;
mod stage;

pub use plan::{NAMES, Plan};

pub use crate::census::Census;
use crate::report::{Failure, Options};
use base::time::Duration;
use stage::Stage;

/// The names of all scenarios: of these large worlds, and of those that are told in figures of their own.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain([isolation::NAME])
}

/// One phase of a scenario and what it took.
#[derive(Debug, Clone)]
pub struct Phase {
    /// What happened in it.
    pub name: &'static str,
    /// Simulated time.
    pub simulated: Duration,
    /// Milliseconds of real time; 0 when nobody lent a clock.
    pub wall_ms: u64,
    /// What was counted, at its end.
    pub census: Census,
}

/// What came of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Storage nodes.
    pub nodes: u64,
    /// Shards of all volumes.
    pub shards: u64,
    /// Client operations that were answered.
    pub answered: u64,
    /// Epochs beyond the first, over all shards.
    pub elections: u64,
    /// Of everything that happened, in order.
    pub trace_hash: u64,
    /// Its phases, in order.
    pub phases: Vec<Phase>,
}

impl Outcome {
    /// The phase of that name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// In words and figures.
    pub fn lines(&self) -> Vec<String> {
        let head = format!(
            "{} nodes, {} shards; {} operations answered, {} elections, trace {:016x}",
            self.nodes, self.shards, self.answered, self.elections, self.trace_hash
        );
        let mut lines = vec![head];
        lines.push(format!(
            "{:<10} {:>12} {:>10} {:>8} {:>12} {:>10} {:>10} {:>10} {:>12}",
            "phase", "simulated s", "wall s", "ratio", "events", "events/s", "watched", "pings", "bytes"
        ));
        for phase in &self.phases {
            let (wall_ms, simulated_ms) = (phase.wall_ms.max(1), phase.simulated.as_millis() as u64);
            let Census { events, watched, pings, bytes, .. } = phase.census;
            lines.push(format!(
                "{:<10} {:>8}.{:03} {:>6}.{:03} {:>8} {events:>12} {:>10} {watched:>10} {pings:>10} {bytes:>12}",
                phase.name,
                simulated_ms / 1000,
                simulated_ms % 1000,
                phase.wall_ms / 1000,
                phase.wall_ms % 1000,
                simulated_ms / wall_ms,
                events * 1000 / wall_ms,
            ));
        }
        lines
    }
}

/// Lets it happen. `told` hears of each phase when it has ended.
pub fn run_plan(plan: &Plan, seed: u64, options: &Options, told: &mut dyn FnMut(&Phase)) -> Result<Outcome, Failure> {
    let mut stage = Stage::new(plan, seed, options, told);
    stage.phase("boot", Stage::boot)?;
    stage.phase("make", Stage::make_volumes)?;
    stage.phase("quiet", |stage| stage.pass(plan.quiet))?;
    if plan.rack_is_lost {
        stage.phase("lost", Stage::lose_a_rack)?;
        stage.phase("again", Stage::rack_returns)?;
    }
    stage.phase("judge", Stage::judge)?;
    Ok(stage.outcome())
}
