//! Every sequence of up to three operations, crashed at every point, with what was in flight lost, left or torn in each way that matters: what is found is what
//! a prefix of the operations leaves, with everything acknowledged in it; and what was cut off does not come back when the log has gone on and is
//! read once more.

mod bench;
mod crash;

use crash::{QUICK, acts, short};
use store::Policy;

#[test]
fn every_crash_of_every_sequence_of_two_acts_leaves_a_prefix_with_all_that_was_acknowledged() {
    let sequences = [acts::sequences(1), acts::sequences(2)].concat();
    for setup in [short::setup(Policy::default()), short::setup_at_the_turn(Policy::default())] {
        let counts = short::go_through(&setup, &sequences, true, &QUICK);
        println!("one and two acts: {counts}");
        assert!(counts.sequences == 240 && counts.states > 4_000, "{counts}");
    }
}

#[test]
fn a_header_that_rots_below_the_durable_end_is_damage_and_no_torn_tail() {
    let setup = short::setup(Policy::default());
    let counts = short::rot_headers(&setup, &acts::sequences(2));
    println!("rot: {counts}");
    assert!(counts.states >= 100, "{counts}");
}

#[test]
fn every_crash_of_every_sequence_of_three_acts_leaves_a_prefix_with_all_that_was_acknowledged() {
    let setup = short::setup(Policy::default());
    let counts = short::go_through(&setup, &acts::sequences(3), false, &QUICK);
    println!("three acts: {counts}");
    assert!(counts.sequences == 3375 && counts.states > 30_000, "{counts}");
}
