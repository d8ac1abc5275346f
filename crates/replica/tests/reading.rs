//! When a read may be answered with what (rule 3).

pub(crate) mod world;

use world::World;

#[test]
pub(crate) fn a_read_that_waited_for_one_write_waits_for_the_next_of_its_block_too() {
    // A host asks for one of them at a time; whoever else speaks to a primary need not.
    let mut w = World::serving();
    (2..=3).for_each(|n| w.machines.get_mut(&n).unwrap().held = true);
    let first = w.write(1, 1, 5, 0x11);
    let read = w.read(1, 1, 5);
    let second = w.write(1, 1, 5, 0x22);
    (2..=3).for_each(|n| w.release_one(n));
    w.run();
    assert!(w.done(first).is_some() && w.done(second).is_none());
    assert_eq!(w.answer(read), None, "what nobody has committed is told to nobody");
    (2..=3).for_each(|n| w.release(n));
    w.run();
    assert!(w.done(second).is_some());
    assert_eq!(w.answer(read), Some(0x22));
}
