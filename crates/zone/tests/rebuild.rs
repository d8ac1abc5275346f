//! Metadata that are older than what the nodes know are not acted on, and metadata that are lost are made anew from what the nodes know, never guessed.

mod world;

use base::io::meta::Pair;
use base::io::net::{Event, Link, Peer};
use base::io::{Inbox, Input, Machine, Outbox, Output};
use base::log::Standing;
use base::*;
use std::collections::BTreeSet;
use wire::*;
use world::{GIB, World};
use zone::{LeftOut, Phase, Policy, Rebuild, Rebuilt};

/// A zone whose volumes have several shards: one is attached, one is not, one has lost a copy.
fn zone_at_work() -> (World, Vec<VolumeId>, HostId) {
    let policy = Policy { shard_blocks: 1 << 18, ..Policy::dev() };
    let mut w = World::with(5, policy, 1);
    let host = w.add_host(1);
    let volumes = vec![w.volume(3, 3), w.volume(1, 3), w.volume(2, 2)];
    w.attach(volumes[0], host);
    (w, volumes, host)
}

fn shards(w: &World) -> Vec<Configuration> {
    w.zone.configurations().filter(|c| !c.deleted).cloned().collect()
}

/// What the nodes of a world would say to whoever asks; `heard` of them are heard.
fn listen(w: &World, heard: &[u64], without: &[u64]) -> Rebuild {
    let ids = |all: &[u64]| all.iter().map(|n| NodeId(*n)).collect::<BTreeSet<_>>();
    let all: BTreeSet<NodeId> = w.nodes.keys().copied().collect();
    let mut rebuild = Rebuild::new(world::CLUSTER, all, ids(without));
    for id in ids(heard) {
        let node = &w.nodes[&id];
        let replicas = node.replicas.iter().map(|shard| KnownReplica {
            promised: node.configs[shard].epoch,
            standing: Standing::Complete,
            end: Sequence(0),
            config: node.configs[shard].clone(),
        });
        let known = Known { replicas: replicas.collect(), nodes: node.directory.clone(), last: true };
        say(&mut rebuild, id, w.register(id));
        say(&mut rebuild, id, known);
    }
    rebuild
}

/// A node says something; what it is told.
fn say(rebuild: &mut Rebuild, id: NodeId, message: impl Into<Message>) -> Vec<Message> {
    let frame = message.into().frame();
    let mut inbox = Inbox::from([Input::Net(Event::Frame { from: Link::from(Peer::Node(id)), frame })]);
    let mut out = Outbox::default();
    rebuild.step(Time(1), &mut inbox, &mut out);
    let sent = out.drain().map(|output| match output {
        Output::Net(base::io::net::Op::Send { frame, .. }) => Message::decode(&frame).unwrap(),
        other => panic!("{other:?}"),
    });
    sent.collect()
}

/// The world goes on with what was rebuilt.
fn put(w: &mut World, rebuilt: &Rebuilt) {
    w.meta.pairs =
        rebuilt.pairs.iter().map(|(key, value)| (key.clone(), (value.clone(), rebuilt.revision.0))).collect();
    w.meta.revision = rebuilt.revision.0;
    for Pair { key, value, revision } in w.meta.all() {
        w.meta.written.insert((key, revision.0), value);
    }
    w.restart_zone();
}

