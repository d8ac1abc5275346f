//! The protocol in stories of a few machines, about ten lines each. Each says which rule of ARCHITECTURE.md it is about.

mod world;

use base::sometimes::Sometimes;
use base::{Generation, Sequence};
use std::time::Duration;
use wire::{Cause, Refusal};
use world::{World, config, member, with_learner};

#[test]
fn a_write_is_acknowledged_when_every_member_has_it_durable() {
    // Rule 1, I3.
    let mut w = World::serving();
    w.machines.get_mut(&3).unwrap().held = true;
    let io = w.write(1, 1, 5, 0xaa);
    assert_eq!(w.done(io), None);
    w.release(3);
    w.run();
    assert_eq!(w.done(io), Some(base::Epoch(1)));
    assert_eq!(w.machines[&2].disk.window[&Sequence(1)].block, 5);
}

#[test]
fn a_read_of_a_block_with_a_write_under_way_waits_for_it() {
    // Rule 3.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.machines.get_mut(&2).unwrap().held = true;
    let write = w.write(1, 1, 5, 0x22);
    let (read, elsewhere) = (w.read(1, 1, 5), w.read(1, 1, 6));
    assert_eq!((w.done(write), w.done(read)), (None, None));
    assert_eq!(w.answer(elsewhere), Some(0));
    w.release(2);
    w.run();
    assert_eq!(w.answer(read), Some(0x22));
}

#[test]
fn who_asks_what_is_written_is_told_of_committed_state() {
    // Rule 3: also an unwritten block is one that a write under way may fill, and such a write may yet be lost.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.machines.get_mut(&2).unwrap().held = true;
    let write = w.write(1, 1, 6, 0x22);
    let (map, elsewhere) = (w.map(1, 1, 4, 4), w.map(1, 1, 0, 6));
    assert_eq!((w.done(write), w.done(map)), (None, None));
    assert_eq!(w.mapped(elsewhere), Some(0b10_0000));
    // What comes after the question does not hold up the answer, and is not in it.
    w.write(1, 1, 7, 0x33);
    w.release_one(2);
    w.run();
    assert!(w.done(write).is_some());
    assert_eq!(w.mapped(map), Some(0b0110));
    w.release(2);
    w.run();
    w.trim(1, 1, 5, 2);
    let map = w.map(1, 1, 4, 4);
    assert_eq!(w.mapped(map), Some(0b1000));
}

#[test]
fn what_is_written_is_told_only_while_every_member_confirms_and_by_who_leads() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x12);
    w.wait(Duration::from_millis(2100));
    let map = w.map(1, 1, 5, 1);
    assert_eq!(w.done(map), None);
    w.heard(1, 2);
    assert_eq!(w.done(map), None);
    w.heard(1, 3);
    w.run();
    assert_eq!(w.mapped(map), Some(1));
    let elsewhere = w.map(2, 1, 5, 1);
    assert!(matches!(w.refusal(elsewhere), Some(Refusal::NotPrimary { .. })));
}

#[test]
fn what_cannot_be_asked_about_is_refused() {
    let mut w = World::serving();
    let blocks = w.replica(1).config().blocks;
    for (block, count) in [(0, 0), (blocks, 1), (0, blocks + 1), (1, u32::MAX), (0, base::MAP_BLOCKS_MAX + 1)] {
        let map = w.map(1, 1, block, count);
        assert!(matches!(w.refusal(map), Some(Refusal::Invalid)), "{block} {count}");
    }
    let map = w.map(1, 1, 0, blocks);
    assert_eq!(w.mapped(map), Some(0));
}

#[test]
fn backups_learn_of_commits_that_no_write_carries_along() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x33);
    assert_eq!((w.stored(1, 5), w.stored(2, 5)), (0x33, 0));
    w.wait(Duration::from_millis(100));
    assert_eq!((w.stored(2, 5), w.stored(3, 5)), (0x33, 0x33));
}

