//! Are the walks any good? An authority that is wrong in one small way walks until a seed shows it. Which one did, and after how many seconds, is printed:
//! `cargo test --release -p zone --features mutants --test mutants -- --nocapture`.

mod walking;
mod world;

use base::mutant::{Mutant, Mutation, Room};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use walking::walk;

/// Seeds that a mutant is given to be shown in.
const SEEDS: u64 = if cfg!(debug_assertions) { 60 } else { 400 };

/// Steps of each.
const STEPS: u32 = 400;

/// Of the mutants of this room those that walks show. The others need replicas that are real: seeds of the simulator show them.
const SHOWN: [Mutant; 9] = [
    Mutant::ToldBeforeDurable,
    Mutant::StaleEpochGranted,
    Mutant::ReleasedTooSoon,
    Mutant::UnknownTakenForDone,
    Mutant::EpochNotRaised,
    Mutant::DetachKeepsClient,
    Mutant::AdmittedUnlearned,
    Mutant::FallbackUncounted,
    Mutant::DroppedStillHeld,
];

/// The first seed that shows it, and what it said.
fn shown(mutation: Mutation, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let why = catch_unwind(AssertUnwindSafe(|| walk(seed, STEPS, mutation))).err()?;
        let text = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(ToString::to_string));
        Some((seed, text.unwrap_or_default()))
    })
}

#[test]
fn walks_show_what_is_wrong_with_an_authority() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut alive = vec![];
    for mutant in Mutant::ALL.into_iter().filter(|mutant| mutant.room() == Room::Zone) {
        let began = Instant::now();
        let by = shown(Mutation::of(mutant), SEEDS);
        let took = began.elapsed();
        let (whom, why) =
            by.clone().map_or(("alive".to_owned(), String::new()), |(seed, why)| (format!("seed {seed}"), why));
        println!("{}", base::mutant::line(&format!("{mutant:?}"), &whom, took, &why));
        alive.extend(by.is_none().then_some(mutant).filter(|mutant| SHOWN.contains(mutant)));
    }
    _ = std::panic::take_hook();
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}
