//! Rot in stories of a few machines: it is mended from another member, or named; wrong bytes are never answered. (store.md rule 2, R15)

mod world;

use base::io::net::{Link, Network, Peer, Side};
use base::sometimes::Sometimes;
use base::{BLOCK_BYTES, NodeId, Payload, Sequence};
use std::time::Duration;
use wire::{Cause, Mend, Mended, Message, Refusal};
use world::{World, config, member, with_learner};

/// A volume that serves, with `byte` in block 5, committed everywhere.
fn written(byte: u8) -> World {
    let mut w = World::serving();
    w.write(1, 1, 5, byte);
    w.wait(Duration::from_millis(100));
    w
}

fn lost(w: &World, n: u64) -> Vec<u32> {
    w.replica(n).lost().map(|rot| rot.block).collect()
}

#[test]
fn a_read_over_rot_is_answered_with_the_right_bytes_and_mended() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.is_sound(1), w.machines[&1].rot), (Some(0x11), true, (1, 1)));
    assert_eq!((w.sent("1>node-2 Mend"), w.sent("1>node-3 Mend"), w.sent("2>node-1 Mended")), (1, 0, 1));
    // Nothing is asked for again.
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.sent("1>node-2 Mend")), (Some(0x11), 1));
}

#[test]
fn a_peer_whose_index_is_behind_finds_the_block_in_its_window() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.wait(Duration::from_millis(100));
    w.write(1, 1, 5, 0x22);
    assert_eq!((w.stored(1, 5), w.stored(2, 5)), (0x22, 0x11), "the backups have not heard of the commit");
    w.rot(1, 5, 0x22);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.sent("1>node-3 Mend")), (Some(0x22), 0));
}

#[test]
fn a_peer_that_is_rotten_too_passes_on_to_the_next() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.rot(2, 5, 0x11);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.sent("1>node-2 Mend"), w.sent("1>node-3 Mend")), (Some(0x11), 1, 1));
}

#[test]
fn a_block_that_nobody_has_is_named_and_never_answered() {
    let mut w = written(0x11);
    (1..=3).for_each(|n| {
        w.rot(n, 5, 0x11);
    });
    for _ in 0..2 {
        let read = w.read(1, 1, 5);
        assert_eq!((w.answer(read), w.refusal(read)), (None, Some(&Refusal::Unreadable { block: 5 })));
        assert_eq!((lost(&w, 1), w.machines[&1].rot), (vec![5], (1, 0)), "counted once");
    }
    let beside = w.read(1, 1, 6);
    assert_eq!(w.answer(beside), Some(0));
    // Somebody has it after all: the next read mends it.
    w.machines.get_mut(&3).unwrap().disk.rotten.clear();
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), lost(&w, 1), w.machines[&1].rot), (Some(0x11), vec![], (1, 1)));
}

#[test]
fn what_is_written_over_a_lost_block_is_no_loss_any_more() {
    let mut w = written(0x11);
    (1..=3).for_each(|n| {
        w.rot(n, 5, 0x11);
    });
    w.read(1, 1, 5);
    assert_eq!(lost(&w, 1), [5]);
    w.write(1, 1, 5, 0x22);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), lost(&w, 1)), (Some(0x22), vec![]));
}

#[test]
fn bytes_that_do_not_match_are_not_believed() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.cut = vec![(1, 2)];
    let read = w.read(1, 1, 5);
    let Some(number) = asked_last(&w) else { panic!("node 2 was asked") };
    // The right bytes from one who was not asked, or to another question, are no answer.
    let right = Payload::from(vec![0x11; BLOCK_BYTES]);
    give(&mut w, 3, number, right.clone());
    give(&mut w, 2, number + 1000, right.clone());
    assert_eq!((w.answer(read), w.sent("1>node-3 Mend")), (None, 0));
    // Wrong bytes, or too many, send the question on to the next.
    w.cut.push((1, 3));
    give(&mut w, 2, number, Payload::from(vec![0x12; BLOCK_BYTES]));
    assert_eq!((w.answer(read), w.sent("1>node-3 Mend"), w.is_sound(1)), (None, 1, false));
    let number = asked_last(&w).unwrap();
    give(&mut w, 3, number, Payload::from(vec![0x11; 2 * BLOCK_BYTES]));
    assert_eq!((w.answer(read), w.refusal(read)), (None, Some(&Refusal::Unreadable { block: 5 })));
}

/// Node 1 is answered.
fn give(w: &mut World, from: u64, number: u64, data: Payload) {
    let link = Link { side: Side::Opened, ..Link::to(Peer::Node(NodeId(from))) };
    let m = Message::from(Mended { shard: world::SHARD, number });
    w.turn(1, |r, cx, fx| r.as_mut().unwrap().on_message(cx, link, m, Some(data), fx));
    w.run();
}

