//! Many that lost touch with each other at once: no copy is made anew because of it before the lost have failed (R4, R5).

mod world;

use base::time::Duration;
use base::*;
use wire::*;
use world::World;
use zone::Policy;

/// Six nodes, and a volume of two copies of which one may be enough: with one left it is at risk, and would be made anew at once.
fn at_risk() -> (World, VolumeId) {
    let mut w = World::with(6, Policy { min_copies: 1, ..Policy::default() }, 1);
    let volume = w.volume(1, 2);
    (w, volume)
}

/// A node says that it is isolated, or that it is not any more.
fn isolated(w: &mut World, n: u64, for_ms: Option<u64>) {
    w.nodes.get_mut(&NodeId(n)).unwrap().touch = Touch { peers: 3, lost: 2, isolated_ms: for_ms, times: 1 };
    w.report(n, Vec::new());
    w.run();
}

/// The primary goes on without its other member. Who that is.
fn goes_on_alone(w: &mut World, volume: VolumeId) -> u64 {
    let c = w.first(volume);
    let lost = w.backup(&c, 0);
    let members = c.members.iter().copied().filter(|m| m.node == c.primary).collect();
    let cause = Cause::MemberLost { node: NodeId(lost) };
    let wish = Proposal { shard: c.shard, epoch: c.epoch, primary: c.primary, members, admit: None, cause };
    let outcome = w.propose(c.primary.0, wish);
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "elections go on: {outcome:?}");
    lost
}

/// The same, and the zone does not hear that one either.
fn loses_the_other(w: &mut World, volume: VolumeId) -> u64 {
    let lost = w.backup(&w.first(volume), 0);
    w.kill(lost);
    goes_on_alone(w, volume)
}

fn learner(w: &World, volume: VolumeId) -> Option<u64> {
    w.first(volume).learner.map(|l| l.member.node.0)
}

fn zone_state(w: &mut World) -> ZoneState {
    let answer = w.told(DescribeZone {});
    let Message::ZoneReply(m) = answer else { panic!("{answer:?}") };
    m.zone
}

#[test]
fn a_node_that_says_it_is_isolated_is_shown_so_and_takes_nothing_new() {
    let mut w = World::new(4);
    isolated(&mut w, 2, Some(0));
    w.pass_ms(2500);
    let state = w.node_state(2);
    assert_eq!((state.condition, state.for_ms, state.touch.lost), (NodeCondition::Isolated, 2500, 2));
    let volume = w.volume(1, 3);
    assert!(w.first(volume).member_on(NodeId(2)).is_none());
    assert_eq!(zone_state(&mut w).counters.isolated, 1);
    isolated(&mut w, 2, None);
    assert_eq!(w.node_state(2).condition, NodeCondition::Up);
    isolated(&mut w, 2, Some(0));
    assert_eq!(zone_state(&mut w).counters.isolated, 2);
    // A new run of it has lost nobody yet.
    w.nodes.get_mut(&NodeId(2)).unwrap().touch = Touch::default();
    w.kill(2);
    w.restart(2);
    assert_eq!(w.node_state(2).condition, NodeCondition::Up);
}

#[test]
fn while_a_node_is_isolated_no_copy_is_made_anew_before_the_lost_has_failed() {
    let (mut w, volume) = at_risk();
    let primary = w.first(volume).primary.0;
    isolated(&mut w, primary, Some(0));
    let lost = loses_the_other(&mut w, volume);
    w.pass(Duration::from_secs(59));
    assert_eq!(learner(&w, volume), None, "it may come back");
    assert_eq!(zone_state(&mut w).shards_put_off, 1);
    w.pass_ms(2000);
    assert_eq!(w.node_state(lost).condition, NodeCondition::Failed);
    let learns = learner(&w, volume).expect("a copy is made anew");
    assert!(learns != lost && learns != primary);
    assert_eq!(zone_state(&mut w).shards_put_off, 0);
}

