//! Copies: how a lost one comes back or is replaced, and when what is kept may go.

mod world;

use base::time::Duration;
use base::*;
use wire::*;
use world::{GIB, World};

/// A short shard: one backup was dropped by its primary. Who it was.
fn short(w: &mut World, volume: VolumeId) -> u64 {
    let c = w.first(volume);
    let lost = w.backup(&c, 0);
    w.kill(lost);
    drop_member(w, volume, lost);
    lost
}

fn drop_member(w: &mut World, volume: VolumeId, lost: u64) {
    let c = w.first(volume);
    let members = c.members.iter().copied().filter(|m| m.node.0 != lost).collect();
    let (shard, epoch, primary) = (c.shard, c.epoch, c.primary);
    let cause = Cause::MemberLost { node: NodeId(lost) };
    let wish = Proposal { shard, epoch, primary, members, admit: None, cause };
    let outcome = w.propose(primary.0, wish);
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "{outcome:?}");
}

fn admit(w: &mut World, volume: VolumeId) {
    let c = w.first(volume);
    let outcome = w.propose(c.primary.0, w.admission(&c));
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "{outcome:?}");
}

#[test]
fn a_holder_that_comes_back_learns_at_once_and_is_a_member_again() {
    // R6
    let mut w = World::new(5);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    assert_eq!(w.state(volume).condition, VolumeCondition::Degraded);
    w.pass_ms(5000);
    assert_eq!(w.first(volume).learner, None, "its copy is not replaced before it had time to come back");
    w.restart(lost);
    let c = w.first(volume);
    let learner = c.learner.expect("it learns");
    assert_eq!((learner.member.node, c.holders.len()), (NodeId(lost), 0));
    admit(&mut w, volume);
    let whole = w.first(volume);
    assert_eq!((whole.members.len(), whole.anchors.len(), whole.learner), (3, 3, None));
    assert!(w.released.is_empty() && w.state(volume).condition == VolumeCondition::Ok);
}

