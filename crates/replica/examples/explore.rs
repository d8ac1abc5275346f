//! Goes through all states of the protocol in a world, for as long as it is told to; the tests of this crate do as much of the same as a minute allows.
//!
//! ```text
//! cargo run --release -p replica --example explore -- --nodes 3 --writes 2 --crashes 1 --depth 30     a world of that size, to that depth
//! cargo run --release -p replica --example explore -- --scene "a learner"                             one of the worlds that the tests go through
//! cargo run --release -p replica --example explore -- --scenes                                        all of them
//! ```
//!
//! A world begins with epoch 1 served by node 1. What may happen in it: `--nodes` (2 to 4), `--members` (of epoch 1; all nodes unless told), `--min` copies, `--epochs`,
//! `--blocks` of the shard (1 or 2, and then no reads), `--writes` and `--reads` of a host, `--crashes`, `--breaks` of links, `--learners`, `--damages` of logs, `--releases`, `--attaches` of a second host with its
//! `--second-writes` and `--second-reads`, `--times` that a lease runs out. `--fast-disks` makes what is appended durable at once, `--slow-hosts` lets what hosts send arrive late, `--late` lets frames of an older life of a
//! link arrive. `--depth` and `--states` bound the search; it says whether it saw everything.
//!
//! It fails at the first state that does not hold, and says which choices led to it.

#[path = "../tests/model/mod.rs"]
mod model;

use model::disk::BLOCKS_MAX;
use model::scenes::SCENES;
use model::search::{Bounds, Outcome, explore};
use model::setup::{NODES_MAX, Setup};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

struct Asked {
    worlds: Vec<(String, Setup)>,
    bounds: Bounds,
}

fn number<T: FromStr>(name: &str, text: Option<String>) -> Result<T, String> {
    text.and_then(|t| t.parse().ok()).ok_or(format!("{name} needs a number"))
}

fn asked(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut setup = Setup::PAIR;
    let (mut bounds, mut members, mut worlds) = (Bounds::NONE, None, vec![]);
    let mut words = words;
    while let Some(word) = words.next() {
        let name = word.as_str();
        match name {
            "--scenes" => worlds.extend(SCENES.iter().map(|s| (s.name.to_string(), s.setup.clone()))),
            "--scene" => {
                let wanted = words.next().unwrap_or_default();
                let found = SCENES.iter().find(|s| s.name == wanted);
                let found = found.ok_or_else(|| format!("{:?} are the scenes", SCENES.map(|s| s.name)))?;
                worlds.push((wanted, found.setup.clone()));
            }
            "--fast-disks" => setup.slow_disks = false,
            "--slow-hosts" => setup.slow_hosts = true,
            "--late" => setup.late = true,
            "--nodes" => setup.nodes = number(name, words.next())?,
            "--members" => members = Some(number(name, words.next())?),
            "--min" => setup.min = number(name, words.next())?,
            "--epochs" => setup.epochs = number(name, words.next())?,
            "--blocks" => setup.blocks = number(name, words.next())?,
            "--writes" => setup.writes = number(name, words.next())?,
            "--reads" => setup.reads = number(name, words.next())?,
            "--second-writes" => setup.second_writes = number(name, words.next())?,
            "--second-reads" => setup.second_reads = number(name, words.next())?,
            "--crashes" => setup.crashes = number(name, words.next())?,
            "--breaks" => setup.breaks = number(name, words.next())?,
            "--learners" => setup.learners = number(name, words.next())?,
            "--damages" => setup.damages = number(name, words.next())?,
            "--releases" => setup.releases = number(name, words.next())?,
            "--attaches" => setup.attaches = number(name, words.next())?,
            "--times" => setup.times = number(name, words.next())?,
            "--depth" => bounds.depth = number(name, words.next())?,
            "--states" => bounds.states = number(name, words.next())?,
            _ => return Err(format!("{name} is not known; see the head of examples/explore.rs")),
        }
    }
    setup.members = members.unwrap_or(setup.nodes);
    setup.target = setup.nodes as u8;
    if !(2..=NODES_MAX).contains(&setup.nodes) || setup.members > setup.nodes || setup.members < setup.min.into() {
        return Err(format!("2 to {NODES_MAX} nodes, of which at least --min are members"));
    }
    let one_host = setup.second_writes + setup.second_reads + setup.reads == 0;
    if !(1..=BLOCKS_MAX).contains(&(setup.blocks as usize)) || (setup.blocks > 1 && !one_host) {
        return Err(format!("1 to {BLOCKS_MAX} blocks, and with more than one neither reads nor a second host"));
    }
    if worlds.is_empty() {
        worlds.push(("as asked".into(), setup));
    }
    Ok(Asked { worlds, bounds })
}

fn go_through(name: &str, setup: &Setup, bounds: Bounds) -> bool {
    println!("{name}: {setup:?}");
    let began = Instant::now();
    let outcome = explore(setup, bounds, |so_far, ahead| {
        let Outcome { states, transitions, depth, .. } = so_far;
        println!(
            "  depth {depth:3}: {states:10} states, {transitions:11} transitions, {ahead:9} ahead, {:?}",
            began.elapsed()
        );
    });
    let Outcome { states, transitions, depth, complete, nodes, turns, .. } = outcome;
    let whole = if complete { "complete" } else { "not complete" };
    println!(
        "{name}: {states} states, {transitions} transitions, depth {depth}, {whole}; {nodes} nodes, {turns} turns; {:?}",
        began.elapsed()
    );
    let Some(found) = outcome.found else { return true };
    println!("{}", found.why);
    found.way.iter().enumerate().for_each(|(at, step)| println!("  {:2}. {step}", at + 1));
    false
}

fn main() -> ExitCode {
    match asked(std::env::args().skip(1)) {
        Ok(Asked { worlds, bounds }) => {
            let holds = worlds.iter().all(|(name, setup)| go_through(name, setup, bounds));
            if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
