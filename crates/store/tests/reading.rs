//! Reads: what is asked of the disk, what comes back, and that a wrong byte never does.

mod bench;

use base::io::disk::Op;
use base::log::{Event, Extent, ReadFault, Record, Rot};
use base::{Rng, Sequence, ShardId, checksum};
use bench::disk::Disk;
use bench::model::pattern;
use bench::{BLOCKS, Bench, blocks, copy, data, register, shard, stamp, trim};
use store::{Geometry, Policy};

fn raw() -> Policy {
    Policy { preallocated: true, ..Policy::default() }
}

fn crc(shard: ShardId, block: u32, tag: u64) -> u32 {
    checksum::block(shard, block, &pattern(tag))
}

/// Lengths in blocks of the reads in flight.
fn asked(bench: &Bench) -> Vec<u32> {
    let len = |op: &Op| if let Op::Read { len, .. } = op { Some(len / 4096) } else { None };
    bench.disk.flying.iter().filter_map(len).collect()
}

#[test]
fn blocks_that_lie_side_by_side_are_read_at_once() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    // One batch: three copies side by side on the disk, two of them neighbours in the shard too.
    bench.append(s, copy(10, [1, 2]));
    bench.append(s, copy(12, [3]));
    bench.append(s, copy(20, [4]));
    bench.settle();
    let ticket = bench.ask_read(s, 10, 3);
    bench.step();
    assert_eq!(asked(&bench), [3]);
    bench.settle();
    let Some(Event::Blocks { parts: Ok(parts), .. }) = bench.answer(ticket) else { panic!("an answer") };
    assert_eq!(parts.len(), 1);
    // Another batch overwrites the middle one: three runs, in order.
    bench.append(s, copy(11, [5]));
    bench.settle();
    let ticket = bench.ask_read(s, 9, 5);
    bench.step();
    assert_eq!(asked(&bench), [1, 1, 1]);
    // Whatever the order in which they come back.
    bench.perform(2);
    bench.perform(0);
    bench.settle();
    let expected = [vec![0; 4096], pattern(1), pattern(5), pattern(3), vec![0; 4096]].concat();
    assert_eq!(bench.answered(ticket), Some(Ok(expected)));
}

#[test]
fn what_was_never_written_or_was_trimmed_reads_as_zeroes_without_the_disk() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, data(1, 5, [1, 2]));
    bench.append(s, trim(2, 4, 8));
    bench.commit(s, 2);
    bench.settle();
    let (known, unknown) = (bench.ask_read(s, 0, 256), bench.ask_read(shard(77), 3, 2));
    bench.step();
    assert!(bench.disk.flying.is_empty());
    assert_eq!(bench.answered(known), Some(Ok(vec![0; 256 * 4096])));
    assert_eq!(bench.answered(unknown), Some(Ok(vec![0; 2 * 4096])));
}

#[test]
fn a_flipped_bit_is_said_to_be_corrupt_and_its_neighbours_are_read() {
    let s = shard(1);
    let mut rng = Rng::new(11);
    for _ in 0..200 {
        let mut bench = Bench::ready_with(20, raw());
        bench.append(s, data(1, 0, [1, 2, 3]));
        bench.commit(s, 1);
        bench.append(s, data(2, 7, [4, 5]));
        bench.settle();
        let at = bench.find_on_media(&pattern(2)).unwrap();
        bench.disk.rot(at + rng.below(4096), rng.below(8) as u8);
        let rotten = vec![Rot { block: 1, crc: crc(s, 1, 2), place: (at / 4096) as u32 }];
        assert_eq!(bench.read(s, 0, 3), Err(ReadFault { rotten: rotten.clone() }));
        assert_eq!(bench.tags(s, 0, 1), [1]);
        assert_eq!(bench.tags(s, 2, 1), [3]);
        assert_eq!(bench.extents(s, 0, 5).unwrap_err(), ReadFault { rotten });
        assert_eq!(bench.window(s, 0).unwrap().len(), 1, "the window is well");
        let at = bench.find_on_media(&pattern(5)).unwrap();
        bench.disk.rot(at + rng.below(4096), rng.below(8) as u8);
        let rotten = vec![Rot { block: 8, crc: crc(s, 8, 5), place: (at / 4096) as u32 }];
        assert_eq!(bench.window(s, 0).unwrap_err(), ReadFault { rotten });
    }
}