/// The number of the last question that node 1 asked.
fn asked_last(w: &World) -> Option<u64> {
    w.asked.last().copied()
}

#[test]
fn a_member_that_does_not_answer_is_passed_over_after_a_second_and_one_that_is_gone_at_once() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.cut = vec![(2, 1)];
    let read = w.read(1, 1, 5);
    w.wait(Duration::from_millis(900));
    assert_eq!(w.answer(read), None);
    w.heard(1, 2);
    w.heard(1, 3);
    w.wait(Duration::from_millis(100));
    assert_eq!(w.answer(read), Some(0x11));
    w.rot(1, 5, 0x11);
    let read = w.read(1, 1, 5);
    assert_eq!(w.answer(read), None);
    w.kill(2);
    w.run();
    assert_eq!(w.answer(read), Some(0x11));
}

#[test]
fn a_block_is_not_lost_while_a_member_that_may_have_it_does_not_answer() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.rot(2, 5, 0x11);
    w.cut = vec![(1, 3), (3, 1)];
    let read = w.read(1, 1, 5);
    for _ in 0..5 {
        w.wait(Duration::from_secs(1));
        w.heard(1, 2);
        w.heard(1, 3);
    }
    assert_eq!((w.done(read), w.refusal(read), lost(&w, 1)), (None, None, vec![]));
    assert_eq!((w.sent("1>node-2 Mend"), w.sent("1>node-3 Mend") > 2), (1, true), "who has none is not asked again");
    w.cut.clear();
    w.link_up(3);
    w.run();
    assert_eq!((w.answer(read), w.is_sound(1)), (Some(0x11), true));
}

#[test]
fn a_member_that_stays_away_while_a_read_waits_for_a_block_is_left_out() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.rot(2, 5, 0x11);
    // Node 2, which sees that it is rotten too when it is asked, cannot reach it either.
    w.cut = vec![(1, 3), (3, 1), (2, 3)];
    let read = w.read(1, 1, 5);
    w.machines.get_mut(&1).unwrap().peers.on_silent(NodeId(3), Network::Primary);
    w.wait(Duration::from_millis(10));
    w.turn(1, |_, _, _| {});
    assert_eq!(w.wish(1).unwrap().cause, Cause::MemberLost { node: NodeId(3) });
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    assert!(matches!(w.refusal(read), Some(Refusal::WrongEpoch { .. })));
    let read = w.read(1, 2, 5);
    assert_eq!((w.refusal(read), lost(&w, 1)), (Some(&Refusal::Unreadable { block: 5 }), vec![5]));
}

#[test]
fn an_answer_that_comes_late_is_still_an_answer() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.rot(3, 5, 0x11);
    w.cut = vec![(2, 1)];
    let read = w.read(1, 1, 5);
    let number = asked_last(&w).unwrap();
    w.wait(Duration::from_millis(1500));
    assert_eq!((w.sent("1>node-3 Mend"), w.done(read), w.refusal(read)), (1, None, None));
    w.heard(1, 2);
    w.heard(1, 3);
    give(&mut w, 2, number, vec![0x11; BLOCK_BYTES].into());
    assert_eq!(w.answer(read), Some(0x11));
}

#[test]
fn a_write_that_comes_while_a_block_is_being_mended_is_not_undone() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.cut = vec![(2, 1)];
    let read = w.read(1, 1, 5);
    w.cut.clear();
    w.write(1, 1, 5, 0x22);
    w.wait(Duration::from_secs(1));
    w.heard(1, 2);
    w.heard(1, 3);
    assert_eq!(w.answer(read), Some(0x22));
    assert_eq!(w.stored(1, 5), 0x22);
}

#[test]
fn rot_that_a_backup_finds_comes_from_the_primary() {
    let mut w = written(0x11);
    let rot = w.rot(3, 5, 0x11);
    w.scrub(3, rot);
    assert_eq!((w.is_sound(3), w.sent("3>node-1 Mend"), w.sent("3>node-2 Mend")), (true, 1, 0));
    assert_eq!(w.machines[&3].rot, (1, 1));
    // If the primary has lost it too, from the other; and what is lost is not asked for at each pass.
    w.wait(Duration::from_secs(1));
    let rot = w.rot(3, 5, 0x11);
    w.rot(1, 5, 0x11);
    w.rot(2, 5, 0x11);
    w.scrub(3, rot);
    assert_eq!((w.is_sound(3), lost(&w, 3), w.sent("3>node-2 Mend")), (false, vec![5], 1));
    w.scrub(3, rot);
    assert_eq!((w.sent("3>node-1 Mend"), w.sent("3>node-2 Mend"), w.machines[&3].rot), (2, 1, (2, 1)));
    // But after a while, when somebody may be back who has it.
    w.machines.get_mut(&2).unwrap().disk.rotten.clear();
    w.wait(Duration::from_secs(5));
    assert_eq!((w.is_sound(3), lost(&w, 3), w.machines[&3].rot), (true, vec![], (2, 2)));
    assert!(w.is_sound(1), "which was asked, and so saw that it has it rotten itself");
}

