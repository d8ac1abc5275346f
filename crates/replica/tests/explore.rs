//! Goes through all states of the protocol in small worlds. `cargo run --release -p replica --example explore` goes through larger ones for as long as it is told to.

mod model;

use model::scenes::SCENES;
use model::search::{Bounds, explore};

#[test]
fn in_small_worlds_everything_holds_whatever_happens_in_whatever_order() {
    for scene in &SCENES {
        let outcome = explore(&scene.setup, Bounds::NONE, |_, _| {});
        let (states, transitions, depth) = (outcome.states, outcome.transitions, outcome.depth);
        println!("{:36} {states:8} states {transitions:9} transitions, {depth} deep", scene.name);
        assert!(outcome.found.is_none(), "{}: {:#?}", scene.name, outcome.found);
        assert!(outcome.complete);
    }
}