#[test]
fn all_volumes_come_back_from_what_the_nodes_know_with_their_data_and_attachments() {
    let (mut w, volumes, host) = zone_at_work();
    let before = shards(&w);
    let nodes: Vec<u64> = w.nodes.keys().map(|id| id.0).collect();
    let rebuild = listen(&w, &nodes, &[]);
    assert!(rebuild.missing().is_empty() && rebuild.heard().count() == 5);
    let rebuilt = rebuild.plan(MetaUuid(7));
    assert_eq!((rebuilt.volumes.len(), &rebuilt.left_out[..], rebuilt.nodes.len()), (3, &[][..], 5));
    put(&mut w, &rebuilt);
    w.pass_ms(5000);
    assert!(w.ready() && w.zone.behind().is_none());
    for (old, new) in before.iter().zip(shards(&w)) {
        assert_eq!((old.shard, old.blocks, old.layout), (new.shard, new.blocks, new.layout));
        assert!(new.epoch.0 > old.epoch.0 + 1000 && new.revision > old.revision, "{old:?} {new:?}");
        assert!(new.members.len() == old.members.len() && old.members.iter().all(|m| new.is_member(*m)));
        assert!(!new.newborn && new.generation >= old.generation);
    }
    for volume in &volumes {
        assert_eq!(w.state(*volume).condition, VolumeCondition::Ok, "{volume}");
    }
    let attached = w.state(volumes[0]);
    assert_eq!((attached.attached, attached.info.size), (Some(host), 3 * GIB));
    assert_eq!(
        w.hosts[&host].attached[&volumes[0]], attached.generation,
        "its host goes on, under a generation of its own"
    );
    assert_eq!(w.state(volumes[1]).attached, None);
    assert!(w.nodes.values().all(|n| !n.refuses));
    w.told(DetachVolume { volume: volumes[0] });
    w.told(DeleteVolume { volume: volumes[0] });
    w.pass_ms(1000);
    w.volume(1, 3);
}

#[test]
fn a_node_that_is_not_heard_is_missed_until_an_operator_writes_it_off() {
    let (w, volumes, _) = zone_at_work();
    assert_eq!(listen(&w, &[1, 2, 3, 4], &[]).missing(), BTreeSet::from([NodeId(5)]));
    let rebuild = listen(&w, &[1, 2, 3, 4], &[5]);
    assert!(rebuild.missing().is_empty());
    // One that is gone cannot know more alone: what was written needs two.
    let rebuilt = rebuild.plan(MetaUuid(7));
    assert_eq!((rebuilt.volumes.len(), rebuilt.left_out.len(), rebuilt.nodes.len()), (volumes.len(), 0, 4));
    // Also those that only others name are missed.
    let mut alone = Rebuild::new(world::CLUSTER, BTreeSet::new(), BTreeSet::new());
    let told = say(&mut alone, NodeId(1), w.register(NodeId(1)));
    assert!(matches!(told[..], [Message::Collect(_)]), "{told:?}");
    assert_eq!(alone.missing(), BTreeSet::from([NodeId(1)]), "it has not said all yet");
    say(&mut alone, NodeId(1), Known { replicas: vec![], nodes: w.nodes[&NodeId(1)].directory.clone(), last: true });
    assert_eq!(alone.missing(), [2, 3, 4, 5].map(NodeId).into());
}

#[test]
fn after_a_rebuild_without_a_node_its_copies_are_made_anew_and_it_may_come_back_later() {
    let (mut w, volumes, _) = zone_at_work();
    let gone = w.backup(&w.first(volumes[1]), 0);
    w.kill(gone);
    let heard: Vec<u64> = w.nodes.keys().map(|id| id.0).filter(|n| *n != gone).collect();
    let rebuilt = listen(&w, &heard, &[gone]).plan(MetaUuid(7));
    put(&mut w, &rebuilt);
    w.pass_ms(14_000);
    let c = w.first(volumes[1]);
    assert!(c.member_on(NodeId(gone)).is_none() && c.learner.is_some(), "{c:?}");
    w.restart(gone);
    w.pass_ms(1000);
    assert!(!w.nodes[&NodeId(gone)].refuses && w.zone.behind().is_none());
    let c = w.first(volumes[1]);
    let named = c.holders.iter().chain(c.learner.iter().map(|l| &l.member)).any(|m| m.node.0 == gone);
    assert!(named, "what it has is kept until it may go: {c:?}");
}

#[test]
fn a_volume_of_which_nodes_written_off_could_know_more_is_left_out_and_named() {
    let (w, volumes, _) = zone_at_work();
    let c = w.first(volumes[1]);
    let gone = [c.members[0].node.0, c.members[1].node.0];
    let heard: Vec<u64> = w.nodes.keys().map(|id| id.0).filter(|n| !gone.contains(n)).collect();
    let rebuilt = listen(&w, &heard, &gone).plan(MetaUuid(7));
    let why = rebuilt.left_out.iter().find(|(id, _)| *id == volumes[1]).map(|(_, why)| why.clone()).expect("left out");
    assert!(
        matches!(&why, LeftOut::Uncertain { shard, unheard } if *shard == c.shard && unheard.len() == 2),
        "{why:?}"
    );
    assert!(why.to_string().contains(&c.members[0].store.to_string()), "{why}");
    assert!(rebuilt.volumes.iter().all(|v| v.volume != volumes[1]));
}

