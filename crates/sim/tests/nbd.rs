//! Worlds whose clients speak NBD to their hosts: the real server and the real data path, over streams that cut and delay.

use base::time::Duration;
use sim::{Options, run_seed};

#[test]
fn without_faults_everything_that_is_asked_over_nbd_is_done() {
    let options = Options { faults: false, safety: Duration::from_secs(20), ops_min: 500, ..Options::default() };
    let mut worlds = 0;
    for seed in 0..16 {
        let report = run_seed(seed, &options);
        assert_eq!(report.failure, None, "seed {seed}");
        assert_eq!(report.answered, report.asked, "seed {seed}: every operation was answered");
        worlds += u32::from(report.connections > 0);
    }
    assert!((3..=10).contains(&worlds), "{worlds} of 16 worlds");
}

#[test]
fn connections_break_move_and_outlive_hosts_and_every_word_of_the_server_is_right() {
    let options = Options { safety: Duration::from_secs(20), ops_min: 500, ..Options::default() };
    let (mut connections, mut dropped, mut refused) = (0, 0, 0);
    for seed in 4000..4024 {
        let report = run_seed(seed, &options);
        assert_eq!(report.failure, None, "seed {seed}");
        if report.connections > 0 {
            connections += report.connections;
            dropped += report.faults.get("nbd-drop").copied().unwrap_or_default();
            refused += report.faults.get("refused-io").copied().unwrap_or_default();
        }
    }
    assert!(
        connections > 100 && dropped > 20 && refused > 0,
        "{connections} connections, {dropped} dropped, {refused} requests refused because the volume was taken away"
    );
}
