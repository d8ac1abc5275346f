//! What cannot be frozen or thawed, and what cannot be done to a volume that is frozen: in words, and with nothing changed.

mod world;

use base::*;
use wire::*;
use world::frozen::{EACH, freeze, made, refused, shard, sharded};
use world::{GIB, World};
use zone::Policy;

fn orders(w: &World) -> usize {
    w.nodes.values().map(|n| n.orders.len()).sum()
}

fn create(gib: u64, request: u128) -> CreateVolume {
    CreateVolume { request: RequestId(request), size: gib * GIB, copies: 3, throttle: Throttle::default() }
}

/// The first step is not answered by anybody.
fn silent(w: &mut World) {
    w.nodes.values_mut().for_each(|n| n.mute = Some(PointStep::Hold));
}

#[test]
fn what_is_not_there_is_not_frozen() {
    let (mut w, volume) = sharded(4);
    assert_eq!(refused(&mut w, freeze(VolumeId(9), 1)).0, ErrorCode::NotFound);
    assert_eq!(refused(&mut w, ThawVolume { volume: VolumeId(9), point: PointId(1) }).0, ErrorCode::NotFound);
    let (code, text) = refused(&mut w, ThawVolume { volume, point: PointId(3) });
    assert!(code == ErrorCode::NotFound && text.contains("no point-3; it has no points"), "{text}");
    made(&mut w, volume, 1);
    made(&mut w, volume, 2);
    let (code, text) = refused(&mut w, ThawVolume { volume, point: PointId(3) });
    assert!(code == ErrorCode::NotFound && text.contains("it has point-1, point-2"), "{text}");
    w.told(DeleteVolume { volume });
    assert_eq!(refused(&mut w, freeze(volume, 1)).0, ErrorCode::NotFound);
    assert_eq!(refused(&mut w, ThawVolume { volume, point: PointId(1) }).0, ErrorCode::NotFound);
}

#[test]
fn a_shard_that_could_not_hold_or_would_lack_the_point_is_named() {
    // Its primary is not heard.
    let (mut w, volume) = sharded(4);
    let lost = w.config(shard(volume, 1)).primary;
    w.nodes.get_mut(&lost).unwrap().up = false;
    w.down(base::io::net::Peer::Node(lost));
    let (code, text) = refused(&mut w, freeze(volume, 1));
    assert!(
        code == ErrorCode::Unavailable && text.contains(&format!("{lost}, which leads it, is not heard")),
        "{text}"
    );
    // It does not serve yet.
    let (mut w, volume) = sharded(4);
    let c = w.config(shard(volume, 1));
    let condition = ShardCondition::AwaitingAuthority;
    let report = ShardReport {
        shard: c.shard,
        epoch: c.epoch,
        condition,
        committed: Sequence(0),
        learned_blocks: 0,
        filling: None,
    };
    w.report(c.primary.0, vec![report]);
    w.run();
    let (code, text) = refused(&mut w, freeze(volume, 1));
    assert!(code == ErrorCode::Unavailable && text.contains("shard 1: it is not served"), "{text}");
    assert_eq!(orders(&w), 0);
}

