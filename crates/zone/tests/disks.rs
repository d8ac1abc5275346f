//! Disks that are gone: what a node that comes with another one no longer has, in every role that a replica can be in.

pub(crate) mod world;

use base::time::Duration;
use base::*;
use wire::*;
use world::World;
use zone::Policy;

fn lose(w: &mut World, n: u64) {
    w.kill(n);
    w.restart_with_new_disk(n);
}

fn admit(w: &mut World, volume: VolumeId) {
    let c = w.first(volume);
    let outcome = w.propose(c.primary.0, w.admission(&c));
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "{outcome:?}");
}

#[test]
fn a_member_whose_disk_is_gone_is_shown_as_lost_until_it_is_counted_out() {
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    // Of a primary it takes a moment, since the others are expected to ask first.
    lose(&mut w, c.primary.0);
    w.pass_ms(100);
    let shown = w.state(volume);
    assert_eq!((shown.condition, &shown.shards[0].lost[..]), (VolumeCondition::StuckElecting, &[c.primary][..]));
    let node = w.node_state(c.primary.0);
    assert_eq!((node.replicas, node.reserved, node.held), (0, 0, 0), "nothing is counted for its new disk");
    w.pass_ms(2200);
    let shown = w.state(volume);
    assert_eq!((shown.condition, shown.shards[0].lost.len()), (VolumeCondition::Degraded, 0));
    assert!(shown.shards[0].config.holders.is_empty(), "nothing of it is kept or waited for");
}

#[test]
fn with_one_copy_left_a_new_one_is_made_at_once_and_otherwise_after_a_while() {
    let mut w = World::new(5);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let next = w.backup(&c, 0);
    lose(&mut w, next);
    w.pass(Duration::from_secs(60));
    assert_eq!(w.first(volume).learner, None);
    let c = w.first(volume);
    let next = w.backup(&c, 0);
    lose(&mut w, next);
    w.pass_ms(3000);
    let now = w.first(volume);
    assert!(now.members.len() == 1 && now.learner.is_some(), "{now:?}");
}

#[test]
fn a_last_member_that_restarts_below_min_copies_is_told_to_lead_on_although_nobody_else_comes_back() {
    let policy = Policy { remirror_after: Duration::from_secs(999), ..Policy::dev() };
    let mut w = World::with(3, policy, 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let other = w.backup(&c, 0);
    w.kill(other);
    w.pass_ms(7000);
    let short = w.first(volume);
    assert!(!short.has_min_copies() && short.primary == c.primary, "{short:?}");
    // What it was to its epoch it is no more after a restart: it fills nobody before it leads another one.
    w.restart_with_new_disk(other);
    w.kill(c.primary.0);
    w.restart(c.primary.0);
    w.pass_ms(5000);
    let now = w.first(volume);
    assert!(now.epoch > short.epoch && now.primary == c.primary && now.learner.is_some(), "{now:?}");
    w.pass_ms(60_000);
    assert_eq!(w.first(volume).epoch, now.epoch, "and once is enough");
}

#[test]
fn a_holder_and_a_learner_whose_disks_are_gone_are_forgotten_and_another_learns() {
    let mut w = World::with(5, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let away = w.backup(&c, 0);
    w.kill(away);
    w.pass_ms(6000);
    assert_eq!(w.first(volume).holders, [c.member_on(NodeId(away)).unwrap()]);
    w.restart_with_new_disk(away);
    w.pass_ms(100);
    assert!(w.first(volume).holders.is_empty());
    w.pass_ms(11_000);
    let learner = w.first(volume).learner.expect("another learns").member;
    lose(&mut w, learner.node.0);
    w.pass_ms(2000);
    let next = w.first(volume).learner.expect("and another");
    assert!(next.member != learner && w.first(volume).holders.is_empty());
    admit(&mut w, volume);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

#[test]
fn a_replica_that_was_to_go_is_gone_with_its_disk() {
    let mut w = World::with(4, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let lost = w.backup(&w.first(volume), 0);
    w.nodes.get_mut(&NodeId(lost)).unwrap().willing = false;
    w.kill(lost);
    w.pass_ms(17_000);
    w.restart(lost);
    admit(&mut w, volume);
    w.pass_ms(100);
    assert_eq!((w.released.len(), w.node_state(lost).held), (1, world::GIB));
    lose(&mut w, lost);
    w.pass_ms(20_000);
    assert_eq!((w.released.len(), w.node_state(lost).held), (1, 0), "nobody is asked again to drop what is gone");
}

#[test]
pub(crate) fn a_learner_that_was_given_up_before_it_knew_is_not_taken_for_empty_while_it_is_told_to_learn() {
    // Found by the simulator (seed 8233): what it was told was older than what was decided, it made its replica, and nobody asked for that again.
    let mut w = World::with(3, Policy::dev(), 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let spare = NodeId((1..=3).find(|n| c.member_on(NodeId(*n)).is_none()).unwrap());
    w.nodes.get_mut(&spare).unwrap().deaf = true;
    w.told(AlterNode { node: c.primary, order: NodeOrder::Drain });
    w.pass_ms(2_000);
    assert_eq!(w.first(volume).learner.map(|l| l.member.node), Some(spare));
    // Its node is not to leave after all. That nobody needs to learn then is decided, and takes its time to be durable.
    w.meta.stopped = true;
    w.ask(AlterNode { node: c.primary, order: NodeOrder::Undrain });
    w.nodes.get_mut(&spare).unwrap().deaf = false;
    w.kill(spare.0);
    w.restart(spare.0);
    w.meta.stopped = false;
    w.pass_ms(5_000);
    let now = w.first(volume);
    assert!(now.members.len() == 2 && now.learner.is_none(), "{now:?}");
    let keeps = w.nodes[&spare].replicas.contains(&c.shard);
    let named = now.holders.iter().any(|m| m.node == spare) || w.released.iter().any(|(_, m)| m.node == spare);
    assert_eq!((keeps, named), (false, true), "it made its replica, and is asked for it: {now:?}");
}

#[test]
fn when_every_disk_of_a_shard_is_gone_it_waits_and_is_never_made_anew_empty() {
    let mut w = World::with(4, Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    for member in &c.members {
        w.kill(member.node.0);
    }
    for member in &c.members {
        w.restart_with_new_disk(member.node.0);
    }
    w.pass(Duration::from_secs(120));
    let shown = w.state(volume);
    assert_eq!(shown.condition, VolumeCondition::StuckAwaitingMember);
    let now = w.first(volume);
    assert!(!now.newborn && now.learner.is_none(), "there is nobody to learn from: {now:?}");
    assert!(w.nodes.values().all(|n| n.replicas.is_empty()), "somebody made it anew");
    let nodes = w.node_states();
    assert!(nodes.iter().all(|n| n.condition == NodeCondition::Up), "nobody is held in quarantine by what is lost");
    // One of the disks turns up again, and carries it on.
    let primary = c.primary.0;
    let node = w.nodes.get_mut(&c.primary).unwrap();
    (node.member, node.replicas, node.configs) =
        (c.member_on(c.primary).unwrap(), [c.shard].into(), [(c.shard, c.clone())].into());
    w.kill(primary);
    w.restart(primary);
    w.pass(Duration::from_secs(30));
    let now = w.first(volume);
    assert!(now.member_on(c.primary) == c.member_on(c.primary) && now.learner.is_some(), "{now:?}");
    admit(&mut w, volume);
    assert_eq!(w.first(volume).members.len(), 2);
}
