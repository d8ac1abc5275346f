//! Frozen points as the members of a shard agree on them: a freeze is sequenced like a write, so each of them freezes the same.

mod world;

use base::log::PointChange::{Freeze, Thaw};
use base::{PointId, Sequence};
use std::time::Duration;
use world::{World, config, with_learner};

const POINT: PointId = PointId(1);

/// What each of three members has at the point, of block 5.
fn frozen(w: &World) -> [Option<u8>; 3] {
    [1, 2, 3].map(|n| w.frozen(n, 1, 5))
}

#[test]
fn every_member_freezes_what_was_committed_through_the_same_sequence() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.machines.get_mut(&3).unwrap().held = true;
    w.write(1, 1, 5, 0x22);
    assert_eq!(w.change_point(1, Freeze { id: POINT }), Some(Sequence(3)));
    w.write(1, 1, 5, 0x33);
    assert_eq!(frozen(&w), [None; 3], "a member has not got it durable");
    w.release(3);
    w.run();
    w.wait(Duration::from_millis(100));
    assert_eq!(frozen(&w), [Some(0x22); 3]);
    assert_eq!([1, 2, 3].map(|n| w.stored(n, 5)), [0x33; 3]);
    assert_eq!(w.change_point(1, Thaw { id: POINT }), Some(Sequence(5)));
    w.wait(Duration::from_millis(100));
    assert_eq!(frozen(&w), [None; 3]);
}

#[test]
fn only_a_primary_freezes_and_not_while_it_fills_a_learner() {
    let mut w = World::serving();
    assert_eq!(w.change_point(2, Freeze { id: POINT }), None);
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 1));
    assert_eq!(w.change_point(1, Freeze { id: POINT }), None, "the learner would lack it");
    assert!(w.change_point(1, Thaw { id: POINT }).is_some());
}

#[test]
fn a_freeze_that_its_primary_did_not_see_committed_is_carried_on_by_the_next() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x44);
    // One member takes it and the other does not, so nobody freezes yet.
    w.machines.get_mut(&3).unwrap().held = true;
    w.change_point(1, Freeze { id: POINT });
    w.write(1, 1, 5, 0x55);
    assert_eq!(frozen(&w), [None; 3]);
    w.kill(1);
    w.release(3);
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    w.write(2, 2, 6, 0x66);
    w.wait(Duration::from_millis(100));
    assert_eq!((w.frozen(2, 1, 5), w.frozen(3, 1, 5)), (Some(0x44), Some(0x44)));
    assert_eq!((w.stored(2, 5), w.stored(3, 5)), (0x55, 0x55));
}