#[test]
fn when_nobody_is_isolated_any_more_copies_are_made_at_once() {
    let (mut w, volume) = at_risk();
    let primary = w.first(volume).primary.0;
    isolated(&mut w, primary, Some(0));
    loses_the_other(&mut w, volume);
    w.pass_ms(10_000);
    assert_eq!(learner(&w, volume), None);
    isolated(&mut w, primary, None);
    assert!(learner(&w, volume).is_some());
}

#[test]
fn what_was_lost_comes_back_to_what_it_has() {
    let (mut w, volume) = at_risk();
    let primary = w.first(volume).primary.0;
    isolated(&mut w, primary, Some(0));
    let lost = loses_the_other(&mut w, volume);
    w.pass_ms(30_000);
    w.restart(lost);
    assert_eq!(learner(&w, volume), Some(lost), "the previous replica first");
}

#[test]
fn halves_that_lost_each_other_make_nothing_anew_while_the_zone_hears_both_and_not_for_ever() {
    let policy = Policy { min_copies: 1, isolation_max: Duration::from_secs(600), ..Policy::dev() };
    let mut w = World::with(6, policy, 1);
    let volume = w.volume(1, 2);
    let began = w.now;
    (1..=6).for_each(|n| isolated(&mut w, n, Some(0)));
    let lost = goes_on_alone(&mut w, volume);
    while w.now.since(began) < Duration::from_secs(599) {
        w.pass_ms(1000);
        assert!([None, Some(lost)].contains(&learner(&w, volume)), "it cannot be filled, and is not replaced");
    }
    // Those that say so for ever hold nobody up for ever. They take nothing themselves.
    w.add_node(7, "r7", 100 * world::GIB);
    let mut learned = false;
    for _ in 0..120 {
        w.pass_ms(1000);
        learned |= learner(&w, volume) == Some(7);
    }
    assert!(learned);
}

#[test]
fn many_that_the_zone_does_not_hear_itself_are_waited_for_too_and_one_is_not() {
    let (mut w, volume) = at_risk();
    let c = w.first(volume);
    let other = (1..=6).find(|n| c.member_on(NodeId(*n)).is_none()).unwrap();
    w.kill(other);
    loses_the_other(&mut w, volume);
    w.pass_ms(30_000);
    assert_eq!(learner(&w, volume), None, "two of six are silent");
    w.restart(other);
    assert!(learner(&w, volume).is_some(), "one of six is");
}

#[test]
fn who_has_failed_is_told_to_all_when_it_is_durable_and_taken_back_when_it_is_not_so_any_more() {
    let mut w = World::new(4);
    w.kill(3);
    w.pass_ms(59_000);
    assert!(w.nodes.values().all(|n| n.given_up.is_empty()));
    w.meta.stopped = true;
    w.pass_ms(2000);
    assert_eq!((w.node_state(3).condition, w.nodes[&NodeId(1)].given_up.len()), (NodeCondition::Failed, 0));
    w.meta.stopped = false;
    let waiting = core::mem::take(&mut w.meta.waiting);
    waiting.into_iter().for_each(|done| w.inbox.push_back(base::io::Input::Meta(done)));
    w.run();
    let told = |w: &World, n| w.nodes[&NodeId(n)].given_up.clone();
    assert!([1, 2, 4].iter().all(|n| told(&w, *n) == [NodeId(3)]));
    // Whoever comes later is told too, by the next authority as well.
    w.nodes.get_mut(&NodeId(4)).unwrap().given_up.clear();
    w.kill(4);
    w.restart(4);
    assert_eq!(told(&w, 4), [NodeId(3)]);
    w.nodes.values_mut().for_each(|n| n.given_up.clear());
    w.restart_zone();
    assert_eq!(told(&w, 1), [NodeId(3)]);
    w.restart(3);
    w.pass_ms(1000);
    assert!((1..=4).all(|n| told(&w, n).is_empty()));
}