#[test]
fn a_shard_of_which_a_copy_is_being_made_or_too_few_are_left_is_not_frozen() {
    let mut w = World::with(3, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.config(shard(volume, 0));
    let (one, two) = (w.backup(&c, 0), w.backup(&c, 1));
    let lose = |w: &mut World, gone: u64| {
        w.kill(gone);
        let c = w.config(shard(volume, 0));
        let members = c.members.iter().copied().filter(|m| m.node.0 != gone).collect();
        let cause = Cause::MemberLost { node: NodeId(gone) };
        let wish = Proposal { shard: c.shard, epoch: c.epoch, primary: c.primary, members, admit: None, cause };
        assert!(matches!(w.propose(c.primary.0, wish), Some(ProposalOutcome::Granted { .. })));
    };
    lose(&mut w, one);
    w.restart(one);
    w.pass_ms(100);
    assert!(w.config(shard(volume, 0)).learner.is_some());
    let (code, text) = refused(&mut w, freeze(volume, 1));
    assert!(code == ErrorCode::Unavailable && text.contains("shard 0: a copy is being made; try again"), "{text}");
    // One copy of two.
    w.kill(one);
    lose(&mut w, two);
    let (code, text) = refused(&mut w, freeze(volume, 1));
    assert!(code == ErrorCode::Unavailable && text.contains("1 of at least 2 copies are left"), "{text}");
    assert_eq!(orders(&w), 0);
}

#[test]
fn a_copy_that_begins_to_be_made_in_the_middle_ends_it() {
    let (mut w, volume) = sharded(3);
    let c = w.config(shard(volume, 1));
    let gone = w.backup(&c, 0);
    w.kill(gone);
    let members = c.members.iter().copied().filter(|m| m.node.0 != gone).collect();
    let cause = Cause::MemberLost { node: NodeId(gone) };
    let wish = Proposal { shard: c.shard, epoch: c.epoch, primary: c.primary, members, admit: None, cause };
    w.propose(c.primary.0, wish);
    // What is short is frozen, but not while it is made whole.
    w.nodes.get_mut(&c.primary).unwrap().mute = Some(PointStep::Freeze);
    // The other shards are led by somebody who is there.
    w.pass_ms(4000);
    let operator = w.ask(freeze(volume, 1));
    assert_eq!(w.answer(operator), None);
    w.restart(gone);
    let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
    assert!(code == ErrorCode::Unavailable && text.contains("a copy is being made"), "{text}");
    w.pass_ms(1010);
    assert_eq!((w.state(volume).points.len(), w.nodes.values().map(|n| n.points.len()).sum::<usize>()), (0, 0));
}

#[test]
fn a_volume_has_only_so_many_points_and_those_that_go_count() {
    let (mut w, volume) = sharded(4);
    let most = w.policy.points_max;
    assert!(most <= base::log::POINTS_MAX, "a shard has no more");
    (0..most as u128).for_each(|request| _ = made(&mut w, volume, request));
    let held = orders(&w);
    let (code, text) = refused(&mut w, freeze(volume, 99));
    let words =
        format!("has {most} frozen points, those included that are being dropped, and a volume has at most {most}");
    assert!(code == ErrorCode::NoRoom && text.contains(&words) && text.contains("volume thaw"), "{text}");
    assert_eq!(orders(&w), held);
    w.nodes.values_mut().for_each(|n| n.mute = Some(PointStep::Thaw));
    w.told(ThawVolume { volume, point: PointId(3) });
    let (code, text) = refused(&mut w, freeze(volume, 99));
    assert!(code == ErrorCode::NoRoom && text.contains("point-3 (being dropped)"), "{text}");
    w.nodes.values_mut().for_each(|n| n.mute = None);
    w.pass_ms(1010);
    assert_eq!(made(&mut w, volume, 99), PointId(most as u64 + 1));
    assert!(w.state(volume).points.iter().all(|p| p.point != PointId(3)));
}

#[test]
fn a_volume_that_could_not_be_written_anew_is_not_frozen() {
    // I10: three GiB on each of three nodes, and one left on one.
    let (mut w, volume) = sharded(3);
    let filler = w.told(create(95, 101));
    assert!(matches!(filler, Message::VolumeReply(_)), "{filler:?}");
    let (code, text) = refused(&mut w, freeze(volume, 1));
    assert!(
        code == ErrorCode::NoRoom && text.contains("3GiB more are needed on node-1, which has 2GiB of 100GiB left"),
        "{text}"
    );
    assert_eq!(orders(&w), 0);
    // Nor one that is a holder's: it is to have it again.
    let Message::VolumeReply(m) = filler else { panic!() };
    w.told(DeleteVolume { volume: m.volumes[0].info.volume });
    w.pass_ms(100);
    made(&mut w, volume, 1);
    assert!(w.node_states().iter().all(|n| n.reserved == 6 * GIB));
    // From now on what is left is 94 GiB on each.
    let (code, text) = refused(&mut w, create(95, 102));
    assert!(code == ErrorCode::NoRoom && text.contains("node-1 94GiB of 100GiB"), "{text}");
    w.told(ThawVolume { volume, point: PointId(1) });
    w.run();
    assert!(matches!(w.told(create(95, 103)), Message::VolumeReply(_)), "its room is free again");
}

#[test]
fn a_frozen_volume_grows_by_twice_as_much() {
    let (mut w, volume) = sharded(3);
    made(&mut w, volume, 1);
    // Six of a hundred are promised: 47 more of its own size would fit, and 48 do not.
    let (code, text) = refused(&mut w, ResizeVolume { volume, size: 51 * GIB });
    assert!(code == ErrorCode::NoRoom && text.contains("a part of 2GiB still fits on 0 of 3"), "{text}");
    assert!(matches!(w.told(ResizeVolume { volume, size: 9 * GIB / 2 }), Message::VolumeReply(_)));
    assert!(w.node_states().iter().all(|n| n.reserved == 9 * GIB));
    assert!(matches!(w.told(create(91, 104)), Message::VolumeReply(_)));
    let (code, text) = refused(&mut w, ResizeVolume { volume, size: 5 * GIB });
    assert!(code == ErrorCode::NoRoom && text.contains("grows by 1GiB"), "{text}");
    // A shard that is born later has no point to drop, and says that it dropped it.
    w.told(ThawVolume { volume, point: PointId(1) });
    w.run();
    assert_eq!(w.state(volume).points, []);
    assert_eq!(w.node_states().iter().map(|n| n.reserved).sum::<u64>(), 3 * (91 * GIB + 9 * GIB / 2));
}

#[test]
fn a_new_copy_of_a_frozen_shard_needs_room_for_twice_its_size() {
    let mut w = World::with(3, Policy { shard_blocks: EACH, ..Policy::dev() }, 1);
    let volume = w.volume(1, 3);
    made(&mut w, volume, 1);
    // One node has room for the shard, and none for what it may come to hold; another has.
    w.add_node(4, "r4", 2 * GIB - 4096);
    w.run();
    let gone = w.backup(&w.first(volume), 0);
    w.kill(gone);
    let c = w.first(volume);
    let members = c.members.iter().copied().filter(|m| m.node.0 != gone).collect();
    let cause = Cause::MemberLost { node: NodeId(gone) };
    let wish = Proposal { shard: c.shard, epoch: c.epoch, primary: c.primary, members, admit: None, cause };
    assert!(matches!(w.propose(c.primary.0, wish), Some(ProposalOutcome::Granted { .. })));
    w.pass_ms(60_000);
    assert_eq!(w.first(volume).learner, None);
    w.add_node(5, "r5", 2 * GIB);
    w.pass_ms(100);
    assert_eq!(w.first(volume).learner.map(|l| l.member.node), Some(NodeId(5)));
}

#[test]
fn a_volume_that_is_being_frozen_does_not_grow_nor_thaw() {
    let (mut w, volume) = sharded(4);
    silent(&mut w);
    let operator = w.ask(freeze(volume, 1));
    let (code, text) = refused(&mut w, ResizeVolume { volume, size: 4 * GIB });
    assert!(code == ErrorCode::Unavailable && text.contains("point-1 of") && text.contains("being made"), "{text}");
    let same = w.told(ResizeVolume { volume, size: 3 * GIB });
    assert!(matches!(same, Message::VolumeReply(_)), "it has that size: {same:?}");
    let (code, text) = refused(&mut w, ThawVolume { volume, point: PointId(1) });
    assert!(code == ErrorCode::Unavailable && text.contains("being made"), "{text}");
    w.pass_ms(1010);
    assert!(w.answer(operator).is_some());
    assert!(matches!(w.told(ResizeVolume { volume, size: 4 * GIB }), Message::VolumeReply(_)));
}

#[test]
fn what_is_deleted_drops_its_points_with_all_else() {
    for in_the_middle in [false, true] {
        let (mut w, volume) = sharded(4);
        made(&mut w, volume, 1);
        silent(&mut w);
        let operator = in_the_middle.then(|| w.ask(freeze(volume, 2)));
        w.nodes.values_mut().for_each(|n| n.willing = false);
        w.told(DeleteVolume { volume });
        if let Some(operator) = operator {
            let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
            assert!(code == ErrorCode::Unavailable && text.contains("it is deleted"), "{text}");
        }
        // What its nodes have not dropped they still keep, twice.
        assert_eq!(w.node_states().iter().map(|n| n.held).sum::<u64>(), 18 * GIB);
        let thaws = w.nodes.values().flat_map(|n| &n.orders).filter(|o| o.step == PointStep::Thaw).count();
        assert_eq!(thaws, 0, "nobody need drop a point of what goes whole");
        w.nodes.values_mut().for_each(|n| n.willing = true);
        let ids: Vec<u64> = w.nodes.keys().map(|id| id.0).collect();
        ids.into_iter().for_each(|n| w.restart(n));
        w.restart_zone();
        w.pass_ms(6000);
        assert_eq!(w.node_states().iter().map(|n| n.held + n.reserved).sum::<u64>(), 0);
    }
}

#[test]
fn an_operator_who_does_not_wait_has_his_point_all_the_same() {
    let (mut w, volume) = sharded(4);
    silent(&mut w);
    let operator = w.ask(freeze(volume, 1));
    w.down(base::io::net::Peer::Operator(operator));
    w.run();
    let held: Vec<PointOrder> = w.nodes.values().flat_map(|n| n.orders.clone()).collect();
    w.nodes.values_mut().for_each(|n| n.mute = None);
    for PointOrder { shard, epoch, point, step } in held {
        let primary = w.config(shard).primary;
        w.nodes.get_mut(&primary).unwrap().holds.insert(shard, point);
        w.say(base::io::net::Peer::Node(primary), PointState { shard, epoch, point, step, refused: None });
    }
    w.run();
    assert_eq!((w.answer(operator), w.state(volume).points[0].condition), (None, PointCondition::Made));
    assert_eq!(made(&mut w, volume, 1), PointId(1));
}

#[test]
fn what_nobody_asked_for_or_somebody_else_says_is_not_heard() {
    let (mut w, volume) = sharded(4);
    silent(&mut w);
    let operator = w.ask(freeze(volume, 1));
    let c = w.config(shard(volume, 1));
    let other = w.backup(&c, 0);
    let (epoch, point) = (c.epoch, PointId(1));
    let refused = Some(PointRefusal::Busy);
    for (from, shard, epoch, point, step) in [
        (other, c.shard, epoch, point, PointStep::Hold),
        (c.primary.0, c.shard, epoch.next(), point, PointStep::Hold),
        (c.primary.0, c.shard, epoch, PointId(2), PointStep::Hold),
        (c.primary.0, c.shard, epoch, point, PointStep::Freeze),
        (c.primary.0, shard(volume, 9), epoch, point, PointStep::Hold),
        (c.primary.0, shard(VolumeId(9), 0), epoch, point, PointStep::Thaw),
    ] {
        w.say(base::io::net::Peer::Node(NodeId(from)), PointState { shard, epoch, point, step, refused });
    }
    w.run();
    assert_eq!((w.answer(operator), w.closed.len()), (None, 0));
}

#[test]
fn what_is_not_durable_yet_is_not_frozen() {
    // A shard that grows, and one that is new.
    for (size, words) in
        [(2 * GIB, "shard 1: it is about to have another epoch"), (3 * GIB, "shard 2: it is being made")]
    {
        let (mut w, _) = sharded(4);
        let request = CreateVolume { size: if size == 2 * GIB { 3 * GIB / 2 } else { 2 * GIB }, ..create(1, 9) };
        let Message::VolumeReply(m) = w.told(request) else { panic!("not made") };
        let volume = m.volumes[0].info.volume;
        w.pass_ms(100);
        w.meta.stopped = true;
        w.ask(ResizeVolume { volume, size });
        let (code, text) = refused(&mut w, freeze(volume, 1));
        assert!(code == ErrorCode::Unavailable && text.contains(words), "{text}");
        w.meta.stopped = false;
        w.run();
        made(&mut w, volume, 1);
        // One that changes when the intent is not durable yet is not even asked.
        let asked = orders(&w);
        w.meta.stopped = true;
        let operator = w.ask(freeze(volume, 2));
        let host = w.add_host(1);
        w.ask(AttachVolume { volume, host: Some(host), read_only: false });
        w.meta.stopped = false;
        w.run();
        let (code, text) = World::refusal(&w.answer(operator).expect("not answered"));
        assert!(code == ErrorCode::Unavailable && text.contains("was not frozen: shard 0"), "{text}");
        let held = w.nodes.values().flat_map(|n| &n.orders).filter(|o| o.step != PointStep::Thaw).count();
        assert_eq!(held, asked);
    }
}

#[test]
fn an_authority_whose_metadata_are_old_neither_goes_on_nor_drops_anything() {
    let (mut w, volume) = sharded(4);
    made(&mut w, volume, 1);
    silent(&mut w);
    let operator = w.ask(freeze(volume, 2));
    let asked = orders(&w);
    w.nodes.get_mut(&NodeId(4)).unwrap().seen.revision.0 += 1000;
    w.restart(4);
    assert_eq!(World::refusal(&w.answer(operator).expect("not answered")).0, ErrorCode::Outdated);
    assert_eq!(refused(&mut w, ThawVolume { volume, point: PointId(1) }).0, ErrorCode::Outdated);
    w.pass_ms(5000);
    assert_eq!(orders(&w), asked);
}