#[test]
fn a_block_of_another_place_or_shard_is_corrupt_though_it_is_whole() {
    let (a, b) = (shard(1), shard(2));
    let mut bench = Bench::ready_with(20, raw());
    bench.append(a, copy(0, [1, 1]));
    bench.append(b, copy(0, [2]));
    bench.settle();
    let places: Vec<u32> = bench.disk.media.iter().filter(|(_, b)| **b == pattern(1)).map(|(&p, _)| p).collect();
    // The very bytes that belong there, from the neighbour: they are right, and so they pass; another shard's do not.
    let other = (bench.find_on_media(&pattern(2)).unwrap() / 4096) as u32;
    let foreign = bench.disk.media[&other].clone();
    bench.disk.media.insert(places[1], foreign);
    let rotten = vec![Rot { block: 1, crc: crc(a, 1, 1), place: places[1] }];
    assert_eq!(bench.read(a, 0, 2), Err(ReadFault { rotten }));
    assert_eq!(bench.tags(b, 0, 1), [2]);
}

#[test]
fn what_is_on_its_way_to_the_disk_is_read_from_memory() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { batches_in_flight_max: 1, ..raw() });
    bench.append(s, register(s, 1));
    bench.append(s, copy(0, [1, 2, 3]));
    bench.append(s, data(1, 1, [4]));
    bench.commit(s, 1);
    bench.append(s, data(2, 9, [5]));
    bench.step();
    assert_eq!(bench.writes().len(), 1);
    // Nothing is durable, and the disk still gives zeroes.
    let (read, window) = (bench.ask_read(s, 0, 3), bench.ask_window(s, 1));
    let extents = bench.ask_extents(s, 0, 9);
    bench.step();
    assert_eq!(asked(&bench), []);
    assert_eq!(bench.answered(read), Some(Ok([pattern(1), pattern(4), pattern(3)].concat())));
    let Some(Event::Window { entries: Ok(entries), .. }) = bench.answer(window) else { panic!("an answer") };
    assert_eq!((entries.len(), entries[0].data.as_deref()), (1, Some(&pattern(5)[..])));
    let Some(Event::Extents { extents: Ok(extents), .. }) = bench.answer(extents) else { panic!("an answer") };
    assert_eq!(extents.iter().map(|e| e.count).collect::<Vec<_>>(), [1, 1, 1, BLOCKS - 3]);
    // With the only slot taken, what follows waits for a batch, and a read that depends on it with it.
    bench.append(s, copy(0, [6]));
    let read = bench.ask_read(s, 0, 1);
    let other = bench.ask_read(shard(2), 0, 1);
    bench.step();
    assert!(bench.answered(read).is_none());
    assert!(bench.answered(other).is_some(), "another shard's read does not wait");
    bench.append(shard(3), data(1, 0, [7]));
    let window = bench.ask_window(shard(3), 0);
    bench.step();
    assert!(bench.answer(window).is_none(), "what will be in the window has no place yet");
    bench.settle();
    assert_eq!(bench.answered(read), Some(Ok(pattern(6))));
    let Some(Event::Window { entries: Ok(entries), .. }) = bench.answer(window) else { panic!("an answer") };
    assert_eq!(entries.len(), 1);
}

#[test]
fn one_read_of_the_disk_is_no_longer_than_the_longest_write() {
    let s = shard(1);
    let policy = Policy { batch_payload_bytes_max: 2 << 20, ..raw() };
    let mut bench = Bench::on(Disk::default(), Geometry::tiny(128 << 20), policy);
    for n in 1..=4 {
        bench.append(s, data(n, 0, vec![n; 100]));
    }
    bench.settle();
    bench.ask_window(s, 0);
    bench.step();
    assert_eq!(asked(&bench), [200, 200]);
    bench.settle();
    bench.append(s, data(5, 0, vec![5; 256]));
    bench.commit(s, 5);
    assert_eq!(bench.tags(s, 0, 256), [5; 256]);
}

#[test]
fn a_commit_that_overtakes_the_disk_waits_for_its_entry_and_no_longer() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { batches_in_flight_max: 1, ..raw() });
    bench.append(s, data(1, 0, [1]));
    bench.step();
    bench.append(s, data(2, 0, [2]));
    bench.commit(s, 1);
    let first = bench.ask_read(s, 0, 1);
    bench.step();
    assert_eq!(bench.answered(first), Some(Ok(pattern(1))), "the first is placed, so its commit is done at once");
    bench.commit(s, 2);
    let second = bench.ask_read(s, 0, 1);
    bench.step();
    assert!(bench.answered(second).is_none());
    bench.settle();
    assert_eq!(bench.answered(second), Some(Ok(pattern(2))));
}

