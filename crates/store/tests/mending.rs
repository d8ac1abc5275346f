//! Rot: every bad block of a read is named, a good copy from a peer takes its place and no other's, and a copy is given to a peer
//! only if its bytes are the ones that were asked for.

mod bench;

use base::log::{Event, ReadFault, Record, Rot};
use base::{Payload, Sequence};
use bench::{Bench, blocks, copy, data, register, shard, stamp, trim};
use store::{Phase, Policy};

fn ready() -> Bench {
    Bench::ready_with(20, Policy { preallocated: true, ..Policy::default() })
}

fn mend(rot: Rot, tag: u64) -> Record {
    Record::Mend { block: rot.block, place: rot.place, data: blocks([tag]) }
}

fn used_blocks(bench: &Bench) -> u64 {
    bench.store.space().used_bytes / 4096
}

#[test]
fn every_rotten_block_of_a_read_is_named_and_all_are_mended_for_good() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1, 2, 3, 4]));
    bench.append(s, data(2, 6, [5, 6]));
    bench.commit(s, 2);
    bench.settle();
    let rotten: Vec<Rot> = [(1, 2), (3, 4), (6, 5)].map(|(block, tag)| bench.rot(s, block, tag)).into();
    assert_eq!(bench.read(s, 0, 8), Err(ReadFault { rotten: rotten.clone() }));
    for (rot, tag) in rotten.into_iter().zip([2, 4, 5]) {
        bench.append(s, mend(rot, tag));
    }
    // The read that follows the mends in the same step is of what they bring.
    assert_eq!(bench.tags(s, 0, 8), [1, 2, 3, 4, 0, 0, 5, 6]);
    assert_eq!((used_blocks(&bench), bench.store.chunk_version(s, 0)), (6, Some(stamp(1, 2))));
    let mut bench = bench.reopened();
    assert_eq!(bench.tags(s, 0, 8), [1, 2, 3, 4, 0, 0, 5, 6]);
    assert_eq!((used_blocks(&bench), bench.store.chunk_version(s, 0)), (6, Some(stamp(1, 2))));
}

#[test]
fn a_mend_with_other_bytes_or_of_another_place_changes_nothing() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, register(s, 1));
    bench.append(s, copy(3, [1, 2]));
    bench.settle();
    let rot = bench.rot(s, 3, 1);
    bench.append(s, mend(rot, 9));
    bench.append(s, mend(Rot { place: rot.place + 1, ..rot }, 1));
    bench.append(s, mend(Rot { place: 0, ..rot }, 1));
    bench.append(s, mend(Rot { block: 4, ..rot }, 2));
    bench.settle();
    let mut bench = bench.reopened();
    assert_eq!(bench.read(s, 3, 2), Err(ReadFault { rotten: vec![rot] }));
    assert_eq!(used_blocks(&bench), 2);
    bench.append(s, mend(rot, 1));
    assert_eq!(bench.tags(s, 3, 2), [1, 2]);
}

#[test]
fn what_was_overwritten_or_trimmed_before_its_mend_came_stays_so() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1, 2, 3]));
    bench.commit(s, 1);
    bench.settle();
    let rotten = [(0, 1), (1, 2), (2, 3)].map(|(block, tag)| bench.rot(s, block, tag));
    bench.append(s, data(2, 0, [4]));
    bench.append(s, trim(3, 1, 1));
    bench.commit(s, 3);
    for (rot, tag) in rotten.into_iter().zip([1, 2, 3]) {
        bench.append(s, mend(rot, tag));
    }
    assert_eq!(bench.tags(s, 0, 3), [4, 0, 3]);
    let mut bench = bench.reopened();
    assert_eq!((bench.tags(s, 0, 3), used_blocks(&bench)), (vec![4, 0, 3], 2));
}

#[test]
fn an_entry_of_the_window_is_mended_where_it_is_and_commits_as_it_was() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 5, [1, 2, 3]));
    bench.append(s, data(2, 5, [4]));
    bench.settle();
    let rot = bench.rot(s, 6, 2);
    assert_eq!(bench.window(s, 0).unwrap_err(), ReadFault { rotten: vec![rot] });
    bench.append(s, mend(rot, 2));
    let whole = |bench: &mut Bench| {
        let entries = bench.window(s, 0).unwrap();
        assert_eq!(
            entries.iter().map(|e| (e.stamp, e.block, e.count)).collect::<Vec<_>>(),
            [(stamp(1, 1), 5, 3), (stamp(1, 2), 5, 1)]
        );
        assert_eq!(entries[0].data.as_deref(), Some(&blocks([1, 2, 3])[..]));
    };
    whole(&mut bench);
    let mut bench = bench.reopened();
    whole(&mut bench);
    assert_eq!(used_blocks(&bench), 4);
    bench.commit(s, 2);
    assert_eq!((bench.tags(s, 5, 3), used_blocks(&bench)), (vec![4, 2, 3], 3));
}

