//! Volumes that are frozen: whole, or not at all and dropped everywhere, whatever happens in the middle. What is refused is in `points_refused.rs`.

mod world;

use base::*;
use wire::*;
use world::frozen::{freeze, made, refused, shard, sharded};
use world::{Fault, GIB, World};

const STEPS: [PointStep; 3] = [PointStep::Hold, PointStep::Freeze, PointStep::Release];

/// The points that an operator is shown.
fn points(answer: &Message) -> Vec<(u64, PointCondition)> {
    let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
    m.volumes[0].points.iter().map(|p| (p.point.0, p.condition)).collect()
}

/// All orders, of all nodes.
fn orders(w: &World, step: PointStep) -> usize {
    w.nodes.values().flat_map(|n| &n.orders).filter(|o| o.step == step).count()
}

/// How many copies of shards have points.
fn copies(w: &World) -> usize {
    w.nodes.values().map(|n| n.points.len()).sum()
}

fn reserved(w: &mut World) -> u64 {
    w.node_states().iter().map(|n| n.reserved).sum()
}

/// The primary of the middle shard.
fn middle(w: &World, volume: VolumeId) -> u64 {
    w.config(shard(volume, 1)).primary.0
}

fn node(w: &mut World, n: u64) -> &mut world::Node {
    w.nodes.get_mut(&NodeId(n)).unwrap()
}

/// Nothing is left of any point, on a node or in the record, and nobody holds.
fn is_dropped_everywhere(w: &mut World, volume: VolumeId) {
    assert_eq!((copies(w), w.state(volume).points.len()), (0, 0));
    assert!(w.nodes.values().all(|n| n.holds.is_empty()), "somebody holds");
    assert_eq!(w.recorded_point(volume, PointId(1)), None);
    assert_eq!(reserved(w), 9 * GIB, "its room is free again");
    let thaws = orders(w, PointStep::Thaw);
    w.pass_ms(5000);
    assert_eq!(orders(w, PointStep::Thaw), thaws, "nobody is told any more");
    assert_eq!(made(w, volume, 1000), PointId(2), "no number is used twice");
}

#[test]
fn all_shards_hold_before_any_freezes_and_freeze_before_any_lets_go() {
    let (mut w, volume) = sharded(4);
    let primary = middle(&w, volume);
    for (i, step) in STEPS.into_iter().enumerate() {
        node(&mut w, primary).mute = Some(step);
        if i == 0 {
            let operator = w.ask(freeze(volume, 7));
            assert_eq!(w.answer(operator), None);
        }
        // Everybody was asked for this step, and nobody for the next.
        assert_eq!(orders(&w, step), 3, "{step:?}");
        assert!(STEPS[i + 1..].iter().all(|later| orders(&w, *later) == 0), "{step:?}");
        assert_eq!(w.recorded_point(volume, PointId(1)), Some(PointCondition::Making), "{step:?}");
        // Those who said nothing say it now.
        let mut silent = Vec::new();
        for order in node(&mut w, primary).orders.iter().filter(|o| o.step == step) {
            silent.push(order.clone());
        }
        let next = STEPS.get(i + 1).copied();
        let n = node(&mut w, primary);
        n.mute = next;
        for PointOrder { shard, epoch, point, step } in silent {
            if step == PointStep::Hold {
                node(&mut w, primary).holds.insert(shard, point);
            }
            let state = PointState { shard, epoch, point, step, refused: None };
            w.say(base::io::net::Peer::Node(NodeId(primary)), state);
        }
        w.run();
    }
    let answers: Vec<Message> = w
        .answers
        .values()
        .flatten()
        .filter(|m| matches!(m, Message::VolumeReply(m) if !m.volumes[0].points.is_empty()))
        .cloned()
        .collect();
    assert_eq!((answers.len(), points(&answers[0])), (1, vec![(1, PointCondition::Made)]));
    assert_eq!(w.recorded_point(volume, PointId(1)), Some(PointCondition::Made));
    let epochs: Vec<u64> = (0..3).map(|i| w.config(shard(volume, i)).epoch.0).collect();
    assert_eq!(epochs, [1, 1, 1], "nobody changed for it");
}

