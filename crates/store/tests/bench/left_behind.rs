//! Spots of the log that cannot be read, for good or for once: of tests, and of mutants.

use super::{Bench, data, register, shard, stamp};
use base::io::disk::Fault;
use base::log::{Record, Register, Standing};
use store::{OpenRefusal, Phase, Policy};

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

/// A disk that fails a read once costs nothing, wherever it does; one that does it again and again may.
pub fn fails_once(policy: Policy) {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { checkpoint_every_segments: u32::MAX, ..policy });
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 1, [1]));
    bench.settle();
    let end = bench.disk.media.keys().copied().max().unwrap() + 1;
    // The log goes on in the next segment, and the batch there is the last one that was acknowledged.
    let mut bench = bench.reopen();
    bench.settle();
    bench.append(s, data(2, 2, [2]));
    bench.settle();
    let next = bench.disk.media.keys().copied().max().unwrap() - 1;
    assert!(next > end, "it begins with its header");
    for (bad, refuses) in
        [(end, false), (end + 4, false), (next, true), (next + 1, true), (next + 2, true), (next + 5, false)]
    {
        for failures in [1, 2, 8, 100] {
            let mut bench = Bench::on(bench.disk.clone(), bench.geometry, bench.policy);
            bench.disk.bad_places = vec![bad];
            bench.disk.bad_reads = Some(failures);
            bench.settle();
            if failures == 100 && refuses {
                let refusal = OpenRefusal::Unreadable { at: u64::from(bad) * 4096, fault: Fault::Os(5) };
                assert_eq!(*bench.store.phase(), Phase::Refused(refusal), "block {bad}");
                continue;
            }
            let [found] = &bench.recovered()[..] else { panic!("one shard") };
            assert_eq!((found.end, found.suspect), (stamp(1, 2), failures == 100), "block {bad}, {failures} failures");
        }
    }
}