#[test]
fn rot_of_what_was_overwritten_meanwhile_is_no_loss() {
    let mut w = written(0x11);
    w.write(1, 1, 5, 0x22);
    // Node 3 has not heard of the commit: its index has the old bytes, which nobody else has any more.
    w.machines.get_mut(&2).unwrap().disk.index.clear();
    let rot = w.rot(3, 5, 0x11);
    w.scrub(3, rot);
    assert_eq!(lost(&w, 3), [5]);
    w.wait(Duration::from_secs(5));
    assert_eq!((w.stored(3, 5), lost(&w, 3), w.machines[&3].rot), (0x22, vec![], (1, 0)));
    assert!(Sometimes::MendFindsGone.count() > 0);
}

#[test]
fn a_good_copy_of_its_own_is_as_good_as_another_member_s() {
    let mut w = written(0x11);
    // The same bytes were written twice, and of the two copies only one is rotten.
    let rot = w.rot(3, 5, 0x11);
    w.machines.get_mut(&3).unwrap().disk.rotten.clear();
    w.kill(1);
    w.kill(2);
    w.scrub(3, rot);
    assert_eq!((w.machines[&3].rot, lost(&w, 3)), ((1, 1), vec![]));
}

#[test]
fn a_learner_is_filled_though_the_primary_reads_rot() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 9));
    w.run();
    assert_eq!((w.stored(4, 5), w.is_sound(1)), (0x11, true));
    assert_eq!(w.wish(1).unwrap().cause, Cause::Learned);
}

#[test]
fn a_learner_gets_the_rest_when_a_lost_block_is_found_after_all() {
    let mut w = written(0x11);
    (1..=3).for_each(|n| {
        w.rot(n, 5, 0x11);
    });
    w.configure(&with_learner(config(1, 1, &[1, 2, 3]), 4, 9));
    w.run();
    assert_eq!((lost(&w, 1), w.wish(1), w.sent("1>node-2 Mend")), (vec![5], None, 1));
    w.write(1, 1, 9, 0x22);
    assert_eq!(w.sent("1>node-2 Mend"), 1, "not with every write");
    w.machines.get_mut(&2).unwrap().disk.rotten.clear();
    w.wait(Duration::from_secs(5));
    assert_eq!((w.stored(4, 5), lost(&w, 1)), (0x11, vec![]));
    assert_eq!(w.wish(1).unwrap().cause, Cause::Learned);
}

#[test]
fn a_rotten_window_is_mended_before_it_is_given_to_everybody() {
    // The write is on all, committed by none of the backups.
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.kill(1);
    w.rot(2, 5, 0x11);
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert!(w.replica(2).is_serving());
    let read = w.read(2, 2, 5);
    assert_eq!((w.answer(read), w.is_sound(2), w.sent("2>node-3 Mend")), (Some(0x11), true, 1));
}

#[test]
fn a_window_that_another_asked_for_is_mended_before_it_is_sent() {
    // Only the old primary and node 3 have the write, and node 3 has it rotten.
    let mut w = World::serving();
    w.cut = vec![(1, 2)];
    let write = w.write(1, 1, 5, 0x11);
    w.cut.clear();
    w.rot(3, 5, 0x11);
    w.configure(&config(2, 2, &[1, 2, 3]));
    w.run();
    assert!(w.replica(2).is_serving());
    assert_eq!((w.done(write), w.sent("2>node-3 Fetch"), w.sent("3>node-2 Mend")), (None, 1, 1));
    assert!(w.is_sound(3));
    let read = w.read(2, 2, 5);
    assert_eq!(w.answer(read), Some(0x11));
}

#[test]
fn a_window_that_nobody_can_read_is_left_to_somebody_else() {
    let mut w = World::serving();
    w.write(1, 1, 5, 0x11);
    w.kill(1);
    w.rot(2, 5, 0x11);
    w.rot(3, 5, 0x11);
    w.configure(&config(2, 2, &[2, 3]));
    w.run();
    assert!(!w.replica(2).is_serving());
    assert_eq!(w.wish(2).unwrap().cause, Cause::MemberIncomplete { node: NodeId(2) });
    assert_eq!((w.wish(2).unwrap().members.clone(), lost(&w, 2)), (vec![member(3)], vec![5]));
    assert!(Sometimes::ElectionCannotRead.count() > 0);
}