#[test]
fn a_dead_primary_is_replaced_by_a_backup_that_has_everything() {
    // Rule 4, R14, R18.
    let mut w = World::serving();
    let io = w.write(1, 1, 5, 0x44);
    w.kill(1);
    let wish = w.wish(2).unwrap().clone();
    assert_eq!((wish.primary.0, wish.members, wish.cause), (2, vec![member(2), member(3)], Cause::PrimaryLost));
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert!(w.done(io).is_some() && w.replica(2).is_serving());
    let read = w.read(2, 2, 5);
    assert_eq!(w.answer(read), Some(0x44));
}

#[test]
fn the_greatest_end_becomes_everybodys() {
    // Rule 4: a write that only one backup has is kept, and reaches all.
    let mut w = World::serving();
    w.cut = vec![(1, 2)];
    let io = w.write(1, 1, 5, 0x55);
    assert_eq!(w.done(io), None);
    w.cut.clear();
    w.kill(1);
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert_eq!(w.sent("2>node-3 Fetch"), 1);
    assert_eq!((w.stored(2, 5), w.machines[&3].disk.register.as_ref().unwrap().adopted.0), (0x55, 2));
    let next = w.write(2, 2, 6, 0x66);
    assert_eq!(w.done(next), Some(base::Epoch(2)));
}

#[test]
fn a_longer_end_of_an_older_epoch_is_dropped() {
    // Rule 4: "each member drops whatever it had beyond it".
    let mut w = World::serving();
    w.cut = vec![(1, 2), (1, 3)];
    w.write(1, 1, 5, 0x77);
    w.configure_one(2, &config(2, 2, &[1, 2, 3]));
    w.configure_one(3, &config(2, 2, &[1, 2, 3]));
    w.cut = vec![(2, 1)];
    w.run();
    assert!(!w.replica(2).is_serving());
    // Node 1 never answers: the shard goes on without it, and it rejoins with a write that nobody else has.
    w.cut.clear();
    w.configure(&config(3, 2, &[2, 3]));
    w.run();
    w.write(2, 3, 5, 0x78);
    w.configure(&with_learner(config(3, 2, &[2, 3]), 1, 99));
    w.run();
    w.configure(&config(4, 2, &[1, 2, 3]));
    w.run();
    w.wait(Duration::from_millis(200));
    assert!(w.replica(2).is_serving());
    assert_eq!((w.stored(1, 5), w.machines[&1].disk.window.len()), (0x78, 0));
}

#[test]
fn a_deposed_primary_acknowledges_nothing() {
    // I5: once one member promised more, nothing is acknowledged in the old epoch.
    let mut w = World::serving();
    w.configure_one(2, &config(2, 2, &[2, 3]));
    w.configure_one(3, &config(2, 2, &[2, 3]));
    w.cut = vec![(2, 1), (3, 1)];
    w.run();
    let io = w.write(1, 1, 5, 0x88);
    assert_eq!(w.done(io), None);
    w.cut.clear();
    let io = w.write(1, 1, 6, 0x89);
    assert!(matches!(w.refusal(io), Some(Refusal::WrongEpoch { config }) if config.epoch.0 == 2));
    assert_eq!(w.stored(2, 5), 0);
}

#[test]
fn a_read_is_answered_only_while_every_member_confirms() {
    // Rule 3: two seconds without a keepalive answer, and reads wait; they are answered when it is heard again.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x12);
    w.wait(Duration::from_millis(2100));
    let read = w.read(1, 1, 5);
    assert_eq!(w.done(read), None);
    w.heard(1, 2);
    assert_eq!(w.done(read), None);
    w.heard(1, 3);
    w.run();
    assert_eq!(w.answer(read), Some(0x12));
}