#[test]
fn a_frozen_volume_is_shown_counts_twice_and_outlives_its_authority() {
    let (mut w, volume) = sharded(4);
    assert_eq!((reserved(&mut w), made(&mut w, volume, 7)), (9 * GIB, PointId(1)));
    assert_eq!((copies(&w), reserved(&mut w)), (9, 18 * GIB));
    w.restart_zone();
    w.pass_ms(3000);
    let state = w.state(volume);
    let point = VolumePoint { point: PointId(1), request: RequestId(7), condition: PointCondition::Made };
    assert_eq!((state.points, copies(&w), reserved(&mut w)), (vec![point], 9, 18 * GIB));
    (0..3).map(|i| w.config(shard(volume, i))).collect::<Vec<_>>().iter().for_each(|c| w.serve(c));
    w.run();
    assert_eq!(made(&mut w, volume, 8), PointId(2));
    // A second one is promised no more: all that there is can be written anew once.
    assert_eq!((copies(&w), reserved(&mut w)), (18, 18 * GIB));
}

#[test]
fn a_request_that_came_twice_is_one_point_and_the_same_answer() {
    let (mut w, volume) = sharded(4);
    let first = w.told(freeze(volume, 7));
    let (writes, holds) = (w.meta.writes, orders(&w, PointStep::Hold));
    assert_eq!((w.told(freeze(volume, 7)), w.meta.writes, orders(&w, PointStep::Hold)), (first, writes, holds));
    // Also while it is being made: both are answered, with the same.
    let primary = middle(&w, volume);
    node(&mut w, primary).mute = Some(PointStep::Freeze);
    let both = [w.ask(freeze(volume, 8)), w.ask(freeze(volume, 8))];
    let other = refused(&mut w, freeze(volume, 9));
    assert!(other.0 == ErrorCode::Unavailable && other.1.contains("point-2 of") && other.1.contains("being made"));
    node(&mut w, primary).mute = None;
    for order in
        node(&mut w, primary).orders.clone().into_iter().filter(|o| o.step == PointStep::Freeze && o.point.0 == 2)
    {
        let PointOrder { shard, epoch, point, step } = order;
        w.say(base::io::net::Peer::Node(NodeId(primary)), PointState { shard, epoch, point, step, refused: None });
    }
    w.run();
    let answers = both.map(|operator| w.answer(operator).expect("not answered"));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(points(&answers[0]), [(1, PointCondition::Made), (2, PointCondition::Made)]);
}

#[test]
fn a_refusal_in_any_step_has_the_point_dropped_and_is_told_in_words() {
    for step in STEPS {
        for (why, words) in [
            (PointRefusal::NotServing, "does not serve"),
            (PointRefusal::NotHolding, "could not hold"),
            (PointRefusal::OtherPoint, "another point"),
            (PointRefusal::Copying, "a copy is being made"),
            (PointRefusal::Busy, "too many writes"),
            (PointRefusal::TooMany { most: 64 }, "64 points"),
            (PointRefusal::NoRoom { lacking: 1 << 20 }, "1MiB of room"),
        ] {
            let (mut w, volume) = sharded(4);
            let primary = middle(&w, volume);
            node(&mut w, primary).declines = Some((step, why));
            let (code, text) = World::refusal(&w.told(freeze(volume, 7)));
            assert_eq!(code, ErrorCode::Unavailable);
            let said = text.contains("shard ") && text.contains(words) && text.ends_with("; try again");
            assert!(said, "{step:?} {why:?}: {text}");
            node(&mut w, primary).declines = None;
            is_dropped_everywhere(&mut w, volume);
        }
    }
}

#[test]
fn who_says_nothing_in_any_step_is_not_waited_for_longer_than_a_second() {
    for step in STEPS {
        let (mut w, volume) = sharded(4);
        let primary = middle(&w, volume);
        node(&mut w, primary).mute = Some(step);
        let operator = w.ask(freeze(volume, 7));
        w.pass_ms(990);
        assert_eq!(w.answer(operator), None, "{step:?}");
        w.pass_ms(20);
        let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
        let words = format!("node-{primary} did not answer within 1000 ms");
        assert!(code == ErrorCode::Unavailable && text.contains(&words), "{step:?}: {text}");
        node(&mut w, primary).mute = None;
        // What it had not let go it lets go by itself.
        w.nodes.values_mut().for_each(|n| n.holds.clear());
        is_dropped_everywhere(&mut w, volume);
    }
}