#[test]
fn reads_that_wait_for_a_mend_are_told_where_to_go_when_the_epoch_ends() {
    let mut w = written(0x11);
    w.rot(1, 5, 0x11);
    w.cut = vec![(2, 1), (3, 1)];
    let read = w.read(1, 1, 5);
    w.configure_one(1, &config(2, 2, &[1, 2, 3]));
    w.run();
    assert!(matches!(w.refusal(read), Some(Refusal::WrongEpoch { config }) if config.epoch.0 == 2));
    // The answer comes after all: it mends, and nobody is answered twice.
    w.cut.clear();
    w.wait(Duration::from_secs(1));
    assert!(w.is_sound(1));
    assert_eq!(w.answer(read), None);
}

#[test]
fn more_rot_than_is_mended_at_once_is_answered_later() {
    let mut w = World::serving();
    for block in 0..64 {
        w.write(1, 1, block, block as u8 + 1);
    }
    w.wait(Duration::from_millis(100));
    (0..64).for_each(|block| {
        w.rot(1, block, block as u8 + 1);
    });
    w.cut = vec![(2, 1), (3, 1)];
    w.fill_wanted(1, 200);
    let (small, large) = (w.read_many(1, 1, 0, 10), w.read_many(1, 1, 0, 64));
    assert_eq!((w.refusal(small), w.refusal(large)), (None, Some(&Refusal::Busy)));
    w.cut.clear();
    w.wait(Duration::from_secs(1));
    w.heard(1, 2);
    w.heard(1, 3);
    let again = w.read_many(1, 1, 0, 64);
    assert!(w.done(small).is_some() && w.done(again).is_some() && w.is_sound(1));
}

#[test]
fn a_node_asked_for_what_it_never_had_says_so() {
    let mut w = written(0x11);
    let from = Link::from(Peer::Node(NodeId(3)));
    let m = Message::from(Mend { shard: world::SHARD, number: 5, block: 9, crc: 1 });
    w.turn(2, |r, cx, fx| r.as_mut().unwrap().on_message(cx, from, m, None, fx));
    assert_eq!(w.sent("2>node-3 Mended"), 1);
    assert_eq!(w.machines[&2].disk.committed, Sequence(1));
}

#[test]
fn a_disk_that_rots_what_is_written_to_it_is_not_read_for_ever() {
    let mut w = written(0x11);
    let rot = w.rot(1, 5, 0x11);
    w.machines.get_mut(&1).unwrap().disk.incurable = true;
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.refusal(read)), (None, Some(&Refusal::Unreadable { block: 5 })));
    assert!(w.machines[&1].disk.rotten.contains(&(5, rot.crc)) && w.sent("1>node-2 Mend") <= 101);
}

#[test]
fn below_min_copies_a_block_is_not_lost_while_one_who_could_carry_the_shard_on_is_away() {
    // Rule 11: node 2 may come back and lead; until then nobody can say that it has not got the block.
    let mut w = written(0x11);
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    w.rot(1, 5, 0x11);
    w.kill(2);
    let mut alone = with_learner(config(3, 1, &[1]), 4, 9);
    alone.anchors = vec![member(1), member(2)];
    w.configure(&alone);
    w.run();
    for plan in 10..13 {
        w.wait(Duration::from_secs(2));
        // The authority loses patience with the learner, and tries again.
        let mut again = with_learner(alone.clone(), 4, plan);
        again.revision.0 += plan;
        w.configure(&again);
        w.run();
    }
    assert_eq!((lost(&w, 1), w.stored(4, 5), w.sent("1>node-2 Mend")), (vec![], 0, 0));
    w.restart(2);
    w.run();
    assert_eq!((w.sent("1>node-2 Mend"), w.stored(4, 5), w.is_sound(1)), (1, 0x11, true));
}

#[test]
fn what_was_read_before_a_mend_is_not_rot_once_more() {
    let mut w = written(0x11);
    let rot = w.rot(1, 5, 0x11);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.machines[&1].rot), (Some(0x11), (1, 1)));
    // The scrub had read it before.
    w.scrub(1, rot);
    assert_eq!((w.machines[&1].rot, w.sent("1>node-2 Mend")), ((1, 1), 1));
    // A second later it is rot anew, if it is there.
    w.wait(Duration::from_secs(1));
    w.heard(1, 2);
    w.heard(1, 3);
    w.rot(1, 5, 0x11);
    w.scrub(1, rot);
    assert_eq!((w.machines[&1].rot, w.is_sound(1)), ((2, 2), true));
    // And at once for a read: it is begun again, and shows it again.
    w.rot(1, 5, 0x11);
    let read = w.read(1, 1, 5);
    assert_eq!((w.answer(read), w.machines[&1].rot, w.is_sound(1)), (Some(0x11), (3, 3), true));
}
