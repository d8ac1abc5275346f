//! A shard that grows: with an epoch, so that each member has the size before anything is written beyond the old end.

mod world;

use base::{Configuration, Epoch};
use wire::{Cause, Refusal};
use world::{BLOCKS, World, config, member, with_learner};

/// A configuration of twice as many blocks.
fn grown(epoch: u64, primary: u64, members: &[u64]) -> Configuration {
    Configuration { blocks: 2 * BLOCKS, ..config(epoch, primary, members) }
}

/// The first block of the new part.
const NEW: u32 = BLOCKS;

/// Whether these nodes have the same in all blocks of the grown shard.
fn same(w: &mut World, nodes: &[u64]) {
    w.wait(std::time::Duration::from_millis(200));
    for block in 0..2 * BLOCKS {
        let stored: Vec<u8> = nodes.iter().map(|n| w.stored(*n, block)).collect();
        assert!(stored.iter().all(|byte| *byte == stored[0]), "block {block} of {nodes:?}: {stored:?}");
    }
}

#[test]
fn the_new_part_is_zeroes_and_takes_writes_at_once_and_the_old_part_is_as_it_was() {
    let mut w = World::serving();
    w.write(1, 1, NEW - 1, 0xa1);
    let early = w.write(1, 1, NEW, 0xa2);
    assert_eq!(w.refusal(early), Some(&Refusal::Invalid));
    w.configure(&grown(2, 1, &[1, 2, 3]));
    w.run();
    let written = w.write(1, 2, NEW, 0xa3);
    let reads = [NEW - 1, NEW, NEW + 1, 2 * NEW - 1].map(|block| w.read(1, 2, block));
    assert_eq!(w.done(written), Some(Epoch(2)));
    assert_eq!(reads.map(|io| w.answer(io)), [Some(0xa1), Some(0xa3), Some(0), Some(0)]);
    let beyond = w.write(1, 2, 2 * NEW, 0xa4);
    assert_eq!(w.refusal(beyond), Some(&Refusal::Invalid));
    same(&mut w, &[1, 2, 3]);
}

#[test]
fn a_backup_that_the_authority_has_not_told_learns_the_size_from_its_primary() {
    let mut w = World::serving();
    w.configure_one(1, &grown(2, 1, &[1, 2, 3]));
    w.run();
    let io = w.write(1, 2, NEW + 5, 0xb1);
    assert_eq!(w.done(io), Some(Epoch(2)));
    assert!([2, 3].iter().all(|n| w.replica(*n).config().blocks == 2 * BLOCKS));
    // It has it durably: what it confirmed is there after a restart, and so is the size.
    w.kill(2);
    w.kill(3);
    w.restart(2);
    w.restart(3);
    w.configure(&grown(3, 2, &[2, 3]));
    w.run();
    let io = w.read(2, 3, NEW + 5);
    assert_eq!(w.answer(io), Some(0xb1));
}

#[test]
fn a_primary_that_dies_with_writes_to_the_new_part_under_way_loses_none_that_was_acknowledged() {
    let mut w = World::serving();
    w.configure(&grown(2, 1, &[1, 2, 3]));
    w.run();
    let acknowledged = w.write(1, 2, NEW, 0xc1);
    assert_eq!(w.done(acknowledged), Some(Epoch(2)));
    // This one has come to node 2 only.
    w.cut.push((1, 3));
    let open = w.write(1, 2, NEW + 1, 0xc2);
    assert_eq!(w.done(open), None);
    w.cut.clear();
    w.kill(1);
    w.configure(&grown(3, 3, &[2, 3]));
    w.run();
    let reads = [NEW, NEW + 1].map(|block| w.read(3, 3, block));
    assert_eq!(reads.map(|io| w.answer(io)), [Some(0xc1), Some(0xc2)]);
    same(&mut w, &[2, 3]);
}

#[test]
fn a_primary_that_dies_before_anybody_knows_the_size_is_followed_by_one_that_does() {
    let mut w = World::serving();
    let before = w.write(1, 1, 3, 0xd1);
    assert_eq!(w.done(before), Some(Epoch(1)));
    w.configure_one(1, &grown(2, 1, &[1, 2, 3]));
    w.kill(1);
    w.configure(&grown(3, 2, &[2, 3]));
    w.run();
    let io = w.write(2, 3, NEW, 0xd2);
    assert_eq!(w.done(io), Some(Epoch(3)));
    let io = w.read(2, 3, 3);
    assert_eq!(w.answer(io), Some(0xd1));
    // The old primary comes back with a promise of the epoch in which it would have led, and is filled.
    w.restart(1);
    w.configure(&with_learner(grown(3, 2, &[2, 3]), 1, 40));
    w.run();
    w.configure(&grown(4, 2, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
}

#[test]
fn a_learner_that_is_being_filled_when_the_shard_grows_gets_both_parts() {
    let mut w = World::serving();
    (0..10).for_each(|block| _ = w.write(1, 1, block, 0xe0 + block as u8));
    w.kill(3);
    w.configure(&config(2, 1, &[1, 2]));
    w.run();
    w.configure(&with_learner(config(2, 1, &[1, 2]), 4, 50));
    while w.sent("1>node-4 Extent") < 3 {
        w.step();
    }
    w.configure(&with_learner(grown(3, 1, &[1, 2]), 4, 50));
    w.run();
    let io = w.write(1, 3, NEW + 7, 0xf1);
    assert_eq!(w.done(io), Some(Epoch(3)));
    assert_eq!(w.wish(1).unwrap().cause, Cause::Learned);
    w.configure(&grown(4, 1, &[1, 2, 4]));
    w.run();
    same(&mut w, &[1, 2, 4]);
    assert_eq!([9, NEW + 7].map(|block| w.stored(4, block)), [0xe9, 0xf1]);
}

#[test]
fn who_was_away_while_the_shard_grew_is_brought_the_new_part_by_delta() {
    let mut w = World::serving();
    (0..10).for_each(|block| _ = w.write(1, 1, block, 0x10 + block as u8));
    w.kill(3);
    let away = |c: Configuration| Configuration { holders: vec![member(3)], ..c };
    w.configure(&away(config(2, 1, &[1, 2])));
    w.run();
    w.configure(&away(grown(3, 1, &[1, 2])));
    w.run();
    w.write(1, 3, NEW + 1, 0x51);
    w.write(1, 3, 2, 0x52);
    w.restart(3);
    w.configure(&with_learner(grown(3, 1, &[1, 2]), 3, 60));
    w.run();
    let taught = w.machines[&1].taught;
    assert_eq!((taught.by_delta, taught.delta_blocks, taught.in_full), (1, 2, 0));
    w.configure(&grown(4, 1, &[1, 2, 3]));
    w.run();
    same(&mut w, &[1, 2, 3]);
}

#[test]
#[should_panic(expected = "two configurations")]
fn a_size_that_changes_within_an_epoch_stops_the_process() {
    let mut w = World::serving();
    let mut wrong = grown(1, 1, &[1, 2, 3]);
    wrong.revision = base::Revision(11);
    w.configure(&wrong);
}