#[test]
fn reads_in_flight_are_bounded_and_served_in_turn() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { reads_in_flight_max: 2, ..raw() });
    for n in 0..6 {
        bench.append(s, copy(n * 2, [u64::from(n) + 1]));
    }
    bench.settle();
    let wide = bench.ask_read(s, 0, 12);
    let narrow = bench.ask_read(s, 10, 1);
    bench.step();
    let mut order = vec![];
    while !bench.disk.flying.is_empty() {
        assert!(asked(&bench).len() <= 2);
        bench.perform(0);
        bench.step();
        for (ticket, name) in [(wide, "wide"), (narrow, "narrow")] {
            if bench.answered(ticket).is_some() {
                order.push(name);
            }
        }
    }
    assert_eq!(order, ["wide", "narrow"]);
}

#[test]
fn a_window_comes_back_in_order_with_replaced_and_trimmed_entries() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, data(1, 0, [1]));
    bench.append(s, data(2, 1, [2, 3]));
    bench.append(s, trim(3, 5, 6));
    bench.append(s, data(4, 1, [4]));
    bench.append(s, Record::Data { stamp: stamp(2, 2), block: 8, data: blocks([5]) });
    bench.commit(s, 1);
    bench.settle();
    let entries = bench.window(s, 0).unwrap();
    let seen: Vec<_> =
        entries.iter().map(|e| (e.stamp, e.block, e.count, e.data.as_ref().map(|data| data.to_vec()))).collect();
    let expected =
        [(stamp(2, 2), 8, 1, Some(pattern(5))), (stamp(1, 3), 5, 6, None), (stamp(1, 4), 1, 1, Some(pattern(4)))];
    assert_eq!(seen, expected);
    assert_eq!(bench.window(s, 3).unwrap().len(), 1);
    assert!(bench.window(s, 4).unwrap().is_empty());
    assert!(bench.window(shard(9), 0).unwrap().is_empty());
    assert_eq!(bench.store.chunk_version(s, 0), Some(stamp(1, 1)));
    assert_eq!(bench.store.chunk_version(s, 1), None);
}

#[test]
fn neighbours_in_the_log_are_read_at_once_for_a_window() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=5 {
        bench.append(s, data(n, 100 - n as u32 * 10, [n, n]));
    }
    bench.settle();
    bench.ask_window(s, 0);
    bench.step();
    assert_eq!(asked(&bench), [10]);
}

#[test]
fn extents_cover_the_shard_without_gaps_and_with_no_more_data_than_asked() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, register(s, 1));
    bench.append(s, copy(10, [1, 2, 3]));
    bench.append(s, copy(150, [4]));
    bench.settle();
    let shape = |extents: Vec<Extent>| {
        extents.iter().map(|e| (e.block, e.count, e.data.is_some())).collect::<Vec<(u32, u32, bool)>>()
    };
    assert_eq!(shape(bench.extents(s, 0, 2).unwrap()), [(0, 10, false), (10, 2, true)]);
    assert_eq!(shape(bench.extents(s, 12, 1).unwrap()), [(12, 1, true), (13, 137, false)]);
    let all = [(0, 10, false), (10, 3, true), (13, 137, false), (150, 1, true), (151, BLOCKS - 151, false)];
    assert_eq!(shape(bench.extents(s, 0, 256).unwrap()), all);
    assert_eq!(shape(bench.extents(s, 160, 256).unwrap()), [(160, BLOCKS - 160, false)]);
    assert!(bench.extents(s, BLOCKS, 256).unwrap().is_empty());
    assert!(bench.extents(shard(5), 0, 256).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "at most 256 can be read at once")]
fn a_read_wider_than_the_protocol_allows_is_a_broken_invariant() {
    let mut bench = Bench::ready(20);
    bench.ask_read(shard(1), 0, 257);
    bench.step();
}

#[test]
fn a_read_of_a_dropped_shard_is_zeroes_and_its_space_is_free() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1, 2, 3]));
    bench.append(s, copy(9, [4]));
    bench.settle();
    assert_eq!(bench.store.space().used_bytes, 4 * 4096);
    bench.append(s, Record::Drop);
    bench.settle();
    assert_eq!((bench.durable(s), bench.store.space().used_bytes), (4, 0));
    assert_eq!(bench.tags(s, 0, 10), [0; 10]);
    bench.append(s, register(s, 5));
    bench.append(s, Record::Restart { committed: Sequence(8), keeps_marks: false });
    bench.settle();
    let mut bench = bench.reopened();
    let found = bench.recovered();
    assert_eq!((found.len(), found[0].committed, found[0].end), (1, Sequence(8), stamp(0, 8)));
}
