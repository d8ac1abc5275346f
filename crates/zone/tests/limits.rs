//! Everything is bounded, and each bound says no by name.

mod world;

use base::io::Machine;
use base::io::net::{Link, Peer};
use base::log::Standing;
use base::*;
use wire::*;
use world::{Fault, GIB, World};
use zone::{Phase, Policy, Zone};

#[test]
fn only_so_many_requests_wait() {
    let mut w = World::new(3);
    w.meta.stopped = true;
    let create = CreateVolume { request: RequestId(1), size: GIB, copies: 3, throttle: Throttle::default() };
    let waiting: Vec<u64> = (0..8192).map(|_| w.ask(create.clone())).collect();
    let (code, text) = World::refusal(&w.told(create));
    assert!(code == ErrorCode::Unavailable && text.contains("8192"), "{text}");
    w.meta.stopped = false;
    w.run();
    assert!(waiting.iter().all(|o| matches!(w.answer(*o), Some(Message::VolumeReply(_)))));
    assert_eq!(w.zone.configurations().count(), 1);
}

#[test]
fn who_asks_and_goes_leaves_no_request_behind() {
    let mut w = World::new(3);
    w.meta.stopped = true;
    let gone = w.ask(CreateVolume { request: RequestId(1), size: GIB, copies: 3, throttle: Throttle::default() });
    w.down(Peer::Operator(gone));
    w.meta.stopped = false;
    w.run();
    assert_eq!((w.answer(gone), w.zone.configurations().count()), (None, 1));
}

#[test]
fn what_comes_beyond_bounds_while_the_truth_is_read_closes_its_link() {
    let mut w = World::new(3);
    w.meta.stopped = true;
    w.restart_zone();
    let before = (1 << 16) - 6;
    for _ in 0..before {
        w.report(1, Vec::new());
    }
    w.run();
    assert!(w.closed.is_empty() && *w.zone.phase() == Phase::Loading);
    w.report(2, Vec::new());
    w.run();
    assert_eq!(w.closed, [Link::from(Peer::Node(NodeId(2)))]);
    w.meta.stopped = false;
    w.run();
    assert!(w.ready());
}

#[test]
fn a_node_that_says_it_holds_more_than_can_be_is_cut_off() {
    let mut w = World::new(1);
    let held = |n: u32| Held {
        shard: ShardId { volume: VolumeId(1), index: n },
        promised: Epoch(1),
        epoch: Epoch(1),
        revision: Revision(1),
        standing: Standing::Complete,
        end: Sequence(0),
    };
    let part = 16 << 10;
    for n in 0..65 {
        let held = (n * part..(n + 1) * part).map(held).collect();
        let register = Register { held, last: false, ..w.register(NodeId(1)) };
        w.say(Peer::Node(NodeId(1)), register);
        w.run();
        assert_eq!(w.closed.len(), usize::from(n == 64), "after {n} parts");
    }
}

#[test]
fn a_list_comes_in_parts_and_counts_when_it_is_whole() {
    let mut w = World::new(3);
    let volumes = [w.volume(1, 3), w.volume(1, 3)];
    w.kill(1);
    let node = w.nodes.get_mut(&NodeId(1)).unwrap();
    node.up = true;
    let all = w.register(NodeId(1));
    w.up(Peer::Node(NodeId(1)));
    w.say(Peer::Node(NodeId(1)), Register { held: all.held[..1].to_vec(), last: false, ..all.clone() });
    w.pass_ms(1);
    assert!(w.first(volumes[0]).primary != NodeId(1) || w.state(volumes[0]).condition != VolumeCondition::Ok);
    w.say(Peer::Node(NodeId(1)), Register { held: all.held[1..].to_vec(), last: true, ..all });
    w.run();
    assert_eq!(w.node_state(1).condition, NodeCondition::Up);
}

#[test]
fn an_answer_that_fits_no_message_is_refused_and_parts_of_it_are_not() {
    let policy = Policy { shard_blocks: 1, ..Policy::default() };
    let mut w = World::with(5, policy, 1);
    let create = |n: u128, blocks: u64| CreateVolume {
        request: RequestId(n),
        size: blocks * 4096,
        copies: 5,
        throttle: Throttle::default(),
    };
    let (code, text) = World::refusal(&w.told(create(1, 1025)));
    assert!(code == ErrorCode::Invalid && text.contains("1024 shards") && text.contains("1025"), "{text}");
    for n in 2..5 {
        assert!(matches!(w.told(create(n, 1024)), Message::VolumeReply(_)));
    }
    let (code, text) = World::refusal(&w.told(DescribeVolumes { volume: None }));
    assert!(code == ErrorCode::Invalid && text.contains("3 volumes"), "{text}");
    let one = w.zone.configurations().next().unwrap().shard.volume;
    assert_eq!(w.state(one).shards.len(), 1024);
}

#[test]
fn new_metadata_become_the_clusters_even_when_the_first_writes_fail() {
    for fault in [Fault::Conflict, Fault::UnknownDone, Fault::UnknownLost] {
        let mut w = World::new(0);
        w.meta = world::Meta::default();
        w.meta.faults = vec![fault; 2];
        w.zone = Zone::new(world::CLUSTER, Policy::default(), Rng::new(1));
        w.run();
        assert_eq!(*w.zone.phase(), Phase::Loading);
        assert!(w.zone.deadline().is_some());
        w.pass_ms(9000);
        assert!(w.ready() && w.meta.pairs.contains_key("cluster"), "{fault:?}");
    }
}

#[test]
fn what_a_host_says_of_volumes_that_there_are_not_is_not_remembered() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    for n in 1_000..2_000 {
        let volume = VolumeId(n);
        w.say(Peer::Host(host), AttachState { volume, generation: Generation(1), size: GIB, open: true });
    }
    w.run();
    let mut open = Vec::new();
    w.zone.fills(&mut |fill| {
        assert!(fill.now <= fill.most, "{fill:?}");
        open.extend(Some(fill).filter(|fill| fill.what == "volumes that a host has open"));
    });
    assert_eq!(open.iter().map(|fill| fill.now).collect::<Vec<_>>(), [1]);
}
