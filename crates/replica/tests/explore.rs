//! Goes through all states of the protocol in small worlds. `cargo run --release -p replica --example explore` goes through larger ones for as long as it is told to.

mod model;

use model::drawn::{assert_drawn, draw};
use model::scenes::SCENES;
use model::search::{Bounds, explore};
use std::collections::BTreeSet;

/// Of a large world the tests see so many states, the nearest.
const STATES: usize = 300_000;

#[test]
fn in_small_worlds_everything_holds_whatever_happens_in_whatever_order() {
    let mut moves = BTreeSet::new();
    for scene in &SCENES {
        let bounds = if scene.whole { Bounds::NONE } else { Bounds { states: STATES, ..Bounds::NONE } };
        let outcome = explore(&scene.setup, bounds, |_, _| {});
        let (states, transitions, depth) = (outcome.states, outcome.transitions, outcome.depth);
        let whole = if outcome.complete { "whole" } else { "so far" };
        println!("{:28} {states:8} states {transitions:9} transitions, {depth} deep, {whole}", scene.name);
        assert!(outcome.found.is_none(), "{}: {:#?}", scene.name, outcome.found);
        assert!(outcome.complete || !scene.whole);
        moves.extend(outcome.moves);
    }
    // What was seen on the way is how replicas move at all.
    assert_drawn("replica.dot", &draw("replica", &moves));
}
