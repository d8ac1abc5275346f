//! Is the exploration any good? A replica that is wrong in one small way is put through a small world, which must show it. After how many states it did, and by
//! which choices, is printed: `cargo test -p replica --features mutants --test mutants -- --nocapture`.

mod model;

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
    assert_eq!(shown, 19, "worlds of mutants");
    assert!(alive.is_empty(), "nothing shows {alive:?}");
}

#[test]
fn an_authority_that_lets_anybody_lead_is_found_out() {
    let outcome = explore(&LAWLESS, Bounds::NONE, |_, _| {});
    assert!(outcome.states > 0);
    assert!(outcome.found.is_some());
}
