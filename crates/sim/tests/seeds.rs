//! Whole runs of the real machines: they hold, they repeat themselves, and what is broken on purpose is found out.

use base::time::Duration;
use sim::{Options, main_seeds, run_seed};

#[test]
fn a_zone_without_faults_serves_without_a_single_refusal() {
    let options = Options { faults: false, ..Options::default() };
    for seed in 0..3 {
        let report = run_seed(seed, &options);
        assert_eq!(report.failure, None, "seed {seed}");
        assert_eq!(report.answered, report.asked, "seed {seed}: every operation was answered");
        assert!(report.faults.is_empty() && report.simulated >= Duration::from_secs(60));
    }
}

// R13, R14, R15, R18: nothing lost, one primary an epoch, I/O that waits and resumes, in a storm of faults.
#[test]
fn seeds_with_faults_hold_and_their_runs_are_the_same_to_the_byte() {
    let mut lines = Vec::new();
    let held = main_seeds(1000..1012, &Options::default(), &mut |line| lines.push(line.to_owned()));
    assert!(held, "{}", lines.join("\n"));
    assert_eq!(lines.iter().filter(|line| line.starts_with("seed ")).count(), 12, "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.starts_with("12 of 12 seeds held")), "{lines:?}");
}

#[test]
fn a_seed_does_enough_to_mean_something() {
    let (mut answered, mut faults, mut elections, mut deltas) = (0, 0, 0, 0);
    for seed in 2000..2006 {
        let report = run_seed(seed, &Options::default());
        assert_eq!(report.failure, None, "seed {seed}");
        assert!(report.simulated >= Duration::from_secs(60), "seed {seed}");
        answered += report.answered;
        faults += report.faults.values().sum::<u64>();
        elections += report.elections;
        deltas += report.by_delta;
    }
    assert!(
        answered > 6_000 && faults > 100 && elections > 50 && deltas > 50,
        "{answered} ops, {faults} faults, {elections} elections, {deltas} replicas brought what had changed"
    );
}

#[test]
fn a_disk_that_lies_about_durability_is_found_out() {
    let options = Options { lying_disks: true, ..Options::default() };
    let found = (0..40).find_map(|seed| run_seed(seed, &options).failure);
    assert!(found.is_some(), "acknowledged writes were lost, or stores broken, and nobody noticed");
}

#[test]
fn blocks_that_rot_on_one_member_are_mended_from_another_and_never_answered() {
    // store.md rule 2, R15: any other answer than the right bytes fails the seed.
    let (mut rotten, mut mended) = (0, 0);
    for seed in 3000..3060 {
        let report = run_seed(
            seed,
            &Options {
                safety: Duration::from_secs(20),
                ops_min: 300,
                only: vec!["rot".into(), "kill-node".into()],
                ..Options::default()
            },
        );
        assert_eq!(report.failure, None, "seed {seed}");
        rotten += report.faults.get("rotten-blocks").copied().unwrap_or_default();
        mended += report.mended;
    }
    assert!(rotten > 100 && mended > 30, "{rotten} blocks rotted and {mended} were mended");
}
