//! A replica that was away is made whole by what changed meanwhile, and by no more (rule 5).

pub(crate) mod world;

use base::log::Standing;
use base::{Configuration, Epoch, NodeId, Sequence};
use std::time::Duration;
use wire::Cause;
use world::{BLOCKS, World, config, member, with_learner};

/// A configuration that others have left and may come back to.
fn without(epoch: u64, primary: u64, members: &[u64], away: &[u64]) -> Configuration {
    let holders = away.iter().map(|n| member(*n)).collect();
    Configuration { holders, ..config(epoch, primary, members) }
}

/// Node 3 has left a volume of three copies with ten blocks, led by node 1.
fn away() -> World {
    let mut w = World::serving();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    w.configure(&without(2, 1, &[1, 2], &[3]));
    w.run();
    w
}

/// It is back, and learns from this primary in this epoch.
fn returns(w: &mut World, n: u64, of: &Configuration) {
    w.restart(n);
    w.run();
    learns(w, n, of);
}

fn learns(w: &mut World, n: u64, of: &Configuration) {
    let holders = of.holders.iter().copied().filter(|m| *m != member(n)).collect();
    w.configure(&with_learner(Configuration { holders, ..of.clone() }, n, 70));
    w.run();
}

/// What this primary sent: learners made whole and blocks by delta, and in full.
fn taught(w: &World, n: u64) -> [u64; 4] {
    let t = w.machines[&n].taught;
    [t.by_delta, t.delta_blocks, t.in_full, t.full_blocks]
}

fn same(w: &mut World, nodes: &[u64]) {
    w.wait(Duration::from_millis(200));
    for block in 0..BLOCKS {
        let stored: Vec<u8> = nodes.iter().map(|n| w.stored(*n, block)).collect();
        assert!(stored.iter().all(|byte| *byte == stored[0]), "block {block} of {nodes:?}: {stored:?}");
    }
}

fn marks(w: &World, n: u64) -> Vec<u64> {
    w.machines[&n].disk.marks.iter().map(|(mark, _)| mark.since.0).collect()
}

fn base_of(w: &World, n: u64) -> Option<u64> {
    match w.replica(n).held().standing {
        Standing::Learning { base, .. } => base.map(|base| base.0),
        other => panic!("{other:?}"),
    }
}

/// Runs until so many messages of a kind were sent.
fn until(w: &mut World, what: &str, count: usize) {
    while w.sent(what) < count {
        w.step();
    }
}