#[test]
fn a_restarted_primary_serves_only_under_a_new_epoch() {
    let mut w = World::serving();
    let io = w.write(1, 1, 5, 0x21);
    w.kill(1);
    w.restart(1);
    let early = w.write(1, 1, 6, 0x22);
    assert!(matches!(w.refusal(early), Some(Refusal::NotPrimary { .. })));
    w.wait(Duration::from_millis(1));
    assert_eq!(w.wish(1).unwrap().cause, Cause::Restarted);
    assert_eq!(w.wish(1).unwrap().members.len(), 3);
    w.configure(&config(2, 1, &[1, 2, 3]));
    w.run();
    assert!(w.done(io).is_some());
    let read = w.read(1, 2, 5);
    assert_eq!(w.answer(read), Some(0x21));
}

#[test]
fn who_has_just_started_takes_nobody_for_dead_whom_it_has_not_met() {
    // Rule 4: a whole zone starts, not everybody at the same instant, and a host attaches already.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x23);
    [1, 2, 3].into_iter().for_each(|n| w.kill(n));
    w.restart_alone(1);
    w.configure_one(1, &config(2, 1, &[1, 2, 3]));
    w.wait(Duration::from_millis(10));
    w.restart_alone(2);
    w.configure_one(2, &config(2, 1, &[1, 2, 3]));
    w.wait(Duration::from_millis(10));
    assert_eq!((w.wish(1), w.wish(2)), (None, None), "neither leaves out the other");
    w.link_between(1, 2);
    w.wait(Duration::from_millis(979));
    assert_eq!((w.wish(1), w.wish(2)), (None, None));
    // 3 was not there within a second.
    w.wait(Duration::from_millis(1));
    assert_eq!(w.wish(1).unwrap().members, [member(1), member(2)]);
}

#[test]
fn who_has_just_started_and_was_met_is_dead_when_its_address_refuses() {
    let mut w = World::serving();
    w.kill(1);
    w.restart(1);
    w.configure(&config(2, 1, &[1, 2, 3]));
    w.run();
    w.kill(3);
    assert_eq!(w.wish(1).unwrap().members, [member(1), member(2)]);
}

#[test]
fn a_backup_that_restarts_states_its_end_and_gets_what_it_lacks() {
    // Rule 2.
    let mut w = World::serving();
    w.machines.get_mut(&3).unwrap().held = true;
    let io = w.write(1, 1, 5, 0x31);
    w.kill(3);
    w.restart(3);
    w.run();
    assert_eq!(w.done(io), Some(base::Epoch(1)));
    assert_eq!(w.machines[&3].disk.window[&Sequence(1)].block, 5);
}

#[test]
fn a_backup_that_lost_what_it_had_confirmed_is_evicted() {
    // Rule 2: its disk lies.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x41);
    let disk = &mut w.machines.get_mut(&3).unwrap().disk;
    disk.window.clear();
    w.kill(3);
    w.restart(3);
    w.run();
    assert_eq!(w.wish(1).unwrap().cause, Cause::MemberIncomplete { node: base::NodeId(3) });
    assert_eq!(w.wish(1).unwrap().members, [member(1), member(2)]);
    assert!(Sometimes::MemberHasLost.count() > 0);
}

#[test]
fn a_configuration_below_min_copies_is_never_wished_for() {
    let mut w = World::serving();
    w.kill(3);
    assert_eq!(w.wish(1).unwrap().members, [member(1), member(2)]);
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    w.kill(2);
    assert_eq!(w.wish(1), None);
    let io = w.write(1, 2, 5, 0x51);
    assert_eq!(w.done(io), None);
    w.restart(2);
    w.run();
    assert_eq!(w.done(io), Some(base::Epoch(2)));
}

