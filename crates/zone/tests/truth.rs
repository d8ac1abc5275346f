//! The metadata store: what is durable is what is said, and what happens when it fails.

mod world;

use base::io::Machine;
use base::io::net::{Link, Peer};
use base::*;
use wire::*;
use world::{Fault, GIB, World};
use zone::{Phase, Policy, Zone};

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut w = World::new(3);
    w.meta.stopped = true;
    let operator = w.ask(CreateVolume { request: RequestId(1), size: GIB, copies: 3, throttle: Throttle::default() });
    assert!(w.answer(operator).is_none() && w.nodes.values().all(|n| n.configs.is_empty()));
    assert_eq!(w.zone.configurations().count(), 0);
    w.meta.stopped = false;
    w.run();
    assert!(w.answer(operator).is_some() && w.nodes.values().all(|n| n.configs.len() == 1));
}

#[test]
fn what_is_decided_while_a_write_is_under_way_is_told_when_its_own_write_is_done() {
    let mut w = World::new(4);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    w.meta.stopped = true;
    w.ask(AttachVolume { volume, host: Some(host), read_only: false });
    w.ask(DetachVolume { volume });
    w.ask(AttachVolume { volume, host: Some(host), read_only: false });
    assert_eq!(w.first(volume).epoch, c.epoch);
    let writes = w.meta.writes;
    w.meta.stopped = false;
    w.run();
    let now = w.first(volume);
    assert_eq!((now.generation, now.client, now.epoch.0), (Generation(2), Some(host), c.epoch.0 + 3));
    // The first was written already; the second and the third form one write, and the end of the fence another. What was said of each is
    // checked against its bytes on the way out.
    assert_eq!(w.meta.writes, writes + 2);
    assert_eq!(w.hosts[&host].attached[&volume], Generation(2));
}

#[test]
fn what_was_asked_before_the_truth_had_to_be_read_again_is_done_before_what_was_asked_meanwhile() {
    for fault in [Fault::UnknownDone, Fault::UnknownLost, Fault::Conflict] {
        let mut w = World::new(3);
        let (volume, host) = (w.volume(1, 3), w.add_host(1));
        w.meta.faults = vec![fault];
        let attached = w.ask(AttachVolume { volume, host: Some(host), read_only: false });
        let detached = w.ask(DetachVolume { volume });
        assert!(!w.ready() && w.answer(attached).is_none(), "{fault:?}: it reads again");
        w.pass_ms(9000);
        assert!(w.answer(detached).is_some() && w.answer(attached).is_some(), "{fault:?}");
        assert_eq!(w.state(volume).attached, None, "{fault:?}: it was given away after it was taken back");
    }
}

#[test]
fn a_restarted_authority_goes_on_with_the_same_configurations() {
    let mut w = World::new(4);
    let host = w.add_host(1);
    let volumes: Vec<VolumeId> = (0..3).map(|_| w.volume(1, 3)).collect();
    w.attach(volumes[0], host);
    let before: Vec<Configuration> = w.zone.configurations().cloned().collect();
    w.hosts.get_mut(&host).unwrap().attached.clear();
    w.restart_zone();
    assert!(w.ready() && before.len() == 3);
    assert_eq!(w.zone.configurations().cloned().collect::<Vec<_>>(), before);
    assert_eq!(w.hosts[&host].attached[&volumes[0]], Generation(1));
    let state = w.node_state(1);
    assert_eq!(state.condition, NodeCondition::Up);
    // Nobody restarted, so nobody is replaced.
    w.pass_ms(1000);
    assert_eq!(w.zone.configurations().cloned().collect::<Vec<_>>(), before);
}

#[test]
fn a_write_that_conflicts_or_whose_end_is_unknown_is_read_again_and_every_question_answered() {
    for fault in [Fault::Conflict, Fault::UnknownDone, Fault::UnknownLost] {
        let mut w = World::new(4);
        w.add_host(1);
        let volume = w.volume(1, 3);
        let create = CreateVolume { request: RequestId(77), size: GIB, copies: 3, throttle: Throttle::default() };
        w.meta.faults = vec![fault];
        let created = w.ask(create);
        w.pass_ms(9000);
        assert!(matches!(w.answer(created), Some(Message::VolumeReply(_))), "{fault:?}");
        assert_eq!(w.zone.configurations().count(), 2, "{fault:?}: one request, one volume");

        w.meta.faults = vec![fault];
        let attached = w.ask(AttachVolume { volume, host: None, read_only: false });
        w.pass_ms(9000);
        assert!(matches!(w.answer(attached), Some(Message::AttachReply(_))), "{fault:?}");
        assert_eq!(w.first(volume).generation, Generation(1), "{fault:?}");

        let c = w.first(volume);
        let to = w.backup(&c, 0);
        w.kill(c.primary.0);
        w.meta.faults = vec![fault];
        let wish = w.fail_over(&c, to);
        assert_eq!(w.propose(to, wish), None);
        w.pass_ms(9000);
        assert!(matches!(w.nodes[&NodeId(to)].outcomes[..], [ProposalOutcome::Granted { .. }]), "{fault:?}");
        assert_eq!(w.first(volume).epoch, c.epoch.next(), "{fault:?}: granted once");

        w.meta.faults = vec![fault];
        let throttled = w.ask(ThrottleVolume { volume, iops: Some(900), bytes_per_s: None });
        w.pass_ms(9000);
        assert!(
            matches!(w.answer(throttled), Some(Message::VolumeReply(m)) if m.volumes[0].throttle.iops == 900),
            "{fault:?}"
        );
        assert_eq!(w.hosts[&HostId(1)].throttles[&volume].iops, 900, "{fault:?}");

        w.meta.faults = vec![fault];
        let detached = w.ask(DetachVolume { volume });
        w.pass_ms(9000);
        assert!(matches!(w.answer(detached), Some(Message::VolumeReply(_))), "{fault:?}");
        w.meta.faults = vec![fault];
        let deleted = w.ask(DeleteVolume { volume });
        w.pass_ms(9000);
        assert!(w.answer(deleted).is_some(), "{fault:?}");
        assert!(w.first(volume).deleted && w.meta.faults.is_empty(), "{fault:?}");
    }
}

