//! Is the exploration any good? A replica that is wrong in one small way is put through a small world, which must show it. After how many states it did, and by
//! which choices, is printed: `cargo test -p replica --features mutants --test mutants -- --nocapture`.

#![allow(clippy::duplicate_mod)] // Each story brings the world that it is told in.

mod model;
#[path = "reading.rs"]
mod reading;
#[path = "rejoining.rs"]
mod rejoining;
#[path = "suspect.rs"]
mod suspect;

use base::mutant::{Mutant, Mutation};
use model::scenes::{LAWLESS, world_of};
use model::search::{Bounds, Outcome, explore};
use model::setup::Setup;
use std::time::Duration;

fn tell(name: &str, outcome: &Outcome, took: Duration) {
    match &outcome.found {
        None => println!("{}", base::mutant::line(name, "alive", took, "")),
        Some(found) => {
            let by = format!("{} states, {} choices", outcome.states, found.way.len());
            println!("{}", base::mutant::line(name, &by, took, &found.why));
            found.way.iter().enumerate().for_each(|(at, step)| println!("    {:2}. {step}", at + 1));
        }
    }
}

#[test]
fn every_mutant_is_shown_by_a_way_to_it_and_nothing_is_where_nothing_is_wrong() {
    let (mut alive, mut shown) = (vec![], 0);
    for mutant in Mutant::ALL {
        let Some(setup) = world_of(mutant) else { continue };
        shown += 1;
        let began = std::time::Instant::now();
        let outcome = explore(&setup, Bounds::NONE, |_, _| {});
        tell(&format!("{mutant:?}"), &outcome, began.elapsed());
        alive.extend(outcome.found.is_none().then_some(mutant));
        // The same world, as far.
        let innocent = Setup { mutation: Mutation::NONE, ..setup };
        let outcome = explore(&innocent, Bounds { states: outcome.states, ..Bounds::NONE }, |_, _| {});
        assert!(outcome.found.is_none(), "with nothing wrong: {:#?}", outcome.found);
    }
    assert_eq!(shown, 22, "worlds of mutants");
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}

/// A mutant, what makes the world of its story wrong in that way, and the story.
type Story = (Mutant, fn(Mutation), fn());

/// What no world so small shows, each by the story that was written when it was found.
#[test]
fn what_takes_longer_is_shown_by_a_story() {
    let by: [Story; 3] = [
        (
            Mutant::ReleasedTooEarly,
            |m| reading::world::MUTATION.set(m),
            reading::a_read_that_waited_for_one_write_waits_for_the_next_of_its_block_too,
        ),
        (
            Mutant::UndecidedLeftOut,
            |m| rejoining::world::MUTATION.set(m),
            rejoining::what_the_stream_brings_and_nobody_commits_hides_nothing_that_was_there_before,
        ),
        (
            Mutant::LossUntold,
            |m| suspect::world::MUTATION.set(m),
            suspect::a_member_that_loses_something_after_it_stated_its_end_says_so_when_it_is_told_what_to_adopt,
        ),
    ];
    let alive: Vec<Mutant> =
        by.into_iter().filter(|(mutant, set, story)| !shows(*mutant, *set, *story)).map(|(m, ..)| m).collect();
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}

fn shows(mutant: Mutant, set: fn(Mutation), story: fn()) -> bool {
    let began = std::time::Instant::now();
    set(Mutation::of(mutant));
    let shown = std::panic::catch_unwind(story).is_err();
    set(Mutation::NONE);
    let by = if shown { "its story" } else { "alive" };
    println!("{}", base::mutant::line(&format!("{mutant:?}"), by, began.elapsed(), ""));
    shown
}

#[test]
fn an_authority_that_lets_anybody_lead_is_found_out() {
    let outcome = explore(&LAWLESS, Bounds::NONE, |_, _| {});
    assert!(outcome.states > 0);
    assert!(outcome.found.is_some());
}