#[test]
fn a_volume_of_which_a_shard_is_unknown_is_left_out_with_the_number_of_the_shard() {
    let (mut w, volumes, _) = zone_at_work();
    let lost = ShardId { volume: volumes[0], index: 2 };
    w.nodes.values_mut().for_each(|n| {
        n.replicas.remove(&lost);
    });
    let rebuilt = listen(&w, &[1, 2, 3, 4, 5], &[]).plan(MetaUuid(7));
    assert_eq!(rebuilt.left_out, [(volumes[0], LeftOut::Missing { shards: vec![2] })]);
    assert!(rebuilt.left_out[0].1.to_string().contains("[2]"));
}

#[test]
fn a_volume_that_was_being_deleted_does_not_come_back() {
    let (mut w, volumes, _) = zone_at_work();
    let c = w.first(volumes[1]);
    let away = w.backup(&c, 0);
    w.kill(away);
    w.told(DeleteVolume { volume: volumes[1] });
    w.pass_ms(100);
    let rebuilt = listen(&w, &[1, 2, 3, 4, 5], &[]).plan(MetaUuid(7));
    assert!(
        matches!(rebuilt.left_out[..], [(id, LeftOut::Deleted { .. })] if id == volumes[1]),
        "{:?}",
        rebuilt.left_out
    );
    // Nor is anything of it dropped by anybody: it is not known for certain.
    put(&mut w, &rebuilt);
    w.restart(away);
    w.pass_ms(2000);
    assert!(w.nodes[&NodeId(away)].replicas.contains(&c.shard));
}

#[test]
fn shards_that_do_not_add_up_are_left_out() {
    let (mut w, volumes, _) = zone_at_work();
    let shard = ShardId { volume: volumes[0], index: 0 };
    for node in w.nodes.values_mut() {
        node.configs.entry(shard).and_modify(|c| c.blocks -= 1);
    }
    let rebuilt = listen(&w, &[1, 2, 3, 4, 5], &[]).plan(MetaUuid(7));
    assert_eq!(rebuilt.left_out, [(volumes[0], LeftOut::Unfit { shard })]);
}

#[test]
fn an_old_copy_of_the_metadata_changes_nothing_and_says_that_it_must_be_rebuilt() {
    let (mut w, volumes, host) = zone_at_work();
    let copy = (w.meta.pairs.clone(), w.meta.revision);
    w.told(DetachVolume { volume: volumes[0] });
    w.attach(volumes[1], host);
    let newest = shards(&w);
    (w.meta.pairs, w.meta.revision) = copy.clone();
    w.restart_zone();
    let behind = *w.zone.behind().expect("the nodes know better");
    assert!(w.nodes.values().all(|n| n.refuses), "they obey it");
    let written = w.meta.pairs.clone();
    let mut changing: Vec<Message> = vec![
        DeleteVolume { volume: volumes[2] }.into(),
        AttachVolume { volume: volumes[2], host: Some(host), read_only: false }.into(),
        DetachVolume { volume: volumes[0] }.into(),
    ];
    changing
        .push(CreateVolume { request: RequestId(9), size: GIB, copies: 3, throttle: wire::Throttle::default() }.into());
    for question in changing {
        let (code, text) = World::refusal(&w.told(question));
        assert!(code == ErrorCode::Outdated && text.contains("zone rebuild"), "{text}");
        assert!(text.contains(&behind.node.to_string()), "{text}");
    }
    let Message::ZoneReply(m) = w.told(DescribeZone {}) else { panic!("no zone") };
    assert_eq!((m.zone.behind, m.zone.volumes), (Some(behind), 3));
    w.state(volumes[0]);
    w.node_states();
    w.pass_ms(120_000);
    assert_eq!(w.meta.pairs, written, "it wrote something");
    // Put right, all goes on with what is newest.
    let rebuilt = listen(&w, &[1, 2, 3, 4, 5], &[]).plan(MetaUuid(7));
    put(&mut w, &rebuilt);
    w.pass_ms(3000);
    assert_eq!(w.state(volumes[0]).attached, None);
    assert_eq!(w.state(volumes[1]).attached, Some(host));
    assert_eq!(shards(&w).len(), newest.len());
    // And the old copy, put back once more, is still the old copy.
    (w.meta.pairs, w.meta.revision) = copy;
    w.restart_zone();
    assert!(w.zone.behind().is_some() && w.nodes.values().all(|n| n.refuses));
}