#[test]
fn a_quarantine_ends_though_the_answer_to_the_last_write_was_lost() {
    // R21
    let mut w = World::with(3, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let lost = w.backup(&c, 0);
    w.kill(lost);
    w.pass_ms(6000);
    w.restart(lost);
    let c = w.first(volume);
    assert_eq!(c.learner.map(|l| l.member.node), Some(NodeId(lost)));
    w.meta.faults = vec![Fault::UnknownDone, Fault::UnknownLost];
    w.propose(c.primary.0, w.admission(&c));
    w.pass_ms(9000);
    assert_eq!((w.node_state(lost).condition, w.meta.faults.len()), (NodeCondition::Up, 0));
}

#[test]
fn a_quarantine_begins_and_ends_though_the_write_of_its_beginning_was_lost() {
    // R21
    let mut w = World::with(3, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let lost = w.backup(&c, 0);
    w.kill(lost);
    w.pass_ms(6000);
    w.meta.faults = vec![Fault::UnknownLost];
    // What came of its registration is lost too, so its link is closed and it comes again.
    w.comes_again = true;
    w.restart(lost);
    w.pass_ms(4000);
    assert_eq!((w.node_state(lost).condition, w.meta.faults.len()), (NodeCondition::Quarantined, 0));
    let c = w.first(volume);
    w.propose(c.primary.0, w.admission(&c));
    w.pass_ms(2000);
    assert_eq!(w.node_state(lost).condition, NodeCondition::Up);
}

#[test]
fn a_store_that_fails_again_and_again_is_asked_less_and_less_often() {
    let mut w = World::new(3);
    w.meta.faults = vec![Fault::UnknownLost; 10];
    let operator = w.ask(CreateVolume { request: RequestId(1), size: GIB, copies: 3, throttle: Throttle::default() });
    assert!(w.answer(operator).is_none());
    w.pass_ms(60_000);
    assert!(w.answer(operator).is_some() && w.meta.faults.is_empty());
}

#[test]
fn metadata_of_another_cluster_are_refused_by_name() {
    let mut w = World::new(3);
    w.zone = Zone::new(ClusterId(0xdead), Policy::default(), Rng::new(1));
    w.run();
    let Phase::Refused(why) = w.zone.phase() else { panic!("{:?}", w.zone.phase()) };
    assert!(why.to_string().contains("0000dead") && why.to_string().contains("000000c1"), "{why}");
    let writes = w.meta.writes;
    let (code, text) = World::refusal(&w.told(CreateVolume {
        request: RequestId(1),
        size: GIB,
        copies: 3,
        throttle: Throttle::default(),
    }));
    assert!(code == ErrorCode::Unavailable && text.contains("cluster"), "{text}");
    assert_eq!(w.meta.writes, writes);
}

#[test]
fn damaged_metadata_are_refused_by_their_key() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let shard = format!("shard/{:016x}/0", volume.0);
    let cases: Vec<(String, Option<Vec<u8>>, &str)> = vec![
        (shard.clone(), Some(vec![1, 2, 3]), &shard),
        (shard.clone(), Some(vec![]), "empty"),
        (shard.clone(), Some(vec![9, 2, 3]), "version 9"),
        ("node/node-x".into(), Some(vec![1]), "node/node-x"),
        ("shard/1/0".into(), Some(vec![1]), "shard/1/0"),
        (
            "volume/vol-00000000000000001".into(),
            Some(w.meta.pairs[&format!("volume/{volume}")].0.to_vec()),
            "another key",
        ),
        ("cluster".into(), None, "none says of which cluster"),
        (format!("volume/{volume}"), None, "its volume lacks it"),
    ];
    let good = w.meta.pairs.clone();
    for (key, value, word) in cases {
        w.meta.pairs = good.clone();
        match value {
            Some(bytes) => drop(w.meta.pairs.insert(key.clone(), (bytes.into(), 1))),
            None => drop(w.meta.pairs.remove(&key)),
        }
        w.zone = Zone::new(world::CLUSTER, Policy::default(), Rng::new(1));
        w.run();
        let Phase::Refused(why) = w.zone.phase() else { panic!("{key}: {:?}", w.zone.phase()) };
        assert!(why.to_string().contains(word), "{why}");
    }
}

#[test]
fn what_comes_while_the_truth_is_read_waits_and_is_not_lost() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    w.meta.stopped = true;
    w.restart_zone();
    let operator = w.ask(DescribeVolumes { volume: Some(volume) });
    assert!(*w.zone.phase() == Phase::Loading && w.answer(operator).is_none());
    w.meta.stopped = false;
    w.run();
    assert!(w.ready() && w.answer(operator).is_some());
}

