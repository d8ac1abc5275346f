//! A log that ended before a spot that cannot be read, and went on elsewhere: of tests, and of mutants.

use super::{Bench, data, register, shard};
use base::log::{Record, Register, Standing};
use store::{Phase, Policy};

/// A bad spot behind where a log once ended refuses nothing later, and who did not say that he knows is suspect again.
pub fn go_through(policy: Policy) {
    let (s, other) = (shard(1), shard(2));
    let knows = |shard| {
        let Record::Register(register) = register(shard, 2) else { panic!("it is one") };
        Record::Register(Box::new(Register { standing: Standing::Suspect, ..*register }))
    };
    let mut bench = Bench::ready_with(20, Policy { checkpoint_every_segments: u32::MAX, ..policy });
    for (s, sequence, n) in [(s, 1, 1), (other, 1, 2), (s, 2, 3)] {
        if sequence == 1 {
            bench.append(s, register(s, 1));
        }
        bench.append(s, data(sequence, n as u32, [n]));
        bench.commit(s, sequence);
        bench.settle();
    }
    let end = bench.disk.media.keys().copied().max().unwrap() + 1;
    let mut bench = bench.reopen();
    bench.disk.bad_places = vec![end + 4];
    let suspects =
        |bench: &mut Bench| bench.recovered().iter().map(|found| (found.shard, found.suspect)).collect::<Vec<_>>();
    bench.settle();
    assert_eq!((suspects(&mut bench), bench.store.phase()), (vec![(s, true), (other, true)], &Phase::Ready));
    // The next run goes on elsewhere, and the bad spot stays behind for good.
    bench.append(s, knows(s));
    bench.settle();
    for _ in 0..2 {
        bench = bench.reopen();
        bench.settle();
        assert_eq!((suspects(&mut bench), bench.store.phase()), (vec![(s, false), (other, true)], &Phase::Ready));
        assert!(bench.store.damage().is_some());
    }
    bench.append(other, knows(other));
    bench.settle();
    let mut bench = bench.reopen();
    bench.settle();
    assert_eq!((suspects(&mut bench), bench.store.phase()), (vec![(s, false), (other, false)], &Phase::Ready));
    bench.commit(s, 2);
    bench.commit(other, 1);
    assert_eq!((bench.tags(s, 3, 1), bench.tags(other, 2, 1)), (vec![3], vec![2]));
}
