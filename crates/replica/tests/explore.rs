//! Goes through all states of the protocol in small worlds. `cargo run --release -p replica --example explore` goes through larger ones for as long as it is told to.

mod model;

use model::drawn::draw;
use model::scenes::SCENES;
use model::search::{Bounds, explore};
use std::collections::BTreeSet;
use std::path::Path;

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

/// Asserts that a drawing is the one in docs/machines. Where it is not, the new one is put beside the test's other files, to be looked at and moved.
fn assert_drawn(file: &str, text: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/machines").join(file);
    if std::fs::read_to_string(&golden).unwrap_or_default() == text {
        return;
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&new, text).expect("the folder of this test's files is there");
    panic!(
        "docs/machines/{file} is not what was seen. If what was seen is right:\n  cp {} {}",
        new.display(),
        golden.display()
    );
}
