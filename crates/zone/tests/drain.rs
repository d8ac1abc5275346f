//! Draining: all that a node has is made anew elsewhere first, then it leaves; it can be taken back, goes on after restarts, and ends with a node that can be forgotten.

mod world;

use base::*;
use wire::*;
use world::{GIB, World};
use zone::Policy;

fn drain(w: &mut World, n: u64, order: NodeOrder) -> Result<NodeState, (ErrorCode, String)> {
    match w.told(AlterNode { node: NodeId(n), order }) {
        Message::NodeReply(m) => Ok(m.nodes[0].clone()),
        refused => Err(World::refusal(&refused)),
    }
}

fn admit(w: &mut World, shard: ShardId) {
    let c = w.config(shard);
    let outcome = w.propose(c.primary.0, w.admission(&c));
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "{outcome:?}");
}

/// Admits whoever learns until nobody does. What must hold on the way is checked each time.
fn fill(w: &mut World) {
    for _ in 0..100 {
        w.pass_ms(1000);
        let learning: Vec<ShardId> = w.zone.configurations().filter(|c| c.learner.is_some()).map(|c| c.shard).collect();
        for c in w.zone.configurations() {
            assert!(c.members.len() >= usize::from(c.target_copies), "a copy less for it: {c:?}");
        }
        if learning.is_empty() {
            return;
        }
        learning.into_iter().for_each(|shard| admit(w, shard));
    }
    panic!("it never ends");
}

#[test]
fn a_node_is_drained_copy_by_copy_primaries_too_and_then_forgotten() {
    let mut w = World::new(5);
    let volumes: Vec<VolumeId> = (0..6).map(|_| w.volume(1, 3)).collect();
    let n = w.first(volumes[0]).primary.0;
    let before = w.node_state(n);
    assert!(before.primaries > 0 && before.drain.is_none());
    let state = drain(&mut w, n, NodeOrder::Drain).unwrap();
    assert_eq!(state.drain, Some(Drain { replicas: before.replicas, bytes: before.reserved }));
    // Within the bounds for all copies.
    let learning = w.zone.configurations().filter(|c| c.learner.is_some()).count();
    assert!(learning > 0 && w.zone.configurations().all(|c| c.members.len() == 3));
    fill(&mut w);
    let state = w.node_state(n);
    assert_eq!((state.drain, state.replicas, state.primaries), (Some(Drain { replicas: 0, bytes: 0 }), 0, 0));
    assert!(w.released.iter().all(|(_, m)| m.node.0 == n) && !w.released.is_empty());
    assert!(volumes.iter().all(|v| w.state(*v).condition == VolumeCondition::Ok));
    // It takes nothing new.
    let more = w.volume(1, 3);
    assert!(w.first(more).member_on(NodeId(n)).is_none());
    let (code, text) = drain(&mut w, n, NodeOrder::Remove).unwrap_err();
    assert!(code == ErrorCode::InUse && text.contains("its process runs"), "{text}");
    w.kill(n);
    let Message::NodeReply(m) = w.told(AlterNode { node: NodeId(n), order: NodeOrder::Remove }) else {
        panic!("refused")
    };
    assert!(m.nodes.is_empty() && w.node_states().len() == 4);
    assert!(w.nodes[&NodeId(if n == 1 { 2 } else { 1 })].directory.iter().all(|id| id.0 != n));
    w.restart_zone();
    assert_eq!(w.node_states().len(), 4, "it was forgotten for good");
    // Should it come all the same, it is a new node.
    w.restart(n);
    assert!(w.node_state(n).drain.is_none());
}

#[test]
fn a_drain_goes_on_after_restarts_of_the_zone_and_of_the_node() {
    let mut w = World::new(5);
    let volume = w.volume(1, 3);
    let n = w.backup(&w.first(volume), 0);
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    w.restart_zone();
    w.pass_ms(100);
    assert!(w.node_state(n).drain.is_some());
    w.kill(n);
    w.restart(n);
    w.pass_ms(100);
    assert!(w.node_state(n).drain.is_some() && w.first(volume).learner.is_some());
    fill(&mut w);
    assert_eq!(w.node_state(n).drain, Some(Drain { replicas: 0, bytes: 0 }));
}

