//! Making, deleting and showing volumes, and what is refused.

mod world;

use base::*;
use wire::*;
use world::{GIB, World};

#[test]
fn a_volume_lies_in_three_racks_of_its_one_zone() {
    // R2, R4
    let mut w = World::new(0);
    for n in 1..=6 {
        w.add_node(n, &format!("r{}", n % 3), 100 * GIB);
    }
    for _ in 0..10 {
        let volume = w.volume(4, 3);
        let c = w.first(volume);
        let racks: std::collections::BTreeSet<_> = c.members.iter().map(|m| w.nodes[&m.node].rack.clone()).collect();
        assert_eq!((c.members.len(), racks.len(), c.anchors == c.members, c.epoch), (3, 3, true, Epoch(1)));
    }
    assert_eq!(w.node_states().iter().map(|s| s.reserved).sum::<u64>(), 10 * 3 * 4 * GIB);
}

#[test]
fn a_new_volume_is_creating_until_its_primary_serves_and_then_it_was_born() {
    let mut w = World::new(3);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let volume = w.volume(1, 0);
    let c = w.first(volume);
    assert_eq!((w.state(volume).condition, c.newborn), (VolumeCondition::Creating, true));
    w.serve(&c);
    w.run();
    let state = w.state(volume);
    assert_eq!((state.condition, state.copies, state.attached), (VolumeCondition::Ok, 3, None));
    let now = w.first(volume);
    assert_eq!((now.newborn, now.epoch, now.revision > c.revision), (false, c.epoch, true));
}

#[test]
fn a_large_volume_is_a_row_of_shards() {
    let policy = zone::Policy { shard_blocks: 1 << 18, ..zone::Policy::default() };
    let mut w = World::with(3, policy, 1);
    let answer =
        w.told(CreateVolume { request: RequestId(1), size: 5 * GIB / 2, copies: 2, throttle: Throttle::default() });
    let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
    let blocks: Vec<u32> = m.volumes[0].shards.iter().map(|s| s.config.blocks).collect();
    assert_eq!(blocks, [1 << 18, 1 << 18, 1 << 17]);
    let primaries: std::collections::BTreeSet<_> = m.volumes[0].shards.iter().map(|s| s.config.primary).collect();
    assert!(primaries.len() >= 2, "one node leads all: {m:?}");
}

#[test]
fn what_cannot_be_is_refused_with_its_numbers_and_leaves_nothing() {
    let mut w = World::new(4);
    let keys = w.meta.pairs.len();
    let mut refused = |size: u64, copies: u8| {
        let answer = w.told(CreateVolume { request: RequestId(9), size, copies, throttle: Throttle::default() });
        World::refusal(&answer)
    };
    let (code, text) = refused(400 * GIB, 3);
    assert_eq!(code, ErrorCode::NoRoom);
    assert!(text.contains("on 0 of 4 nodes") && text.contains("node-1 100GiB of 100GiB"), "{text}");
    for (size, copies, word) in [(0, 3, "4096"), (4097, 3, "4097"), (65 << 40, 3, "65TiB"), (GIB, 6, "6 were")] {
        let (code, text) = refused(size, copies);
        assert!(code == ErrorCode::Invalid && text.contains(word), "{text}");
    }
    let (code, text) = refused(GIB, 5);
    assert!(code == ErrorCode::Unavailable && text.contains("4 are up"), "{text}");
    assert_eq!(w.meta.pairs.len(), keys);
    assert!(w.node_states().iter().all(|s| s.reserved == 0));
}

#[test]
fn a_volume_is_accepted_only_while_its_room_can_be_promised() {
    // I10: thick by default.
    let mut w = World::new(3);
    for _ in 0..10 {
        w.volume(10, 3);
    }
    let answer = w.told(CreateVolume { request: RequestId(9), size: 4096, copies: 3, throttle: Throttle::default() });
    assert_eq!(World::refusal(&answer).0, ErrorCode::NoRoom);
    assert!(w.node_states().iter().all(|s| s.reserved == 100 * GIB && s.replicas == 10));
    let other = w.told(CreateVolume { request: RequestId(10), size: 4096, copies: 1, throttle: Throttle::default() });
    assert_eq!(World::refusal(&other).0, ErrorCode::NoRoom);
}

#[test]
fn the_same_request_twice_is_one_volume() {
    let mut w = World::new(3);
    let create = CreateVolume { request: RequestId(7), size: GIB, copies: 3, throttle: Throttle::default() };
    let first = w.told(create.clone());
    let again = w.told(create.clone());
    let id = |m: &Message| if let Message::VolumeReply(m) = m { m.volumes[0].info.volume } else { panic!("{m:?}") };
    assert_eq!(id(&first), id(&again));
    w.restart_zone();
    assert_eq!(id(&w.told(create.clone())), id(&first));
    assert_eq!(w.zone.configurations().count(), 1);
    let answer = w.told(CreateVolume { size: 2 * GIB, ..create });
    assert!(World::refusal(&answer).1.contains("already made"), "{answer:?}");
}

