//! Is the exploration any good? A replica that is wrong in one small way is put through a small world, which must show it. After how many states it did, and by
//! which choices, is printed: `cargo test -p replica --features mutants --test mutants -- --nocapture`.
//!
//! Two of the mutants that the design names are not here, since there is nothing yet to be made wrong: they are about filling a replica with what changed alone.

mod model;

use model::scenes::{LAWLESS, world_of};
use model::search::{Bounds, Outcome, explore};
use model::setup::Setup;
use replica::{Mutant, Mutation};

fn tell(name: &str, outcome: &Outcome) {
    match &outcome.found {
        None => println!("{name}: alive after {} states", outcome.states),
        Some(found) => {
            println!("{name}: {} states, {} choices: {}", outcome.states, found.way.len(), found.why);
            found.way.iter().enumerate().for_each(|(at, step)| println!("    {:2}. {step}", at + 1));
        }
    }
}

#[test]
fn every_mutant_is_shown_by_a_way_to_it() {
    let mut alive = vec![];
    for mutant in Mutant::ALL {
        let outcome = explore(&world_of(mutant), Bounds::NONE, |_, _| {});
        tell(&format!("{mutant:?}"), &outcome);
        alive.extend(outcome.found.is_none().then_some(mutant));
    }
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}

#[test]
fn an_authority_that_lets_anybody_lead_is_found_out() {
    let outcome = explore(&LAWLESS, Bounds::NONE, |_, _| {});
    tell("NonMemberElected", &outcome);
    assert!(outcome.found.is_some());
}

#[test]
fn with_nothing_wrong_the_same_worlds_hold() {
    let mut gone_through: Vec<Setup> = vec![];
    for mutant in Mutant::ALL {
        let setup = Setup { mutation: Mutation::NONE, ..world_of(mutant) };
        let known = gone_through.iter().any(|s| format!("{s:?}") == format!("{setup:?}"));
        if !known {
            let outcome = explore(&setup, Bounds { states: 300_000, ..Bounds::NONE }, |_, _| {});
            assert!(outcome.found.is_none(), "{setup:?}: {:#?}", outcome.found);
            gone_through.push(setup);
        }
    }
}
