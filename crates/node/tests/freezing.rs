//! A node takes the authority's steps of freezing a volume, and its store says whether there is room for another point.

mod bench;

use base::PointId;
use base::log::POINTS_MAX;
use bench::*;
use wire::{PointOrder, PointRefusal, PointState, PointStep};

const STEPS: [PointStep; 3] = [PointStep::Hold, PointStep::Freeze, PointStep::Release];

fn order(shard: ShardId, point: u64, step: PointStep) -> PointOrder {
    PointOrder { shard, epoch: Epoch(1), point: PointId(point), step }
}

/// What the node says to a step.
fn ask(b: &mut Bench, shard: ShardId, point: u64, step: PointStep) -> Option<PointRefusal> {
    let before = b.count("PointState");
    b.zone(order(shard, point, step));
    assert_eq!(b.count("PointState"), before + 1, "{step:?}");
    let states = b.sent.iter().rev().filter_map(|(to, m, _)| match m {
        Message::PointState(state) if *to == Link::to(Peer::Zone) => Some(state),
        _ => None,
    });
    let PointState { shard: of, epoch, point: named, step: taken, refused } = states.into_iter().next().unwrap();
    assert_eq!((*of, *epoch, *named, *taken), (shard, Epoch(1), PointId(point), step));
    *refused
}

fn served() -> Bench {
    let mut b = Bench::new();
    b.configure(alone(1));
    b
}

#[test]
fn a_shard_is_frozen_step_by_step_and_its_client_hears_nothing_meanwhile() {
    let mut b = served();
    let volume = b.node.store().promised_bytes();
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Hold), None);
    b.write(1, 5, 0xaa);
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Freeze), None);
    assert_eq!(b.count("Done"), 0);
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Release), None);
    assert_eq!((b.count("Done"), b.node.store().promised_bytes()), (1, 2 * volume));
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Thaw), None);
    assert_eq!(b.node.store().promised_bytes(), volume);
}

#[test]
fn it_lets_go_by_itself_when_its_own_deadline_comes() {
    let mut b = served();
    let began = b.now;
    ask(&mut b, SHARD, 1, PointStep::Hold);
    b.write(1, 5, 0xaa);
    while b.count("Done") == 0 {
        b.now = b.node.deadline().expect("it holds");
        b.give(vec![]);
    }
    assert_eq!(b.now.since(began), Duration::from_millis(100));
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Release), Some(PointRefusal::NotHolding));
}

#[test]
fn only_the_authority_asks_for_a_step() {
    let mut b = served();
    for from in [Link::from(Peer::Host(HOST)), Link::from(Peer::Node(NodeId(2))), Link::from(Peer::Zone)] {
        b.tell(from, order(SHARD, 1, PointStep::Hold), vec![]);
    }
    b.write(1, 5, 0xaa);
    assert_eq!((b.count("PointState"), b.count("Done")), (0, 1));
}

#[test]
fn a_shard_that_it_has_not_it_does_not_serve() {
    let mut b = served();
    let other = ShardId { index: 1, ..SHARD };
    for step in STEPS.into_iter().chain([PointStep::Thaw]) {
        assert_eq!(ask(&mut b, other, 1, step), Some(PointRefusal::NotServing));
    }
}

#[test]
fn a_store_without_room_for_a_point_refuses_it_with_what_it_lacks() {
    let mut b = served();
    let capacity = (b.node.store().space().capacity_bytes / BLOCK_BYTES as u64) as u32;
    let other = ShardId { volume: VolumeId(2), index: 0 };
    // 10 blocks are left, and the point may come to hold 64.
    b.configure(Configuration { shard: other, blocks: capacity - 64 - 10, ..alone(1) });
    ask(&mut b, SHARD, 1, PointStep::Hold);
    let lacking = 54 * BLOCK_BYTES as u64;
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Freeze), Some(PointRefusal::NoRoom { lacking }));
    assert_eq!(ask(&mut b, SHARD, 1, PointStep::Release), None);
    assert_eq!(b.node.store().promised_bytes(), u64::from(capacity - 10) * BLOCK_BYTES as u64);
}

#[test]
fn a_shard_with_as_many_points_as_it_may_have_refuses_one_more() {
    let mut b = served();
    for point in 1..=POINTS_MAX as u64 {
        assert_eq!(STEPS.map(|step| ask(&mut b, SHARD, point, step)), [None; 3], "{point}");
    }
    let point = POINTS_MAX as u64 + 1;
    ask(&mut b, SHARD, point, PointStep::Hold);
    let most = POINTS_MAX as u32;
    assert_eq!(ask(&mut b, SHARD, point, PointStep::Freeze), Some(PointRefusal::TooMany { most }));
    ask(&mut b, SHARD, point, PointStep::Release);
    assert_eq!(ask(&mut b, SHARD, 7, PointStep::Thaw), None);
    let next = point + 1;
    assert_eq!(STEPS.map(|step| ask(&mut b, SHARD, next, step)), [None; 3], "there is one fewer");
}
