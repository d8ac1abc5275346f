//! `seawall sim --scenario`: one large world, and what it cost in time and memory. Parses and prints; the world is in `sim`.

use super::wall_ms;
use crate::args::Sim;
use crate::refusal::{Code, Refusal};
use crate::say;
use sim::scenario::{Outcome, Phase, Plan, run_plan};

/// Lets it happen once, and says what it took.
pub(super) fn run(name: &str, args: &Sim) -> Result<(), Refusal> {
    let plan = Plan::named(name).expect("the arguments allow no other name");
    let options = sim::Options { wall_ms, ..sim::Options::default() };
    let mut told = |phase: &Phase| {
        if !args.json {
            say(&format!("{} took {} ms\n", phase.name, phase.wall_ms));
        }
    };
    let outcome = run_plan(&plan, args.seed.unwrap_or(0), &options, &mut told)
        .map_err(|why| Refusal::new(Code::DidNotHold, format!("scenario {name} did not hold: {}", why.text)))?;
    let peak_kib = peak_kib().unwrap_or(0);
    if args.json {
        say(&format!("{}\n", as_json(name, &outcome, peak_kib)));
    } else {
        outcome.lines().iter().for_each(|line| say(&format!("{line}\n")));
        say(&format!("{} MiB of memory at most\n", peak_kib / 1024));
    }
    Ok(())
}

fn as_json(name: &str, outcome: &Outcome, peak_kib: u64) -> serde_json::Value {
    let phase = |phase: &Phase| {
        serde_json::json!({
            "name": phase.name,
            "simulated_ms": phase.simulated.as_millis() as u64,
            "wall_ms": phase.wall_ms,
            "events": phase.census.events,
            "watched": phase.census.watched,
            "pings": phase.census.pings,
            "bytes": phase.census.bytes,
        })
    };
    serde_json::json!({
        "scenario": name,
        "nodes": outcome.nodes,
        "shards": outcome.shards,
        "answered": outcome.answered,
        "elections": outcome.elections,
        "peak_kib": peak_kib,
        "phases": outcome.phases.iter().map(phase).collect::<Vec<_>>(),
    })
}

/// The most memory that this process ever had resident.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
