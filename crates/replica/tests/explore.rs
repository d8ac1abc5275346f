//! Goes through all states of the protocol in small worlds. `cargo run --release -p replica --example explore` goes through larger ones for as long as it is told to.

mod model;

use model::drawn::{assert_drawn, draw};
use model::scenes::SCENES;
use model::search::{Bounds, explore};
use std::collections::BTreeSet;

#[test]
fn in_small_worlds_everything_holds_whatever_happens_in_whatever_order() {
    let mut moves = BTreeSet::new();
    for scene in &SCENES {
        let outcome = explore(&scene.setup, Bounds::NONE, |_, _| {});
        let (states, transitions, depth) = (outcome.states, outcome.transitions, outcome.depth);
        println!("{:28} {states:8} states {transitions:9} transitions, {depth} deep", scene.name);
        assert!(outcome.found.is_none(), "{}: {:#?}", scene.name, outcome.found);
        assert!(outcome.complete);
        moves.extend(outcome.moves);
    }
    // What was seen on the way is how replicas move at all.
    assert_drawn("replica.dot", &draw("replica", &moves));
}
