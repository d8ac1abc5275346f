//! Zones that cannot hurt each other: each mechanism in a story, and what comes back when one is switched off (R24, R32, R40, R56).

mod stories;
mod world;

use base::mutant::Mutation;
use region::{Mechanism, Policy, Refusal, ZoneNumber};
use stories::STORIES;
use world::{Mood, World};

#[test]
fn every_mechanism_does_what_its_story_says() {
    for (what, story) in STORIES {
        println!("{what}");
        story(Mutation::NONE);
    }
}

fn without(mechanism: Mechanism) -> World {
    let mut w = World::with(2, Policy { without: Some(mechanism), ..Policy::default() }, 1);
    w.zone(0).mood = Mood::Deaf;
    w
}

#[test]
fn without_a_bulkhead_one_zone_that_does_not_answer_keeps_the_other_from_being_asked() {
    let mut w = without(Mechanism::Bulkhead);
    let all = w.policy.zone_flight_max * 2;
    for _ in 0..all {
        w.ask(World::create(0, 1, None));
    }
    let other = w.ask(World::create(1, 1, None));
    w.pass_ms(4000);
    assert!(!w.replies.contains_key(&other) && w.zone(1).asked == 0, "R32: no thread is left for it");
}

#[test]
fn without_shedding_what_finds_no_room_waits_for_some_and_is_told_late() {
    let mut w = without(Mechanism::Shedding);
    let room = w.policy.class_waits_max() + w.policy.shared_waits_max;
    for _ in 0..room {
        w.ask(World::create(0, 1, None));
    }
    let late = w.ask(World::create(0, 1, None));
    w.pass_ms(4000);
    assert_eq!(w.replies.get(&late), None);
    w.pass_ms(1001);
    assert!(matches!(w.replies.get(&late), Some(Err(Refusal::Busy { .. } | Refusal::TimedOut { .. }))));
}

#[test]
fn without_a_breaker_a_silent_zone_is_asked_on_and_on_and_each_finds_out_for_himself() {
    let mut w = without(Mechanism::Breaker);
    let asked = |w: &mut World, s: u64| {
        for _ in 0..s {
            w.ask(World::create(0, 1, None));
            w.pass_ms(1000);
        }
        w.zone(0).asked
    };
    assert!(asked(&mut w, 60) > 100);
    let busy = Err(Refusal::Busy { zone: Some(ZoneNumber(0)) });
    let waited = w.replies.values().filter(|reply| **reply != busy).count();
    assert!(waited > 30, "{waited} of 60 waited for nothing");
}
