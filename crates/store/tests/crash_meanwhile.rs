//! Power fails at every step of a checkpoint and of the cleaner, with acts done meanwhile: what is found is what a prefix of all that was asked for leaves, with
//! everything acknowledged in it, and so it is after another checkpoint and another round of the cleaner.

mod bench;
mod crash;

use crash::meanwhile::{Order, Scene, go_through, lone_ways, ways};
use crash::pages::Effort;
use crash::{Counts, QUICK, QUICK_MEANWHILE};

/// No act at every step, one and two acts at so many.
fn counts(scene: &Scene, strides: [usize; 2]) -> Counts {
    let mut sum = Counts::default();
    for (acts, stride) in [1, strides[0], strides[1]].into_iter().enumerate() {
        let counts = go_through(scene, &ways(scene, acts, stride), &QUICK_MEANWHILE[acts]);
        println!("{}, {acts} acts: {counts}", scene.name);
        sum += counts;
    }
    sum
}

#[test]
fn every_crash_of_a_checkpoint_loses_nothing() {
    let sum = counts(&Scene::checkpoint(), [15, 44]);
    println!("checkpoint: {sum}");
    assert!(sum.states > 5_000 && sum.checkpoints_after > 5_000, "{sum}");
    assert!(sum.half_checkpoints > 500 && sum.half_named > 500 && sum.torn_superblocks > 50, "{sum}");
}

#[test]
fn every_crash_of_the_cleaner_loses_nothing() {
    let sum = counts(&Scene::cleaner(), [65, 130]);
    println!("cleaner: {sum}");
    assert!(sum.states > 5_000 && sum.checkpoints_after > 5_000 && sum.moves_after > 5_000, "{sum}");
    assert!(sum.half_checkpoints > 500 && sum.half_named > 500 && sum.torn_superblocks > 50, "{sum}");
    assert!(sum.reused > 1_000, "{sum}");
}

#[test]
fn a_checkpoint_of_which_one_write_takes_as_long_as_all_else_loses_nothing() {
    let counts = go_through(&Scene::checkpoint(), &lone_ways(60), &Effort { most: 3, ..QUICK });
    println!("one late: {counts}");
    assert!(counts.states > 3_000 && counts.half_checkpoints > 100, "{counts}");
}

#[test]
fn a_log_that_goes_round_while_a_checkpoint_waits_loses_nothing() {
    let counts = go_through(&Scene::hot(), &[Scene::alone(Order::CheckpointLast)], &Effort { most: 4, ..QUICK });
    println!("hot: {counts}");
    assert!(counts.states > 300 && counts.half_checkpoints > 50, "{counts}");
}
