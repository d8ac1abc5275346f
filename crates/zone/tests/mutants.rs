//! Are the walks any good? An authority that is wrong in one small way walks until a seed shows it. Which one did, and after how many seconds, is printed:
//! `cargo test --release -p zone --features mutants --test mutants -- --nocapture`.

#[path = "disks.rs"]
mod disks;
mod walking;

use base::mutant::{Mutant, Mutation, Room};
use disks::world;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use walking::walk;

/// Seeds that a mutant is given to be shown in.
const SEEDS: u64 = if cfg!(debug_assertions) { 160 } else { 400 };

/// Steps of each.
const STEPS: u32 = 400;

/// Of the mutants of this room those that walks show. The others need replicas that are real: seeds of the simulator show them.
const SHOWN: [Mutant; 15] = [
    Mutant::ToldBeforeDurable,
    Mutant::StaleEpochGranted,
    Mutant::ReleasedTooSoon,
    Mutant::UnknownTakenForDone,
    Mutant::EpochNotRaised,
    Mutant::DetachKeepsClient,
    Mutant::AdmittedUnlearned,
    Mutant::FallbackUncounted,
    Mutant::DroppedStillHeld,
    Mutant::LastLeftWaiting,
    Mutant::PartialElected,
    Mutant::ServedByForgotten,
    Mutant::NothingNotTold,
    Mutant::ReturnedIsWhole,
    Mutant::ToldToLearnForgotten,
];

/// What walks meet too seldom, and the story that was written when it was found.
const STORIES: [(Mutant, fn()); 1] = [(
    Mutant::ToldToLearnForgotten,
    disks::a_learner_that_was_given_up_before_it_knew_is_not_taken_for_empty_while_it_is_told_to_learn,
)];

/// What its story says of it, if it has one and that shows it.
fn told(mutant: Mutant) -> Option<String> {
    let (_, story) = STORIES.iter().find(|(of, _)| *of == mutant)?;
    disks::world::MUTATION.set(Mutation::of(mutant));
    let shown = catch_unwind(story).is_err();
    disks::world::MUTATION.set(Mutation::NONE);
    shown.then(|| "its story".to_owned())
}

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
        let by = match told(mutant) {
            Some(story) => Some((story, String::new())),
            None => shown(Mutation::of(mutant), SEEDS).map(|(seed, why)| (format!("seed {seed}"), why)),
        };
        let took = began.elapsed();
        let (whom, why) = by.clone().unwrap_or(("alive".to_owned(), String::new()));
        println!("{}", base::mutant::line(&format!("{mutant:?}"), &whom, took, &why));
        alive.extend(by.is_none().then_some(mutant).filter(|mutant| SHOWN.contains(mutant)));
    }
    _ = std::panic::take_hook();
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}
