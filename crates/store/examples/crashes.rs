//! Goes through crash states of a store for as long as it is told to; the tests of this crate do as much of the same as a minute allows.
//!
//! ```text
//! cargo run --release -p store --example crashes -- --states 1000000 --seed 1     random sequences, until so many states were opened and checked
//! cargo run --release -p store --example crashes -- --world 4294967301            one world of these alone, which a failure names
//! cargo run --release -p store --example crashes -- --short 3                     all sequences of so many acts, at all crash points
//! cargo run --release -p store --example crashes -- --checkpoint 2                all steps of checkpoints, with sequences of up to so many acts meanwhile
//! cargo run --release -p store --example crashes -- --cleaner 2                   all steps of the cleaner, the same
//! ```
//!
//! With `--most N` at most so many states are seen at one crash point of `--short`, a sample. With `--stride N` the acts are asked for at every Nth step only; the sequences take turns at them.
//!
//! It fails at the first state that does not hold, and says which that is.

#[path = "../tests/bench/mod.rs"]
mod bench;
#[path = "../tests/crash/mod.rs"]
mod crash;

use base::Rng;
use crash::meanwhile::{self, Scene};
use crash::pages::Effort;
use crash::world::{Tally, World};
use crash::{Counts, WHOLE, WHOLE_MEANWHILE, acts, short};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use store::Policy;

/// Crashes that a world lives through.
const LIVES: u64 = 100;
/// Writes of checkpoints of which each is late once.
const LATE: usize = 100;
/// States between two lines that say how far it is.
const STATES_PER_LINE: u64 = 100_000;

/// One world, from its seed.
fn world(seed: u64) -> Tally {
    let mut world = World::new(seed, |policy| policy);
    let mut rng = Rng::new(seed).split("lives");
    for _ in 0..LIVES {
        world.live(rng.within(4, 30), 1);
        if rng.chance(1, 8) {
            world.settle();
        }
        world.crash();
    }
    world.tally
}

/// Worlds until so many states were seen. The seed of the first that does not hold.
fn worlds(states: u64, seed: u64) -> Result<Tally, u64> {
    let (next, sum, failed) = (AtomicU64::new(seed << 32), Mutex::new(Tally::default()), Mutex::new(None));
    let begun = Instant::now();
    let worker = || {
        while sum.lock().expect("nobody panics with it").states < states {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let Ok(tally) = catch_unwind(AssertUnwindSafe(|| world(seed))) else {
                failed.lock().expect("nobody panics with it").get_or_insert(seed);
                return;
            };
            if failed.lock().expect("nobody panics with it").is_some() {
                return;
            }
            let mut sum = sum.lock().expect("nobody panics with it");
            let before = sum.states;
            *sum += tally;
            if before / STATES_PER_LINE != sum.states / STATES_PER_LINE {
                println!("{} states, {} s", sum.states, begun.elapsed().as_secs());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(worker)));
    let failed = failed.into_inner().expect("nobody panics with it");
    failed.map_or(Ok(sum.into_inner().expect("nobody panics with it")), Err)
}

/// All steps of a scene, with all sequences of up to so many acts.
fn scene(scene: &Scene, acts_max: usize, stride: usize) -> Counts {
    let mut sum = meanwhile::go_through(scene, &meanwhile::lone_ways(LATE), &WHOLE_MEANWHILE[1]);
    println!("{}, one write late: {sum}", scene.name);
    for (len, effort) in WHOLE_MEANWHILE.iter().enumerate().take(acts_max + 1) {
        let ways = meanwhile::ways(scene, len, if len == 0 { 1 } else { stride });
        let counts = meanwhile::go_through(scene, &ways, effort);
        println!("{}, {len} acts: {counts}", scene.name);
        sum += counts;
    }
    sum
}

fn run(arguments: &[String]) -> Result<(), String> {
    let number = |name: &str| -> Result<Option<u64>, String> {
        let Some(at) = arguments.iter().position(|a| a == name) else { return Ok(None) };
        let text = arguments.get(at + 1).ok_or(format!("{name} needs a number"))?;
        text.parse().map(Some).map_err(|_| format!("{name} {text}: not a number"))
    };
    let begun = Instant::now();
    let rate = |states: u64| {
        let ms = begun.elapsed().as_millis().max(1) as u64;
        println!("{states} states in {} s, {} a second", ms / 1000, states * 1000 / ms);
    };
    let stride = number("--stride")?.unwrap_or(1).max(1) as usize;
    if let Some(seed) = number("--world")? {
        println!("world {seed}: {:?}", world(seed));
    } else if let Some(states) = number("--states")? {
        let tally = worlds(states, number("--seed")?.unwrap_or(1))
            .map_err(|seed| format!("world {seed} does not hold. Alone: --world {seed}"))?;
        println!("{tally:?}");
        rate(tally.states);
    } else if let Some(len) = number("--short")? {
        let most = number("--most")?.map_or(usize::MAX, |most| most as usize);
        let (effort, mut sum) = (Effort { most, ..WHOLE }, Counts::default());
        for setup in [short::setup(Policy::default()), short::setup_at_the_turn(Policy::default())] {
            let counts = short::go_through(&setup, &acts::sequences(len as usize), true, &effort);
            println!("{len} acts: {counts}");
            sum += counts;
        }
        rate(sum.states);
    } else if let Some(acts) = number("--checkpoint")? {
        let hot = scene(&Scene::hot(), 0, 1).states;
        rate(scene(&Scene::checkpoint(), acts as usize, stride).states + hot);
    } else if let Some(acts) = number("--cleaner")? {
        rate(scene(&Scene::cleaner(), acts as usize, stride).states);
    } else {
        return Err(
            "one of --states N [--seed N], --world N, --short N [--most N], --checkpoint N, --cleaner N [--stride N]"
                .into(),
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("crashes: {why}");
            ExitCode::FAILURE
        }
    }
}