#[test]
fn a_learner_is_filled_while_writes_go_on_and_binds_once_it_may_be_admitted() {
    // Rule 5, I3.
    let mut w = World::serving();
    for b in 0..20 {
        w.write(1, 1, b, 0x60 + b as u8);
    }
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 77));
    w.write(1, 1, 3, 0xee);
    w.run();
    let wish = w.wish(1).unwrap().clone();
    assert_eq!((wish.admit, wish.members.len()), (Some(77), 4));
    w.machines.get_mut(&4).unwrap().held = true;
    let io = w.write(1, 1, 4, 0xef);
    assert_eq!(w.done(io), None, "its admission may have been granted: nothing is acknowledged without it");
    w.release(4);
    w.run();
    assert!(w.done(io).is_some());
    w.configure(&config(2, 1, &[1, 2, 3, 4]));
    w.run();
    w.wait(Duration::from_millis(200));
    assert!(w.replica(1).is_serving());
    assert_eq!((w.stored(4, 3), w.stored(4, 4), w.stored(4, 19)), (0xee, 0xef, 0x60 + 19));
}

#[test]
fn a_learner_that_was_interrupted_votes_for_nothing() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x71);
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 77));
    // Its answers are lost, so nobody ever asks it to mark itself whole.
    w.cut = vec![(4, 1)];
    w.run();
    w.cut.clear();
    w.kill(4);
    w.restart(4);
    assert!(matches!(w.replica(4).held().standing, base::log::Standing::Learning { plan: 77, base: None }));
    w.configure(&config(2, 1, &[1, 2, 3, 4]));
    w.run();
    assert!(!w.replica(1).is_serving());
    assert_eq!(w.wish(1).unwrap().cause, Cause::MemberIncomplete { node: base::NodeId(4) });
}

#[test]
fn a_stale_learn_changes_nothing() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x72);
    w.wait(Duration::from_millis(200));
    let stale = wire::Learn {
        shard: world::SHARD,
        config: with_learner(config(1, 1, &[1, 3]), 2, 5),
        plan: 5,
        attempt: 1,
        adopted: base::Epoch(1),
        committed: Sequence(0),
        marks: vec![],
    };
    w.configure(&config(2, 1, &[1, 2, 3]));
    w.run();
    let from = base::io::net::Link::from(base::io::net::Peer::Node(base::NodeId(1)));
    w.turn(2, |r, cx, fx| r.as_mut().unwrap().on_message(cx, from, stale.into(), None, fx));
    assert_eq!(w.replica(2).held().standing, base::log::Standing::Complete);
}

#[test]
fn a_second_sync_of_an_epoch_is_answered_and_not_applied_again() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x81);
    let (shard, epoch) = (world::SHARD, base::Epoch(1));
    let again = wire::Adopt { shard, epoch, committed: Sequence(0), committed_in: base::Epoch(0), end: Sequence(0) };
    let from = base::io::net::Link::from(base::io::net::Peer::Node(base::NodeId(1)));
    w.turn(2, |r, cx, fx| r.as_mut().unwrap().on_message(cx, from, again.into(), None, fx));
    assert_eq!(w.replica(2).held().end, Sequence(1));
    assert_eq!(w.trace.last().unwrap(), "2>node-1 Synced");
}

#[test]
fn the_first_primary_of_a_generation_waits_for_those_who_cannot_confirm_the_fence() {
    // Rule 9: node 1 led the old generation and is out of touch; it may answer reads for two more seconds.
    let mut w = World::serving();
    w.cut = vec![(2, 1), (3, 1), (1, 2), (1, 3)];
    let mut fenced = config(2, 2, &[2, 3]);
    fenced.generation = Generation(2);
    fenced.fence = vec![base::NodeId(1)];
    w.configure_one(2, &fenced);
    w.configure_one(3, &fenced);
    w.run();
    w.wait(Duration::from_millis(2100));
    assert!(!w.replica(2).is_serving());
    w.wait(Duration::from_millis(200));
    assert!(w.replica(2).is_serving());
}

#[test]
fn an_old_generation_cannot_write() {
    // I9.
    let mut w = World::serving();
    let mut other = config(2, 1, &[1, 2, 3]);
    other.generation = Generation(2);
    w.configure(&other);
    w.run();
    let io = w.write(1, 2, 5, 0x91);
    assert!(matches!(w.refusal(io), Some(Refusal::Fenced)));
}