#[test]
fn metadata_older_than_what_a_node_obeyed_change_nothing() {
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let backup = (w.meta.pairs.clone(), w.meta.revision);
    let c = w.first(volume);
    let to = w.backup(&c, 0);
    w.kill(c.primary.0);
    w.propose(to, w.fail_over(&c, to));
    assert_eq!(w.first(volume).epoch, c.epoch.next());
    // Somebody restores the metadata from a backup.
    w.meta.pairs = backup.0;
    w.restart_zone();
    w.pass_ms(120_000);
    assert_eq!(w.first(volume).epoch, c.epoch, "an epoch that was used is not used again");
}

#[test]
fn who_says_what_is_not_his_to_say_is_not_talked_to() {
    let mut w = World::new(2);
    let host = w.add_host(1);
    let volume = VolumeId(1);
    let node = Peer::Node(NodeId(1));
    let cases: Vec<(Peer, Message)> = vec![
        (node, DeleteVolume { volume }.into()),
        (node, Released { shard: ShardId { volume, index: 0 }, member: w.nodes[&NodeId(2)].member }.into()),
        (node, w.register(NodeId(2)).into()),
        (Peer::Host(host), DeleteVolume { volume }.into()),
        (Peer::Host(host), HostRegister { host: HostId(9), incarnation: Incarnation(1), socket: String::new() }.into()),
        (Peer::Operator(99), w.register(NodeId(1)).into()),
    ];
    for (peer, message) in cases {
        let name = message.name();
        w.closed.clear();
        w.say(peer, message);
        w.run();
        assert_eq!(w.closed, [Link::from(peer)], "{name}");
        w.connect(NodeId(1));
        w.connect_host(host);
        w.run();
    }
    w.closed.clear();
    let frame = base::io::net::Frame { kind: 0x41, head: bytes::Bytes::from_static(b"?"), data: Vec::new() };
    w.event(base::io::net::Event::Frame { from: Link::from(node), frame });
    w.run();
    assert_eq!(w.closed, [Link::from(node)]);
}

#[test]
fn a_directory_goes_to_all_when_a_node_comes_that_is_new() {
    let mut w = World::new(2);
    w.add_node(3, "r3", GIB);
    w.run();
    for node in w.nodes.values() {
        assert_eq!(node.directory, [NodeId(1), NodeId(2), NodeId(3)]);
    }
}

#[test]
fn an_idle_authority_wants_nothing_but_to_notice_who_falls_silent() {
    let mut w = World::new(3);
    assert_eq!(w.zone.deadline(), Some(w.now + core::time::Duration::from_millis(1500)));
    (1..=3).for_each(|n| w.kill(n));
    w.pass_ms(61_000);
    assert_eq!(w.zone.deadline(), None);
    assert!(w.node_states().iter().all(|s| s.condition == NodeCondition::Failed));
}

#[test]
fn a_node_is_suspect_when_its_link_is_down_or_its_report_overdue() {
    let mut w = World::new(2);
    w.pass_ms(5000);
    w.kill(1);
    w.nodes.get_mut(&NodeId(2)).unwrap().frozen = true;
    let conditions = |w: &mut World| [1, 2].map(|n| w.node_state(n).condition);
    w.pass_ms(400);
    assert_eq!(conditions(&mut w), [NodeCondition::Up, NodeCondition::Up]);
    w.pass_ms(200);
    assert_eq!(conditions(&mut w), [NodeCondition::Suspect, NodeCondition::Up]);
    w.pass_ms(1000);
    assert_eq!(conditions(&mut w), [NodeCondition::Suspect, NodeCondition::Suspect]);
    w.restart(1);
    w.nodes.get_mut(&NodeId(2)).unwrap().frozen = false;
    w.pass_ms(1000);
    assert_eq!(conditions(&mut w), [NodeCondition::Up, NodeCondition::Up]);
    assert!(w.node_state(1).for_ms <= 1000);
    // Frozen for so long that it was given up, it goes on as if nothing had been.
    w.nodes.get_mut(&NodeId(2)).unwrap().frozen = true;
    w.pass_ms(62_000);
    assert_eq!(w.node_state(2).condition, NodeCondition::Failed);
    w.nodes.get_mut(&NodeId(2)).unwrap().frozen = false;
    w.pass_ms(1000);
    assert_eq!(w.node_state(2).condition, NodeCondition::Up, "it has nothing to settle");
}