#[test]
fn of_the_same_bytes_written_twice_the_rotten_ones_are_mended() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, data(1, 0, [1]));
    bench.commit(s, 1);
    bench.append(s, data(2, 0, [1]));
    bench.settle();
    let rot = bench.rot(s, 0, 1);
    assert_eq!(bench.read(s, 0, 1), Err(ReadFault { rotten: vec![rot] }), "the committed ones");
    assert_eq!(bench.matching(s, 0, 1), Some(1), "the window has a good copy");
    bench.append(s, mend(rot, 1));
    assert_eq!(bench.tags(s, 0, 1), [1]);
    assert_eq!((bench.window(s, 0).unwrap().len(), used_blocks(&bench)), (1, 2));
}

#[test]
fn a_peer_is_given_the_block_that_it_names_from_the_window_or_the_index_or_nothing() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, data(1, 0, [1, 2]));
    bench.commit(s, 1);
    bench.append(s, data(2, 1, [3]));
    bench.append(s, trim(3, 0, 9));
    // Before any of it is durable, and after.
    assert_eq!(bench.matching(s, 1, 3), Some(3));
    bench.settle();
    assert_eq!([1, 2, 3, 4].map(|tag| bench.matching(s, 1, tag)), [None, Some(2), Some(3), None]);
    assert_eq!(
        (bench.matching(s, 0, 1), bench.matching(s, 7, 1), bench.matching(shard(9), 0, 1)),
        (Some(1), None, None)
    );
    let rot = bench.rot(s, 1, 3);
    let ticket = bench.ask_matching(s, 1, rot.crc);
    bench.settle();
    let answer = bench.answer(ticket);
    let Some(Event::Matching { data: None, rotten, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(rotten, [rot], "it is rotten here too");
}

#[test]
fn rot_beyond_what_one_answer_names_shows_when_the_read_is_repeated() {
    let s = shard(1);
    let geometry = store::Geometry::tiny(128 << 20);
    let mut bench =
        Bench::on(bench::disk::Disk::default(), geometry, Policy { preallocated: true, ..Policy::default() });
    for n in 0..3 {
        bench.append(s, data(n + 1, 0, n * 100 + 1..n * 100 + 101));
    }
    bench.settle();
    for n in 1..=300 {
        bench.rot(s, 0, n);
    }
    let Err(ReadFault { rotten }) = bench.window(s, 0) else { panic!("all of it is rotten") };
    assert_eq!((rotten.len(), rotten[0].block, rotten[255].block), (256, 0, 55));
    for (rot, tag) in rotten.into_iter().zip(1..) {
        bench.append(s, mend(rot, tag));
    }
    let Err(ReadFault { rotten }) = bench.window(s, 0) else { panic!("some of it is rotten") };
    assert_eq!((rotten.len(), rotten[0].block), (44, 56));
}

#[test]
fn mends_of_a_poisoned_store_are_dropped() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, copy(0, [1]));
    bench.settle();
    let rot = bench.rot(s, 0, 1);
    bench.disk.refuses_writes = true;
    bench.append(s, mend(rot, 1));
    bench.settle();
    assert!(matches!(bench.store.phase(), Phase::Poisoned(_)));
    bench.append(s, mend(rot, 1));
    bench.settle();
    assert_eq!(bench.durable(s), 1);
}

#[test]
#[should_panic(expected = "mended one by one")]
fn a_mend_of_more_than_a_block_is_a_broken_promise() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, Record::Mend { block: 0, place: 16, data: Payload::from(vec![0; 8192]) });
    bench.step();
}

#[test]
fn a_restart_of_the_window_and_a_mend_on_its_way_do_not_meet() {
    let s = shard(1);
    let mut bench = ready();
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1]));
    bench.settle();
    let rot = bench.rot(s, 0, 1);
    bench.append(s, Record::Restart { committed: Sequence(9), keeps_marks: false });
    bench.append(s, mend(rot, 1));
    bench.settle();
    assert_eq!((bench.tags(s, 0, 1), used_blocks(&bench)), (vec![0], 0));
}