#[test]
fn a_replica_is_dropped_only_by_a_release_that_names_it() {
    // Rule 6, R13.
    let mut w = World::serving();
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    let mut release = |m, e| {
        let mut obeyed = false;
        w.turn(3, |r, _, fx| obeyed = r.as_mut().unwrap().on_release(m, base::Epoch(e), fx));
        obeyed
    };
    assert!(!release(member(2), 2), "another's release");
    assert!(!release(member(3), 1), "a release older than the promise");
    assert!(release(member(3), 2));
    assert!(w.machines[&3].disk.register.is_none());
    let mut obeyed = true;
    w.turn(2, |r, _, fx| obeyed = r.as_mut().unwrap().on_release(member(2), base::Epoch(2), fx));
    assert!(!obeyed, "a member keeps its data whatever it is told");
}

#[test]
fn io_that_comes_before_its_configuration_waits_for_it() {
    let mut w = World::serving();
    w.kill(1);
    let io = w.write(2, 2, 5, 0xa1);
    assert_eq!((w.done(io), w.refusal(io)), (None, None));
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert_eq!(w.done(io), Some(base::Epoch(2)));
}

#[test]
fn a_silent_primary_is_given_up_only_when_io_waits_for_it() {
    let mut w = World::serving();
    let silent = |w: &mut World, n: u64| {
        w.machines.get_mut(&n).unwrap().peers.on_silent(base::NodeId(1), base::io::net::Network::Primary);
        w.turn(n, |_, _, _| {});
    };
    silent(&mut w, 2);
    assert_eq!(w.wish(2), None);
    w.turn(2, |r, _, _| r.as_mut().unwrap().on_complaint(base::Epoch(1)));
    assert_eq!(w.wish(2).unwrap().cause, Cause::PrimaryLost);
}

#[test]
fn a_primary_that_only_its_members_can_hear_is_given_up_when_a_host_waits_for_it() {
    use base::io::net::Network;
    for (complained, unheard) in [(true, Network::Primary), (false, Network::Primary), (true, Network::Replication)] {
        let mut w = World::serving();
        let (node, now) = (base::NodeId(1), w.now);
        let peers = &mut w.machines.get_mut(&2).unwrap().peers;
        peers.on_heard(node, Network::Replication, true, now);
        peers.on_silent(node, unheard);
        assert!(!peers.is_gone(node), "its link rides the other network");
        w.turn(2, |r, _, _| {
            if complained {
                r.as_mut().unwrap().on_complaint(base::Epoch(1));
            }
        });
        let wished = complained && unheard == Network::Primary;
        assert_eq!(w.wish(2).map(|wish| wish.cause), wished.then_some(Cause::PrimaryLost));
    }
}

#[test]
fn a_member_that_is_heard_beside_and_has_no_link_is_gone_for_whoever_waits_for_it() {
    use base::io::net::{Down, Network};
    let mut w = World::serving();
    w.machines.get_mut(&2).unwrap().held = true;
    let io = w.write(1, 1, 5, 0xb1);
    let (began, node) = (w.now, base::NodeId(2));
    w.machines.get_mut(&1).unwrap().peers.on_down(node, Down::Silent);
    for (ms, gone) in [(0, false), (249, false), (250, true)] {
        let asked = began + Duration::from_millis(ms);
        w.machines.get_mut(&1).unwrap().peers.on_heard(node, Network::Replication, false, asked);
        w.turn(1, |_, _, _| {});
        assert_eq!(w.wish(1).map(|wish| wish.cause), gone.then_some(Cause::MemberLost { node }), "after {ms} ms");
    }
    assert_eq!(w.done(io), None);
}

#[test]
fn a_learner_that_dies_before_its_admission_was_asked_for_holds_nothing_up() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0xb1);
    // Its mark does not come back, so the authority is never asked.
    w.machines.get_mut(&4).unwrap().held = false;
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 77));
    while w.sent("1>node-4 Finish") == 0 {
        w.step();
    }
    w.machines.get_mut(&4).unwrap().held = true;
    let io = w.write(1, 1, 6, 0xb2);
    assert_eq!((w.done(io), w.wish(1)), (None, None));
    w.kill(4);
    w.run();
    assert_eq!(w.done(io), Some(base::Epoch(1)));
}