#[test]
fn what_is_not_dropped_is_told_again_each_second_and_keeps_its_number_and_its_room() {
    let (mut w, volume) = sharded(4);
    let point = made(&mut w, volume, 7);
    let primary = middle(&w, volume);
    node(&mut w, primary).declines = Some((PointStep::Thaw, PointRefusal::Busy));
    let others = (0..3).filter(|i| w.config(shard(volume, *i)).primary.0 != primary).count();
    let answer = w.told(ThawVolume { volume, point });
    assert_eq!(points(&answer), [(1, PointCondition::Dropping)]);
    assert_eq!(orders(&w, PointStep::Thaw), 3);
    w.pass_ms(3010);
    // Who dropped it is not asked again.
    assert_eq!(orders(&w, PointStep::Thaw), 3 + 3 * (3 - others));
    assert_eq!((w.state(volume).points.len(), reserved(&mut w)), (1, 18 * GIB));
    // The same request is not answered with what is being dropped, nor is it dropped twice.
    let (code, text) = refused(&mut w, freeze(volume, 7));
    assert!(code == ErrorCode::Unavailable && text.contains("point-1") && text.contains("being dropped"), "{text}");
    let (code, text) = refused(&mut w, ThawVolume { volume, point });
    assert!(code == ErrorCode::NotFound && text.contains("being dropped already"), "{text}");
    // An authority that starts anew goes on with it.
    w.restart_zone();
    assert_eq!(w.state(volume).points.len(), 1);
    node(&mut w, primary).declines = None;
    w.pass_ms(1010);
    is_dropped_everywhere(&mut w, volume);
}

#[test]
fn a_fail_over_in_any_step_has_the_point_dropped_by_whoever_follows() {
    for step in STEPS {
        let (mut w, volume) = sharded(4);
        let last = w.config(shard(volume, 1));
        let primary = last.primary.0;
        node(&mut w, primary).mute = Some(step);
        let operator = w.ask(freeze(volume, 7));
        assert_eq!(w.answer(operator), None);
        w.kill(primary);
        let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
        assert!(code == ErrorCode::Unavailable && text.contains(&format!("node-{primary}, which leads it")), "{text}");
        assert_eq!(w.state(volume).points.len(), 1, "{step:?}: it is dropped where nobody leads");
        w.pass_ms(10_000);
        assert!(w.config(shard(volume, 1)).epoch > last.epoch);
        assert_eq!(w.state(volume).points, [], "{step:?}");
        // The one that is gone has what it has; what it held for it held in another life.
        let gone = node(&mut w, primary);
        (gone.points, gone.holds) = Default::default();
        assert_eq!(copies(&w), 0, "{step:?}");
        assert!(w.nodes.values().all(|n| n.holds.is_empty()), "{step:?}");
    }
}

#[test]
fn an_epoch_that_changes_in_any_step_ends_it() {
    for step in STEPS {
        let (mut w, volume) = sharded(4);
        let host = w.add_host(1);
        let primary = middle(&w, volume);
        node(&mut w, primary).mute = Some(step);
        let operator = w.ask(freeze(volume, 7));
        w.attach(volume, host);
        let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
        assert!(code == ErrorCode::Unavailable && text.contains("epoch"), "{step:?}: {text}");
        // What the old epoch says is not heard.
        node(&mut w, primary).mute = None;
        for PointOrder { shard, point, .. } in node(&mut w, primary).orders.clone() {
            let state = PointState { shard, epoch: Epoch(1), point, step: PointStep::Thaw, refused: None };
            w.say(base::io::net::Peer::Node(NodeId(primary)), state);
        }
        w.pass_ms(1010);
        w.nodes.values_mut().for_each(|n| n.holds.clear());
        is_dropped_everywhere(&mut w, volume);
    }
}