#[test]
fn a_drain_that_is_taken_back_leaves_as_many_copies_as_wanted() {
    let mut w = World::new(5);
    let volume = w.volume(1, 3);
    let n = w.backup(&w.first(volume), 0);
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    assert!(w.first(volume).learner.is_some());
    // While another learns: it is not needed any more.
    assert_eq!(drain(&mut w, n, NodeOrder::Undrain).unwrap().drain, None);
    w.pass_ms(1000);
    let c = w.first(volume);
    assert_eq!((c.learner, c.members.len(), c.member_on(NodeId(n)).is_some()), (None, 3, true));
    // After another was admitted, and before this one left.
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    w.pass_ms(40_000);
    w.nodes.values_mut().for_each(|node| node.willing = false);
    admit(&mut w, c.shard);
    assert_eq!(w.first(volume).members.len(), 4);
    drain(&mut w, n, NodeOrder::Undrain).unwrap();
    w.nodes.values_mut().for_each(|node| node.willing = true);
    let c = w.first(volume);
    w.serve(&c);
    w.pass_ms(2000);
    assert_eq!(w.first(volume).members.len(), 3);
}

#[test]
fn a_drain_that_was_taken_back_may_begin_again_though_every_other_node_has_a_copy_by_now() {
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let n = w.backup(&w.first(volume), 0);
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    assert!(w.first(volume).learner.is_some());
    // Another is admitted, and this one has not left yet.
    w.nodes.values_mut().for_each(|node| node.willing = false);
    let shard = w.first(volume).shard;
    admit(&mut w, shard);
    drain(&mut w, n, NodeOrder::Undrain).unwrap();
    let c = w.first(volume);
    assert_eq!(c.members.len(), 4);
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    w.nodes.values_mut().for_each(|node| node.willing = true);
    w.serve(&c);
    fill(&mut w);
    let c = w.first(volume);
    assert!(c.members.len() == 3 && c.member_on(NodeId(n)).is_none(), "{c:?}");
    assert_eq!(w.node_state(n).drain, Some(Drain { replicas: 0, bytes: 0 }));
}

#[test]
fn a_member_leaves_only_when_the_shard_serves_and_all_others_are_there() {
    let mut w = World::new(5);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let n = c.primary.0;
    drain(&mut w, n, NodeOrder::Drain).unwrap();
    w.nodes.values_mut().for_each(|node| node.willing = false);
    admit(&mut w, c.shard);
    w.pass_ms(500);
    let four = w.first(volume);
    assert_eq!((four.members.len(), four.primary), (4, c.primary), "nobody says yet that it serves");
    let away = w.backup(&four, 0);
    w.nodes.get_mut(&NodeId(away)).unwrap().frozen = true;
    w.pass_ms(1800);
    w.serve(&four);
    w.run();
    assert_eq!(w.first(volume).members.len(), 4, "one of the others is not there");
    w.nodes.get_mut(&NodeId(away)).unwrap().frozen = false;
    w.pass_ms(1500);
    let now = w.first(volume);
    assert!(now.members.len() == 3 && now.member_on(NodeId(n)).is_none() && now.primary.0 != n, "{now:?}");
}

#[test]
fn a_drain_for_which_there_is_no_room_elsewhere_is_refused_with_the_numbers() {
    let mut w = World::with(0, Policy::default(), 1);
    for n in 1..=4 {
        w.add_node(n, &format!("r{n}"), if n == 4 { GIB } else { 10 * GIB });
    }
    w.run();
    w.volume(2, 3);
    let (code, text) = drain(&mut w, 1, NodeOrder::Drain).unwrap_err();
    assert_eq!(code, ErrorCode::NoRoom);
    for word in ["node-1 cannot be drained", "2GiB", "node-4 1GiB"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(w.node_state(1).drain.is_none());
    // A node that holds nothing needs no room.
    assert_eq!(drain(&mut w, 4, NodeOrder::Drain).unwrap().drain, Some(Drain { replicas: 0, bytes: 0 }));
    assert_eq!(drain(&mut w, 9, NodeOrder::Drain).unwrap_err().0, ErrorCode::NotFound);
    let (code, text) = drain(&mut w, 1, NodeOrder::Remove).unwrap_err();
    assert!(code == ErrorCode::InUse && text.contains("1 replicas of 2GiB"), "{text}");
}
