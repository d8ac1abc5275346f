//! One of the two networks between all nodes of a zone is cut, or both, under load: the real machines in the simulated world (R7 to R9).

use base::io::net::{Class, Network};
use base::time::Duration;
use sim::report::Report;
use sim::{Options, run_seed};

/// A zone without other faults, in which these networks are cut for twenty seconds.
fn with_cut(seed: u64, cut: &[Network]) -> Report {
    with_cut_for(seed, cut, Duration::from_secs(20))
}

fn with_cut_for(seed: u64, cut: &[Network], safety: Duration) -> Report {
    let ops_min = 200;
    let report = run_seed(seed, &Options { faults: false, cut: cut.to_vec(), safety, ops_min, ..Options::default() });
    assert_eq!(report.failure, None, "seed {seed}");
    assert_eq!(report.answered, report.asked, "seed {seed}: every operation was answered");
    assert_eq!(report.sent.get(Network::Replication, Class::Client), 0, "a client's bytes on the replication network");
    report
}

fn aside(report: &Report) -> u64 {
    report.sent.get(Network::Replication, Class::Replication)
}

#[test]
fn a_cut_replication_network_changes_no_configuration() {
    for seed in [1, 4] {
        let (whole, cut) = (with_cut(seed, &[]), with_cut(seed, &[Network::Replication]));
        assert_eq!((cut.elections, aside(&cut), aside(&whole)), (whole.elections, 0, 0), "seed {seed}");
    }
}

#[test]
fn a_cut_primary_network_between_nodes_changes_no_configuration_and_writes_go_over_the_other() {
    for seed in [1, 4] {
        let (whole, cut) = (with_cut(seed, &[]), with_cut(seed, &[Network::Primary]));
        assert_eq!(cut.elections, whole.elections, "seed {seed}: nobody was taken for gone");
        assert!(aside(&cut) > 100_000, "seed {seed}: {} bytes of replication", aside(&cut));
    }
}

#[test]
fn with_both_networks_cut_between_nodes_nothing_is_lost_and_all_is_well_when_they_are_back() {
    for seed in [1, 4] {
        with_cut(seed, &Network::ALL);
    }
}

#[test]
fn nodes_that_lose_each_other_for_longer_than_copies_are_waited_for_are_not_replaced_and_come_back_by_delta() {
    // R4 to R6. The zone hears all of them, so none has failed; each that lost two or more says that it is isolated.
    let (mut learned, mut isolated) = (0, 0);
    for seed in 0..12 {
        let report = with_cut_for(seed, &Network::ALL, Duration::from_secs(11));
        // Where each has one peer only, none can know; and there copies are made anew.
        if report.isolated > 0 {
            assert_eq!(report.in_full, 0, "seed {seed}: a copy was made anew");
            (learned, isolated) = (learned + report.by_delta, isolated + report.isolated);
        }
    }
    assert!(learned >= 11 && isolated >= 11, "{learned} came back, {isolated} times somebody was isolated");
}
