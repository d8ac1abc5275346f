//! `seawall sim`: the same machines in an invented world. Parses and prints; the world is in `sim`.

mod isolation;
mod scenario;

use crate::args::Sim;
use crate::refusal::{Code, Refusal};
use crate::say;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs it. Each seed is run twice and must repeat itself to the byte.
pub fn run(args: &Sim) -> Result<(), Refusal> {
    match args.scenario.as_deref() {
        Some(sim::scenario::isolation::NAME) => return isolation::run(args),
        Some(name) => return scenario::run(name, args),
        None => {}
    }
    let seeds: Range<u64> = match args.seed {
        Some(seed) => seed..seed.checked_add(1).unwrap_or(seed),
        None => args.seeds.clone().unwrap_or(0..20),
    };
    let commit = option_env!("SEAWALL_COMMIT").map(Into::into);
    let options =
        sim::Options { commit, wall_ms, lines: args.lines, only: args.faults.clone(), ..sim::Options::default() };
    if let (true, Some(seed)) = (args.story, args.seed) {
        return tell(seed, &options);
    }
    let began = wall_ms();
    let tally = run_all(seeds.clone(), args.jobs, &options, args.json);
    let lines = tally.lines(wall_ms() - began);
    let missed = tally.missed();
    if args.json {
        let outcome =
            serde_json::json!({ "from": seeds.start, "to": seeds.end, "good": tally.held(), "missed": missed });
        say(&format!("{outcome}\n"));
    } else {
        lines.iter().for_each(|line| say(&format!("{line}\n")));
    }
    if !tally.held() {
        let text =
            "a seed did not hold; the lines above name it: run it alone with `seawall sim --seed N` for its trace";
        return Err(Refusal::new(Code::DidNotHold, text));
    }
    if args.cover && !missed.is_empty() {
        let text = format!(
            "all seeds held, but no fault of theirs struck {}: more seeds do, or the worlds are too tame",
            missed.join(", ")
        );
        return Err(Refusal::new(Code::DidNotHold, text));
    }
    Ok(())
}

/// The story of a seed, if it has one.
fn tell(seed: u64, options: &sim::Options) -> Result<(), Refusal> {
    // Invariants break again and again while it is found out what that needs; their words come with the story.
    std::panic::set_hook(Box::new(|_| {}));
    let story = sim::story(seed, options);
    _ = std::panic::take_hook();
    let Some(lines) = story else {
        say(&format!("seed {seed} holds; there is nothing to tell\n"));
        return Ok(());
    };
    lines.iter().for_each(|line| say(&format!("{line}\n")));
    Err(Refusal::new(Code::DidNotHold, format!("seed {seed} did not hold; its story is above")))
}

pub(crate) fn wall_ms() -> u64 {
    runtime::monotonic().0 / 1_000_000
}

/// Runs them on so many threads. What there is to say of them is said in their order.
fn run_all(seeds: Range<u64>, jobs: u16, options: &sim::Options, quiet: bool) -> sim::Tally {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = |sender: std::sync::mpsc::Sender<(u64, sim::Judged)>| {
        let taken = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
        while let Some(seed) = taken() {
            if sender.send((seed, sim::judge_seed(seed, options))).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let sender = sender.clone();
            scope.spawn(move || work(sender));
        }
        drop(sender);
        let (mut tally, mut ahead, mut due) = (sim::Tally::default(), BTreeMap::new(), seeds.start);
        for (seed, judged) in receiver {
            ahead.insert(seed, judged);
            while let Some(judged) = ahead.remove(&due) {
                if !quiet {
                    judged.lines.iter().for_each(|line| say(&format!("{line}\n")));
                }
                tally.add(&judged);
                due += 1;
            }
        }
        tally
    })
}
