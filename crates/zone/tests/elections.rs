//! Who leads a shard, and who is believed.

mod world;

use base::sometimes::Sometimes;
use base::*;
use std::collections::BTreeSet;
use wire::*;
use world::World;

/// Five nodes and a volume of three copies that serves, attached to a host.
fn attached() -> (World, VolumeId, HostId) {
    let mut w = World::new(5);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    (w, volume, host)
}

fn granted(outcome: Option<ProposalOutcome>) -> Configuration {
    match outcome {
        Some(ProposalOutcome::Granted { config }) => config,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn a_backup_whose_primary_is_gone_is_granted_the_next_epoch_at_once() {
    // R14, R18
    let (mut w, volume, host) = attached();
    let c = w.first(volume);
    w.kill(c.primary.0);
    let to = w.backup(&c, 0);
    let new = granted(w.propose(to, w.fail_over(&c, to)));
    assert_eq!((new.epoch, new.primary, new.members.len()), (c.epoch.next(), NodeId(to), 2));
    let old = c.member_on(c.primary).unwrap();
    assert_eq!((&new.holders[..], &new.anchors), (&[old][..], &new.members));
    assert_eq!(w.hosts[&host].configs[&c.shard].epoch, new.epoch, "the client is told");
    assert_eq!(w.nodes[&NodeId(w.backup(&c, 1))].configs[&c.shard].epoch, new.epoch, "and so is every member");
    // The same wish once more is granted once more: the answer may have been lost.
    assert_eq!(granted(w.propose(to, w.fail_over(&c, to))).epoch, new.epoch);
}

#[test]
fn the_second_wish_against_an_epoch_is_superseded_by_what_the_first_made() {
    // R18: at most one primary in an epoch.
    let (mut w, volume, _) = attached();
    let c = w.first(volume);
    w.kill(c.primary.0);
    let (one, two) = (w.backup(&c, 0), w.backup(&c, 1));
    let new = granted(w.propose(one, w.fail_over(&c, one)));
    let late = w.propose(two, w.fail_over(&c, two));
    assert!(matches!(late, Some(ProposalOutcome::Superseded { config }) if config.primary == new.primary));
    assert_eq!(w.first(volume).epoch, new.epoch);
}

#[test]
fn a_lone_accuser_of_a_primary_that_reports_is_not_believed_and_leaves() {
    let (mut w, volume, _) = attached();
    let c = w.first(volume);
    let accuser = w.backup(&c, 0);
    assert_eq!(w.propose(accuser, w.fail_over(&c, accuser)), None, "it waits for a second");
    w.pass_ms(600);
    assert_eq!(w.nodes[&NodeId(accuser)].outcomes, [ProposalOutcome::NotBelieved { shard: c.shard }]);
    let now = w.first(volume);
    assert_eq!((now.primary, now.epoch, now.member_on(NodeId(accuser))), (c.primary, c.epoch.next(), None));
}

#[test]
fn a_lone_accuser_stays_when_too_few_would_remain_without_it() {
    let mut w = World::new(3);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let accuser = w.backup(&c, 0);
    let wish = Proposal { members: c.members.clone(), ..w.fail_over(&c, accuser) };
    assert_eq!(w.propose(accuser, wish), None);
    w.pass_ms(600);
    assert_eq!(w.nodes[&NodeId(accuser)].outcomes, [ProposalOutcome::NotBelieved { shard: c.shard }]);
    assert_eq!(w.first(volume).epoch, c.epoch);
}

#[test]
fn an_accuser_is_believed_when_the_client_waits_too() {
    // R19: three parties. By Locate, or by the host's report.
    for by_report in [false, true] {
        let (mut w, volume, host) = attached();
        let c = w.first(volume);
        let to = w.backup(&c, 0);
        assert_eq!(w.propose(to, w.fail_over(&c, to)), None);
        let (shard, epoch) = (c.shard, c.epoch);
        if by_report {
            let stuck = vec![StuckShard { shard, epoch, waiting_ms: 250 }];
            w.say(base::io::net::Peer::Host(host), HostReport { stuck, throttled: vec![] });
        } else {
            w.say(base::io::net::Peer::Host(host), Locate { shard, epoch, waiting_ms: 250 });
        }
        w.run();
        assert_eq!(w.first(volume).primary, NodeId(to));
        assert!(matches!(w.nodes[&NodeId(to)].outcomes[..], [ProposalOutcome::Granted { .. }]));
    }
}

#[test]
fn a_question_of_somebody_else_or_of_another_epoch_is_no_complaint() {
    let (mut w, volume, host) = attached();
    let stranger = w.add_host(2);
    let c = w.first(volume);
    let to = w.backup(&c, 0);
    assert_eq!(w.propose(to, w.fail_over(&c, to)), None);
    let (shard, epoch) = (c.shard, c.epoch);
    w.say(base::io::net::Peer::Host(stranger), Locate { shard, epoch, waiting_ms: 250 });
    w.say(base::io::net::Peer::Host(host), Locate { shard, epoch: Epoch(epoch.0 - 1), waiting_ms: 250 });
    w.say(base::io::net::Peer::Host(host), Locate { shard, epoch, waiting_ms: 0 });
    w.say(base::io::net::Peer::Node(c.primary), Locate { shard, epoch, waiting_ms: 9 });
    w.run();
    assert_eq!(w.first(volume).epoch, epoch);
}

#[test]
fn two_members_together_are_believed_and_so_is_one_when_the_primary_was_frozen_or_restarted() {
    let (mut w, volume, _) = attached();
    let c = w.first(volume);
    let (one, two) = (w.backup(&c, 0), w.backup(&c, 1));
    assert_eq!(w.propose(one, w.fail_over(&c, one)), None);
    granted(w.propose(two, w.fail_over(&c, two)));
    assert!(matches!(w.nodes[&NodeId(one)].outcomes[..], [ProposalOutcome::Superseded { .. }]));

    let (mut w, volume, _) = attached();
    let c = w.first(volume);
    w.nodes.get_mut(&c.primary).unwrap().frozen = true;
    w.pass_ms(1600);
    let to = w.backup(&c, 0);
    granted(w.propose(to, w.fail_over(&c, to)));

    let (mut w, volume, _) = attached();
    w.pass_ms(10);
    let c = w.first(volume);
    w.restart(c.primary.0);
    let to = w.backup(&c, 0);
    granted(w.propose(to, w.fail_over(&c, to)));
}

#[test]
fn what_cannot_carry_the_shard_on_is_unsafe() {
    // I4
    let (mut w, volume, _) = attached();
    let c = w.first(volume);
    let to = w.backup(&c, 0);
    let outsider = w.nodes.values().find(|n| c.member_on(n.member.node).is_none()).unwrap().member;
    w.kill(c.primary.0);
    let good = w.fail_over(&c, to);
    let with = |change: &dyn Fn(&mut Proposal)| {
        let mut p = good.clone();
        change(&mut p);
        p
    };
    let bad = [
        with(&|p| p.members.push(outsider)),
        with(&|p| p.primary = outsider.node),
        with(&|p| p.members.clear()),
        with(&|p| p.members.push(p.members[0])),
        with(&|p| p.members[0].store = StoreUuid(5)),
        with(&|p| p.primary = c.primary),
        with(&|p| p.cause = Cause::Learned),
        with(&|p| p.cause = Cause::MemberLost { node: NodeId(to) }),
        with(&|p| p.epoch = Epoch(99)),
    ];
    for p in &bad[..8] {
        let outcome = w.propose(to, p.clone());
        assert_eq!(outcome, Some(ProposalOutcome::Unsafe { shard: c.shard }), "{p:?}");
    }
    let stale = with(&|p| p.admit = Some(4));
    assert!(matches!(w.propose(to, stale), Some(ProposalOutcome::Superseded { .. })));
    let stranger = w.propose(outsider.node.0, good.clone());
    assert!(matches!(stranger, Some(ProposalOutcome::Superseded { .. })));
    let unknown = ShardId { volume: VolumeId(1), index: 0 };
    let outcome = w.propose(to, Proposal { shard: unknown, ..good.clone() });
    assert_eq!(outcome, Some(ProposalOutcome::UnknownShard { shard: unknown }));
    assert_eq!(w.first(volume).epoch, c.epoch);
    // An epoch that the metadata do not have means that they are old: from then on nothing is decided on them.
    assert_eq!(w.propose(to, bad[8].clone()), Some(ProposalOutcome::Unsafe { shard: c.shard }));
    assert_eq!(w.propose(to, good), Some(ProposalOutcome::Unsafe { shard: c.shard }));
    assert!(Sometimes::ProposalIsAhead.count() > 0);
}

#[test]
fn a_primary_drops_a_backup_and_one_that_is_not_whole_is_no_anchor_any_more() {
    let mut w = World::new(3);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let lost = NodeId(w.backup(&c, 0));
    let (shard, epoch, primary) = (c.shard, c.epoch, c.primary);
    let members = vec![c.member_on(primary).unwrap()];
    let cause = Cause::MemberIncomplete { node: lost };
    let wish = Proposal { shard, epoch, primary, members: members.clone(), admit: None, cause };
    let new = granted(w.propose(primary.0, wish));
    assert_eq!((new.members, new.anchors, new.holders.len()), (members.clone(), members, 1));
    assert_eq!(w.state(volume).condition, VolumeCondition::StuckAwaitingMember);
}

#[test]
fn below_min_copies_a_member_that_returns_is_taken_back_without_a_wish() {
    // Rule 11: any complete member of the last configuration that had enough.
    let policy = zone::Policy { remirror_after: core::time::Duration::from_secs(999), ..zone::Policy::dev() };
    let mut w = World::with(2, policy, 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let gone = w.backup(&c, 0);
    w.kill(gone);
    w.pass_ms(7000);
    let short = w.first(volume);
    assert_eq!((short.members.len(), short.anchors.len(), short.primary), (1, 2, c.primary));
    w.restart(gone);
    w.pass_ms(1000);
    let back = w.first(volume);
    assert_eq!((back.members.len(), back.anchors.len(), back.holders.len()), (2, 2, 0));
    assert!(back.epoch > short.epoch && w.state(volume).condition == VolumeCondition::Ok);
    // The other way round: the one that was primary fails, and the other leads what is left until it is back.
    w.kill(back.primary.0);
    w.pass_ms(9000);
    let other = w.first(volume);
    assert_eq!((other.members.len(), other.primary != back.primary), (1, true));
    w.restart(back.primary.0);
    w.pass_ms(3000);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

#[test]
fn after_a_general_restart_everything_is_led_again_with_or_without_wishes() {
    let mut w = World::new(3);
    let volumes: Vec<VolumeId> = (0..4).map(|_| w.volume(1, 3)).collect();
    let before: Vec<Configuration> = volumes.iter().map(|v| w.first(*v)).collect();
    (1..=3).for_each(|n| w.kill(n));
    w.restart_zone();
    (1..=3).for_each(|n| w.restart(n));
    let c = before[0].clone();
    let wish = Proposal {
        shard: c.shard,
        epoch: c.epoch,
        primary: c.primary,
        members: c.members.clone(),
        admit: None,
        cause: Cause::Restarted,
    };
    assert_eq!(granted(w.propose(c.primary.0, wish)).epoch, c.epoch.next());
    w.pass_ms(1900);
    assert_eq!(w.first(volumes[1]).epoch, before[1].epoch, "the nodes have their time to wish");
    w.pass_ms(400);
    for (volume, old) in volumes.iter().zip(&before) {
        let c = w.first(*volume);
        assert_eq!((c.epoch, c.members.len()), (old.epoch.next(), 3));
        assert_eq!(w.state(*volume).condition, VolumeCondition::Ok);
    }
}

#[test]
fn a_shard_whose_primary_is_gone_and_for_which_nobody_asks_is_led_on() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    w.kill(c.primary.0);
    assert_eq!(w.state(volume).condition, VolumeCondition::StuckElecting);
    w.pass_ms(2100);
    let new = w.first(volume);
    assert_eq!(
        (new.epoch, new.members.len(), w.state(volume).condition),
        (c.epoch.next(), 2, VolumeCondition::Degraded)
    );
}

#[test]
fn a_primary_that_never_says_that_it_leads_is_replaced_and_not_too_often() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let c = w.first(volume);
    w.kill(c.primary.0);
    w.restart(c.primary.0);
    w.pass_ms(120_000);
    let tries = w.first(volume).epoch.0 - c.epoch.0;
    assert!((3..20).contains(&tries), "{tries} elections in two minutes");
    w.nodes.values_mut().for_each(|n| n.willing = true);
    w.pass_ms(60_000);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}

/// These nodes start again, all their replicas suspect: they lead nothing and wish for nothing.
fn restart_suspect(w: &mut World, nodes: &[u64]) {
    nodes.iter().for_each(|n| w.kill(*n));
    for n in nodes {
        let node = w.nodes.get_mut(&NodeId(*n)).unwrap();
        (node.standing, node.willing) = (base::log::Standing::Suspect, false);
        w.restart(*n);
    }
}

#[test]
fn a_suspect_primary_is_not_chosen_again_and_is_shown() {
    // Rule 12.
    for seed in 0..8 {
        let mut w = World::with(3, zone::Policy::dev(), seed);
        let volume = w.volume(1, 3);
        let c = w.first(volume);
        let other = w.backup(&c, 0);
        restart_suspect(&mut w, &[c.primary.0, other]);
        let shown = w.state(volume).shards[0].suspect.clone();
        assert_eq!(BTreeSet::from_iter(shown), BTreeSet::from([c.primary, NodeId(other)]));
        w.pass_ms(20_000);
        let new = w.first(volume);
        assert!(new.epoch > c.epoch && new.primary == NodeId(w.backup(&c, 1)), "{new:?}");
    }
}

#[test]
fn a_suspect_member_that_was_left_out_and_filled_anew_is_a_member_like_any() {
    let mut w = World::with(3, zone::Policy::dev(), 1);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let bad = w.backup(&c, 0);
    restart_suspect(&mut w, &[bad]);
    let rest: Vec<Member> = c.members.iter().copied().filter(|m| m.node.0 != bad).collect();
    let cause = Cause::MemberIncomplete { node: NodeId(bad) };
    let wish = Proposal { shard: c.shard, epoch: c.epoch, primary: c.primary, members: rest, admit: None, cause };
    granted(w.propose(c.primary.0, wish));
    assert!(w.state(volume).shards[0].suspect.is_empty(), "it is no member");
    w.pass_ms(1000);
    let learning = w.first(volume);
    assert_eq!(learning.learner.map(|l| l.member.node.0), Some(bad), "what it has is not enough, whatever it was");
    granted(w.propose(learning.primary.0, w.admission(&learning)));
    assert_eq!((w.state(volume).condition, w.state(volume).shards[0].suspect.len()), (VolumeCondition::Ok, 0));
}

#[test]
fn a_suspect_anchor_of_a_shard_below_min_copies_is_filled_and_carries_nothing_on() {
    let mut w = World::with(2, zone::Policy::dev(), 1);
    let volume = w.volume(1, 2);
    let c = w.first(volume);
    let other = w.backup(&c, 0);
    w.kill(other);
    w.pass_ms(6000);
    assert_eq!(w.first(volume).members.len(), 1);
    w.nodes.get_mut(&NodeId(other)).unwrap().standing = base::log::Standing::Suspect;
    w.restart(other);
    w.pass_ms(100);
    let now = w.first(volume);
    assert_eq!((now.members.len(), now.learner.map(|l| l.member.node.0)), (1, Some(other)));
}

#[test]
fn a_shard_of_which_all_members_are_suspect_waits_and_says_so() {
    // Electing the one with the greatest end would need an operator's word; until there is one, nothing is served that may be older than what was
    // acknowledged.
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    restart_suspect(&mut w, &[1, 2, 3]);
    w.pass_ms(30_000);
    let state = w.state(volume);
    assert_eq!((w.first(volume).epoch, state.condition), (c.epoch, VolumeCondition::StuckAwaitingMember));
    assert_eq!(state.shards[0].suspect.len(), 3);
}

#[test]
fn an_authority_that_stood_still_takes_nobody_for_silent_who_is_only_heard_later_in_the_same_turn() {
    // Simulator seed 84: what was looked at between the first word after the pause and the primary's own stayed stuck for ever.
    let mut w = World::new(4);
    let volume = w.volume(1, 3);
    let c = w.first(volume);
    let (primary, lost, other) = (c.primary.0, w.backup(&c, 0), w.backup(&c, 1));
    w.now = Time(w.now.0 + 5_000_000_000);
    w.down(base::io::net::Peer::Node(NodeId(lost)));
    w.report(other, vec![]);
    w.report(primary, vec![]);
    w.run();
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}
