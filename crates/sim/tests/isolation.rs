//! A region of three zones, of which one is in trouble: other zones' callers notice nothing, and without a mechanism they or those of that zone do (R32, R56, R57, R60).
//! The scenario with its full figures is `seawall sim --scenario region-isolation`; what is rare, and a p99, needs more calls than these.

use region::Mechanism;
use sim::scenario::isolation::{Bar, Outcome, Plan, run};

fn small(without: Option<Mechanism>) -> Outcome {
    let outcome = run(&Plan::small(), without, 1);
    outcome.lines().iter().for_each(|line| println!("{line}"));
    outcome
}

/// Whether a bar was missed while something was wrong.
fn misses(outcome: &Outcome, bar: Bar) -> bool {
    outcome.missed().iter().any(|missed| missed.bar == bar && matches!(missed.part, "slow" | "gone"))
}

/// Callers of the zone in trouble who waited for nothing.
fn in_vain(outcome: &Outcome) -> u64 {
    ["slow", "gone"].iter().filter_map(|part| outcome.part(part)).map(|part| part.afflicted.waited_in_vain).sum()
}

#[test]
fn callers_of_other_zones_notice_nothing_of_a_zone_that_is_slow_or_gone() {
    let outcome = small(None);
    for part in &outcome.parts {
        assert_eq!(part.others.wrong(), 0, "{}: {}", part.name, part.others.kinds());
    }
    for bar in [Bar::OthersErrors, Bar::Reads, Bar::InTime, Bar::WellAgain, Bar::Truth] {
        assert!(!outcome.missed().iter().any(|missed| missed.bar == bar), "{bar:?}");
    }
    // The trouble was one: of that zone hardly anything was done, and it had no more than its share.
    let slow = outcome.part("slow").expect("it happened");
    assert!(slow.afflicted.of("zone-busy") > 1000 && outcome.most_held < 100, "{}", slow.afflicted.kinds());
    assert!(slow.others.calls > 1000);
    assert_eq!(outcome, small(None), "a seed is a run, to the byte");
}

#[test]
fn without_a_bulkhead_or_without_shedding_other_zones_fail_with_the_one_in_trouble() {
    for mechanism in [Mechanism::Bulkhead, Mechanism::Shedding] {
        let outcome = small(Some(mechanism));
        assert!(misses(&outcome, Bar::OthersErrors), "without {}", mechanism.name());
        assert_eq!(outcome.most_held, Plan::small().edge_max, "all that the edge can hold waits for one zone");
    }
}

#[test]
fn without_a_deadline_callers_wait_for_as_long_as_the_zone_is_in_trouble() {
    assert!(misses(&small(Some(Mechanism::Deadline)), Bar::InTime));
}

#[test]
fn without_a_breaker_more_callers_wait_for_nothing() {
    let [with, without] = [None, Some(Mechanism::Breaker)].map(|off| in_vain(&small(off)));
    assert!(without * 4 > with * 5, "{without} instead of {with}");
}
