//! Shards that wait for a turn of a node to learn or to teach, or for room: each is tried again when there is one, and none is forgotten.

mod world;

use base::*;
use std::collections::BTreeMap;
use wire::*;
use world::{GIB, World};

/// Shards of a gibibyte, and so many learners at a time.
fn policy(learn_in_max: u32, learn_out_max: u32) -> zone::Policy {
    zone::Policy { shard_blocks: 1 << 18, learn_in_max, learn_out_max, ..zone::Policy::dev() }
}

fn short(w: &World) -> Vec<Configuration> {
    let all = w.zone.configurations().filter(|c| !c.deleted);
    all.filter(|c| c.members.len() < usize::from(c.target_copies)).cloned().collect()
}

fn learning(w: &World) -> Vec<Configuration> {
    w.zone.configurations().filter(|c| c.learner.is_some()).cloned().collect()
}

/// How many learn on each node, and of each.
fn turns(w: &World) -> [BTreeMap<NodeId, u32>; 2] {
    let mut turns = [BTreeMap::new(), BTreeMap::new()];
    for c in learning(w) {
        *turns[0].entry(c.learner.unwrap().member.node).or_default() += 1;
        *turns[1].entry(c.primary).or_default() += 1;
    }
    turns
}

/// Somebody who learns is admitted.
fn admit_one(w: &mut World) -> bool {
    let Some(c) = learning(w).first().cloned() else { return false };
    w.propose(c.primary.0, w.admission(&c));
    let ([on, by], most) = (turns(w), (w.policy.learn_in_max, w.policy.learn_out_max));
    assert!(on.values().all(|n| *n <= most.0) && by.values().all(|n| *n <= most.1), "{on:?} {by:?}");
    true
}

/// Who learns is admitted, one after the other, while no time passes, and nobody but for want of a turn waits; after each the next has begun that could. How many were.
fn admit_all(w: &mut World) -> usize {
    let mut admitted = 0;
    while admit_one(w) {
        admitted += 1;
        let ([on, by], most) = (turns(w), (w.policy.learn_in_max, w.policy.learn_out_max));
        for c in short(w).iter().filter(|c| c.learner.is_none()) {
            let waits = by.get(&c.primary) == Some(&most.1) || on.values().any(|n| *n == most.0);
            assert!(waits, "{} has nobody who learns, and there are turns: {on:?} {by:?}", c.shard);
        }
    }
    admitted
}

#[test]
fn when_a_turn_comes_free_the_next_that_waits_for_it_begins_and_none_is_forgotten() {
    for (nodes, partners, learn_in, learn_out) in
        [(4, 16, 1, 1), (8, 16, 1, 4), (8, 3, 2, 2), (8, 2, 1, 4), (12, 4, 1, 1), (12, 4, 4, 1)]
    {
        let mut w = World::with(nodes, zone::Policy { partners, ..policy(learn_in, learn_out) }, nodes);
        let volume = w.volume(40, 3);
        w.kill(1);
        // Nobody asks for it, so the authority counts it out by itself, and waits whether it comes back.
        w.pass_ms(6_000);
        let lost = short(&w).len();
        assert!(lost > 5 && learning(&w).is_empty());
        w.pass_ms(10_000);
        assert_eq!(admit_all(&mut w), lost, "{nodes} nodes, {partners} partners, {learn_in} in, {learn_out} out");
        assert!(short(&w).is_empty());
        w.pass_ms(100);
        assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
    }
}

#[test]
fn who_waits_for_a_node_that_is_back_begins_when_it_has_a_turn() {
    let mut w = World::with(3, policy(1, 4), 1);
    w.volume(20, 3);
    w.kill(1);
    w.pass_ms(6_000);
    w.restart(1);
    assert_eq!((short(&w).len(), learning(&w).len()), (20, 1));
    assert_eq!(admit_all(&mut w), 20);
    assert!(short(&w).is_empty());
}

#[test]
fn a_learner_that_is_given_up_leaves_its_turns_to_others() {
    let mut w = World::with(6, policy(4, 1), 1);
    w.volume(30, 3);
    w.kill(1);
    w.pass_ms(16_500);
    let first = learning(&w)[0].clone();
    let waits = |w: &World| short(w).iter().any(|c| c.primary == first.primary && c.learner.is_none());
    assert!(waits(&w), "the primary has one turn to teach");
    w.kill(first.learner.unwrap().member.node.0);
    w.pass_ms(6_000);
    let now: Vec<Configuration> = learning(&w).into_iter().filter(|c| c.primary == first.primary).collect();
    assert_eq!(now.len(), 1);
    assert!(now[0].learner != first.learner, "{now:?}");
    w.pass_ms(20_000);
    for _ in 0..100 {
        while admit_one(&mut w) {}
        w.pass_ms(500);
    }
    assert!(short(&w).is_empty());
}

#[test]
fn who_waits_for_room_on_a_node_begins_when_there_is_some() {
    let mut w = World::with(3, policy(8, 8), 1);
    let volume = w.volume(60, 3);
    w.add_node(4, "r4", 100 * GIB);
    w.run();
    // Where the fourth has nothing, nobody else can take a copy; what it promised to others takes all of its room.
    let others: Vec<VolumeId> = std::iter::from_fn(|| room_taken(&mut w)).collect();
    assert!(others.len() > 100);
    w.kill(1);
    w.pass_ms(16_500);
    while !learning(&w).is_empty() {
        while admit_one(&mut w) {}
        w.pass_ms(500);
    }
    let left = short(&w).iter().filter(|c| c.shard.volume == volume).count();
    assert!(left > 0, "it takes not all of them");
    for other in others {
        let answer = w.told(DeleteVolume { volume: other });
        assert!(!matches!(answer, Message::Failed(_)), "{answer:?}");
    }
    w.run();
    assert!(!learning(&w).is_empty(), "room came free, and no time has passed");
    for _ in 0..10 {
        while admit_one(&mut w) {}
        w.pass_ms(500);
    }
    assert!(short(&w).is_empty());
}

/// A volume of a shard, if there is room for it.
fn room_taken(w: &mut World) -> Option<VolumeId> {
    let request = RequestId(w.zone.configurations().count() as u128 + 9000);
    let made = w.told(CreateVolume { request, size: GIB, copies: 1, throttle: Throttle::default() });
    w.run();
    if let Message::VolumeReply(m) = made { Some(m.volumes[0].info.volume) } else { None }
}

/// In a zone of 12 of which each has few partners one is lost, and each of the others learns one copy at a time: how many shards wait though a node is free that has nothing of
/// them.
fn waiting_for_a_partner(copies: u8, min_copies: u8) -> usize {
    let mut w = World::with(12, zone::Policy { partners: 2, min_copies, ..policy(1, 64) }, 3);
    w.volume(60, copies);
    w.kill(1);
    w.pass_ms(16_500);
    let (all, [on, _]) = (short(&w), turns(&w));
    let has = |c: &Configuration, n| c.members.iter().chain(&c.holders).any(|m| m.node == n);
    let takes = |c: &Configuration| (2..=12).map(NodeId).any(|n| !on.contains_key(&n) && !has(c, n));
    let waiting = all.iter().filter(|c| c.learner.is_none() && takes(c)).count();
    assert_eq!(admit_all(&mut w), all.len());
    waiting
}

#[test]
fn a_shard_waits_for_a_partner_while_it_takes_writes_and_for_nobody_when_it_has_lost_all_others() {
    assert!(waiting_for_a_partner(3, 2) > 0);
    assert_eq!(waiting_for_a_partner(2, 1), 0);
}