#[test]
fn who_was_away_gets_what_changed_and_no_more() {
    let mut w = away();
    assert_eq!((marks(&w, 1), marks(&w, 2)), (vec![10], vec![10]));
    for (block, byte) in [(3, 0xa1), (40, 0xa2), (3, 0xa3)] {
        w.write(1, 2, block, byte);
    }
    w.trim(1, 2, 7, 2);
    returns(&mut w, 3, &without(2, 1, &[1, 2], &[3]));
    assert_eq!(taught(&w, 1), [1, 4, 0, 0]);
    assert_eq!(w.wish(1).unwrap().cause, Cause::Learned);
    w.configure(&config(3, 1, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
    assert_eq!([3, 40, 7, 9].map(|block| w.stored(3, block)), [0xa3, 0xa2, 0, 0x19]);
    assert_eq!([1, 2, 3].map(|n| marks(&w, n)), [[]; 3], "nobody is away");
}

#[test]
fn a_block_that_changed_and_is_written_again_meanwhile_is_as_it_was_written_last() {
    let mut w = away();
    let holder = without(2, 1, &[1, 2], &[3]);
    w.write(1, 2, 3, 0xb1);
    w.write(1, 2, 20, 0xb2);
    w.restart(3);
    w.run();
    w.configure(&with_learner(holder, 3, 70));
    until(&mut w, "1>node-3 Extent", 1);
    let bulk = |f: &(base::io::net::Link, NodeId, _)| f.0.lane == base::io::net::Lane::Bulk;
    let (late, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut w.wire).into_iter().partition(bulk);
    w.wire.extend(rest);
    w.write(1, 2, 3, 0xb3);
    w.trim(1, 2, 20, 1);
    w.wire.extend(late);
    w.run();
    w.configure(&config(3, 1, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
    assert_eq!((w.stored(3, 3), w.stored(3, 20)), (0xb3, 0));
}

#[test]
fn what_only_the_one_that_left_had_is_dropped() {
    // Rule 4: a write that its old primary could not replicate, over a block that nobody touched since.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xc1);
    w.wait(Duration::from_millis(100));
    w.cut = vec![(1, 2), (1, 3)];
    w.write(1, 1, 5, 0xc2);
    w.write(1, 1, 6, 0xc3);
    w.kill(1);
    w.cut.clear();
    let holder = without(2, 2, &[2, 3], &[1]);
    w.configure(&holder);
    w.run();
    w.write(2, 2, 8, 0xc4);
    returns(&mut w, 1, &holder);
    assert_eq!(taught(&w, 2), [1, 1, 0, 0]);
    w.configure(&config(3, 2, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
    assert_eq!((w.stored(1, 5), w.stored(1, 6)), (0xc1, 0));
}

#[test]
fn who_knew_more_to_be_committed_than_the_others_is_taken_back_to_what_they_know() {
    // Node 1 has acknowledged the second write; the others were not told. The third takes the block on.
    let mut w = World::serving();
    w.write(1, 1, 5, 0xd1);
    w.write(1, 1, 6, 0xd2);
    assert_eq!((w.stored(1, 6), w.stored(2, 6)), (0xd2, 0));
    w.kill(1);
    let holder = without(2, 2, &[2, 3], &[1]);
    w.configure(&holder);
    w.run();
    assert_eq!(marks(&w, 2), [1]);
    w.write(2, 2, 6, 0xd3);
    returns(&mut w, 1, &holder);
    assert_eq!(taught(&w, 2), [1, 1, 0, 0]);
    w.configure(&config(3, 2, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
}

#[test]
pub(crate) fn what_the_stream_brings_and_nobody_commits_hides_nothing_that_was_there_before() {
    // Found by the simulator (seed 2017). While node 3 is filled a write is under way that the other members never get.
    let mut w = World::new();
    w.configure(&config(1, 1, &[1, 2, 3, 4]));
    w.run();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    let holder = without(2, 1, &[1, 2, 4], &[3]);
    w.configure(&holder);
    w.run();
    w.write(1, 2, 5, 0xe1);
    w.wait(Duration::from_millis(100));
    w.cut = vec![(1, 2), (1, 4)];
    w.write(1, 2, 5, 0xe2);
    returns(&mut w, 3, &holder);
    assert!(matches!(w.replica(3).held().standing, Standing::Learned { .. }));
    w.kill(1);
    w.cut.clear();
    // They have no such write, and node 3 says that it has all that was committed.
    let others = without(3, 2, &[2, 4], &[1, 3]);
    w.configure(&others);
    w.run();
    learns(&mut w, 3, &others);
    assert_eq!(taught(&w, 2), [1, 0, 0, 0], "by delta, and nothing has changed since");
    w.configure(&config(4, 2, &[2, 3, 4]));
    w.run();
    same(&mut w, &[2, 3, 4]);
    assert_eq!(w.stored(3, 5), 0xe1);
}

#[test]
fn an_attempt_that_breaks_off_is_gone_on_with_by_another_primary() {
    let mut w = World::new();
    w.configure(&config(1, 1, &[1, 2, 3, 4]));
    w.run();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    let holder = without(2, 1, &[1, 2, 4], &[3]);
    w.configure(&holder);
    w.run();
    (4..16).for_each(|b| _ = w.write(1, 2, b, 0x60 + b as u8));
    w.restart(3);
    w.run();
    w.configure(&with_learner(holder, 3, 70));
    until(&mut w, "3>node-1 Copied", 2);
    w.kill(1);
    assert_eq!(base_of(&w, 3), Some(10));
    let holder = without(3, 2, &[2, 4], &[1, 3]);
    w.configure(&holder);
    w.run();
    w.write(2, 3, 50, 0xe2);
    learns(&mut w, 3, &holder);
    let [by_delta, blocks, in_full, _] = taught(&w, 2);
    assert_eq!((by_delta, blocks, in_full), (1, 13, 0));
    w.configure(&without(4, 2, &[2, 3, 4], &[1]));
    w.run();
    same(&mut w, &[2, 3, 4]);
    // And so for node 1, which left later: all but the last of its writes was known to be committed.
    returns(&mut w, 1, &without(4, 2, &[2, 3, 4], &[1]));
    assert_eq!(taught(&w, 2), [2, 13 + 2, 0, 0]);
}

#[test]
fn a_learner_that_restarts_goes_on_from_its_base() {
    let mut w = away();
    let holder = without(2, 1, &[1, 2], &[3]);
    (4..16).for_each(|b| _ = w.write(1, 2, b, 0x60 + b as u8));
    w.restart(3);
    w.run();
    w.configure(&with_learner(holder, 3, 70));
    until(&mut w, "3>node-1 Copied", 2);
    w.kill(3);
    w.restart(3);
    assert_eq!(base_of(&w, 3), Some(10));
    w.run();
    assert_eq!(taught(&w, 1)[2], 0);
    w.configure(&config(3, 1, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
}

#[test]
fn a_learner_of_which_something_was_lost_builds_upon_nothing() {
    // Rule 12.
    let mut w = away();
    let holder = without(2, 1, &[1, 2], &[3]);
    (4..16).for_each(|b| _ = w.write(1, 2, b, 0x60 + b as u8));
    w.restart(3);
    w.run();
    w.configure(&with_learner(holder, 3, 70));
    until(&mut w, "3>node-1 Copied", 1);
    w.kill(3);
    w.machines.get_mut(&3).unwrap().disk.suspect = true;
    w.restart(3);
    assert_eq!(base_of(&w, 3), None);
    w.run();
    assert_eq!((taught(&w, 1)[0], taught(&w, 1)[2]), (0, 1));
    assert!(marks(&w, 3).is_empty(), "who is filled from nothing has no marks");
}

#[test]
fn who_lost_what_it_had_confirmed_is_filled_from_nothing() {
    let mut w = away();
    w.machines.get_mut(&3).unwrap().disk.window.clear();
    returns(&mut w, 3, &without(2, 1, &[1, 2], &[3]));
    assert_eq!(taught(&w, 1), [0, 0, 1, 10]);
}

#[test]
fn two_that_left_at_different_times_each_get_what_they_lack() {
    let mut w = World::new();
    w.configure(&config(1, 1, &[1, 2, 3, 4]));
    w.run();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    w.configure(&without(2, 1, &[1, 2, 4], &[3]));
    w.run();
    (0..5).for_each(|b| _ = w.write(1, 2, b, 0x20 + b as u8));
    w.kill(4);
    let holder = without(3, 1, &[1, 2], &[3, 4]);
    w.configure(&holder);
    w.run();
    assert_eq!(marks(&w, 1), [10, 15]);
    (4..7).for_each(|b| _ = w.write(1, 3, b, 0x30 + b as u8));
    returns(&mut w, 4, &holder);
    assert_eq!(taught(&w, 1), [1, 3, 0, 0]);
    let holder = without(4, 1, &[1, 2, 4], &[3]);
    w.configure(&holder);
    w.run();
    returns(&mut w, 3, &holder);
    assert_eq!(taught(&w, 1), [2, 3 + 7, 0, 0]);
    w.configure(&config(5, 1, &[1, 2, 3, 4]));
    w.run();
    same(&mut w, &[1, 2, 3, 4]);
}

#[test]
fn who_came_back_by_delta_can_bring_back_the_next() {
    // Node 3 leaves and returns; node 4 was away all the time, and a trim of that time must reach it through node 3.
    let mut w = World::new();
    w.configure(&config(1, 1, &[1, 2, 3, 4]));
    w.run();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    w.configure(&without(2, 1, &[1, 2, 4], &[3]));
    w.run();
    w.write(1, 2, 30, 0x21);
    w.kill(4);
    let holder = without(3, 1, &[1, 2], &[3, 4]);
    w.configure(&holder);
    w.run();
    // Node 4 has block 30 and node 3 never had it.
    w.trim(1, 3, 30, 1);
    w.write(1, 3, 5, 0x22);
    returns(&mut w, 3, &holder);
    assert_eq!(taught(&w, 1), [1, 2, 0, 0]);
    assert_eq!(marks(&w, 3), [10, 11]);
    w.configure(&without(4, 1, &[1, 2, 3], &[4]));
    w.run();
    w.kill(1);
    let holder = without(5, 3, &[2, 3], &[1, 4]);
    w.configure(&holder);
    w.run();
    returns(&mut w, 4, &holder);
    assert_eq!(taught(&w, 3), [1, 2, 0, 0]);
    w.configure(&without(6, 3, &[2, 3, 4], &[1]));
    w.run();
    same(&mut w, &[2, 3, 4]);
    assert_eq!((w.stored(4, 30), w.stored(4, 5)), (0, 0x22));
}

#[test]
fn a_mark_that_is_too_new_fits_nobody() {
    // Node 3 left before; the mark of that moment is lost, and one of a later epoch is there.
    let mut w = away();
    w.write(1, 2, 4, 0x31);
    w.configure(&without(3, 1, &[1, 2], &[3]));
    w.run();
    assert_eq!(marks(&w, 1), [10, 11]);
    w.kill(1);
    w.machines.get_mut(&1).unwrap().disk.marks.remove(0);
    w.restart(1);
    let holder = without(4, 1, &[1, 2], &[3]);
    w.configure(&holder);
    w.run();
    returns(&mut w, 3, &holder);
    assert_eq!((taught(&w, 1)[0], taught(&w, 1)[2]), (0, 1));
    w.configure(&config(5, 1, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
}

#[test]
fn an_election_that_breaks_off_does_not_cost_a_whole_copy() {
    // Epoch 2 leaves node 3 out and is adopted by node 1 alone; node 2 leads the next.
    let mut w = World::serving();
    (0..10).for_each(|b| _ = w.write(1, 1, b, 0x10 + b as u8));
    w.kill(3);
    w.configure(&without(2, 1, &[1, 2], &[3]));
    until(&mut w, "1>node-2 Adopt", 2);
    assert_eq!((marks(&w, 1), marks(&w, 2)), (vec![10], vec![]));
    w.wire.clear();
    let holder = without(3, 2, &[1, 2], &[3]);
    w.configure(&holder);
    w.run();
    w.write(2, 3, 5, 0x41);
    assert_eq!((marks(&w, 1), marks(&w, 2)), (vec![10], vec![10]));
    returns(&mut w, 3, &holder);
    assert_eq!(taught(&w, 2), [1, 1, 0, 0]);
}

#[test]
fn a_volume_without_a_write_comes_back_without_a_copy() {
    let mut w = away();
    returns(&mut w, 3, &without(2, 1, &[1, 2], &[3]));
    assert_eq!(taught(&w, 1), [1, 0, 0, 0]);
    assert_eq!(w.sent("1>node-3 Extent"), 0);
}

#[test]
fn marks_go_when_those_that_were_away_are_let_go() {
    let mut w = away();
    let mut full = without(3, 1, &[1, 2, 4], &[3]);
    w.configure(&with_learner(without(2, 1, &[1, 2], &[3]), 4, 70));
    w.run();
    w.configure(&full);
    w.run();
    assert_eq!((marks(&w, 1), marks(&w, 4)), (vec![10], vec![10]));
    full.holders.clear();
    full.revision.0 += 1;
    w.configure(&full);
    w.run();
    assert_eq!([1, 2, 4].map(|n| marks(&w, n)), [[]; 3]);
}

#[test]
fn what_is_left_is_told() {
    let mut w = away();
    (4..16).for_each(|b| _ = w.write(1, 2, b, 0x60 + b as u8));
    w.restart(3);
    w.run();
    w.configure(&with_learner(without(2, 1, &[1, 2], &[3]), 3, 70));
    until(&mut w, "3>node-1 Copied", 1);
    w.now += Duration::from_millis(300);
    let report = (0..20).find_map(|_| {
        w.step();
        let mut report = None;
        w.turn(1, |r, cx, _| report = r.as_ref().unwrap().report(cx));
        report.filter(|report| report.learned_blocks > 0)
    });
    let report = report.expect("it counts");
    let filling = report.filling.expect("it fills a learner");
    assert_eq!((filling.by_delta, filling.planned, filling.for_ms), (true, 12, 300));
    assert!((3..12).contains(&report.learned_blocks), "{report:?}");
}

#[test]
fn extents_that_do_not_fit_are_not_taken() {
    let mut w = away();
    w.restart(3);
    w.run();
    w.configure(&with_learner(without(2, 1, &[1, 2], &[3]), 3, 70));
    until(&mut w, "3>node-1 Learning", 1);
    let from = base::io::net::Link::from(base::io::net::Peer::Node(NodeId(1)));
    for (block, count, erase, blocks) in
        [(BLOCKS, 1, true, 0), (1, 2, false, 1), (1, 1, true, 1), (1, u32::MAX, true, 0)]
    {
        let stretches = vec![wire::Stretch { block, count, erase }];
        let (shard, epoch, plan) = (world::SHARD, Epoch(2), 70);
        for attempt in 0..9 {
            let m = wire::Extent { shard, epoch, plan, attempt, part: 1, stretches: stretches.clone() };
            let data = (blocks > 0).then(|| base::Payload::from(vec![9; base::BLOCK_BYTES]));
            w.turn(3, |r, cx, fx| r.as_mut().unwrap().on_message(cx, from, m.into(), data, fx));
        }
    }
    assert_eq!(w.sent("3>node-1 Copied"), 0);
    assert_eq!(w.replica(3).held().end, Sequence(10));
}
