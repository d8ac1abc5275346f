//! Is the exploration any good? A replica that is wrong in one small way is put through the small worlds, and one of them must show it, each time. Which did,
//! after how many states, and by which choices is printed: `cargo test -p replica --features mutants --test mutants -- --nocapture`.

mod model;

use model::scenes::SCENES;
use model::search::{Bounds, Found, explore};
use model::setup::Setup;
use replica::{Mutant, Mutation};

/// The first world that shows it: after how many states, and how.
fn shown(change: impl Fn(&mut Setup)) -> Option<(&'static str, usize, Found)> {
    SCENES.iter().find_map(|scene| {
        let mut setup = scene.setup.clone();
        change(&mut setup);
        let outcome = explore(&setup, Bounds::NONE, |_, _| {});
        Some((scene.name, outcome.states, outcome.found?))
    })
}

fn tell(name: &str, shown: &Option<(&'static str, usize, Found)>) {
    match shown {
        None => println!("{name}: alive"),
        Some((scene, states, found)) => {
            println!("{name}: {scene}, {states} states, {} choices: {}", found.way.len(), found.why);
            found.way.iter().for_each(|step| println!("    {step}"));
        }
    }
}

#[test]
fn every_mutant_is_shown_by_a_way_to_it() {
    let mut alive = vec![];
    for mutant in Mutant::ALL {
        let name = format!("{mutant:?}");
        let shown = shown(|setup| setup.mutation = Mutation::of(mutant));
        tell(&name, &shown);
        alive.extend(shown.is_none().then_some(name));
    }
    // The authority's own: it lets somebody lead who was no member.
    let lawless = shown(|setup| setup.lawless = true);
    tell("NonMemberElected", &lawless);
    assert!(alive.is_empty() && lawless.is_some(), "nothing shows {alive:?}");
}