#[test]
fn a_node_that_a_primary_has_just_admitted_is_not_counted_out_for_what_it_did_not_say_before() {
    // It hears its peers again, and its link to the authority is still to be opened.
    let mut w = World::with(5, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.restart(lost);
    assert!(w.first(volume).learner.is_some_and(|learner| learner.member.node.0 == lost));
    w.kill(lost);
    w.pass_ms(4900);
    admit(&mut w, volume);
    w.pass_ms(4900);
    assert_eq!(w.first(volume).members.len(), 3, "so long it is believed to be there");
    w.pass_ms(200);
    let c = w.first(volume);
    assert!(c.members.len() == 2 && c.member_on(NodeId(lost)).is_none(), "{c:?}");
}

#[test]
fn after_remirror_after_another_node_learns_and_only_when_the_shard_is_whole_the_holder_goes() {
    // R11, R13
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.pass(Duration::from_secs(15 * 60 - 1));
    assert_eq!(w.first(volume).learner, None);
    w.pass_ms(2000);
    let c = w.first(volume);
    let learner = c.learner.expect("another learns");
    assert!(c.member_on(learner.member.node).is_none() && learner.member.node.0 != lost);
    assert_eq!(c.holders.len(), 1);
    // The holder is back, too late to be needed and too early to go.
    w.restart(lost);
    w.pass_ms(3000);
    assert!(w.released.is_empty());
    admit(&mut w, volume);
    w.pass_ms(10);
    assert_eq!(w.released.iter().map(|(_, m)| m.node.0).collect::<Vec<_>>(), [lost]);
    let whole = w.first(volume);
    assert_eq!((whole.members.len(), whole.holders.len()), (3, 0));
    assert_eq!(w.node_state(lost).held, 0);
}

#[test]
fn a_holder_stays_until_the_whole_shard_serves() {
    // R13: the new epoch is not known to work before its primary says so.
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.pass(Duration::from_secs(15 * 60 + 1));
    w.restart(lost);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    admit(&mut w, volume);
    w.pass_ms(1500);
    let c = w.first(volume);
    assert_eq!((c.members.len(), c.holders.len(), w.released.len()), (3, 1, 0));
    w.serve(&c);
    w.run();
    assert_eq!((w.first(volume).holders.len(), w.released.len()), (0, 1));
}

#[test]
fn a_release_that_was_not_confirmed_is_sent_again_and_to_nobody_who_is_away() {
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.pass(Duration::from_secs(15 * 60 + 1));
    w.restart(lost);
    w.nodes.get_mut(&NodeId(lost)).unwrap().willing = false;
    admit(&mut w, volume);
    w.pass_ms(100);
    assert_eq!((w.released.len(), w.node_state(lost).held), (1, GIB));
    w.pass_ms(5100);
    assert_eq!(w.released.len(), 2);
    w.kill(lost);
    w.pass_ms(20_000);
    assert_eq!(w.released.len(), 2);
    w.nodes.get_mut(&NodeId(lost)).unwrap().willing = true;
    w.restart(lost);
    w.pass_ms(10);
    assert_eq!((w.released.len(), w.node_state(lost).held), (3, 0));
}

#[test]
fn what_was_to_go_is_needed_after_all_when_the_shard_is_short_again() {
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.pass(Duration::from_secs(15 * 60 + 1));
    w.restart(lost);
    w.nodes.get_mut(&NodeId(lost)).unwrap().willing = false;
    admit(&mut w, volume);
    let c = w.first(volume);
    assert_eq!(c.holders.len(), 0);
    let second = w.backup(&c, 0);
    w.kill(second);
    drop_member(&mut w, volume, second);
    let learner = w.first(volume).learner.expect("it learns what it still has");
    assert_eq!(learner.member.node.0, lost);
}

#[test]
fn a_shard_at_risk_does_not_wait() {
    let mut w = World::with(3, zone::Policy { min_copies: 1, ..zone::Policy::default() }, 1);
    let volume = w.volume(1, 2);
    short(&mut w, volume);
    assert_eq!(w.first(volume).learner, None, "whoever lost more than this one has half a second to say so");
    w.pass_ms(500);
    let c = w.first(volume);
    assert!(c.members.len() == 1 && c.learner.is_some(), "{c:?}");
    assert_eq!(w.state(volume).condition, VolumeCondition::AtRisk);
}

#[test]
fn below_min_copies_an_anchor_that_is_back_is_a_member_again_and_never_a_learner() {
    // I4, I7: learning begins by giving up what one has, and what an anchor has may carry the shard on.
    let mut w = World::with(4, zone::Policy { retry_cap: Duration::from_secs(600), ..zone::Policy::dev() }, 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let other = w.backup(&c, 0);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let mut gone = 0;
    for _ in 0..20 {
        w.kill(other);
        w.pass_ms(6000);
        let short = w.first(volume);
        if !short.has_min_copies() {
            gone += 1;
            assert!(short.anchors.iter().any(|m| m.node.0 == other));
        }
        w.restart(other);
        for _ in 0..10 {
            w.pass_ms(100);
            let now = w.first(volume);
            assert!(now.learner.is_none_or(|l| !now.anchors.contains(&l.member)), "{now:?}");
        }
    }
    assert!(gone > 0, "it was never short");
}

#[test]
fn an_anchor_that_has_only_a_part_of_its_replica_learns() {
    let mut w = World::with(2, zone::Policy::dev(), 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let other = w.backup(&c, 0);
    w.kill(other);
    w.pass_ms(6000);
    w.nodes.get_mut(&NodeId(other)).unwrap().standing = base::log::Standing::Learning { plan: 1, base: None };
    w.restart(other);
    w.pass_ms(100);
    let now = w.first(volume);
    assert_eq!((now.members.len(), now.learner.map(|l| l.member.node.0)), (1, Some(other)));
    admit(&mut w, volume);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

#[test]
fn an_anchor_that_comes_with_nothing_is_none_any_more() {
    let mut w = World::with(2, zone::Policy::dev(), 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let other = w.backup(&c, 0);
    w.kill(other);
    w.pass_ms(6000);
    assert_eq!(w.first(volume).anchors.len(), 2);
    w.nodes.get_mut(&NodeId(other)).unwrap().replicas.clear();
    w.restart(other);
    w.pass_ms(3000);
    let now = w.first(volume);
    assert_eq!((now.members.len(), now.anchors.len(), now.epoch.0), (1, 1, c.epoch.0 + 1));
    assert!(now.learner.is_some_and(|l| l.member.node.0 == other), "its node is as good as any: {now:?}");
}

#[test]
fn a_member_that_will_not_come_back_is_counted_out_and_replaced() {
    let mut w = World::with(4, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let lost = w.backup(&c, 0);
    w.kill(lost);
    w.pass_ms(4000);
    assert_eq!(w.first(volume).members.len(), 3);
    w.pass_ms(1500);
    assert_eq!(w.node_state(lost).condition, NodeCondition::Failed);
    assert_eq!((w.first(volume).members.len(), w.first(volume).learner), (2, None));
    w.pass_ms(10_000);
    assert!(w.first(volume).learner.is_some());
}

#[test]
fn a_learner_whose_node_fails_is_given_up_and_another_chosen() {
    let mut w = World::with(5, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let lost = short(&mut w, volume);
    w.pass_ms(11_000);
    let first = w.first(volume).learner.unwrap();
    w.kill(first.member.node.0);
    w.pass_ms(8000);
    let c = w.first(volume);
    let next = c.learner.expect("another learns");
    assert!(next.member != first.member && next.plan > first.plan && next.member.node.0 != lost);
    assert_eq!(c.holders.len(), 2);
    assert_eq!(w.node_state(first.member.node.0).held, GIB, "what it has so far is kept");
}

#[test]
fn a_learner_that_does_not_come_on_is_given_up_and_one_that_does_is_not() {
    let mut w = World::with(4, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    short(&mut w, volume);
    w.pass_ms(11_000);
    let plan = w.first(volume).learner.unwrap().plan;
    for second in 1..20 {
        w.pass_ms(1000);
        let c = w.first(volume);
        let condition = ShardCondition::Serving;
        let (shard, epoch) = (c.shard, c.epoch);
        let report =
            ShardReport { shard, epoch, condition, committed: Sequence(0), learned_blocks: second, filling: None };
        w.report(c.primary.0, vec![report]);
        w.run();
        assert_eq!(w.first(volume).learner.map(|l| l.plan), Some(plan), "it comes on");
    }
    w.pass_ms(6500);
    assert_ne!(w.first(volume).learner.map(|l| l.plan), Some(plan), "it stands still");
    let again = (0..60).any(|_| {
        w.pass_ms(500);
        w.first(volume).learner.is_some_and(|l| l.plan > plan)
    });
    assert!(again, "and is tried again");
    let before = w.first(volume).revision;
    w.pass_ms(600_000);
    let writes = w.first(volume).revision.0 - before.0;
    assert!((4..60).contains(&writes), "{writes} changes in ten minutes in which nothing comes on");
}

#[test]
fn a_learner_that_nobody_can_fill_keeps_nobody_waiting() {
    let mut w = World::with(3, zone::Policy { learn_in_max: 1, ..zone::Policy::dev() }, 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    w.kill(w.backup(&c, 0));
    w.pass_ms(6000);
    let short = w.first(volume);
    assert!(short.learner.is_some() && short.primary == c.primary);
    w.kill(c.primary.0);
    w.pass_ms(6000);
    assert_eq!(w.first(volume).learner, None);
}

#[test]
fn a_stale_admission_admits_nobody() {
    let mut w = World::with(5, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    short(&mut w, volume);
    w.pass_ms(11_000);
    let stale = w.admission(&w.first(volume));
    let learner = w.first(volume).learner.unwrap().member.node.0;
    w.kill(learner);
    w.pass_ms(9000);
    let c = w.first(volume);
    let outcome = w.propose(c.primary.0, stale.clone());
    assert!(matches!(outcome, Some(ProposalOutcome::Superseded { .. })), "{outcome:?}");
    let without_plan = Proposal { admit: None, cause: Cause::Restarted, ..w.admission(&c) };
    let outcome = w.propose(c.primary.0, without_plan);
    assert_eq!(outcome, Some(ProposalOutcome::Unsafe { shard: c.shard }));
    assert_eq!(w.first(volume).members.len(), 2);
}

#[test]
fn few_learn_at_a_time() {
    let policy = zone::Policy { shard_blocks: 1 << 18, ..zone::Policy::dev() };
    let mut w = World::with(4, policy, 1);
    let volume = w.volume(20, 3);
    let counts = |w: &World| {
        let mut loads = std::collections::BTreeMap::<(&str, NodeId), u32>::new();
        for c in w.zone.configurations() {
            if let Some(learner) = c.learner {
                *loads.entry(("in", learner.member.node)).or_default() += 1;
                *loads.entry(("out", c.primary)).or_default() += 1;
            }
        }
        assert!(loads.values().all(|n| *n <= 2), "{loads:?}");
        loads.values().sum::<u32>() / 2
    };
    w.kill(1);
    let mut most = 0;
    for _ in 0..200 {
        w.pass_ms(500);
        most = most.max(counts(&w));
        let learning: Vec<Configuration> = w.zone.configurations().filter(|c| c.learner.is_some()).cloned().collect();
        for c in learning {
            w.propose(c.primary.0, w.admission(&c));
            counts(&w);
        }
    }
    assert!(most > 1, "several learn at once");
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

#[test]
fn few_learn_at_a_time_also_where_nobody_else_could_and_nothing_comes_of_it() {
    let policy = zone::Policy { shard_blocks: 1 << 18, learn_in_max: 1, ..zone::Policy::dev() };
    let mut w = World::with(3, policy, 1);
    w.volume(20, 3);
    w.kill(1);
    // Nobody asks for it, so the authority counts it out by itself.
    w.pass_ms(60_000);
    w.restart(1);
    let mut plans = std::collections::BTreeSet::new();
    for _ in 0..600 {
        w.pass_ms(500);
        let learning = w.zone.configurations().filter_map(|c| Some((c.shard, c.learner?)));
        let learning: Vec<_> = learning.map(|(shard, learner)| (shard, learner.plan)).collect();
        assert!(learning.len() <= 1, "{learning:?}");
        plans.extend(learning);
    }
    assert!(plans.len() > 20, "all were tried, some again and again: {}", plans.len());
}

#[test]
fn a_node_that_failed_takes_nothing_new_before_each_of_its_own_is_settled() {
    // R21
    let mut w = World::with(4, zone::Policy { learn_in_max: 1, ..zone::Policy::dev() }, 1);
    let volumes: Vec<VolumeId> = (0..3).map(|_| w.volume(1, 3)).collect();
    let lost = 4;
    let mine: Vec<VolumeId> =
        volumes.iter().copied().filter(|v| w.first(*v).member_on(NodeId(lost)).is_some()).collect();
    assert!(!mine.is_empty());
    w.kill(lost);
    w.pass_ms(6000);
    w.restart(lost);
    assert_eq!(w.node_state(lost).condition, NodeCondition::Quarantined);
    let answer = w.told(CreateVolume { request: RequestId(99), size: GIB, copies: 4, throttle: Throttle::default() });
    assert_eq!(World::refusal(&answer).0, ErrorCode::Unavailable);
    w.restart_zone();
    assert_eq!(w.node_state(lost).condition, NodeCondition::Quarantined, "through a restart of the authority too");
    for _ in 0..100 {
        w.pass_ms(500);
        let learning: Vec<Configuration> = w.zone.configurations().filter(|c| c.learner.is_some()).cloned().collect();
        for c in learning {
            assert_eq!(w.node_state(lost).condition, NodeCondition::Quarantined);
            w.propose(c.primary.0, w.admission(&c));
        }
    }
    assert_eq!(w.node_state(lost).condition, NodeCondition::Up);
    let answer = w.told(CreateVolume { request: RequestId(100), size: GIB, copies: 4, throttle: Throttle::default() });
    assert!(matches!(answer, Message::VolumeReply(_)), "{answer:?}");
}

#[test]
fn nothing_is_released_on_a_node_in_quarantine_and_quarantine_ends_all_the_same() {
    // R13, R21: no deadlock.
    let mut w = World::with(5, zone::Policy::dev(), 1);
    let (a, b) = (w.volume(1, 3), w.volume(1, 3));
    let both = |w: &World| {
        let of = |v| w.first(v).members.iter().map(|m| m.node.0).collect::<Vec<_>>();
        let second = of(b);
        of(a).into_iter().find(|n| second.contains(n))
    };
    let lost = both(&w).expect("three of five and three of five share one");
    w.kill(lost);
    w.pass_ms(15_500);
    // One is whole without it, the other is not.
    let (ca, cb) = (w.first(a), w.first(b));
    assert!(ca.learner.is_some() && cb.learner.is_some());
    w.propose(ca.primary.0, w.admission(&ca));
    w.restart(lost);
    w.pass_ms(3000);
    assert_eq!((w.node_state(lost).condition, w.released.len()), (NodeCondition::Quarantined, 0));
    let cb = w.first(b);
    w.propose(cb.primary.0, w.admission(&cb));
    w.pass_ms(3000);
    assert_eq!((w.node_state(lost).condition, w.released.len()), (NodeCondition::Up, 2));
    assert_eq!(w.node_state(lost).held, 0);
}

#[test]
fn a_node_with_another_disk_has_lost_what_was_on_the_old_one() {
    let mut w = World::with(3, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let old = w.first(volume);
    let lost = w.backup(&old, 0);
    w.kill(lost);
    w.restart_with_new_disk(lost);
    w.pass_ms(100);
    let c = w.first(volume);
    assert_eq!((c.members.len(), c.holders.len()), (2, 0));
    w.pass_ms(11_000);
    let learner = w.first(volume).learner.expect("its new disk is as good as any");
    assert_eq!(learner.member, w.nodes[&NodeId(lost)].member);
    // The old disk comes back: what it has is kept until the shard is whole, and then it goes.
    w.nodes.get_mut(&NodeId(lost)).unwrap().member = old.member_on(NodeId(lost)).unwrap();
    w.nodes.get_mut(&NodeId(lost)).unwrap().replicas = [old.shard].into();
    w.nodes.get_mut(&NodeId(lost)).unwrap().configs = [(old.shard, old.clone())].into();
    w.restart(lost);
    w.pass_ms(1000);
    let c = w.first(volume);
    assert_eq!(c.learner.map(|l| l.member), old.member_on(NodeId(lost)));
    admit(&mut w, volume);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

#[test]
fn when_the_disk_of_the_primary_is_gone_another_leads() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    w.kill(c.primary.0);
    w.restart_with_new_disk(c.primary.0);
    w.pass_ms(2200);
    let now = w.first(volume);
    assert_eq!((now.members.len(), now.primary != c.primary), (2, true));
}
