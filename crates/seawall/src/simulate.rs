//! `seawall sim`: the same machines in an invented world. Parses and prints; the world is in `sim`.

use crate::args::Sim;
use crate::later;
use crate::refusal::{Code, Refusal};
use crate::say;
use std::ops::Range;

/// Runs it. Each seed is run twice and must repeat itself to the byte.
pub fn run(args: &Sim) -> Result<(), Refusal> {
    if args.scenario.is_some() {
        return Err(later::refuse("a scenario (--scenario)", "leave it out and choose seeds with --seed or --seeds"));
    }
    let seeds: Range<u64> = match args.seed {
        Some(seed) => seed..seed.checked_add(1).unwrap_or(seed),
        None => args.seeds.clone().unwrap_or(0..20),
    };
    let json = args.json;
    let options = sim::Options {
        commit: option_env!("SEAWALL_COMMIT").map(Into::into),
        wall_ms: || runtime::monotonic().0 / 1_000_000,
        ..sim::Options::default()
    };
    let good = sim::main_seeds(seeds.clone(), &options, &mut |line| {
        if !json {
            say(&format!("{line}\n"));
        }
    });
    if json {
        say(&format!("{}\n", serde_json::json!({ "from": seeds.start, "to": seeds.end, "good": good })));
    }
    if good {
        return Ok(());
    }
    let text = "a seed did not hold; the lines above name it: run it alone with `seawall sim --seed N` for its trace";
    Err(Refusal::new(Code::DidNotHold, text))
}