#[test]
fn what_came_on_a_hosts_old_connection_is_not_done_after_what_comes_on_its_new_one() {
    // Rule 8.
    let mut w = World::serving();
    w.kill(1);
    let old = w.write(2, 2, 5, 0xc1);
    let link = base::io::net::Link::from(base::io::net::Peer::Host(world::HOST));
    w.turn(2, |r, _, _| r.as_mut().unwrap().on_client_up(link));
    let new = w.write(2, 2, 5, 0xc2);
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert_eq!((w.done(old), w.done(new)), (None, Some(base::Epoch(2))));
    assert_eq!(w.stored(2, 5), 0xc2);
}

#[test]
fn a_new_primary_serves_only_when_every_member_has_its_window() {
    // Rule 4.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xd1);
    w.kill(1);
    w.configure(&config(2, 2, &[2, 3]));
    while w.sent("2>node-3 Adopt") == 0 {
        w.step();
    }
    w.machines.get_mut(&3).unwrap().held = true;
    w.run();
    assert!(!w.replica(2).is_serving());
    w.release(3);
    w.run();
    assert!(w.replica(2).is_serving());
}

#[test]
fn nothing_is_answered_in_an_epoch_before_its_promise_is_durable() {
    // I2.
    let mut w = World::serving();
    w.kill(1);
    w.machines.get_mut(&2).unwrap().held = true;
    w.configure(&config(2, 3, &[2, 3]));
    w.run();
    assert_eq!((w.sent("3>node-2 Sync"), w.sent("2>node-3 End")), (1, 0));
    w.release(2);
    w.run();
    assert!(w.replica(3).is_serving());
}

#[test]
fn below_min_copies_nothing_is_adopted_or_served() {
    // Rule 11.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xd2);
    w.kill(2);
    w.kill(3);
    w.configure(&config(2, 1, &[1]));
    w.run();
    assert!(!w.replica(1).is_serving());
    assert_eq!(w.machines[&1].disk.register.as_ref().unwrap().adopted.0, 1);
    let io = w.write(1, 2, 6, 0xd3);
    assert_eq!(w.done(io), None);
}

#[test]
fn the_stream_to_a_learner_starts_with_the_uncommitted_window() {
    // Rule 5.
    let mut w = World::serving();
    w.machines.get_mut(&2).unwrap().held = true;
    let io = w.write(1, 1, 5, 0xe1);
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 77));
    w.run();
    w.release(2);
    w.run();
    assert!(w.done(io).is_some());
    assert_eq!(w.wish(1).and_then(|p| p.admit), Some(77));
    w.wait(Duration::from_millis(200));
    assert_eq!(w.stored(4, 5), 0xe1);
}

#[test]
fn a_copy_never_covers_what_the_stream_has_brought() {
    // Rule 5: the bulk lane is slow, and what it carries was read before the write.
    let mut w = World::serving();
    w.write(1, 1, 3, 0xf1);
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 77));
    while w.sent("1>node-4 Extent") == 0 {
        w.step();
    }
    let bulk = |f: &(base::io::net::Link, base::NodeId, _)| f.0.lane == base::io::net::Lane::Bulk;
    let (late, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut w.wire).into_iter().partition(bulk);
    w.wire.extend(rest);
    w.write(1, 1, 3, 0xf2);
    w.wait(Duration::from_millis(200));
    assert_eq!(w.stored(4, 3), 0xf2);
    w.wire.extend(late);
    w.run();
    assert_eq!((w.stored(4, 3), w.wish(1).and_then(|p| p.admit)), (0xf2, Some(77)));
}

