//! One disk of a zone is slower than the others under load: the real machines in the simulated world.

use base::time::Duration;
use sim::report::Report;
use sim::{Options, run_seed};

/// A zone of like disks without other faults, in which the first node's is so many times slower for twenty seconds.
fn with_slow_disk(seed: u64, slow_disk: u64) -> Report {
    let (safety, ops_min) = (Duration::from_secs(20), 200);
    let report = run_seed(seed, &Options { faults: false, slow_disk, safety, ops_min, ..Options::default() });
    assert_eq!(report.failure, None, "seed {seed}");
    assert_eq!(report.answered, report.asked, "seed {seed}: every operation was answered");
    report
}

#[test]
fn a_disk_ten_times_slower_is_put_out_where_enough_copies_are_left_and_comes_back_by_delta() {
    let mut out = 0;
    for seed in [0, 2, 4, 5, 6, 10] {
        let (alike, slow) = (with_slow_disk(seed, 1), with_slow_disk(seed, 10));
        assert_eq!(alike.slow, (0, 0), "seed {seed}: nobody is slow");
        assert_eq!(slow.slow.0 > 0, slow.by_delta > 0, "seed {seed}: who was put out came back");
        out += u64::from(slow.slow.0 > 0);
    }
    assert!(out >= 5, "in {out} of these worlds only");
}