#[test]
fn an_authority_that_dies_in_any_step_drops_what_it_was_making() {
    for step in STEPS {
        let (mut w, volume) = sharded(4);
        let primary = middle(&w, volume);
        node(&mut w, primary).mute = Some(step);
        let operator = w.ask(freeze(volume, 7));
        node(&mut w, primary).mute = None;
        w.restart_zone();
        assert_eq!(w.answer(operator), None);
        w.pass_ms(1010);
        // A primary holds for a bounded time.
        w.nodes.values_mut().for_each(|n| n.holds.clear());
        is_dropped_everywhere(&mut w, volume);
    }
}

#[test]
fn an_authority_whose_metadata_are_lost_from_sight_drops_what_it_was_making() {
    for step in STEPS {
        for fault in [Fault::Conflict, Fault::UnknownDone, Fault::UnknownLost] {
            let (mut w, volume) = sharded(4);
            let primary = middle(&w, volume);
            node(&mut w, primary).mute = Some(step);
            let operator = w.ask(freeze(volume, 7));
            w.meta.faults.push(fault);
            let request = RequestId(99);
            w.ask(CreateVolume { request, size: GIB, copies: 1, throttle: Throttle::default() });
            // Whoever holds is told to let go, before anything else is known.
            assert!(orders(&w, PointStep::Release) >= 3, "{step:?} {fault:?}");
            node(&mut w, primary).mute = None;
            w.pass_ms(3000);
            let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
            assert!(code == ErrorCode::Unavailable && text.contains("being dropped"), "{step:?} {fault:?}: {text}");
            w.nodes.values_mut().for_each(|n| n.holds.clear());
            assert_eq!((copies(&w), w.state(volume).points.len()), (0, 0), "{step:?} {fault:?}");
        }
    }
}

#[test]
fn nobody_is_asked_or_told_before_it_is_durable() {
    for fault in [None, Some(Fault::Conflict), Some(Fault::UnknownDone), Some(Fault::UnknownLost)] {
        let (mut w, volume) = sharded(4);
        w.meta.stopped = true;
        w.meta.faults.extend(fault);
        let operator = w.ask(freeze(volume, 7));
        assert_eq!((orders(&w, PointStep::Hold), w.state(volume).points.len()), (0, 0), "{fault:?}");
        w.meta.stopped = false;
        w.pass_ms(3000);
        let answer = w.answer(operator).expect("not answered");
        // Of what is known not to be written, or was not, nobody knows: it is done anew.
        match fault {
            Some(Fault::UnknownDone) => assert_eq!(World::refusal(&answer).0, ErrorCode::Unavailable),
            _ => assert_eq!(points(&answer), [(1, PointCondition::Made)], "{fault:?}"),
        }
    }
    // That it is made is durable before it is told, too; and that it was made and nobody knows is a point that is there.
    for (fault, there) in [(Fault::UnknownDone, true), (Fault::UnknownLost, false)] {
        let (mut w, volume) = sharded(4);
        let primary = middle(&w, volume);
        node(&mut w, primary).mute = Some(PointStep::Release);
        let operator = w.ask(freeze(volume, 7));
        w.meta.stopped = true;
        w.meta.faults.push(fault);
        let orders: Vec<PointOrder> = node(&mut w, primary).orders.clone();
        for PointOrder { shard, epoch, point, step } in orders.into_iter().filter(|o| o.step == PointStep::Release) {
            w.say(base::io::net::Peer::Node(NodeId(primary)), PointState { shard, epoch, point, step, refused: None });
        }
        w.run();
        assert_eq!(w.answer(operator), None);
        assert_eq!(w.state(volume).points[0].condition, PointCondition::Making, "{fault:?}");
        node(&mut w, primary).mute = None;
        w.meta.stopped = false;
        w.pass_ms(3000);
        let answer = w.answer(operator).expect("not answered");
        if there {
            assert_eq!(points(&answer), [(1, PointCondition::Made)]);
        } else {
            assert!(World::refusal(&answer).1.contains("being dropped"));
            assert_eq!(copies(&w), 0);
        }
    }
}