#[test]
fn empty_metadata_in_a_zone_that_has_volumes_make_nothing_of_it() {
    let (mut w, ..) = zone_at_work();
    w.meta.pairs.clear();
    w.meta.revision = 0;
    w.restart_zone();
    assert!(w.zone.behind().is_some() && w.nodes.values().all(|n| n.refuses));
    let (code, _) = World::refusal(&w.told(CreateVolume {
        request: RequestId(9),
        size: GIB,
        copies: 3,
        throttle: wire::Throttle::default(),
    }));
    assert_eq!(code, ErrorCode::Outdated);
}

#[test]
fn metadata_that_were_put_back_and_started_often_are_told_by_the_names_of_their_starts() {
    let (mut w, volumes, host) = zone_at_work();
    let copy = (w.meta.pairs.clone(), w.meta.revision);
    // The true history goes on by one start; the copy by three, without any node, until its counts are greater.
    w.restart_zone();
    w.attach(volumes[1], host);
    (w.meta.pairs, w.meta.revision) = copy;
    let up: Vec<u64> = w.nodes.keys().map(|id| id.0).collect();
    up.iter().for_each(|n| w.kill(*n));
    for _ in 0..3 {
        w.restart_zone();
        w.meta.revision += 100;
    }
    up.iter().for_each(|n| w.restart(*n));
    assert!(w.zone.behind().is_some(), "it is another history");
}

#[test]
fn a_question_under_way_when_a_node_that_knows_better_comes_is_refused_too() {
    let (mut w, volumes, host) = zone_at_work();
    let copy = (w.meta.pairs.clone(), w.meta.revision);
    w.attach(volumes[1], host);
    let told = w.first(volumes[1]).primary.0;
    (w.meta.pairs, w.meta.revision) = copy;
    let up: Vec<u64> = w.nodes.keys().map(|id| id.0).collect();
    up.iter().for_each(|n| w.kill(*n));
    w.restart_zone();
    w.hosts.get_mut(&host).unwrap().willing = false;
    let waiting = w.ask(AttachVolume { volume: volumes[2], host: Some(host), read_only: false });
    assert_eq!(w.answer(waiting), None);
    w.restart(told);
    let (code, _) = World::refusal(&w.answer(waiting).expect("it is refused"));
    assert_eq!((code, w.zone.phase()), (ErrorCode::Outdated, &Phase::Ready));
}

#[test]
fn points_of_which_no_node_tells_are_not_taken_for_new_ones() {
    let (mut w, volumes, _) = zone_at_work();
    let volume = volumes[1];
    for request in 1..=3 {
        let answer = w.told(FreezeVolume { volume, request: RequestId(request) });
        assert!(matches!(answer, Message::VolumeReply(_)), "{answer:?}");
    }
    let lost = w.meta.revision;
    let nodes: Vec<u64> = w.nodes.keys().map(|id| id.0).collect();
    let rebuilt = listen(&w, &nodes, &[]).plan(MetaUuid(7));
    put(&mut w, &rebuilt);
    w.pass_ms(5000);
    assert_eq!(w.state(volume).points, []);
    let Message::VolumeReply(m) = w.told(FreezeVolume { volume, request: RequestId(1) }) else { panic!("not frozen") };
    // Each point that there was took a revision at least.
    let [point] = m.volumes[0].points[..] else { panic!("{:?}", m.volumes[0].points) };
    assert!(point.point > PointId(lost) && point.point < PointId(w.meta.revision), "{point:?} after {lost}");
    assert_eq!(point.condition, PointCondition::Made);
}