#[test]
fn below_min_copies_a_learner_is_filled_and_brings_the_shard_back() {
    // Rule 11: node 1 alone has everything, an unfinished write among it; nodes 2 and 3 never return.
    let mut w = World::serving();
    let first = w.write(1, 1, 5, 0xd4);
    w.cut = vec![(1, 2), (1, 3)];
    let unfinished = w.write(1, 1, 6, 0xd5);
    w.kill(2);
    w.kill(3);
    w.cut.clear();
    w.configure(&config(2, 1, &[1]));
    w.run();
    w.configure(&with_learner(config(2, 1, &[1]), 4, 88));
    w.run();
    let wish = w.wish(1).expect("the learner is whole").clone();
    assert_eq!((wish.admit, wish.members), (Some(88), vec![member(1), member(4)]));
    assert!(!w.replica(1).is_serving());
    w.configure(&config(3, 1, &[1, 4]));
    w.run();
    w.wait(Duration::from_millis(200));
    assert!(w.replica(1).is_serving() && w.done(first).is_some() && w.done(unfinished).is_none());
    assert_eq!((w.stored(4, 5), w.stored(4, 6)), (0xd4, 0xd5));
}

#[test]
fn an_anchor_does_not_become_a_learner_while_the_shard_may_need_it_as_it_is() {
    // I4, I7: found by the simulator (seed 54). The Learn was under way when the authority decided to bring node 2 back as a member.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xd6);
    w.kill(3);
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    w.kill(2);
    let mut alone = config(3, 1, &[1]);
    alone.anchors = vec![member(1), member(2)];
    w.configure(&alone);
    w.run();
    w.restart(2);
    w.configure(&with_learner(alone, 2, 55));
    w.run();
    assert_eq!(w.replica(2).held().standing, base::log::Standing::Complete);
    w.configure(&config(4, 1, &[1, 2]));
    w.run();
    assert!(w.replica(1).is_serving());
    assert!(Sometimes::LearnWouldLoseAnchor.count() > 0);
}

#[test]
fn an_incomplete_member_is_shed_even_below_min_copies() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0xd7);
    w.kill(3);
    w.machines.get_mut(&2).unwrap().replica = None;
    w.machines.get_mut(&2).unwrap().disk = world::Disk::default();
    let mut wanted = config(2, 1, &[1, 2]);
    wanted.newborn = false;
    w.configure(&with_learner(wanted.clone(), 2, 9));
    w.configure(&wanted);
    w.run();
    let wish = w.wish(1).unwrap();
    assert_eq!((wish.cause, &wish.members[..]), (Cause::MemberIncomplete { node: base::NodeId(2) }, &[member(1)][..]));
}

#[test]
fn a_wait_that_is_over_is_reported_as_over() {
    // Found by the simulator (seed 565): people were told for ever that the shard waits for a member.
    let mut w = World::serving();
    w.kill(3);
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    w.kill(2);
    w.write(1, 2, 5, 0xd8);
    w.changed.clear();
    w.restart(2);
    w.run();
    assert!(w.changed.contains(&1), "the authority hears that it serves again");
}

#[test]
fn a_keepalive_on_a_new_connection_does_not_stand_in_for_a_word_that_was_lost_with_the_old_one() {
    // Rule 3: node 2 promised more, its Deposed was lost at a reset, and the keepalive is answered before our Sync is.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xe8);
    w.cut = vec![(2, 1), (3, 1)];
    w.configure_one(2, &config(2, 2, &[2, 3]));
    w.configure_one(3, &config(2, 2, &[2, 3]));
    w.run();
    w.wait(Duration::from_millis(1500));
    w.cut = vec![(1, 2), (1, 3), (2, 1), (3, 1)];
    w.link_up(1);
    w.run();
    w.heard(1, 2);
    w.heard(1, 3);
    w.wait(Duration::from_millis(700));
    let read = w.read(1, 1, 5);
    assert_eq!(w.done(read), None, "the lease ran out two seconds after the last confirmation of the old connection");
}
