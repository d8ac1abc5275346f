//! `seawall sim --scenario region-isolation`: a region of three zones of which one is in trouble, with every mechanism of isolation at work and with each switched off
//! alone. Parses and prints; the world and the bars are in `sim`.

use crate::args::Sim;
use crate::refusal::{Code, Refusal};
use crate::say;
use region::Mechanism;
use sim::scenario::isolation::{NAME, Outcome, PartTally, Plan, Tally, run as run_once};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lets it happen with all mechanisms, and without each.
pub(super) fn run(args: &Sim) -> Result<(), Refusal> {
    let off: Vec<Option<Mechanism>> = [None].into_iter().chain(Mechanism::ALL.map(Some)).collect();
    let told = |outcome: &Outcome| {
        if !args.json {
            outcome.lines().iter().for_each(|line| say(&format!("{line}\n")));
        }
    };
    let outcomes = run_all(&off, args, &told);
    let wrong: Vec<String> = outcomes.iter().filter(|outcome| !outcome.is_right()).map(in_words).collect();
    if args.json {
        let runs: Vec<_> = outcomes.iter().map(as_json).collect();
        say(&format!("{}\n", serde_json::json!({ "scenario": NAME, "good": wrong.is_empty(), "runs": runs })));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(Code::DidNotHold, format!("scenario {NAME} did not hold: {}", wrong.join("; "))))
}

/// Runs all of them on so many threads; each is told of in its turn.
fn run_all(off: &[Option<Mechanism>], args: &Sim, told: &dyn Fn(&Outcome)) -> Vec<Outcome> {
    let (next, plan, seed) = (AtomicUsize::new(0), Plan::full(), args.seed.unwrap_or(0));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            let (sender, next, plan) = (sender.clone(), &next, &plan);
            scope.spawn(move || {
                let taken = || next.fetch_add(1, Ordering::Relaxed);
                while let Some((at, without)) = Some(taken()).and_then(|at| Some((at, off.get(at)?))) {
                    if sender.send((at, run_once(plan, *without, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut ahead, mut all) = (BTreeMap::new(), Vec::new());
        for (at, outcome) in receiver {
            ahead.insert(at, outcome);
            while let Some(outcome) = ahead.remove(&all.len()) {
                told(&outcome);
                all.push(outcome);
            }
        }
        all
    })
}

fn in_words(outcome: &Outcome) -> String {
    match outcome.without {
        Some(mechanism) => format!("without its {} nothing comes back", mechanism.name()),
        None => outcome.missed().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let crowd = |tally: &Tally| {
        serde_json::json!({
            "calls": tally.calls,
            "p50_us": tally.within_us(500),
            "p99_us": tally.within_us(990),
            "errors": tally.wrong(),
            "kinds": tally.errors,
        })
    };
    let part = |part: &PartTally| serde_json::json!({ "part": part.name, "others": crowd(&part.others), "afflicted": crowd(&part.afflicted) });
    let missed = |missed: &sim::scenario::isolation::Missed| serde_json::json!({ "bar": missed.bar.name(), "part": missed.part, "by": missed.by });
    serde_json::json!({
        "without": outcome.without.map(Mechanism::name),
        "right": outcome.is_right(),
        "missed": outcome.missed().iter().map(missed).collect::<Vec<_>>(),
        "parts": outcome.parts.iter().map(part).collect::<Vec<_>>(),
        "most_held": outcome.most_held,
        "events": outcome.events,
        "trace": format!("{:016x}", outcome.trace_hash),
    })
}