#[test]
fn a_deleted_volume_gives_its_room_back_when_all_have_dropped_it() {
    let mut w = World::new(3);
    let volume = w.volume(10, 3);
    w.nodes.get_mut(&NodeId(2)).unwrap().willing = false;
    let answer = w.told(DeleteVolume { volume });
    let Message::VolumeReply(m) = &answer else { panic!("{answer:?}") };
    assert_eq!(m.volumes[0].condition, VolumeCondition::Deleting);
    let state = |w: &mut World, n| (w.node_state(n).reserved, w.node_state(n).held);
    assert_eq!((state(&mut w, 1), state(&mut w, 2)), ((0, 0), (0, 10 * GIB)));
    w.nodes.get_mut(&NodeId(2)).unwrap().willing = true;
    // It drops it and dies before it can say so; what it holds when it is back says it.
    w.kill(2);
    w.nodes.get_mut(&NodeId(2)).unwrap().replicas.clear();
    w.restart(2);
    assert_eq!(state(&mut w, 2), (0, 0));
    assert_eq!(World::refusal(&w.told(DescribeVolumes { volume: Some(volume) })).0, ErrorCode::NotFound);
    assert_eq!(World::refusal(&w.told(DeleteVolume { volume })).0, ErrorCode::NotFound);
}

#[test]
fn whoever_comes_with_a_deleted_volume_is_told_and_whoever_comes_with_an_unknown_one_is_not() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    w.kill(3);
    w.told(DeleteVolume { volume });
    w.restart_zone();
    let unknown = ShardId { volume: VolumeId(0x99), index: 0 };
    w.nodes.get_mut(&NodeId(3)).unwrap().replicas.insert(unknown);
    w.restart(3);
    let node = &w.nodes[&NodeId(3)];
    assert!(node.configs[&ShardId { volume, index: 0 }].deleted, "the tombstone is told");
    assert_eq!(node.replicas.iter().copied().collect::<Vec<_>>(), [unknown], "not being known is never a release");
    assert!(w.released.is_empty());
}

#[test]
fn nodes_and_volumes_that_do_not_exist_are_not_found() {
    let mut w = World::new(1);
    let volume = VolumeId(5);
    let node = NodeId(77);
    let questions: [Message; 5] = [
        DescribeVolumes { volume: Some(volume) }.into(),
        DeleteVolume { volume }.into(),
        AttachVolume { volume, host: None, read_only: false }.into(),
        DetachVolume { volume }.into(),
        DescribeNodes { node: Some(node) }.into(),
    ];
    for question in questions {
        let answer = w.told(question);
        let (code, text) = World::refusal(&answer);
        assert!(code == ErrorCode::NotFound && (text.contains("vol-") || text.contains("node-77")), "{text}");
    }
}

#[test]
fn the_rot_and_the_teaching_that_a_node_reports_are_shown_until_its_process_begins_anew() {
    let mut w = World::new(3);
    let lost = LostBlock { shard: ShardId { volume: VolumeId(4), index: 0 }, block: 9, frozen: false };
    let rot = RotReport { found: 3, mended: 2, lost: 1, named: vec![lost], ..RotReport::default() };
    let traffic = wire::TrafficReport { misrouted: 3, ..Default::default() };
    let taught = wire::Taught { by_delta: 1, delta_blocks: 7, ..wire::Taught::default() };
    let (space, suspects, shards) = (Space::default(), Vec::new(), Vec::new());
    let (touch, disk) = (wire::Touch { peers: 3, lost: 1, isolated_ms: None, times: 2 }, DiskReport::default());
    let report = Report { space, suspects, touch, shards, rot: rot.clone(), taught, traffic, disk };
    w.say(base::io::net::Peer::Node(NodeId(2)), report);
    w.run();
    assert_eq!((w.node_state(2).rot, w.node_state(1).rot), (rot.clone(), RotReport::default()));
    assert_eq!((w.node_state(2).traffic, w.node_state(1).traffic), (traffic, Default::default()));
    w.kill(2);
    assert_eq!((w.node_state(2).rot, w.node_state(2).taught), (rot, taught), "as it last said");
    assert_eq!(w.node_state(2).touch, touch);
    w.restart(2);
    assert_eq!((w.node_state(2).rot, w.node_state(2).taught), (RotReport::default(), wire::Taught::default()));
}
