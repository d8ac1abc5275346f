//! Everything is bounded, and each bound says no by name.

mod world;

use base::Epoch;
use wire::Refusal;
use world::World;

#[test]
fn a_primary_takes_so_many_reads_at_once_and_the_next_one_is_asked_to_come_again() {
    let mut w = World::serving();
    w.kill(3);
    let write = w.write(1, 1, 5, 0x11);
    // They wait for the write, which waits for a member that is gone.
    let waiting: Vec<u64> = (0..1024).map(|_| w.read(1, 1, 5)).collect();
    assert!(waiting.iter().all(|read| w.answer(*read).is_none() && w.refusal(*read).is_none()));
    let (read, map) = (w.read(1, 1, 9), w.map(1, 1, 9, 1));
    assert_eq!((w.refusal(read), w.refusal(map)), (Some(&Refusal::Busy), Some(&Refusal::Busy)));
    assert_eq!(w.done(write), None);
    w.replica(1).fills(&mut |fill| assert!(fill.now <= fill.most, "{fill:?}"));
    let mut held = 0;
    w.replica(1).fills(&mut |fill| held += if fill.what == "reads under way" { fill.now } else { 0 });
    assert_eq!(held, 1024);
    // Without the member all goes on.
    w.configure(&world::config(2, 1, &[1, 2]));
    w.run();
    let refused =
        |read: &u64| matches!(w.refusal(*read), Some(Refusal::WrongEpoch { .. } | Refusal::NotPrimary { .. }));
    assert_eq!(waiting.iter().filter(|read| refused(read)).count(), 1024, "{:?}", w.refusal(waiting[0]));
    let again = w.read(1, 2, 9);
    assert!(w.done(again) == Some(Epoch(2)) && w.refusal(again).is_none());
}
