//! A primary hears nobody any more under load, and everybody hears it: the real machines in the simulated world.

use base::time::Duration;
use sim::{Options, run_seed};

#[test]
fn a_primary_that_hears_nobody_is_replaced_in_every_shard_that_can_do_without_it() {
    // R14, R15. Its keepalives find its backups silent one after the other, and it wishes the first of them away: if that were granted, it would never know, and
    // nobody else could wish for anything.
    let mut deaf = 0;
    for seed in 0..40 {
        let (safety, ops_min) = (Duration::from_secs(12), 0);
        let report = run_seed(seed, &Options { faults: false, deaf: true, safety, ops_min, ..Options::default() });
        assert_eq!(report.failure, None, "seed {seed}");
        deaf += report.faults.get("deaf-primary").copied().unwrap_or_default();
    }
    assert!(deaf >= 20, "in {deaf} of these worlds only");
}
